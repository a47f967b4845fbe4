/**
 * Several energy meters on one bus (`serial.further`): foreign slaves of four makes on a pty, read by the meter's bundle. Each
 * value is where docs/energy-meters.md says; one that answers slowly and one that is silent take nothing from the others.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes } from '#base/bytes';
import { DlmsClient } from '#dlms/client';
import type { Exchange } from '#dlms/exchange';
import { connectDlmsTcp } from '#hw/dlms-tcp';
import { needs } from '#test/needs';
import {
  hasPymodbus,
  hasSocat,
  mapUnit,
  type PtyPair,
  type PymodbusBus,
  startPtyPair,
  startPymodbusBus,
} from '../interop/pymodbus.ts';
import vectors from '../vectors/modbus-maps.json';
import { MISSING_LIMIT_MS, OBIS, Platform, until } from './platform.ts';

/** Unit and map of each meter, the meter's own first. */
const METERS = [
  [1, 'or-we-514'],
  [2, 'sdm120'],
  [3, 'or-we-504'],
  [4, 'sdm630'],
] as const;
const [QUICK, ALSO_QUICK, SLOW, SILENT] = [1, 2, 3, 4];
/** First register of what is read in every pass. */
const LIVE_START: Readonly<Record<number, number>> = { 1: 0x130, 2: 0, 3: 0, 4: 0 };
const CYCLE_MS = 1_000;
const QUIET_MS = 8_000;
const BAD_MS = 24_000;

type Values = Readonly<Record<string, number>>;

/** What a meter of these values gives at channel `channel`: value by object. */
function expected(v: Values, channel: number): Record<string, number> {
  const at = (obis: string) => obis.replace('1-0:', `1-${channel}:`);
  return {
    [at(OBIS.activeEnergy)]: v.activeEnergy!,
    [at(OBIS.reactiveEnergy)]: v.reactiveEnergy!,
    [at(OBIS.voltage)]: v.voltage! / 100,
    [at(OBIS.current)]: v.current! / 1000,
    [at(OBIS.frequency)]: v.frequency! / 100,
    [at('1-0:1.7.0.255')]: Math.max(v.activePower!, 0),
    [at('1-0:2.7.0.255')]: Math.max(-v.activePower!, 0),
    [at(OBIS.netPower)]: v.activePower!,
    [at(OBIS.reactiveImport)]: Math.max(v.reactivePower!, 0),
    [at(OBIS.reactiveExport)]: Math.max(-v.reactivePower!, 0),
    [at(OBIS.apparentPower)]: v.apparentPower!,
    [at(OBIS.powerFactor)]: v.powerFactor! / 1000,
  };
}

let folder: string;
let ptys: PtyPair;
let bus: PymodbusBus;
let platform: Platform;
let read: (obis: readonly string[]) => Promise<Record<string, number | null>>;
let hangUp = () => {};

