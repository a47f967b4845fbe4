/**
 * Security of a server (IEC 62056-5-3 §5): the keys and the policy of a security setup, and the cipher of one association
 * under it. Keys may change while associations are open: an answer leaves under the key that its request came under.
 *
 * All failures look alike from outside: a wrong tag, an unknown title, a foreign suite and a missing key give the same
 * outcome. A counter that is too low is told apart only after the tag was found right.
 */

import { equalBytes } from '#base/bytes';
import type { CryptoProvider, SigningKey, VerifyKey } from '#base/crypto';
import { DecodeError } from '#base/errors';
import { isCipheredTag } from '#dlms/apdu';
import {
  CIPHER_HEADROOM,
  CipherHeader,
  CipherKey,
  type CipherStyle,
  cipherOverhead,
  isDedicatedTag,
  Protection,
  plainTagOf,
  sealApdu,
  TITLE_SIZE,
} from '#dlms/cipher';
import type { CounterBook } from '#dlms/counters';
import type { ByteReader } from '#dlms/reader';
import type { ByteWriter } from '#dlms/writer';

/** Security policy of class 64 version 0: what every APDU must have. */
export const Policy = { none: 0, authenticated: 1, encrypted: 2, both: 3 } as const;

export interface KeySet {
  /** Global unicast encryption key. */
  readonly unicast: Uint8Array;
  readonly authentication: Uint8Array;
  /** Wraps the others in a key transfer. */
  readonly master: Uint8Array;
  readonly broadcast?: Uint8Array | undefined;
}

/** Keys of one client alone. */
export interface ClientKeys {
  readonly unicast: Uint8Array;
  readonly authentication: Uint8Array;
  /** Column of the access table in place of the association's. */
  readonly role?: string;
}

export interface SecurityOptions {
  readonly crypto: CryptoProvider;
  readonly counters: CounterBook;
  /** Own system title, 8 bytes. */
  readonly serverTitle: Uint8Array;
  /** The only client title that is served; any by default, since each counts by itself. */
  readonly clientTitle?: Uint8Array | undefined;
  readonly suite?: 0 | 1;
  /** Default: both. */
  readonly policy?: number;
  readonly keys: KeySet;
  /**
   * Gives each client keys of its own, in place of `keys`, out of the title that it claims; null serves it nothing. Asked
   * when an association opens, and again after `renew`. The bytes are the asker's, who wipes them.
   * @param source  where the request came from: `ISD-AS,host` over SCION, else an address of the transport
   */
  readonly keysOf?: ((clientTitle: Uint8Array, source: string) => ClientKeys | null) | undefined;
  /**
   * Asked before keys are tried that come from a code: whether they may be now.
   * @param mustWait  the source has failed too often
   * @param clientTitle  8 bytes
   * @param challenge  of the client, empty when there is none
   * @returns undefined when the keys are none that anybody could guess
   */
  readonly mayGuess?:
    | ((mustWait: boolean, clientTitle: Uint8Array, challenge: Uint8Array) => boolean | undefined)
    | undefined;
  /** Own signing key, and the client's public one: mechanism 7. */
  readonly signing?: SigningKey | undefined;
  readonly clientKey?: VerifyKey | undefined;
  /** Keeps what a client changed; a failure means that nothing has changed. */
  readonly onChange?: (keys: KeySet, policy: number) => void;
}

/** Numbers of keys in a key transfer. */
const KEY_NAMES: readonly (keyof KeySet)[] = ['unicast', 'broadcast', 'authentication', 'master'];

export class ServerSecurity {
  readonly options: SecurityOptions;
  readonly suite: 0 | 1;
  #keys: KeySet;
  #policy: number;
  #unicast: CipherKey;
  #broadcast: CipherKey | null;
  /** Title of the client that associated last; zeros before. */
  lastClient: Uint8Array;
  /** Counts `renew`. */
  generation = 0;

  constructor(options: SecurityOptions) {
    this.options = options;
    this.suite = options.suite ?? 0;
    this.#policy = options.policy ?? Policy.both;
    this.#keys = copyOf(options.keys);
    this.#unicast = this.cipherKey(options.keys.unicast);
    this.#broadcast = options.keys.broadcast ? this.cipherKey(options.keys.broadcast) : null;
    this.lastClient = options.clientTitle ?? new Uint8Array(TITLE_SIZE);
  }

  get policy(): number {
    return this.#policy;
  }

