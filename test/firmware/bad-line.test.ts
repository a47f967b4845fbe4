/**
 * The poll loop on a line that damages every twentieth byte, with stray bytes, an echo and a meter that hangs: what it gives
 * unmarked was in the meter's registers at that time, and the second pass on a good line has all values.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#hw/log';
import { lineTiming } from '#modbus/line-timing';
import { OR_WE_514 } from '#modbus/maps/or-we-514';
import { MAX_READ } from '#modbus/rtu';
import { seeded } from '#test/random';
import { MeasurementImage, Quality, Quantity } from '../../firmware/measurement-image.ts';
import { PollLoop } from '../../firmware/poll-loop.ts';
import { BadLine } from './bad-line.ts';
import { noFaults, QUANTITIES } from './line-faults.ts';

const timing = lineTiming(9600, 'even');
const BAD = { damaged: 50, stray: 100, echo: true, steady: false };
const CLEAN = { ...noFaults(), steady: true };
/** The pass under way when the line became good, and two whole ones. */
const PASSES = 2;

function makeRig(random = seeded()) {
  const image = new MeasurementImage();
  const line = new BadLine(random, timing);
  const loop = new PollLoop({
    port: line,
    map: OR_WE_514,
    unit: 1,
    timing,
    timeoutMs: 600,
    cycleMs: 0,
    image,
    clock: () => 0,
    log: createLog('poll', { write: () => {} }),
  });
  const wrong = new Set<string>();
  const goodMs = QUANTITIES.map(() => 0);
  let now = 0;
  const look = (at: number) => {
    for (const q of QUANTITIES) if (image.quality(q, at) === Quality.good) goodMs[q]! += at - now;
    now = at;
    for (const what of line.wrong(image, at)) wrong.add(what);
  };
  const isGood = () => QUANTITIES.every((q) => image.quality(q, now) === Quality.good);
  /** Runs on a good line until all values are good. @returns whole passes that it took */
  const recover = () => {
    Object.assign(line.faults, CLEAN);
    // The meter may just be left alone for a while; from the first question on it counts.
    line.run(loop, look, 1);
    const { cycles } = loop;
    while (!isGood() && loop.cycles <= cycles + PASSES) line.run(loop, look, 1);
    return loop.cycles - cycles;
  };
  return { random, image, line, loop, wrong, goodMs, look, isGood, recover, now: () => now };
}

const Bad = suite('poll loop on a bad line');

Bad(
  '5 % damaged bytes, stray bytes and an echo: no wrong value unmarked in 20,000 polls, and values all the time',
  () => {
    const { line, loop, wrong, goodMs, look, now } = makeRig();
    Object.assign(line.faults, BAD);
    line.run(loop, look, 20_000);
    assert.equal([...wrong], []);
    const { replies, damaged, timeouts, echoes, strayBytes } = loop.master.counters;
    const shares = goodMs.map((ms) => Math.round((100 * ms) / now()));
    console.log(
      `${Math.round(now() / 1000)} s: ${replies} replies, ${damaged} damaged, ${timeouts} without; ` +
        `% of the time with a confirmed value: ${shares.join(' ')}`,
    );
    assert.ok(damaged > 1000 && timeouts > 1000 && echoes > 1000 && strayBytes > 1000, 'the line was bad');
    assert.ok(replies > 3000, `${replies} replies`);
    for (const q of QUANTITIES) assert.ok(shares[q]! >= 20, `${q}: ${shares[q]} % of the time`);
  },
);

Bad('faults of all kinds that come and go, also together: no wrong value unmarked in 50,000 polls', () => {
  const random = seeded();
  const pick = (values: readonly number[]): number => values[random.below(values.length)]!;
  for (let run = 0; run < 5; run++) {
    const { line, loop, wrong, look } = makeRig(random);
    for (let i = 0; i < 100; i++) {
      line.faults.damaged = pick([0, 1, 10, 50, 100]);
      line.faults.stray = pick([0, 50, 200]);
      line.faults.echo = random.below(2) === 0;
      line.faults.hangMs = pick([0, 0, 0, 200, 700, 1500, 2400, Number.POSITIVE_INFINITY]);
      line.run(loop, look, 100, 60_000);
    }
    assert.equal([...wrong], []);
  }
});

