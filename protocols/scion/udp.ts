/**
 * UDP/SCION header (scionproto pkg/slayers/udp.go).
 *
 *   | source port (2) | destination port (2) | length (2) | checksum (2) | data |
 */

import { readU16, writeU16 } from '#base/bytes';
import { checksum, writeChecksum } from '#scion/checksum';
import { NextHeader } from '#scion/header';

export const UDP_HEADER_LENGTH = 8;

export const udpSourcePort = (buf: Uint8Array, udp: number): number => readU16(buf, udp);
export const udpDestinationPort = (buf: Uint8Array, udp: number): number => readU16(buf, udp + 2);
export const udpLength = (buf: Uint8Array, udp: number): number => readU16(buf, udp + 4);

/** Writes the header with checksum 0 in front of `dataLength` bytes. @returns offset of the data */
export function writeUdpHeader(
  out: Uint8Array,
  at: number,
  sourcePort: number,
  destinationPort: number,
  dataLength: number,
): number {
  const length = UDP_HEADER_LENGTH + dataLength;
  writeU16(out, at, sourcePort);
  writeU16(out, at + 2, destinationPort);
  // A length that does not fit is sent as 0: "the rest of the packet".
  writeU16(out, at + 4, length > 0xffff ? 0 : length);
  return writeU16(out, at + 6, 0);
}

/** Sets the checksum of the UDP datagram `[udp, end)` in the packet at `packetAt`. */
export function writeUdpChecksum(buf: Uint8Array, packetAt: number, udp: number, end: number): void {
  writeChecksum(buf, packetAt, udp, end, NextHeader.udp, udp + 6);
}

/**
 * End of the datagram that starts at `udp`.
 * @returns offset after its data; -1 when the header is cut off or its length impossible
 */
export function udpEnd(buf: Uint8Array, udp: number, end: number): number {
  if (end - udp < UDP_HEADER_LENGTH) return -1;
  const length = udpLength(buf, udp);
  if (length === 0) return end;
  return length < UDP_HEADER_LENGTH || length > end - udp ? -1 : udp + length;
}

/** Whether a received datagram `[udp, end)` is intact; one sent without checksum (0) passes. */
export function isUdpChecksumRight(buf: Uint8Array, packetAt: number, udp: number, end: number): boolean {
  return readU16(buf, udp + 6) === 0 || checksum(buf, packetAt, udp, end, NextHeader.udp) === 0;
}
