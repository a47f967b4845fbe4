/**
 * Path combination: from up, core and down segments to every path between two ASes, ready to send.
 *
 * Vertices of the graph are ASes and peering links; each segment is an edge from its last AS to every AS (shortcut) and
 * peering link on it. A path takes at most one up, one core and one down edge, in this order. Order and choice of paths
 * equal the official combinator's (scionproto private/path/combinator), which its golden files prove.
 *
 *   up     last entry -> entry s     against construction, SegID = beta(n-1)
 *   core   last entry -> entry 0     against construction, whole segment only
 *   down   entry s    -> last entry  in construction direction, SegID = beta(s)
 *
 * What the ASes announce about the path is collected in `path-announcements.ts`.
 */

import { hopExpiryMs } from '#scion/info-hop';
import { encodePath, MAX_HOPS, type PathSegmentRepr, pathLengthOf } from '#scion/path';
import { announcements } from '#scion/path-announcements';
import { hopsText, type PathInterface, pathFingerprint, type ScionPath } from '#scion/path-metadata';
import { type SegmentEntry, type SegmentHop, type SegmentShape, type SegmentType, segmentIdHash } from '#scion/segment';

/** SegLen has six bits. */
const MAX_SEGMENT_HOPS = 63;
/** Partial and whole solutions before the search stops: far above any real set, a stop for a hostile one. */
const MAX_PARTIAL = 20_000;
const MAX_SOLUTIONS = 10_000;

export interface Segments {
  readonly up: readonly SegmentShape[];
  readonly core: readonly SegmentShape[];
  readonly down: readonly SegmentShape[];
}

export interface CombineOptions {
  /** Keep paths with the same interfaces side by side; otherwise only the one that lives longest. */
  readonly identical?: boolean;
}

/**
 * Every path from `src` to `dst`, best first (fewest links). Expired segments are not looked for: the caller drops paths
 * by `expiryMs`.
 * @param src  the segments' source AS; up segments end there
 */
export function combinePaths(src: bigint, dst: bigint, segments: Segments, options: CombineOptions = {}): ScionPath[] {
  if (src === dst) return [];
  const graph = buildGraph(segments);
  const solutions = search(graph, asVertex(src), asVertex(dst));
  solutions.sort(compareSolutions);
  const paths: ScionPath[] = [];
  for (const solution of solutions) {
    const path = assemble(src, dst, solution);
    if (path !== undefined && !visitsAsTwice(path.interfaces)) paths.push(path);
  }
  return options.identical ? paths : withoutDuplicates(paths);
}

/** The path inside one's own AS: no bytes, no interfaces, never expires. */
export function emptyPath(ia: bigint, mtu: number): ScionPath {
  return {
    src: ia,
    dst: ia,
    raw: new Uint8Array(0),
    interfaces: [],
    fingerprint: '',
    mtu,
    expiryMs: Number.MAX_SAFE_INTEGER,
    weight: 0,
    latenciesUs: [],
    bandwidthsKbit: [],
    hops: '',
  };
}

// --- Graph -------------------------------------------------------------------------------------------------------------

/** A segment in use, with what sorting needs. */
interface UsedSegment {
  readonly segment: SegmentShape;
  readonly type: SegmentType;
  readonly id: Uint8Array;
}

interface Edge {
  readonly used: UsedSegment;
  readonly to: string;
  readonly weight: number;
  /** Index of the entry at which the edge ends (up) or begins (down); 0 is the whole segment. */
  readonly shortcut: number;
  /** 1 + index of the peer entry taken there, 0 for none. */
  readonly peer: number;
}

/** Vertex -> (other vertex + segment) -> edge. One edge a segment and pair of vertices, the later one wins. */
type Graph = Map<string, Map<string, Edge>>;

const asVertex = (ia: bigint) => `${ia}`;
const peerVertex = (ia: bigint, id: number, peerIa: bigint, peerId: number) => `${ia}#${id}=${peerIa}#${peerId}`;

function buildGraph(segments: Segments): Graph {
  const graph: Graph = new Map();
  let number = 0;
  for (const type of ['up', 'core', 'down'] as const) {
    for (const segment of segments[type]) {
      const n = segment.entries.length;
      // A one-hop segment cannot be sent: routers drop it.
      if (n < 2 || n > MAX_SEGMENT_HOPS) continue;
      const used = { segment, type, id: segmentIdHash(segment) };
      const label = `${number++}`;
      if (type === 'core') addCoreEdge(graph, used, label);
      else addLeafEdges(graph, used, label);
    }
  }
  return graph;
}

