/** What a card is made of in the tests of flash: an archive of Node.js, the AS's topology, keys, a mounted boot partition. */

import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { CMDLINE, CONFIG, type flash, makeNodeArchive } from './card-image.ts';

export const TOPOLOGY = JSON.stringify({ isd_as: '1-ff00:0:111', mtu: 1472, attributes: [], border_routers: {} });
export const KEYS_TOML = `unicast = "${'11'.repeat(16)}"\nauthentication = "${'22'.repeat(16)}"\n`;

/** @param folder  where they are put */
export function cardParts(folder: string) {
  const archive = makeNodeArchive(folder);
  const topology = join(folder, 'topology.json');
  const keys = join(folder, 'keys');
  writeFileSync(topology, TOPOLOGY);
  mkdirSync(keys);
  writeFileSync(join(keys, 'dlms.toml'), KEYS_TOML, { mode: 0o600 });
  return {
    archive,
    topology,
    keys,
    /** Flags of a meter. */
    meter: ['--node', archive, '--serial', '4711', '--address', '10.0.0.5', '--topology', topology],
    /** A folder like a mounted boot partition. */
    bootFolder(files: Readonly<Record<string, string>> = {}): string {
      const dir = mkdtempSync(join(folder, 'boot-'));
      for (const [name, content] of Object.entries({ 'config.txt': CONFIG, 'cmdline.txt': CMDLINE, ...files }))
        writeFileSync(join(dir, name), content);
      return dir;
    },
  };
}

export function refused(result: ReturnType<typeof flash>, code: string, words: RegExp): void {
  assert.is(result.status, 2, result.stderr);
  assert.match(result.stderr, `(${code})`);
  assert.match(result.stderr, words);
}
