/**
 * What a path is, besides its bytes: interfaces, fingerprints, text for people, announced latency and bandwidth.
 * Fingerprints as the official tools compute them (snet, and PAN's form without ISD-AS).
 */

import { sha256 } from '@noble/hashes/sha2.js';
import { toHex, writeU64 } from '#base/bytes';
import { formatIsdAs } from '#scion/isd-as';
import type { GeoPosition, LinkType, Services } from '#scion/segment-extensions';

/** One interface of a path, in the order of travel: egress, ingress, egress, … */
export interface PathInterface {
  readonly ia: bigint;
  readonly id: number;
}

/** No latency announced for this part. */
export const LATENCY_UNSET = -1;

/** Announcements for people and for choosing; hints that nobody checks. */
export interface PathNotes {
  /** Position of the border router at each interface. */
  readonly geo: readonly (GeoPosition | undefined)[];
  /** Of each link between two ASes. */
  readonly linkTypes: readonly LinkType[];
  /** Router hops inside each AS that is crossed, without the first and last; 0 where nothing is announced. */
  readonly internalHops: readonly number[];
  /** Text of each AS on the path, '' for none. */
  readonly texts: readonly string[];
  /** Services of ASes on the path. */
  readonly services: ReadonlyMap<bigint, Services>;
}

/** A path to another AS, ready to send, or the empty path inside one's own AS (no interfaces, no bytes). */
export interface ScionPath {
  readonly src: bigint;
  readonly dst: bigint;
  /** Path header, CurrINF and CurrHF 0. Empty for the empty path. */
  readonly raw: Uint8Array;
  readonly interfaces: readonly PathInterface[];
  /** SHA-256 over (IA, interface) pairs as 64 hexadecimal digits; '' for the empty path. */
  readonly fingerprint: string;
  /** Largest whole SCION packet, bytes. */
  readonly mtu: number;
  /** Unix ms. */
  readonly expiryMs: number;
  /** Number of inter-AS links as the combinator counts them. */
  readonly weight: number;
  /** Between consecutive interfaces, microseconds, LATENCY_UNSET where nothing is announced. */
  readonly latenciesUs: readonly number[];
  /** Between consecutive interfaces, kbit/s, 0 where nothing is announced. */
  readonly bandwidthsKbit: readonly number[];
  /** What else the ASes announce. Absent on the empty path and on paths from elsewhere. */
  readonly notes?: PathNotes;
  /** Hop authenticators of the last two ASes, 16 bytes each, when both gave theirs. */
  readonly epic?: { readonly penultimate: Uint8Array; readonly last: Uint8Array };
  /** `1-ff00:0:110 1>41 1-ff00:0:111`, as the `scion` tool prints hops. */
  readonly hops: string;
}

/** SHA-256 over IA (8 bytes) and interface id (8 bytes) of each interface, lower-case hex; '' for none. */
export function pathFingerprint(interfaces: readonly PathInterface[]): string {
  if (interfaces.length === 0) return '';
  return toHex(sha256(fingerprintInput(interfaces)));
}

/** The bytes that the fingerprint hashes. */
export function fingerprintInput(interfaces: readonly PathInterface[]): Uint8Array {
  const input = new Uint8Array(16 * interfaces.length);
  let at = 0;
  for (const { ia, id } of interfaces) {
    at = writeU64(input, at, ia);
    at = writeU64(input, at, BigInt(id));
  }
  return input;
}

/** PAN's fingerprint: interface ids in order, separated by a blank. */
export function panFingerprint(interfaces: readonly PathInterface[]): string {
  return interfaces.map((i) => i.id).join(' ');
}

/** Hops for people: `1-ff00:0:111 41>1 1-ff00:0:110 2>1 1-ff00:0:112`. */
export function hopsText(interfaces: readonly PathInterface[]): string {
  if (interfaces.length === 0) return '';
  let text = formatIsdAs(interfaces[0]!.ia);
  for (let i = 0; i + 1 < interfaces.length; i += 2) {
    const [from, to] = [interfaces[i]!, interfaces[i + 1]!];
    text += ` ${from.id}>${to.id} ${formatIsdAs(to.ia)}`;
  }
  return text;
}

/** The path as text for sequence policies: `IA#in,out ` for each AS, 0 at both ends; '' for the empty path. */
export function sequenceText(interfaces: readonly PathInterface[]): string {
  if (interfaces.length === 0) return '';
  let text = '';
  for (let i = 0; i <= interfaces.length; i += 2) {
    const inbound = interfaces[i - 1];
    const outbound = interfaces[i];
    text += `${formatIsdAs((inbound ?? outbound)!.ia)}#${inbound?.id ?? 0},${outbound?.id ?? 0} `;
  }
  return text;
}

/** The ASes of a path in order, its source first. */
export function asesOf(path: ScionPath): bigint[] {
  const ases = [path.src];
  for (let i = 1; i < path.interfaces.length; i += 2) ases.push(path.interfaces[i]!.ia);
  return ases;
}

/** ISD numbers that a path touches, ascending. */
export function isdsOf(path: ScionPath): number[] {
  return [...new Set(asesOf(path).map((ia) => Number(ia >> 48n)))].sort((a, b) => a - b);
}

/** Sum of the announced latencies, ms, one way; undefined when no part of the path announces any. A lower bound. */
export function announcedLatencyMs(path: ScionPath): number | undefined {
  const known = path.latenciesUs.filter((us) => us !== LATENCY_UNSET);
  return known.length === 0 ? undefined : known.reduce((sum, us) => sum + us, 0) / 1000;
}

/** Whether two paths share an inter-AS interface. */
export function sharesInterface(a: ScionPath, b: ScionPath): boolean {
  return a.interfaces.some((i) => b.interfaces.some((j) => i.ia === j.ia && i.id === j.id));
}

/** Whether a path goes through one interface. */
export function usesInterface(path: ScionPath, ia: bigint, id: number): boolean {
  return path.interfaces.some((i) => i.ia === ia && i.id === id);
}
