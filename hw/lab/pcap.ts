/**
 * Writes packet captures that Wireshark and the official decoders read: classic pcap, microseconds, link type RAW (101),
 * each record an IPv4 packet with UDP around a payload. IPv6 ends are not written.
 *
 *   file    | magic a1b2c3d4 | 2.4 | zone 0 | accuracy 0 | snap length | link type |   big-endian
 *   record  | seconds | microseconds | captured | original | IPv4 (20) | UDP (8) | payload |
 */

import { writeU16, writeU32 } from '#base/bytes';
import { ScionError } from '#base/errors';
import { parseIp } from '#scion/ip';

export const PCAP_HEADER_LENGTH = 24;
const RECORD_HEADER = 16;
const IPV4_HEADER = 20;
const UDP_HEADER = 8;
const LINKTYPE_RAW = 101;
const MAX_PAYLOAD = 65_535 - IPV4_HEADER - UDP_HEADER;

export interface PcapEnd {
  /** IPv4 address. */
  readonly host: string;
  readonly port: number;
}

/** Writes the file header. @returns offset after it */
export function pcapHeader(out: Uint8Array, at = 0): number {
  writeU32(out, at, 0xa1b2c3d4);
  writeU16(out, at + 4, 2);
  writeU16(out, at + 6, 4);
  writeU32(out, at + 8, 0);
  writeU32(out, at + 12, 0);
  writeU32(out, at + 16, 65_535);
  return writeU32(out, at + 20, LINKTYPE_RAW);
}

/** Bytes of the record around a payload. */
export const pcapRecordLength = (payloadLength: number): number =>
  RECORD_HEADER + IPV4_HEADER + UDP_HEADER + payloadLength;

/**
 * Writes one record. The UDP checksum is left out (0), as IPv4 allows.
 * @param timeMicroseconds  since the Unix epoch
 * @returns offset after it
 * @throws ScionError `encode.out-of-range` for an address that is not IPv4 or a payload beyond a datagram
 */
export function pcapRecord(
  out: Uint8Array,
  at: number,
  timeMicroseconds: number,
  source: PcapEnd,
  destination: PcapEnd,
  payload: Uint8Array,
): number {
  if (payload.length > MAX_PAYLOAD) {
    throw new ScionError('encode.out-of-range', `payload of ${payload.length} bytes exceeds ${MAX_PAYLOAD}`);
  }
  const length = IPV4_HEADER + UDP_HEADER + payload.length;
  writeU32(out, at, Math.floor(timeMicroseconds / 1e6));
  writeU32(out, at + 4, Math.floor(timeMicroseconds % 1e6));
  writeU32(out, at + 8, length);
  writeU32(out, at + 12, length);
  const ip = at + RECORD_HEADER;
  writeU16(out, ip, 0x4500);
  writeU16(out, ip + 2, length);
  writeU32(out, ip + 4, 0x4000);
  writeU16(out, ip + 8, (64 << 8) | 17);
  writeU16(out, ip + 10, 0);
  out.set(ipv4(source.host), ip + 12);
  out.set(ipv4(destination.host), ip + 16);
  writeU16(out, ip + 10, ipv4Checksum(out, ip));
  const udp = ip + IPV4_HEADER;
  writeU16(out, udp, source.port);
  writeU16(out, udp + 2, destination.port);
  writeU16(out, udp + 4, UDP_HEADER + payload.length);
  writeU16(out, udp + 6, 0);
  out.set(payload, udp + UDP_HEADER);
  return udp + UDP_HEADER + payload.length;
}

function ipv4(text: string): Uint8Array {
  const bytes = parseIp(text);
  if (bytes?.length !== 4) throw new ScionError('encode.out-of-range', `${text} is not an IPv4 address`);
  return bytes;
}

/** Internet checksum over the 20 header bytes (RFC 1071). */
function ipv4Checksum(buf: Uint8Array, at: number): number {
  let sum = 0;
  for (let i = at; i < at + IPV4_HEADER; i += 2) sum += (buf[i]! << 8) | buf[i + 1]!;
  sum = (sum & 0xffff) + (sum >>> 16);
  return ~((sum & 0xffff) + (sum >>> 16)) & 0xffff;
}
