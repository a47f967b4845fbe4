/**
 * Checksum of UDP and SCMP over SCION (draft-dekater-scion-dataplane §2.5): RFC 1071 over a pseudo header.
 *
 *   | DstIA | SrcIA | DstHost | SrcHost | upper length (4) | 0 0 0 protocol | upper-layer header and data |
 *
 * The first four parts lie in the packet in this order already, so the sum runs over the packet itself. The result 0 is
 * sent as 0, as the official implementation does.
 */

import { writeU16 } from '#base/bytes';
import { hostLength } from '#scion/address';
import { DST_HOST_AT, DST_IA_AT } from '#scion/header';

/** Adds big-endian 16-bit words; a last odd byte counts as the high byte of a word. */
function addWords(buf: Uint8Array, at: number, end: number, sum: number): number {
  const even = end - ((end - at) & 1);
  for (let i = at; i < even; i += 2) sum += (buf[i]! << 8) | buf[i + 1]!;
  return even < end ? sum + (buf[even]! << 8) : sum;
}

function fold(sum: number): number {
  while (sum > 0xffff) sum = (sum % 0x1_0000) + Math.floor(sum / 0x1_0000);
  return ~sum & 0xffff;
}

/**
 * Checksum over the pseudo header of the packet at `packetAt` and the bytes `[l4At, l4End)` as they are: with the
 * checksum field zero it is the value to send, over a received message it is 0 when the message is intact.
 * @param protocol  17 or 202, also behind extension headers
 */
export function checksum(buf: Uint8Array, packetAt: number, l4At: number, l4End: number, protocol: number): number {
  const types = buf[packetAt + 9]!;
  const addressEnd = packetAt + DST_HOST_AT + hostLength(types >> 4) + hostLength(types & 15);
  const length = l4End - l4At;
  let sum = addWords(buf, packetAt + DST_IA_AT, addressEnd, protocol + (length >>> 16) + (length & 0xffff));
  sum = addWords(buf, l4At, l4End, sum);
  return fold(sum);
}

/** Fills in a checksum. @param fieldAt  offset of the two checksum bytes */
export function writeChecksum(
  buf: Uint8Array,
  packetAt: number,
  l4At: number,
  l4End: number,
  protocol: number,
  fieldAt: number,
): void {
  writeU16(buf, fieldAt, 0);
  writeU16(buf, fieldAt, checksum(buf, packetAt, l4At, l4End, protocol));
}
