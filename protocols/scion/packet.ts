/**
 * Whole packets: `parsePacket` checks one once at the entrance and fills a reusable view of offsets; `encodeUdpPacket`
 * and `encodeUdpReply` build datagrams. Used by routers and end hosts alike, without allocation per packet.
 *
 * The parser follows the official router: it walks the headers to the upper layer and evaluates no option. Whether the
 * payload length is right, the position on the path sensible or the hop fields genuine is the caller's question.
 */

import { readU16, readU32 } from '#base/bytes';
import { hostLength, type ScionEndpoint } from '#scion/address';
import {
  DST_HOST_AT,
  DST_IA_AT,
  encodeHeader,
  type HeaderSpec,
  headerLength,
  NextHeader,
  PathType,
  SRC_IA_AT,
  setPayloadLength,
} from '#scion/header';
import { isOneHopComplete, ONE_HOP_LENGTH, ONE_HOP_REPLY_LENGTH, reverseOneHop } from '#scion/onehop';
import { checkPath, PathFault, pathLength, reversePath } from '#scion/path';
import { UDP_HEADER_LENGTH, writeUdpChecksum, writeUdpHeader } from '#scion/udp';

/** Why a packet cannot be read; 0 is fine. Index of `PARSE_FAULT_NAMES`. */
export const ParseFault = {
  none: 0,
  tooShort: 1,
  nextHeader: 2,
  headerLength: 3,
  pathType: 4,
  path: 5,
  extension: 6,
} as const;

export const PARSE_FAULT_NAMES = [
  'none',
  'too short',
  'unknown next header',
  'header length',
  'unknown path type',
  'malformed path',
  'malformed extension header',
] as const;

const EPIC_PREFIX = 16;

/** Offsets and small numbers of one packet; all offsets are absolute in the buffer. Reused from packet to packet. */
export class PacketView {
  /** First byte of the packet, and the byte after the datagram. */
  at = 0;
  end = 0;
  nextHeader = 0;
  pathType = 0;
  /** Payload length as the header says; the bytes present are `end - payloadAt`. */
  payloadLength = 0;
  dstHostType = 0;
  srcHostType = 0;
  dstHostAt = 0;
  srcHostAt = 0;
  /** The path's bytes in the header, `[pathAt, payloadAt)`. */
  pathAt = 0;
  /** First byte after the SCION header. */
  payloadAt = 0;
  /** PathMeta of a SCION path, also inside an EPIC path; 0 with other path types. */
  metaAt = 0;
  /** Extension headers; 0 where there is none. */
  hopByHopAt = 0;
  endToEndAt = 0;
  /** Upper-layer protocol after the extension headers, and where it starts. */
  l4Protocol = 0;
  l4At = 0;
  /** End of the upper layer: what the header says, but never beyond the datagram. */
  l4End = 0;
}

/**
 * Reads the packet `[at, end)`. Never throws and never reads outside the range.
 * @param view  filled in; after a fault its fields mean nothing
 * @returns one of `ParseFault`
 */
export function parsePacket(buf: Uint8Array, at: number, end: number, view: PacketView): number {
  if (end - at < DST_HOST_AT) return ParseFault.tooShort;
  const next = buf[at + 4]!;
  if (!isKnownNextHeader(next)) return ParseFault.nextHeader;
  const types = buf[at + 9]!;
  view.at = at;
  view.end = end;
  view.nextHeader = next;
  view.payloadLength = readU16(buf, at + 6);
  view.pathType = buf[at + 8]!;
  view.dstHostType = types >> 4;
  view.srcHostType = types & 15;
  view.dstHostAt = at + DST_HOST_AT;
  view.srcHostAt = view.dstHostAt + hostLength(view.dstHostType);
  view.pathAt = view.srcHostAt + hostLength(view.srcHostType);
  view.payloadAt = at + 4 * buf[at + 5]!;
  if (view.payloadAt < view.pathAt || view.payloadAt > end) return ParseFault.headerLength;
  const fault = findMeta(buf, view);
  if (fault !== ParseFault.none) return fault;
  return findUpperLayer(buf, view);
}

