/**
 * Makes the directories of a group of ASes from one description, as official tools lay them out:
 *
 *   ASff00_0_110/topology.json, keys/master0.key, keys/master1.key, segments/{up,core,down}-<id>.seg
 *
 * The segments are those that beaconing between these ASes would have made: their hop fields are made with the keys of all
 * the ASes, which only someone who owns all of them (a lab, a small operator) can do. AS entries are not signed. Run it
 * again before the hop fields expire: keys stay, segments are replaced.
 */

import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toHex } from '#base/bytes';
import { ConfigError } from '#base/errors';
import { deriveHopKey } from '#scion/hop-mac';
import { asOf, formatAs, formatIsdAs, parseIsdAs } from '#scion/isd-as';
import {
  encodeSegment,
  type PathSegment,
  type SegmentType,
  type StaticInfo,
  segmentExpiryMs,
  segmentIdHash,
} from '#scion/segment';
import { type BuilderHop, buildSegment } from '#scion/segment-builder';

export interface AsDescription {
  readonly ia: string;
  readonly core?: boolean;
  /** Largest SCION packet inside the AS; 1472 when left out. */
  readonly mtu?: number;
  /** `ip:port` of the border router's inside. */
  readonly internal: string;
  /** `ip:port` of the control service, where hosts ask for segments. */
  readonly control: string;
  /** Ports that routers deliver to directly: `all` when left out. */
  readonly dispatchedPorts?: string;
  /** One-way delay between two of its interfaces, ms; not announced when left out. */
  readonly internalLatencyMs?: number;
}

export interface LinkEnd {
  readonly ia: string;
  /** Interface id, 1…65535, unique in its AS. */
  readonly id: number;
  /** `ip:port` that the router binds. */
  readonly local: string;
  /** `ip:port` that it sends to; the other end's `local` when left out, an emulator's socket in a lab. */
  readonly remote?: string;
}

export interface LinkDescription {
  readonly a: LinkEnd;
  readonly b: LinkEnd;
  /** What `b` is to `a`. */
  readonly role: 'core' | 'child' | 'peer';
  /** 1472 when left out. */
  readonly mtu?: number;
  /** One-way, announced in the segments. */
  readonly latencyMs?: number;
  readonly bandwidthKbit?: number;
  /** Whether the routers watch the link with BFD; off when left out. */
  readonly bfd?: boolean;
}

export interface TopologyDescription {
  readonly ases: readonly AsDescription[];
  readonly links: readonly LinkDescription[];
}

export interface AsFilesOptions {
  /** Time of the segments, Unix ms. */
  readonly now?: number;
  /** Life of the hop fields, (ExpTime + 1) · 337.5 s; 255 = one day. */
  readonly expTime?: number;
  /** Most ASes in one segment. */
  readonly maxHops?: number;
  /** Most segments between two ASes, shortest first. */
  readonly maxSegments?: number;
}

export interface AsFiles {
  /** Directory of each AS by its ISD-AS text. */
  readonly folders: ReadonlyMap<string, string>;
  /** Number of different segments. */
  readonly segments: number;
  /** When the first of them expires, Unix ms. */
  readonly expiryMs: number;
}

const DEFAULT_MTU = 1472;
const MASTER_KEY_LENGTH = 16;

/** One end of a link, seen from its own AS. */
interface Interface {
  readonly end: LinkEnd;
  readonly far: LinkEnd;
  readonly farIa: bigint;
  /** What the neighbour is. */
  readonly role: 'core' | 'child' | 'parent' | 'peer';
  readonly link: LinkDescription;
}

interface As {
  readonly description: AsDescription;
  readonly ia: bigint;
  readonly interfaces: Interface[];
  readonly folder: string;
}

/**
 * Writes (or refreshes) the directories below `folder`. Existing master keys are kept.
 * @throws ConfigError `config.invalid` for a description that contradicts itself
 */
export function writeAsFiles(description: TopologyDescription, folder: string, options: AsFilesOptions = {}): AsFiles {
  const ases = readDescription(description, folder);
  const keys = new Map<bigint, Uint8Array>();
  for (const as of ases.values()) {
    mkdirSync(join(as.folder, 'keys'), { recursive: true, mode: 0o700 });
    mkdirSync(join(as.folder, 'segments'), { recursive: true });
    replaceFile(join(as.folder, 'topology.json'), `${JSON.stringify(topologyJson(as), null, 2)}\n`);
    keys.set(as.ia, deriveHopKey(masterKey(as.folder, 0)));
    // Official services refuse to start without a second key, and do not use it.
    masterKey(as.folder, 1);
  }
  const made = makeSegments(ases, keys, options);
  for (const as of ases.values()) writeSegments(as, made);
  const all = [...made.core, ...made.leaf];
  return {
    folders: new Map([...ases.values()].map((as) => [formatIsdAs(as.ia), as.folder])),
    segments: all.length,
    expiryMs: Math.min(...all.map(segmentExpiryMs)),
  };
}

