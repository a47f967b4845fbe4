/**
 * `firmware.js dump`: what the state folder holds, read only, also while the meter runs or from a card in another computer.
 * Each log says in its own header what its rows are, so logs of other versions are printed too. Secrets are not here.
 */

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readU32, readU48 } from '#base/bytes';
import { ConfigError, messageOf } from '#base/errors';
import { utcText } from '#base/time-text';
import { decodeData } from '#dlms/axdr';
import { ByteReader } from '#dlms/reader';
import { eventText } from '#dlms/well-known';
import type { Verb } from '#hw/cli';
import { openLogFile } from '#hw/durable-log';
import { fileMedium } from '#hw/medium';
import { stateFolder } from './parts.ts';
import { readState } from './state-files.ts';

/** Seconds, deviation and clock status in front of a row's values. */
const VALUES_AT = 7;
const SUFFIX = '.log';
/** Exit status when a file could not be read. */
const PARTIAL = 5;

function instant(text: string | boolean | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const ms = Date.parse(String(text));
  if (Number.isNaN(ms)) throw new ConfigError('usage.invalid', `${text} is no time; write 2026-11-25T06:00Z`);
  return ms / 1000;
}

export const dumpVerb: Verb = {
  summary: 'print the state folder: clock, contact, message, profiles, event logs',
  flags: {
    log: { type: 'string', value: 'NAME', help: 'only logs with this in their name' },
    from: { type: 'string', value: 'TIME', help: 'only rows from this time on' },
    to: { type: 'string', value: 'TIME', help: 'only rows up to this time' },
  },
  async run({ config, flags, json, log, out }) {
    const folder = stateFolder(config);
    // The dot makes a file no folder.
    if (!existsSync(`${folder}/.`)) throw new ConfigError('config.unreadable', `there is no state folder ${folder}`);
    const from = instant(flags.from, 0);
    const to = instant(flags.to, Number.POSITIVE_INFINITY);
    let status = 0;
    const skip = (file: string, error: unknown) => {
      log.warn(`${file} is not printed, or not to its end`, { error: messageOf(error) });
      status = PARTIAL;
    };
    let state: ReadonlyMap<string, Uint8Array> = new Map();
    try {
      state = readState(join(folder, 'state'));
    } catch (error) {
      skip('state', error);
    }
    const time = state.get('time');
    const facts = {
      trustedTime: time ? utcText(readU48(time, 0)) : null,
      controlState: state.get('0-0:96.3.10.255/3')?.[1] ?? null,
      message: Buffer.from(state.get('message') ?? []).toString(),
    };
    out(
      json
        ? JSON.stringify(facts)
        : Object.entries(facts)
            .map(([key, value]) => `${key} ${value}`)
            .join('\n'),
    );
    for (const file of readdirSync(folder).sort()) {
      const name = file.slice(0, -SUFFIX.length);
      if (!file.endsWith(SUFFIX) || !name.includes(String(flags.log ?? ''))) continue;
      try {
        dumpLog(name, join(folder, file), from, to, json, out);
      } catch (error) {
        skip(file, error);
      }
    }
    return status;
  },
};

/** @throws whatever is wrong with the file */
function dumpLog(
  name: string,
  path: string,
  from: number,
  to: number,
  json: boolean,
  out: (text: string) => void,
): void {
  const log = openLogFile(path, fileMedium);
  if (!log) throw new Error('it is no log of a meter');
  const columns = log.layout.split(' ');
  if (!json) out(`\n${name}: ${log.next - log.first} rows of time ${log.layout}`);
  try {
    for (let row = log.first; row < log.next; row++) {
      const bytes = log.read(row);
      const seconds = bytes ? readU32(bytes, 0) : 0;
      if (!bytes || seconds < from || seconds > to) continue;
      const at = utcText(seconds * 1000);
      const reader = new ByteReader(bytes.subarray(VALUES_AT));
      const values = columns.map(() => {
        const data = decodeData(reader);
        return 'value' in data ? data.value : null;
      });
      if (json) out(JSON.stringify({ log: name, row, at, clockStatus: bytes[6], values }));
      else out(`${at} ${bytes[6]} ${name.startsWith('log-') ? eventText(Number(values[0])) : values.join(' ')}`);
    }
  } finally {
    log.close();
  }
}
