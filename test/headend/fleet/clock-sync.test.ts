/** Setting the clock of a scripted meter. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { S3mpError } from '#base/errors';
import type { CommandRequest } from '../../../headend/fleet/commands.ts';
import { Fleet } from '../../../headend/fleet/fleet.ts';
import type { CommandBody } from '../../../headend/http/wire.ts';
import { openSqliteStore } from '../../../headend/store/sqlite.ts';
import type { Store } from '../../../headend/store/store.ts';
import { ManualClock } from '../manual-clock.ts';
import { ScriptedMeter } from '../scripted-meter.ts';

const Sync = suite('clock sync');
const DAY_MS = 86_400_000;

interface Rig {
  readonly clock: ManualClock;
  readonly meter: ScriptedMeter;
  readonly store: Store;
  readonly fleet: Fleet;
}

async function rig(isSet: boolean, offsetMs: number): Promise<Rig> {
  const clock = new ManualClock();
  const meter = new ScriptedMeter();
  meter.now = clock.wall;
  meter.wait = clock.wait;
  meter.clock = { isSet, offsetMs };
  const store = openSqliteStore({ file: ':memory:' });
  const meters = [{ config: { id: 'm1', address: '1-ff00:0:111,127.0.0.1' }, connection: meter }];
  const fleet = new Fleet({ meters, store, clock, random: () => 0.5, idleIntervalMs: 5_000 });
  await fleet.start();
  await clock.advance(100);
  return { clock, meter, store, fleet };
}

let keys = 0;
async function order({ fleet, clock }: Rig, more: Partial<CommandRequest> = {}): Promise<CommandBody> {
  keys++;
  const { command } = await fleet.submit({
    meter: 'm1',
    type: 'sync-clock',
    reason: null,
    text: null,
    actor: 'local',
    idempotencyKey: `key-${keys}`,
    bodyHash: `hash-${keys}`,
    expiresAt: clock.wall() + 60_000,
    ...more,
  });
  await clock.advance(10_000);
  return fleet.command(command.id);
}

const kinds = async ({ store }: Rig) => (await store.events({ limit: 100 })).map(({ kind }) => kind);

Sync('a clock that is not set is a state with an event, until it is set; the offsets are on record', async () => {
  const r = await rig(false, -3_600_000);
  const { clock } = await r.fleet.meter('m1');
  assert.equal([clock?.isSet, clock?.offsetMs], [false, -3_600_000]);
  assert.is((await kinds(r)).filter((kind) => kind === 'clock.not-set').length, 1);
  assert.match(r.fleet.metrics.text(), /^s3mp_meters_clock_not_set 1$/m);
  const done = await order(r);
  assert.is(done.state, 'verified');
  assert.equal([done.evidence?.clockBefore?.offsetMs, done.evidence?.clock?.offsetMs], [-3_600_000, 0]);
  assert.is((await r.fleet.meter('m1')).clock?.isSet, true);
  assert.is((await kinds(r)).at(-1), 'command.verified');
  assert.ok((await kinds(r)).includes('clock.set'));
  const last = JSON.parse((await r.store.audit(1, 100)).at(-1)!.line);
  assert.equal(
    [last.detail.beforeIsSet, last.detail.beforeOffsetMs, last.detail.afterIsSet, last.detail.afterOffsetMs],
    [false, -3_600_000, true, 0],
  );
});

Sync('a reading without a time makes the head end look at the clock at once', async () => {
  const r = await rig(true, 0);
  await r.clock.advance(1_000);
  r.meter.clock = { isSet: false, offsetMs: -50 };
  await r.clock.advance(5_500);
  assert.is((await r.fleet.meter('m1')).clock?.isSet, false);
});

Sync('more than a day needs the word of a person; what the meter refuses is told', async () => {
  for (const offsetMs of [-DAY_MS - 1_000, 2 * DAY_MS]) {
    const r = await rig(false, offsetMs);
    const refused = await order(r);
    assert.equal([refused.state, refused.error?.code], ['failed', 'clock.refused']);
    assert.match(refused.error?.detail ?? '', /--jump/);
    assert.is(r.meter.clockSets, 0);
    assert.is((await order(r, { jump: true })).state, 'verified');
  }
  const r = await rig(true, 7_200_000);
  r.meter.refusal = new S3mpError('dlms.refused', 'class 8: other reason');
  const refused = await order(r);
  assert.is(refused.error?.code, 'clock.refused');
  assert.match(refused.error?.detail ?? '', /so far back: its clock is 2\.0 h ahead/);
});

Sync('an answer that is lost is read back; a time that was held up on its way is a failure', async () => {
  const r = await rig(false, -100);
  r.meter.loseAnswer = true;
  assert.is((await order(r)).state, 'verified');
  assert.is(r.meter.clockSets, 1);
  r.meter.clockDelayMs = 4_000;
  const late = await order(r);
  assert.is(late.error?.code, 'clock.refused');
  assert.match(late.error?.detail ?? '', /4\.000 s behind/);
});

Sync('commands that a meter without the time refuses say what to do, an image is not even sent', async () => {
  const r = await rig(false, -100);
  r.meter.refusal = new S3mpError('dlms.access-denied', 'class 70: scope of access violated');
  const refused = await order(r, { type: 'disconnect', reason: 'test' });
  assert.equal([refused.state, refused.error?.code], ['failed', 'clock.not-set']);
  assert.match(refused.error?.detail ?? '', /headend\.js sync-clock m1/);
  const content = new Uint8Array(100);
  const image = { model: 's3mp-meter', version: '0.2.0', bytes: 100, sha256: 'a'.repeat(64), content };
  const update = await order(r, { type: 'firmware', image });
  assert.is(update.error?.code, 'clock.not-set');
  assert.is(r.meter.blocksSent, 0);
  r.meter.clock = { isSet: true, offsetMs: 0 };
  const unsigned = await order(r, { type: 'disconnect', reason: 'test' });
  assert.is(unsigned.error?.code, 'dlms.access-denied');
  assert.match(unsigned.error?.detail ?? '', /command_key_file/);
});

Sync('a clock that goes wrong is told once', async () => {
  const r = await rig(true, 0);
  r.meter.clock = { isSet: true, offsetMs: 6_000 };
  await r.clock.advance(60_000);
  assert.is((await kinds(r)).filter((kind) => kind === 'clock.offset').length, 1);
});

Sync.run();
