import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { S3mpError } from '#base/errors';
import { seededRandom } from '#hw/random';
import type { CommandRequest } from '../../../headend/fleet/commands.ts';
import type { FeedItem } from '../../../headend/fleet/feed.ts';
import { Fleet, type FleetOptions } from '../../../headend/fleet/fleet.ts';
import { Lane } from '../../../headend/fleet/lane.ts';
import type { CommandState } from '../../../headend/http/wire.ts';
import { firstBreach } from '../../../headend/store/audit-chain.ts';
import { openSqliteStore } from '../../../headend/store/sqlite.ts';
import type { Store } from '../../../headend/store/store.ts';
import { ManualClock } from '../manual-clock.ts';
import { PATH_B, ScriptedMeter } from '../scripted-meter.ts';

interface Rig {
  clock: ManualClock;
  meter: ScriptedMeter;
  store: Store;
  fleet: Fleet;
  items: FeedItem[];
}

async function rig(options: Partial<FleetOptions> = {}, store = openSqliteStore({ file: ':memory:' })): Promise<Rig> {
  const clock = new ManualClock();
  const meter = new ScriptedMeter();
  meter.now = clock.wall;
  meter.wait = clock.wait;
  const meters = [{ config: { id: 'm1', address: '1-ff00:0:111,127.0.0.1' }, connection: meter }];
  const fleet = new Fleet({ meters, store, clock, random: seededRandom(7), idleIntervalMs: 0, ...options });
  const items: FeedItem[] = [];
  fleet.feed.subscribe((item) => void items.push(item));
  await fleet.start();
  return { clock, meter, store, fleet, items };
}

let keys = 0;
function request(rig: Rig, type: CommandRequest['type'], more: Partial<CommandRequest> = {}): CommandRequest {
  keys++;
  return {
    meter: 'm1',
    type,
    reason: 'test',
    text: type === 'message' ? 'hello' : null,
    actor: 'local',
    idempotencyKey: `key-${keys}`,
    bodyHash: `hash-${keys}`,
    expiresAt: rig.clock.wall() + 60_000,
    ...more,
  };
}

/** The stages that a command goes through until the clock stops. */
async function stagesOf(rig: Rig, type: CommandRequest['type'], ms: number): Promise<CommandState[]> {
  const { command } = await rig.fleet.submit(request(rig, type));
  await rig.clock.advance(ms);
  return (await rig.fleet.command(command.id)).stages.map((stage) => stage.state);
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'no error';
  } catch (error) {
    return (error as S3mpError).code;
  }
}

const Orders = suite('orders');

Orders('an order whose audit cannot be written is refused, and the next start does not take it up', async () => {
  const store = openSqliteStore({ file: ':memory:' });
  const r = await rig({}, store);
  const { appendAudit } = store;
  store.appendAudit = () => Promise.reject(new S3mpError('internal', 'disk full'));
  assert.is(await codeOf(r.fleet.submit(request(r, 'disconnect'))), 'internal');
  store.appendAudit = appendAudit;
  assert.equal(await store.openCommands(), []);
});

Orders.run();

const Lanes = suite('lane');

Lanes('the most urgent waiting operation is next, equals in order of arrival', async () => {
  const clock = new ManualClock();
  const lane = new Lane(clock, 'm1');
  const order: string[] = [];
  const job = (name: string) => async () => {
    order.push(name);
    await clock.wait(10);
  };
  void lane.run('background', 1000, job('first'));
  void lane.run('live', 1000, job('live'));
  void lane.run('on-demand', 1000, job('read 1'));
  void lane.run('on-demand', 1000, job('read 2'));
  void lane.run('command', 1000, job('command'));
  await clock.advance(100);
  assert.equal(order, ['first', 'command', 'read 1', 'read 2', 'live']);
});

