/**
 * SCMP messages (scionproto pkg/slayers/scmp*.go, doc/protocols/scmp.rst): types, codes, encoder, decoder, and the rules
 * for quoting. Types below 128 are errors and quote the start of the offending packet; the others are informational.
 *
 *   | type | code | checksum (2) | block of the type | quote or data |
 *     1 unreachable         unused (4)                       5 interface down       IA (8) interface (8)
 *     2 too big             0 (2) MTU (2)                    6 connectivity down    IA (8) ingress (8) egress (8)
 *     4 parameter problem   0 (2) pointer (2)                130/131 traceroute     id (2) seq (2) IA (8) interface (8)
 *     128/129 echo          identifier (2) sequence (2)
 */

import { readU16, readU64, writeU16, writeU64 } from '#base/bytes';
import { writeChecksum } from '#scion/checksum';
import { encodeHeader, type HeaderSpec, NextHeader, setPayloadLength } from '#scion/header';
import { type PacketView, ParseFault, parsePacket } from '#scion/packet';

export const ScmpType = {
  destinationUnreachable: 1,
  packetTooBig: 2,
  parameterProblem: 4,
  externalInterfaceDown: 5,
  internalConnectivityDown: 6,
  echoRequest: 128,
  echoReply: 129,
  tracerouteRequest: 130,
  tracerouteReply: 131,
} as const;

/** Codes of `destinationUnreachable`. */
export const UnreachableCode = {
  noRoute: 0,
  deniedByPolicy: 1,
  beyondScope: 2,
  addressUnreachable: 3,
  portUnreachable: 4,
  sourceAddressPolicy: 5,
  rejectRoute: 6,
} as const;

/** Codes of `parameterProblem`. */
export const ProblemCode = {
  erroneousHeaderField: 0,
  unknownNextHeader: 1,
  invalidCommonHeader: 16,
  unknownVersion: 17,
  flowIdRequired: 18,
  invalidPacketSize: 19,
  unknownPathType: 20,
  unknownAddressFormat: 21,
  invalidAddressHeader: 32,
  invalidSourceAddress: 33,
  invalidDestinationAddress: 34,
  nonLocalDelivery: 35,
  invalidPath: 48,
  unknownConsIngress: 49,
  unknownConsEgress: 50,
  invalidHopMac: 51,
  pathExpired: 52,
  invalidSegmentChange: 53,
  invalidExtensionHeader: 64,
  unknownHopByHopOption: 65,
  unknownEndToEndOption: 66,
} as const;

/** Longest SCMP error packet, SCION header included: the quote is cut to fit. */
export const MAX_ERROR_PACKET = 1232;
export const SCMP_HEADER_LENGTH = 4;

/** Bytes of header and block per type, -1 for a type without a known block. */
export function scmpFixedLength(type: number): number {
  switch (type) {
    case ScmpType.destinationUnreachable:
    case ScmpType.packetTooBig:
    case ScmpType.parameterProblem:
    case ScmpType.echoRequest:
    case ScmpType.echoReply:
      return 8;
    case ScmpType.externalInterfaceDown:
      return 20;
    case ScmpType.internalConnectivityDown:
      return 28;
    case ScmpType.tracerouteRequest:
    case ScmpType.tracerouteReply:
      return 24;
    default:
      return -1;
  }
}

/** Bytes of a traceroute request. */
export const TRACEROUTE_LENGTH = scmpFixedLength(ScmpType.tracerouteRequest);

export const isScmpError = (type: number): boolean => type < 128;

/** A message as plain values. `data` is the quote of an error. Decoded messages hold views of the packet. */
export type ScmpMessage =
  | { readonly type: 1; readonly code: number; readonly data: Uint8Array }
  | { readonly type: 2; readonly code: number; readonly mtu: number; readonly data: Uint8Array }
  | { readonly type: 4; readonly code: number; readonly pointer: number; readonly data: Uint8Array }
  | {
      readonly type: 5;
      readonly code: number;
      readonly ia: bigint;
      readonly interface: bigint;
      readonly data: Uint8Array;
    }
  | {
      readonly type: 6;
      readonly code: number;
      readonly ia: bigint;
      readonly ingress: bigint;
      readonly egress: bigint;
      readonly data: Uint8Array;
    }
  | {
      readonly type: 128 | 129;
      readonly code: number;
      readonly identifier: number;
      readonly sequence: number;
      readonly data: Uint8Array;
    }
  | {
      readonly type: 130 | 131;
      readonly code: number;
      readonly identifier: number;
      readonly sequence: number;
      readonly ia: bigint;
      readonly interface: bigint;
      readonly data: Uint8Array;
    };

/** Writes type, code and a checksum of 0. @returns offset of the block */
export function writeScmpHeader(out: Uint8Array, at: number, type: number, code: number): number {
  out[at] = type;
  out[at + 1] = code;
  return writeU16(out, at + 2, 0);
}

/** Writes the two 16-bit fields of echo, too-big and parameter-problem blocks. @returns offset after them */
export function writeScmpPair(out: Uint8Array, at: number, first: number, second: number): number {
  writeU16(out, at, first);
  return writeU16(out, at + 2, second);
}

/** Writes an interface id, 64 bit here and 16 bit in paths. @returns offset after it */
export function writeScmpInterface(out: Uint8Array, at: number, id: number): number {
  out.fill(0, at, at + 6);
  return writeU16(out, at + 6, id);
}

