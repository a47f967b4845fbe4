/**
 * AES-CMAC (RFC 4493) over messages in pieces, without allocation per message.
 *
 *   const mac = new AesCmac(key);
 *   mac.reset(); mac.update(bytes, 0, bytes.length); mac.digestInto(tag, 0);
 *
 * A message of exactly one block, as every hop field is, takes one cipher call: `AES(K, block XOR K1)`.
 */

import { Aes128 } from '#base/aes';
import { writeU32 } from '#base/bytes';

const BLOCK = 16;

export class AesCmac {
  /** Words of the tag after `oneBlock`, big-endian. */
  readonly words: Int32Array;
  private readonly cipher: Aes128;
  private readonly k1 = new Int32Array(4);
  private readonly k2 = new Int32Array(4);
  private readonly chain = new Uint8Array(BLOCK);
  private readonly pending = new Uint8Array(BLOCK);
  private pendingLength = 0;

  /**
   * @param key  16 bytes
   * @throws RangeError on another length
   */
  constructor(key: Uint8Array) {
    this.cipher = new Aes128(key);
    this.words = this.cipher.words;
    this.cipher.encryptWords(0, 0, 0, 0);
    double(this.words, this.k1);
    double(this.k1, this.k2);
  }

  /** Tag of one whole block given as big-endian words, into `words`. Does not disturb a message under way. */
  oneBlock(w0: number, w1: number, w2: number, w3: number): void {
    const k1 = this.k1;
    this.cipher.encryptWords(w0 ^ k1[0]!, w1 ^ k1[1]!, w2 ^ k1[2]!, w3 ^ k1[3]!);
  }

  reset(): void {
    this.chain.fill(0);
    this.pendingLength = 0;
  }

  /** Adds the bytes `[at, end)`. */
  update(bytes: Uint8Array, at: number, end: number): void {
    const { chain, pending } = this;
    let length = this.pendingLength;
    for (let i = at; i < end; i++) {
      // The last block is masked by a subkey, so a full one waits until a further byte shows that it is not the last.
      if (length === BLOCK) {
        for (let k = 0; k < BLOCK; k++) chain[k]! ^= pending[k]!;
        this.cipher.encryptBlock(chain, 0, chain, 0);
        length = 0;
      }
      pending[length++] = bytes[i]!;
    }
    this.pendingLength = length;
  }

  /** Writes the 16-byte tag and starts over. @returns offset after the tag */
  digestInto(out: Uint8Array, at: number): number {
    const { chain, pending } = this;
    const whole = this.pendingLength === BLOCK;
    if (!whole) {
      pending[this.pendingLength] = 0x80;
      pending.fill(0, this.pendingLength + 1);
    }
    const subkey = whole ? this.k1 : this.k2;
    for (let k = 0; k < BLOCK; k++) chain[k]! ^= pending[k]! ^ ((subkey[k >> 2]! >>> (24 - 8 * (k & 3))) & 0xff);
    this.cipher.encryptBlock(chain, 0, out, at);
    this.reset();
    return at + BLOCK;
  }

  /** Tag of `bytes[at, end)` into `out`. @returns offset after the tag */
  compute(bytes: Uint8Array, at: number, end: number, out: Uint8Array, outAt: number): number {
    this.reset();
    this.update(bytes, at, end);
    return this.digestInto(out, outAt);
  }

  /** Writes `words` as bytes, for callers of `oneBlock` that want the whole tag. */
  writeWords(out: Uint8Array, at: number): number {
    for (let i = 0; i < 4; i++) at = writeU32(out, at, this.words[i]!);
    return at;
  }
}

/** Doubling in GF(2^128) (RFC 4493 §2.3). */
function double(from: Int32Array, to: Int32Array): void {
  const carry = from[0]! < 0 ? 0x87 : 0;
  const [a, b, c, d] = [from[0]!, from[1]!, from[2]!, from[3]!];
  to[0] = (a << 1) | (b >>> 31);
  to[1] = (b << 1) | (c >>> 31);
  to[2] = (c << 1) | (d >>> 31);
  to[3] = (d << 1) ^ carry;
}
