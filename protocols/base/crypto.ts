/**
 * What the protocols need from cryptography. `hw` provides node:crypto behind some of these; the defaults are pure
 * libraries, so the protocols run in any JavaScript engine.
 */

/** Fills `out[at, at+length)` with unpredictable bytes. */
export type RandomFill = (out: Uint8Array, at: number, length: number) => void;

/** One AES-128 block operation under a fixed key; in and out may be the same buffer. */
export interface BlockCipher {
  encryptBlock(input: Uint8Array, inputAt: number, out: Uint8Array, outAt: number): void;
}

/** Milliseconds since the Unix epoch (wall clock). */
export type WallClock = () => number;

/** Milliseconds that only grow, from an arbitrary start. */
export type SteadyClock = () => number;

/** Bytes of a GCM tag as DLMS sends it. */
export const GCM_TAG_SIZE = 12;

/** AES-GCM (NIST SP 800-38D) under one key, 12-byte IV and 12-byte tag, in place. */
export interface GcmKey {
  /** Encrypts `buf[at, end)` in place and writes the tag to `buf[end, end + 12)`. */
  seal(iv: Uint8Array, aad: Uint8Array, buf: Uint8Array, at: number, end: number): void;
  /** Decrypts `buf[at, end)` in place, the tag being at `end`. @returns false, with the range overwritten, when forged */
  open(iv: Uint8Array, aad: Uint8Array, buf: Uint8Array, at: number, end: number): boolean;
  /** Writes the tag over `aad` and `buf[at, end)`, nothing being encrypted, to `out[outAt, outAt + 12)`. */
  mac(iv: Uint8Array, aad: Uint8Array, buf: Uint8Array, at: number, end: number, out: Uint8Array, outAt: number): void;
  /** Encrypts or decrypts `buf[at, end)` in place without any tag. */
  crypt(iv: Uint8Array, buf: Uint8Array, at: number, end: number): void;
}

/** A private P-256 key that signs (ECDSA with SHA-256). */
export interface SigningKey {
  /** @returns r ‖ s, 64 bytes */
  sign(message: Uint8Array): Uint8Array;
}

/** A public P-256 key that checks signatures. */
export interface VerifyKey {
  /** @param signature  r ‖ s; any other length is wrong */
  verify(message: Uint8Array, signature: Uint8Array): boolean;
}

/** Everything that ciphered DLMS and its key derivation need; `hw/crypto.ts` has it from node:crypto. */
export interface CryptoProvider {
  /** Unpredictable bytes. */
  random(length: number): Uint8Array;
  /** @param key  16 or 32 bytes */
  gcmKey(key: Uint8Array): GcmKey;
  hash(name: 'sha256' | 'sha1' | 'md5', message: Uint8Array): Uint8Array;
  /** HKDF with SHA-256 (RFC 5869). */
  hkdf(salt: Uint8Array, secret: Uint8Array, info: Uint8Array, length: number): Uint8Array;
  /** AES key wrap (RFC 3394). @returns undefined when the wrapped key is not whole multiples of 8 bytes, or not under this key */
  unwrapKey(kek: Uint8Array, wrapped: Uint8Array): Uint8Array | undefined;
  /** @param privateKey  32 bytes */
  signingKey(privateKey: Uint8Array): SigningKey;
  /** @param publicKey  65 bytes, uncompressed point */
  verifyKey(publicKey: Uint8Array): VerifyKey;
}
