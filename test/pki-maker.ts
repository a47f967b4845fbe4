/** A small PKI for tests: root, two authorities, and leaves as a test wants them. */

import { generateKeyPairSync } from 'node:crypto';
import type { SigningKey } from '#base/crypto';
import { type Certificate, KeyUsage, parseCertificate, parseRevocationList, type RevocationList } from '#base/x509';
import {
  AUTHORITY_USAGE,
  type CertificateSpec,
  encodeCertificate,
  encodeName,
  encodeRevocationList,
} from '#base/x509-writer';
import { nodeCrypto } from '#hw/crypto';
import { ROLES, type Role } from '#session/identity';

export interface TestKey {
  readonly privateKey: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly signing: SigningKey;
  /** PKCS#8. */
  readonly pem: string;
}

/** 2027-01-15. */
export const NOW = 1_800_000_000;
export const YEAR = 31_557_600;

export function makeKey(): TestKey {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const { x, y, d } = privateKey.export({ format: 'jwk' });
  const bytes = (text: string | undefined) => Uint8Array.from(Buffer.from(text!, 'base64url'));
  const secret = bytes(d);
  return {
    privateKey: secret,
    publicKey: Uint8Array.of(4, ...bytes(x), ...bytes(y)),
    signing: nodeCrypto.signingKey(secret),
    pem: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
  };
}

export const keyId = (publicKey: Uint8Array) => nodeCrypto.hash('sha256', publicKey).subarray(0, 20);

export interface TestAuthority {
  readonly key: TestKey;
  readonly certificate: Certificate;
}

let serial = 0;
const nextSerial = () => Uint8Array.of(0x80, 0, ++serial >> 8, serial);

export function makeAuthority(
  name: string,
  roles: readonly Role[],
  issuer?: TestAuthority,
  changes: Partial<CertificateSpec> = {},
): TestAuthority {
  const key = makeKey();
  const subject = encodeName(name);
  const spec: CertificateSpec = {
    serial: nextSerial(),
    issuer: issuer?.certificate.subject ?? subject,
    subject,
    notBefore: NOW - YEAR,
    notAfter: NOW + 20 * YEAR,
    publicKey: key.publicKey,
    keyUsage: AUTHORITY_USAGE,
    pathLength: issuer ? 0 : 1,
    purposes: roles.map((role) => ROLES[role]),
    subjectKeyId: keyId(key.publicKey),
    authorityKeyId: keyId((issuer?.key ?? key).publicKey),
    ...changes,
  };
  return { key, certificate: parseCertificate(encodeCertificate(spec, (issuer?.key ?? key).signing)) };
}

export function makeLeaf(
  issuer: TestAuthority,
  role: Role,
  name: string,
  changes: Partial<CertificateSpec> = {},
  key = makeKey(),
): { readonly key: TestKey; readonly certificate: Certificate } {
  const spec: CertificateSpec = {
    serial: nextSerial(),
    issuer: issuer.certificate.subject,
    subject: encodeName(name),
    notBefore: NOW - 86_400,
    notAfter: NOW + 2 * YEAR,
    publicKey: key.publicKey,
    keyUsage: KeyUsage.digitalSignature,
    purposes: [ROLES[role]],
    uris: ['scion:1-ff00:0:111,10.0.0.5'],
    subjectKeyId: keyId(key.publicKey),
    authorityKeyId: keyId(issuer.key.publicKey),
    ...changes,
  };
  return { key, certificate: parseCertificate(encodeCertificate(spec, issuer.key.signing)) };
}

export function makeList(issuer: TestAuthority, number: number, revoked: readonly Uint8Array[] = []): RevocationList {
  const spec = {
    issuer: issuer.certificate.subject,
    authorityKeyId: keyId(issuer.key.publicKey),
    number,
    thisUpdate: NOW,
    nextUpdate: NOW + YEAR,
    revoked: revoked.map((each) => ({ serial: each, at: NOW })),
  };
  return parseRevocationList(encodeRevocationList(spec, issuer.key.signing));
}
