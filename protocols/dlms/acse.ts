/**
 * Association control (ACSE, IEC 62056-5-3 §7.2, BER): AARQ 60, AARE 61, RLRQ 62, RLRE 63.
 *
 *   AARQ  60 L  [80 version] A1 context [A6 title] [8A 8B mechanism] [AC authentication] BE user-information
 *   AARE  61 L  A1 context  A2 result  A3 diagnostic  [A4 title] [88 89 mechanism] [AA challenge] BE user-information
 *
 * Received fields may come in any order and unknown ones are skipped; a field that comes twice is refused. An AARE of
 * ours never exceeds 127 content bytes, since there are clients that read only one length byte.
 */

import { DecodeError } from '#base/errors';
import { readBerContents, readBerField, writeBerField } from '#dlms/ber';
import type { ByteReader } from '#dlms/reader';
import type { ByteWriter } from '#dlms/writer';

/** Application contexts: the last number of 2.16.756.5.8.1.n. */
export const Context = { logicalName: 1, shortName: 2, logicalNameCiphered: 3, shortNameCiphered: 4 } as const;

/** Authentication mechanisms: the last number of 2.16.756.5.8.2.n. */
export const Mechanism = {
  none: 0,
  password: 1,
  manufacturer: 2,
  md5: 3,
  sha1: 4,
  gmac: 5,
  sha256: 6,
  ecdsa: 7,
} as const;

export const AssociationResult = { accepted: 0, rejectedPermanent: 1, rejectedTransient: 2 } as const;

/** Service-user diagnostics of an AARE. */
export const Diagnostic = {
  none: 0,
  noReasonGiven: 1,
  contextNotSupported: 2,
  callingTitleNotRecognized: 3,
  mechanismNotRecognized: 11,
  mechanismRequired: 12,
  authenticationFailure: 13,
  authenticationRequired: 14,
} as const;

/** Provider diagnostic: the client's ACSE version is not ours. */
export const NO_COMMON_ACSE_VERSION = 2;

/** 2.16.756.5.8: the arc under which DLMS names its contexts (1) and mechanisms (2). */
const DLMS_OID = [0x60, 0x85, 0x74, 0x05, 0x08] as const;

export interface Aarq {
  /** Whether bit 0 (version 1) of the protocol version is set; true when the field is absent. */
  readonly version1: boolean;
  /** Number of the application context, or -1 when it is none of DLMS's. */
  readonly context: number;
  readonly callingTitle: Uint8Array | null;
  /** Number of the mechanism; 0 when absent, -1 when it is none of DLMS's. */
  readonly mechanism: number;
  /** Password or challenge. */
  readonly authentication: Uint8Array | null;
  /** The xDLMS APDU inside the user information. */
  readonly userInformation: Uint8Array | null;
}

export interface Aare {
  readonly context: number;
  readonly result: number;
  readonly diagnostic: number;
  /** Whether the diagnostic is the ACSE provider's (its own numbers), not the service user's. */
  readonly isProviderDiagnostic: boolean;
  readonly respondingTitle: Uint8Array | null;
  readonly mechanism: number;
  /** Challenge of the server. */
  readonly authentication: Uint8Array | null;
  readonly userInformation: Uint8Array | null;
}

function writeOid(w: ByteWriter, arc: 1 | 2, value: number): void {
  for (const part of DLMS_OID) w.u8(part);
  w.u8(arc).u8(value);
}

/** Last number of an object identifier below DLMS's arc, -1 for any other. */
function readOid(r: ByteReader, arc: 1 | 2): number {
  if (r.remaining !== 7) return -1;
  for (const part of DLMS_OID) if (r.u8('object identifier') !== part) return -1;
  return r.u8('object identifier') === arc ? r.u8('object identifier') : -1;
}

function readContext(field: ByteReader): number {
  return readOid(readBerField(field, 0x06, 'application context name'), 1);
}

/** Contents of `BE L 04 L …`, or of a title `A6 L 04 L …`. */
function readOctetField(field: ByteReader, what: string): Uint8Array {
  const octets = readBerField(field, 0x04, what);
  field.expectEnd(what);
  return octets.view(octets.remaining, what);
}

