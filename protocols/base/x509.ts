/**
 * X.509 v3 certificates (RFC 5280), certification requests (PKCS#10, RFC 2986) and revocation lists of one kind: keys on
 * P-256, ECDSA with SHA-256. Reading and judging; x509-writer.ts makes them.
 *
 * Everything is strict and fails closed: an extension that is critical and unknown, one that comes twice, another
 * algorithm, version or curve is an error. Names are compared as bytes. Views point into the bytes that were read.
 */

import { constantTimeEqual, equalBytes, fromHex, toHex } from '#base/bytes';
import type { VerifyKey } from '#base/crypto';
import { contextTag, DerReader, DerTag, enterWhole } from '#base/der';
import { DecodeError } from '#base/errors';
import { decodeUtf8 } from '#base/utf8';

/** Object identifiers, as contents of their element. */
export const Oid = {
  ecPublicKey: fromHex('2a8648ce3d0201'),
  prime256v1: fromHex('2a8648ce3d030107'),
  ecdsaWithSha256: fromHex('2a8648ce3d040302'),
  commonName: fromHex('550403'),
  extensionRequest: fromHex('2a864886f70d01090e'),
  subjectKeyId: fromHex('551d0e'),
  keyUsage: fromHex('551d0f'),
  subjectAltName: fromHex('551d11'),
  basicConstraints: fromHex('551d13'),
  crlNumber: fromHex('551d14'),
  authorityKeyId: fromHex('551d23'),
  extendedKeyUsage: fromHex('551d25'),
} as const;

/** Bits of the key usage extension, first byte. */
export const KeyUsage = { digitalSignature: 0x80, keyAgreement: 0x08, keyCertSign: 0x04, crlSign: 0x02 } as const;

export const POINT_SIZE = 65;
const COORDINATE_SIZE = 32;
/** Longest chain: a leaf, this many authorities, the root. */
const MAX_AUTHORITIES = 3;
/** `[6]` of a general name. */
const URI_TAG = contextTag(6, false);

/** What certificates, requests and lists have in common: something, signed. */
interface Signed {
  /** The signed part with tag and length. */
  readonly tbs: Uint8Array;
  /** r ‖ s. */
  readonly signature: Uint8Array;
}

export interface Extensions {
  readonly isAuthority: boolean;
  /** Authorities allowed below; infinity without a limit. */
  readonly pathLength: number;
  /** First byte of the key usage; 0 when absent. */
  readonly keyUsage: number;
  /** Extended key usages, as contents of object identifiers. */
  readonly purposes: readonly Uint8Array[];
  readonly subjectKeyId: Uint8Array | undefined;
  readonly authorityKeyId: Uint8Array | undefined;
  /** URIs among the subject's alternative names. */
  readonly uris: readonly string[];
}

export interface Certificate extends Signed, Extensions {
  readonly der: Uint8Array;
  /** Magnitude, big-endian. */
  readonly serial: Uint8Array;
  /** Names as DER. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly commonName: string;
  /** Seconds since the Unix epoch, both included. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Uncompressed point, 65 bytes. */
  readonly publicKey: Uint8Array;
}

export interface CertificationRequest extends Signed, Extensions {
  readonly subject: Uint8Array;
  readonly commonName: string;
  readonly publicKey: Uint8Array;
}

export interface RevocationList extends Signed {
  readonly der: Uint8Array;
  readonly issuer: Uint8Array;
  readonly authorityKeyId: Uint8Array | undefined;
  /** CRL number: only grows. */
  readonly number: number;
  /** Serial numbers as hexadecimal text. */
  readonly serials: ReadonlySet<string>;
}

// --- Reading ------------------------------------------------------------------------------------------------------------

function readAlgorithm(r: DerReader): void {
  const inner = r.enter('signature algorithm');
  inner.expectOid('signature algorithm', Oid.ecdsaWithSha256);
  inner.expectEnd('signature algorithm');
}

/** r ‖ s of the DER form of an ECDSA signature. */
function readSignature(r: DerReader): Uint8Array {
  const inner = enterWhole(r.bitString('signature'), 'signature');
  const raw = new Uint8Array(2 * COORDINATE_SIZE);
  for (const end of [COORDINATE_SIZE, 2 * COORDINATE_SIZE]) {
    const part = inner.unsigned('signature');
    if (part.length > COORDINATE_SIZE) throw new DecodeError('signature', inner.at, 'two numbers of 32 bytes');
    raw.set(part, end - part.length);
  }
  inner.expectEnd('signature');
  return raw;
}

