/**
 * A firmware image: the bundle with its signed manifest, as it travels by image transfer (class 18) and lies in a slot.
 *
 *   0      4   5
 *   | S3FW | 1 | n | model, n bytes | version 3 × u16 | minimum 3 × u16 | size u32 | SHA-256 of the content, 32 |
 *   | signature r ‖ s, 64 | content | SHA-256 of all before, 32 |
 *
 * The signature (ECDSA P-256, SHA-256) of the offline release key covers everything before itself, and through the digest
 * the content. The last field is what class 18 compares after a transfer; it proves nothing about the origin.
 *
 * `minimum` is the oldest firmware that can hand over to this one.
 */

import { asciiBytes, asciiText, equalBytes, readU16, readU32, writeBytes, writeU16, writeU32 } from '#base/bytes';
import type { CryptoProvider, SigningKey, VerifyKey } from '#base/crypto';
import { DecodeError, S3mpError } from '#base/errors';

/** Major, minor, patch. */
export type Version = readonly [number, number, number];

export interface FirmwareManifest {
  /** 1…32 ASCII characters. */
  readonly model: string;
  readonly version: Version;
  readonly minimum: Version;
}

/** An image that was read; all of it is views. */
export interface FirmwareImage extends FirmwareManifest {
  readonly digest: Uint8Array;
  /** What the signature covers. */
  readonly signed: Uint8Array;
  readonly signature: Uint8Array;
  readonly content: Uint8Array;
}

type Hash = Pick<CryptoProvider, 'hash'>;

const MAGIC = 0x5333_4657;
const FORMAT = 1;
const DIGEST = 32;
const SIGNATURE = 64;
const MAX_MODEL = 32;
/** Bytes around model and content. */
const FIXED = 6 + 6 + 6 + 4 + DIGEST + SIGNATURE + DIGEST;

/** @returns -1, 0 or 1 as `a` is older than, equal to or newer than `b` */
export function compareVersions(a: Version, b: Version): number {
  for (const i of [0, 1, 2] as const) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
  return 0;
}

/** @returns undefined for what is not `1.2.3` with numbers below 65536 */
export function parseVersion(text: string): Version | undefined {
  const parts = /^(\d{1,5})\.(\d{1,5})\.(\d{1,5})$/.exec(text)?.slice(1).map(Number);
  return parts?.every((part) => part < 65_536) ? (parts as unknown as Version) : undefined;
}

/** @throws S3mpError `encode.out-of-range` for a model that is no ASCII text of 1…32 characters */
export function encodeFirmwareImage(
  { model, version, minimum }: FirmwareManifest,
  content: Uint8Array,
  key: SigningKey,
  { hash }: Hash,
): Uint8Array {
  if (!/^[!-~]{1,32}$/.test(model)) throw new S3mpError('encode.out-of-range', `model "${model}": 1…32 characters`);
  const out = new Uint8Array(FIXED + model.length + content.length);
  let at = writeU32(out, 0, MAGIC);
  out[at++] = FORMAT;
  out[at++] = model.length;
  at = writeBytes(out, at, asciiBytes(model));
  for (const part of [...version, ...minimum]) at = writeU16(out, at, part);
  at = writeU32(out, at, content.length);
  at = writeBytes(out, at, hash('sha256', content));
  at = writeBytes(out, at, key.sign(out.subarray(0, at)));
  at = writeBytes(out, at, content);
  writeBytes(out, at, hash('sha256', out.subarray(0, at)));
  return out;
}

/** Reads an image without believing it. @throws DecodeError */
export function decodeFirmwareImage(buf: Uint8Array): FirmwareImage {
  if (buf.length < FIXED + 1) throw new DecodeError('firmware image', buf.length, 'more bytes', 'decode.truncated');
  if (readU32(buf, 0) !== MAGIC || buf[4] !== FORMAT) throw new DecodeError('firmware image', 0, 'S3FW, format 1');
  const length = buf[5]!;
  if (length < 1 || length > MAX_MODEL) throw new DecodeError('model', 5, `1…${MAX_MODEL} characters`);
  if (buf.length < FIXED + length + 1)
    throw new DecodeError('firmware image', buf.length, 'more bytes', 'decode.truncated');
  let at = 6 + length;
  const model = asciiText(buf, 6, at);
  const version = (): Version => {
    at += 6;
    return [readU16(buf, at - 6), readU16(buf, at - 4), readU16(buf, at - 2)];
  };
  const own = version();
  const minimum = version();
  const size = readU32(buf, at);
  if (size !== buf.length - FIXED - length) throw new DecodeError('content', at, `${size} bytes of content`);
  const digest = buf.subarray(at + 4, at + 4 + DIGEST);
  at += 4 + DIGEST;
  const contentAt = at + SIGNATURE;
  return {
    model,
    version: own,
    minimum,
    digest,
    signed: buf.subarray(0, at),
    signature: buf.subarray(at, contentAt),
    content: buf.subarray(contentAt, contentAt + size),
  };
}

export type ImageRefusal = 'signature' | 'digest' | 'model' | 'older' | 'too-far';

/** Whether an image is ours and whole. Signature first: nothing else of it is believed before. */
export function verifyFirmwareImage(
  { signed, signature, digest, content }: FirmwareImage,
  key: VerifyKey,
  { hash }: Hash,
): ImageRefusal | null {
  if (!key.verify(signed, signature)) return 'signature';
  return equalBytes(digest, hash('sha256', content)) ? null : 'digest';
}

/**
 * Whether a verified image may take over: right model, newer than what runs, not older than the newest that ever proved
 * itself here, and not further ahead than its minimum allows.
 */
export function judgeFirmwareImage(
  image: FirmwareManifest,
  here: { readonly model: string; readonly running: Version; readonly highest: Version },
): ImageRefusal | null {
  if (image.model !== here.model) return 'model';
  if (compareVersions(image.version, here.running) <= 0) return 'older';
  if (compareVersions(image.version, here.highest) < 0) return 'older';
  return compareVersions(here.running, image.minimum) < 0 ? 'too-far' : null;
}
