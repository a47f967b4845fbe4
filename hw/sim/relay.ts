/**
 * Twin of the relay: a folder with a file `value`, like a sysfs GPIO line: "1" is connected, "0" is disconnected. The
 * file outlives the process, as a contact does, and the household's load model obeys it. A file `stuck` beside it is a
 * contact that does not follow.
 */

import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf, S3mpError } from '#base/errors';
import { makeFolder } from '#hw/medium';
import type { Relay } from '#hw/relay';

export function openSimRelay(folder: string): Relay {
  const file = relayValueFile(folder);
  const attempt = (operation: () => void) => {
    try {
      operation();
    } catch (error) {
      throw new S3mpError('relay.failed', `relay twin ${file}: ${messageOf(error)}`, { file }, error);
    }
  };
  const set = (connected: boolean) =>
    attempt(() => {
      if (existsSync(join(folder, 'stuck'))) return;
      writeFileSync(`${file}.new`, connected ? '1\n' : '0\n');
      renameSync(`${file}.new`, file);
    });
  attempt(() => makeFolder(folder));
  if (readRelayValue(folder) === undefined) set(true);
  return { kind: 'sim', set, isConnected: () => readRelayValue(folder) !== false, close: () => {} };
}

export function relayValueFile(folder: string): string {
  return join(folder, 'value');
}

/** State of the contact; undefined when there is no twin in `folder` yet. */
export function readRelayValue(folder: string): boolean | undefined {
  try {
    return readFileSync(relayValueFile(folder), 'latin1').startsWith('1');
  } catch {
    return undefined;
  }
}