function addEdge(graph: Graph, from: string, label: string, edge: Edge): void {
  let edges = graph.get(from);
  if (edges === undefined) {
    edges = new Map();
    graph.set(from, edges);
  }
  edges.set(`${edge.to} ${label}`, edge);
}

function addCoreEdge(graph: Graph, used: UsedSegment, label: string): void {
  const { entries } = used.segment;
  const from = asVertex(entries[entries.length - 1]!.ia);
  addEdge(graph, from, label, {
    used,
    to: asVertex(entries[0]!.ia),
    weight: entries.length - 1,
    shortcut: 0,
    peer: 0,
  });
}

function addLeafEdges(graph: Graph, used: UsedSegment, label: string): void {
  const { entries } = used.segment;
  const n = entries.length;
  const up = used.type === 'up';
  const pinned = asVertex(entries[n - 1]!.ia);
  for (let i = n - 1; i >= 0; i--) {
    const { ia, peers } = entries[i]!;
    const weight = n - 1 - i;
    if (i !== n - 1) {
      const [from, to] = up ? [pinned, asVertex(ia)] : [asVertex(ia), pinned];
      addEdge(graph, from, label, { used, to, weight, shortcut: i, peer: 0 });
    }
    for (const [k, peer] of peers.entries()) {
      const [from, to] = up
        ? [pinned, peerVertex(ia, peer.hop.consIngress, peer.peerIa, peer.peerInterface)]
        : [peerVertex(peer.peerIa, peer.peerInterface, ia, peer.hop.consIngress), pinned];
      // The peering link itself counts once, on the down side.
      addEdge(graph, from, label, { used, to, weight: up ? weight : weight + 1, shortcut: i, peer: k + 1 });
    }
  }
}

// --- Search ------------------------------------------------------------------------------------------------------------

interface Solution {
  readonly edges: readonly Edge[];
  readonly cost: number;
}

function mayFollow(next: SegmentType, last: SegmentType | undefined): boolean {
  if (last === undefined) return true;
  if (last === 'up') return next !== 'up';
  return last === 'core' && next === 'down';
}

/** Breadth first; a trail that reaches the destination is not extended. */
function search(graph: Graph, from: string, to: string): Solution[] {
  const found: Solution[] = [];
  const queue: { vertex: string; solution: Solution }[] = [{ vertex: from, solution: { edges: [], cost: 0 } }];
  for (let i = 0; i < queue.length; i++) {
    const { vertex, solution } = queue[i]!;
    const last = solution.edges[solution.edges.length - 1]?.used.type;
    for (const edge of graph.get(vertex)?.values() ?? []) {
      if (!mayFollow(edge.used.type, last)) continue;
      const longer = { edges: [...solution.edges, edge], cost: solution.cost + edge.weight };
      if (edge.to !== to) {
        if (queue.length < MAX_PARTIAL) queue.push({ vertex: edge.to, solution: longer });
      } else if (found.push(longer) === MAX_SOLUTIONS) return found;
    }
  }
  return found;
}

function compareSolutions(a: Solution, b: Solution): number {
  if (a.cost !== b.cost) return a.cost - b.cost;
  if (a.edges.length !== b.edges.length) return a.edges.length - b.edges.length;
  for (const [i, edge] of a.edges.entries()) {
    const other = b.edges[i]!;
    const difference =
      compareIds(edge.used.id, other.used.id) || edge.shortcut - other.shortcut || edge.peer - other.peer;
    if (difference !== 0) return difference;
  }
  return 0;
}

function compareIds(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
}

// --- Assembling --------------------------------------------------------------------------------------------------------

interface PathPart extends PathSegmentRepr {
  readonly interfaces: readonly PathInterface[];
}

/** Running minimum over a path. */
interface Limits {
  mtu: number;
  expiryMs: number;
}

function assemble(src: bigint, dst: bigint, { edges, cost }: Solution): ScionPath | undefined {
  const limits: Limits = { mtu: 0xffff, expiryMs: Number.MAX_SAFE_INTEGER };
  const parts = edges.map((edge) => assemblePart(edge, limits));
  const hopCount = parts.reduce((sum, part) => sum + part.hops.length, 0);
  if (hopCount > MAX_HOPS) return undefined;
  const interfaces = parts.flatMap((part) => part.interfaces);
  const raw = new Uint8Array(pathLengthOf(parts.length, hopCount));
  encodePath(raw, 0, { currInf: 0, currHf: 0, segments: parts });
  return {
    src,
    dst,
    raw,
    interfaces,
    fingerprint: pathFingerprint(interfaces),
    mtu: limits.mtu,
    expiryMs: limits.expiryMs,
    weight: cost,
    ...announcements(edges.flatMap(entriesOf), interfaces),
    ...epicOf(edges),
    hops: hopsText(interfaces),
  };
}

