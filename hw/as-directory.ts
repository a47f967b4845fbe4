/**
 * The directory of an AS as the official tools lay it out: `topology.json` and `keys/master0.key`.
 */

import { join } from 'node:path';
import { ConfigError } from '#base/errors';
import { readTextFile, readTopologyFile } from '#hw/files';
import { deriveHopKey } from '#scion/hop-mac';
import type { Topology } from '#scion/topology';

export interface AsDirectory {
  readonly folder: string;
  readonly topology: Topology;
  /** Key of the AS's hop fields, 16 bytes. */
  readonly hopKey: Uint8Array;
}

/**
 * Reads an AS directory.
 * @throws ConfigError `config.unreadable` for a missing file, `config.invalid` for a key that is not base64
 * @throws ScionError `scion.topology` naming the file, the key and what was expected
 */
export function readAsDirectory(folder: string): AsDirectory {
  return { folder, topology: readAsTopology(folder), hopKey: readHopKey(folder) };
}

/**
 * Reads the topology alone, for tools whose user may not read the keys.
 * @throws ConfigError `config.unreadable`, ScionError `scion.topology`
 */
export function readAsTopology(folder: string): Topology {
  return readTopologyFile(join(folder, 'topology.json'));
}

/** The master secret is base64 text, usually of 16 bytes; line breaks do not count. */
function readHopKey(folder: string): Uint8Array {
  const file = join(folder, 'keys', 'master0.key');
  const text = readTextFile(file).replace(/\s+/g, '');
  if (text.length < 8 || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) {
    throw new ConfigError('config.invalid', `${file}: expected a master key as base64 text`, { file });
  }
  return deriveHopKey(Buffer.from(text, 'base64'));
}
