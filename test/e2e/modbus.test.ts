/**
 * Random values in the registers of a Modbus slave that is not ours (pymodbus, on a pty pair, read through serialport)
 * are exactly the values in the head end's API.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { needs } from '#test/needs';
import {
  hasPymodbus,
  hasSocat,
  type MeterValues,
  type PtyPair,
  type PymodbusSlave,
  plausibleValues,
  registersOf,
  startPtyPair,
  startPymodbusSlave,
} from '../interop/pymodbus.ts';
import { seeded } from '../random.ts';
import { type ApiReading, OBIS, Platform, until } from './platform.ts';

const random = seeded();
/** What the API must give for these registers, exactly. */
const expected = (v: MeterValues): Record<string, number> => ({
  [OBIS.voltage]: v.voltage / 100,
  [OBIS.current]: v.current / 1000,
  [OBIS.frequency]: v.frequency / 100,
  [OBIS.netPower]: v.activePower,
  '1-0:1.7.0.255': Math.max(v.activePower, 0),
  '1-0:2.7.0.255': Math.max(-v.activePower, 0),
  [OBIS.reactiveImport]: Math.max(v.reactivePower, 0),
  [OBIS.reactiveExport]: Math.max(-v.reactivePower, 0),
  [OBIS.apparentPower]: v.apparentPower,
  [OBIS.powerFactor]: v.powerFactor / 1000,
  [OBIS.activeEnergy]: v.activeEnergy * 10,
  [OBIS.reactiveEnergy]: v.reactiveEnergy * 10,
});

const valuesOf = (reading: ApiReading): Record<string, number | null> =>
  Object.fromEntries(
    // Between its counts the energy is integrated.
    reading.values.map((v) => [
      v.obis,
      v.obis === OBIS.activeEnergy && v.value !== null ? v.value - (v.value % 10) : v.value,
    ]),
  );

let folder: string;
let ptys: PtyPair;
let slave: PymodbusSlave;
let platform: Platform;

const Modbus = suite('a foreign energy meter');
Modbus.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 's3mp-e2e-'));
  ptys = await startPtyPair(folder);
  slave = await startPymodbusSlave(ptys.meter, registersOf(plausibleValues(random)));
  platform = await Platform.start({ serialUrls: [ptys.bus] });
});
Modbus.after(async () => {
  await platform?.stop();
  await slave?.stop();
  await ptys?.stop();
  rmSync(folder, { recursive: true, force: true });
});

for (const round of ['first', 'second']) {
  Modbus(`${round}: the API gives exactly the registers' values`, async () => {
    const values = plausibleValues(random);
    await slave.set(registersOf(values));
    const wanted = expected(values);
    let last = {};
    await until(
      'these values in the API',
      async () => {
        const { status, reading } = await platform.read();
        if (status !== 200) return false;
        last = valuesOf(reading);
        return Object.entries(wanted).every(([obis, value]) => last[obis as keyof typeof last] === value);
      },
      20_000,
    ).catch(() => assert.equal(last, wanted));
    console.log(`${round}: ${JSON.stringify(last)}`);
  });
}

const hasBoth = [
  needs('socat', hasSocat(), 'apt-get install socat'),
  needs('pymodbus', hasPymodbus(), 'apt-get install python3-pymodbus python3-serial-asyncio'),
];
if (hasBoth.every(Boolean)) Modbus.run();
