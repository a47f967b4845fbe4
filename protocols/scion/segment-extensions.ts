/**
 * Extensions of AS entries (proto.control_plane.v1.PathSegmentExtensions): what an AS announces about itself, and the
 * detached EPIC authenticators with the digest that ties them to the signed entry.
 *
 *   signed    { 1 static info, 2 hidden path, 3 discovery, 1000 digests { 1000 epic { 1 digest } } }
 *   unsigned  { 1000 epic { 1 hop authenticator, 2 peer authenticators[] } }     10 bytes each
 *
 * Announcements are hints: nobody checks them. The hidden-path mark is not read.
 */

import { sha256 } from '@noble/hashes/sha2.js';
import { writeU16 } from '#base/bytes';
import type { ProtoReader, ProtoWriter } from '#base/proto';
import { formatIpPort, parseIpPort } from '#scion/ip';

/** Geographic position of a border router, WGS 84 degrees. */
export interface GeoPosition {
  readonly latitude: number;
  readonly longitude: number;
  readonly address: string;
}

export type LinkType = 'unset' | 'direct' | 'multihop' | 'opennet';

/** Numbers of the link types in a segment. */
const LINK_TYPES: readonly LinkType[] = ['unset', 'direct', 'multihop', 'opennet'];

/** What an AS announces about its interfaces, keyed by local interface id. */
export interface StaticInfo {
  /** Between the entry's egress interface and another one of the AS, microseconds. */
  readonly latencyIntra: ReadonlyMap<number, number>;
  /** Of the link behind an interface, microseconds. */
  readonly latencyInter: ReadonlyMap<number, number>;
  /** As above, kbit/s. */
  readonly bandwidthIntra: ReadonlyMap<number, number>;
  readonly bandwidthInter: ReadonlyMap<number, number>;
  readonly geo?: ReadonlyMap<number, GeoPosition>;
  readonly linkTypes?: ReadonlyMap<number, LinkType>;
  /** Router hops inside the AS between the entry's egress interface and another one. */
  readonly internalHops?: ReadonlyMap<number, number>;
  readonly note?: string;
}

/** Services of an AS, `ip:port`. */
export interface Services {
  readonly control: readonly string[];
  readonly discovery: readonly string[];
}

/** Bytes of a hop authenticator beyond the six of the hop-field MAC. */
export const EPIC_DETACHED_LENGTH = 10;

/** The part of the 16-byte hop authenticators that is not in the hop fields. */
export interface EpicDetached {
  readonly hop: Uint8Array;
  /** One for each peer entry. */
  readonly peers: readonly Uint8Array[];
}

export interface SignedExtensions {
  staticInfo?: StaticInfo;
  services?: Services;
  /** Digest of the EPIC authenticators, 16 bytes. */
  epicDigest?: Uint8Array;
}

const EPIC_FIELD = 1000;
const DIGEST_LENGTH = 16;

/** Reads PathSegmentExtensions. */
export function readExtensions(r: ProtoReader): SignedExtensions {
  const out: SignedExtensions = {};
  while (r.next()) {
    if (r.field === 1) out.staticInfo = readStaticInfo(r.message('StaticInfoExtension'));
    else if (r.field === 3) out.services = readServices(r.message('DiscoveryExtension'));
    else if (r.field === EPIC_FIELD) {
      const digests = r.message('DigestExtension');
      while (digests.next()) {
        if (digests.field !== EPIC_FIELD) digests.skip();
        else {
          // A shorter digest counts as filled up with zeros, a longer one as cut.
          out.epicDigest = new Uint8Array(DIGEST_LENGTH);
          const digest = digests.message('Digest');
          while (digest.next()) {
            if (digest.field === 1) out.epicDigest.set(digest.bytes().subarray(0, DIGEST_LENGTH));
            else digest.skip();
          }
        }
      }
    } else r.skip();
  }
  return out;
}

/** Whether there is anything to write. */
export function hasExtensions(extensions: SignedExtensions): boolean {
  return (
    extensions.staticInfo !== undefined || extensions.services !== undefined || extensions.epicDigest !== undefined
  );
}

