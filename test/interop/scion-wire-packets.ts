/**
 * Random packets in the words of the oracle, which is made of the official packages, and our encoding and decoding of them:
 * all host and path kinds, extension headers with options, UDP and every SCMP message.
 */

import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { formatAddress, parseAddress, readHost } from '#scion/address';
import { encodeEpicPrefix } from '#scion/epic';
import { decodeExtension, type ExtensionOption, encodeExtension } from '#scion/extensions';
import { encodeHeader, type HeaderSpec, NextHeader, PathType, setPayloadLength } from '#scion/header';
import { encodeOneHop, ONE_HOP_LENGTH } from '#scion/onehop';
import { dstIaAt, PacketView, ParseFault, parsePacket, srcIaAt } from '#scion/packet';
import { encodePath, MAX_PATH_LENGTH } from '#scion/path';
import { decodeScmp, encodeScmp, type ScmpMessage, writeScmpChecksum } from '#scion/scmp';
import { writeUdpChecksum, writeUdpHeader } from '#scion/udp';
import { seeded } from '../random.ts';

export const random = seeded();
export const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
export const u64 = (bytes: Uint8Array, at: number): bigint => BigInt(`0x${toHex(bytes, at, at + 8)}`);
export interface GoOption {
  type: number;
  data: string;
  align: [number, number];
}

export interface GoScmp {
  type: number;
  code: number;
  identifier: number;
  sequence: number;
  pointer: number;
  mtu: number;
  ia: string;
  interface: number;
  egress: number;
  data: string;
}

/** A packet as the oracle's operations `encode` and `decode` take and give it. */
export interface GoPacket {
  traffic_class: number;
  flow_id: number;
  src: string;
  dst: string;
  path_type: number;
  path: string;
  hop_by_hop: GoOption[] | null;
  end_to_end: GoOption[] | null;
  l4: 'udp' | 'scmp' | 'other';
  src_port: number;
  dst_port: number;
  payload: string;
  scmp?: GoScmp;
}

export interface GoDecoded extends GoPacket {
  hdr_len: number;
  payload_len: number;
  reencoded: string;
  quote?: { src: string; dst: string; l4: string; port: number; path: string; error?: string };
}

// --- Random packets ----------------------------------------------------------------------------------------------------

export const hop = () => ({
  expTime: random.below(256),
  consIngress: random.below(65_536),
  consEgress: random.below(65_536),
  mac: random.bytes(6),
  ingressAlert: random.below(8) === 0,
  egressAlert: random.below(8) === 0,
});

export function scionPath(most: number): Uint8Array {
  const segments = Array.from({ length: 1 + random.below(3) }, () => ({
    consDir: random.below(2) === 0,
    peer: random.below(4) === 0,
    segId: random.below(65_536),
    timestamp: random.u32(),
    hops: Array.from({ length: 1 + random.below(most) }, hop),
  }));
  const hops = segments.reduce((sum, s) => sum + s.hops.length, 0);
  const currHf = random.below(hops);
  let before = 0;
  const currInf = segments.findIndex((s) => {
    before += s.hops.length;
    return currHf < before;
  });
  const out = new Uint8Array(MAX_PATH_LENGTH);
  return out.slice(0, encodePath(out, 0, { currInf, currHf, segments }));
}

export function randomPath(type: number): Uint8Array {
  if (type === PathType.empty) return new Uint8Array(0);
  if (type === PathType.scion) return scionPath(random.below(10) ? 4 : 20);
  if (type === PathType.oneHop) {
    const out = new Uint8Array(ONE_HOP_LENGTH);
    const second = random.below(2) ? { second: hop() } : {};
    encodeOneHop(out, 0, { segId: random.below(65_536), timestamp: random.u32(), first: hop(), ...second });
    return out;
  }
  const prefix = new Uint8Array(16);
  encodeEpicPrefix(prefix, 0, random.u32(), random.u32(), random.bytes(4), random.bytes(4));
  return Uint8Array.of(...prefix, ...scionPath(4));
}

