/**
 * Random SCION packets of every kind as plain values, their bytes, and the values read back from the bytes: all path
 * types, IPv4, IPv6 and service hosts, extension headers with options, UDP, SCMP, BFD and foreign upper layers.
 */

import { readU16, readU32, readU64 } from '#base/bytes';
import { type HostAddress, HostType, readHost, type ScionAddress } from '#scion/address';
import { BFD_LENGTH, type BfdPacket, decodeBfd, encodeBfd } from '#scion/bfd';
import { EPIC_PREFIX_LENGTH, encodeEpicPrefix } from '#scion/epic';
import { decodeExtension, type ExtensionOption, encodeExtension, extensionLength, OptionType } from '#scion/extensions';
import { encodeHeader, NextHeader, PathType, setPayloadLength } from '#scion/header';
import { consEgressOf, consIngressOf, expTimeOf, INFO_LENGTH, segIdOf, timestampOf } from '#scion/info-hop';
import { encodeOneHop, firstHopAt, ONE_HOP_LENGTH, type OneHopSpec, secondHopAt } from '#scion/onehop';
import { dstIaAt, isPayloadComplete, PacketView, ParseFault, parsePacket, srcIaAt } from '#scion/packet';
import { decodePath, encodePath, type Hop, MAX_PATH_LENGTH, type PathRepr, pathLength } from '#scion/path';
import { decodeScmp, encodeScmp, type ScmpMessage, writeScmpChecksum } from '#scion/scmp';
import { isUdpChecksumRight, udpEnd, writeUdpChecksum, writeUdpHeader } from '#scion/udp';
import type { Random } from '../random.ts';

export type PathPlan =
  | { readonly kind: 'empty' }
  | { readonly kind: 'scion'; readonly path: PathRepr }
  | { readonly kind: 'one-hop'; readonly path: OneHopSpec }
  | {
      readonly kind: 'epic';
      readonly timestamp: number;
      readonly counter: number;
      readonly phvf: Uint8Array;
      readonly lhvf: Uint8Array;
      readonly path: PathRepr;
    };

export type UpperPlan =
  | { readonly kind: 'udp'; readonly src: number; readonly dst: number; readonly data: Uint8Array }
  | { readonly kind: 'scmp'; readonly message: ScmpMessage }
  | { readonly kind: 'bfd'; readonly packet: BfdPacket }
  | { readonly kind: 'other'; readonly protocol: number; readonly data: Uint8Array };

export interface PacketPlan {
  readonly trafficClass: number;
  readonly flowId: number;
  readonly dst: ScionAddress;
  readonly src: ScionAddress;
  readonly path: PathPlan;
  readonly hopByHop: readonly ExtensionOption[] | undefined;
  readonly endToEnd: readonly ExtensionOption[] | undefined;
  readonly upper: UpperPlan;
}

const pick = <T>(random: Random, choices: readonly T[]): T => choices[random.below(choices.length)]!;

function randomHost(random: Random): HostAddress {
  const type = pick(random, [HostType.ipv4, HostType.ipv6, HostType.service]);
  const bytes = random.bytes(type === HostType.ipv6 ? 16 : 4);
  if (type === HostType.service) bytes.fill(0, 2);
  return { type, bytes };
}

const randomIa = (random: Random): bigint => (BigInt(random.u32()) << 32n) | BigInt(random.u32());

function randomHop(random: Random): Hop {
  return {
    expTime: random.below(256),
    consIngress: random.below(0x1_0000),
    consEgress: random.below(0x1_0000),
    mac: random.bytes(6),
    ingressAlert: random.below(8) === 0,
    egressAlert: random.below(8) === 0,
  };
}

function randomScionPath(random: Random): PathRepr {
  const most = random.below(20) === 0 ? 21 : 4;
  const segments = Array.from({ length: 1 + random.below(3) }, () => ({
    consDir: random.below(2) === 1,
    peer: random.below(4) === 0,
    segId: random.below(0x1_0000),
    timestamp: random.u32(),
    hops: Array.from({ length: 1 + random.below(most) }, () => randomHop(random)),
  }));
  const currInf = random.below(segments.length);
  const before = segments.slice(0, currInf).reduce((n, s) => n + s.hops.length, 0);
  return { currInf, currHf: before + random.below(segments[currInf]!.hops.length), segments };
}

function randomPath(random: Random): PathPlan {
  switch (random.below(5)) {
    case 0:
      return { kind: 'empty' };
    case 1:
      return {
        kind: 'one-hop',
        path: {
          segId: random.below(0x1_0000),
          timestamp: random.u32(),
          first: randomHop(random),
          second: randomHop(random),
        },
      };
    case 2:
      return {
        kind: 'epic',
        timestamp: random.u32(),
        counter: random.u32(),
        phvf: random.bytes(4),
        lhvf: random.bytes(4),
        path: randomScionPath(random),
      };
    default:
      return { kind: 'scion', path: randomScionPath(random) };
  }
}

