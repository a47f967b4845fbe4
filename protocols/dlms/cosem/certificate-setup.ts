/**
 * Class 64, Security Setup v1, of a device whose keys come from certificates, and the revocation lists beside it.
 *
 * Attributes: 2 policy (bits 2 and 3: requests, 5 and 6: answers authenticated and encrypted), 3 suite, 4 client's title,
 * 5 own title, 6 certificates `{ entity, type, serial, issuer, subject, alternative name }`. Methods: 1 security_activate,
 * 4 generate_key_pair, 5 generate_certificate_request, 6 import_certificate. Keys are derived, so none can be transferred or
 * agreed (2, 3); export and removal (7, 8) are left out: a certificate leaves by a newer one or by a revocation list.
 *
 * Revocation lists, in the manufacturer's range: 0-0:128.3.0.255 reads `{ { key identifier of the authority, number } }`,
 * 0-0:128.3.1.255 takes a list.
 */

import { type Data, Tag, writeLength, writeOctetString } from '#dlms/axdr';
import { DataObject } from '#dlms/cosem/data';
import { attribute, NO_METHOD, TableObject } from '#dlms/cosem/table-object';
import { Result } from '#dlms/result';
import type { ServerSecurity } from '#dlms/security';
import type { ByteWriter } from '#dlms/writer';

/** Key pairs and certificates by their use, as DLMS numbers them. */
export const CertificateUse = { signing: 0, agreement: 1, tls: 2, other: 3 } as const;
export const CertificateEntity = { server: 0, client: 1, authority: 2, other: 3 } as const;

export interface CertificateInfo {
  /** One of `CertificateEntity`. */
  readonly entity: number;
  /** One of `CertificateUse`. */
  readonly use: number;
  readonly serial: Uint8Array;
  /** Names as DER. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly alternativeName: Uint8Array;
}

/** What holds the device's keys and certificates. Every answer of false or undefined means that nothing has changed. */
export interface CertificateManager {
  certificates(): readonly CertificateInfo[];
  /** Makes a key pair, which never leaves the device. @param use  `signing` or `agreement` */
  generateKeyPair(use: number): boolean;
  /** Gives a certification request (PKCS#10, DER) for a key pair. */
  request(use: number): Uint8Array | undefined;
  /** Takes a certificate (X.509, DER). */
  importCertificate(der: Uint8Array): boolean;
  lists(): readonly { readonly authority: Uint8Array; readonly number: number }[];
  /** Takes a revocation list (DER), whoever brings it. */
  importList(der: Uint8Array): boolean;
}

/** Requests and answers authenticated and encrypted. */
const EVERYTHING = 0x6c;

/** @param onChange  told of each certificate or list that was taken */
export function certificateSetup(
  obis: string,
  security: ServerSecurity,
  manager: CertificateManager,
  onChange: () => void = () => {},
): TableObject {
  const activate = (parameter: Data | null): number => {
    if (parameter?.type !== 'enum') return Result.typeUnmatched;
    return parameter.value === EVERYTHING ? Result.success : Result.otherReason;
  };
  const generate = (parameter: Data | null): number => {
    if (parameter?.type !== 'enum') return Result.typeUnmatched;
    return manager.generateKeyPair(parameter.value) ? Result.success : Result.otherReason;
  };
  const request = (parameter: Data | null, _context: unknown, w: ByteWriter): number => {
    if (parameter?.type !== 'enum') return Result.typeUnmatched;
    const der = manager.request(parameter.value);
    if (!der) return Result.otherReason;
    writeOctetString(w, der);
    return Result.success;
  };
  const take = (parameter: Data | null): number => {
    if (parameter?.type !== 'octet-string') return Result.typeUnmatched;
    if (!manager.importCertificate(parameter.value.slice())) return Result.otherReason;
    onChange();
    return Result.success;
  };
  return new TableObject(
    64,
    1,
    obis,
    [
      attribute((w) => w.u8(Tag.enum).u8(EVERYTHING)),
      attribute((w) => w.u8(Tag.enum).u8(security.suite)),
      attribute((w) => writeOctetString(w, security.lastClient)),
      attribute((w) => writeOctetString(w, security.options.serverTitle)),
      attribute((w) => writeCertificates(w, manager.certificates())),
    ],
    [activate, NO_METHOD, NO_METHOD, generate, request, take, NO_METHOD, NO_METHOD],
  );
}

function writeCertificates(w: ByteWriter, certificates: readonly CertificateInfo[]): void {
  writeLength(w.u8(Tag.array), certificates.length);
  for (const { entity, use, serial, issuer, subject, alternativeName } of certificates) {
    w.u8(Tag.structure).u8(6).u8(Tag.enum).u8(entity).u8(Tag.enum).u8(use);
    for (const bytes of [serial, issuer, subject, alternativeName]) writeOctetString(w, bytes);
  }
}

/** The two objects of revocation lists: what is held, and where a list is written to. */
export function revocationObjects(
  obisHeld: string,
  obisInbox: string,
  manager: CertificateManager,
  onChange: () => void = () => {},
): readonly [DataObject, DataObject] {
  const held = new DataObject(obisHeld, (w) => {
    const lists = manager.lists();
    writeLength(w.u8(Tag.array), lists.length);
    for (const { authority, number } of lists) {
      writeOctetString(w.u8(Tag.structure).u8(2), authority);
      w.u8(Tag.doubleLongUnsigned).u32(number);
    }
    return Result.success;
  });
  const inbox = new DataObject(
    obisInbox,
    () => Result.readWriteDenied,
    (value) => {
      if (value.type !== 'octet-string') return Result.typeUnmatched;
      if (!manager.importList(value.value.slice())) return Result.otherReason;
      onChange();
      return Result.success;
    },
  );
  return [held, inbox];
}
