/**
 * The SCION path (type 1): position, lengths, walking, reversal, and the plain form for tests and tools
 * (draft-dekater-scion-dataplane §2.3, scionproto pkg/slayers/path/scion).
 *
 *   PathMeta (4) | InfoField (8) × NumINF (1..3) | HopField (12) × NumHops (1..64)
 *   PathMeta: CurrINF(2) CurrHF(6) RSV(6) Seg0Len(6) Seg1Len(6) Seg2Len(6)
 *
 * Accessors take the bytes and the offset of PathMeta; `checkPath` comes first, then nothing is out of range except
 * the position, which `checkPosition` looks at. The one-hop and EPIC forms are recognised by their type in `packet.ts`.
 */

import { readU32, writeU16, writeU32 } from '#base/bytes';
import { DecodeError, ScionError } from '#base/errors';
import {
  consEgressOf,
  consIngressOf,
  expTimeOf,
  HOP_EGRESS_ALERT,
  HOP_INGRESS_ALERT,
  HOP_LENGTH,
  hopExpiryMs,
  INFO_CONS_DIR,
  INFO_LENGTH,
  INFO_PEER,
  isConsDir,
  isPeer,
  segIdOf,
  timestampOf,
} from '#scion/info-hop';

export const META_LENGTH = 4;
export const MAX_HOPS = 64;
export const MAX_PATH_LENGTH = META_LENGTH + 3 * INFO_LENGTH + MAX_HOPS * HOP_LENGTH;

/** PathMeta as one unsigned word. */
export const metaWord = (buf: Uint8Array, path: number): number => readU32(buf, path);
export const currInfOf = (word: number): number => word >>> 30;
export const currHfOf = (word: number): number => (word >>> 24) & 0x3f;
/** Hops of segment 0, 1 or 2. */
export const segLenOf = (word: number, segment: number): number => (word >>> (12 - 6 * segment)) & 0x3f;
export const numHopsOf = (word: number): number => segLenOf(word, 0) + segLenOf(word, 1) + segLenOf(word, 2);

/** Number of segments: the leading lengths that are not 0. */
export function numInfOf(word: number): number {
  if (segLenOf(word, 0) === 0) return 0;
  if (segLenOf(word, 1) === 0) return 1;
  return segLenOf(word, 2) === 0 ? 2 : 3;
}

/** Index of the segment that hop `h` belongs to. */
export function infOf(word: number, h: number): number {
  const first = segLenOf(word, 0);
  if (h < first) return 0;
  return h < first + segLenOf(word, 1) ? 1 : 2;
}

export const pathLengthOf = (numInf: number, numHops: number): number =>
  META_LENGTH + INFO_LENGTH * numInf + HOP_LENGTH * numHops;

/** Offset of info field `i`. */
export const infoAt = (path: number, i: number): number => path + META_LENGTH + INFO_LENGTH * i;
/** Offset of hop field `h` in a path of `numInf` segments. */
export const hopAt = (path: number, numInf: number, h: number): number =>
  path + META_LENGTH + INFO_LENGTH * numInf + HOP_LENGTH * h;

/** Why a path is refused; 0 is fine. */
export const PathFault = { none: 0, truncated: 1, noSegment: 2, gapInSegments: 3, tooManyHops: 4 } as const;

/**
 * Checks the lengths of a path. Bytes behind the path are allowed (they are carried, not read).
 * @returns one of `PathFault`
 */
export function checkPath(buf: Uint8Array, path: number, end: number): number {
  if (end - path < META_LENGTH) return PathFault.truncated;
  const word = readU32(buf, path);
  const s0 = segLenOf(word, 0);
  const s1 = segLenOf(word, 1);
  const s2 = segLenOf(word, 2);
  if (s0 === 0) return s1 === 0 && s2 === 0 ? PathFault.noSegment : PathFault.gapInSegments;
  if (s1 === 0 && s2 !== 0) return PathFault.gapInSegments;
  if (s0 + s1 + s2 > MAX_HOPS) return PathFault.tooManyHops;
  return pathLengthOf(numInfOf(word), s0 + s1 + s2) <= end - path ? PathFault.none : PathFault.truncated;
}

