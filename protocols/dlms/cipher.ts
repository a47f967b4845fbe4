/**
 * Ciphered APDUs (IEC 62056-5-3 §5.7, §7.3.13): service-specific (glo, ded) and general (glo, ded) ciphering, in place.
 *
 *   glo, ded           tag | L | SC | IC u32 | content | tag 12
 *   general-glo, -ded  DB, DC | 08 title | L | SC | IC u32 | content | tag 12       an empty title is legal
 *
 *   SC  security control: suite 3..0, authenticated 10, encrypted 20, broadcast key 40, compressed 80
 *
 * Initialization vector = sender's title ‖ IC; additional data = SC ‖ authentication key (‖ APDU when it is not
 * encrypted). Encryption alone carries no tag. Leaves out general-ciphering (DD) and compression.
 */

import { constantTimeEqual, writeU32 } from '#base/bytes';
import { GCM_TAG_SIZE, type GcmKey } from '#base/crypto';
import { DecodeError } from '#base/errors';
import { readLength, sizeOfLength, writeLength } from '#dlms/axdr';
import type { ByteReader } from '#dlms/reader';
import type { ByteWriter } from '#dlms/writer';

export const TITLE_SIZE = 8;

/** Bits of the security control byte. */
export const Protection = { authenticated: 0x10, encrypted: 0x20, broadcast: 0x40, compressed: 0x80 } as const;
const SUITE_BITS = 0x0f;

export const GENERAL_GLO = 0xdb;
export const GENERAL_DED = 0xdc;

/** Security control and invocation counter in front of the content. */
const CONTROL_SIZE = 5;
/** Room in front of a plain APDU that any of the forms fits into. */
export const CIPHER_HEADROOM = 1 + 1 + TITLE_SIZE + 3 + CONTROL_SIZE;

/** A key pair for ciphering: encryption key and authentication key, with the scratch of one operation. */
export class CipherKey {
  readonly gcm: GcmKey;
  readonly #aad: Uint8Array;
  readonly #iv = new Uint8Array(TITLE_SIZE + 4);
  readonly #tag = new Uint8Array(GCM_TAG_SIZE);

  constructor(gcm: GcmKey, authenticationKey: Uint8Array) {
    this.gcm = gcm;
    this.#aad = new Uint8Array(1 + authenticationKey.length);
    this.#aad.set(authenticationKey, 1);
  }

  #prepare(sc: number, title: Uint8Array, counter: number): void {
    this.#aad[0] = sc;
    this.#iv.set(title);
    writeU32(this.#iv, TITLE_SIZE, counter);
  }