// --- Description -------------------------------------------------------------------------------------------------------

function readDescription(description: TopologyDescription, folder: string): Map<bigint, As> {
  const wrong = (message: string) => new ConfigError('config.invalid', `topology description: ${message}`);
  const ases = new Map<bigint, As>();
  for (const as of description.ases) {
    const ia = parseIsdAs(as.ia);
    if (ases.has(ia)) throw wrong(`${as.ia} appears twice`);
    const directory = join(folder, `AS${formatAs(asOf(ia)).replaceAll(':', '_')}`);
    ases.set(ia, { description: as, ia, interfaces: [], folder: directory });
  }
  const add = (end: LinkEnd, far: LinkEnd, role: Interface['role'], link: LinkDescription) => {
    const as = ases.get(parseIsdAs(end.ia));
    if (as === undefined) throw wrong(`a link names ${end.ia}, which is not described`);
    if (!Number.isInteger(end.id) || end.id < 1 || end.id > 65535) throw wrong(`interface id ${end.id} of ${end.ia}`);
    if (as.interfaces.some((i) => i.end.id === end.id)) throw wrong(`interface ${end.id} of ${end.ia} appears twice`);
    const allowed = as.description.core ? ['core', 'child', 'peer'] : ['parent', 'child', 'peer'];
    if (!allowed.includes(role)) throw wrong(`${end.ia}#${end.id} cannot have a ${role} link`);
    as.interfaces.push({ end, far, farIa: parseIsdAs(far.ia), role, link });
  };
  for (const link of description.links) {
    add(link.a, link.b, link.role, link);
    add(link.b, link.a, link.role === 'child' ? 'parent' : link.role, link);
  }
  return ases;
}

function topologyJson(as: As): object {
  const name = formatIsdAs(as.ia).replaceAll(':', '_');
  const interfaces: Record<string, object> = {};
  for (const { end, far, role, link } of as.interfaces) {
    interfaces[end.id] = {
      underlay: { local: end.local, remote: end.remote ?? far.local },
      isd_as: far.ia,
      link_to: role,
      mtu: link.mtu ?? DEFAULT_MTU,
      ...(role === 'peer' ? { remote_interface_id: far.id } : {}),
      ...(link.bfd ? {} : { bfd: { disable: true } }),
    };
  }
  const { description } = as;
  return {
    isd_as: formatIsdAs(as.ia),
    mtu: description.mtu ?? DEFAULT_MTU,
    attributes: description.core ? ['core'] : [],
    dispatched_ports: description.dispatchedPorts ?? 'all',
    border_routers: { [`br${name}-1`]: { internal_addr: description.internal, interfaces } },
    control_service: { [`cs${name}-1`]: { addr: description.control } },
    discovery_service: { [`ds${name}-1`]: { addr: description.control } },
  };
}

/** Reads master key `number`, or makes it. */
function masterKey(folder: string, number: 0 | 1): Uint8Array {
  const file = join(folder, 'keys', `master${number}.key`);
  if (!existsSync(file)) replaceFile(file, randomBytes(MASTER_KEY_LENGTH).toString('base64'), 0o600);
  const key = Buffer.from(readFileSync(file, 'utf8'), 'base64');
  if (key.length === 0) throw new ConfigError('config.invalid', `${file} holds no base64 key`);
  return Uint8Array.from(key);
}

/** Readers see the old file or the new one, never half of it. */
function replaceFile(file: string, content: string | Uint8Array, mode = 0o644): void {
  const temporary = `${file}.new`;
  writeFileSync(temporary, content, { mode });
  renameSync(temporary, file);
}

// --- Segments ----------------------------------------------------------------------------------------------------------

interface MadeSegments {
  readonly core: PathSegment[];
  /** From a core AS down to a leaf: the leaf's up segment, everyone's down segment. */
  readonly leaf: PathSegment[];
}

/** An AS on the walk and the interface through which the walk came in. */
interface Step {
  readonly as: As;
  readonly ingress: Interface | undefined;
}