Lanes('who waits beyond the deadline is told busy and never runs', async () => {
  const clock = new ManualClock();
  const lane = new Lane(clock, 'm1');
  void lane.run('live', 1000, () => clock.wait(500));
  let ran = false;
  const late = codeOf(
    lane.run('live', 100, async () => {
      ran = true;
    }),
  );
  await clock.advance(600);
  assert.is(await late, 'meter.busy');
  assert.not.ok(ran);
});

Lanes('an operation that overruns is reported, and the next one still waits for its end', async () => {
  const clock = new ManualClock();
  const lane = new Lane(clock, 'm1');
  const stuck = codeOf(lane.run('live', 100, () => clock.wait(5000)));
  let started = false;
  void lane.run('command', 60_000, async () => {
    started = true;
  });
  await clock.advance(1000);
  assert.is(await stuck, 'meter.unreachable');
  assert.not.ok(started);
  await clock.advance(5000);
  assert.ok(started);
});

Lanes('a full lane refuses', async () => {
  const clock = new ManualClock();
  const lane = new Lane(clock, 'm1', 2);
  for (let i = 0; i < 3; i++) void lane.run('live', 1000, () => clock.wait(10));
  assert.is(await codeOf(lane.run('command', 1000, () => clock.wait(10))), 'meter.busy');
  await clock.advance(1000);
});

Lanes.run();

const Readings = suite('fleet readings');

Readings('ten viewers of a meter cause one reading a second, and none when they are gone', async () => {
  const { clock, meter, fleet } = await rig();
  for (let i = 0; i < 10; i++) fleet.leases.streamOpened(`s${i}`);
  for (let i = 0; i < 10; i++) fleet.subscribe({ meter: 'm1', intervalMs: 1000, stream: `s${i}` });
  await clock.advance(60_000);
  assert.ok(Math.abs(meter.reads - 61) <= 1, `${meter.reads} reads in 60 s`);
  const { live } = await fleet.meter('m1');
  assert.is(live!.viewers, 10);
  assert.ok(Math.abs(live!.achievedPerSecond - 1) < 0.11);
  for (let i = 0; i < 9; i++) fleet.leases.streamClosed(`s${i}`);
  await clock.advance(10_000);
  assert.is((await fleet.meter('m1')).live!.viewers, 1);
  fleet.leases.streamClosed('s9');
  await clock.advance(6_000);
  const before = meter.reads;
  await clock.advance(60_000);
  assert.is(meter.reads, before);
  assert.is((await fleet.meter('m1')).live, null);
});

Readings('the shortest interval of all leases counts; a lease that nobody renews ends', async () => {
  const { clock, meter, fleet } = await rig();
  const slow = fleet.subscribe({ meter: 'm1', intervalMs: 2000 });
  fleet.subscribe({ meter: 'm1', intervalMs: 500 });
  await clock.advance(10_000);
  assert.ok(Math.abs(meter.reads - 21) <= 1, `${meter.reads}`);
  fleet.subscribe({ meter: 'm1', intervalMs: 2000, lease: slow.id });
  await clock.advance(7_000);
  const { live } = await fleet.meter('m1');
  assert.is(live!.viewers, 1);
  assert.is(live!.intervalMs, 2000);
  assert.ok(fleet.leases.end('m1', slow.id));
  assert.not.ok(fleet.leases.end('m1', slow.id));
});

Readings('a slow meter is never asked twice at once', async () => {
  const { clock, meter, fleet } = await rig();
  meter.delayMs = 1700;
  fleet.subscribe({ meter: 'm1', intervalMs: 1000 });
  void fleet.read('m1').catch(() => {});
  void fleet.submit(request({ clock } as Rig, 'disconnect'));
  await clock.advance(14_000);
  assert.is(meter.mostAtOnce, 1);
  assert.ok(meter.reads > 4);
  assert.not.ok(meter.relay);
});