/** The bytes do not tell the alignment of an option, so each type has its own. */
const alignmentOf = (type: number) =>
  type === OptionType.authenticator ? { align: 4, alignOffset: 2 } : { align: 1 + (type % 8), alignOffset: type % 2 };

function withAlignment({ type, data }: { type: number; data: Uint8Array }): ExtensionOption {
  const { align, alignOffset } = alignmentOf(type);
  return { type, data, align, alignOffset: alignOffset % align };
}

function randomOptions(random: Random): ExtensionOption[] | undefined {
  if (random.below(3) > 0) return undefined;
  return Array.from({ length: random.below(4) }, () =>
    withAlignment({ type: 2 + random.below(254), data: random.bytes(random.below(40)) }),
  );
}

function randomMessage(random: Random): ScmpMessage {
  const data = random.bytes(random.below(60));
  const code = random.below(256);
  const [ia, id] = [randomIa(random), BigInt(random.below(0x1_0000))];
  const [identifier, sequence] = [random.below(0x1_0000), random.below(0x1_0000)];
  switch (random.below(7)) {
    case 0:
      return { type: 1, code, data };
    case 1:
      return { type: 2, code, mtu: identifier, data };
    case 2:
      return { type: 4, code, pointer: identifier, data };
    case 3:
      return { type: 5, code, ia, interface: id, data };
    case 4:
      return { type: 6, code, ia, ingress: id, egress: BigInt(sequence), data };
    case 5:
      return { type: pick(random, [128, 129] as const), code, identifier, sequence, data };
    default:
      return { type: pick(random, [130, 131] as const), code, identifier, sequence, ia, interface: id, data };
  }
}

function randomUpper(random: Random): UpperPlan {
  switch (random.below(5)) {
    case 0:
      return { kind: 'scmp', message: randomMessage(random) };
    case 1:
      return {
        kind: 'bfd',
        packet: {
          diagnostic: random.below(32),
          state: random.below(4),
          detectMult: 1 + random.below(255),
          myDiscriminator: 1 + random.below(1_000_000),
          yourDiscriminator: 1 + random.below(1_000_000),
          desiredMinTxUs: random.u32(),
          requiredMinRxUs: random.u32(),
        },
      };
    case 2:
      return { kind: 'other', protocol: pick(random, [6, 253, 254]), data: random.bytes(random.below(50)) };
    default:
      return {
        kind: 'udp',
        src: random.below(0x1_0000),
        dst: random.below(0x1_0000),
        data: random.bytes(random.below(100)),
      };
  }
}

export function randomPlan(random: Random): PacketPlan {
  return {
    trafficClass: random.below(256),
    flowId: random.below(1 << 20),
    dst: { ia: randomIa(random), host: randomHost(random) },
    src: { ia: randomIa(random), host: randomHost(random) },
    path: randomPath(random),
    hopByHop: randomOptions(random),
    endToEnd: randomOptions(random),
    upper: randomUpper(random),
  };
}

const PATH_TYPES = {
  empty: PathType.empty,
  scion: PathType.scion,
  'one-hop': PathType.oneHop,
  epic: PathType.epic,
} as const;

function pathBytes(plan: PathPlan): Uint8Array {
  const out = new Uint8Array(EPIC_PREFIX_LENGTH + MAX_PATH_LENGTH);
  switch (plan.kind) {
    case 'empty':
      return out.slice(0, 0);
    case 'scion':
      return out.slice(0, encodePath(out, 0, plan.path));
    case 'one-hop':
      return out.slice(0, encodeOneHop(out, 0, plan.path));
    case 'epic': {
      const { timestamp, counter, phvf, lhvf } = plan;
      return out.slice(0, encodePath(out, encodeEpicPrefix(out, 0, timestamp, counter, phvf, lhvf), plan.path));
    }
  }
}

function protocolOf(upper: UpperPlan): number {
  if (upper.kind === 'other') return upper.protocol;
  return { udp: NextHeader.udp, scmp: NextHeader.scmp, bfd: NextHeader.bfd }[upper.kind];
}

/** The packet in a buffer of exactly its size. */
export function encodePlan(plan: PacketPlan): Uint8Array {
  const { hopByHop, endToEnd, upper } = plan;
  const protocol = protocolOf(upper);
  const afterHopByHop = endToEnd === undefined ? protocol : NextHeader.endToEnd;
  const extensions = [hopByHop, endToEnd].reduce((n, o) => n + (o === undefined ? 0 : extensionLength(o)), 0);
  const out = new Uint8Array(1300 + extensions);
  const path = pathBytes(plan.path);
  const header = { ...plan, path, pathType: PATH_TYPES[plan.path.kind] };
  const payloadAt = encodeHeader(out, 0, header, hopByHop === undefined ? afterHopByHop : NextHeader.hopByHop);
  let at = payloadAt;
  if (hopByHop !== undefined) at = encodeExtension(out, at, afterHopByHop, hopByHop);
  if (endToEnd !== undefined) at = encodeExtension(out, at, protocol, endToEnd);
  const end = encodeUpper(out, at, upper);
  setPayloadLength(out, 0, end - payloadAt);
  if (upper.kind === 'udp') writeUdpChecksum(out, 0, at, end);
  if (upper.kind === 'scmp') writeScmpChecksum(out, 0, at, end);
  return out.slice(0, end);
}

