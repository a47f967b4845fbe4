/**
 * What the ASes of a path announce about it, brought into the order of its interfaces (scionproto
 * private/path/combinator/staticinfo_accumulator.go). All AS entries in use count, also the unused side of the AS at a
 * shortcut. When two speak of the same hop, the less favourable latency and bandwidth win, the smaller number of internal
 * hops, and no link type.
 */

import { LATENCY_UNSET, type PathInterface, type PathNotes, type ScionPath } from '#scion/path-metadata';
import type { SegmentEntry } from '#scion/segment';
import type { GeoPosition, LinkType, Services } from '#scion/segment-extensions';

const keyOf = (ia: bigint, id: number) => `${ia}#${id}`;
const pairKey = (a: string, b: string) => (a < b ? `${a} ${b}` : `${b} ${a}`);

/**
 * @param entries  AS entries in use, in the order of travel
 * @param interfaces  of the path, an even number
 */
export function announcements(
  entries: readonly SegmentEntry[],
  interfaces: readonly PathInterface[],
): Pick<ScionPath, 'latenciesUs' | 'bandwidthsKbit' | 'notes'> {
  const keys = interfaces.map(({ ia, id }) => keyOf(ia, id));
  const pairs = keys.slice(1).map((key, i) => pairKey(keys[i]!, key));
  const facts = collect(entries, remoteEnds(keys));
  return {
    latenciesUs: pairs.map((pair) => facts.latency.get(pair) ?? LATENCY_UNSET),
    bandwidthsKbit: pairs.map((pair) => facts.bandwidth.get(pair) ?? 0),
    notes: {
      geo: keys.map((key) => facts.geo.get(key)),
      linkTypes: pairs.filter((_, i) => i % 2 === 0).map((pair) => facts.linkType.get(pair) ?? 'unset'),
      internalHops: pairs.filter((_, i) => i % 2 === 1).map((pair) => facts.internalHops.get(pair) ?? 0),
      texts: textsOf(entries, interfaces),
      services: servicesOf(entries),
    },
  };
}

/** The other end of each inter-AS link of the path. */
function remoteEnds(keys: readonly string[]): ReadonlyMap<string, string> {
  const remote = new Map<string, string>();
  for (let i = 0; i + 1 < keys.length; i += 2) {
    remote.set(keys[i]!, keys[i + 1]!);
    remote.set(keys[i + 1]!, keys[i]!);
  }
  return remote;
}

interface Facts {
  readonly latency: Map<string, number>;
  readonly bandwidth: Map<string, number>;
  readonly internalHops: Map<string, number>;
  readonly linkType: Map<string, LinkType>;
  readonly geo: Map<string, GeoPosition>;
}

/** Keeps the larger value. */
function larger(map: Map<string, number>, key: string, value: number): void {
  map.set(key, Math.max(value, map.get(key) ?? 0));
}

/** Keeps the smaller value; 0 says nothing. */
function smaller(map: Map<string, number>, key: string, value: number): void {
  if (value > 0) map.set(key, Math.min(value, map.get(key) ?? value));
}

function collect(entries: readonly SegmentEntry[], remote: ReadonlyMap<string, string>): Facts {
  const facts: Facts = {
    latency: new Map(),
    bandwidth: new Map(),
    internalHops: new Map(),
    linkType: new Map(),
    geo: new Map(),
  };
  for (const { ia, hop, staticInfo: info } of entries) {
    if (info === undefined) continue;
    const inside = (id: number) => pairKey(keyOf(ia, hop.consEgress), keyOf(ia, id));
    // A link that the path does not use has no far end here, and its key is never asked for.
    const outside = (id: number) => pairKey(keyOf(ia, id), remote.get(keyOf(ia, id)) ?? '');
    for (const [id, us] of info.latencyIntra) larger(facts.latency, inside(id), us);
    for (const [id, us] of info.latencyInter) larger(facts.latency, outside(id), us);
    for (const [id, kbit] of info.bandwidthIntra) smaller(facts.bandwidth, inside(id), kbit);
    for (const [id, kbit] of info.bandwidthInter) smaller(facts.bandwidth, outside(id), kbit);
    for (const [id, hops] of info.internalHops ?? []) smaller(facts.internalHops, inside(id), hops);
    for (const [id, geo] of info.geo ?? []) facts.geo.set(keyOf(ia, id), geo);
    for (const [id, type] of info.linkTypes ?? []) {
      const other = facts.linkType.get(outside(id));
      facts.linkType.set(outside(id), other === undefined || other === type ? type : 'unset');
    }
  }
  return facts;
}

/** The texts of each AS on the path, each once, joined by line breaks. */
function textsOf(entries: readonly SegmentEntry[], interfaces: readonly PathInterface[]): string[] {
  const texts = new Map<bigint, Set<string>>();
  for (const { ia, staticInfo } of entries) {
    if (!staticInfo?.note) continue;
    const known = texts.get(ia) ?? new Set();
    texts.set(ia, known.add(staticInfo.note));
  }
  const ases = interfaces.filter((_, i) => i === 0 || i % 2 === 1).map(({ ia }) => ia);
  return ases.map((ia) => [...(texts.get(ia) ?? [])].join('\n'));
}

function servicesOf(entries: readonly SegmentEntry[]): PathNotes['services'] {
  const services = new Map<bigint, Services>();
  for (const { ia, services: more } of entries) {
    if (more === undefined) continue;
    const known = services.get(ia);
    services.set(ia, {
      control: [...new Set([...(known?.control ?? []), ...more.control])],
      discovery: [...new Set([...(known?.discovery ?? []), ...more.discovery])],
    });
  }
  return services;
}
