/**
 * Makes certification requests (PKCS#10), certificates (X.509 v3) and revocation lists (v2) of the kind that x509.ts reads.
 * Signatures come through `SigningKey`, so that a key can be anywhere.
 */

import { fromHex } from '#base/bytes';
import type { SigningKey } from '#base/crypto';
import { contextTag, DerTag, DerWriter } from '#base/der';
import { encodeUtf8 } from '#base/utf8';
import { ECDSA_WITH_SHA256, KeyUsage, Oid, P256_POINT } from '#base/x509';

/** Larger than any certificate or request of ours. */
const MAX_SIZE = 2048;
const COORDINATE_SIZE = 32;

/** What a certificate or a request may say beyond name and key. */
export interface ExtensionSpec {
  readonly uris?: readonly string[];
  /** `KeyUsage` bits. */
  readonly keyUsage?: number;
  /** Extended key usages, as `Oid`. */
  readonly purposes?: readonly string[];
  /** An authority, and how many authorities may be below it. */
  readonly pathLength?: number;
  readonly subjectKeyId?: Uint8Array;
  readonly authorityKeyId?: Uint8Array;
}

export interface CertificateSpec extends ExtensionSpec {
  /** Positive, at most 20 bytes. */
  readonly serial: Uint8Array;
  /** Names as DER. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** Seconds since the Unix epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** 65 bytes. */
  readonly publicKey: Uint8Array;
}

export interface RevocationListSpec {
  readonly issuer: Uint8Array;
  readonly authorityKeyId: Uint8Array;
  readonly number: number;
  /** Seconds since the Unix epoch. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly revoked: readonly { readonly serial: Uint8Array; readonly at: number }[];
}

/** A Name with a common name and nothing else, as DER. */
export function encodeName(commonName: string): Uint8Array {
  const text = encodeUtf8(commonName);
  const w = new DerWriter(new Uint8Array(text.length + 32));
  w.nest(DerTag.sequence, () =>
    w.nest(DerTag.set, () => w.nest(DerTag.sequence, () => w.oid(Oid.commonName).primitive(DerTag.utf8String, text))),
  );
  return w.written();
}

const ALGORITHM = fromHex(ECDSA_WITH_SHA256);
const POINT_HEADER = fromHex(P256_POINT);

function writeExtension(w: DerWriter, oid: string, critical: boolean, value: () => void): void {
  w.nest(DerTag.sequence, () => {
    w.oid(oid);
    if (critical) w.boolean(true);
    w.nest(DerTag.octetString, value);
  });
}

/** `SEQUENCE OF Extension`. */
function writeExtensions(w: DerWriter, spec: ExtensionSpec): void {
  const { uris = [], keyUsage, purposes = [], pathLength, subjectKeyId, authorityKeyId } = spec;
  w.nest(DerTag.sequence, () => {
    if (pathLength !== undefined)
      writeExtension(w, Oid.basicConstraints, true, () =>
        w.nest(DerTag.sequence, () => w.boolean(true).number(pathLength)),
      );
    if (keyUsage !== undefined)
      writeExtension(w, Oid.keyUsage, true, () =>
        // Trailing zero bits of a list of names are not there.
        w.bitString(Uint8Array.of(keyUsage), Math.clz32(keyUsage & -keyUsage) ^ 31),
      );
    if (purposes.length > 0)
      writeExtension(w, Oid.extendedKeyUsage, false, () =>
        w.nest(DerTag.sequence, () => purposes.forEach((purpose) => void w.oid(purpose))),
      );
    if (uris.length > 0)
      writeExtension(w, Oid.subjectAltName, false, () =>
        w.nest(DerTag.sequence, () => uris.forEach((uri) => void w.primitive(contextTag(6, false), encodeUtf8(uri)))),
      );
    if (subjectKeyId) writeExtension(w, Oid.subjectKeyId, false, () => w.primitive(DerTag.octetString, subjectKeyId));
    if (authorityKeyId) writeAuthorityKeyId(w, authorityKeyId);
  });
}

function writeAuthorityKeyId(w: DerWriter, id: Uint8Array): void {
  writeExtension(w, Oid.authorityKeyId, false, () =>
    w.nest(DerTag.sequence, () => w.primitive(contextTag(0, false), id)),
  );
}

/** Wraps a signed part with its algorithm and signature. */
function sign(tbs: Uint8Array, key: SigningKey): Uint8Array {
  const raw = key.sign(tbs);
  const w = new DerWriter(new Uint8Array(tbs.length + 128));
  w.nest(DerTag.sequence, () => {
    w.raw(tbs);
    w.raw(ALGORITHM);
    const inner = new DerWriter(new Uint8Array(80));
    inner.nest(DerTag.sequence, () =>
      inner.unsigned(raw.subarray(0, COORDINATE_SIZE)).unsigned(raw.subarray(COORDINATE_SIZE)),
    );
    w.bitString(inner.written());
  });
  return w.written();
}

/**
 * A certification request.
 * @param subject  Name as DER
 * @param publicKey  of `key`, 65 bytes
 */
export function encodeRequest(
  subject: Uint8Array,
  publicKey: Uint8Array,
  extensions: ExtensionSpec,
  key: SigningKey,
): Uint8Array {
  const w = new DerWriter(new Uint8Array(MAX_SIZE));
  w.nest(DerTag.sequence, () => {
    w.number(0).raw(subject);
    w.raw(POINT_HEADER).raw(publicKey);
    w.nest(contextTag(0, true), () =>
      w.nest(DerTag.sequence, () => {
        w.oid(Oid.extensionRequest);
        w.nest(DerTag.set, () => writeExtensions(w, extensions));
      }),
    );
  });
  return sign(w.written(), key);
}

/** A certificate. @param key  the issuer's */
export function encodeCertificate(spec: CertificateSpec, key: SigningKey): Uint8Array {
  const w = new DerWriter(new Uint8Array(MAX_SIZE));
  w.nest(DerTag.sequence, () => {
    w.nest(contextTag(0, true), () => w.number(2));
    w.unsigned(spec.serial);
    w.raw(ALGORITHM);
    w.raw(spec.issuer);
    w.nest(DerTag.sequence, () => w.time(spec.notBefore).time(spec.notAfter));
    w.raw(spec.subject);
    w.raw(POINT_HEADER).raw(spec.publicKey);
    w.nest(contextTag(3, true), () => writeExtensions(w, spec));
  });
  return sign(w.written(), key);
}

/** A revocation list. @param key  the issuer's, which needs `KeyUsage.crlSign` */
export function encodeRevocationList(spec: RevocationListSpec, key: SigningKey): Uint8Array {
  const { issuer, authorityKeyId, number, thisUpdate, nextUpdate, revoked } = spec;
  const w = new DerWriter(new Uint8Array(MAX_SIZE + 48 * revoked.length));
  w.nest(DerTag.sequence, () => {
    w.number(1);
    w.raw(ALGORITHM);
    w.raw(issuer).time(thisUpdate).time(nextUpdate);
    if (revoked.length > 0)
      w.nest(DerTag.sequence, () => {
        for (const { serial, at } of revoked) w.nest(DerTag.sequence, () => w.unsigned(serial).time(at));
      });
    w.nest(contextTag(0, true), () =>
      w.nest(DerTag.sequence, () => {
        writeAuthorityKeyId(w, authorityKeyId);
        writeExtension(w, Oid.crlNumber, false, () => w.number(number));
      }),
    );
  });
  return sign(w.written(), key);
}

/** What an authority's own certificate needs. */
export const AUTHORITY_USAGE = KeyUsage.keyCertSign | KeyUsage.crlSign;
