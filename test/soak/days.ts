/**
 * Days of the meter in virtual time: the real poll loop against the register file of the simulated energy meter, the real
 * model, clock and storage on a simulated disk. With daylight saving changes, clock corrections and jumps in both
 * directions, and a power failure. Every quarter that the clock went through is there once; the heap stays flat.
 */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as assert from 'uvu/assert';
import { asciiBytes } from '#base/bytes';
import { DlmsClient } from '#dlms/client';
import { bool, i8, i16, octets } from '#dlms/cosem/setting';
import { encodeDateTime } from '#dlms/date-time';
import { type Exchange, exchangeSync } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import { ProfileReader } from '#dlms/profile-reader';
import { AmrStatus, EventCode } from '#dlms/well-known';
import { Household } from '#hw/sim/household';
import { SimMeter } from '#hw/sim/or-we-514';
import { virtualPower } from '../firmware/virtual-power.ts';
import { SimDisk } from '../hw/sim-disk.ts';
import { PASSWORD, testMeter } from '../interop/dlms-meter.ts';
import type { Random } from '../random.ts';
import type { Soak } from './soak.ts';

const LOAD = '1-0:99.1.0.255';
const QUARTER = 900_000;
const HOUR = 3_600_000;
const CLOCK = { classId: 8, ln: parseObis('0-0:1.0.0.255') };

/** One time of power of the meter. */
function powerUp(disk: SimDisk, sim: SimMeter, boot: number, world: { steadyMs: number; before: number }) {
  const steadyClock = () => world.steadyMs;
  const { files, settings, clock, image, bus, loop } = virtualPower(disk, sim, boot, steadyClock, steadyClock);
  const { model, server } = testMeter({
    image,
    settings,
    steadyClock,
    wallClock: clock.read,
    setTime: (ms) => clock.offer(ms, 'person'),
    openStore: (name, rowSize, rows, layout) => files.profile(name, rowSize, rows, layout),
    isStorageFailing: () => files.isFailing,
  });
  const session = server.session('client')!;
  const client = new DlmsClient({ clientSap: 17, password: asciiBytes(PASSWORD) });
  const out = new Uint8Array(2048);
  const run = <T>(operation: Exchange<T>): T =>
    exchangeSync(operation, (frame) => out.subarray(0, session.receive(frame, out, 0)));
  run(client.associate());
  const second = () => {
    const until = world.steadyMs + 1000;
    bus.run(loop, until, world.before);
    world.steadyMs = until;
    model.tick();
    clock.tick();
    files.tick(until);
  };
  return {
    clock,
    model,
    files,
    second,
    set: (attribute: number, value: Parameters<DlmsClient['set']>[1]) =>
      run(client.set({ ...CLOCK, attribute }, value)),
    read: (obis: string) => run(new ProfileReader(client).read(obis, { firstEntry: 1, lastEntry: 0 })).rows,
    get: (obis: string) => {
      const data = run(client.get({ classId: 3, ln: parseObis(obis), attribute: 2 }));
      return 'value' in data ? Number(data.value) : Number.NaN;
    },
  };
}

/** Sets the clock to an instant and to Central European Time. */
function setZone(meter: ReturnType<typeof powerUp>, epochMs: number): void {
  const rule = (month: number, hour: number) =>
    octets(Uint8Array.of(0xff, 0xff, month, 0xfe, 7, hour, 0, 0, 0, 0x80, 0, 0xff));
  const time = new Uint8Array(12);
  encodeDateTime(time, 0, epochMs, 0, 0);
  meter.set(2, octets(time));
  meter.set(3, i16(-60));
  meter.set(5, rule(3, 2));
  meter.set(6, rule(10, 3));
  meter.set(7, i8(60));
  meter.set(8, bool(true));
}