/** Authentication value: choice 80 (charstring) or 81 (bit string, one byte of unused bits first). */
function readAuthentication(field: ByteReader): Uint8Array {
  const at = field.at;
  const choice = field.u8('authentication value');
  if (choice !== 0x80 && choice !== 0x81) throw new DecodeError('authentication value', at, '80 or 81');
  const octets = readBerContents(field, 'authentication value');
  field.expectEnd('authentication value');
  if (choice === 0x81) octets.u8('unused bits');
  return octets.view(octets.remaining, 'authentication value');
}

function readInteger(field: ByteReader, what: string): number {
  const octets = readBerField(field, 0x02, what);
  const value = octets.u8(what);
  octets.expectEnd(what);
  field.expectEnd(what);
  return value;
}

/** Calls `onField` for each field of the APDU `tag` and refuses repeats and trailing bytes. */
function eachField(r: ByteReader, tag: number, what: string, onField: (tag: number, field: ByteReader) => void): void {
  const body = readBerField(r, tag, what);
  r.expectEnd(what);
  const seen = new Set<number>();
  while (body.remaining > 0) {
    const at = body.at;
    const fieldTag = body.u8(`${what} field`);
    if (seen.has(fieldTag)) throw new DecodeError(`${what} field`, at, 'no field twice');
    seen.add(fieldTag);
    onField(fieldTag, readBerContents(body, `${what} field`));
  }
}

export interface AarqFields {
  readonly context: number;
  readonly mechanism: number;
  /** Password for mechanism 1, challenge for the higher ones. */
  readonly authentication?: Uint8Array | undefined;
  readonly callingTitle?: Uint8Array | undefined;
}

/** Writes an AARQ whose user information `initiate` writes. */
export function encodeAarq(w: ByteWriter, fields: AarqFields, initiate: (w: ByteWriter) => void): void {
  writeBerField(w, 0x60, () => {
    writeBerField(w, 0xa1, () => writeBerField(w, 0x06, () => writeOid(w, 1, fields.context)));
    if (fields.callingTitle) writeOctetField(w, 0xa6, fields.callingTitle);
    if (fields.mechanism !== Mechanism.none) {
      w.u8(0x8a).u8(0x02).u8(0x07).u8(0x80);
      writeBerField(w, 0x8b, () => writeOid(w, 2, fields.mechanism));
      writeBerField(w, 0xac, () => writeBerField(w, 0x80, () => w.bytes(fields.authentication ?? new Uint8Array(0))));
    }
    writeBerField(w, 0xbe, () => writeBerField(w, 0x04, () => initiate(w)));
  });
}

function writeOctetField(w: ByteWriter, tag: number, octets: Uint8Array): void {
  writeBerField(w, tag, () => writeBerField(w, 0x04, () => w.bytes(octets)));
}

/** Reads an AARQ, tag included. @throws DecodeError */
export function decodeAarq(r: ByteReader): Aarq {
  let version1 = true;
  let context = -1;
  let callingTitle: Uint8Array | null = null;
  let mechanism: number = Mechanism.none;
  let authentication: Uint8Array | null = null;
  let userInformation: Uint8Array | null = null;
  eachField(r, 0x60, 'AARQ', (tag, field) => {
    if (tag === 0x80) {
      field.u8('protocol version');
      version1 = field.remaining > 0 && (field.u8('protocol version') & 0x80) !== 0;
    } else if (tag === 0xa1) context = readContext(field);
    else if (tag === 0xa6) callingTitle = readOctetField(field, 'calling title');
    else if (tag === 0x8b) mechanism = readOid(field, 2);
    else if (tag === 0xac) authentication = readAuthentication(field);
    else if (tag === 0xbe) userInformation = readOctetField(field, 'user information');
  });
  return { version1, context, callingTitle, mechanism, authentication, userInformation };
}

export interface AareFields {
  readonly context: number;
  readonly result: number;
  readonly diagnostic: number;
  readonly isProviderDiagnostic?: boolean;
  /** With a challenge: the high-level mechanism that the client must now complete. */
  readonly mechanism?: number;
  readonly challenge?: Uint8Array;
  readonly respondingTitle?: Uint8Array;
}