/** Reads the outer shape, and gives a cursor over the signed part. */
function readSigned(der: Uint8Array, what: string): Signed & { readonly body: DerReader } {
  const outer = enterWhole(der, what);
  const start = outer.at;
  const body = outer.enter(what);
  const tbs = der.subarray(start, outer.at);
  readAlgorithm(outer);
  const signature = readSignature(outer);
  outer.expectEnd(what);
  return { tbs, signature, body };
}

/** A Name as DER, and its first common name. */
function readName(r: DerReader, what: string): { name: Uint8Array; commonName: string } {
  const name = r.whole(what, DerTag.sequence);
  const inner = enterWhole(name, what);
  let commonName = '';
  while (inner.tag >= 0) {
    const set = inner.enter(what, DerTag.set);
    const pair = set.enter(what);
    const type = pair.bytes(what, DerTag.oid);
    const { tag, at, end } = pair.element(what);
    pair.expectEnd(what);
    set.expectEnd(what);
    if (!equalBytes(type, Oid.commonName) || commonName !== '') continue;
    const text = decodeUtf8(pair.buf, at, end);
    if (text === undefined || (tag !== DerTag.utf8String && tag !== DerTag.printableString))
      throw new DecodeError(what, at, 'a text');
    commonName = text;
  }
  return { name, commonName };
}

