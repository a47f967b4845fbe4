/** Which snapshots contradict themselves, and what an energy register may do. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EnergyRegister } from '#modbus/energy-register';
import { OR_WE_504 } from '#modbus/maps/or-we-504';
import { OR_WE_514 } from '#modbus/maps/or-we-514';
import { OR_WE_516 } from '#modbus/maps/or-we-516';
import { Doubt, judge, slackOf } from '#modbus/plausibility';
import { QUANTITY_NAMES, type QuantityName, type RegisterMap } from '#modbus/register-map';
import { seeded } from '#test/random';

type Snapshot = Partial<Record<QuantityName, number>>;

/** Seen on a real OR-WE-514. */
const REAL: Snapshot = {
  voltage: 23_142,
  current: 1473,
  frequency: 5001,
  activePower: 327,
  reactivePower: 98,
  apparentPower: 341,
  powerFactor: 959,
};

/** Names of the suspects. */
function suspects(snapshot: Snapshot, map: RegisterMap = OR_WE_514): string[] {
  const values = Float64Array.from(QUANTITY_NAMES, (name) => snapshot[name] ?? Number.NaN);
  const doubts = new Uint8Array(QUANTITY_NAMES.length);
  const isFine = judge(values, doubts, map.phases, slackOf(map));
  const names = QUANTITY_NAMES.filter((_, q) => doubts[q] !== 0);
  assert.is(isFine, names.length === 0);
  return names;
}

const Judge = suite('plausibility of a snapshot');

Judge('what a real meter said is believed, also when it flows back and when there is no load', () => {
  assert.equal(suspects(REAL), []);
  assert.equal(suspects({ ...REAL, activePower: -327, powerFactor: -959 }), []);
  const idle = { current: 0, activePower: 0, reactivePower: 0, apparentPower: 0 };
  assert.equal(suspects({ ...REAL, ...idle, powerFactor: 1000 }), []);
  assert.equal(suspects({ ...REAL, ...idle, powerFactor: 0 }), []);
});

Judge('each value of a large load that is off by a third is found out', () => {
  const load: Snapshot = {
    voltage: 22_800,
    current: 20_000,
    frequency: 4998,
    activePower: 4104,
    reactivePower: 1987,
    apparentPower: 4560,
    powerFactor: 900,
  };
  assert.equal(suspects(load), []);
  for (const name of ['current', 'activePower', 'apparentPower', 'powerFactor'] as const) {
    for (const factor of [0.6, 1.4])
      assert.ok(suspects({ ...load, [name]: load[name]! * factor }).includes(name), name);
  }
  assert.ok(suspects({ ...load, reactivePower: 3000 }).includes('reactivePower'));
  for (const voltage of [0, 7_999, 30_001]) assert.ok(suspects({ ...load, voltage }).includes('voltage'));
  for (const frequency of [0, 4_499, 6_501]) assert.equal(suspects({ ...load, frequency }), ['frequency']);
});

Judge('missing values accuse nobody', () => {
  for (const name of QUANTITY_NAMES.slice(0, 7)) assert.equal(suspects({ ...REAL, [name]: undefined }), [], name);
  assert.equal(suspects({}), []);
});

Judge('a coarse current leaves room for its step', () => {
  const coarse = { ...REAL, current: 100, activePower: 38, reactivePower: 0, apparentPower: 38, powerFactor: 1000 };
  assert.equal(suspects(coarse, OR_WE_504), []);
  assert.ok(suspects({ ...coarse, apparentPower: 200, activePower: 200 }, OR_WE_504).length > 0);
});

Judge('three phases: the sum of the phases bounds the totals, and phases may flow against each other', () => {
  const three: Snapshot = {
    ...{ voltage: 23_000, voltageL2: 23_100, voltageL3: 22_900, frequency: 5000 },
    ...{ current: 10_000, currentL2: 5_000, currentL3: 2_000 },
    ...{ activePower: 3900, reactivePower: 100, apparentPower: 3913, powerFactor: 997 },
  };
  assert.equal(suspects(three, OR_WE_516), []);
  const against = { activePower: 700, apparentPower: 710, powerFactor: 986 };
  assert.equal(suspects({ ...three, ...against }, OR_WE_516), []);
  assert.ok(suspects({ ...three, activePower: 9000 }, OR_WE_516).includes('activePower'));
  assert.ok(suspects({ ...three, apparentPower: 9000 }, OR_WE_516).includes('currentL3'));
});

Judge('random values, also none and infinite ones, are judged without an error', () => {
  const random = seeded();
  const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -1, 1e38];
  const values = new Float64Array(QUANTITY_NAMES.length);
  const doubts = new Uint8Array(QUANTITY_NAMES.length);
  for (let i = 0; i < 100_000; i++) {
    for (let q = 0; q < values.length; q++)
      values[q] = random.below(4) ? random.u32() - 2 ** 31 : odd[random.below(6)]!;
    assert.is(
      judge(values, doubts, random.below(2) ? 1 : 3, 10),
      doubts.every((bits) => bits === 0),
    );
  }
});

Judge.run();

const Energy = suite('energy register');
const HOUR_MS = 3_600_000;

Energy('the first reading needs another that agrees', () => {
  const energy = new EnergyRegister(10, 1);
  assert.is(energy.read(5000, 0), Doubt.alone);
  assert.is(energy.read(5000, 100), 0);
  assert.is(energy.value, 5000);
});

