/** The meter's serial port and poll loop against pymodbus, an independent Modbus stack, over a pair of ptys. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#hw/log';
import { openBus } from '#hw/serial/open';
import { OR_WE_514 } from '#modbus/maps/or-we-514';
import { lineTiming } from '#modbus/master';
import { needs } from '#test/needs';
import { seeded } from '#test/random';
import { MeasurementImage, Quality, Quantity } from '../../firmware/measurement-image.ts';
import { PollLoop } from '../../firmware/poll-loop.ts';
import {
  hasPymodbus,
  hasSocat,
  linkSerialDriver,
  type MeterValues,
  type PymodbusSlave,
  plausibleValues,
  registersOf,
  startPtyPair,
  startPymodbusSlave,
} from './pymodbus.ts';

const clock = () => performance.now();
/** Those of a meter with one phase and one tariff. */
const QUANTITIES = Object.values(Quantity).slice(0, 9);
/** Values, with the active energy as its register has it. */
const valuesOf = (image: MeasurementImage) =>
  QUANTITIES.map((q) => image.value(q) - (q === Quantity.activeEnergy ? image.value(q) % 10 : 0));

/** What the image must hold, in the order of `Quantity`. */
const expected = (v: MeterValues) => [
  v.voltage,
  v.current,
  v.frequency,
  v.activePower,
  v.reactivePower,
  v.apparentPower,
  v.powerFactor,
  10 * v.activeEnergy,
  10 * v.reactiveEnergy,
];

async function until(what: () => string, condition: () => boolean, limitMs = 15_000): Promise<void> {
  const end = clock() + limitMs;
  while (!condition()) {
    assert.ok(clock() < end, `within ${limitMs} ms: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

interface Rig {
  readonly folder: string;
  readonly loop: PollLoop;
  readonly image: MeasurementImage;
  readonly lines: string[];
}

/** Runs `test` with a poll loop on the bus end of a pty pair in `folder`, which the test makes. */
async function withLoop(test: (rig: Rig) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-pty-'));
  const port = openBus(join(folder, 'bus'), { baud: 9600, parity: 'even' });
  const image = new MeasurementImage();
  const lines: string[] = [];
  const loop = new PollLoop({
    port,
    map: OR_WE_514,
    unit: 1,
    timing: lineTiming(9600, 'even'),
    timeoutMs: 300,
    cycleMs: 0,
    backoffMs: { first: 200, last: 500 },
    image,
    clock,
    log: createLog('poll', { write: (line) => lines.push(line) }),
  });
  loop.start();
  try {
    await test({ folder, loop, image, lines });
  } finally {
    loop.stop();
    await port.close();
    rmSync(folder, { recursive: true });
  }
}

const TYPICAL: MeterValues = {
  voltage: 23_142,
  current: 1473,
  frequency: 5001,
  activePower: 327,
  reactivePower: 98,
  apparentPower: 341,
  powerFactor: 959,
  activeEnergy: 197_936,
  reactiveEnergy: 102_348,
};

if (
  needs('socat', hasSocat(), 'apt-get install socat') &&
  needs('pymodbus', hasPymodbus(), 'apt-get install python3-pymodbus python3-serial-asyncio')
) {
  const Interop = suite('modbus interop: pymodbus over a pty');
  Interop.before(linkSerialDriver);

  Interop('random values in its registers are found in the image, exports too', async () => {
    const random = seeded();
    await withLoop(async ({ folder, loop, image }) => {
      const pty = await startPtyPair(folder);
      let slave: PymodbusSlave | undefined;
      try {
        slave = await startPymodbusSlave(pty.meter, registersOf(TYPICAL));
        for (let round = 0; round < 6; round++) {
          const values = plausibleValues(random);
          await slave.set(registersOf(values));
          const held = () => valuesOf(image);
          const what = () => `${held()} equals ${expected(values)}`;
          await until(what, () => String(held()) === String(expected(values)));
          await until(
            () => 'no doubts',
            () => QUANTITIES.every((q) => image.quality(q, clock()) === Quality.good),
          );
        }
        assert.is(loop.master.counters.failures, 0);
        assert.is(loop.master.counters.damaged, 0);
        assert.ok(loop.cycles > 20, `${loop.cycles} cycles`);
      } finally {
        await slave?.stop();
        await pty.stop();
      }
    });
  });

  Interop('a meter without some registers of the block is read value by value', async () => {
    await withLoop(async ({ folder, loop, image }) => {
      const pty = await startPtyPair(folder);
      const registers: Record<number, number> = { ...registersOf(TYPICAL) };
      delete registers[0x133];
      const slave = await startPymodbusSlave(pty.meter, registers);
      try {
        const done = () => QUANTITIES.every((q) => image.quality(q, clock()) === Quality.good);
        await until(() => 'all values', done);
        assert.equal(valuesOf(image), expected(TYPICAL));
        const { exceptions } = loop.master.counters;
        assert.ok(exceptions >= 1 && exceptions <= 3, `${exceptions} refusals`);
      } finally {
        await slave.stop();
        await pty.stop();
      }
    });
  });

  Interop('a port that vanishes and comes back is opened again', async () => {
    await withLoop(async ({ folder, image, lines }) => {
      const isGood = () => QUANTITIES.every((q) => image.quality(q, clock()) === Quality.good);
      for (const voltage of [23_000, 24_000, 22_000]) {
        const pty = await startPtyPair(folder);
        let slave: PymodbusSlave | undefined;
        try {
          slave = await startPymodbusSlave(pty.meter, registersOf({ ...TYPICAL, voltage }));
          await until(
            () => `voltage ${voltage}`,
            () => isGood() && image.value(Quantity.voltage) === voltage,
          );
        } finally {
          await pty.stop();
          await slave?.stop();
        }
        await until(
          () => 'the loss is noticed',
          () => image.quality(Quantity.voltage, clock()) === Quality.suspect,
        );
      }
      assert.ok(lines.some((line) => line.includes('code=modbus.port')));
      assert.ok(lines.some((line) => line.includes('bus open')));
    });
  });

  Interop.run();
}
