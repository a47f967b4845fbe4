/** The meter's wall clock: the bound, who may move it and how far, and what a restart with and without power makes of it. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { SettingStore } from '#dlms/cosem/setting';
import { createLog } from '#hw/log';
import { WallClock, type WallClockOptions } from '../../firmware/wall-clock.ts';
import { seeded } from '../random.ts';

const Clocks = suite('wall clock');
const BUILD = Date.UTC(2026, 10, 1);
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

function rig(source: 'bound' | 'system' = 'bound') {
  const values = new Map<string, Uint8Array>();
  const world = { steadyMs: 5_000, hostMs: 0, boot: 1, works: true, stores: 0 };
  const settings: SettingStore = {
    get: (key) => values.get(key),
    set: (key, value) => {
      if (!world.works) return false;
      world.stores++;
      values.set(key, value.slice());
      return true;
    },
    keep: (key, value) => void values.set(key, value.slice()),
  };
  const start = (extra: Partial<WallClockOptions> = {}) =>
    new WallClock({
      source,
      buildMs: BUILD,
      settings,
      steadyClock: () => world.steadyMs,
      bootId: new Uint8Array(16).fill(world.boot),
      systemClock: () => world.hostMs,
      ...extra,
    });
  const powerFailure = () => {
    world.boot++;
    world.steadyMs = 3_000;
    return start();
  };
  const pass = (clock: WallClock, ms: number) => {
    for (let left = ms; left > 0; left -= 1000) {
      world.steadyMs += 1000;
      world.hostMs += 1000;
      clock.tick();
    }
  };
  return { world, start, powerFailure, pass, values };
}

Clocks('a new meter is at its build time and not set, and runs from there', () => {
  const { start, pass } = rig();
  const clock = start();
  assert.equal(clock.read(), { epochMs: BUILD, isSet: false });
  pass(clock, HOUR);
  assert.equal(clock.read(), { epochMs: BUILD + HOUR, isSet: false });
});

Clocks('a person sets it; a power failure leaves the last stored quarter, which is not set', () => {
  const { start, pass, powerFailure } = rig();
  const clock = start();
  const time = BUILD + 40 * DAY + 5_000;
  assert.ok(clock.offer(time, 'person'));
  assert.equal(clock.read(), { epochMs: time, isSet: true });
  pass(clock, 2 * HOUR + 100_000);
  const again = powerFailure();
  assert.not(again.read().isSet);
  const lost = time + 2 * HOUR + 100_000 - again.read().epochMs;
  assert.ok(lost >= 0 && lost <= 900_000, `${lost} ms`);
});

Clocks('a correction takes the time back, but not what certificates are judged by', () => {
  const { start, pass, powerFailure } = rig();
  const clock = start();
  const time = BUILD + DAY;
  clock.offer(time, 'person');
  pass(clock, 1_800_000);
  const before = clock.latestMs;
  assert.ok(clock.offer(time + 600_000, 'person'));
  assert.is(clock.read().epochMs, time + 600_000);
  assert.ok(clock.latestMs <= before && clock.latestMs >= before - 900_000, 'to within a stored quarter');
  assert.ok(clock.latestMs > clock.read().epochMs);
  assert.ok(powerFailure().latestMs >= before - 900_000);
});

Clocks('a restart without power failure loses nothing: the steady clock of the kernel has gone on', () => {
  const { start, pass, world } = rig();
  const clock = start();
  clock.offer(BUILD + DAY, 'person');
  pass(clock, 1_234_000);
  world.steadyMs += 60_000;
  assert.equal(start().read(), { epochMs: BUILD + DAY + 1_294_000, isSet: true });
  assert.ok(clock.offer(clock.read().epochMs - 600_000, 'person'), 'also behind a correction');
  world.steadyMs += 1_000;
  assert.is(start().read().epochMs, BUILD + DAY + 1_294_000 - 599_000);
});

Clocks('time never goes below the bound, whoever asks, and corrections do not add up', () => {
  const { start, pass, powerFailure } = rig();
  let clock = start();
  const time = BUILD + 10 * DAY;
  clock.offer(time, 'person');
  pass(clock, HOUR);
  for (const trust of ['person', 'service'] as const) assert.not(clock.offer(time - HOUR, trust));
  assert.ok(clock.offer(time + 60_000, 'person'), 'a correction');
  for (let i = 0; i < 100; i++) clock.offer(clock.read().epochMs - 600_000, 'person');
  assert.ok(clock.read().epochMs >= time - HOUR);
  clock = powerFailure();
  assert.ok(clock.read().epochMs >= time + HOUR - 900_000, 'nor over a power failure');
  assert.not(clock.offer(BUILD - 1, 'person'));
  assert.not(clock.offer(Number.NaN, 'person'));
  assert.not(clock.offer(Date.UTC(2100, 0, 1), 'person'));
});

Clocks('one service alone moves the time by a day at most; a second one that agrees, or a person, by more', () => {
  const { start, pass } = rig();
  const clock = start();
  const time = BUILD + 100 * DAY;
  assert.not(clock.offer(time, 'service', 'a'));
  assert.not(clock.offer(time, 'service', 'a'), 'it does not become two by repeating itself');
  assert.not(clock.offer(time + 2 * DAY, 'service', 'b'), 'they do not agree');
  assert.not(clock.read().isSet);
  pass(clock, 10_000);
  assert.ok(clock.offer(time + 2 * DAY + 10_000, 'service', 'a'));
  assert.equal(clock.read(), { epochMs: time + 2 * DAY + 10_000, isSet: true });
  assert.ok(clock.offer(clock.read().epochMs + DAY - 1000, 'service', 'a'));
  assert.not(clock.offer(clock.read().epochMs + 5 * DAY, 'service', 'a'));
  assert.ok(clock.offer(clock.read().epochMs + 5 * DAY, 'person'));
});

Clocks(
  'a service alone does not walk the time away: small steps count together, over restarts and power failures too',
  () => {
    const { start, pass, powerFailure } = rig();
    const lines: string[] = [];
    const log = createLog('clock', { write: (line) => void lines.push(line) });
    let clock = start({ log });
    let trueMs = BUILD + DAY;
    assert.ok(clock.offer(trueMs, 'person'));
    const ahead = () => clock.read().epochMs - trueMs;
    /** A lie of every hour, by as much as is believed. */
    const lie = () => {
      for (let stepMs = 2 * HOUR; stepMs >= 1000; stepMs /= 2) {
        while (clock.offer(clock.read().epochMs + stepMs, 'service', 'liar'));
      }
    };
    lie();
    assert.ok(ahead() > DAY - HOUR && ahead() <= DAY, `${ahead()} ms`);
    assert.ok(lines.some((line) => /needs a second service or a person source=liar ahead_s=7200/.test(line)));
    for (let day = 0; day < 60; day++) {
      for (let hour = 0; hour < 24; hour++) {
        pass(clock, HOUR);
        trueMs += HOUR;
        lie();
      }
      if (day % 3 === 0) clock = start();
      if (day % 7 !== 0) continue;
      const before = clock.read().epochMs;
      clock = powerFailure();
      trueMs -= before - clock.read().epochMs;
      lie();
    }
    assert.ok(ahead() > 2.5 * DAY && ahead() <= 3 * DAY, `${ahead() / DAY} days in two months`);
    // An honest one is of no use to the liar, and a person gives the whole day again.
    assert.not(clock.offer(clock.read().epochMs + DAY, 'service', 'liar'));
    assert.ok(clock.offer(clock.read().epochMs + 10, 'service', 'honest'));
    assert.not(clock.offer(clock.read().epochMs + DAY, 'service', 'liar'));
    assert.ok(clock.offer(clock.read().epochMs + 1000, 'person'));
    assert.ok(clock.offer(clock.read().epochMs + DAY, 'service', 'liar'));
  },
);

