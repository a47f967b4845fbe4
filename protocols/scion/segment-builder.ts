/**
 * Makes a path segment as a beacon would on its way: each AS adds its hop field under its own key.
 *
 *   beta(0) = segment id, beta(i+1) = beta(i) XOR first two bytes of the main MAC of entry i
 *   main hop field of entry i under beta(i), its peer hop fields under beta(i+1)
 *
 * The AS entries carry no signature: their header is empty.
 */

import { HopMac } from '#scion/hop-mac';
import {
  type AsEntry,
  encodeEntryBody,
  encodeHeaderAndBody,
  encodeSegmentInfo,
  encodeUnsigned,
  HOP_MAC_LENGTH,
  type PathSegment,
  type SegmentEntry,
  type SegmentHop,
  type StaticInfo,
} from '#scion/segment';
import type { Services } from '#scion/segment-extensions';

export interface BuilderPeer {
  readonly peerIa: bigint;
  readonly peerInterface: number;
  readonly peerMtu: number;
  /** Local peering interface. */
  readonly ingress: number;
  readonly expTime?: number;
}

/** One AS of the segment, in construction order. */
export interface BuilderHop {
  readonly ia: bigint;
  /** Hop-field key of the AS (`deriveHopKey`), 16 bytes. */
  readonly key: Uint8Array;
  /** Interface towards the previous AS; 0 in the first. */
  readonly ingress: number;
  /** Interface towards the next AS; 0 in the last. */
  readonly egress: number;
  /** MTU inside the AS. */
  readonly mtu: number;
  /** MTU of the link behind `ingress`; 0 in the first. */
  readonly ingressMtu: number;
  readonly expTime: number;
  readonly peers?: readonly BuilderPeer[];
  readonly staticInfo?: StaticInfo;
  readonly services?: Services;
  /** Whether to add the detached EPIC authenticators. */
  readonly epic?: boolean;
}

/**
 * Builds a terminated segment.
 * @param timestamp  Unix seconds
 * @param segmentId  16 bits, random in the field
 */
export function buildSegment(timestamp: number, segmentId: number, hops: readonly BuilderHop[]): PathSegment {
  let beta = segmentId;
  const entries = hops.map((hop, i): AsEntry => {
    const mac = new HopMac(hop.key);
    const { field: main, detached } = hopField(mac, beta, timestamp, hop.expTime, hop.ingress, hop.egress);
    beta ^= (main.mac[0]! << 8) | main.mac[1]!;
    const next = beta;
    const peers = (hop.peers ?? []).map((peer) => ({
      peer,
      ...hopField(mac, next, timestamp, peer.expTime ?? hop.expTime, peer.ingress, hop.egress),
    }));
    const entry: SegmentEntry = {
      ia: hop.ia,
      mtu: hop.mtu,
      ingressMtu: hop.ingressMtu,
      hop: main,
      peers: peers.map(({ peer: { peerIa, peerInterface, peerMtu }, field }) => ({
        peerIa,
        peerInterface,
        peerMtu,
        hop: field,
      })),
      ...(hop.staticInfo === undefined ? {} : { staticInfo: hop.staticInfo }),
      ...(hop.services === undefined ? {} : { services: hop.services }),
      ...(hop.epic ? { epic: { hop: detached, peers: peers.map((p) => p.detached) } } : {}),
    };
    const nextIa = hops[i + 1]?.ia ?? 0n;
    const none = new Uint8Array(0);
    const headerAndBody = encodeHeaderAndBody(none, encodeEntryBody(entry, nextIa));
    return { ...entry, nextIa, headerAndBody, signature: none, unsigned: encodeUnsigned(entry) };
  });
  return { segmentId, timestamp, entries, segmentInfo: encodeSegmentInfo(timestamp, segmentId) };
}

/** A hop field, and the rest of its 16-byte authenticator. */
function hopField(
  mac: HopMac,
  beta: number,
  timestamp: number,
  expTime: number,
  consIngress: number,
  consEgress: number,
): { field: SegmentHop; detached: Uint8Array } {
  const full = new Uint8Array(16);
  mac.computeFull(full, 0, beta, timestamp, expTime, consIngress, consEgress);
  const field = { expTime, consIngress, consEgress, mac: full.slice(0, HOP_MAC_LENGTH) };
  return { field, detached: full.slice(HOP_MAC_LENGTH) };
}