/** A client of the password association over TCP, as a laboratory has it. */
async function connectClient(): Promise<void> {
  const { host, passwordFile } = platform.lab.meters[0]!;
  const channel = await connectDlmsTcp(host, 4059, 10_000);
  const client = new DlmsClient({ clientSap: 17, password: asciiBytes(readFileSync(passwordFile, 'latin1')) });
  const run = async <T>(operation: Exchange<T>): Promise<T> => {
    let step = operation.next();
    while (!step.done) step = operation.next(await channel.exchange(step.value));
    return step.value;
  };
  await run(client.associate());
  read = async (obis) => {
    const { registers } = await run(client.readRegisters(obis));
    return Object.fromEntries(registers.map((each) => [each.obis, each.value]));
  };
  hangUp = () => void channel.close();
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Passes a second of a unit since a time. */
function rate(unit: number, since: number): number {
  const passes = bus.requests.filter(
    (each) => each.at >= since && each.unit === unit && each.start === LIVE_START[unit],
  );
  return passes.length / ((performance.now() - since) / 1000);
}

/** Share of the time since then in which the bus was kept waiting for a unit: until whoever was asked next. */
function busShare(unit: number, since: number): number {
  const now = performance.now();
  const { requests } = bus;
  let waited = 0;
  for (const [i, { at, ...request }] of requests.entries()) {
    if (at >= since && request.unit === unit) waited += (requests[i + 1]?.at ?? now) - at;
  }
  return waited / (now - since);
}

const Several = suite('several energy meters on one bus');

Several.before(async () => {
  folder = mkdtempSync(join(tmpdir(), 's3mp-e2e-'));
  ptys = await startPtyPair(folder);
  bus = await startPymodbusBus(ptys.meter, Object.fromEntries(METERS.map(([unit, map]) => [unit, mapUnit(map)])));
  const [, ...further] = METERS;
  platform = await Platform.start({
    serialUrls: [ptys.bus],
    dlmsTcp: true,
    meterArgs: [
      ['--serial-cycle-ms', String(CYCLE_MS)],
      ['--serial-further', further.map(([unit, map]) => `${unit}:${map}`).join(',')],
    ].flat(),
  });
  await connectClient();
});
Several.after(async () => {
  hangUp();
  await platform?.stop();
  await bus?.stop();
  await ptys?.stop();
  rmSync(folder, { recursive: true, force: true });
});

for (const [channel, [unit, map]] of METERS.entries()) {
  Several(`unit ${unit}, ${map}: each value is in the register of channel ${channel}`, async () => {
    const wanted = expected(vectors[map].values, channel);
    let held: Record<string, number | null> = {};
    await until(
      `the values of unit ${unit}`,
      async () => {
        held = await read(Object.keys(wanted));
        const energy = OBIS.activeEnergy.replace('1-0:', `1-${channel}:`);
        // Between the counts of a register in steps of 10 Wh the energy is integrated.
        if (map === 'or-we-514') held[energy]! -= held[energy]! % 10;
        return JSON.stringify(held) === JSON.stringify(wanted);
      },
      20_000,
    ).catch(() => assert.equal(held, wanted));
  });
}

Several('the head end reads the first one', async () => {
  const { status, reading } = await platform.read();
  assert.is(status, 200);
  assert.is(Platform.value(reading, OBIS.voltage).value, 231.42);
  assert.is(Platform.value(reading, OBIS.voltage).quality, 'good');
});

Several('a slow and a silent one: the others keep their rate, the silent one is marked and costs little', async () => {
  const quietAt = performance.now();
  await wait(QUIET_MS);
  const before = [QUICK, ALSO_QUICK].map((unit) => rate(unit, quietAt));
  for (const passes of before)
    assert.ok(passes > 0.4, `${passes} passes a second of a bus with ${CYCLE_MS} ms a cycle`);

  const badAt = performance.now();
  await bus.set({ [SLOW]: { delay_ms: 350 }, [SILENT]: { silent: true } });
  await until(
    'the silent one is marked',
    async () => (await read(['1-3:32.7.0.255']))['1-3:32.7.0.255'] === null,
    MISSING_LIMIT_MS,
  );
  while (performance.now() - badAt < BAD_MS) {
    await wait(1_000);
    const { reading } = await platform.read();
    assert.is(Platform.value(reading, OBIS.voltage).quality, 'good', 'of the meter’s own');
    const values = await read(['1-1:32.7.0.255', '1-2:32.7.0.255', '1-3:32.7.0.255']);
    assert.equal(Object.values(values), [230.2, 230.1, null]);
  }
  const after = [QUICK, ALSO_QUICK].map((unit) => rate(unit, badAt));
  const slow = rate(SLOW, badAt);
  const [share, shareLater] = [badAt, badAt + BAD_MS / 2].map((since) => busShare(SILENT, since));
  const text = (numbers: number[]) => numbers.map((n) => n.toFixed(2)).join(' ');
  console.log(`passes a second: before ${text(before)}, then ${text(after)}, slow ${text([slow])}`);
  console.log(`bus time for the silent one: ${text([100 * share!])} %, later ${text([100 * shareLater!])} %`);
  for (const [i, passes] of after.entries()) assert.ok(passes > 0.6 * before[i]!, `${passes} of ${before[i]} a second`);
  assert.ok(slow > 0.5, `the slow one is still read: ${slow} a second`);
  assert.ok(share! < 0.4, `${share} of the bus time`);
  assert.ok(shareLater! < 0.2, `later ${shareLater} of the bus time`);

  await bus.set({ [SILENT]: { silent: false } });
  await until('it comes back by itself', async () => (await read(['1-3:32.7.0.255']))['1-3:32.7.0.255'] === 230.2);
});

const hasBoth = [
  needs('socat', hasSocat(), 'apt-get install socat'),
  needs('pymodbus', hasPymodbus(), 'apt-get install python3-pymodbus python3-serial-asyncio'),
];
if (hasBoth.every(Boolean)) Several.run();