function isKnownNextHeader(next: number): boolean {
  return (next >= 200 && next <= 203) || next === NextHeader.udp || next === NextHeader.tcp || isExperiment(next);
}

function isExperiment(next: number): boolean {
  return next === NextHeader.experiment1 || next === NextHeader.experiment2;
}

function findMeta(buf: Uint8Array, view: PacketView): number {
  const { pathAt, payloadAt } = view;
  view.metaAt = 0;
  switch (view.pathType) {
    case PathType.empty:
      return payloadAt === pathAt ? ParseFault.none : ParseFault.path;
    case PathType.scion:
      view.metaAt = pathAt;
      break;
    case PathType.oneHop:
      return payloadAt - pathAt >= ONE_HOP_LENGTH ? ParseFault.none : ParseFault.path;
    case PathType.epic:
      view.metaAt = pathAt + EPIC_PREFIX;
      break;
    default:
      return ParseFault.pathType;
  }
  return checkPath(buf, view.metaAt, payloadAt) === PathFault.none ? ParseFault.none : ParseFault.path;
}

/** Walks the hop-by-hop and the end-to-end extension, each at most once and in this order. */
function findUpperLayer(buf: Uint8Array, view: PacketView): number {
  const end = Math.min(view.end, view.payloadAt + view.payloadLength);
  let protocol = view.nextHeader;
  let at = view.payloadAt;
  let seen: number = NextHeader.none;
  view.hopByHopAt = 0;
  view.endToEndAt = 0;
  while (protocol === NextHeader.hopByHop || protocol === NextHeader.endToEnd) {
    if (protocol <= seen || view.end - at < 2) return ParseFault.extension;
    const length = 4 * (buf[at + 1]! + 1);
    if (length > view.end - at) return ParseFault.extension;
    if (protocol === NextHeader.hopByHop) view.hopByHopAt = at;
    else view.endToEndAt = at;
    seen = protocol;
    protocol = buf[at]!;
    at += length;
  }
  view.l4Protocol = protocol;
  view.l4At = at;
  view.l4End = Math.max(at, end);
  return ParseFault.none;
}

/** Whether the payload length of the header is the number of bytes present. */
export const isPayloadComplete = (view: PacketView): boolean => view.payloadLength === view.end - view.payloadAt;

/** Whether the ISD-AS at `fieldAt` is the one given as two halves: a comparison without bigint. */
export function equalsIsdAs(buf: Uint8Array, fieldAt: number, high: number, low: number): boolean {
  return readU32(buf, fieldAt) === high && readU32(buf, fieldAt + 4) === low;
}

export const dstIaAt = (view: PacketView): number => view.at + DST_IA_AT;
export const srcIaAt = (view: PacketView): number => view.at + SRC_IA_AT;

/** A UDP datagram to be sent. */
export interface UdpPacketSpec extends HeaderSpec {
  readonly dst: ScionEndpoint;
  readonly src: ScionEndpoint;
  readonly payload: Uint8Array;
  /** Extension headers, ready made, and the kind of the first one (200 or 201); the last one's next header is 17. */
  readonly extensions?: Uint8Array;
  readonly firstExtension?: number;
}

/** Bytes that `encodeUdpPacket` will write. */
export function udpPacketLength(spec: UdpPacketSpec): number {
  return headerLength(spec) + (spec.extensions?.length ?? 0) + UDP_HEADER_LENGTH + spec.payload.length;
}

/**
 * Writes a whole UDP packet, checksum included.
 * @returns offset after it
 * @throws ScionError `encode.out-of-range` when the header does not fit its length field
 */