Bad('when the line is good again, the second pass has all values, and long reads come back', () => {
  const { line, loop, wrong, look, isGood, recover } = makeRig();
  for (let round = 0; round < 60; round++) {
    Object.assign(line.faults, BAD);
    line.run(loop, look, 150);
    const passes = recover();
    assert.ok(isGood() && passes <= PASSES, `round ${round}: not after ${passes} passes`);
  }
  line.run(loop, look, 1000);
  const { requests } = line;
  line.run(loop, look, Number.POSITIVE_INFINITY, 10_000);
  // A pass takes 116 ms as one read of 41 registers, and three times as long in single ones.
  assert.ok(line.requests - requests < 100, `${line.requests - requests} requests in 10 s`);
  assert.equal([...wrong], []);
});

Bad('a meter that hangs and then answers late: no wrong value unmarked, and the second pass has all values', () => {
  const { random, image, line, loop, wrong, look, isGood, recover } = makeRig();
  line.run(loop, look, 100);
  assert.ok(isGood());
  for (let round = 0; round < 60; round++) {
    line.faults.hangMs = [Number.POSITIVE_INFINITY, 700 + random.below(1500)][round % 2]!;
    line.faults.steady = false;
    line.run(loop, look, Number.POSITIVE_INFINITY, random.below(15_000));
    const passes = recover();
    assert.ok(isGood() && passes <= PASSES, `round ${round}: not after ${passes} passes`);
    line.faults.steady = false;
    line.run(loop, look, random.below(200));
  }
  assert.equal([...wrong], []);
  assert.is(image.doubtsOf(Quantity.voltage), 0);
});

Bad('a block that the meter refuses is read value by value, and as a whole again within the hour', () => {
  const { line, loop, wrong, look, isGood } = makeRig();
  Object.assign(line.faults, CLEAN);
  line.meter.maxRead = 10;
  line.run(loop, look, 1000);
  assert.ok(isGood());
  assert.is(loop.master.counters.exceptions, 1);
  line.meter.maxRead = MAX_READ;
  line.run(loop, look, Number.POSITIVE_INFINITY, 3_600_000);
  const { requests } = line;
  line.run(loop, look, Number.POSITIVE_INFINITY, 10_000);
  assert.ok(line.requests - requests < 100, `${line.requests - requests} requests in 10 s`);
  assert.is(loop.master.counters.exceptions, 1);
  assert.equal([...wrong], []);
});

Bad('registers that the meter refuses for ever make no reading be done twice', () => {
  const { line, loop, wrong, look } = makeRig();
  line.meter.maxRead = 1;
  line.run(loop, look, Number.POSITIVE_INFINITY, 600_000);
  const { exceptions, timeouts, damaged } = loop.master.counters;
  assert.ok(exceptions >= 40 && timeouts + damaged === 0, `${exceptions} refusals`);
  assert.is(line.repeats, 0);
  assert.equal([...wrong], []);
});

Bad('of reads that are all of one length none is put off for ever, once one was not answered', () => {
  const { image, line, loop, wrong, look, now } = makeRig();
  const isCurrent = () =>
    [Quantity.voltage, Quantity.frequency, Quantity.powerFactor].every((q) => image.quality(q, now()) === Quality.good);
  line.meter.maxRead = 1;
  line.run(loop, look, 100);
  for (let round = 0; round < 20; round++) {
    line.run(loop, look, round);
    line.faults.hangMs = Number.POSITIVE_INFINITY;
    line.run(loop, look, 3);
    line.faults.hangMs = 0;
    line.run(loop, look, Number.POSITIVE_INFINITY, 15_000);
    assert.ok(isCurrent(), `round ${round}`);
  }
  assert.equal([...wrong], []);
});

Bad('refusals that may be late ones prove nothing: what is read after them is read twice', () => {
  const { line, loop, look } = makeRig();
  const { counters } = loop.master;
  line.meter.maxRead = 0;
  line.faults.hangMs = Number.POSITIVE_INFINITY;
  line.run(loop, look, 3);
  line.faults.hangMs = 0;
  while (counters.exceptions < 50) line.run(loop, look, 1);
  assert.is(counters.replies, 0);
  line.meter.maxRead = MAX_READ;
  while (counters.replies === 0) line.run(loop, look, 1);
  const { repeats } = line;
  line.run(loop, look, 1);
  assert.is(line.repeats, repeats + 1);
});

Bad.run();