  get unicast(): CipherKey {
    return this.#unicast;
  }

  get broadcast(): CipherKey | null {
    return this.#broadcast;
  }

  /** A cipher key, with the authentication key of this setup unless another is given. */
  cipherKey(key: Uint8Array, authentication = this.#keys.authentication): CipherKey {
    return new CipherKey(this.options.crypto.gcmKey(key), authentication);
  }

  /** What `keysOf` says may be another thing now: open associations ask it again before their next request. */
  renew(): void {
    this.generation++;
  }

  /** Whether a security control byte has the suite and everything that the policy asks for. */
  conforms(sc: number): boolean {
    return (sc & 0x0f) === this.suite && ((sc >> 4) & this.#policy) === this.#policy;
  }

  /** Raises the policy; lowering it is refused. @returns whether it holds now */
  activate(policy: number): boolean {
    if (policy < 0 || policy > Policy.both || (policy & this.#policy) !== this.#policy) return false;
    return this.#change(this.#keys, policy);
  }

  /**
   * Takes new keys that are wrapped with the master key: all of them or none.
   * @param wrapped  number of the key (0 unicast, 1 broadcast, 2 authentication, 3 master) and its wrapped form
   */
  transfer(wrapped: readonly (readonly [number, Uint8Array])[]): boolean {
    const next: { -readonly [Name in keyof KeySet]: KeySet[Name] } = { ...this.#keys };
    const size = this.#keys.unicast.length;
    const isWhole = wrapped.every(([number, value]) => {
      const name = KEY_NAMES[number];
      const key = this.options.crypto.unwrapKey(this.#keys.master, value);
      if (!name || key?.length !== size) return false;
      next[name] = key;
      return true;
    });
    const isDone = isWhole && wrapped.length > 0 && this.#change(next, this.#policy);
    if (!isDone) wipe(next, this.#keys);
    return isDone;
  }

  #change(keys: KeySet, policy: number): boolean {
    try {
      this.options.onChange?.(keys, policy);
    } catch {
      return false;
    }
    this.#policy = policy;
    if (keys === this.#keys) return true;
    wipe(this.#keys, keys);
    this.#keys = keys;
    this.#unicast = this.cipherKey(keys.unicast);
    this.#broadcast = keys.broadcast ? this.cipherKey(keys.broadcast) : null;
    return true;
  }
}

function copyOf(keys: KeySet): KeySet {
  return Object.fromEntries(Object.entries(keys).map(([name, key]) => [name, key?.slice()])) as unknown as KeySet;
}

/** Wipes the keys of a set that another one has not kept. */
function wipe(keys: KeySet, kept: KeySet): void {
  for (const name of KEY_NAMES) if (keys[name] !== kept[name]) keys[name]?.fill(0);
}

/**
 * What became of a ciphered APDU. `behind-restart` is a counter that may have been used before a restart and may as well
 * be the honest next one: it is refused as a replay is, but proves none.
 */
export type Opening = 'open' | 'undecipherable' | 'replayed' | 'behind-restart' | 'no-storage';

export class AssociationCipher {
  readonly security: ServerSecurity;
  /** Of the open or opening association. */
  clientTitle: Uint8Array = new Uint8Array(TITLE_SIZE);
  /** How the last APDU that was opened came, and how its answer goes. */
  readonly #style: { tag: number; sc: number; hasTitle: boolean } = { tag: 0, sc: 0, hasTitle: true };
  readonly #header = new CipherHeader();
  #answerKey: CipherKey;
  /** Keys of this client alone, where the setup has such. */
  #own: ClientKeys | null = null;
  #ownKey: CipherKey | null = null;
  #generation = -1;
  #dedicated: CipherKey | null = null;
  #dedicatedLast = -1;
  /** Last counter without a tag to vouch for it; not worth persisting. */
  #unauthenticatedLast = -1;

  readonly #source: string;

  /** @param source  whom requests come from, see `keysOf` */
  constructor(security: ServerSecurity, source = '') {
    this.security = security;
    this.#source = source;
    this.#answerKey = security.unicast;
  }

  /** A new association begins. */
  begin(clientTitle: Uint8Array): void {
    this.clientTitle = clientTitle.slice();
    this.#generation = -1;
    this.setDedicated(null);
    this.#unauthenticatedLast = -1;
  }

  setDedicated(key: Uint8Array | null): void {
    this.#dedicated = key && this.security.cipherKey(key, this.#own?.authentication);
    key?.fill(0);
    this.#dedicatedLast = -1;
  }

  /** The global unicast key of this client; null when there is none for it. */
  get unicast(): CipherKey | null {
    const { security } = this;
    const { keysOf } = security.options;
    if (!keysOf) return security.unicast;
    if (this.#generation !== security.generation) {
      this.#generation = security.generation;
      this.#own?.authentication.fill(0);
      this.#own = keysOf(this.clientTitle, this.#source);
      this.#ownKey = this.#own && security.cipherKey(this.#own.unicast, this.#own.authentication);
      this.#own?.unicast.fill(0);
    }
    return this.#ownKey;
  }

  /** Column of the access table, where the client's keys name one. */
  get role(): string | undefined {
    return this.#own?.role;
  }

  get style(): CipherStyle {
    return this.#style;
  }

  /** Counter of the APDU that was opened last. */
  get counter(): number {
    return this.#header.counter;
  }

  get isBroadcast(): boolean {
    return (this.#style.sc & Protection.broadcast) !== 0;
  }

  /** The lowest counter that is accepted now under the key of the last APDU. */
  get expected(): number {
    return Math.min(0xffff_ffff, this.#last() + 1);
  }

  /** Opens the ciphered APDU at the reader in place; the reader then holds the plain APDU. */
  open(r: ByteReader): Opening {
    const header = this.#header;
    try {
      header.read(r);
    } catch (error) {
      if (error instanceof DecodeError) return 'undecipherable';
      throw error;
    }
    const { tag, sc, titleAt } = header;
    const title = this.clientTitle;
    const key = this.#keyOf(tag, sc);
    if (!key || !this.security.conforms(sc & ~Protection.broadcast)) return 'undecipherable';
    if (titleAt >= 0 && !equalBytes(r.buf.subarray(titleAt, titleAt + TITLE_SIZE), title)) return 'undecipherable';
    const end = key.unprotect(sc, title, header.counter, r.buf, header.at, header.end);
    if (end < 0) return 'undecipherable';
    r.reset(r.buf, header.at, end);
    const inner = r.buf[header.at]!;
    const outer = plainTagOf(tag);
    // Exactly one layer, and a service-specific tag names what is inside.
    if (outer >= 0 ? inner !== outer : isCipheredTag(inner)) return 'undecipherable';
    this.#style.tag = tag;
    this.#style.sc = sc;
    this.#style.hasTitle = titleAt >= 0;
    this.#answerKey = key;
    return this.#accept();
  }

  #keyOf(tag: number, sc: number): CipherKey | null {
    const { unicast } = this;
    // A client that has lost its keys has lost the dedicated one, too.
    if (isDedicatedTag(tag)) return unicast && this.#dedicated;
    return (sc & Protection.broadcast) !== 0 ? this.security.broadcast : unicast;
  }

  #last(): number {
    if (!this.#header.isAuthenticated) return this.#unauthenticatedLast;
    if (isDedicatedTag(this.#style.tag)) return this.#dedicatedLast;
    return this.security.options.counters.last(this.clientTitle);
  }

  #accept(): Opening {
    const { counter } = this.#header;
    const { counters } = this.security.options;
    const isPersisted = this.#header.isAuthenticated && !isDedicatedTag(this.#style.tag);
    if (counter <= this.#last())
      return isPersisted && counters.isBehindRestart(this.clientTitle, counter) ? 'behind-restart' : 'replayed';
    if (!this.#header.isAuthenticated) this.#unauthenticatedLast = counter;
    else if (!isPersisted) this.#dedicatedLast = counter;
    else if (!counters.accept(this.clientTitle, counter)) return 'no-storage';
    return 'open';
  }

  /** Bytes that the answer's ciphering adds. @param limit  longest APDU of the answer */
  overhead(limit: number): number {
    return cipherOverhead(this.#style, limit);
  }

  /**
   * Ciphers the plain answer that the writer holds from `start + CIPHER_HEADROOM` on, in the style of the request.
   * @returns false when no counter is left: nothing may be sent under this key any more
   */
  seal(w: ByteWriter, start: number): boolean {
    const { counters, serverTitle } = this.security.options;
    const counter = counters.next();
    if (counter === 0) return false;
    sealApdu(w, start, start + CIPHER_HEADROOM, this.#style, this.#answerKey, serverTitle, counter);
    return true;
  }
}
