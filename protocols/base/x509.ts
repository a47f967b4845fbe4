/**
 * X.509 v3 certificates (RFC 5280), certification requests (PKCS#10, RFC 2986) and revocation lists of one kind: keys on
 * P-256, ECDSA with SHA-256. Reading and judging; x509-writer.ts makes them.
 *
 * Everything is strict and fails closed: an extension that is critical and unknown, one that comes twice, another
 * algorithm, version or curve is an error. Names are compared as bytes. Views point into the bytes that were read.
 */

import { equalBytes, toHex } from '#base/bytes';
import type { VerifyKey } from '#base/crypto';
import { contextTag, DerReader, DerTag, enterWhole } from '#base/der';
import { decodeUtf8 } from '#base/utf8';

/** Object identifiers, as contents of their element in hexadecimal. */
export const Oid = {
  commonName: '550403',
  extensionRequest: '2a864886f70d01090e',
  subjectKeyId: '551d0e',
  keyUsage: '551d0f',
  subjectAltName: '551d11',
  basicConstraints: '551d13',
  crlNumber: '551d14',
  authorityKeyId: '551d23',
  extendedKeyUsage: '551d25',
} as const;

/** AlgorithmIdentifier of ecdsa-with-SHA256, as DER. */
export const ECDSA_WITH_SHA256 = '300a06082a8648ce3d040302';
/** SubjectPublicKeyInfo of a key on P-256, as DER up to the point. */
export const P256_POINT = '3059301306072a8648ce3d020106082a8648ce3d030107034200';

/** Bits of the key usage extension, first byte. */
export const KeyUsage = { digitalSignature: 0x80, keyAgreement: 0x08, keyCertSign: 0x04, crlSign: 0x02 } as const;

export const POINT_SIZE = 65;
const COORDINATE_SIZE = 32;
/** Longest chain: a leaf, this many authorities, the root. */
const MAX_AUTHORITIES = 3;
/** `[6]` of a general name. */
const URI_TAG = contextTag(6, false);
/** `[0]` of an authority key identifier; issuer and serial may follow. */
const KEY_ID_TAG = contextTag(0, false);

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
  /** Extended key usages, as `Oid`. */
  readonly purposes: readonly string[];
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

/** r ‖ s of the DER form of an ECDSA signature. */
function readSignature(r: DerReader): Uint8Array {
  const inner = enterWhole(r.bitString(), r.what);
  const raw = new Uint8Array(2 * COORDINATE_SIZE);
  for (const end of [COORDINATE_SIZE, 2 * COORDINATE_SIZE]) {
    const part = inner.unsigned();
    if (part.length > COORDINATE_SIZE) inner.fail('a signature of 64 bytes');
    raw.set(part, end - part.length);
  }
  inner.expectEnd();
  return raw;
}

/** Reads the outer shape, and gives a cursor over the signed part. */
function readSigned(der: Uint8Array, what: string): Signed & { readonly body: DerReader } {
  const outer = enterWhole(der, what);
  const start = outer.at;
  const body = outer.enter();
  const tbs = der.subarray(start, outer.at);
  outer.expect(ECDSA_WITH_SHA256);
  const signature = readSignature(outer);
  outer.expectEnd();
  return { tbs, signature, body };
}

/** A Name as DER, and its first common name. */
function readName(r: DerReader): { name: Uint8Array; commonName: string } {
  const start = r.at;
  const inner = r.enter();
  let commonName = '';
  while (inner.tag >= 0) {
    const set = inner.enter(DerTag.set);
    const pair = set.enter();
    const type = pair.oid();
    const { tag, at, end } = pair.element();
    pair.expectEnd();
    set.expectEnd();
    if (type !== Oid.commonName || commonName !== '') continue;
    const text = tag === DerTag.utf8String || tag === DerTag.printableString ? decodeUtf8(r.buf, at, end) : undefined;
    commonName = text ?? r.fail('a text');
  }
  return { name: r.buf.subarray(start, r.at), commonName };
}