/** Whether the position lies on the path and CurrINF fits CurrHF. */
export function checkPosition(word: number): boolean {
  const hop = currHfOf(word);
  return hop < numHopsOf(word) && infOf(word, hop) === currInfOf(word);
}

/** Whether the next hop belongs to another segment. */
export function isXover(word: number): boolean {
  const next = currHfOf(word) + 1;
  return next < numHopsOf(word) && infOf(word, next) !== currInfOf(word);
}

export function isFirstHopAfterXover(word: number): boolean {
  const hop = currHfOf(word);
  const inf = currInfOf(word);
  return inf > 0 && hop > 0 && infOf(word, hop - 1) === inf - 1;
}

export const isFirstHop = (word: number): boolean => currHfOf(word) === 0;
export const isLastHop = (word: number): boolean => currHfOf(word) === numHopsOf(word) - 1;
export const isPenultimateHop = (word: number): boolean => currHfOf(word) === numHopsOf(word) - 2;

/** Whether a path with a peering link has the one shape that is allowed: two segments. */
export const isPeeringShape = (word: number): boolean =>
  segLenOf(word, 0) > 0 && segLenOf(word, 1) > 0 && segLenOf(word, 2) === 0;

/** Whether the current hop is one of the two at the peering link, given that the current info has the Peer flag. */
export function isPeeringHop(word: number): boolean {
  const hop = currHfOf(word);
  const first = segLenOf(word, 0);
  return hop === first - 1 || hop === first;
}

/**
 * Moves to the next hop and its segment.
 * @returns false at the last hop, which leaves the path as it is
 */
export function incPath(buf: Uint8Array, path: number): boolean {
  const word = readU32(buf, path);
  const next = currHfOf(word) + 1;
  if (next >= numHopsOf(word)) return false;
  buf[path] = (infOf(word, next) << 6) | next;
  return true;
}

/** Bytes that the path itself takes, without what may follow it in the header. */
export function pathLength(buf: Uint8Array, path: number): number {
  const word = readU32(buf, path);
  return pathLengthOf(numInfOf(word), numHopsOf(word));
}

/**
 * Writes the reversed path, valid for the way back from the current position: segments, hops and directions turned,
 * accumulators and MACs as they are.
 * @param out  another buffer, or a range that does not overlap the path
 * @returns offset after the reversed path
 */
export function reversePath(buf: Uint8Array, path: number, out: Uint8Array, at: number): number {
  const word = readU32(buf, path);
  const numInf = numInfOf(word);
  const numHops = numHopsOf(word);
  const last = numInf - 1;
  const first = segLenOf(word, last);
  const seg1 = segLenOf(word, numInf === 2 ? 0 : 1);
  const seg2 = numInf === 3 ? segLenOf(word, 0) : 0;
  const position = ((last - currInfOf(word)) << 30) | ((numHops - currHfOf(word) - 1) << 24);
  writeU32(out, at, position | (first << 12) | (seg1 << 6) | seg2);
  for (let i = 0; i < numInf; i++) {
    copy(buf, infoAt(path, last - i), out, infoAt(at, i), INFO_LENGTH);
    out[infoAt(at, i)]! ^= INFO_CONS_DIR;
  }
  for (let h = 0; h < numHops; h++) {
    copy(buf, hopAt(path, numInf, numHops - 1 - h), out, hopAt(at, numInf, h), HOP_LENGTH);
  }
  return hopAt(at, numInf, numHops);
}

/** `set(subarray)` would make an object per field. */
function copy(from: Uint8Array, at: number, to: Uint8Array, toAt: number, length: number): void {
  for (let i = 0; i < length; i++) to[toAt + i] = from[at + i]!;
}

/** Earliest expiry of the hops on the path, ms since the epoch. */
export function pathExpiryMs(buf: Uint8Array, path: number): number {
  const word = readU32(buf, path);
  const numInf = numInfOf(word);
  let earliest = Number.POSITIVE_INFINITY;
  for (let h = numHopsOf(word) - 1; h >= 0; h--) {
    const timestamp = timestampOf(buf, infoAt(path, infOf(word, h)));
    earliest = Math.min(earliest, hopExpiryMs(timestamp, expTimeOf(buf, hopAt(path, numInf, h))));
  }
  return earliest;
}

