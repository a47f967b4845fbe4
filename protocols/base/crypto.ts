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
