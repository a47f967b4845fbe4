/**
 * Security of a client's association (IEC 62056-5-3 §5): high-level authentication towards the server and of the server,
 * and ciphering of what goes to and fro. Every message takes a counter of its own, also the answer to the challenge.
 */

import { equalBytes } from '#base/bytes';
import type { CryptoProvider, SigningKey, VerifyKey } from '#base/crypto';
import { DecodeError, DlmsError } from '#base/errors';
import { Mechanism } from '#dlms/acse';
import {
  CIPHER_HEADROOM,
  CipherHeader,
  CipherKey,
  type CipherStyle,
  cipherOverhead,
  GENERAL_GLO,
  isDedicatedTag,
  plainTagOf,
  sealApdu,
  TITLE_SIZE,
} from '#dlms/cipher';
import { CHALLENGE_SIZE, checkHls, type HlsPass, hlsCounter, isBroken, proveHls } from '#dlms/hls';
import { ByteReader } from '#dlms/reader';
import { GENERAL_SIGNING } from '#dlms/signing';
import type { ByteWriter } from '#dlms/writer';

/** Where a client takes its invocation counters from. */
export interface ClientCounter {
  /** A value above every earlier one under this title and key, 0 when there is none left. */
  next(): number;
  /** Goes on at `value`, which the server asks for. @returns false when that is too far ahead to be believed */
  skipTo(value: number): boolean;
}

/** How far a server may ask a client to go ahead: it says so in the clear. */
const MAX_SKIP = 4096;

/** Counters in memory, for a title that is used during one run only, or from a number that is known to be unused. */
export class MemoryCounter implements ClientCounter {
  #last: number;

  /** @param last  highest value that may have been used */
  constructor(last = 0) {
    this.#last = last;
  }

  next(): number {
    return this.#last >= 0xffff_ffff ? 0 : ++this.#last;
  }

  skipTo(value: number): boolean {
    if (value <= this.#last || value - this.#last > MAX_SKIP) return false;
    this.#last = value - 1;
    return true;
  }
}

export interface ClientSecurityOptions {
  readonly crypto: CryptoProvider;
  /** 5 GMAC, 6 SHA-256, 7 ECDSA; 3 MD5 and 4 SHA-1 for old servers; 0 and 1 cipher without a challenge. */
  readonly mechanism: number;
  /** Mechanisms 3 and 4 are refused without it. */
  readonly allowsBrokenHash?: boolean;
  /** Own system title, 8 bytes; never with the same keys in two places. */
  readonly title: Uint8Array;
  readonly unicast: Uint8Array;
  readonly authentication: Uint8Array;
  readonly counter: ClientCounter;
  /** Challenge of the first association; that of every other is random. */
  readonly challenge?: Uint8Array;
  readonly suite?: 0 | 1;
  /** Ciphered application context with encryption and authentication; default true. */
  readonly isCiphered?: boolean;
  /** Service-specific tags (default) or general-glo-ciphering with the title in each message. */
  readonly style?: 'glo' | 'general';
  /** Ciphers services under a key made for each association. */
  readonly hasDedicatedKey?: boolean;
  /** Mechanisms 3, 4 and 6. */
  readonly secret?: Uint8Array;
  /** Mechanism 7: own private key and the server's public one. */
  readonly signing?: SigningKey;
  readonly serverKey?: VerifyKey;
}

const AUTHENTICATED_ENCRYPTION = 0x30;
const GLO = 0xc8;
const DED = 0xd0;

export class ClientSecurity {
  readonly options: ClientSecurityOptions;
  readonly isCiphered: boolean;
  /** Own challenge of the association that is being opened. */
  challenge: Uint8Array = new Uint8Array(0);
  #firstChallenge: Uint8Array | undefined;
  dedicatedKey: Uint8Array | undefined;
  #serverTitle: Uint8Array = new Uint8Array(TITLE_SIZE);
  /** Counter of the last message. */
  lastCounter = 0;
  /** Last counter of the server, per key: none of its answers is taken twice. */
  #serverLast = -1;
  #dedicatedLast = -1;
  readonly #global: CipherKey;
  #dedicated: CipherKey | null = null;
  readonly #header = new CipherHeader();

  /** @throws DlmsError `config.invalid` for a mechanism that is broken and was not allowed */
  constructor(options: ClientSecurityOptions) {
    if (isBroken(options.mechanism) && !options.allowsBrokenHash)
      throw new DlmsError('config.invalid', `mechanism ${options.mechanism} is broken; a client must allow it by name`);
    this.options = options;
    this.#firstChallenge = options.challenge;
    this.isCiphered = options.isCiphered ?? true;
    this.#global = this.#cipherKey(options.unicast);
  }

  #cipherKey(key: Uint8Array): CipherKey {
    return new CipherKey(this.options.crypto.gcmKey(key), this.options.authentication);
  }

  get isHighLevel(): boolean {
    return this.options.mechanism > Mechanism.password;
  }

  get serverTitle(): Uint8Array {
    return this.#serverTitle;
  }

  /** A new association: a fresh challenge, and a fresh dedicated key where one is wanted. */
  begin(): void {
    const { crypto, hasDedicatedKey, unicast } = this.options;
    this.challenge = this.#firstChallenge ?? crypto.random(CHALLENGE_SIZE);
    this.#firstChallenge = undefined;
    this.dedicatedKey = hasDedicatedKey && this.isCiphered ? crypto.random(unicast.length) : undefined;
    this.#dedicated = null;
    this.#dedicatedLast = -1;
  }

