/**
 * Random SCION worlds for comparing path combination: ASes of several ISDs with core, child and peering links, and the
 * segments that beaconing could have made between them, as descriptions that both our builder and the official packages
 * turn into segments. Values are chosen to bring trouble: refreshed copies, foreign segments, odd MTUs, contradicting
 * announcements.
 */

import { formatIsdAs } from '#scion/isd-as';
import type { PathSegment } from '#scion/segment';
import { buildSegment } from '#scion/segment-builder';
import type { LinkType, StaticInfo } from '#scion/segment-extensions';
import type { Random } from '../random.ts';

export interface StaticDescription {
  latency_intra: Record<number, number>;
  latency_inter: Record<number, number>;
  bandwidth_intra: Record<number, number>;
  bandwidth_inter: Record<number, number>;
  geo: Record<number, { latitude: number; longitude: number; address: string }>;
  link_types: Record<number, number>;
  internal_hops: Record<number, number>;
  note: string;
}

/** As the oracle's operation `segment` takes it. */
export interface EntryDescription {
  ia: string;
  master: string;
  ingress: number;
  egress: number;
  mtu: number;
  ingress_mtu: number;
  exp_time: number;
  peers: { ia: string; interface: number; mtu: number; ingress: number; exp_time: number }[];
  static?: StaticDescription;
  control: string[];
  discovery: string[];
  epic: boolean;
}

export interface SegmentDescription {
  timestamp: number;
  segment_id: number;
  entries: EntryDescription[];
}

interface Link {
  readonly a: number;
  readonly aId: number;
  readonly b: number;
  readonly bId: number;
  /** What `b` is to `a`. */
  readonly role: 'core' | 'child' | 'peer';
  readonly mtu: number;
}

interface As {
  readonly ia: bigint;
  readonly core: boolean;
  readonly master: string;
  readonly mtu: number;
}

export interface World {
  readonly ases: readonly As[];
  readonly links: readonly Link[];
}

const MASTERS = 16;

/** One to three ISDs with up to five core ASes and seven others. */
export function randomWorld(random: Random): World {
  const isds = 1 + random.below(3);
  const cores = isds + random.below(3);
  const leaves = 1 + random.below(7);
  const mtuOf = () =>
    random.below(60) === 0 ? [0, 65_535, 65_536, 70_001][random.below(4)]! : 1200 + random.below(400);
  const ases: As[] = [];
  for (let i = 0; i < cores + leaves; i++) {
    const core = i < cores;
    const isd = core ? 1 + (i % isds) : 1 + random.below(isds);
    const as = random.below(2) ? BigInt(i + 1) : 0xff00_0000_0000n + BigInt(i + 1);
    // Few secrets, since each costs a key derivation on both sides.
    const master = (0x5300 + (i % MASTERS)).toString(16).repeat(8);
    ases.push({ ia: (BigInt(isd) << 48n) | as, core, master, mtu: mtuOf() });
  }
  const used = ases.map(() => new Set<number>());
  const links: Link[] = [];
  const freeId = (as: number): number => {
    for (;;) {
      const id = random.below(8) ? 1 + random.below(30) : 1 + random.below(65_535);
      if (used[as]!.has(id)) continue;
      used[as]!.add(id);
      return id;
    }
  };
  const link = (a: number, b: number, role: Link['role']) =>
    links.push({ a, aId: freeId(a), b, bId: freeId(b), role, mtu: mtuOf() });
  for (let b = 1; b < cores; b++) {
    link(random.below(b), b, 'core');
    if (random.below(2)) link(random.below(b), b, 'core');
  }
  for (let child = cores; child < ases.length; child++) {
    const isd = ases[child]!.ia >> 48n;
    const above = ases.map((_, i) => i).filter((i) => i < child && ases[i]!.ia >> 48n === isd);
    for (let k = 0; k <= random.below(3); k++) link(above[random.below(above.length)]!, child, 'child');
  }
  for (let k = random.below(6); k > 0; k--) {
    const [a, b] = [random.below(ases.length), random.below(ases.length)];
    if (a !== b && !(ases[a]!.core && ases[b]!.core)) link(a, b, 'peer');
  }
  return { ases, links };
}

interface Step {
  readonly as: number;
  readonly ingress: number;
  readonly egress: number;
  readonly ingressMtu: number;
}

/** Chains of links of one role from `from` on, each AS at most once, at most `most` chains. */
function chains(world: World, role: 'core' | 'child', from: number, most: number): Step[][] {
  const found: Step[][] = [];
  const walk = (steps: Step[]) => {
    if (found.length >= most) return;
    if (steps.length > 1) found.push(steps);
    if (steps.length === 5) return;
    const last = steps[steps.length - 1]!;
    for (const { a, aId, b, bId, role: kind, mtu } of world.links) {
      if (kind !== role) continue;
      const ways = [[a, aId, b, bId] as const, ...(role === 'core' ? [[b, bId, a, aId] as const] : [])];
      for (const [here, egress, there, ingress] of ways) {
        if (here !== last.as || steps.some((s) => s.as === there)) continue;
        walk([...steps.slice(0, -1), { ...last, egress }, { as: there, ingress, egress: 0, ingressMtu: mtu }]);
      }
    }
  };
  walk([{ as: from, ingress: 0, egress: 0, ingressMtu: 0 }]);
  return found;
}