function makeSegments(ases: Map<bigint, As>, keys: Map<bigint, Uint8Array>, options: AsFilesOptions): MadeSegments {
  const { now = Date.now(), expTime = 255, maxHops = 10, maxSegments = 20 } = options;
  const made: MadeSegments = { core: [], leaf: [] };
  const timestamp = Math.floor(now / 1000);
  for (const origin of ases.values()) {
    if (!origin.description.core) continue;
    for (const role of ['core', 'child'] as const) {
      const walks = walksFrom(ases, origin, role, maxHops);
      const count = new Map<bigint, number>();
      for (const walk of walks) {
        const { ia } = walk[walk.length - 1]!.as;
        const n = (count.get(ia) ?? 0) + 1;
        count.set(ia, n);
        if (n > maxSegments) continue;
        const id = randomBytes(2).readUInt16BE(0);
        const segment = buildSegment(timestamp, id, builderHops(walk, keys, expTime, role === 'child'));
        (role === 'core' ? made.core : made.leaf).push(segment);
      }
    }
  }
  return made;
}

/** Every walk along links of one role that visits no AS twice, shortest first. */
function walksFrom(ases: Map<bigint, As>, origin: As, role: 'core' | 'child', maxHops: number): Step[][] {
  const walks: Step[][] = [];
  let frontier: Step[][] = [[{ as: origin, ingress: undefined }]];
  for (let hops = 2; hops <= maxHops && frontier.length > 0; hops++) {
    const longer: Step[][] = [];
    for (const walk of frontier) {
      for (const { role: linkRole, farIa, far } of walk[walk.length - 1]!.as.interfaces) {
        if (linkRole !== role || walk.some(({ as }) => as.ia === farIa)) continue;
        const as = ases.get(farIa)!;
        longer.push([...walk, { as, ingress: as.interfaces.find((i) => i.end.id === far.id)! }]);
      }
    }
    walks.push(...longer);
    frontier = longer;
  }
  return walks;
}

function builderHops(
  walk: readonly Step[],
  keys: Map<bigint, Uint8Array>,
  expTime: number,
  withPeers: boolean,
): BuilderHop[] {
  return walk.map(({ as, ingress }, i): BuilderHop => {
    const egress = walk[i + 1]?.ingress?.far.id ?? 0;
    const peers = withPeers ? as.interfaces.filter(({ role }) => role === 'peer') : [];
    const info = staticInfo(as, egress);
    return {
      ia: as.ia,
      key: keys.get(as.ia)!,
      ingress: ingress?.end.id ?? 0,
      egress,
      mtu: as.description.mtu ?? DEFAULT_MTU,
      ingressMtu: ingress === undefined ? 0 : (ingress.link.mtu ?? DEFAULT_MTU),
      expTime,
      peers: peers.map(({ end, far, farIa, link }) => ({
        peerIa: farIa,
        peerInterface: far.id,
        peerMtu: link.mtu ?? DEFAULT_MTU,
        ingress: end.id,
      })),
      ...(info === undefined ? {} : { staticInfo: info }),
    };
  });
}

/** What an AS announces for one egress: the links behind it and behind peering interfaces, and its own inside. */
function staticInfo(as: As, egress: number): StaticInfo | undefined {
  const info = {
    latencyIntra: new Map<number, number>(),
    latencyInter: new Map<number, number>(),
    bandwidthIntra: new Map<number, number>(),
    bandwidthInter: new Map<number, number>(),
  };
  for (const { end, role, link } of as.interfaces) {
    if (end.id === egress || role === 'peer') {
      if (link.latencyMs !== undefined) info.latencyInter.set(end.id, Math.round(link.latencyMs * 1000));
      if (link.bandwidthKbit !== undefined) info.bandwidthInter.set(end.id, link.bandwidthKbit);
    }
    const inside = as.description.internalLatencyMs;
    if (end.id !== egress && egress !== 0 && inside !== undefined)
      info.latencyIntra.set(end.id, Math.round(inside * 1000));
  }
  return Object.values(info).some((map) => map.size > 0) ? info : undefined;
}

/** Writes what the control service of `as` would hold: its up segments, all core and all down segments. */
function writeSegments(as: As, made: MadeSegments): void {
  const folder = join(as.folder, 'segments');
  const wanted = new Set<string>();
  const write = (type: SegmentType, segment: PathSegment) => {
    const name = `${type}-${toHex(segmentIdHash(segment), 0, 12)}.seg`;
    replaceFile(join(folder, name), encodeSegment(segment));
    wanted.add(name);
  };
  for (const segment of made.core) write('core', segment);
  for (const segment of made.leaf) {
    write('down', segment);
    if (segment.entries[segment.entries.length - 1]!.ia === as.ia) write('up', segment);
  }
  for (const name of readdirSync(folder)) {
    if (name.endsWith('.seg') && !wanted.has(name)) rmSync(join(folder, name));
  }
}
