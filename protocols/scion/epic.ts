/**
 * EPIC-HP paths (type 3): a SCION path with proof, for the last two ASes, that the sender knows the hidden part of their
 * hop authenticators (scionproto pkg/slayers/path/epic, pkg/experimental/epic). Routers forward and check them here;
 * `EpicMac.write` makes the two codes, and an answer goes back over the plain SCION path inside.
 *
 *   | EpicTS (4) | counter (4) | PHVF (4) | LHVF (4) | SCION path |
 *
 * A code is the start of an AES-CBC-MAC (not CMAC) under the whole CMAC of a hop field, over
 *
 *   | SL | timestamp of info 0 (4) | EpicTS, counter (8) | SrcIA (8) | SrcHost | payload length (2) | zeros to 16 · n |
 */

import { Aes128 } from '#base/aes';
import { readU32, writeU32 } from '#base/bytes';
import { ScionError } from '#base/errors';
import { timestampOf } from '#scion/info-hop';
import { type PacketView, srcIaAt } from '#scion/packet';
import { infoAt } from '#scion/path';

export const EPIC_PREFIX_LENGTH = 16;
/** Offsets in the EPIC path. */
export const EPIC_COUNTER_AT = 4;
export const EPIC_PHVF_AT = 8;
export const EPIC_LHVF_AT = 12;

/** Resolution of EpicTS. */
const TICK_US = 21;
/** How long a packet is fresh, and how far two clocks may differ. */
export const EPIC_LIFETIME_MS = 2000;
export const EPIC_CLOCK_SKEW_MS = 1000;

/** Writes the 16 bytes before the SCION path. @returns offset after them */
export function encodeEpicPrefix(
  out: Uint8Array,
  at: number,
  epicTimestamp: number,
  counter: number,
  phvf: Uint8Array,
  lhvf: Uint8Array,
): number {
  writeU32(out, writeU32(out, at, epicTimestamp), counter);
  out.set(phvf.subarray(0, 4), at + EPIC_PHVF_AT);
  out.set(lhvf.subarray(0, 4), at + EPIC_LHVF_AT);
  return at + EPIC_PREFIX_LENGTH;
}

/**
 * EpicTS of a packet sent at `nowUs` on a path whose first segment was made at `timestamp`.
 * @param nowUs  microseconds since the epoch
 * @param timestamp  Unix seconds of the first info field
 * @throws ScionError `encode.out-of-range` for a segment from the future or more than 25 hours old
 */
export function epicTimestamp(nowUs: number, timestamp: number): number {
  const age = nowUs - timestamp * 1e6;
  const ticks = Math.max(0, Math.floor(age / TICK_US) - 1);
  if (!(age >= 0 && ticks <= 0xffff_ffff)) {
    throw new ScionError('encode.out-of-range', `EPIC on a segment of age ${age} µs: expected 0 to 25 hours`);
  }
  return ticks;
}

/** When a packet was sent, microseconds since the epoch. */
export const epicSentUs = (timestamp: number, epicTs: number): number => timestamp * 1e6 + (epicTs + 1) * TICK_US;

/** Whether a packet sent at `sentUs` may pass now. */
export function isEpicFresh(sentUs: number, nowMs: number): boolean {
  const ageMs = nowMs - sentUs / 1000;
  return ageMs >= -EPIC_CLOCK_SKEW_MS && ageMs <= EPIC_LIFETIME_MS + EPIC_CLOCK_SKEW_MS;
}

const BLOCK = 16;
/** 1 + 4 + 8 + 8 + 16 + 2 bytes at most, in whole blocks. */
const MAX_INPUT = 48;

/** Computes the validation fields; the key changes with every hop field, so one object serves all. */
export class EpicMac {
  /** The MAC input of the last packet, `inputLength` bytes. */
  readonly input = new Uint8Array(MAX_INPUT);
  inputLength = 0;
  private readonly chain = new Uint8Array(BLOCK);
  private readonly cipher = new Aes128(new Uint8Array(BLOCK));

  /**
   * Writes the 4-byte code of the packet for one hop. The SCION header must be complete, its payload length too.
   * @param authenticator  where the 16-byte CMAC of the hop field lies
   * @returns offset after the code
   */
  write(
    buf: Uint8Array,
    view: PacketView,
    authenticator: Uint8Array,
    authenticatorAt: number,
    out: Uint8Array,
    at: number,
  ): number {
    this.run(buf, view, authenticator, authenticatorAt);
    for (let i = 0; i < 4; i++) out[at + i] = this.chain[i]!;
    return at + 4;
  }

  /** Whether the 4 bytes at `at` are the code of the packet for this hop. Constant time. */
  verify(buf: Uint8Array, view: PacketView, authenticator: Uint8Array, authenticatorAt: number, at: number): boolean {
    this.run(buf, view, authenticator, authenticatorAt);
    return (readU32(this.chain, 0) ^ readU32(buf, at)) === 0;
  }

  private run(buf: Uint8Array, view: PacketView, authenticator: Uint8Array, authenticatorAt: number): void {
    const { input, chain, cipher } = this;
    const length = this.fillInput(buf, view);
    cipher.setKey(authenticator, authenticatorAt);
    chain.fill(0);
    for (let at = 0; at < length; at += BLOCK) {
      for (let i = 0; i < BLOCK; i++) chain[i]! ^= input[at + i]!;
      cipher.encryptBlock(chain, 0, chain, 0);
    }
  }

  private fillInput(buf: Uint8Array, view: PacketView): number {
    const { input } = this;
    const hostLength = view.pathAt - view.srcHostAt;
    input.fill(0);
    input[0] = view.srcHostType & 3;
    writeU32(input, 1, timestampOf(buf, infoAt(view.metaAt, 0)));
    for (let i = 0; i < 8; i++) input[5 + i] = buf[view.pathAt + i]!;
    const ia = srcIaAt(view);
    for (let i = 0; i < 8; i++) input[13 + i] = buf[ia + i]!;
    for (let i = 0; i < hostLength; i++) input[21 + i] = buf[view.srcHostAt + i]!;
    input[21 + hostLength] = view.payloadLength >>> 8;
    input[22 + hostLength] = view.payloadLength;
    this.inputLength = (23 + hostLength + BLOCK - 1) & -BLOCK;
    return this.inputLength;
  }
}
