/**
 * What a border router says about a packet: actions, reasons with their names for counters and logs.
 */

/** What to do with the packet. */
export const RouterAction = {
  drop: 0,
  /** Send the packet on external interface `egress`. */
  forward: 1,
  /** Send the packet to a host of this AS, from the internal socket. */
  deliver: 2,
  /** Send the packet unchanged to sibling `sibling`, from the internal socket. */
  sibling: 3,
  /** Send `reply` back on the link where the packet came from. */
  reply: 4,
  /** Hand the BFD packet at `bfdAt` to the session of the link where it came from. */
  bfd: 5,
  /** Answer the STUN request with the underlay address where it came from. */
  stun: 6,
} as const;

export const ROUTER_ACTION_COUNT = 7;

/**
 * Why a packet was dropped or answered with an error; `none` when it went its way. Index of `ROUTER_REASON_NAMES` and of
 * the router's counters.
 */
export const RouterReason = {
  none: 0,
  tooShort: 1,
  nextHeader: 2,
  headerLength: 3,
  pathType: 4,
  path: 5,
  extension: 6,
  emptyPath: 7,
  oneHopPath: 8,
  epicPath: 9,
  position: 10,
  peeringShape: 11,
  expired: 12,
  ingressInterface: 13,
  payloadLength: 14,
  transitFromInside: 15,
  sourceAddress: 16,
  destinationAddress: 17,
  sourceHost: 18,
  hopMac: 19,
  destinationHost: 20,
  noService: 21,
  upperLayer: 22,
  egressInterface: 23,
  invalidPath: 24,
  segmentChange: 25,
  interfaceDown: 26,
  siblingDown: 27,
  traceroute: 28,
  epicStale: 29,
  epicCode: 30,
} as const;

export const ROUTER_REASON_NAMES = [
  'none',
  'too-short',
  'next-header',
  'header-length',
  'path-type',
  'path-malformed',
  'extension-malformed',
  'empty-path',
  'one-hop-path',
  'epic-path',
  'path-position',
  'peering-shape',
  'hop-expired',
  'ingress-interface',
  'payload-length',
  'transit-from-inside',
  'source-address',
  'destination-address',
  'source-host',
  'hop-mac',
  'destination-host',
  'no-service',
  'upper-layer',
  'egress-interface',
  'invalid-path',
  'segment-change',
  'interface-down',
  'sibling-down',
  'traceroute',
  'epic-stale',
  'epic-code',
] as const;

export type RouterReasonName = (typeof ROUTER_REASON_NAMES)[number];
