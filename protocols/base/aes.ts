/**
 * AES-128, the forward block only (FIPS 197), for CMAC and the hop fields of SCION.
 *
 * Written for a router: the key is expanded once, a block is four 32-bit words, and nothing is allocated per block.
 * The round uses one 1 KiB table and rotations. A table lookup depends on secret data, so a process that shares the
 * cache can in principle learn about the key; keys used here stay inside one process on a device without strangers.
 * Leaves out decryption, other key sizes and modes.
 */

import { readI32, writeU32 } from '#base/bytes';
import type { BlockCipher } from '#base/crypto';

const ROUNDS = 10;
const SBOX = new Uint8Array(256);
/** MixColumns of SubBytes for the top byte: (2s, s, s, 3s); the other bytes use rotations of it. */
const T0 = new Int32Array(256);

/** Multiplication by x in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1. */
const xtime = (a: number): number => ((a << 1) ^ (a & 0x80 ? 0x11b : 0)) & 0xff;

function fillTables(): void {
  // p runs through all powers of the generator 3 and q through their inverses.
  let p = 1;
  let q = 1;
  do {
    p = p ^ xtime(p);
    q ^= q << 1;
    q ^= q << 2;
    q ^= q << 4;
    q &= 0xff;
    if (q & 0x80) q ^= 0x09;
    const rotated = q ^ (q << 1) ^ (q << 2) ^ (q << 3) ^ (q << 4);
    SBOX[p] = ((rotated ^ (rotated >> 8)) & 0xff) ^ 0x63;
  } while (p !== 1);
  SBOX[0] = 0x63;
  for (let i = 0; i < 256; i++) {
    const s = SBOX[i]!;
    const s2 = xtime(s);
    T0[i] = (s2 << 24) | (s << 16) | (s << 8) | (s2 ^ s);
  }
}
fillTables();

function subWord(w: number): number {
  return (SBOX[w >>> 24]! << 24) | (SBOX[(w >>> 16) & 0xff]! << 16) | (SBOX[(w >>> 8) & 0xff]! << 8) | SBOX[w & 0xff]!;
}

/** AES-128 under one key. */
export class Aes128 implements BlockCipher {
  /** Result of `encryptWords`, four big-endian words. */
  readonly words = new Int32Array(4);
  private readonly keys = new Int32Array(4 * (ROUNDS + 1));

  /**
   * @param key  16 bytes
   * @throws RangeError on another length
   */
  constructor(key: Uint8Array) {
    if (key.length !== 16) throw new RangeError(`AES-128 key of ${key.length} bytes; expected 16`);
    this.setKey(key, 0);
  }

  /** Takes another key, the 16 bytes at `at`: for keys that change from packet to packet. */
  setKey(key: Uint8Array, at: number): void {
    const keys = this.keys;
    for (let i = 0; i < 4; i++) keys[i] = readI32(key, at + 4 * i);
    let constant = 1;
    for (let i = 4; i < keys.length; i++) {
      let t = keys[i - 1]!;
      if (i % 4 === 0) {
        t = subWord((t << 8) | (t >>> 24)) ^ (constant << 24);
        constant = xtime(constant);
      }
      keys[i] = keys[i - 4]! ^ t;
    }
  }

  /** Encrypts one block given as big-endian words; the result is in `words`. */
  encryptWords(w0: number, w1: number, w2: number, w3: number): void {
    const keys = this.keys;
    let a = w0 ^ keys[0]!;
    let b = w1 ^ keys[1]!;
    let c = w2 ^ keys[2]!;
    let d = w3 ^ keys[3]!;
    for (let k = 4; k < 4 * ROUNDS; k += 4) {
      const e = column(a, b, c, d) ^ keys[k]!;
      const f = column(b, c, d, a) ^ keys[k + 1]!;
      const g = column(c, d, a, b) ^ keys[k + 2]!;
      d = column(d, a, b, c) ^ keys[k + 3]!;
      a = e;
      b = f;
      c = g;
    }
    const words = this.words;
    words[0] = lastColumn(a, b, c, d) ^ keys[40]!;
    words[1] = lastColumn(b, c, d, a) ^ keys[41]!;
    words[2] = lastColumn(c, d, a, b) ^ keys[42]!;
    words[3] = lastColumn(d, a, b, c) ^ keys[43]!;
  }

  /** Encrypts 16 bytes; the ranges may be the same. */
  encryptBlock(input: Uint8Array, inputAt: number, out: Uint8Array, outAt: number): void {
    this.encryptWords(
      readI32(input, inputAt),
      readI32(input, inputAt + 4),
      readI32(input, inputAt + 8),
      readI32(input, inputAt + 12),
    );
    const words = this.words;
    writeU32(out, outAt, words[0]!);
    writeU32(out, outAt + 4, words[1]!);
    writeU32(out, outAt + 8, words[2]!);
    writeU32(out, outAt + 12, words[3]!);
  }
}

/** One column of SubBytes, ShiftRows and MixColumns: byte i comes from column i of the four given. */
function column(a: number, b: number, c: number, d: number): number {
  const x = T0[(b >>> 16) & 0xff]!;
  const y = T0[(c >>> 8) & 0xff]!;
  const z = T0[d & 0xff]!;
  return T0[a >>> 24]! ^ ((x >>> 8) | (x << 24)) ^ ((y >>> 16) | (y << 16)) ^ ((z >>> 24) | (z << 8));
}

/** The same without MixColumns, for the last round. */
function lastColumn(a: number, b: number, c: number, d: number): number {
  return (SBOX[a >>> 24]! << 24) | (SBOX[(b >>> 16) & 0xff]! << 16) | (SBOX[(c >>> 8) & 0xff]! << 8) | SBOX[d & 0xff]!;
}