/** Writes an AARE whose user information `initiate` writes. */
export function encodeAare(w: ByteWriter, fields: AareFields, initiate: (w: ByteWriter) => void): void {
  writeBerField(w, 0x61, () => {
    writeBerField(w, 0xa1, () => writeBerField(w, 0x06, () => writeOid(w, 1, fields.context)));
    w.u8(0xa2).u8(0x03).u8(0x02).u8(0x01).u8(fields.result);
    w.u8(0xa3).u8(0x05);
    w.u8(fields.isProviderDiagnostic ? 0xa2 : 0xa1)
      .u8(0x03)
      .u8(0x02)
      .u8(0x01)
      .u8(fields.diagnostic);
    if (fields.respondingTitle) writeOctetField(w, 0xa4, fields.respondingTitle);
    const { challenge, mechanism } = fields;
    if (challenge && mechanism !== undefined) {
      w.u8(0x88).u8(0x02).u8(0x07).u8(0x80);
      writeBerField(w, 0x89, () => writeOid(w, 2, mechanism));
      writeBerField(w, 0xaa, () => writeBerField(w, 0x80, () => w.bytes(challenge)));
    }
    writeBerField(w, 0xbe, () => writeBerField(w, 0x04, () => initiate(w)));
  });
}

/** Reads an AARE, tag included; the user information may be missing in a rejection. @throws DecodeError */
export function decodeAare(r: ByteReader): Aare {
  let context = -1;
  let result = -1;
  let diagnostic = 0;
  let isProviderDiagnostic = false;
  let respondingTitle: Uint8Array | null = null;
  let mechanism: number = Mechanism.none;
  let authentication: Uint8Array | null = null;
  let userInformation: Uint8Array | null = null;
  eachField(r, 0x61, 'AARE', (tag, field) => {
    if (tag === 0xa1) context = readContext(field);
    else if (tag === 0xa2) result = readInteger(field, 'association result');
    else if (tag === 0xa3) {
      const at = field.at;
      const source = field.u8('diagnostic source');
      if (source !== 0xa1 && source !== 0xa2) throw new DecodeError('diagnostic source', at, 'a1 or a2');
      isProviderDiagnostic = source === 0xa2;
      diagnostic = readInteger(readBerContents(field, 'diagnostic'), 'diagnostic');
    } else if (tag === 0xa4) respondingTitle = readOctetField(field, 'responding title');
    else if (tag === 0x89) mechanism = readOid(field, 2);
    else if (tag === 0xaa) authentication = readAuthentication(field);
    else if (tag === 0xbe) userInformation = readOctetField(field, 'user information');
  });
  if (result < 0) throw new DecodeError('AARE', r.at, 'an association result');
  return {
    context,
    result,
    diagnostic,
    isProviderDiagnostic,
    respondingTitle,
    mechanism,
    authentication,
    userInformation,
  };
}

export interface Release {
  /** 0 normal, 1 urgent (request) or not finished (response), 30 user defined; 0 when absent. */
  readonly reason: number;
  readonly userInformation: Uint8Array | null;
}

/**
 * Writes the release request (62) or response (63).
 * @param initiate  writes the ciphered initiate request or response that a ciphered association carries
 */
export function encodeRelease(w: ByteWriter, tag: 0x62 | 0x63, reason = 0, initiate?: (w: ByteWriter) => void): void {
  writeBerField(w, tag, () => {
    w.u8(0x80).u8(0x01).u8(reason);
    if (initiate) writeBerField(w, 0xbe, () => writeBerField(w, 0x04, () => initiate(w)));
  });
}

/** Reads a release request (62) or response (63). @throws DecodeError */
export function decodeRelease(r: ByteReader, tag: 0x62 | 0x63): Release {
  let reason = 0;
  let userInformation: Uint8Array | null = null;
  eachField(r, tag, tag === 0x62 ? 'RLRQ' : 'RLRE', (fieldTag, field) => {
    if (fieldTag === 0x80) reason = field.u8('release reason');
    else if (fieldTag === 0xbe) userInformation = readOctetField(field, 'user information');
  });
  return { reason, userInformation };
}
