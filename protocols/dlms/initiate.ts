/**
 * xDLMS InitiateRequest and InitiateResponse (IEC 62056-5-3 §7.2.3), carried in the user information of AARQ and AARE,
 * the conformance block, and ConfirmedServiceError.
 *
 *   01 | 00 or 01 L dedicated-key | 00 or 01 response-allowed | 00 or 01 quality | version | 5F 1F 04 00 c c c | max-pdu u16
 *   08 | 00 or 01 quality | version | 5F 1F 04 00 c c c | max-pdu u16 | 00 07
 *   0E | choice | group | value
 *
 * Ciphered forms (tags 21 and 28) belong to the security layer, which opens them before they come here.
 */

import { DecodeError } from '#base/errors';
import { readOctets, writeOctets } from '#dlms/axdr';
import type { ByteReader } from '#dlms/reader';
import type { ByteWriter } from '#dlms/writer';

export const DLMS_VERSION = 6;
/** A peer that accepts less than this cannot be served; 0 stands for no limit. */
export const MIN_PDU = 64;

/** Conformance bits as in the standard's 24-bit string, most significant bit first. */
export const Conformance = {
  generalProtection: 0x40_0000,
  generalBlockTransfer: 0x20_0000,
  priorityManagement: 0x00_4000,
  attribute0WithGet: 0x00_2000,
  blockTransferWithGet: 0x00_1000,
  blockTransferWithSet: 0x00_0800,
  blockTransferWithAction: 0x00_0400,
  multipleReferences: 0x00_0200,
  dataNotification: 0x00_0080,
  access: 0x00_0040,
  get: 0x00_0010,
  set: 0x00_0008,
  selectiveAccess: 0x00_0004,
  eventNotification: 0x00_0002,
  action: 0x00_0001,
} as const;

export interface InitiateRequest {
  readonly dlmsVersion: number;
  readonly conformance: number;
  /** Longest APDU that the client accepts, in bytes; 0 means any. */
  readonly maxPdu: number;
  readonly dedicatedKey: Uint8Array | null;
  readonly responseAllowed: boolean;
}

export interface InitiateResponse {
  readonly dlmsVersion: number;
  readonly conformance: number;
  /** Longest APDU that the server accepts, in bytes; 0 means any. */
  readonly maxPdu: number;
}

function writeConformance(w: ByteWriter, conformance: number): void {
  w.u8(0x5f)
    .u8(0x1f)
    .u8(0x04)
    .u32(conformance & 0xff_ffff);
}

/** Some old stacks shorten the two-byte tag 5F 1F to 5F. */
function readConformance(r: ByteReader): number {
  r.expect(0x5f, 'conformance tag');
  const at = r.at;
  const next = r.u8('conformance tag');
  if (next === 0x1f) r.expect(0x04, 'conformance length');
  else if (next !== 0x04) throw new DecodeError('conformance tag', at, '1f or 04');
  r.expect(0x00, 'conformance unused bits');
  return (r.u8('conformance') << 16) | r.u16('conformance');
}

/** Reads OPTIONAL or DEFAULT: 00 absent, 01 present. */
function isPresent(r: ByteReader, what: string): boolean {
  const at = r.at;
  const flag = r.u8(what);
  if (flag > 1) throw new DecodeError(what, at, '00 or 01');
  return flag === 1;
}

/** @param dedicatedKey  key of this association alone; in a ciphered request only */
export function encodeInitiateRequest(
  w: ByteWriter,
  conformance: number,
  maxPdu: number,
  dedicatedKey?: Uint8Array,
): void {
  w.u8(0x01);
  if (dedicatedKey) writeOctets(w.u8(0x01), dedicatedKey);
  else w.u8(0x00);
  w.u8(0x00).u8(0x00).u8(DLMS_VERSION);
  writeConformance(w, conformance);
  w.u16(maxPdu);
}

/** @throws DecodeError */
export function decodeInitiateRequest(r: ByteReader): InitiateRequest {
  r.expect(0x01, 'initiate request');
  const dedicatedKey = isPresent(r, 'dedicated key') ? readOctets(r, 'dedicated key') : null;
  const responseAllowed = isPresent(r, 'response-allowed') ? r.u8('response-allowed') !== 0 : true;
  if (isPresent(r, 'quality of service')) r.u8('quality of service');
  const dlmsVersion = r.u8('DLMS version');
  const conformance = readConformance(r);
  const maxPdu = r.u16('max PDU');
  r.expectEnd('initiate request');
  return { dlmsVersion, conformance, maxPdu, dedicatedKey, responseAllowed };
}

export function encodeInitiateResponse(w: ByteWriter, conformance: number, maxPdu: number): void {
  w.u8(0x08).u8(0x00).u8(DLMS_VERSION);
  writeConformance(w, conformance);
  // 0007 is the fixed VAA name of logical name referencing.
  w.u16(maxPdu).u16(0x0007);
}

/** @throws DecodeError */
export function decodeInitiateResponse(r: ByteReader): InitiateResponse {
  r.expect(0x08, 'initiate response');
  if (isPresent(r, 'quality of service')) r.u8('quality of service');
  const dlmsVersion = r.u8('DLMS version');
  const conformance = readConformance(r);
  const maxPdu = r.u16('max PDU');
  r.u16('VAA name');
  r.expectEnd('initiate response');
  return { dlmsVersion, conformance, maxPdu };
}

/** InitiateError values: why a server cannot take up the xDLMS context. */
export const InitiateError = { other: 0, versionTooLow: 1, incompatibleConformance: 2, pduSizeTooShort: 3 } as const;

export interface ConfirmedServiceError {
  /** 1 initiate, 5 read, 6 write. */
  readonly choice: number;
  /** Error group, 0 application reference … 6 initiate … 10 other. */
  readonly group: number;
  readonly value: number;
}

export function encodeInitiateError(w: ByteWriter, value: number): void {
  w.u8(0x0e).u8(0x01).u8(0x06).u8(value);
}

/** @throws DecodeError */
export function decodeConfirmedServiceError(r: ByteReader): ConfirmedServiceError {
  r.expect(0x0e, 'confirmed service error');
  const error = { choice: r.u8('error choice'), group: r.u8('error group'), value: r.u8('error value') };
  r.expectEnd('confirmed service error');
  return error;
}