/** Lives through `hours` from an instant. @returns rows of the load profile and the growth of the heap in bytes */
function live(start: number, hours: number, random: Random, gc: () => number): { rows: number; growth: number } {
  const disk = new SimDisk();
  const sim = new SimMeter(1, new Household({ seed: random.below(1000) }));
  const world = { steadyMs: 10_000, before: 0 };
  /** What the clock went through without a step, both ends. */
  const stretches: { from: number; to: number; isSet: boolean }[] = [];
  let meter = powerUp(disk, sim, 1, world);
  let sets = 0;
  const setTime = (epochMs: number) => {
    const time = new Uint8Array(12);
    encodeDateTime(time, 0, epochMs, 0, 0);
    meter.set(2, octets(time));
    sets++;
  };
  const pass = (ms: number) => {
    const { epochMs: from, isSet } = meter.clock.read();
    for (let i = 0; i < ms; i += 1000) meter.second();
    stretches.push({ from, to: meter.clock.read().epochMs, isSet });
  };
  const now = () => meter.clock.read().epochMs;
  setZone(meter, start);
  sets++;

  const part = Math.floor((hours * HOUR) / 8 / 1000) * 1000;
  pass(2 * part);
  setTime(now() + 20_000);
  const heapBefore = gc();
  pass(part);
  setTime(now() + 2 * HOUR);
  pass(part);
  setTime(now() - 40 * 60_000);
  pass(part);
  const growth = gc() - heapBefore;
  // The power fails: the clock falls back to the bound and is not believed until it is set.
  const energy = meter.get('1-0:1.8.0.255');
  const before = now();
  disk.restart(random);
  world.before = world.steadyMs;
  world.steadyMs = 5_000;
  meter = powerUp(disk, sim, 2, world);
  for (let i = 0; i < 3; i++) meter.second();
  assert.ok(meter.get('1-0:1.8.0.255') >= energy, 'what was given does not go down');
  assert.not(meter.clock.read().isSet);
  assert.ok(now() <= before + 1 && now() >= before - QUARTER - 1000, 'the bound is at most a quarter behind');
  pass(20 * 60_000);
  setTime(before + 50 * 60_000);
  pass(3 * part);

  const rows = meter.read(LOAD);
  const times = rows.map(({ at }) => at!);
  assert.equal(
    times,
    [...new Set(times)].sort((a, b) => a - b),
    'every quarter once, in order',
  );
  for (const { from, to } of stretches)
    for (let at = Math.ceil(from / QUARTER) * QUARTER + QUARTER; at <= to - 1000; at += QUARTER)
      assert.ok(times.includes(at), `${new Date(at).toISOString()} is missing`);
  const isFrom = (at: number) => stretches.some(({ from, to }) => at >= from - QUARTER && at <= to);
  assert.ok(times.every(isFrom));
  let last = 0;
  for (const row of rows) {
    const { isDst } = meter.model.clock.localTime(row.at!);
    assert.is((row.clockStatus & 0x80) !== 0, isDst, new Date(row.at!).toISOString());
    assert.ok(row.values[1]! >= last, 'energy only grows');
    last = row.values[1]!;
  }
  const bits = (bit: number) => rows.filter(({ values }) => (values[0]! & bit) !== 0).length;
  assert.ok(
    bits(AmrStatus.clockInvalid) >= 1 && bits(AmrStatus.clockInvalid) <= 2,
    'marked while the clock is not set',
  );
  assert.is(bits(AmrStatus.powerDown), 2);
  assert.ok(bits(AmrStatus.clockAdjusted) >= 3, `${bits(AmrStatus.clockAdjusted)} rows with a clock that was moved`);
  assert.ok(meter.get('1-0:1.8.0.255') > energy);
  const codes = meter.read('0-0:99.98.0.255').map(({ values }) => values[0]);
  const count = (code: number) => codes.filter((each) => each === code).length;
  assert.is(count(EventCode.clockAdjustedOld), sets);
  assert.is(count(EventCode.clockAdjustedNew), sets);
  assert.is(count(EventCode.powerUp), 2);
  assert.ok(count(EventCode.daylightSavingChange) >= 1);
  assert.not(meter.files.isFailing);
  return { rows: rows.length, growth };
}