  /**
   * Protects `buf[at, end)` in place as `sc` says.
   * @param title  of the sender
   * @returns the new end, behind the tag where there is one
   */
  protect(sc: number, title: Uint8Array, counter: number, buf: Uint8Array, at: number, end: number): number {
    this.#prepare(sc, title, counter);
    if ((sc & Protection.authenticated) === 0) {
      this.gcm.crypt(this.#iv, buf, at, end);
      return end;
    }
    if ((sc & Protection.encrypted) !== 0) this.gcm.seal(this.#iv, this.#aad, buf, at, end);
    else this.gcm.mac(this.#iv, this.#aad, buf, at, end, buf, end);
    return end + GCM_TAG_SIZE;
  }

  /** Opens `buf[at, end)`, tag included, in place. @returns the end of the plain APDU, -1 when the tag is wrong */
  unprotect(sc: number, title: Uint8Array, counter: number, buf: Uint8Array, at: number, end: number): number {
    this.#prepare(sc, title, counter);
    if ((sc & Protection.authenticated) === 0) {
      this.gcm.crypt(this.#iv, buf, at, end);
      return end;
    }
    const tagAt = end - GCM_TAG_SIZE;
    if (tagAt < at) return -1;
    if ((sc & Protection.encrypted) !== 0) return this.gcm.open(this.#iv, this.#aad, buf, at, tagAt) ? tagAt : -1;
    this.gcm.mac(this.#iv, this.#aad, buf, at, tagAt, this.#tag, 0);
    return constantTimeEqual(this.#tag, buf.subarray(tagAt, end)) ? tagAt : -1;
  }

  /** Tag of authentication alone over a challenge: the core of HLS-GMAC. */
  mac(sc: number, title: Uint8Array, counter: number, message: Uint8Array, out: Uint8Array, at: number): void {
    this.#prepare(sc, title, counter);
    this.gcm.mac(this.#iv, this.#aad, message, 0, message.length, out, at);
  }
}

/** Plain tag of a service-specific ciphered APDU, -1 when `tag` is none. */
export function plainTagOf(tag: number): number {
  if (tag >= 0xc8 && tag <= 0xcf) return tag - 0x08;
  if (tag >= 0xd0 && tag <= 0xd7) return tag - 0x10;
  if (tag === 0x21 || tag === 0x28) return tag - 0x20;
  if (tag === 0x41 || tag === 0x48) return tag - 0x40;
  return -1;
}

/** Ciphered tag of a plain one in the same style as `style`, a ciphered tag. */
export function cipheredTagOf(plainTag: number, style: number): number {
  if (style === GENERAL_GLO || style === GENERAL_DED) return style;
  const isDedicated = isDedicatedTag(style);
  if (plainTag < 0x20) return plainTag + (isDedicated ? 0x40 : 0x20);
  return plainTag + (isDedicated ? 0x10 : 0x08);
}

/** Whether the APDU is under the dedicated key of its association. */
export function isDedicatedTag(tag: number): boolean {
  return tag === GENERAL_DED || (tag >= 0xd0 && tag <= 0xd7) || tag === 0x41 || tag === 0x48;
}

/** Header of a ciphered APDU, read in place and reused from APDU to APDU. */
export class CipherHeader {
  tag = 0;
  /** Offset of the title of a general APDU, -1 when it has none. */
  titleAt = -1;
  sc = 0;
  counter = 0;
  /** The content with its tag. */
  at = 0;
  end = 0;

  get isGeneral(): boolean {
    return this.tag === GENERAL_GLO || this.tag === GENERAL_DED;
  }

  get suite(): number {
    return this.sc & SUITE_BITS;
  }

  get isAuthenticated(): boolean {
    return (this.sc & Protection.authenticated) !== 0;
  }

  /** Reads the header; the APDU ends where the reader ends. @throws DecodeError */
  read(r: ByteReader): this {
    this.tag = r.u8('ciphered tag');
    this.titleAt = -1;
    if (this.isGeneral) {
      const at = r.at;
      const length = readLength(r, 'system title');
      if (length !== 0 && length !== TITLE_SIZE) throw new DecodeError('system title', at, '0 or 8 bytes');
      if (length > 0) this.titleAt = r.take(length, 'system title');
    } else if (plainTagOf(this.tag) < 0) throw new DecodeError('ciphered tag', r.at - 1, 'a ciphered APDU');
    const at = r.at;
    if (readLength(r, 'ciphered content') !== r.remaining)
      throw new DecodeError('ciphered content', at, `${r.remaining} bytes`);
    this.sc = r.u8('security control');
    this.counter = r.u32('invocation counter');
    if ((this.sc & (Protection.authenticated | Protection.encrypted)) === 0 || (this.sc & Protection.compressed) !== 0)
      throw new DecodeError('security control', at, 'protection without compression');
    this.at = r.at;
    this.end = r.end;
    const least = this.isAuthenticated ? GCM_TAG_SIZE + 1 : 1;
    if (this.end - this.at < least) throw new DecodeError('ciphered content', this.at, `at least ${least} bytes`);
    return this;
  }
}

/** How an APDU is to be ciphered. */
export interface CipherStyle {
  /** Any ciphered tag of the wanted form; the service-specific ones stand for all of their form. */
  readonly tag: number;
  readonly sc: number;
  /** Whether a general APDU leaves its title out. */
  readonly hasTitle: boolean;
}

/** Bytes that ciphering adds to a plain APDU, for APDUs of up to `limit` bytes. */
export function cipherOverhead({ tag, sc, hasTitle }: CipherStyle, limit: number): number {
  const isGeneral = tag === GENERAL_GLO || tag === GENERAL_DED;
  const header = isGeneral ? 2 + (hasTitle ? TITLE_SIZE : 0) : 1;
  return header + sizeOfLength(limit) + CONTROL_SIZE + ((sc & Protection.authenticated) !== 0 ? GCM_TAG_SIZE : 0);
}

/**
 * Ciphers the plain APDU that the writer holds from `plainAt` on, so that the ciphered one begins at `start`. The writer
 * must have `CIPHER_HEADROOM` bytes between them and room for a tag behind.
 */
export function sealApdu(
  w: ByteWriter,
  start: number,
  plainAt: number,
  style: CipherStyle,
  key: CipherKey,
  title: Uint8Array,
  counter: number,
): void {
  const { sc, hasTitle } = style;
  const size = w.at - plainAt;
  const tag = cipheredTagOf(w.buf[plainAt]!, style.tag);
  const tagSize = (sc & Protection.authenticated) !== 0 ? GCM_TAG_SIZE : 0;
  const titleSize = tag !== GENERAL_GLO && tag !== GENERAL_DED ? -1 : hasTitle ? TITLE_SIZE : 0;
  const content = CONTROL_SIZE + size + tagSize;
  const at = start + 1 + (titleSize + 1) + sizeOfLength(content) + CONTROL_SIZE;
  // Lengths are minimal, so the header's size is known only now: an APDU moves by at most the bytes that are left over.
  if (at !== plainAt) w.buf.copyWithin(at, plainAt, plainAt + size);
  w.at = start;
  w.u8(tag);
  if (titleSize >= 0) w.u8(titleSize);
  if (titleSize > 0) w.bytes(title);
  writeLength(w, content);
  w.u8(sc).u32(counter);
  w.at = key.protect(sc, title, counter, w.buf, at, at + size);
}
