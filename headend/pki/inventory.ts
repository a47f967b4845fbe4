/**
 * Enrolled meters in a folder, one JSON file each: nothing in it is secret. A running head end reads the folder when it starts
 * and when it is told to (`POST /api/v1/meters:reload`).
 */

import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, messageOf, S3mpError } from '#base/errors';
import type { Certificate } from '#base/x509';
import { readTextFile, writeFileAtomic } from '#hw/files';
import { parsePem, pemText } from '#hw/pki-files';
import { type ScionEndpoint as Endpoint, parseEndpoint } from '#scion/address';

export interface EnrolledMeter {
  readonly id: string;
  /** `[1-ff00:0:111,10.1.0.5]:4059` */
  readonly address: string;
  /** Signing and key agreement, in this order. */
  readonly certificates: readonly Certificate[];
  /** ISO 8601. */
  readonly enrolledAt: string;
  readonly revokedAt?: string | undefined;
}

const NAME = /^[A-Za-z0-9][\w.-]{0,63}$/;

export class Inventory {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  #file(id: string): string {
    if (!NAME.test(id))
      throw new ConfigError('usage.invalid', `${id}: a meter's name has letters, digits, and _ . - inside, at most 64`);
    return join(this.#folder, `${id}.json`);
  }

  has(id: string): boolean {
    return existsSync(this.#file(id));
  }

  /** @throws S3mpError `meter.unknown`; ConfigError for a file that is broken */
  read(id: string): EnrolledMeter {
    const file = this.#file(id);
    if (!existsSync(file)) throw new S3mpError('meter.unknown', `no meter ${id} was enrolled here`);
    try {
      const { address, certificates, enrolledAt, revokedAt } = JSON.parse(readTextFile(file)) as Record<string, string>;
      const parsed = parsePem(certificates!, file).certificates;
      if (parsed.length !== 2) throw new TypeError('two certificates are needed');
      parseEndpoint(address!);
      return { id, address: address!, certificates: parsed, enrolledAt: enrolledAt!, revokedAt };
    } catch (error) {
      throw new ConfigError('config.invalid', `${file}: ${messageOf(error)}`, { file }, error);
    }
  }

  /** Every meter, in the order of their names. */
  list(): EnrolledMeter[] {
    if (!existsSync(this.#folder)) return [];
    const files = readdirSync(this.#folder).filter((file) => file.endsWith('.json'));
    return files.sort().map((file) => this.read(file.slice(0, -'.json'.length)));
  }

  write({ id, certificates, ...facts }: EnrolledMeter): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const pem = certificates.map(({ der }) => pemText('CERTIFICATE', der)).join('');
    writeFileAtomic(this.#file(id), `${JSON.stringify({ ...facts, certificates: pem }, null, 1)}\n`, 0o600);
  }

  remove(id: string): void {
    rmSync(this.#file(id), { force: true });
  }
}

/** Where a meter answers: `1-ff00:0:111,10.1.0.5`, or with a port. @throws ScionError `scion.address` */
export function meterEndpoint(text: string, port: number): Endpoint {
  return parseEndpoint(/\]:\d+$/.test(text) ? text : `[${text}]:${port}`);
}