/** Writes a message with checksum 0. @returns offset after its data */
export function encodeScmp(out: Uint8Array, at: number, message: ScmpMessage): number {
  at = writeScmpHeader(out, at, message.type, message.code);
  switch (message.type) {
    case ScmpType.destinationUnreachable:
      at = writeScmpPair(out, at, 0, 0);
      break;
    case ScmpType.packetTooBig:
      at = writeScmpPair(out, at, 0, message.mtu);
      break;
    case ScmpType.parameterProblem:
      at = writeScmpPair(out, at, 0, message.pointer);
      break;
    case ScmpType.externalInterfaceDown:
      at = writeU64(out, writeU64(out, at, message.ia), message.interface);
      break;
    case ScmpType.internalConnectivityDown:
      at = writeU64(out, writeU64(out, writeU64(out, at, message.ia), message.ingress), message.egress);
      break;
    case ScmpType.echoRequest:
    case ScmpType.echoReply:
      at = writeScmpPair(out, at, message.identifier, message.sequence);
      break;
    case ScmpType.tracerouteRequest:
    case ScmpType.tracerouteReply:
      at = writeScmpPair(out, at, message.identifier, message.sequence);
      at = writeU64(out, writeU64(out, at, message.ia), message.interface);
      break;
  }
  out.set(message.data, at);
  return at + message.data.length;
}

/**
 * Reads the message `[at, end)`.
 * @returns undefined for a cut-off message or a type without a known block
 */
export function decodeScmp(buf: Uint8Array, at: number, end: number): ScmpMessage | undefined {
  if (end - at < SCMP_HEADER_LENGTH) return undefined;
  const type = buf[at]! as ScmpMessage['type'];
  const code = buf[at + 1]!;
  const fixed = scmpFixedLength(type);
  if (fixed < 0 || end - at < fixed) return undefined;
  const data = buf.subarray(at + fixed, end);
  const first = readU16(buf, at + 4);
  const second = readU16(buf, at + 6);
  switch (type) {
    case ScmpType.destinationUnreachable:
      return { type, code, data };
    case ScmpType.packetTooBig:
      return { type, code, mtu: second, data };
    case ScmpType.parameterProblem:
      return { type, code, pointer: second, data };
    case ScmpType.externalInterfaceDown:
      return { type, code, ia: readU64(buf, at + 4), interface: readU64(buf, at + 12), data };
    case ScmpType.internalConnectivityDown:
      return {
        type,
        code,
        ia: readU64(buf, at + 4),
        ingress: readU64(buf, at + 12),
        egress: readU64(buf, at + 20),
        data,
      };
    case ScmpType.echoRequest:
    case ScmpType.echoReply:
      return { type, code, identifier: first, sequence: second, data };
    case ScmpType.tracerouteRequest:
    case ScmpType.tracerouteReply:
      return {
        type,
        code,
        identifier: first,
        sequence: second,
        ia: readU64(buf, at + 8),
        interface: readU64(buf, at + 16),
        data,
      };
  }
}

/** Sets the checksum of the SCMP message `[scmp, end)` in the packet at `packetAt`. */
export function writeScmpChecksum(buf: Uint8Array, packetAt: number, scmp: number, end: number): void {
  writeChecksum(buf, packetAt, scmp, end, NextHeader.scmp, scmp + 2);
}

/**
 * Writes a whole SCMP packet. The data of an error must already be cut to fit `MAX_ERROR_PACKET`.
 * @returns offset after it
 * @throws ScionError `encode.out-of-range` when the header does not fit its length field
 */
export function encodeScmpPacket(out: Uint8Array, at: number, header: HeaderSpec, message: ScmpMessage): number {
  const scmp = encodeHeader(out, at, header, NextHeader.scmp);
  const end = encodeScmp(out, scmp, message);
  setPayloadLength(out, at, end - scmp);
  writeScmpChecksum(out, at, scmp, end);
  return end;
}

/** Bytes of the offending packet that fit behind `headersLength` bytes of SCION header, extensions and SCMP block. */
export function quoteLength(headersLength: number, packetLength: number): number {
  return Math.max(0, Math.min(packetLength, MAX_ERROR_PACKET - headersLength));
}

/** Whether the packet's upper layer is an SCMP error, about which no error is ever sent. */
export function isScmpErrorPacket(buf: Uint8Array, view: PacketView): boolean {
  // A message cut off before its type cannot be told from an error, so it counts as one.
  return view.l4Protocol === NextHeader.scmp && (view.l4At >= view.end || isScmpError(buf[view.l4At]!));
}

/**
 * The local port that an SCMP error belongs to: the source port of the quoted datagram, or the identifier of the quoted
 * echo or traceroute request. Quotes end anywhere, so only the headers have to be there.
 * @param view  scratch for the quoted packet
 * @returns 0 when the quote does not tell
 */
export function portOfQuote(buf: Uint8Array, at: number, end: number, view: PacketView): number {
  if (parsePacket(buf, at, end, view) !== ParseFault.none) return 0;
  const l4 = view.l4At;
  if (view.l4Protocol === NextHeader.udp) return end - l4 >= 8 ? readU16(buf, l4) : 0;
  if (view.l4Protocol !== NextHeader.scmp || end - l4 < 8) return 0;
  const type = buf[l4]!;
  return type === ScmpType.echoRequest || type === ScmpType.tracerouteRequest ? readU16(buf, l4 + 4) : 0;
}