export function encodeUdpPacket(out: Uint8Array, at: number, spec: UdpPacketSpec): number {
  const { extensions, payload } = spec;
  const next = extensions === undefined ? NextHeader.udp : (spec.firstExtension ?? NextHeader.endToEnd);
  const payloadAt = encodeHeader(out, at, spec, next);
  const udp = payloadAt + (extensions?.length ?? 0);
  if (extensions !== undefined) out.set(extensions, payloadAt);
  const dataAt = writeUdpHeader(out, udp, spec.src.port, spec.dst.port, payload.length);
  out.set(payload, dataAt);
  const end = dataAt + payload.length;
  setPayloadLength(out, at, end - payloadAt);
  writeUdpChecksum(out, at, udp, end);
  return end;
}

/**
 * Writes the header of an answer to a received packet: addresses swapped, path reversed, traffic class and flow kept.
 * Extension headers are left out. The reply to an EPIC packet uses the SCION path inside it, the reply to a one-hop packet
 * the SCION path that it has become.
 * @param nextHeader  upper-layer protocol of the answer
 * @returns offset of the payload; -1 for a one-hop path that no router has completed
 */
export function encodeReplyHeader(
  out: Uint8Array,
  at: number,
  buf: Uint8Array,
  view: PacketView,
  nextHeader: number,
): number {
  const oneHop = view.pathType === PathType.oneHop;
  if (oneHop && !isOneHopComplete(buf, view.pathAt)) return -1;
  const dstLength = view.srcHostAt - view.dstHostAt;
  const srcLength = view.pathAt - view.srcHostAt;
  copy(buf, view.at, out, at, 4);
  out[at + 4] = nextHeader;
  out[at + 6] = 0;
  out[at + 7] = 0;
  out[at + 8] = view.pathType === PathType.empty ? PathType.empty : PathType.scion;
  out[at + 9] = (view.srcHostType << 4) | view.dstHostType;
  out[at + 10] = 0;
  out[at + 11] = 0;
  copy(buf, view.at + SRC_IA_AT, out, at + DST_IA_AT, 8);
  copy(buf, view.at + DST_IA_AT, out, at + SRC_IA_AT, 8);
  copy(buf, view.srcHostAt, out, at + DST_HOST_AT, srcLength);
  copy(buf, view.dstHostAt, out, at + DST_HOST_AT + srcLength, dstLength);
  let end = at + DST_HOST_AT + srcLength + dstLength;
  if (view.metaAt !== 0) end = reversePath(buf, view.metaAt, out, end);
  else if (oneHop) end = reverseOneHop(buf, view.pathAt, out, end);
  out[at + 5] = (end - at) / 4;
  return end;
}

/** Bytes that `encodeReplyHeader` will write. */
export function replyHeaderLength(buf: Uint8Array, view: PacketView): number {
  const addresses = view.pathAt - view.at;
  if (view.metaAt !== 0) return addresses + pathLength(buf, view.metaAt);
  return view.pathType === PathType.oneHop ? addresses + ONE_HOP_REPLY_LENGTH : addresses;
}

/**
 * Writes the answer to a received UDP datagram: addresses and ports swapped, path reversed, checksum set.
 * @param buf  where `view` points to; another buffer than `out`
 * @returns offset after it; -1 when the request cannot be answered
 */
export function encodeUdpReply(
  out: Uint8Array,
  at: number,
  buf: Uint8Array,
  view: PacketView,
  payload: Uint8Array,
  payloadAt: number,
  payloadEnd: number,
): number {
  const udp = encodeReplyHeader(out, at, buf, view, NextHeader.udp);
  if (udp < 0) return -1;
  const dataAt = writeUdpHeader(out, udp, readU16(buf, view.l4At + 2), readU16(buf, view.l4At), payloadEnd - payloadAt);
  copy(payload, payloadAt, out, dataAt, payloadEnd - payloadAt);
  const end = dataAt + payloadEnd - payloadAt;
  setPayloadLength(out, at, end - udp);
  writeUdpChecksum(out, at, udp, end);
  return end;
}

/** For short ranges a loop is as fast as `set`, and it makes no view object. */
export function copy(from: Uint8Array, at: number, to: Uint8Array, toAt: number, length: number): void {
  if (length > 256) to.set(from.subarray(at, at + length), toAt);
  else for (let i = 0; i < length; i++) to[toAt + i] = from[at + i]!;
}