function readPublicKey(r: DerReader): Uint8Array {
  r.expect(P256_POINT);
  r.expect('04');
  const at = r.at - 1;
  r.at = at + POINT_SIZE;
  if (r.at > r.end) r.fail('a point of 65 bytes');
  return r.buf.subarray(at, r.at);
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Found = Mutable<Extensions> & { crlNumber: number };

/** What the extensions say, by their object identifiers; each reads its value whole. */
const EXTENSIONS: Readonly<Record<string, (r: DerReader, found: Found) => void>> = {
  [Oid.basicConstraints](r, found) {
    const inner = r.enter();
    if (inner.tag === DerTag.boolean) found.isAuthority = inner.boolean();
    if (inner.tag === DerTag.integer) found.pathLength = inner.number();
    inner.expectEnd();
  },
  [Oid.keyUsage](r, found) {
    const bits = r.bytes(DerTag.bitString);
    if (bits.length < 2 || bits.length > 3 || bits[0]! > 7) r.fail('some bits');
    found.keyUsage = bits[1]!;
  },
  [Oid.extendedKeyUsage](r, found) {
    const inner = r.enter();
    const purposes: string[] = [];
    while (inner.tag >= 0) purposes.push(inner.oid());
    found.purposes = purposes;
  },
  [Oid.subjectAltName](r, found) {
    const inner = r.enter();
    const uris: string[] = [];
    while (inner.tag >= 0) {
      const { tag, at, end } = inner.element();
      if (tag === URI_TAG) uris.push(decodeUtf8(r.buf, at, end) ?? r.fail('a URI'));
    }
    found.uris = uris;
  },
  [Oid.subjectKeyId](r, found) {
    found.subjectKeyId = r.bytes(DerTag.octetString);
  },
  [Oid.authorityKeyId](r, found) {
    const inner = r.enter();
    if (inner.tag === KEY_ID_TAG) found.authorityKeyId = inner.bytes(KEY_ID_TAG);
  },
  [Oid.crlNumber](r, found) {
    found.crlNumber = r.number();
  },
};

/** Reads `SEQUENCE OF Extension` into the extensions that are understood. */
function readExtensions(r?: DerReader): Found {
  const found: Found = {
    isAuthority: false,
    pathLength: Number.POSITIVE_INFINITY,
    keyUsage: 0,
    purposes: [],
    subjectKeyId: undefined,
    authorityKeyId: undefined,
    uris: [],
    crlNumber: -1,
  };
  if (!r) return found;
  const list = r.enter();
  r.expectEnd();
  const seen = new Set<string>();
  while (list.tag >= 0) {
    const entry = list.enter();
    const oid = entry.oid();
    const isCritical = entry.tag === DerTag.boolean && entry.boolean();
    const value = new DerReader(entry.bytes(DerTag.octetString), `extension ${oid}`);
    entry.expectEnd();
    if (seen.has(oid)) value.fail('it once');
    seen.add(oid);
    const read = Object.hasOwn(EXTENSIONS, oid) ? EXTENSIONS[oid] : undefined;
    read?.(value, found);
    if (read) value.expectEnd();
    else if (isCritical) value.fail('no unknown one that is critical');
  }
  return found;
}

/** @throws DecodeError for anything but a certificate of the kind described above */
export function parseCertificate(der: Uint8Array): Certificate {
  const { tbs, signature, body } = readSigned(der, 'certificate');
  body.expect('a003020102');
  const serial = body.unsigned();
  body.expect(ECDSA_WITH_SHA256);
  const { name: issuer } = readName(body);
  const validity = body.enter();
  const notBefore = validity.time();
  const notAfter = validity.time();
  validity.expectEnd();
  const { name: subject, commonName } = readName(body);
  const publicKey = readPublicKey(body);
  const extensions = readExtensions(body.enter(contextTag(3, true)));
  body.expectEnd();
  return { ...extensions, der, tbs, signature, serial, issuer, subject, commonName, notBefore, notAfter, publicKey };
}

/** @throws DecodeError */
export function parseRequest(der: Uint8Array): CertificationRequest {
  const { tbs, signature, body } = readSigned(der, 'certification request');
  body.expect('020100');
  const { name: subject, commonName } = readName(body);
  const publicKey = readPublicKey(body);
  const attributes = body.enter(contextTag(0, true));
  let extensions = readExtensions();
  while (attributes.tag >= 0) {
    const attribute = attributes.enter();
    const isExtensions = attribute.oid() === Oid.extensionRequest;
    const values = attribute.enter(DerTag.set);
    attribute.expectEnd();
    if (isExtensions) extensions = readExtensions(values);
  }
  body.expectEnd();
  return { ...extensions, tbs, signature, subject, commonName, publicKey };
}

/** @throws DecodeError */
export function parseRevocationList(der: Uint8Array): RevocationList {
  const { tbs, signature, body } = readSigned(der, 'revocation list');
  body.expect('020101');
  body.expect(ECDSA_WITH_SHA256);
  const { name: issuer } = readName(body);
  body.time();
  if (body.tag !== DerTag.sequence && body.tag !== contextTag(0, true)) body.time();
  const serials = new Set<string>();
  if (body.tag === DerTag.sequence) {
    const list = body.enter();
    while (list.tag >= 0) {
      const entry = list.enter();
      serials.add(toHex(entry.unsigned()));
      entry.time();
      // A reason changes nothing, a critical extension could.
      if (entry.tag >= 0) readExtensions(entry);
      entry.expectEnd();
    }
  }
  const { authorityKeyId, crlNumber } = readExtensions(body.enter(contextTag(0, true)));
  body.expectEnd();
  if (crlNumber < 0) body.fail('a CRL number');
  return { der, tbs, signature, issuer, authorityKeyId, number: crlNumber, serials };
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
  readonly purpose: string;
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
    if (!child.purposes.includes(rules.purpose)) return 'purpose';
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
export const isSameCertificate = (a: Certificate, b: Certificate): boolean => equalBytes(a.der, b.der);