/** One that has been read twice at 0 ms. */
function confirmed(register = 5000, step = 10): EnergyRegister {
  const energy = new EnergyRegister(step, 1);
  energy.read(register, 0);
  energy.read(register, 0);
  return energy;
}

Energy('is integrated from power, never ahead by a count, never back, and meets the register at each count', () => {
  const random = seeded();
  const energy = confirmed();
  let trueWh = 5000;
  let last = 5000;
  let filled = 0;
  for (let ms = 250; ms < 3 * HOUR_MS; ms += 250) {
    const powerW = random.below(4000);
    trueWh += (powerW * 250) / HOUR_MS;
    const register = 10 * Math.floor(trueWh / 10);
    energy.integrate(powerW * 1.03, ms);
    if (ms % 1000 === 0) assert.is(energy.read(register, ms), 0);
    assert.ok(energy.value >= last && energy.value < register + 10, `${energy.value} beside ${register}`);
    if (ms % 1000 === 0) assert.ok(energy.value >= register);
    assert.ok(Math.abs(energy.value - trueWh) < 10);
    if (energy.value > register) filled++;
    last = energy.value;
  }
  assert.ok(filled > 10_000, 'between the counts');
});

Energy('nothing is integrated over a pause, nor where the register has the resolution', () => {
  const energy = confirmed();
  energy.integrate(3000, 1000);
  const before = energy.value;
  energy.integrate(3000, 7000);
  assert.is(energy.value, before);
  const fine = confirmed(5000, 1);
  fine.integrate(3000, 100);
  fine.integrate(3000, 1100);
  assert.is(fine.value, 5000);
});

Energy('after a restart it goes on where it was, or where it cannot have been below, until the register counts', () => {
  const exact = new EnergyRegister(10, 1);
  exact.restore(5000, 7, false);
  assert.is(exact.read(5000, 0), Doubt.alone);
  assert.is(exact.value, 5007);
  assert.is(exact.read(5000, 100), 0);
  assert.equal(exact.kept, { register: 5000, ahead: 7, isHeld: false });

  const killed = new EnergyRegister(10, 1);
  killed.restore(5000, undefined, false);
  assert.equal([killed.kept.register, killed.kept.ahead], [5000, undefined], 'before a reading nothing else is known');
  assert.is(killed.read(5020, 0), Doubt.alone | Doubt.held);
  assert.is(killed.value, 5029);
  assert.is(killed.read(5020, 100), Doubt.held);
  killed.integrate(3000, 1000);
  assert.is(killed.value, 5029);
  assert.is(killed.read(5030, 2000), 0);
  assert.is(killed.value, 5030);

  // Held, ended in order, and started again: still held.
  const again = new EnergyRegister(10, 1);
  again.restore(5020, 9, true);
  assert.is(again.read(5020, 0), Doubt.alone | Doubt.held);
  assert.is(again.value, 5029);

  // The register has counted on while the meter was away.
  const later = new EnergyRegister(10, 1);
  later.restore(5000, 7, false);
  later.read(5400, 0);
  assert.equal([later.value, later.isHeld], [5400, false]);

  // Where the register resolves 1 Wh there is nothing to hold.
  const fine = new EnergyRegister(1, 1);
  fine.restore(5000, undefined, false);
  assert.equal([fine.read(5001, 0), fine.value], [Doubt.alone, 5001]);
});

Energy('a first reading that was damaged does not end what is carried over a restart', () => {
  for (const damaged of [12, 900_000]) {
    const energy = new EnergyRegister(10, 1);
    energy.restore(5000, 7, false);
    energy.read(damaged, 0);
    assert.equal(energy.kept, { register: 5000, ahead: undefined, isHeld: false }, 'nor is it kept');
    const doubts = [1, 2, 3, 4].map((i) => energy.read(5000, i * 1000));
    assert.equal([energy.value, doubts.at(-1), energy.changes], [5007, 0, 0], `after ${damaged}`);
  }
  const swapped = new EnergyRegister(10, 1);
  swapped.restore(5000, 7, false);
  swapped.read(100, 0);
  swapped.read(100, 1000);
  assert.equal([swapped.value, swapped.changes], [100, 1]);
});

Energy('one reading that went back or leapt is held back and forgotten', () => {
  for (const odd of [0, 4990, 5100, 4_000_000_000]) {
    const energy = confirmed();
    assert.is(energy.read(odd, 1000), Doubt.step, String(odd));
    assert.is(energy.value, 5000);
    assert.is(energy.read(5000, 2000), 0);
    assert.is(energy.changes, 0);
  }
});

Energy('what the meter can carry since the last reading is no leap', () => {
  const energy = confirmed();
  assert.is(energy.read(5000 + 25_000, HOUR_MS), 0);
  assert.is(energy.read(30_000 + 60_000, 2 * HOUR_MS), Doubt.step);
});

Energy('another meter is believed after four readings that agree, not before and not when they do not', () => {
  for (const [base, up] of [
    [120, 10],
    [900_000, 10],
  ] as const) {
    const energy = confirmed();
    for (let i = 0; i < 3; i++) {
      assert.is(energy.read(base + up * i, 1000 * (i + 1)), Doubt.step);
      assert.is(energy.value, 5000);
    }
    assert.is(energy.read(base + 3 * up, 4000), 0);
    assert.is(energy.value, base + 3 * up);
    assert.is(energy.changes, 1);
  }
  const energy = confirmed();
  for (let i = 0; i < 50; i++) assert.is(energy.read(i % 2 ? 100 : 3000, 1000 * (i + 1)), Doubt.step);
  assert.is(energy.value, 5000);
});

Energy.run();