/** Writes the fields of PathSegmentExtensions. */
export function writeExtensions(w: ProtoWriter, { staticInfo, services, epicDigest }: SignedExtensions): void {
  if (staticInfo) w.message(1, (s) => writeStaticInfo(s, staticInfo));
  if (services) {
    w.message(3, (d) => {
      for (const text of services.control) d.text(2, text);
      for (const text of services.discovery) d.text(3, text);
    });
  }
  if (epicDigest) w.message(EPIC_FIELD, (d) => d.message(EPIC_FIELD, (e) => e.bytes(1, epicDigest)));
}

/** Reads PathSegmentUnsignedExtensions. */
export function readUnsigned(r: ProtoReader): EpicDetached | undefined {
  let epic: EpicDetached | undefined;
  while (r.next()) {
    if (r.field === EPIC_FIELD) epic = readEpic(r.message('EPICDetachedExtension'));
    else r.skip();
  }
  return epic;
}

/** Writes the fields of PathSegmentUnsignedExtensions. */
export function writeUnsigned(w: ProtoWriter, epic: EpicDetached): void {
  w.message(EPIC_FIELD, (e) => {
    e.bytes(1, epic.hop);
    for (const peer of epic.peers) e.alwaysBytes(2, peer);
  });
}

/** SHA-256 over the number of authenticators and their bytes, the first 16 bytes of it. */
export function epicDigestOf({ hop, peers }: EpicDetached): Uint8Array {
  const input = new Uint8Array(2 + EPIC_DETACHED_LENGTH * (1 + peers.length));
  writeU16(input, 0, 1 + peers.length);
  input.set(hop, 2);
  for (const [i, peer] of peers.entries()) input.set(peer, 2 + EPIC_DETACHED_LENGTH * (i + 1));
  return sha256(input).slice(0, DIGEST_LENGTH);
}

function readEpic(r: ProtoReader): EpicDetached {
  const hop = new Uint8Array(EPIC_DETACHED_LENGTH);
  const peers: Uint8Array[] = [];
  while (r.next()) {
    if (r.field === 1) hop.set(r.bytes().subarray(0, EPIC_DETACHED_LENGTH));
    else if (r.field === 2) {
      const peer = new Uint8Array(EPIC_DETACHED_LENGTH);
      peer.set(r.bytes().subarray(0, EPIC_DETACHED_LENGTH));
      peers.push(peer);
    } else r.skip();
  }
  return { hop, peers };
}

/** Addresses that cannot be read are left out; a list of nothing else is an error. */
function readServices(r: ProtoReader): Services {
  const lists: Record<2 | 3, string[]> = { 2: [], 3: [] };
  const damaged = new Set<number>();
  while (r.next()) {
    const { field } = r;
    if (field !== 2 && field !== 3) {
      r.skip();
      continue;
    }
    const text = r.text();
    try {
      const { host, port } = parseIpPort(text);
      lists[field].push(formatIpPort(host, port));
    } catch {
      damaged.add(field);
    }
  }
  for (const field of [2, 3] as const)
    if (damaged.has(field) && lists[field].length === 0) throw r.invalid('service addresses as ip:port');
  return { control: lists[2], discovery: lists[3] };
}

function readStaticInfo(r: ProtoReader): StaticInfo {
  const info = {
    latencyIntra: new Map<number, number>(),
    latencyInter: new Map<number, number>(),
    bandwidthIntra: new Map<number, number>(),
    bandwidthInter: new Map<number, number>(),
  };
  const geo = new Map<number, GeoPosition>();
  const linkTypes = new Map<number, LinkType>();
  const internalHops = new Map<number, number>();
  let note = '';
  while (r.next()) {
    if (r.field === 1) readPair(r.message('LatencyInfo'), info.latencyIntra, info.latencyInter, 32);
    else if (r.field === 2) readPair(r.message('BandwidthInfo'), info.bandwidthIntra, info.bandwidthInter, 64);
    else if (r.field === 3) readGeo(r.message('map entry'), geo);
    else if (r.field === 4) readLinkType(r.message('map entry'), linkTypes);
    else if (r.field === 5) readMapEntry(r.message('map entry'), internalHops, 32);
    else if (r.field === 6) note = r.text();
    else r.skip();
  }
  return {
    ...info,
    ...(geo.size > 0 ? { geo } : {}),
    ...(linkTypes.size > 0 ? { linkTypes } : {}),
    ...(internalHops.size > 0 ? { internalHops } : {}),
    ...(note === '' ? {} : { note }),
  };
}

