/**
 * One-hop path (type 2), for packets between neighbours before there are paths: beacons and BFD (scionproto
 * pkg/slayers/path/onehop). The sender fills the first hop field, the router that receives it fills the second.
 *
 *   | InfoField (8) | first HopField (12) | second HopField (12) |
 */

import { readU16, writeU16, writeU32 } from '#base/bytes';
import { HOP_LENGTH, INFO_CONS_DIR, INFO_LENGTH } from '#scion/info-hop';
import { type Hop, META_LENGTH, reversePath } from '#scion/path';

export const ONE_HOP_LENGTH = INFO_LENGTH + 2 * HOP_LENGTH;
/** Bytes of the SCION path that a one-hop path becomes. */
export const ONE_HOP_REPLY_LENGTH = META_LENGTH + ONE_HOP_LENGTH;

/** Offsets of the two hop fields of the path at `path`; the info field is at `path` itself. */
export const firstHopAt = (path: number): number => path + INFO_LENGTH;
export const secondHopAt = (path: number): number => path + INFO_LENGTH + HOP_LENGTH;

/** What the sender of a one-hop path decides. */
export interface OneHopSpec {
  readonly segId: number;
  /** Unix seconds. */
  readonly timestamp: number;
  /** Its `consIngress` is 0, its `consEgress` the interface of the link. */
  readonly first: Hop;
  /** All zero when left out, as the sender knows nothing about it. */
  readonly second?: Hop;
}

function writeHop(out: Uint8Array, at: number, hop: Hop): number {
  out[at] = (hop.egressAlert ? 1 : 0) | (hop.ingressAlert ? 2 : 0);
  out[at + 1] = hop.expTime;
  writeU16(out, writeU16(out, at + 2, hop.consIngress), hop.consEgress);
  out.set(hop.mac.subarray(0, 6), at + 6);
  return at + HOP_LENGTH;
}

/** Writes a one-hop path in construction direction. @returns offset after it */
export function encodeOneHop(out: Uint8Array, at: number, { segId, timestamp, first, second }: OneHopSpec): number {
  out[at] = INFO_CONS_DIR;
  out[at + 1] = 0;
  writeU32(out, writeU16(out, at + 2, segId), timestamp);
  const next = writeHop(out, firstHopAt(at), first);
  if (second !== undefined) return writeHop(out, next, second);
  out.fill(0, next, next + HOP_LENGTH);
  return next + HOP_LENGTH;
}

/** Whether the receiving router has filled the second hop field, so that there is a way back. */
export const isOneHopComplete = (buf: Uint8Array, path: number): boolean => readU16(buf, secondHopAt(path) + 2) !== 0;

/**
 * Writes the SCION path (type 1) for the answer to a packet that came by a complete one-hop path.
 * @param out  another buffer, or a range that does not overlap the path
 * @returns offset after it; -1 when the path is incomplete
 */
export function reverseOneHop(buf: Uint8Array, path: number, out: Uint8Array, at: number): number {
  if (!isOneHopComplete(buf, path)) return -1;
  scratch[0] = 0x01;
  for (let i = 0; i < ONE_HOP_LENGTH; i++) scratch[META_LENGTH + i] = buf[path + i]!;
  return reversePath(scratch, 0, out, at);
}

/** The path as one segment of two hops, at the second one: CurrINF 0, CurrHF 1, lengths 2, 0, 0. */
const scratch = Uint8Array.of(0x01, 0, 0x20, 0, ...new Uint8Array(ONE_HOP_LENGTH));