Readings('values age to stale and then to missing, and never become 0', async () => {
  const { clock, fleet } = await rig();
  await fleet.read('m1');
  const power = async () => (await fleet.meter('m1')).values[0]!;
  assert.is((await power()).quality, 'good');
  await clock.advance(9_000);
  assert.is((await power()).quality, 'good');
  assert.is((await power()).ageMs, 9_000);
  await clock.advance(2_000);
  assert.is((await power()).quality, 'stale');
  assert.is((await power()).value, 412);
  assert.is((await fleet.meter('m1')).state, 'stale');
  await clock.advance(900_000);
  assert.is((await power()).quality, 'missing');
  assert.is((await power()).value, null);
});

Readings('states go late, stale, offline; attempts back off; the meter comes back at its pace', async () => {
  const { clock, meter, fleet, items } = await rig();
  fleet.leases.streamOpened('s');
  fleet.subscribe({ meter: 'm1', intervalMs: 1000, stream: 's' });
  await clock.advance(5_000);
  assert.is((await fleet.meter('m1')).state, 'online');
  meter.isReachable = false;
  meter.delayMs = 700;
  const seen = new Set<string>();
  for (let i = 0; i < 30; i++) {
    await clock.advance(500);
    seen.add((await fleet.meter('m1')).state);
  }
  assert.ok(seen.has('late') && seen.has('offline'), [...seen].join());
  const offline = await fleet.meter('m1');
  assert.is(offline.reason, 'meter.unreachable');
  assert.ok(offline.nextTryAt !== null || meter.mostAtOnce > 0);
  const attempts = () => fleet.metrics.text().match(/s3mp_reads_total\{result="meter.unreachable"\} (\d+)/)?.[1];
  const before = Number(attempts());
  await clock.advance(120_000);
  const tries = Number(attempts()) - before;
  assert.ok(tries >= 6 && tries <= 14, `${tries} tries in two minutes`);
  meter.isReachable = true;
  meter.delayMs = 5;
  await clock.advance(20_000);
  const reads = meter.reads;
  await clock.advance(10_000);
  assert.ok(Math.abs(meter.reads - reads - 10) <= 1, 'back at one a second');
  assert.is((await fleet.meter('m1')).state, 'online');
  const kinds = items.flatMap((item) => (item.topic === 'event' ? [item.data.kind] : []));
  assert.equal(
    kinds.filter((k) => k.startsWith('meter.')),
    ['meter.online', 'meter.offline', 'meter.online'],
  );
});

Readings('a successful reading on demand ends the back-off at once', async () => {
  const { clock, meter, fleet } = await rig();
  meter.isReachable = false;
  fleet.leases.streamOpened('s');
  fleet.subscribe({ meter: 'm1', intervalMs: 1000, stream: 's' });
  await clock.advance(60_000);
  meter.isReachable = true;
  await fleet.read('m1');
  const reads = meter.reads;
  await clock.advance(3_100);
  assert.ok(meter.reads - reads >= 3, `${meter.reads - reads}`);
});

Readings('a change of the path and of the output without a command are events', async () => {
  const { clock, meter, fleet, items } = await rig();
  fleet.leases.streamOpened('s');
  fleet.subscribe({ meter: 'm1', intervalMs: 1000, stream: 's' });
  await clock.advance(3_000);
  meter.path = PATH_B;
  meter.relay = false;
  await clock.advance(20_000);
  const kinds = items.flatMap((item) => (item.topic === 'event' ? [item.data.kind] : []));
  assert.ok(kinds.includes('path.changed'));
  assert.ok(kinds.includes('output.changed'));
  assert.is((await fleet.meter('m1')).path!.fingerprint, PATH_B.fingerprint);
});

Readings('last values of a stopped head end are shown as old, not as fresh', async () => {
  const store = openSqliteStore({ file: ':memory:' });
  const first = await rig({}, store);
  await first.fleet.read('m1');
  await first.fleet.stop();
  assert.ok(first.meter.isClosed);
  const second = await rig({}, store);
  await second.clock.advance(60_000);
  const meter = await second.fleet.meter('m1');
  const power = meter.values.find((value) => value.obis === '1-0:16.7.0.255')!;
  assert.is(power.value, 412);
  assert.is(power.quality, 'stale');
  assert.is(meter.state, 'unknown');
});

