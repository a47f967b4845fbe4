/** Files that every device reads: the AS's topology, and secrets that nobody else may read. */

import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { ConfigError, invalidFile, messageOf, ScionError } from '#base/errors';
import { renameDurably } from '#hw/medium';
import { type FileTopology, parseHostTopology } from '#scion/host-topology';
import { parseTopology, type Topology } from '#scion/topology';

/** @throws ConfigError `config.unreadable` */
export function readTextFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError('config.unreadable', `cannot read ${file}: ${messageOf(error)}`, { file }, error);
  }
}

/** Reads an official topology.json. @throws ConfigError `config.unreadable`; ScionError `scion.topology` naming the file */
export function readTopologyFile(file: string): Topology {
  return parsedFile(file, parseTopology);
}

/** Reads what a host needs of an official topology.json. @throws as `readTopologyFile` */
export function readHostTopologyFile(file: string): FileTopology {
  return parsedFile(file, parseHostTopology);
}

function parsedFile<T>(file: string, parse: (json: unknown) => T): T {
  const text = readTextFile(file);
  try {
    return parse(JSON.parse(text));
  } catch (error) {
    throw new ScionError('scion.topology', `${file}: ${messageOf(error)}`, { file }, error);
  }
}

/**
 * Reads a secret without its trailing line break. The text of the secret is in no error.
 * @throws ConfigError `config.unreadable`, or `config.invalid` when it is empty or others may read the file
 */
export function readSecretFile(file: string): Uint8Array {
  const text = readTextFile(file).replace(/\r?\n$/, '');
  if ((statSync(file).mode & 0o077) !== 0) {
    throw invalidFile(file, `others may read this secret; run chmod 600 ${file}`);
  }
  if (text === '') throw invalidFile(file, 'the secret is empty');
  return Uint8Array.from(Buffer.from(text, 'utf8'));
}

/** Reads a random token, made at the first call. @throws ConfigError as `readSecretFile` */
export function readOrMakeToken(file: string): string {
  if (!existsSync(file)) writeFileAtomic(file, `s3mp_${randomBytes(32).toString('base64url')}\n`, 0o600);
  return Buffer.from(readSecretFile(file)).toString('utf8');
}

/**
 * Replaces a file so that a power cut leaves either the old or the new one, and behind the return the new one. What an
 * earlier attempt left behind is removed: neither its mode nor a link in its place is taken over.
 * @throws ConfigError `config.unreadable`
 */
export function writeFileAtomic(file: string, text: string, mode = 0o644): void {
  try {
    rmSync(`${file}.new`, { force: true });
    const descriptor = openSync(`${file}.new`, 'wx', mode);
    try {
      writeFileSync(descriptor, text);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameDurably(`${file}.new`, file);
  } catch (error) {
    throw new ConfigError('config.unreadable', `cannot write ${file}: ${messageOf(error)}`, { file }, error);
  }
}