/** The official combinator computes with 16 bits and lets more overflow. */
const mtu16 = (mtu: number): number => mtu & 0xffff;

function assemblePart({ used, shortcut, peer }: Edge, limits: Limits): PathPart {
  const { segment, type } = used;
  const n = segment.entries.length;
  const hops: SegmentHop[] = [];
  const interfaces: PathInterface[] = [];
  for (let i = n - 1; i >= shortcut; i--) {
    const entry = segment.entries[i]!;
    const isShortcut = i === shortcut && shortcut !== 0;
    const isPeer = i === shortcut && peer !== 0;
    const peerEntry = isPeer ? entry.peers[peer - 1]! : undefined;
    const hop = peerEntry?.hop ?? entry.hop;
    hops.push(hop);
    // At a shortcut the path does not use the link behind the entry's ingress.
    if (peerEntry) limits.mtu = Math.min(limits.mtu, mtu16(peerEntry.peerMtu));
    else if (entry.ingressMtu !== 0 && !isShortcut) limits.mtu = Math.min(limits.mtu, mtu16(entry.ingressMtu));
    limits.mtu = Math.min(limits.mtu, mtu16(entry.mtu));
    limits.expiryMs = Math.min(limits.expiryMs, hopExpiryMs(segment.timestamp, hop.expTime));
    if (hop.consEgress !== 0) interfaces.push({ ia: entry.ia, id: hop.consEgress });
    if (hop.consIngress !== 0 && (!isShortcut || isPeer)) interfaces.push({ ia: entry.ia, id: hop.consIngress });
  }
  const down = type === 'down';
  if (down) {
    hops.reverse();
    interfaces.reverse();
  }
  const isPeering = peer !== 0;
  const beta = down ? shortcut + (isPeering ? 1 : 0) : n - 1 + (isPeering && shortcut === n - 1 ? 1 : 0);
  return {
    consDir: down,
    peer: isPeering,
    segId: betaOf(segment, beta),
    timestamp: segment.timestamp,
    hops,
    interfaces,
  };
}

/** The AS entries of an edge in the order of travel. */
function entriesOf({ used: { segment, type }, shortcut }: Edge): SegmentEntry[] {
  const entries = segment.entries.slice(shortcut);
  return type === 'down' ? entries : entries.reverse();
}

/** EPIC authenticators of the last two hops, when both ASes gave theirs. */
function epicOf(edges: readonly Edge[]): Pick<ScionPath, 'epic'> {
  const authenticators = edges.flatMap((edge) => {
    const { used, shortcut, peer } = edge;
    const taken = used.segment.entries[shortcut]!;
    return entriesOf(edge).map((entry) => {
      const peering = entry === taken && peer !== 0;
      const detached = peering ? entry.epic?.peers[peer - 1] : entry.epic?.hop;
      const hop = peering ? entry.peers[peer - 1]!.hop : entry.hop;
      return detached && Uint8Array.of(...hop.mac, ...detached);
    });
  });
  const [penultimate, last] = authenticators.slice(-2);
  return penultimate && last ? { epic: { penultimate, last } } : {};
}

/** beta(index): the segment id XOR the first two MAC bytes of every main hop field before `index`. */
export function betaOf(segment: SegmentShape, index: number): number {
  let beta = segment.segmentId;
  for (let i = 0; i < index; i++) {
    const { mac } = segment.entries[i]!.hop;
    beta ^= (mac[0]! << 8) | mac[1]!;
  }
  return beta;
}

// --- Filters -----------------------------------------------------------------------------------------------------------

/** More than two interfaces of one AS: the path comes back to an AS it left. */
function visitsAsTwice(interfaces: readonly PathInterface[]): boolean {
  const count = new Map<bigint, number>();
  for (const { ia } of interfaces) {
    const n = (count.get(ia) ?? 0) + 1;
    if (n > 2) return true;
    count.set(ia, n);
  }
  return false;
}

/** Of paths with the same fingerprint the one that expires last, at its own place in the order. */
function withoutDuplicates(paths: readonly ScionPath[]): ScionPath[] {
  const best = new Map<string, ScionPath>();
  for (const path of paths) {
    const other = best.get(path.fingerprint);
    if (other === undefined || path.expiryMs > other.expiryMs) best.set(path.fingerprint, path);
  }
  return paths.filter((path) => best.get(path.fingerprint) === path);
}