Readings('a meter that nobody watches is still looked at', async () => {
  const { clock, meter, fleet } = await rig({ idleIntervalMs: 30_000 });
  await clock.advance(120_500);
  assert.is(meter.reads, 5);
  assert.is((await fleet.meter('m1')).state, 'online');
  assert.is(await codeOf(fleet.meter('nobody')), 'meter.unknown');
});

Readings.run();

const Commands = suite('fleet commands');
const GOOD: CommandState[] = ['queued', 'sent', 'acknowledged', 'verified'];

Commands('a disconnect is verified by control state, output state and power', async () => {
  const r = await rig();
  assert.equal(await stagesOf(r, 'disconnect', 10_000), GOOD);
  const { lastCommand, control } = await r.fleet.meter('m1');
  assert.is(lastCommand!.evidence!.outputState, false);
  assert.is(lastCommand!.evidence!.controlState, 'disconnected');
  assert.is(lastCommand!.evidence!.powerAfterW, 0);
  assert.is(control!.outputState, false);
  assert.equal(await stagesOf(r, 'connect', 10_000), GOOD);
  assert.is((await r.fleet.meter('m1')).lastCommand!.evidence!.powerAfterW, 412);
  assert.is(r.meter.switches, 2);
});

Commands('a relay that does not follow is a failure with the evidence', async () => {
  const r = await rig();
  r.meter.isStuck = true;
  assert.equal(await stagesOf(r, 'disconnect', 10_000), ['queued', 'sent', 'acknowledged', 'failed']);
  const { lastCommand } = await r.fleet.meter('m1');
  assert.is(lastCommand!.evidence!.outputState, true);
  assert.match(lastCommand!.error!.detail, /reports connected, output closed/);
});

Commands('power that still flows behind an open relay is a failure', async () => {
  const r = await rig();
  r.meter.leakW = 380;
  assert.equal(await stagesOf(r, 'disconnect', 10_000), ['queued', 'sent', 'acknowledged', 'failed']);
  assert.match((await r.fleet.meter('m1')).lastCommand!.error!.detail, /380 W flow/);
});

Commands('a lost answer is unknown and resolved by reading back, never by sending again', async () => {
  const r = await rig();
  r.meter.loseAnswer = true;
  assert.equal(await stagesOf(r, 'disconnect', 20_000), ['queued', 'sent', 'unknown', 'verified']);
  assert.is(r.meter.switches, 1);
  r.meter.loseRequest = true;
  assert.equal(await stagesOf(r, 'connect', 20_000), ['queued', 'sent', 'unknown', 'failed']);
  assert.is(r.meter.switches, 2);
  assert.not.ok(r.meter.relay);
});

Commands('an unknown outcome waits until the meter is back', async () => {
  const r = await rig();
  r.meter.delayMs = 100;
  r.meter.loseAnswer = true;
  const { command } = await r.fleet.submit(request(r, 'disconnect'));
  await r.clock.advance(150);
  r.meter.isReachable = false;
  await r.clock.advance(300_000);
  assert.is((await r.fleet.command(command.id)).state, 'unknown');
  r.meter.isReachable = true;
  void r.fleet.read('m1');
  await r.clock.advance(5_000);
  assert.is((await r.fleet.command(command.id)).state, 'verified');
  assert.is(r.meter.switches, 1);
});

Commands('a refusal is a failure at once, with its code', async () => {
  const r = await rig();
  r.meter.refusal = new S3mpError('dlms.access-denied', 'not for this client');
  assert.equal(await stagesOf(r, 'disconnect', 1_000), ['queued', 'sent', 'failed']);
  assert.is((await r.fleet.meter('m1')).lastCommand!.error!.code, 'dlms.access-denied');
});