export const randomAddress = () =>
  `${pick(['1', '2', '65535'])}-${pick(['ff00:0:110', '64512', '1:0:0', 'ffff:ffff:ffff'])},${pick([
    '10.0.0.1',
    '255.1.2.3',
    '2001:db8::68',
    '::1',
    'CS',
    'DS_M',
    'Wildcard',
  ])}`;

export function randomOptions(): GoOption[] | null {
  if (random.below(2)) return null;
  const list: GoOption[] = [];
  for (let k = random.below(4); k > 0; k--) {
    const x = pick([1, 1, 2, 4, 8]);
    const length = random.below(12) ? random.below(30) : random.below(200);
    list.push({ type: 3 + random.below(253), data: toHex(random.bytes(length)), align: [x, random.below(x)] });
  }
  return list;
}

export const SCMP_TYPES = [1, 2, 4, 5, 6, 128, 129, 130, 131];

export function randomScmp(): GoScmp {
  const type = pick(SCMP_TYPES);
  const only = <T>(types: number[], value: T, none: T): T => (types.includes(type) ? value : none);
  return {
    type,
    code: random.below(256),
    identifier: only([128, 129, 130, 131], random.below(65_536), 0),
    sequence: only([128, 129, 130, 131], random.below(65_536), 0),
    pointer: only([4], random.below(65_536), 0),
    mtu: only([2], random.below(65_536), 0),
    ia: only([5, 6, 130, 131], pick(['1-ff00:0:110', '65535-ffff:ffff:ffff', '2-7']), '0-0'),
    interface: only([5, 6, 130, 131], random.u32(), 0),
    egress: only([6], random.u32(), 0),
    data: toHex(random.bytes(type >= 130 ? 0 : random.below(100))),
  };
}

export function randomPacket(): GoPacket {
  const pathType = pick([PathType.empty, PathType.scion, PathType.scion, PathType.oneHop, PathType.epic]);
  const l4 = pick(['udp', 'scmp'] as const);
  const udp = l4 === 'udp';
  return {
    traffic_class: random.below(256),
    flow_id: random.below(1 << 20),
    src: randomAddress(),
    dst: randomAddress(),
    path_type: pathType,
    path: toHex(randomPath(pathType)),
    hop_by_hop: randomOptions(),
    end_to_end: randomOptions(),
    l4,
    src_port: udp ? random.below(65_536) : 0,
    dst_port: udp ? random.below(65_536) : 0,
    payload: udp ? toHex(random.bytes(random.below(200))) : '',
    ...(udp ? {} : { scmp: randomScmp() }),
  };
}

// --- Ours --------------------------------------------------------------------------------------------------------------

export const optionsOf = (options: GoOption[]): ExtensionOption[] =>
  options.map(({ type, data, align: [align, alignOffset] }) => ({ type, data: fromHex(data), align, alignOffset }));

export function scmpOf(m: GoScmp, parse: (text: string) => bigint): ScmpMessage {
  const { code, identifier, sequence, pointer, mtu } = m;
  const data = fromHex(m.data);
  const [ia, id, egress] = [parse(m.ia), BigInt(m.interface), BigInt(m.egress)];
  switch (m.type) {
    case 1:
      return { type: 1, code, data };
    case 2:
      return { type: 2, code, mtu, data };
    case 4:
      return { type: 4, code, pointer, data };
    case 5:
      return { type: 5, code, ia, interface: id, data };
    case 6:
      return { type: 6, code, ia, ingress: id, egress, data };
    case 128:
    case 129:
      return { type: m.type, code, identifier, sequence, data };
    default:
      return { type: m.type as 130 | 131, code, identifier, sequence, ia, interface: id, data };
  }
}

export const iaOf = (text: string): bigint => parseAddress(`${text},CS`).ia;