function encodeUpper(out: Uint8Array, at: number, upper: UpperPlan): number {
  switch (upper.kind) {
    case 'udp': {
      const dataAt = writeUdpHeader(out, at, upper.src, upper.dst, upper.data.length);
      out.set(upper.data, dataAt);
      return dataAt + upper.data.length;
    }
    case 'scmp':
      return encodeScmp(out, at, upper.message);
    case 'bfd':
      return encodeBfd(out, at, upper.packet);
    case 'other':
      out.set(upper.data, at);
      return at + upper.data.length;
  }
}

/** The plan that the bytes say. @throws Error when they cannot be read */
export function decodePlan(raw: Uint8Array): PacketPlan {
  const view = new PacketView();
  const fault = parsePacket(raw, 0, raw.length, view);
  if (fault !== ParseFault.none || !isPayloadComplete(view)) throw new Error(`not a packet: fault ${fault}`);
  const word = readU32(raw, 0);
  const options = (at: number) =>
    at === 0 ? undefined : decodeExtension(raw, at, raw.length).options.map((o) => withAlignment(o));
  return {
    trafficClass: (word >>> 20) & 0xff,
    flowId: word & 0xfffff,
    dst: { ia: readU64(raw, dstIaAt(view)), host: readHost(view.dstHostType, raw, view.dstHostAt) },
    src: { ia: readU64(raw, srcIaAt(view)), host: readHost(view.srcHostType, raw, view.srcHostAt) },
    path: decodePathPlan(raw, view),
    hopByHop: options(view.hopByHopAt),
    endToEnd: options(view.endToEndAt),
    upper: decodeUpper(raw, view),
  };
}

function decodePathPlan(raw: Uint8Array, view: PacketView): PathPlan {
  const { pathAt, payloadAt, metaAt } = view;
  switch (view.pathType) {
    case PathType.empty:
      return { kind: 'empty' };
    case PathType.scion:
      if (pathAt + pathLength(raw, metaAt) !== payloadAt) throw new Error('bytes behind the path');
      return { kind: 'scion', path: decodePath(raw, metaAt, payloadAt) };
    case PathType.epic:
      return {
        kind: 'epic',
        timestamp: readU32(raw, pathAt),
        counter: readU32(raw, pathAt + 4),
        phvf: raw.slice(pathAt + 8, pathAt + 12),
        lhvf: raw.slice(pathAt + 12, pathAt + 16),
        path: decodePath(raw, metaAt, payloadAt),
      };
    default:
      if (payloadAt - pathAt !== ONE_HOP_LENGTH || INFO_LENGTH !== 8) throw new Error('one-hop path of another length');
      return {
        kind: 'one-hop',
        path: {
          segId: segIdOf(raw, pathAt),
          timestamp: timestampOf(raw, pathAt),
          first: hopOf(raw, firstHopAt(pathAt)),
          second: hopOf(raw, secondHopAt(pathAt)),
        },
      };
  }
}

function hopOf(raw: Uint8Array, at: number): Hop {
  return {
    expTime: expTimeOf(raw, at),
    consIngress: consIngressOf(raw, at),
    consEgress: consEgressOf(raw, at),
    mac: raw.slice(at + 6, at + 12),
    ingressAlert: (raw[at]! & 2) !== 0,
    egressAlert: (raw[at]! & 1) !== 0,
  };
}

function decodeUpper(raw: Uint8Array, view: PacketView): UpperPlan {
  const { l4At, l4End } = view;
  switch (view.l4Protocol) {
    case NextHeader.udp:
      if (udpEnd(raw, l4At, l4End) !== l4End || !isUdpChecksumRight(raw, 0, l4At, l4End)) throw new Error('broken UDP');
      return {
        kind: 'udp',
        src: readU16(raw, l4At),
        dst: readU16(raw, l4At + 2),
        data: raw.slice(l4At + 8, l4End),
      };
    case NextHeader.scmp:
      return { kind: 'scmp', message: decodeScmp(raw, l4At, l4End)! };
    case NextHeader.bfd:
      if (l4End - l4At !== BFD_LENGTH) throw new Error('BFD of another length');
      return { kind: 'bfd', packet: decodeBfd(raw, l4At, l4End)! };
    default:
      return { kind: 'other', protocol: view.l4Protocol, data: raw.slice(l4At, l4End) };
  }
}