  /** Whether what an AARE of this server holds came before something that was opened already; it may be forged. */
  isBehind(serverTitle: Uint8Array | null, userInformation: Uint8Array): boolean {
    const header = new CipherHeader();
    try {
      header.read(new ByteReader(userInformation));
    } catch (error) {
      if (error instanceof DecodeError) return false;
      throw error;
    }
    return equalBytes(serverTitle ?? this.#serverTitle, this.#serverTitle) && header.counter <= this.#serverLast;
  }

  /** What the AARE says of the server. @throws DlmsError when its title changed within the life of this client */
  meet(serverTitle: Uint8Array | null): void {
    if (!serverTitle) return;
    if (serverTitle.length !== TITLE_SIZE) throw failed('a system title of another size');
    // The counters that were seen belong to the title.
    if (!equalBytes(serverTitle, this.#serverTitle)) this.#serverLast = -1;
    this.#serverTitle = serverTitle.slice();
  }

  /** From now on services go under the dedicated key, where there is one. */
  useDedicated(): void {
    this.#dedicated = this.dedicatedKey ? this.#cipherKey(this.dedicatedKey) : null;
  }

  #style(isService: boolean): CipherStyle {
    const sc = AUTHENTICATED_ENCRYPTION | (this.options.suite ?? 0);
    const isDedicated = isService && this.#dedicated !== null;
    return { tag: isDedicated ? DED : this.options.style === 'general' ? GENERAL_GLO : GLO, sc, hasTitle: true };
  }

  /** Bytes that ciphering adds to a service request of up to `limit` bytes. */
  overhead(limit: number): number {
    return cipherOverhead({ ...this.#style(true), tag: GENERAL_GLO }, limit);
  }

  /**
   * Ciphers the plain APDU that the writer holds from `start + CIPHER_HEADROOM` on.
   * @throws DlmsError `dlms.counters-used-up`
   */
  seal(w: ByteWriter, start: number): void {
    const plainAt = start + CIPHER_HEADROOM;
    const tag = w.buf[plainAt]!;
    const isService = tag >= 0x20;
    // Only the general form can say what a signed request is.
    const style = tag === GENERAL_SIGNING ? { ...this.#style(false), tag: GENERAL_GLO } : this.#style(isService);
    const key = isDedicatedTag(style.tag) ? this.#dedicated! : this.#global;
    sealApdu(w, start, plainAt, style, key, this.options.title, this.#next());
  }

  #next(): number {
    const counter = this.options.counter.next();
    if (counter === 0)
      throw new DlmsError('dlms.counters-used-up', 'no invocation counter is left under this key: set new keys');
    this.lastCounter = counter;
    return counter;
  }

  /** Opens a ciphered APDU in place. @returns the plain one, null when it is forged, repeated or of another kind */
  open(r: ByteReader): ByteReader | null {
    const header = this.#header;
    try {
      header.read(r);
    } catch (error) {
      if (error instanceof DecodeError) return null;
      throw error;
    }
    const { tag, sc, titleAt, counter } = header;
    const isDedicated = isDedicatedTag(tag);
    const key = isDedicated ? this.#dedicated : this.#global;
    const wanted = AUTHENTICATED_ENCRYPTION | (this.options.suite ?? 0);
    if (!key || sc !== wanted || counter <= (isDedicated ? this.#dedicatedLast : this.#serverLast)) return null;
    if (titleAt >= 0 && !equalBytes(r.buf.subarray(titleAt, titleAt + TITLE_SIZE), this.#serverTitle)) return null;
    const end = key.unprotect(sc, this.#serverTitle, counter, r.buf, header.at, header.end);
    if (end < 0) return null;
    const outer = plainTagOf(tag);
    if (outer >= 0 && r.buf[header.at] !== outer) return null;
    if (isDedicated) this.#dedicatedLast = counter;
    else this.#serverLast = counter;
    return r.reset(r.buf, header.at, end);
  }

  #pass(isOwn: boolean, serverChallenge: Uint8Array): HlsPass {
    const { crypto, mechanism, title, secret, suite } = this.options;
    const [prover, verifier] = isOwn ? [title, this.#serverTitle] : [this.#serverTitle, title];
    const [received, sent] = isOwn ? [serverChallenge, this.challenge] : [this.challenge, serverChallenge];
    return { crypto, mechanism, prover, verifier, received, sent, secret, key: this.#global, suite };
  }

  /** Answers the server's challenge. @throws DlmsError when the challenge is ours, or the mechanism lacks its key */
  prove(serverChallenge: Uint8Array): Uint8Array {
    if (equalBytes(serverChallenge, this.challenge)) throw failed('our own challenge');
    const { mechanism, signing } = this.options;
    const proof = proveHls(this.#pass(true, serverChallenge), mechanism === Mechanism.gmac ? this.#next() : 0, signing);
    if (!proof) throw new DlmsError('config.invalid', `mechanism ${mechanism} has no key or secret`);
    return proof;
  }

  /** Judges the server's answer to our challenge. @throws DlmsError `dlms.authentication-failed` */
  check(serverChallenge: Uint8Array, proof: Uint8Array): void {
    if (!checkHls(this.#pass(false, serverChallenge), proof, this.options.serverKey))
      throw failed('a wrong answer to our challenge');
    if (this.options.mechanism === Mechanism.gmac && !this.isCiphered)
      this.#serverLast = Math.max(this.#serverLast, hlsCounter(proof));
  }
}

function failed(what: string): DlmsError {
  return new DlmsError('dlms.authentication-failed', `the server did not prove itself: ${what}`);
}