export function encode(packet: GoPacket): Uint8Array {
  const out = new Uint8Array(6000);
  const header: HeaderSpec = {
    trafficClass: packet.traffic_class,
    flowId: packet.flow_id,
    src: parseAddress(packet.src),
    dst: parseAddress(packet.dst),
    pathType: packet.path_type,
    path: fromHex(packet.path),
  };
  const l4 = packet.l4 === 'udp' ? NextHeader.udp : NextHeader.scmp;
  const afterHbh = packet.end_to_end ? NextHeader.endToEnd : l4;
  const payloadAt = encodeHeader(out, 0, header, packet.hop_by_hop ? NextHeader.hopByHop : afterHbh);
  let at = payloadAt;
  if (packet.hop_by_hop) at = encodeExtension(out, at, afterHbh, optionsOf(packet.hop_by_hop));
  if (packet.end_to_end) at = encodeExtension(out, at, l4, optionsOf(packet.end_to_end));
  let end: number;
  if (packet.scmp) end = encodeScmp(out, at, scmpOf(packet.scmp, iaOf));
  else {
    const payload = fromHex(packet.payload);
    end = writeUdpHeader(out, at, packet.src_port, packet.dst_port, payload.length) + payload.length;
    out.set(payload, end - payload.length);
  }
  setPayloadLength(out, 0, end - payloadAt);
  if (packet.scmp) writeScmpChecksum(out, 0, at, end);
  else writeUdpChecksum(out, 0, at, end);
  return out.slice(0, end);
}

/** Our decoding in the oracle's words, without alignments, which are not in the packet. */
export function decode(raw: Uint8Array): GoPacket {
  const view = new PacketView();
  assert.is(parsePacket(raw, 0, raw.length, view), ParseFault.none, toHex(raw));
  const word = Number.parseInt(toHex(raw, 0, 4), 16);
  const address = (type: number, at: number, ia: number) =>
    formatAddress({ ia: u64(raw, ia), host: readHost(type, raw, at) });
  const options = (at: number) =>
    at === 0
      ? null
      : decodeExtension(raw, at, raw.length).options.map(
          ({ type, data }): GoOption => ({ type, data: toHex(data), align: [0, 0] }),
        );
  const packet: GoPacket = {
    traffic_class: word >>> 20,
    flow_id: word & 0xfffff,
    src: address(view.srcHostType, view.srcHostAt, srcIaAt(view)),
    dst: address(view.dstHostType, view.dstHostAt, dstIaAt(view)),
    path_type: view.pathType,
    path: toHex(raw, view.pathAt, view.payloadAt),
    hop_by_hop: options(view.hopByHopAt),
    end_to_end: options(view.endToEndAt),
    l4: view.l4Protocol === NextHeader.udp ? 'udp' : 'scmp',
    src_port: 0,
    dst_port: 0,
    payload: '',
  };
  if (packet.l4 === 'udp') {
    packet.src_port = (raw[view.l4At]! << 8) | raw[view.l4At + 1]!;
    packet.dst_port = (raw[view.l4At + 2]! << 8) | raw[view.l4At + 3]!;
    packet.payload = toHex(raw, view.l4At + 8, view.l4End);
    return packet;
  }
  const m = decodeScmp(raw, view.l4At, view.l4End)!;
  const ia = 'ia' in m ? formatAddress({ ia: m.ia, host: readHost(4, new Uint8Array(4), 0) }).split(',')[0]! : '0-0';
  packet.scmp = {
    type: m.type,
    code: m.code,
    identifier: 'identifier' in m ? m.identifier : 0,
    sequence: 'sequence' in m ? m.sequence : 0,
    pointer: 'pointer' in m ? m.pointer : 0,
    mtu: 'mtu' in m ? m.mtu : 0,
    ia,
    interface: 'interface' in m ? Number(m.interface) : 'ingress' in m ? Number(m.ingress) : 0,
    egress: 'egress' in m ? Number(m.egress) : 0,
    data: toHex(m.data),
  };
  return packet;
}

export const unaligned = (options: GoOption[] | null) =>
  options?.map(({ type, data }): GoOption => ({ type, data, align: [0, 0] })) ?? null;
export const content = (packet: GoPacket): GoPacket => ({
  ...packet,
  hop_by_hop: unaligned(packet.hop_by_hop),
  end_to_end: unaligned(packet.end_to_end),
});
