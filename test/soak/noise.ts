/**
 * The meter's serial port and poll loop against a foreign energy meter (pymodbus) on a wire that damages every twentieth
 * byte, with stray bytes and an echo, and a meter that hangs and answers late, in real time. Nothing wrong may be given unmarked,
 * and when the wire is good again the second pass must have all values.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { createLog } from '#hw/log';
import { openBus } from '#hw/serial/open';
import { lineTiming } from '#modbus/line-timing';
import { OR_WE_514 } from '#modbus/maps/or-we-514';
import { MeasurementImage, Quality } from '../../firmware/measurement-image.ts';
import { PollLoop } from '../../firmware/poll-loop.ts';
import { MeterHistory, noFaults, QUANTITIES } from '../firmware/line-faults.ts';
import { startBadWire } from '../interop/bad-wire.ts';
import { linkSerialDriver, startPymodbusSlave } from '../interop/pymodbus.ts';
import { type Soak, scaled } from './soak.ts';

/** Rounds of trouble and recovery; each takes about ten seconds. */
const ROUNDS = 60;
const ROUND_MS = 8_000;
const LOOK_MS = 5;
/** On average. */
const CHANGE_MS = 1_000;
const RECOVERY_PASSES = 2;
/** The meter may just be left alone for a while. */
const RECOVERY_LIMIT_MS = 20_000;
const BAUD = 9600;
const NOISE = { damaged: 50, stray: 100, echo: true };

export const noise: Soak = async ({ random, share, say }) => {
  const rounds = scaled(ROUNDS, share);
  const folder = mkdtempSync(join(tmpdir(), 's3mp-noise-'));
  const timing = lineTiming(BAUD, 'even');
  const wire = await startBadWire(folder, timing, random);
  const clock = () => performance.now();
  const history = new MeterHistory(random);
  const slave = await startPymodbusSlave(wire.meter, history.next(clock()));
  linkSerialDriver();
  // A pty cannot carry parity.
  const log = createLog('noise', { write: () => {} });
  const port = openBus(wire.bus, { baud: BAUD, parity: 'none', driver: 'auto', log });
  const image = new MeasurementImage();
  const loop = new PollLoop({ port, map: OR_WE_514, unit: 1, timing, timeoutMs: 600, cycleMs: 0, image, clock, log });
  const wrong = new Set<string>();
  let changes = 0;
  let goodMs = 0;
  let seenAt = clock();
  const isGood = () => QUANTITIES.every((q) => image.quality(q, clock()) === Quality.good);

  /** Looks at the image all the time for `ms`, or until `done`; the values in the registers change meanwhile. */
  async function watch(ms: number, changing: boolean, done: () => boolean = () => false): Promise<void> {
    const until = clock() + ms;
    let changeAt = clock() + random.below(2 * CHANGE_MS);
    while (clock() < until && !done()) {
      const now = clock();
      for (const what of history.wrong(image, now)) wrong.add(what);
      for (const q of QUANTITIES)
        if (image.quality(q, now) === Quality.good) goodMs += (now - seenAt) / QUANTITIES.length;
      seenAt = now;
      if (changing && now >= changeAt) {
        await slave.set(history.next(clock()));
        history.settle(clock());
        changes++;
        changeAt = now + random.below(2 * CHANGE_MS);
      }
      await sleep(LOOK_MS);
    }
  }

  const passes: number[] = [];
  const started = clock();
  let troubledMs = 0;
  let goodInTroubleMs = 0;
  try {
    loop.start();
    await watch(RECOVERY_LIMIT_MS, false, isGood);
    for (let round = 0; round < rounds; round++) {
      const kind = round % 3;
      const before = [clock(), goodMs] as const;
      if (kind !== 2) Object.assign(wire.faults, NOISE);
      if (kind === 1) wire.faults.hangMs = 200 + random.below(2000);
      if (kind === 2) {
        // The process stands still; what was asked meanwhile it answers all at once.
        slave.pause();
        await watch(random.below(ROUND_MS), false);
        slave.resume();
      } else await watch(ROUND_MS, true);
      troubledMs += clock() - before[0];
      goodInTroubleMs += goodMs - before[1];
      Object.assign(wire.faults, noFaults());
      const { requests } = loop.master.counters;
      await watch(RECOVERY_LIMIT_MS, false, () => loop.master.counters.requests > requests);
      const { cycles } = loop;
      await watch(RECOVERY_LIMIT_MS, false, () => isGood() || loop.cycles > cycles + RECOVERY_PASSES);
      passes.push(isGood() ? loop.cycles - cycles : Number.POSITIVE_INFINITY);
      await watch(random.below(1_000), false);
      if ((round + 1) % 10 === 0) say(`${round + 1} of ${rounds} rounds, ${loop.master.counters.requests} requests`);
    }
    await slave.set({});
  } finally {
    loop.stop();
    await port.close();
    await slave.stop();
    await wire.stop();
    rmSync(folder, { recursive: true });
  }
  const { requests, replies, damaged, timeouts, echoes, strayBytes } = loop.master.counters;
  assert.equal([...wrong], []);
  assert.ok(
    passes.every((n) => n <= RECOVERY_PASSES),
    `passes until all values were good: ${passes.join(' ')}`,
  );
  return {
    done: requests,
    unit: 'requests',
    figures: {
      rounds,
      replies,
      damaged,
      timeouts,
      echoes,
      strayBytes,
      changes,
      wrong: wrong.size,
      mostPasses: Math.max(...passes),
      goodPercentInTrouble: Math.round((100 * goodInTroubleMs) / troubledMs),
      minutes: Math.round((clock() - started) / 6_000) / 10,
    },
  };
};
