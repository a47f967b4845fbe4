/**
 * Keys, certificates and revocation lists in PEM files (RFC 7468), as openssl reads and writes them. A private key is PKCS#8
 * in a file of its own, mode 0600; certificates and lists are public, and may stand behind each other in one file.
 */

import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { SigningKey, VerifyKey } from '#base/crypto';
import { invalidFile, messageOf } from '#base/errors';
import { type Certificate, parseCertificate, parseRevocationList, type RevocationList } from '#base/x509';
import { type Agreement, agreementOf, nodeCrypto, signerOf } from '#hw/crypto';
import { readSecretFile, readTextFile, writeFileAtomic } from '#hw/files';
import { makeFolder } from '#hw/medium';

/** A key pair on P-256, whose private key stays in OpenSSL. */
export interface KeyPair {
  /** Uncompressed point, 65 bytes. */
  readonly publicKey: Uint8Array;
  readonly signing: SigningKey;
  readonly agree: Agreement;
}

export type PemLabel = 'CERTIFICATE' | 'X509 CRL' | 'CERTIFICATE REQUEST';

function keyPairOf(key: KeyObject): KeyPair {
  const { crv, x, y } = createPublicKey(key).export({ format: 'jwk' });
  if (crv !== 'P-256' || !x || !y) throw new TypeError('not a key of P-256');
  const bytes = (text: string) => Buffer.from(text, 'base64url');
  return { publicKey: Uint8Array.of(4, ...bytes(x), ...bytes(y)), signing: signerOf(key), agree: agreementOf(key) };
}

/** Makes a key pair and writes its private key. @throws ConfigError `config.unreadable` */
export function makeKeyFile(file: string): KeyPair {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  makeFolder(dirname(file));
  writeFileAtomic(file, String(privateKey.export({ type: 'pkcs8', format: 'pem' })), 0o600);
  return keyPairOf(privateKey);
}

/** @throws ConfigError `config.unreadable`, or `config.invalid` for another key or a file that others may read */
export function readKeyPair(file: string): KeyPair {
  const text = Buffer.from(readSecretFile(file));
  try {
    return keyPairOf(createPrivateKey(text));
  } catch {
    throw invalidFile(file, 'no private key of P-256');
  }
}

/** Reads a key pair, made at the first call. @throws ConfigError as `readKeyPair` */
export function readOrMakeKeyPair(file: string): KeyPair {
  return existsSync(file) ? readKeyPair(file) : makeKeyFile(file);
}

export function pemText(label: PemLabel, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

const PEM = /-----BEGIN (CERTIFICATE|X509 CRL|CERTIFICATE REQUEST)-----([A-Za-z0-9+/=\s]*)-----END \1-----/g;

/** The blocks of a PEM text, in order. */
export function pemBlocks(text: string): { readonly label: PemLabel; readonly der: Uint8Array }[] {
  return [...text.matchAll(PEM)].map(([, label, body]) => ({
    label: label as PemLabel,
    der: Uint8Array.from(Buffer.from(body!, 'base64')),
  }));
}

export interface PemContents {
  readonly certificates: Certificate[];
  readonly lists: RevocationList[];
}

/** Parses the certificates and lists of a PEM text. @param file  for the message @throws ConfigError `config.invalid` */
export function parsePem(text: string, file: string): PemContents {
  const contents: PemContents = { certificates: [], lists: [] };
  try {
    for (const { label, der } of pemBlocks(text)) {
      if (label === 'CERTIFICATE') contents.certificates.push(parseCertificate(der));
      else if (label === 'X509 CRL') contents.lists.push(parseRevocationList(der));
    }
  } catch (error) {
    throw invalidFile(file, messageOf(error), error);
  }
  return contents;
}

/** @throws ConfigError `config.unreadable`, `config.invalid` */
export function readPemFile(file: string): PemContents {
  return parsePem(readTextFile(file), file);
}

const NEVER: VerifyKey = { verify: () => false };

/** Verifies under a public key out of a certificate; one that is no point of the curve verifies nothing. */
export function verifyCertified(publicKey: Uint8Array): VerifyKey {
  try {
    return nodeCrypto.verifyKey(publicKey);
  } catch {
    return NEVER;
  }
}
