/**
 * The enrolled meters of a running head end: what the PKI's folder and the inventory say now, as connections. A meter whose
 * certificate is revoked or expired stays in the list and is not spoken to.
 */

import { existsSync } from 'node:fs';
import { S3mpError } from '#base/errors';
import { type Certificate, KeyUsage } from '#base/x509';
import { Mechanism } from '#dlms/acse';
import type { DlmsClient } from '#dlms/client';
import { type ClientSecurityOptions, MemoryCounter } from '#dlms/client-security';
import type { Exchange } from '#dlms/exchange';
import { nodeCrypto } from '#hw/crypto';
import type { Log } from '#hw/log';
import { type KeyPair, readKeyPair, verifyCertified } from '#hw/pki-files';
import { certificateKeys } from '#session/certificate-keys';
import { Trust, type TrustTime } from '#session/trust';
import { type Delivery, deliveryOf, updateMeter } from '../pki/enrol.ts';
import type { EnrolledMeter, Inventory } from '../pki/inventory.ts';
import type { UtilityPki } from '../pki/utility-pki.ts';

const AGREEMENT_KEY = 'head-end-agreement.key';

/** What the head end shows and believes, as the PKI's folder has it at one time. */
export class HeadEndIdentity {
  readonly delivery: Delivery;
  readonly agreement: Certificate;
  readonly #key: KeyPair;
  readonly #trust = new Trust({ verifyKey: verifyCertified, roles: ['meter'] });

  /** @throws ConfigError for files that are missing or broken */
  constructor(pki: UtilityPki) {
    const read = pki.read();
    const agreement = read.headEnd.find(({ keyUsage }) => keyUsage === KeyUsage.keyAgreement);
    if (!agreement) throw new S3mpError('certificate.refused', `${pki.folder} holds no certificate of this head end`);
    this.agreement = agreement;
    this.#key = readKeyPair(pki.file(AGREEMENT_KEY));
    this.delivery = deliveryOf(read);
    this.#trust.pin(read.root);
    const time = now();
    for (const authority of read.authorities) this.#trust.add(authority, time);
    for (const list of read.lists) this.#trust.takeList(list);
  }

  /** @throws S3mpError `certificate.refused` when the meter is not believed now */
  check({ id, certificates }: EnrolledMeter): void {
    const fault = this.#trust.judge(certificates[1]!, 'meter', KeyUsage.keyAgreement, now());
    if (fault) throw new S3mpError('certificate.refused', `${id}: its certificate is not believed: ${fault}`, { id });
  }

  /** Security of the association with a meter. @param title  of this start @throws S3mpError `certificate.refused` */
  security(meter: EnrolledMeter, title: Uint8Array): ClientSecurityOptions {
    const certificate = meter.certificates[1]!;
    const agreement = this.#key.agree(certificate.publicKey);
    const keys = certificateKeys(nodeCrypto, agreement, this.agreement, certificate, title);
    if (!keys)
      throw new S3mpError('certificate.refused', `${meter.id}: its certificate gives no keys`, { id: meter.id });
    return { crypto: nodeCrypto, mechanism: Mechanism.gmac, title, ...keys, counter: new MemoryCounter() };
  }
}

function now(): TrustTime {
  return { nowS: Math.floor(Date.now() / 1000), isLowerBound: false };
}

/** What a connection of an enrolled meter needs. */
export interface CertifiedOptions {
  readonly security: ClientSecurityOptions;
  readonly guard: () => void;
  readonly update: () => ((client: DlmsClient) => Exchange<void>) | undefined;
}

export interface CertifiedMeter {
  readonly meter: EnrolledMeter;
  readonly options: CertifiedOptions;
}

export class CertifiedMeters {
  readonly #pki: UtilityPki;
  readonly #inventory: Inventory;
  readonly #title: () => Uint8Array;
  readonly #log: Log;
  #identity: HeadEndIdentity | undefined;
  /** Counts readings of the folders: what was changed is told to each meter once. */
  #version = 0;

  /** @param title  of this start, taken when the first meter needs it */
  constructor(pki: UtilityPki, inventory: Inventory, title: () => Uint8Array, log: Log) {
    this.#pki = pki;
    this.#inventory = inventory;
    this.#title = title;
    this.#log = log;
  }

  /** The certificate that meters know this head end by, where it has met any. */
  get certificate(): Certificate | undefined {
    return this.#identity?.agreement;
  }

  /** Reads the folders. A file that is broken leaves out its meter, and the log says why. @throws ConfigError */
  load(): CertifiedMeter[] {
    const meters = this.#inventory.list();
    if (meters.length === 0 || !existsSync(this.#pki.file(AGREEMENT_KEY))) return [];
    this.#identity = new HeadEndIdentity(this.#pki);
    this.#version++;
    return meters.flatMap((meter) => {
      try {
        return [{ meter, options: this.#optionsOf(meter) }];
      } catch (error) {
        if (!(error instanceof S3mpError)) throw error;
        this.#log.warn('a meter is left out', { meter: meter.id, error: error.message });
        return [];
      }
    });
  }

  #optionsOf(meter: EnrolledMeter): CertifiedOptions {
    let told = 0;
    return {
      security: this.#identity!.security(meter, this.#title()),
      guard: () => this.#identity!.check(meter),
      update: () => {
        const version = this.#version;
        if (told === version) return undefined;
        return (client) =>
          this.#update(client, meter.id, () => {
            told = version;
          });
      },
    };
  }

  /** @param done  told unless the meter could not be reached: what it refuses once it would refuse again */
  *#update(client: DlmsClient, id: string, done: () => void): Exchange<void> {
    try {
      const brought = yield* updateMeter(client, this.#identity!.delivery);
      if (brought > 0) this.#log.info('certificates and revocation lists brought', { meter: id, brought });
    } finally {
      done();
    }
  }
}