Clocks('a service that keeps a drifting clock right never runs out of what it is allowed', () => {
  const { start, pass } = rig();
  const clock = start();
  clock.offer(BUILD + DAY, 'person');
  for (let hour = 0; hour < 24 * 400; hour++) {
    pass(clock, HOUR);
    assert.ok(clock.offer(clock.read().epochMs + (hour % 2 === 0 ? 1000 : -360), 'service', 'a'), `hour ${hour}`);
  }
});

Clocks('what older firmware has stored of the time counts', () => {
  const { start, values, powerFailure, pass } = rig();
  start().offer(BUILD + DAY, 'person');
  values.set('time', values.get('time')!.slice(0, 29));
  assert.equal(start().read(), { epochMs: BUILD + DAY, isSet: true });
  const clock = powerFailure();
  assert.not(clock.offer(BUILD + DAY + HOUR, 'service'), 'what a service was given is not known');
  pass(clock, 30 * HOUR);
  assert.ok(clock.offer(clock.read().epochMs + HOUR, 'service'));
});

Clocks('the host clock, whatever sets it, is not believed where the bound is the source', () => {
  const { start, world } = rig();
  const clock = start();
  for (const lie of [BUILD + DAY, BUILD + 3650 * DAY, 0]) {
    world.hostMs = lie;
    assert.not(clock.offer(lie, 'host'));
    assert.equal(clock.read(), { epochMs: BUILD, isSet: false });
  }
});

