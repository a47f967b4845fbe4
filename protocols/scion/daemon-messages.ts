/**
 * Messages of the SCION daemon (proto.daemon.v1.DaemonService) as an end host uses them: the paths to an AS, ready to
 * send, and what a host must know of its own AS.
 *
 *   PathsRequest  { 1 source, 2 destination, 3 refresh }        PathsResponse { 1 Path[] }
 *   Path          { 1 raw, 2 next hop, 3 interfaces[], 4 mtu, 5 expiration, 6 latency[], 7 bandwidth[], … }
 *   AS            { 1 isd_as } -> { 1 isd_as, 2 core, 3 mtu }     PortRange  {} -> { 1 start, 2 end }
 *   Interfaces    {} -> map< 1 id, 2 { 1 { 1 address } } >        Services   {} -> map< 1 name, 2 { 1 { 1 uri }[] } >
 *
 * Left out: geography, link types, notes, EPIC authenticators, discovery addresses, DRKey.
 */

import { DecodeError, ScionError } from '#base/errors';
import { ProtoReader, ProtoWriter } from '#base/proto';
import { emptyPath } from '#scion/combinator';
import type { PortRange } from '#scion/host-topology';
import { type IpPort, parseIpPort } from '#scion/ip';
import { checkPath, currHfOf, currInfOf, metaWord, PathFault, pathLength } from '#scion/path';
import { hopsText, LATENCY_UNSET, type PathInterface, pathFingerprint, type ScionPath } from '#scion/path-metadata';

const SERVICE = '/proto.daemon.v1.DaemonService/';
export const DaemonMethod = {
  paths: `${SERVICE}Paths`,
  as: `${SERVICE}AS`,
  interfaces: `${SERVICE}Interfaces`,
  services: `${SERVICE}Services`,
  portRange: `${SERVICE}PortRange`,
  interfaceDown: `${SERVICE}NotifyInterfaceDown`,
} as const;

/** More paths of one answer are not looked at. */
const MAX_PATHS = 1000;

export interface DaemonAs {
  readonly ia: bigint;
  readonly core: boolean;
  readonly mtu: number;
}

/** A path of the daemon and the router to which packets on it go; undefined inside the AS. */
export interface DaemonPath {
  readonly path: ScionPath;
  readonly nextHop: IpPort | undefined;
}

/** @param refresh  the daemon asks the control service anew */
export function encodePathsRequest(src: bigint, dst: bigint, refresh = false): Uint8Array {
  return new ProtoWriter(32).u64(1, src).u64(2, dst).bool(3, refresh).finish();
}

/** @param ia  0 for the local AS */
export function encodeAsRequest(ia: bigint): Uint8Array {
  return new ProtoWriter(16).u64(1, ia).finish();
}

/** Tells the daemon of an interface that a router called down. */
export function encodeInterfaceDown(ia: bigint, id: number): Uint8Array {
  return new ProtoWriter(32).u64(1, ia).u32(2, id).finish();
}

/**
 * The paths of an answer in the daemon's order. A path that cannot be used is left out.
 * @param onInvalid  told about each one left out
 * @throws ScionError `scion.daemon` when the answer itself is malformed
 */
export function decodePathsResponse(
  bytes: Uint8Array,
  src: bigint,
  dst: bigint,
  onInvalid: (error: ScionError) => void = () => {},
): DaemonPath[] {
  const messages: Uint8Array[] = [];
  checked(() => {
    const r = new ProtoReader(bytes, 'PathsResponse');
    while (r.next()) {
      if (r.field === 1 && messages.length < MAX_PATHS) messages.push(r.bytes());
      else r.skip();
    }
  });
  const paths: DaemonPath[] = [];
  for (const message of messages) {
    try {
      paths.push(checked(() => decodePath(message, src, dst)));
    } catch (error) {
      if (!(error instanceof ScionError)) throw error;
      onInvalid(error);
    }
  }
  return paths;
}

/** @throws ScionError `scion.daemon` */
export function decodeAsResponse(bytes: Uint8Array): DaemonAs {
  return checked(() => {
    const r = new ProtoReader(bytes, 'ASResponse');
    const as = { ia: 0n, core: false, mtu: 0 };
    while (r.next()) {
      if (r.field === 1) as.ia = r.u64();
      else if (r.field === 2) as.core = r.bool();
      else if (r.field === 3) as.mtu = r.u32();
      else r.skip();
    }
    return as;
  });
}

/** Inner address of the border router of each interface of the AS. @throws ScionError `scion.daemon` */
export function decodeInterfacesResponse(bytes: Uint8Array): Map<number, IpPort> {
  return checked(() => {
    const interfaces = new Map<number, IpPort>();
    const r = new ProtoReader(bytes, 'InterfacesResponse');
    while (r.next()) {
      if (r.field !== 1) {
        r.skip();
        continue;
      }
      const entry = r.message('InterfacesResponse entry');
      let id = 0;
      let address = '';
      while (entry.next()) {
        if (entry.field === 1) id = interfaceId(entry);
        else if (entry.field === 2) address = readInterface(entry);
        else entry.skip();
      }
      if (id === 0) throw entry.invalid('an interface id');
      interfaces.set(id, parseIpPort(address));
    }
    return interfaces;
  });
}

/** `ip:port` of each service by kind; `control` is the one that daemons name. @throws ScionError `scion.daemon` */
export function decodeServicesResponse(bytes: Uint8Array): Map<string, string[]> {
  return checked(() => {
    const services = new Map<string, string[]>();
    const r = new ProtoReader(bytes, 'ServicesResponse');
    while (r.next()) {
      if (r.field !== 1) {
        r.skip();
        continue;
      }
      const entry = r.message('ServicesResponse entry');
      let name = '';
      const uris: string[] = [];
      while (entry.next()) {
        if (entry.field === 1) name = entry.text();
        else if (entry.field === 2) {
          const list = entry.message('ListService');
          while (list.next()) {
            if (list.field === 1) uris.push(readText(list.message('Service')));
            else list.skip();
          }
        } else entry.skip();
      }
      services.set(name, uris);
    }
    return services;
  });
}