Commands('a command that does not get its turn in time expires unsent', async () => {
  const r = await rig();
  r.meter.delayMs = 4_000;
  void r.fleet.read('m1');
  const { command } = await r.fleet.submit(request(r, 'disconnect', { expiresAt: r.clock.wall() + 1_000 }));
  await r.clock.advance(20_000);
  const { state, stages } = await r.fleet.command(command.id);
  assert.is(state, 'expired');
  assert.equal(
    stages.map((s) => s.state),
    ['queued', 'expired'],
  );
  assert.is(r.meter.switches, 0);
});

Commands('commands of one meter run one after another in order', async () => {
  const r = await rig();
  r.meter.delayMs = 50;
  await r.fleet.submit(request(r, 'disconnect'));
  await r.fleet.submit(request(r, 'connect'));
  await r.fleet.submit(request(r, 'message'));
  await r.clock.advance(20_000);
  assert.ok(r.meter.relay);
  assert.is(r.meter.message, 'hello');
  const states = (await r.fleet.commandsOf('m1', 10)).map((c) => c.state);
  assert.equal(states, ['verified', 'verified', 'verified']);
});

Commands('a message is verified by reading it back', async () => {
  const r = await rig();
  assert.equal(await stagesOf(r, 'message', 2_000), GOOD);
  const { message, lastCommand } = await r.fleet.meter('m1');
  assert.is(message!.text, 'hello');
  assert.is(lastCommand!.evidence!.text, 'hello');
});

Commands('the same key gives the same command once; another body is a conflict', async () => {
  const r = await rig();
  const first = request(r, 'disconnect');
  const a = await r.fleet.submit(first);
  await r.clock.advance(10_000);
  const b = await r.fleet.submit(first);
  assert.ok(a.created && !b.created);
  assert.is(a.command.id, b.command.id);
  assert.is(b.command.state, 'verified');
  assert.is(r.meter.switches, 1);
  assert.is(await codeOf(r.fleet.submit({ ...first, bodyHash: 'other' })), 'command.conflict');
});

Commands('a head end that stopped after sending reads back, one that stopped before sends', async () => {
  const store = openSqliteStore({ file: ':memory:' });
  const first = await rig({}, store);
  const { record } = await store.createCommand({
    ...(
      await store.createCommand({
        ...request(first, 'disconnect'),
        id: 'cmd-sent',
        createdAt: first.clock.wall(),
        state: 'queued',
        stages: [],
        evidence: null,
        error: null,
      })
    ).record,
    id: 'cmd-queued',
    idempotencyKey: 'key-queued',
    type: 'message',
    text: 'after restart',
  });
  await store.updateCommand({ ...(await store.command('cmd-sent'))!, state: 'sent' });
  assert.is(record.state, 'queued');
  const second = await rig({}, store);
  second.meter.relay = false;
  await second.clock.advance(10_000);
  assert.is((await store.command('cmd-sent'))!.state, 'verified');
  assert.is(second.meter.switches, 0, 'never sent again');
  assert.is((await store.command('cmd-queued'))!.state, 'verified');
  assert.is(second.meter.message, 'after restart');
});

Commands('the audit has who, why, every stage and the evidence, in an unbroken chain', async () => {
  const r = await rig();
  await stagesOf(r, 'disconnect', 10_000);
  const lines = await r.store.audit(1, 100);
  assert.is(firstBreach(lines), null);
  const entries = lines.map((l) => JSON.parse(l.line));
  assert.equal(
    entries.map((e) => e.action),
    ['command.submitted', 'command.sent', 'command.verified'],
  );
  assert.is(entries[0].detail.reason, 'test');
  assert.is(entries[0].actor, 'local');
  assert.is(entries[2].detail.outputState, false);
});

Commands('a command is on record as sent before it leaves', async () => {
  const r = await rig();
  let stateAtSending: string | undefined;
  const original = r.meter.switchOutput.bind(r.meter);
  r.meter.switchOutput = async (connect) => {
    stateAtSending = (await r.store.commands('m1', 1))[0]!.state;
    return original(connect);
  };
  await stagesOf(r, 'disconnect', 5_000);
  assert.is(stateAtSending, 'sent');
});

Commands.run();