function readPublicKey(r: DerReader): Uint8Array {
  const inner = r.enter('public key');
  const algorithm = inner.enter('public key');
  algorithm.expectOid('public key', Oid.ecPublicKey);
  algorithm.expectOid('public key', Oid.prime256v1);
  algorithm.expectEnd('public key');
  const point = inner.bitString('public key');
  inner.expectEnd('public key');
  if (point.length !== POINT_SIZE || point[0] !== 4)
    throw new DecodeError('public key', inner.at, 'an uncompressed point of P-256');
  return point;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Reads `SEQUENCE OF Extension`. @param number  takes the CRL number, where one may be */
function readExtensions(list: DerReader, number?: (value: number) => void): Extensions {
  const found: Mutable<Extensions> = {
    isAuthority: false,
    pathLength: Number.POSITIVE_INFINITY,
    keyUsage: 0,
    purposes: [],
    subjectKeyId: undefined,
    authorityKeyId: undefined,
    uris: [],
  };
  const seen = new Set<string>();
  while (list.tag >= 0) {
    const entry = list.enter('extension');
    const oid = entry.bytes('extension', DerTag.oid);
    const critical = entry.tag === DerTag.boolean && entry.boolean('extension');
    const value = entry.bytes('extension', DerTag.octetString);
    entry.expectEnd('extension');
    const id = toHex(oid);
    if (seen.has(id)) throw new DecodeError(`extension ${id}`, list.at, 'each extension once');
    seen.add(id);
    const r = new DerReader(value);
    if (equalBytes(oid, Oid.basicConstraints)) {
      const inner = r.enter('basic constraints');
      if (inner.tag === DerTag.boolean) found.isAuthority = inner.boolean('basic constraints');
      if (inner.tag === DerTag.integer) found.pathLength = inner.number('path length');
      inner.expectEnd('basic constraints');
    } else if (equalBytes(oid, Oid.keyUsage)) {
      const bits = r.bytes('key usage', DerTag.bitString);
      if (bits.length < 2 || bits.length > 3 || bits[0]! > 7) throw new DecodeError('key usage', 0, 'some bits');
      found.keyUsage = bits[1]!;
    } else if (equalBytes(oid, Oid.extendedKeyUsage)) {
      const inner = r.enter('extended key usage');
      const purposes: Uint8Array[] = [];
      while (inner.tag >= 0) purposes.push(inner.bytes('extended key usage', DerTag.oid));
      found.purposes = purposes;
    } else if (equalBytes(oid, Oid.subjectAltName)) {
      const inner = r.enter('alternative name');
      const uris: string[] = [];
      while (inner.tag >= 0) {
        const { tag, at, end } = inner.element('alternative name');
        const text = tag === URI_TAG ? decodeUtf8(value, at, end) : '';
        if (text === undefined) throw new DecodeError('alternative name', at, 'a URI');
        if (text !== '') uris.push(text);
      }
      found.uris = uris;
    } else if (equalBytes(oid, Oid.subjectKeyId)) {
      found.subjectKeyId = r.bytes('subject key identifier', DerTag.octetString);
    } else if (equalBytes(oid, Oid.authorityKeyId)) {
      const inner = r.enter('authority key identifier');
      if (inner.tag === contextTag(0, false))
        found.authorityKeyId = inner.bytes('authority key identifier', contextTag(0, false));
      r.at = value.length;
    } else if (number && equalBytes(oid, Oid.crlNumber)) {
      number(r.number('CRL number'));
    } else if (critical) {
      throw new DecodeError(`extension ${id}`, list.at, 'no critical extension that is unknown');
    } else continue;
    r.expectEnd('extension');
  }
  return found;
}

/** @throws DecodeError for anything but a certificate of the kind described above */
export function parseCertificate(der: Uint8Array): Certificate {
  const { tbs, signature, body } = readSigned(der, 'certificate');
  const version = body.enter('certificate version', contextTag(0, true));
  if (version.number('certificate version') !== 2) throw new DecodeError('certificate version', body.at, 'version 3');
  version.expectEnd('certificate version');
  const serial = body.unsigned('serial number');
  readAlgorithm(body);
  const { name: issuer } = readName(body, 'issuer');
  const validity = body.enter('validity');
  const notBefore = validity.time('validity');
  const notAfter = validity.time('validity');
  validity.expectEnd('validity');
  const { name: subject, commonName } = readName(body, 'subject');
  const publicKey = readPublicKey(body);
  const outer = body.enter('extensions', contextTag(3, true));
  const extensions = readExtensions(outer.enter('extensions'));
  outer.expectEnd('extensions');
  body.expectEnd('certificate');
  return {
    der,
    tbs,
    signature,
    serial,
    issuer,
    subject,
    commonName,
    notBefore,
    notAfter,
    publicKey,
    ...extensions,
  };
}

/** @throws DecodeError */
export function parseRequest(der: Uint8Array): CertificationRequest {
  const { tbs, signature, body } = readSigned(der, 'certification request');
  if (body.number('request version') !== 0) throw new DecodeError('request version', body.at, 'version 1');
  const { name: subject, commonName } = readName(body, 'subject');
  const publicKey = readPublicKey(body);
  const attributes = body.enter('attributes', contextTag(0, true));
  let extensions = readExtensions(new DerReader(new Uint8Array(0)));
  while (attributes.tag >= 0) {
    const attribute = attributes.enter('attribute');
    const isExtensions = equalBytes(attribute.bytes('attribute', DerTag.oid), Oid.extensionRequest);
    const values = attribute.enter('attribute', DerTag.set);
    attribute.expectEnd('attribute');
    if (!isExtensions) continue;
    extensions = readExtensions(values.enter('extensions'));
    values.expectEnd('extensions');
  }
  body.expectEnd('certification request');
  return { tbs, signature, subject, commonName, publicKey, ...extensions };
}

/** @throws DecodeError */
export function parseRevocationList(der: Uint8Array): RevocationList {
  const { tbs, signature, body } = readSigned(der, 'revocation list');
  if (body.number('list version') !== 1) throw new DecodeError('list version', body.at, 'version 2');
  readAlgorithm(body);
  const { name: issuer } = readName(body, 'issuer');
  body.time('this update');
  if (body.tag === DerTag.utcTime || body.tag === DerTag.generalizedTime) body.time('next update');
  const serials = new Set<string>();
  if (body.tag === DerTag.sequence) {
    const list = body.enter('revoked certificates');
    while (list.tag >= 0) {
      const entry = list.enter('revoked certificate');
      serials.add(toHex(entry.unsigned('serial number')));
      entry.time('revocation date');
      // A reason changes nothing; a critical entry extension could.
      if (entry.tag >= 0) readExtensions(entry.enter('entry extensions'));
      entry.expectEnd('revoked certificate');
    }
  }
  let number = -1;
  const outer = body.enter('extensions', contextTag(0, true));
  const { authorityKeyId } = readExtensions(outer.enter('extensions'), (value) => {
    number = value;
  });
  outer.expectEnd('extensions');
  body.expectEnd('revocation list');
  if (number < 0) throw new DecodeError('revocation list', der.length, 'a CRL number');
  return { der, tbs, signature, issuer, authorityKeyId, number, serials };
}

// --- Judging ------------------------------------------------------------------------------------------------------------

/** Why a certificate is not believed. */
export type ChainFault =
  | 'unknown-issuer'
  | 'signature'
  | 'not-an-authority'
  | 'expired'
  | 'not-yet-valid'
  | 'revoked'
  | 'no-revocation-list'
  | 'key-usage'
  | 'purpose';

export interface ChainRules {
  /** Seconds since the Unix epoch. */
  readonly nowS: number;
  /** `nowS` is only the earliest that it can be, because the clock is not set: nothing is then too early. */
  readonly isLowerBound: boolean;
  /** A `KeyUsage` bit that the leaf must have. */
  readonly keyUsage: number;
  /** Extended key usage that the leaf, and every authority below the root, must name. */
  readonly purpose: Uint8Array;
  readonly verifyKey: (publicKey: Uint8Array) => VerifyKey;
  /** Whether an authority has revoked a serial number; undefined when no list of it is held, which is a fault. */
  readonly isRevoked: (authority: Certificate, serial: Uint8Array) => boolean | undefined;
}

/** Whether `issuer` is named as the issuer, by name and by key identifier where there is one. */
export function isIssuedBy(
  subject: { readonly issuer: Uint8Array; readonly authorityKeyId: Uint8Array | undefined },
  issuer: Certificate,
): boolean {
  if (!equalBytes(subject.issuer, issuer.subject)) return false;
  const { authorityKeyId } = subject;
  return !authorityKeyId || !issuer.subjectKeyId || equalBytes(authorityKeyId, issuer.subjectKeyId);
}

/**
 * Judges a chain from a leaf up to the root that is trusted. The root itself is believed as it was pinned: only its time is
 * looked at. The revocation list of the root is not asked for: an authority is replaced by a new root.
 * @returns null when everything holds
 */
export function judgeChain(
  leaf: Certificate,
  authorities: readonly Certificate[],
  root: Certificate,
  rules: ChainRules,
): ChainFault | null {
  if ((leaf.keyUsage & rules.keyUsage) === 0) return 'key-usage';
  let subject = leaf;
  for (let below = 0; below <= MAX_AUTHORITIES; below++) {
    if (rules.nowS > subject.notAfter) return 'expired';
    if (rules.nowS < subject.notBefore && !rules.isLowerBound) return 'not-yet-valid';
    const child = subject;
    if (!child.purposes.some((purpose) => equalBytes(purpose, rules.purpose))) return 'purpose';
    const issuer = isIssuedBy(child, root) ? root : authorities.find((authority) => isIssuedBy(child, authority));
    if (!issuer) return 'unknown-issuer';
    const isAuthority = issuer.isAuthority && (issuer.keyUsage & KeyUsage.keyCertSign) !== 0;
    if (!isAuthority || issuer.pathLength < below) return 'not-an-authority';
    if (!rules.verifyKey(issuer.publicKey).verify(child.tbs, child.signature)) return 'signature';
    if (issuer === root) return rules.nowS > root.notAfter ? 'expired' : null;
    const isRevoked = rules.isRevoked(issuer, child.serial);
    if (isRevoked !== false) return isRevoked ? 'revoked' : 'no-revocation-list';
    subject = issuer;
  }
  return 'unknown-issuer';
}

/** Whether a request proves that its sender has the private key (RFC 2986 §3). */
export function provesPossession(request: CertificationRequest, verifyKey: ChainRules['verifyKey']): boolean {
  return verifyKey(request.publicKey).verify(request.tbs, request.signature);
}

/** Whether a list is its issuer's own. */
export function isListOf(list: RevocationList, issuer: Certificate, verifyKey: ChainRules['verifyKey']): boolean {
  const maySign = issuer.isAuthority && (issuer.keyUsage & KeyUsage.crlSign) !== 0;
  return maySign && isIssuedBy(list, issuer) && verifyKey(issuer.publicKey).verify(list.tbs, list.signature);
}

/** Whether two certificates are the same. */
export const isSameCertificate = (a: Certificate, b: Certificate): boolean => constantTimeEqual(a.der, b.der);
