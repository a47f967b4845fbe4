/** The lane of a meter: order, deadlines, bounds. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Lane } from '../../../headend/fleet/lane.ts';
import { ManualClock } from '../manual-clock.ts';
import { codeOf } from './fleet-rig.ts';

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