Clocks('in a laboratory the host clock is the time, unless it lies before the bound', () => {
  const { start, world, pass } = rig('system');
  world.hostMs = BUILD + 3 * DAY;
  const clock = start();
  assert.equal(clock.read(), { epochMs: BUILD + 3 * DAY, isSet: true });
  pass(clock, 1000);
  assert.ok(clock.offer(BUILD + 3 * DAY + 500_000, 'person'));
  world.hostMs += 1000;
  assert.is(clock.read().epochMs, BUILD + 3 * DAY + 501_000);
  world.hostMs = 0;
  assert.not(start().read().isSet);
  assert.ok(start().read().epochMs >= BUILD + 3 * DAY);
});

Clocks('it is stored four times an hour, and a storage that fails does not stop it', () => {
  const { start, pass, world } = rig();
  const clock = start();
  clock.offer(BUILD + DAY, 'person');
  world.stores = 0;
  pass(clock, DAY);
  assert.is(world.stores, 97);
  world.works = false;
  pass(clock, HOUR);
  assert.is(clock.read().epochMs, BUILD + 2 * DAY + HOUR);
});

Clocks('whatever is offered in whatever order, the stored bound never goes back', () => {
  const random = seeded();
  const { start, pass, powerFailure, values } = rig();
  let clock = start();
  let bound = 0;
  for (let i = 0; i < 3000; i++) {
    const trust = (['person', 'service', 'host'] as const)[random.below(3)]!;
    clock.offer(clock.read().epochMs + (random.below(2 * DAY) - DAY), trust, `source ${random.below(3)}`);
    pass(clock, random.below(1_000_000));
    if (random.below(20) === 0) clock = powerFailure();
    const record = values.get('time');
    if (!record) continue;
    const stored = record.subarray(0, 6).reduce((sum, byte) => sum * 256 + byte, 0);
    assert.ok(stored >= bound);
    bound = stored;
    assert.ok(clock.read().epochMs >= bound - HOUR);
  }
});

Clocks('a record of another shape is as good as none', () => {
  const { start, values } = rig();
  for (const bytes of [
    new Uint8Array(0),
    new Uint8Array(28).fill(9),
    new Uint8Array(29).fill(0xff),
    new Uint8Array(35).fill(0xff),
  ]) {
    values.set('time', bytes);
    const { epochMs, isSet } = start().read();
    assert.ok(epochMs >= BUILD && epochMs < Date.UTC(2100, 0, 1));
    assert.not(isSet);
  }
});

Clocks.run();
