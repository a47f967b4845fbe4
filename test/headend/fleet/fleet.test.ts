/** Readings of a scripted meter: leases, ageing, states, back-off, events. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openSqliteStore } from '../../../headend/store/sqlite.ts';
import { PATH_B } from '../scripted-meter.ts';
import { codeOf, type Rig, request, rig } from './fleet-rig.ts';

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
