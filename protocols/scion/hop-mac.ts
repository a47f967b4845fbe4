/**
 * Hop-field MAC and its key (draft-dekater-scion-dataplane §4.1.1; scionproto pkg/slayers/path/mac.go, pkg/scrypto).
 *
 *   | 0 (2) | SegID (2) | timestamp (4) | 0 | ExpTime | ConsIngress (2) | ConsEgress (2) | 0 (2) |  AES-128-CMAC, 6 bytes
 *
 * Flags of hop and info are not covered. The chain over a segment: SegID of the next hop = SegID ^ MAC[0..1].
 */

import { pbkdf2 } from '@noble/hashes/pbkdf2.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { asciiBytes, readU16, readU32 } from '#base/bytes';
import { AesCmac } from '#base/cmac';

const SALT = asciiBytes('Derive OF Key');
const ITERATIONS = 1000;

/** Hop-field key of an AS from its master secret (`keys/master0.key` after base64), 16 bytes. */
export function deriveHopKey(masterSecret: Uint8Array): Uint8Array {
  return pbkdf2(sha256, masterSecret, SALT, { c: ITERATIONS, dkLen: 16 });
}

/** Computes and verifies hop-field MACs under one AS's key. */
export class HopMac {
  private readonly cmac: AesCmac;

  /** @param key  16 bytes from `deriveHopKey` */
  constructor(key: Uint8Array) {
    this.cmac = new AesCmac(key);
  }

  /** Writes the 6-byte MAC. @returns offset after it */
  compute(
    out: Uint8Array,
    at: number,
    segId: number,
    timestamp: number,
    expTime: number,
    consIngress: number,
    consEgress: number,
  ): number {
    this.run(segId, timestamp, expTime, consIngress, consEgress);
    const words = this.cmac.words;
    out[at] = words[0]! >>> 24;
    out[at + 1] = words[0]! >>> 16;
    out[at + 2] = words[0]! >>> 8;
    out[at + 3] = words[0]!;
    out[at + 4] = words[1]! >>> 24;
    out[at + 5] = words[1]! >>> 16;
    return at + 6;
  }

  /** Writes all 16 bytes of the CMAC: the hop authenticator of EPIC. @returns offset after it */
  computeFull(
    out: Uint8Array,
    at: number,
    segId: number,
    timestamp: number,
    expTime: number,
    consIngress: number,
    consEgress: number,
  ): number {
    this.run(segId, timestamp, expTime, consIngress, consEgress);
    return this.cmac.writeWords(out, at);
  }

  /** Whether the hop field at `hop` carries the MAC for the info field at `info` as it stands. Constant time. */
  verify(buf: Uint8Array, info: number, hop: number): boolean {
    this.run(
      readU16(buf, info + 2),
      readU32(buf, info + 4),
      buf[hop + 1]!,
      readU16(buf, hop + 2),
      readU16(buf, hop + 4),
    );
    const words = this.cmac.words;
    const high = words[0]! ^ readU32(buf, hop + 6);
    const low = (words[1]! >>> 16) ^ readU16(buf, hop + 10);
    return (high | low) === 0;
  }

  /** Writes all 16 bytes of the CMAC that was computed or verified last. @returns offset after them */
  writeLast(out: Uint8Array, at: number): number {
    return this.cmac.writeWords(out, at);
  }

  private run(segId: number, timestamp: number, expTime: number, consIngress: number, consEgress: number): void {
    this.cmac.oneBlock(segId, timestamp, (expTime << 16) | consIngress, consEgress << 16);
  }
}
