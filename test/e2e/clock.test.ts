/**
 * A meter that has lost its time, as a flashed one has after a power failure: it measures on and refuses commands, the head
 * end says so, and `headend.js sync-clock` makes it obey again. All of it with the bundles that ship.
 */

import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#hw/log';
import { readRelayValue, relayValueFile } from '#hw/sim/relay';
import { GUARD_MS } from '#test/guard';
import { StateFiles } from '../../firmware/state-files.ts';
import { BUNDLES, OBIS, Platform, until } from './platform.ts';

interface MeterClock {
  readonly clock: { readonly isSet: boolean; readonly offsetMs: number; readonly roundTripMs: number } | null;
}

const Clock = suite('clock of a meter');
/** Where the boot id is in the record of the time (firmware/wall-clock.ts). */
const BOOT_AT = 13;

let platform: Platform;

function headend(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  const script = join(BUNDLES, 'headend.js');
  return new Promise((resolve) =>
    execFile(process.execPath, [script, ...args, '--url', platform.url], { timeout: GUARD_MS }, (error, out, err) =>
      resolve({ status: error === null ? 0 : Number(error.code), out, err }),
    ),
  );
}

const meter = () => platform.lab.meters[0]!;
const relay = () => readRelayValue(meter().relayFolder);
const moved = () => statSync(relayValueFile(meter().relayFolder)).mtimeMs;
const state = () => platform.get<MeterClock>(`meters/${platform.meterId}`);
const isAsWanted = (isSet: boolean) => async () => {
  await platform.read();
  const { clock } = await state();
  return clock?.isSet === isSet && clock;
};

async function events(kind: string): Promise<string[]> {
  const { events } = await platform.get<{ events: { message: string }[] }>(`events?kind=${kind}`);
  return events.map(({ message }) => message);
}

/** The clock behind by more than a day, as a bundle that was built long ago makes it, needs a person's word. */
async function sync(): Promise<{ status: number; out: string; err: string }> {
  const plain = await headend('sync-clock', platform.meterId, '--reason', 'power failure');
  if (plain.status === 0) return plain;
  assert.match(plain.err, /look|--jump/);
  return headend('sync-clock', platform.meterId, '--reason', 'power failure', '--jump');
}

/** Active energy, once the meter has read it anew. */
async function energy(): Promise<number> {
  return until('an energy', async () => {
    const { reading, status } = await platform.read();
    return status === 200 ? (Platform.value(reading, OBIS.activeEnergy).value ?? false) : false;
  });
}

/** Stops the meter as a power failure does: the next start has another boot id. */
async function failPower(): Promise<void> {
  const process = platform.lab.process('meter-1');
  await process.stop('SIGKILL');
  const files = new StateFiles(meter().stateFolder, createLog('test', { level: 'error', json: false }));
  const settings = files.settings();
  const record = settings.get('time')!.slice();
  record[BOOT_AT]! ^= 0xff;
  assert.ok(settings.set('time', record));
  files.close();
  await process.start();
}

Clock.before(async () => {
  platform = await Platform.start({ lines: 'none', meterArgs: ['--clock-source', 'bound'] });
  await until('the first reading', async () => (await platform.read()).status === 200);
});
Clock.after(() => platform?.stop());

Clock('a meter without the time says so, measures on and obeys nothing', async () => {
  await until('a clock that is not set', isAsWanted(false));
  const { reading, status } = await platform.read();
  assert.is(status, 200);
  assert.is(reading.values[0]?.measuredAt, null);
  const before = moved();
  const refused = await headend('disconnect', platform.meterId, '--reason', 'must not happen');
  assert.is(refused.status, 1, refused.err);
  assert.match(refused.err, /clock of \S+ is not set.*sync-clock S3M/);
  assert.match(refused.err, /clock\.not-set/);
  assert.is(relay(), true);
  assert.is(moved(), before);
  assert.match((await headend('meter', 'list')).out, /clock is not set.*sync-clock$/m);
  assert.match((await events('clock.not-set')).join('\n'), /obeys no command; set it: headend\.js sync-clock/);
});

Clock('sync-clock sets it by a signed command, says by how much, and commands are obeyed', async () => {
  const { status, out, err } = await sync();
  assert.is(status, 0, err);
  assert.match(out, /: not set, −[\d.]+ s ± \d+ ms before, [+−][\d.]+ s ± \d+ ms now$/m);
  const { clock } = await state();
  assert.ok(clock?.isSet && Math.abs(clock.offsetMs) < 1000, JSON.stringify(clock));
  assert.is((await headend('disconnect', platform.meterId, '--reason', 'test')).status, 0);
  assert.is(relay(), false);
  assert.is((await headend('connect', platform.meterId)).status, 0);
  assert.ok((await platform.read()).reading.values[0]?.measuredAt);
  const { lines } = await platform.get<{ lines: { line: string }[] }>('audit?limit=1000');
  const set = lines.map(({ line }) => line).filter((line) => line.includes('"type":"sync-clock"'));
  assert.match(set.at(-1)!, /command\.verified.*"beforeIsSet":false,"beforeOffsetMs":-\d+,"afterIsSet":true/);
  const log = await platform.get<{ events: { text: string }[] }>(`meters/${platform.meterId}/log`);
  const texts = log.events.map(({ text }) => text);
  assert.ok(texts.includes('clock adjusted old') && texts.includes('clock adjusted new'), texts.join());
});

Clock('a restart of the process keeps the time', async () => {
  const before = await energy();
  const process = platform.lab.process('meter-1');
  await process.stop('SIGKILL');
  await process.start();
  assert.ok((await energy()) >= before, 'the energy does not go down');
  await until('a reading with its time', async () => (await platform.read()).reading.values?.[0]?.measuredAt);
  assert.is((await state()).clock?.isSet, true);
  assert.is((await events('clock.not-set')).length, 1);
});

Clock('after a power failure the whole story again, for every meter that needs it', async () => {
  const before = await energy();
  await failPower();
  assert.ok((await energy()) >= before, 'the energy does not go down');
  await until('a clock that is not set', isAsWanted(false));
  assert.is((await headend('disconnect', platform.meterId, '--reason', 'too early')).status, 1);
  assert.is(relay(), true);
  const all = await headend('sync-clock', '--all');
  assert.is(all.status, 0, all.err);
  assert.match(all.out, new RegExp(`^${platform.meterId}: not set, `, 'm'));
  assert.is((await headend('disconnect', platform.meterId, '--reason', 'test')).status, 0);
  assert.is((await headend('connect', platform.meterId)).status, 0);
  assert.match((await headend('sync-clock', '--all')).out, /every meter that answers is set/);
  assert.is((await headend('sync-clock')).status, 2);
  assert.is((await events('clock.set')).length, 2);
});

Clock.run();
