/** The reported energy over restarts of the meter, in virtual time: real poll loop, real storage, a household as the load. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#hw/log';
import { Household } from '#hw/sim/household';
import { SimMeter } from '#hw/sim/or-we-514';
import { Doubt } from '#modbus/plausibility';
import { Quality, Quantity } from '../../firmware/measurement-image.ts';
import { StateFiles } from '../../firmware/state-files.ts';
import { SimDisk } from '../hw/sim-disk.ts';
import { seeded } from '../random.ts';
import { BUILD, virtualPower } from './virtual-power.ts';

const Energy = suite('energy over restarts');
const quiet = createLog('test', { level: 'error', write: () => {} });
const STEP_WH = 10;

/** One life of the meter's process; `worldMs` is the energy meter's time when it begins. */
function life(disk: SimDisk, sim: SimMeter, worldMs: number, boot = 1) {
  let steadyMs = 500;
  const { files, clock, image, bus, loop, record } = virtualPower(
    disk,
    sim,
    boot,
    () => worldMs + steadyMs,
    () => steadyMs,
  );
  if (!clock.read().isSet) clock.offer(BUILD + worldMs, 'person');
  return {
    image,
    files,
    energy: loop.energies[0]!,
    get worldMs() {
      return worldMs + steadyMs;
    },
    /** What is given now, undefined before the first reading. */
    given: () => (image.isFresh(Quantity.activeEnergy, steadyMs) ? image.value(Quantity.activeEnergy) : undefined),
    quality: () => image.quality(Quantity.activeEnergy, steadyMs),
    second() {
      bus.run(loop, steadyMs + 1000, worldMs);
      steadyMs += 1000;
      clock.tick();
      files.tick(steadyMs);
    },
    end() {
      files.beforeSave = () => record.keep(true);
      record.keep(true);
      files.close();
    },
  };
}

Energy(
  'never goes down, and is never off by a count, over any mixture of kills, power failures and orderly ends',
  () => {
    const random = seeded();
    const disk = new SimDisk();
    const household = new Household({ seed: random.below(1000) });
    const sim = new SimMeter(1, household);
    let worldMs = 10_000;
    let last = 0;
    let held = 0;
    let ahead = 0;
    for (let lives = 0; lives < 150; lives++) {
      const meter = life(disk, sim, worldMs);
      const seconds = random.below(4) === 0 ? random.below(1500) : random.below(60);
      for (let s = 0; s < seconds; s++) {
        meter.second();
        const given = meter.given();
        if (given === undefined) continue;
        const register = household.at(meter.worldMs).activeEnergy * STEP_WH;
        assert.ok(given >= last, `life ${lives}, second ${s}: ${given} after ${last}`);
        assert.ok(
          Math.abs(given - register) <= 2 * STEP_WH && given < register + STEP_WH,
          `${given} beside ${register}`,
        );
        if (meter.energy.isHeld) {
          held++;
          assert.is(meter.quality(), Quality.suspect);
          assert.ok((meter.image.doubtsOf(Quantity.activeEnergy) & Doubt.held) !== 0);
        } else if (given > register) ahead++;
        last = given;
      }
      const end = random.below(3);
      if (end === 0) meter.end();
      if (end === 2) disk.restart(random);
      worldMs = meter.worldMs + random.below(120_000);
    }
    assert.ok(held > 100 && ahead > 100, `held in ${held} seconds, ahead in ${ahead}`);
  },
);

Energy('an orderly end keeps the value exactly, once: a kill right after the next start finds it held', () => {
  const disk = new SimDisk();
  const sim = new SimMeter(1, new Household({ seed: 5 }));
  let meter = life(disk, sim, 10_000);
  for (let s = 0; s < 100 || meter.given()! % STEP_WH < 3; s++) meter.second();
  const given = meter.given()!;
  meter.end();
  const { worldMs } = meter;
  meter = life(disk, sim, worldMs);
  meter.second();
  assert.is(meter.quality(), Quality.suspect, 'a first reading stands alone');
  meter.second();
  assert.is(meter.energy.isHeld, false);
  assert.ok(meter.given()! >= given && meter.given()! <= given + 2, `${meter.given()} after ${given}`);
  assert.is(meter.quality(), Quality.good);
  // Killed.
  meter = life(disk, sim, meter.worldMs);
  meter.second();
  assert.ok(meter.energy.isHeld);
  assert.is(meter.given()! % STEP_WH, STEP_WH - 1);
  while (meter.energy.isHeld) meter.second();
  assert.is(meter.given()! % STEP_WH, 0, 'the register has counted');
  assert.is(meter.quality(), Quality.good);
});

Energy('a value that is held stays so over a life in which the energy meter did not answer', () => {
  const disk = new SimDisk();
  const sim = new SimMeter(1, new Household({ seed: 5 }));
  let meter = life(disk, sim, 10_000);
  for (let s = 0; s < 100 || meter.given()! % STEP_WH !== 2; s++) meter.second();
  // Killed.
  meter = life(disk, sim, meter.worldMs);
  for (let s = 0; s < 3; s++) meter.second();
  assert.ok(meter.energy.isHeld);
  const given = meter.given()!;
  meter.end();
  life(disk, sim, meter.worldMs).end();
  meter = life(disk, sim, meter.worldMs);
  for (let s = 0; s < 2; s++) meter.second();
  assert.ok(meter.given()! >= given);
  assert.ok(meter.energy.isHeld);
  assert.is(meter.quality(), Quality.suspect);
});

Energy('the record is written with what is stored anyway: not a write more in an hour', () => {
  const writes = (isKept: boolean) => {
    const disk = new SimDisk();
    const meter = life(disk, new SimMeter(1, new Household({ seed: 5 })), 10_000);
    if (!isKept) meter.files.beforeSave = () => {};
    for (let s = 0; s < 600; s++) meter.second();
    const before = disk.counts.writes;
    for (let s = 0; s < 3600; s++) meter.second();
    return disk.counts.writes - before;
  };
  assert.is(writes(true), writes(false));
});

Energy('another energy meter in place of the former one is not held up to it, and found', () => {
  const disk = new SimDisk();
  const first = life(disk, new SimMeter(1, new Household({ seed: 5, activeEnergyWh: 500_000 })), 10_000);
  for (let s = 0; s < 20; s++) first.second();
  first.end();
  const second = life(disk, new SimMeter(1, new Household({ seed: 5, activeEnergyWh: 1_000 })), first.worldMs);
  for (let s = 0; s < 5; s++) second.second();
  assert.ok(second.given()! >= 1_000 && second.given()! < 1_010, String(second.given()));
  assert.is(second.energy.changes, 1);
  assert.not.ok(second.energy.isHeld);
});

Energy('a broken record holds nothing and stops nothing', () => {
  const disk = new SimDisk();
  for (const bytes of [new Uint8Array(0), new Uint8Array(4), new Uint8Array(9).fill(0xff), new Uint8Array(90)]) {
    const files = new StateFiles('/state', quiet, disk);
    files.settings().set('wh', bytes);
    files.close();
    const meter = life(disk, new SimMeter(1, new Household({ seed: 5 })), 10_000);
    for (let s = 0; s < 5; s++) meter.second();
    assert.ok(meter.given()! > 1_000_000);
    meter.end();
  }
});

Energy.run();