/** Ports that hosts read themselves. @throws ScionError `scion.daemon` */
export function decodePortRange(bytes: Uint8Array): PortRange {
  return checked(() => {
    const r = new ProtoReader(bytes, 'PortRangeResponse');
    const range = { min: 0, max: 0 };
    while (r.next()) {
      if (r.field === 1) range.min = r.u32();
      else if (r.field === 2) range.max = r.u32();
      else r.skip();
    }
    if (range.min > 65535 || range.max > 65535) throw r.invalid('ports of at most 65535');
    // Both 0: no port is dispatched.
    return range.max === 0 ? { min: 1, max: 0 } : range;
  });
}

// --- Path --------------------------------------------------------------------------------------------------------------

function decodePath(bytes: Uint8Array, src: bigint, dst: bigint): DaemonPath {
  const r = new ProtoReader(bytes, 'Path');
  let raw: Uint8Array = new Uint8Array(0);
  let nextHop = '';
  let mtu = 0;
  let expiryMs = 0;
  const interfaces: PathInterface[] = [];
  const latenciesUs: number[] = [];
  const bandwidths: bigint[] = [];
  while (r.next()) {
    if (r.field === 1) raw = new Uint8Array(r.bytes());
    else if (r.field === 2) nextHop = readInterface(r);
    else if (r.field === 3) interfaces.push(readPathInterface(r.message('PathInterface')));
    else if (r.field === 4) mtu = r.u32();
    else if (r.field === 5) expiryMs = readSeconds(r.message('Timestamp')) * 1000;
    else if (r.field === 6) latenciesUs.push(latencyUs(readSeconds(r.message('Duration'))));
    else if (r.field === 7) r.packed(bandwidths);
    else r.skip();
  }
  if (raw.length === 0) {
    if (src !== dst) throw r.invalid('a path to another AS to have bytes');
    return { path: emptyPath(dst, mtu), nextHop: undefined };
  }
  checkRaw(r, raw);
  checkInterfaces(r, interfaces, src, dst);
  const path: ScionPath = {
    src,
    dst,
    raw,
    interfaces,
    fingerprint: pathFingerprint(interfaces),
    mtu,
    expiryMs,
    weight: interfaces.length / 2,
    latenciesUs: fill(latenciesUs, interfaces.length - 1, LATENCY_UNSET),
    bandwidthsKbit: fill(bandwidths.map(Number), interfaces.length - 1, 0),
    hops: hopsText(interfaces),
  };
  return { path, nextHop: parseIpPort(nextHop) };
}

function checkRaw(r: ProtoReader, raw: Uint8Array): void {
  if (checkPath(raw, 0, raw.length) !== PathFault.none || pathLength(raw, 0) !== raw.length)
    throw r.invalid('a whole SCION path');
  const word = metaWord(raw, 0);
  if (currInfOf(word) !== 0 || currHfOf(word) !== 0) throw r.invalid('a path that stands at its first hop');
}

function checkInterfaces(r: ProtoReader, interfaces: readonly PathInterface[], src: bigint, dst: bigint): void {
  const last = interfaces[interfaces.length - 1];
  if (interfaces.length < 2 || interfaces.length % 2 !== 0) throw r.invalid('pairs of interfaces');
  if (interfaces[0]!.ia !== src || last!.ia !== dst) throw r.invalid('interfaces from the source to the destination');
}

/** The announced values, or `unknown` for every place when their number is not the right one. */
function fill(values: number[], length: number, unknown: number): number[] {
  return values.length === length ? values : new Array<number>(length).fill(unknown);
}

function readPathInterface(r: ProtoReader): PathInterface {
  let ia = 0n;
  let id = 0;
  while (r.next()) {
    if (r.field === 1) ia = r.u64();
    else if (r.field === 2) id = interfaceId(r);
    else r.skip();
  }
  return { ia, id };
}

function interfaceId(r: ProtoReader): number {
  const id = r.u64();
  if (id > 0xffffn) throw r.invalid('an interface id of at most 65535');
  return Number(id);
}

/** Interface { 1 Underlay { 1 address } }. */
function readInterface(field: ProtoReader): string {
  const r = field.message('Interface');
  let address = '';
  while (r.next()) {
    if (r.field === 1) address = readText(r.message('Underlay'));
    else r.skip();
  }
  return address;
}

/** A message whose field 1 is a text. */
function readText(r: ProtoReader): string {
  let text = '';
  while (r.next()) {
    if (r.field === 1) text = r.text();
    else r.skip();
  }
  return text;
}

/** Timestamp and Duration { 1 seconds int64, 2 nanos int32 }. */
function readSeconds(r: ProtoReader): number {
  let seconds = 0n;
  let nanos = 0;
  while (r.next()) {
    if (r.field === 1) seconds = r.i64();
    else if (r.field === 2) nanos = r.i32();
    else r.skip();
  }
  return Number(seconds) + nanos / 1e9;
}

/** Unknown is a negative duration. */
function latencyUs(seconds: number): number {
  return seconds < 0 ? LATENCY_UNSET : Math.round(seconds * 1e6);
}

function checked<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof DecodeError || (error instanceof ScionError && error.code !== 'scion.daemon'))
      throw new ScionError('scion.daemon', `answer of the daemon: ${error.message}`, error.context, error);
    throw error;
  }
}
