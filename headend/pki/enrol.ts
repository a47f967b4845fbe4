/**
 * What a head end says to a meter about certificates, as DLMS operations: the enrolment, in the association that the
 * one-time code has opened, and later the newest authorities, certificates and revocation lists.
 */

import { toHex } from '#base/bytes';
import { DlmsError } from '#base/errors';
import { type Certificate, isIssuedBy, parseRequest, type RevocationList } from '#base/x509';
import type { Data } from '#dlms/axdr';
import type { DlmsClient } from '#dlms/client';
import { CertificateUse } from '#dlms/cosem/certificate-setup';
import type { Exchange } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import { ROLES } from '#session/identity';

const SETUP = { classId: 64, ln: parseObis('0-0:43.0.0.255') };
const CERTIFICATES = { ...SETUP, attribute: 6 };
const REQUEST = { ...SETUP, method: 5 };
const IMPORT = { ...SETUP, method: 6 };
const LISTS = { classId: 1, ln: parseObis('0-0:128.3.0.255'), attribute: 2 };
const INBOX = { classId: 1, ln: parseObis('0-0:128.3.1.255'), attribute: 2 };

/** What a meter must hold: the root, the authorities whose certificates it meets, those of others, and lists. */
export interface Delivery {
  readonly root: Certificate;
  readonly authorities: readonly Certificate[];
  readonly others: readonly Certificate[];
  readonly lists: readonly RevocationList[];
}

const octets = (value: Uint8Array): Data => ({ type: 'octet-string', value });

/**
 * Enrols a meter. The association is open.
 * @param issue  makes a certificate for one of the meter's requests
 * @returns its certificates for signing and key agreement; with the second one it has left the code behind
 * @throws DlmsError `dlms.refused` when the meter does not take something
 */
export function* enrolMeter(
  client: DlmsClient,
  delivery: Delivery,
  issue: (request: ReturnType<typeof parseRequest>, use: number) => Certificate,
): Exchange<Certificate[]> {
  const { root, authorities, others, lists } = delivery;
  for (const { der } of [root, ...authorities]) yield* client.action(IMPORT, octets(der));
  for (const { der } of lists) yield* client.set(INBOX, octets(der));
  for (const { der } of others) yield* client.action(IMPORT, octets(der));
  const issued: Certificate[] = [];
  for (const use of [CertificateUse.signing, CertificateUse.agreement]) {
    const answer = yield* client.action(REQUEST, { type: 'enum', value: use });
    if (answer?.type !== 'octet-string') throw new DlmsError('dlms.unexpected-answer', 'the meter gave no request');
    const certificate = issue(parseRequest(answer.value.slice()), use);
    yield* client.action(IMPORT, octets(certificate.der));
    issued.push(certificate);
  }
  return issued;
}

/** Brings a meter what it lacks of a delivery. @returns how much that was */
export function* updateMeter(client: DlmsClient, delivery: Delivery): Exchange<number> {
  let brought = 0;
  const held = yield* heldCertificates(client);
  const isMissing = ({ issuer, serial }: Certificate) => !held.has(toHex(issuer) + toHex(serial));
  for (const { der } of delivery.authorities.filter(isMissing)) {
    yield* client.action(IMPORT, octets(der));
    brought++;
  }
  const numbers = yield* heldLists(client);
  for (const { authorityKeyId, number, der } of delivery.lists) {
    if ((numbers.get(toHex(authorityKeyId ?? new Uint8Array(0))) ?? -1) >= number) continue;
    yield* client.set(INBOX, octets(der));
    brought++;
  }
  for (const { der } of delivery.others.filter(isMissing)) {
    yield* client.action(IMPORT, octets(der));
    brought++;
  }
  return brought;
}

/** Numbers of the lists that the meter holds, by the key identifiers of their authorities. */
function* heldLists(client: DlmsClient): Exchange<Map<string, number>> {
  const data = yield* client.get(LISTS);
  const numbers = new Map<string, number>();
  for (const entry of data.type === 'array' ? data.value : []) {
    const [authority, number] = entry.type === 'structure' ? entry.value : [];
    if (authority?.type === 'octet-string' && number?.type === 'double-long-unsigned')
      numbers.set(toHex(authority.value), number.value);
  }
  return numbers;
}

/** Issuer and serial number of each certificate that the meter holds. */
function* heldCertificates(client: DlmsClient): Exchange<Set<string>> {
  const data = yield* client.get(CERTIFICATES);
  const held = new Set<string>();
  for (const entry of data.type === 'array' ? data.value : []) {
    const [, , serial, issuer] = entry.type === 'structure' ? entry.value : [];
    if (serial?.type === 'octet-string' && issuer?.type === 'octet-string')
      held.add(toHex(issuer.value) + toHex(serial.value));
  }
  return held;
}

/** What meters need of a PKI: no meter's authority's list, since no meter judges another. */
export function deliveryOf(pki: {
  readonly root: Certificate;
  readonly authorities: readonly Certificate[];
  readonly lists: readonly RevocationList[];
  readonly headEnd: readonly Certificate[];
  readonly commands: readonly Certificate[];
}): Delivery {
  const issuers = pki.authorities.filter(({ purposes }) => !purposes.includes(ROLES.meter));
  return {
    root: pki.root,
    authorities: pki.authorities,
    others: [...pki.headEnd, ...pki.commands],
    lists: pki.lists.filter((list) => issuers.some((issuer) => isIssuedBy(list, issuer))),
  };
}