function readPair(r: ProtoReader, intra: Map<number, number>, inter: Map<number, number>, bits: 32 | 64): void {
  while (r.next()) {
    if (r.field === 1) readMapEntry(r.message('map entry'), intra, bits);
    else if (r.field === 2) readMapEntry(r.message('map entry'), inter, bits);
    else r.skip();
  }
}

/**
 * Values beyond 2^53 - 1 are hints that no line can have; they are left out.
 * @param bits  of the value; protobuf lets more overflow
 */
function readMapEntry(r: ProtoReader, map: Map<number, number>, bits: 32 | 64): void {
  let key = 0n;
  let value = 0n;
  while (r.next()) {
    if (r.field === 1) key = r.u64();
    else if (r.field === 2) value = BigInt.asUintN(bits, r.u64());
    else r.skip();
  }
  if (key <= 0xffffn && value <= BigInt(Number.MAX_SAFE_INTEGER)) map.set(Number(key), Number(value));
}

function readLinkType(r: ProtoReader, map: Map<number, LinkType>): void {
  const raw = new Map<number, number>();
  readMapEntry(r, raw, 32);
  for (const [id, number] of raw) {
    const type = LINK_TYPES[number] ?? 'unset';
    // The last entry of an interface counts, also one of a type that is not known.
    if (type === 'unset') map.delete(id);
    else map.set(id, type);
  }
}

function readGeo(r: ProtoReader, map: Map<number, GeoPosition>): void {
  let key = 0n;
  let [latitude, longitude, address] = [0, 0, ''];
  while (r.next()) {
    if (r.field === 1) key = r.u64();
    else if (r.field === 2) {
      const g = r.message('GeoCoordinates');
      while (g.next()) {
        if (g.field === 1) latitude = g.float();
        else if (g.field === 2) longitude = g.float();
        else if (g.field === 3) address = g.text();
        else g.skip();
      }
    } else r.skip();
  }
  if (key <= 0xffffn) map.set(Number(key), { latitude, longitude, address });
}

function writeStaticInfo(w: ProtoWriter, info: StaticInfo): void {
  if (info.latencyIntra.size + info.latencyInter.size > 0)
    w.message(1, (l) => writePair(l, info.latencyIntra, info.latencyInter));
  if (info.bandwidthIntra.size + info.bandwidthInter.size > 0)
    w.message(2, (b) => writePair(b, info.bandwidthIntra, info.bandwidthInter));
  for (const [id, geo] of info.geo ?? []) {
    w.message(3, (e) =>
      e.u32(1, id).message(2, (g) => g.float(1, geo.latitude).float(2, geo.longitude).text(3, geo.address)),
    );
  }
  for (const [id, type] of info.linkTypes ?? []) w.message(4, (e) => e.u32(1, id).u32(2, LINK_TYPES.indexOf(type)));
  for (const [id, hops] of info.internalHops ?? []) w.message(5, (e) => e.u32(1, id).u32(2, hops));
  if (info.note) w.text(6, info.note);
}

function writePair(w: ProtoWriter, intra: ReadonlyMap<number, number>, inter: ReadonlyMap<number, number>): void {
  for (const [key, value] of intra) w.message(1, (e) => e.u32(1, key).u64(2, BigInt(value)));
  for (const [key, value] of inter) w.message(2, (e) => e.u32(1, key).u64(2, BigInt(value)));
}
