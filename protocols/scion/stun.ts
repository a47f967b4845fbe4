/**
 * STUN Binding as a border router answers it on its internal socket (RFC 8489; scionproto pkg/stun), so that hosts behind
 * NAT learn the address under which the router sees them. Knows requests that end with FINGERPRINT, and answers with
 * XOR-MAPPED-ADDRESS alone.
 *
 *   | type (2) | length (2) | 0x2112a442 | transaction id (12) | attributes: type (2) length (2) value, padded to 4 |
 */

import { readU16, readU32, writeU16, writeU32 } from '#base/bytes';

const HEADER = 20;
const MAGIC = 0x2112_a442;
const BINDING_REQUEST = 0x0001;
const BINDING_RESPONSE = 0x0101;
const XOR_MAPPED_ADDRESS = 0x0020;
const FINGERPRINT = 0x8028;
const FINGERPRINT_LENGTH = 8;
const FINGERPRINT_XOR = 0x5354_554e;
const FAMILY_IPV4 = 1;
const FAMILY_IPV6 = 2;

/** Longest answer: an IPv6 address. */
export const MAX_STUN_RESPONSE = HEADER + 24;
export const STUN_REQUEST_LENGTH = HEADER + FINGERPRINT_LENGTH;

const CRC = new Int32Array(256);
for (let i = 0; i < 256; i++) {
  let c = i;
  for (let k = 0; k < 8; k++) c = (c >>> 1) ^ (c & 1 ? 0xedb8_8320 : 0);
  CRC[i] = c;
}

/** CRC-32 of ISO 3309, as in the fingerprint. */
function crc32(buf: Uint8Array, at: number, end: number): number {
  let c = -1;
  for (let i = at; i < end; i++) c = CRC[(c ^ buf[i]!) & 0xff]! ^ (c >>> 8);
  return ~c >>> 0;
}

/** Whether `[at, end)` is a binding request with a right fingerprint at its end. */
export function isStunRequest(buf: Uint8Array, at: number, end: number): boolean {
  if (end - at < STUN_REQUEST_LENGTH || readU32(buf, at + 4) !== MAGIC) return false;
  if (readU16(buf, at) !== BINDING_REQUEST || readU16(buf, at + 2) !== end - at - HEADER) return false;
  const fingerprint = end - FINGERPRINT_LENGTH;
  if (readU32(buf, fingerprint) !== ((FINGERPRINT << 16) | 4) >>> 0) return false;
  return readU32(buf, fingerprint + 4) === (crc32(buf, at, fingerprint) ^ FINGERPRINT_XOR) >>> 0;
}

/** Writes a binding request. @param transactionId  12 bytes @returns offset after it */
export function writeStunRequest(out: Uint8Array, at: number, transactionId: Uint8Array): number {
  writeU16(out, writeU16(out, at, BINDING_REQUEST), FINGERPRINT_LENGTH);
  writeU32(out, at + 4, MAGIC);
  out.set(transactionId, at + 8);
  const fingerprint = at + HEADER;
  writeU32(out, fingerprint, (FINGERPRINT << 16) | 4);
  return writeU32(out, fingerprint + 4, crc32(out, at, fingerprint) ^ FINGERPRINT_XOR);
}

/**
 * Writes the answer to the request at `requestAt`.
 * @param host  4 or 16 bytes: the address that the request came from
 * @returns offset after it
 */
export function writeStunResponse(
  out: Uint8Array,
  at: number,
  request: Uint8Array,
  requestAt: number,
  host: Uint8Array,
  port: number,
): number {
  writeU16(out, writeU16(out, at, BINDING_RESPONSE), 8 + host.length);
  // Magic and transaction id; the address is masked with these 16 bytes.
  for (let i = 4; i < HEADER; i++) out[at + i] = request[requestAt + i]!;
  const attribute = at + HEADER;
  writeU16(out, writeU16(out, attribute, XOR_MAPPED_ADDRESS), 4 + host.length);
  out[attribute + 4] = 0;
  out[attribute + 5] = host.length === 4 ? FAMILY_IPV4 : FAMILY_IPV6;
  writeU16(out, attribute + 6, port ^ (MAGIC >>> 16));
  for (let i = 0; i < host.length; i++) out[attribute + 8 + i] = host[i]! ^ out[at + 4 + i]!;
  return attribute + 8 + host.length;
}

/**
 * Reads the mapped address of an answer.
 * @param transactionId  of the request, 12 bytes
 * @returns undefined when `[at, end)` is no answer to it
 */
export function readStunResponse(
  buf: Uint8Array,
  at: number,
  end: number,
  transactionId: Uint8Array,
): { host: Uint8Array; port: number } | undefined {
  if (end - at < HEADER || readU16(buf, at) !== BINDING_RESPONSE || readU32(buf, at + 4) !== MAGIC) return undefined;
  if (readU16(buf, at + 2) !== end - at - HEADER) return undefined;
  for (let i = 0; i < 12; i++) if (buf[at + 8 + i] !== transactionId[i]) return undefined;
  let next = at + HEADER;
  while (end - next >= 4) {
    const length = readU16(buf, next + 2);
    if (length > end - next - 4) return undefined;
    if (readU16(buf, next) === XOR_MAPPED_ADDRESS) return readMapped(buf, at, next + 4, length);
    next += 4 + ((length + 3) & ~3);
  }
  return undefined;
}

function readMapped(buf: Uint8Array, at: number, value: number, length: number) {
  const hostLength = length - 4;
  const family = buf[value + 1];
  if (!(hostLength === 4 && family === FAMILY_IPV4) && !(hostLength === 16 && family === FAMILY_IPV6)) return undefined;
  const host = new Uint8Array(hostLength);
  for (let i = 0; i < hostLength; i++) host[i] = buf[value + 4 + i]! ^ buf[at + 4 + i]!;
  return { host, port: readU16(buf, value + 2) ^ (MAGIC >>> 16) };
}