export interface Hop {
  readonly expTime: number;
  readonly consIngress: number;
  readonly consEgress: number;
  /** 6 bytes */
  readonly mac: Uint8Array;
  readonly ingressAlert?: boolean;
  readonly egressAlert?: boolean;
}

export interface PathSegmentRepr {
  readonly consDir: boolean;
  readonly peer: boolean;
  readonly segId: number;
  /** Unix seconds. */
  readonly timestamp: number;
  readonly hops: readonly Hop[];
}

/** A path as plain values. */
export interface PathRepr {
  readonly currInf: number;
  readonly currHf: number;
  /** In the order of travel. */
  readonly segments: readonly PathSegmentRepr[];
}

/**
 * Writes a path from its plain form.
 * @returns offset after it
 * @throws ScionError `encode.out-of-range` for no or more than 3 segments, an empty one, or more than 64 hops
 */
export function encodePath(out: Uint8Array, at: number, path: PathRepr): number {
  const lengths = path.segments.map((s) => s.hops.length);
  const numHops = lengths.reduce((a, b) => a + b, 0);
  const numInf = lengths.length;
  if (numInf < 1 || numInf > 3 || lengths.some((n) => n < 1 || n > 63) || numHops > MAX_HOPS) {
    throw new ScionError('encode.out-of-range', `path with segments of ${lengths.join(', ')} hops`);
  }
  const [s0 = 0, s1 = 0, s2 = 0] = lengths;
  writeU32(out, at, (path.currInf << 30) | (path.currHf << 24) | (s0 << 12) | (s1 << 6) | s2);
  let hop = hopAt(at, numInf, 0);
  path.segments.forEach((segment, i) => {
    const info = infoAt(at, i);
    out[info] = (segment.consDir ? INFO_CONS_DIR : 0) | (segment.peer ? INFO_PEER : 0);
    out[info + 1] = 0;
    writeU16(out, info + 2, segment.segId);
    writeU32(out, info + 4, segment.timestamp);
    for (const h of segment.hops) {
      out[hop] = (h.egressAlert ? HOP_EGRESS_ALERT : 0) | (h.ingressAlert ? HOP_INGRESS_ALERT : 0);
      out[hop + 1] = h.expTime;
      writeU16(out, hop + 2, h.consIngress);
      writeU16(out, hop + 4, h.consEgress);
      out.set(h.mac.subarray(0, 6), hop + 6);
      hop += HOP_LENGTH;
    }
  });
  return hop;
}

/**
 * Reads a path into plain values.
 * @throws DecodeError when `checkPath` refuses the bytes
 */
export function decodePath(buf: Uint8Array, at: number, end: number): PathRepr {
  const fault = checkPath(buf, at, end);
  if (fault !== PathFault.none) {
    const code = fault === PathFault.truncated ? 'decode.truncated' : 'decode.invalid';
    throw new DecodeError('SCION path', at, '1 to 3 segments without a gap and at most 64 hops, all present', code);
  }
  const word = readU32(buf, at);
  const numInf = numInfOf(word);
  let h = 0;
  const segments = Array.from({ length: numInf }, (_, i) => {
    const info = infoAt(at, i);
    const hops = Array.from({ length: segLenOf(word, i) }, () => decodeHop(buf, hopAt(at, numInf, h++)));
    return {
      consDir: isConsDir(buf, info),
      peer: isPeer(buf, info),
      segId: segIdOf(buf, info),
      timestamp: timestampOf(buf, info),
      hops,
    };
  });
  return { currInf: currInfOf(word), currHf: currHfOf(word), segments };
}

function decodeHop(buf: Uint8Array, hop: number): Hop {
  return {
    expTime: expTimeOf(buf, hop),
    consIngress: consIngressOf(buf, hop),
    consEgress: consEgressOf(buf, hop),
    mac: buf.slice(hop + 6, hop + 12),
    ingressAlert: (buf[hop]! & HOP_INGRESS_ALERT) !== 0,
    egressAlert: (buf[hop]! & HOP_EGRESS_ALERT) !== 0,
  };
}