/** Local days from midnight on that nothing disturbs. @returns writes, bytes and syncs of the last one */
function undisturbed(start: number, quarters: readonly number[], random: Random, gc: () => number) {
  const disk = new SimDisk();
  const sim = new SimMeter(1, new Household({ seed: random.below(1000) }));
  const meter = powerUp(disk, sim, 1, { steadyMs: 10_000, before: 0 });
  setZone(meter, start - HOUR);
  // The files are made in the hour before.
  for (let i = 0; i < 3600; i++) meter.second();
  let growth = 0;
  let wear = { writes: 0, bytes: 0, syncs: 0 };
  for (const wanted of quarters) {
    const heapBefore = gc();
    const before = { ...disk.counts };
    for (let i = 0; i < wanted * 900; i++) meter.second();
    const { writes, bytes, syncs } = disk.counts;
    wear = { writes: writes - before.writes, bytes: bytes - before.bytes, syncs: syncs - before.syncs };
    growth = Math.max(growth, gc() - heapBefore);
  }
  const rows = meter.read(LOAD).slice(4);
  const perDay = new Map<number, number>();
  for (const { at, values } of rows) {
    assert.is(values[0]! & ~AmrStatus.daylightSaving, 0, 'nothing is suspect');
    // The row at midnight closes the day before.
    const day = meter.model.clock.localDay(at! - 1);
    perDay.set(day, (perDay.get(day) ?? 0) + 1);
  }
  assert.equal([...perDay.values()], quarters, 'quarters of the local days');
  const isChange = ({ at, values }: { at: number | null; values: readonly (number | null)[] }) =>
    at! >= start && values[0] === EventCode.daylightSavingChange;
  const changes = meter.read('0-0:99.98.0.255').filter(isChange);
  assert.is(changes.length, quarters.filter((each) => each !== 96).length);
  assert.is(meter.read('1-0:99.2.0.255').length, quarters.length + 1, 'daily billing');
  return { hours: quarters.reduce((sum, each) => sum + each / 4, 1), growth, wear };
}

export const days: Soak = async ({ random, share }) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const gc = () => {
    collect();
    collect();
    return process.memoryUsage().heapUsed;
  };
  // Both changes of daylight saving lie in the middle; a hundredth is a day around the first.
  const spans =
    share >= 0.5
      ? [
          { start: Date.UTC(2027, 2, 26, 20), hours: 96 },
          { start: Date.UTC(2027, 9, 29, 20), hours: 96 },
        ]
      : [{ start: Date.UTC(2027, 2, 27, 20), hours: 24 }];
  let rows = 0;
  let growth = 0;
  for (const { start, hours } of spans) {
    const lived = live(start, hours, random, gc);
    rows += lived.rows;
    growth = Math.max(growth, lived.growth);
  }
  // Local days as long as the law makes them; a hundredth is one of 24 hours.
  const calm =
    share >= 0.5
      ? [
          { start: Date.UTC(2027, 2, 26, 23), quarters: [96, 92, 96] },
          { start: Date.UTC(2027, 9, 29, 22), quarters: [96, 100, 96] },
        ]
      : [{ start: Date.UTC(2027, 5, 1, 22), quarters: [96] }];
  let done = spans.reduce((sum, { hours }) => sum + hours, 0);
  let wear = { writes: 0, bytes: 0, syncs: 0 };
  for (const { start, quarters } of calm) {
    const lived = undisturbed(start, quarters, random, gc);
    done += lived.hours;
    wear = lived.wear;
    growth = Math.max(growth, lived.growth);
  }
  assert.ok(growth < 1_000_000, `the heap grew by ${growth} bytes`);
  // docs/storage.md says what a card lasts with this.
  assert.ok(wear.writes <= 440 && wear.bytes <= 65_000 && wear.syncs === wear.writes, JSON.stringify(wear));
  return {
    done,
    unit: 'virtual hours',
    figures: { rows, heap_growth_bytes: growth, writes_a_day: wear.writes, bytes_a_day: wear.bytes },
  };
};
