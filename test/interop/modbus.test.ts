/** The meter's serial port and poll loop against pymodbus, an independent Modbus stack, over a pair of ptys. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openBus } from '#hw/serial/open';
import { needs } from '#test/needs';
import { seeded } from '#test/random';
import { type MeasurementImage, Quality, Quantity } from '../../firmware/measurement-image.ts';
import type { PollLoopOptions } from '../../firmware/poll-loop.ts';
import { clock, loopOn, type PortLoop, until } from './pty-loop.ts';
import {
  HOUSE,
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

/** Waits for a reply longer than a busy machine makes it take. */
const PATIENT = { timeoutMs: 5_000 };

interface Rig extends PortLoop {
  readonly folder: string;
}

/** Runs `test` with a poll loop on the bus end of a pty pair in `folder`, which the test makes. */
async function withLoop(test: (rig: Rig) => Promise<void>, options: Partial<PollLoopOptions> = {}): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-pty-'));
  const port = openBus(join(folder, 'bus'), { baud: 9600, parity: 'even' });
  const { loop, image, lines } = loopOn(port, options);
  loop.start();
  try {
    await test({ folder, loop, image, lines });
  } finally {
    loop.stop();
    await port.close();
    rmSync(folder, { recursive: true });
  }
}

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
        slave = await startPymodbusSlave(pty.meter, registersOf(HOUSE));
        // What was asked before it was there may have failed.
        await until('a first value', () => image.quality(Quantity.voltage, clock()) === Quality.good);
        const { failures, damaged } = loop.master.counters;
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
        await until('20 cycles', () => loop.cycles > 20);
        assert.is(loop.master.counters.failures, failures);
        assert.is(loop.master.counters.damaged, damaged);
      } finally {
        await slave?.stop();
        await pty.stop();
      }
    }, PATIENT);
  });

  Interop('a meter without some registers of the block is read value by value', async () => {
    await withLoop(async ({ folder, loop, image }) => {
      const pty = await startPtyPair(folder);
      const registers: Record<number, number> = { ...registersOf(HOUSE) };
      delete registers[0x133];
      const slave = await startPymodbusSlave(pty.meter, registers);
      try {
        const done = () => QUANTITIES.every((q) => image.quality(q, clock()) === Quality.good);
        await until(() => 'all values', done);
        assert.equal(valuesOf(image), expected(HOUSE));
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
          slave = await startPymodbusSlave(pty.meter, registersOf({ ...HOUSE, voltage }));
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
