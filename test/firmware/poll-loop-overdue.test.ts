/** Whether the poll loop works, as the watchdog asks it: a silent energy meter and a port that is away are no hang. Virtual clock. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#hw/log';
import { SimMeter } from '#hw/sim/or-we-514';
import { lineTiming } from '#modbus/line-timing';
import { OR_WE_514 } from '#modbus/maps/or-we-514';
import { MeasurementImage } from '../../firmware/measurement-image.ts';
import { PollLoop } from '../../firmware/poll-loop.ts';
import { MemoryBus } from './memory-bus.ts';

function rig() {
  const state = { now: 0 };
  const bus = new MemoryBus(new SimMeter(), 0, false);
  bus.mute = true;
  const loop = new PollLoop({
    port: bus,
    map: OR_WE_514,
    unit: 1,
    timing: lineTiming(9600, 'even'),
    timeoutMs: 600,
    cycleMs: 0,
    image: new MeasurementImage(),
    clock: () => state.now,
    log: createLog('poll', { write: () => {} }),
  });
  const step = () => {
    loop.time[0] = state.now;
    loop.step();
  };
  return { state, bus, loop, step };
}

const Overdue = suite('poll loop under a watchdog');

Overdue('a meter that is silent for an hour leaves the loop on time, whatever its pauses are', () => {
  const { state, loop, step } = rig();
  let longest = 0;
  while (state.now < 3_600_000) {
    step();
    assert.ok(loop.overdueMs(state.now) <= 0, `${loop.overdueMs(state.now)} ms late at ${state.now}`);
    longest = Math.max(longest, -loop.overdueMs(state.now));
    state.now = Math.max(state.now + 1, loop.time[1]!);
  }
  assert.ok(longest > 30_000, `its longest pause is ${longest} ms`);
});

Overdue('a loop that nobody calls any more is late by what has passed since it was due', () => {
  const { state, loop, step } = rig();
  step();
  const due = loop.time[1]!;
  assert.is(loop.overdueMs(due + 5_000), 5_000);
  state.now = due;
  step();
  assert.ok(loop.overdueMs(due) <= 0);
});

Overdue('a port that is away is on time for a minute, within which it is tried again', () => {
  const { bus, loop, step } = rig();
  bus.isOpen = false;
  step();
  assert.ok(loop.overdueMs(59_999) < 0);
  assert.is(loop.overdueMs(65_000), 5_000);
});

Overdue.run();