function describe(world: World, steps: readonly Step[], random: Random): SegmentDescription {
  const timestamp = 1_700_000_000 + random.below(20_000);
  return {
    timestamp,
    segment_id: random.below(65_536),
    entries: steps.map(({ as, ingress, egress, ingressMtu }): EntryDescription => {
      const { ia, master, mtu } = world.ases[as]!;
      const expTime = random.below(3) ? 63 : random.below(256);
      const peers = world.links
        .filter((l) => l.role === 'peer' && (l.a === as || l.b === as))
        .map((l) => {
          const [far, farId, id] = l.a === as ? [l.b, l.bId, l.aId] : [l.a, l.aId, l.bId];
          return {
            ia: formatIsdAs(world.ases[far]!.ia),
            interface: farId,
            mtu: l.mtu,
            ingress: id,
            exp_time: random.below(4) ? expTime : random.below(256),
          };
        });
      return {
        ia: formatIsdAs(ia),
        master,
        ingress,
        egress,
        mtu,
        ingress_mtu: random.below(10) ? ingressMtu : 0,
        exp_time: expTime,
        peers: random.below(4) ? peers : peers.slice(1),
        ...(random.below(2) ? { static: staticInfo(world, as, random) } : {}),
        control: random.below(4) ? [] : [`192.0.2.${1 + random.below(3)}:30252`],
        discovery: random.below(4) ? [] : [`[2001:db8::${1 + random.below(3)}]:30252`],
        epic: random.below(2) === 0,
      };
    }),
  };
}

function staticInfo(world: World, as: number, random: Random): StaticDescription {
  const ids = world.links.flatMap((l) => (l.a === as ? [l.aId] : l.b === as ? [l.bId] : []));
  const some = <T>(value: () => T): Record<number, T> =>
    Object.fromEntries(ids.filter(() => random.below(3) > 0).map((id) => [id, value()]));
  return {
    latency_intra: some(() => random.below(5_000)),
    latency_inter: some(() => random.below(5_000_000)),
    bandwidth_intra: some(() => random.below(4) * 1_000_000),
    bandwidth_inter: some(() => random.below(2 ** 31) * 8),
    geo: some(() => ({
      latitude: random.below(90) + 0.5,
      longitude: -random.below(90),
      address: `Line ${random.below(9)}`,
    })),
    link_types: some(() => random.below(3)),
    internal_hops: some(() => random.below(5)),
    note: random.below(3) ? `note ${random.below(3)}` : '',
  };
}

export interface Question {
  readonly src: bigint;
  readonly dst: bigint;
  readonly up: SegmentDescription[];
  readonly core: SegmentDescription[];
  readonly down: SegmentDescription[];
}

/** Two ASes of a world and segments between them, with some that do not help and some refreshed copies. */
export function randomQuestion(world: World, random: Random): Question {
  const cores = world.ases.map((_, i) => i).filter((i) => world.ases[i]!.core);
  const [src, dst] = [random.below(world.ases.length), random.below(world.ases.length)];
  const last = (steps: Step[]) => steps[steps.length - 1]!.as;
  const leafward = cores.flatMap((core) => chains(world, 'child', core, 40));
  const between = cores.flatMap((core) => chains(world, 'core', core, 12));
  const keep = (steps: Step[][], wanted: (steps: Step[]) => boolean, most: number) => {
    const chosen = steps.filter((s) => wanted(s) || random.below(25) === 0);
    while (chosen.length > most) chosen.splice(random.below(chosen.length), 1);
    return chosen;
  };
  const segments = (steps: Step[][]) =>
    steps.flatMap((s) => {
      const one = describe(world, s, random);
      if (random.below(6)) return [one];
      // A later beacon over the same interfaces: other identifier, MACs and announcements, the same peers.
      const fresh = describe(world, s, random);
      const entries = fresh.entries.map((entry, i) => ({
        ...entry,
        peers: one.entries[i]!.peers,
        exp_time: one.entries[i]!.exp_time,
      }));
      return [one, { ...fresh, timestamp: one.timestamp + 1 + random.below(1000), entries }];
    });
  return {
    src: world.ases[src]!.ia,
    dst: world.ases[dst]!.ia,
    up: segments(keep(leafward, (s) => last(s) === src, 8)),
    core: segments(keep(between, () => random.below(2) === 0, 10)),
    down: segments(keep(leafward, (s) => last(s) === dst, 8)),
  };
}

const LINK_TYPES: readonly LinkType[] = ['direct', 'multihop', 'opennet'];

function ourStatic(s: StaticDescription): StaticInfo {
  const map = <A, B>(record: Record<number, A>, value: (a: A) => B) =>
    new Map(Object.entries(record).map(([id, a]) => [Number(id), value(a)]));
  const same = <T>(value: T) => value;
  return {
    latencyIntra: map(s.latency_intra, same),
    latencyInter: map(s.latency_inter, same),
    bandwidthIntra: map(s.bandwidth_intra, same),
    bandwidthInter: map(s.bandwidth_inter, same),
    geo: map(s.geo, same),
    linkTypes: map(s.link_types, (n) => LINK_TYPES[n]!),
    internalHops: map(s.internal_hops, same),
    note: s.note,
  };
}

/** The segment as our builder makes it. */
export function ourSegment(
  description: SegmentDescription,
  keyOf: (master: string) => Uint8Array,
  parse: (ia: string) => bigint,
): PathSegment {
  const hops = description.entries.map((e) => ({
    ia: parse(e.ia),
    key: keyOf(e.master),
    ingress: e.ingress,
    egress: e.egress,
    mtu: e.mtu,
    ingressMtu: e.ingress_mtu,
    expTime: e.exp_time,
    peers: e.peers.map((p) => ({
      peerIa: parse(p.ia),
      peerInterface: p.interface,
      peerMtu: p.mtu,
      ingress: p.ingress,
      expTime: p.exp_time,
    })),
    epic: e.epic,
    ...(e.static ? { staticInfo: ourStatic(e.static) } : {}),
    ...(e.control.length + e.discovery.length > 0 ? { services: { control: e.control, discovery: e.discovery } } : {}),
  }));
  return buildSegment(description.timestamp, description.segment_id, hops);
}
