/** `self-test --scan` against meters that are not ours: at another speed on a pty, at another unit, and where there is none. */

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#hw/config';
import { createLog } from '#hw/log';
import { SimMeter, startSimSlave } from '#hw/sim/or-we-514';
import { commandWorks, needs } from '#test/needs';
import { FIRMWARE_CONFIG } from '../../firmware/config.ts';
import { selfTestVerb } from '../../firmware/self-test-device.ts';
import { registersOf } from './pymodbus.ts';

const PYTHON = '/usr/bin/python3';
const VALUES = {
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

async function scan(flags: Readonly<Record<string, string>>, json = true) {
  const lines: string[] = [];
  const status = await selfTestVerb.run({
    config: loadConfig(FIRMWARE_CONFIG, {}),
    flags: { scan: true, ...flags },
    positionals: [],
    json,
    log: createLog('test', { write: () => {} }),
    out: (line) => lines.push(line),
  });
  return { status, lines };
}

const Scan = suite('bus scan');

if (needs('python3', commandWorks(PYTHON, '--version'), 'apt-get install python3')) {
  Scan('a meter at 4800 baud and unit 3 is found with its register map', async () => {
    const script = join(process.cwd(), 'test', 'interop', 'pty-meter.py');
    const args = [script, '4800', '3', JSON.stringify(registersOf(VALUES))];
    const meter = spawn(PYTHON, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const path = await new Promise<string>((resolve) =>
        createInterface({ input: meter.stdout }).once('line', resolve),
      );
      const { status, lines } = await scan({ 'serial-url': path, 'serial-driver': 'tty', units: '2-3' });
      assert.is(status, 0);
      assert.is(lines.length, 1);
      const found = JSON.parse(lines[0]!);
      // A pty has no parity, so the first framing that is tried fits.
      assert.equal([found.baud, found.parity, found.unit, found.map], [4800, 'even', 3, 'or-we-514']);
      assert.match(found.values, /^231\.42 V, 1\.473 A/);
    } finally {
      meter.kill();
    }
  });
}

Scan('behind a device server the unit is found; for people the line is that of the configuration', async () => {
  const house = { at: () => VALUES };
  const slave = await startSimSlave({ host: '127.0.0.1', port: 0 }, new SimMeter(2, house), {
    baud: 0,
    turnaroundMs: 0,
  });
  try {
    const { status, lines } = await scan({ 'serial-url': `tcp://127.0.0.1:${slave.port}` }, false);
    assert.is(status, 0);
    assert.equal(
      lines.map((line) => line.split(' (')[0]),
      ['serial.baud = 9600, serial.parity = "even", serial.unit = 2, serial.map = "or-we-514"'],
    );
  } finally {
    await slave.close();
  }
});

Scan(
  'where nothing answers the status is 3; a port that does not open and units that cannot be are errors',
  async () => {
    const slave = await startSimSlave({ host: '127.0.0.1', port: 0 }, new SimMeter(200), { baud: 0, turnaroundMs: 0 });
    try {
      const url = `tcp://127.0.0.1:${slave.port}`;
      assert.equal(await scan({ 'serial-url': url, units: '1-3' }), { status: 3, lines: [] });
      for (const units of ['0-3', '5-2', '1-248', 'all']) {
        const error = await scan({ 'serial-url': url, units }).catch((thrown) => thrown);
        assert.is(error.code, 'usage.invalid', units);
      }
    } finally {
      await slave.close();
    }
    const error = await scan({ 'serial-url': 'tcp://127.0.0.1:1' }).catch((thrown) => thrown);
    assert.is(error.code, 'modbus.port');
  },
);

Scan.run();
