/**
 * DLMS keys of an association between two certified parties where the network serves no DRKey: static ECDH between the
 * key-agreement certificates, then the derivation of dlms-keys.ts in mode `certificate`.
 *
 * A head end's certificate names the first four bytes of its titles; the others are the number of its start.
 */

import { equalBytes } from '#base/bytes';
import type { CryptoProvider } from '#base/crypto';
import type { Certificate } from '#base/x509';
import { type DlmsKeys, deriveDlmsKeys, KeyMode } from '#session/dlms-keys';
import { addressOf, titleOf } from '#session/identity';

/** Bytes of a head end's title that its certificate fixes. */
export const TITLE_PREFIX = 4;

/** Whether a head end with this certificate may call itself by a title. */
export function mayBear(certificate: Certificate, title: Uint8Array): boolean {
  const named = titleOf(certificate);
  return named !== undefined && equalBytes(named.subarray(0, TITLE_PREFIX), title.subarray(0, TITLE_PREFIX));
}

/**
 * Keys of suite 0.
 * @param agreement  x coordinate of the key agreement between the two, 32 bytes
 * @param clientTitle  title of this start of the head end
 * @returns undefined when a certificate lacks its title or address, or the title is another's
 */
export function certificateKeys(
  crypto: CryptoProvider,
  agreement: Uint8Array | undefined,
  headEnd: Certificate,
  meter: Certificate,
  clientTitle: Uint8Array,
): DlmsKeys | undefined {
  const client = addressOf(headEnd);
  const server = addressOf(meter);
  const serverTitle = titleOf(meter);
  if (!agreement || !client || !server || !serverTitle || !mayBear(headEnd, clientTitle)) return undefined;
  return deriveDlmsKeys(crypto, {
    mode: KeyMode.certificate,
    suite: 0,
    agreement,
    clientIa: client.ia,
    clientTitle,
    serverIa: server.ia,
    serverTitle,
    epochBegin: 0,
    epochEnd: 0,
  });
}
