/** A meter's own memory through the whole platform: event logs and profiles, read over SCION, kept over a restart. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Platform, until } from './platform.ts';

interface Log {
  readonly events: readonly { readonly at: string; readonly code: number; readonly text: string }[];
}

let platform: Platform;
const Memory = suite("a meter's memory");
Memory.before(async () => {
  platform = await Platform.start();
  await until('the first reading', async () => (await platform.read()).status === 200);
});
Memory.after(() => platform?.stop());

const log = (name: string) => platform.get<Log>(`meters/${platform.meterId}/log?log=${name}`);

Memory('tells of its start, of associations, and of a command with the time at which it was carried out', async () => {
  const texts = async (name: string) => (await log(name)).events.map(({ text }) => text);
  assert.equal(await texts('standard'), ['power up']);
  assert.ok((await texts('communication')).includes('association opened'));
  const before = Date.now();
  const body = { type: 'disconnect', reason: 'test of the event log' };
  const { id } = (await (
    await platform.request('POST', `meters/${platform.meterId}/commands`, body, { 'idempotency-key': 'log-1' })
  ).json()) as { id: string };
  const state = async () => (await platform.get<{ state: string }>(`commands/${id}`)).state;
  await until('the command is verified', async () => (await state()) === 'verified');
  const { events } = await log('disconnector');
  assert.equal(
    events.map(({ text }) => text),
    ['remote disconnect'],
  );
  const at = Date.parse(events[0]!.at);
  // Events are recorded in seconds.
  assert.ok(at >= before - 1000 && at <= Date.now(), events[0]!.at);
});

Memory('gives its load profile, as JSON and as CSV', async () => {
  const profile = await platform.get<{ periodS: number; columns: { obis: string; unit: string }[] }>(
    `meters/${platform.meterId}/profile`,
  );
  assert.is(profile.periodS, 900);
  assert.equal(
    profile.columns.map(({ obis, unit }) => [obis, unit]),
    [
      ['1-0:1.8.0.255', 'Wh'],
      ['1-0:3.8.0.255', 'varh'],
    ],
  );
  const path = `meters/${platform.meterId}/profile?profile=quality`;
  const csv = await platform.request('GET', path, undefined, { accept: 'text/csv' });
  assert.match(await csv.text(), /^time,quality,1-0:32\.7\.0\.255 \[V\],/);
});

Memory('remembers over a restart', async () => {
  const meter = platform.lab.process('meter-1');
  await meter.stop('SIGKILL');
  await meter.start();
  await until('it answers again', async () => (await platform.read()).status === 200);
  const { events } = await log('standard');
  assert.equal(
    events.map(({ text }) => text),
    ['power up', 'power up'],
  );
  assert.equal(
    (await log('disconnector')).events.map(({ text }) => text),
    ['remote disconnect'],
  );
});

Memory.run();
