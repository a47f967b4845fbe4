/**
 * The files that a device's configuration names: all of them must come onto the card or be there, and those that come are
 * read here by what reads them on the device, so that a card that was made is one that starts.
 */

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ConfigError, invalidConfig, invalidFile, messageOf, S3mpError } from '#base/errors';
import { readAsDirectory } from '#hw/as-directory';
import { readCommandVerifier, readKeyFile } from '#hw/dlms-keys';
import { readHostTopologyFile, readSecretFile, readTopologyFile } from '#hw/files';
import { readPemFile } from '#hw/pki-files';
import type { Item } from './contents.ts';
import type { ResolvedConfig } from './device-config.ts';
import type { Device } from './units.ts';

/** Where flash puts files that a configuration may name. */
const PLACES = ['/etc/s3mp/', '/etc/scion/'];

interface NamedFile {
  readonly key: string;
  /** What there must be, where the value is a folder. */
  readonly inside?: string;
  /** Reads it as the device does. @param at  place of the file that another key names; null when it is on the card only */
  read(file: string, at: (key: string) => string | null | undefined): unknown;
}

type Placed = NamedFile & { readonly path: string };

const NAMED: Readonly<Record<Device, readonly NamedFile[]>> = {
  firmware: [
    { key: 'scion.topology', read: readHostTopologyFile },
    { key: 'dlms.key_file', read: readKeyFile },
    {
      key: 'dlms.command_key_file',
      read: (file, at) => {
        const root = at('dlms.root_file');
        return root === null ? readCertificates(file) : readCommandVerifier(file, root);
      },
    },
    { key: 'dlms.root_file', read: readCertificates },
    { key: 'dlms.password_file', read: readSecretFile },
    { key: 'image.release_key_file', read: (file) => readCommandVerifier(file) },
  ],
  gateway: [
    { key: 'as.directory', inside: 'topology.json', read: (file) => readAsDirectory(dirname(file)) },
    { key: 'scion.topology', read: readTopologyFile },
  ],
};

/** @throws ConfigError `config.invalid` without any */
function readCertificates(file: string): void {
  if (readPemFile(file).certificates.length === 0) throw invalidFile(file, 'expected a certificate (PEM)');
}

export interface WantedFiles {
  readonly device: Device;
  readonly config: ResolvedConfig;
  readonly items: readonly Item[];
  /** Which of these paths the card has already. */
  readonly isThere: (paths: readonly string[]) => readonly string[];
  /** Where the files of a place of the card come from, for messages. */
  readonly sources: readonly (readonly [place: string, source: string | undefined])[];
}

/**
 * Checks the files that a configuration names.
 * @returns notes on files that are not flash's matter and must be on the card
 * @throws ConfigError `config.invalid` for a file that the device could not use, and naming all that the card does not get
 */
export function checkNamedFiles({ device, config, items, isThere, sources }: WantedFiles): string[] {
  const wanted = NAMED[device].flatMap((named) => {
    const value = config.get(named.key)?.value;
    if (typeof value !== 'string' || value === '') return [];
    return [{ ...named, path: named.inside === undefined ? value : join(value, named.inside) }];
  });
  const given = new Set(items.map(({ path }) => path));
  const left = wanted.filter(({ path }) => !given.has(path));
  const there = new Set(isThere(left.map(({ path }) => path)));
  const missing = left.filter(({ path }) => !there.has(path));
  const isOurs = ({ path }: { path: string }) => PLACES.some((place) => path.startsWith(place));
  const list = (files: typeof missing) => files.map(({ key, path }) => `${path} (${key})`).join(', ');
  if (missing.some(isOurs))
    throw invalidConfig(
      `the configuration names what the card does not get: ${list(missing.filter(isOurs))}; --topology FILE goes to /etc/s3mp/topology.json, the files of --keys DIR to /etc/s3mp/keys (release.pem to /etc/s3mp), --as DIR to /etc/scion`,
    );
  const comes = wanted.filter(({ path }) => given.has(path));
  if (comes.length > 0) readAll(comes, there, wanted, items, sources);
  const foreign = missing.filter((file) => !isOurs(file));
  return foreign.length === 0
    ? []
    : [`the configuration names files that must be on the card already: ${list(foreign)}`];
}

/** Lays the files out as on the card, for their owner only and for a moment, since the readers look at modes too. */
function readAll(
  files: readonly Placed[],
  there: ReadonlySet<string>,
  wanted: readonly Placed[],
  items: readonly Item[],
  sources: WantedFiles['sources'],
): void {
  const root = mkdtempSync(join(tmpdir(), 's3mp-card-'));
  const place = (path: string) => join(root, path);
  try {
    for (const item of items) {
      if (item.kind !== 'file' || !PLACES.some((folder) => item.path.startsWith(folder))) continue;
      mkdirSync(dirname(place(item.path)), { recursive: true });
      writeFileSync(place(item.path), item.bytes, { mode: item.mode });
    }
    const at = (key: string) => {
      const path = wanted.find((file) => file.key === key)?.path;
      return path === undefined
        ? undefined
        : existsSync(place(path))
          ? place(path)
          : there.has(path)
            ? null
            : undefined;
    };
    for (const { key, path, read } of files) {
      try {
        read(place(path), at);
      } catch (error) {
        if (!(error instanceof S3mpError)) throw error;
        const origin = sources.find(([folder, source]) => source !== undefined && path.startsWith(folder))?.[1];
        const from = origin === undefined ? '' : ` (from ${origin})`;
        const why = messageOf(error).replaceAll(root, '');
        throw new ConfigError('config.invalid', `${key}${from}: the device could not use it: ${why}`, { key });
      }
    }
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}
