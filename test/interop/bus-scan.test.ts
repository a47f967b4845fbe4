/** `self-test --scan` against meters that are not ours: of all kinds on one bus, at other settings, and where there is none. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex } from '#base/bytes';
import { loadConfig } from '#hw/config';
import { createLog } from '#hw/log';
import { SimMeter, startSimSlave } from '#hw/sim/or-we-514';
import { crc16 } from '#modbus/crc';
import { commandWorks, needs } from '#test/needs';
import { seeded } from '#test/random';
import { FIRMWARE_CONFIG } from '../../firmware/config.ts';
import { selfTestVerb } from '../../firmware/self-test-device.ts';
import {
  HOUSE,
  hasPymodbus,
  hasSocat,
  mapUnit,
  type PymodbusUnit,
  startPtyPair,
  startPymodbusBus,
} from './pymodbus.ts';

const PYTHON = '/usr/bin/python3';
/** The registers that an OR-WE-514 has in the golden frames. */
const REGISTERS = mapUnit('or-we-514')[3];

interface Scanned {
  readonly status: number | undefined;
  readonly lines: string[];
  /** What people saw on stderr. */
  readonly said: string;
}

async function scan(flags: Readonly<Record<string, string | boolean>>, json = true): Promise<Scanned> {
  const lines: string[] = [];
  let said = '';
  const { write } = process.stderr;
  process.stderr.write = ((text: string) => {
    said += text;
    return true;
  }) as typeof write;
  try {
    const status = await selfTestVerb.run({
      config: loadConfig(FIRMWARE_CONFIG, { flags }),
      flags: { scan: true, ...flags },
      positionals: [],
      json,
      log: createLog('test', { write: () => {} }),
      out: (line) => lines.push(line),
    });
    return { status, lines, said };
  } finally {
    process.stderr.write = write;
  }
}

/** The configuration that the printed lines make. */
function configOf(lines: readonly string[]) {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-scan-'));
  try {
    writeFileSync(join(folder, 'found.toml'), `${lines.join('\n')}\n`);
    return loadConfig(FIRMWARE_CONFIG, { file: join(folder, 'found.toml') });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Function codes of the requests among the bytes, each whole with a good CRC. */
function functionCodes(hex: string): Set<number> {
  const bytes = fromHex(hex);
  const codes = new Set<number>();
  assert.is(bytes.length % 8, 0);
  for (let at = 0; at < bytes.length; at += 8) {
    assert.is(crc16(bytes, at, at + 8), 0);
    codes.add(bytes[at + 1]!);
  }
  return codes;
}

/** Starts meters on a pty of their own. */
async function startPtyMeters(meters: readonly object[]) {
  const script = join(process.cwd(), 'test', 'interop', 'pty-meter.py');
  const child = spawn(PYTHON, [script, JSON.stringify(meters)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout });
  let heard = '';
  const path = await new Promise<string>((resolve) => lines.once('line', resolve));
  lines.on('line', (line) => (heard += line.slice(4)));
  return { path, heard: () => heard, stop: () => void child.kill() };
}

const Scan = suite('bus scan');

if (needs('python3', commandWorks(PYTHON, '--version'), 'apt-get install python3')) {
  Scan('every speed and framing is asked; the meters are found with the lines to write for them', async () => {
    const meters = await startPtyMeters([
      { baud: 4800, unit: 3, registers: REGISTERS },
      { baud: 9600, stop_bits: 2, unit: 3, registers: REGISTERS },
    ]);
    try {
      const flags = { 'serial-url': meters.path, 'serial-driver': 'tty', units: '3-3' };
      const first = await scan(flags, false);
      assert.is(first.status, 0);
      assert.match(
        first.lines[0]!,
        /^# 9600 8N2, unit 3: or-we-514 or or-we-515, identity 162 \(0xa2\); 231\.42 V, 1\.47/,
      );
      const config = configOf(first.lines);
      assert.equal(
        ['baud', 'stop_bits', 'unit'].map((key) => config.number(`serial.${key}`)),
        [9600, 2, 3],
      );
      assert.equal(
        ['url', 'parity', 'map'].map((key) => config.string(`serial.${key}`)),
        [meters.path, 'none', 'or-we-514'],
      );
      assert.match(first.said, /^28 settings, unit 3: about \d+ s when nothing answers\n1\/28 9600 8E1, about/);
      assert.match(first.said, /24 settings were not asked: --all goes on, about \d+ s\n$/);

      const all = await scan({ ...flags, all: true }, true);
      const found = all.lines.map((line) => JSON.parse(line));
      // A pty has no parity, so each framing fits; who answers with one stop bit is not asked with two.
      assert.equal(
        found.slice(0, -1).map(({ baud, parity, stopBits, unit, map }) => [baud, parity, stopBits, unit, map]),
        [
          [9600, 'none', 2, 3, 'or-we-514'],
          [4800, 'even', 1, 3, 'or-we-514'],
          [4800, 'none', 1, 3, 'or-we-514'],
          [4800, 'odd', 1, 3, 'or-we-514'],
        ],
      );
      const line = { url: meters.path, driver: 'tty' };
      assert.equal(found.at(-1), {
        serial: [
          { ...line, baud: 9600, parity: 'none', stop_bits: 2, unit: 3, map: 'or-we-514' },
          ...['even', 'none', 'odd'].map((parity) => ({ ...line, baud: 4800, parity, unit: 3, map: 'or-we-514' })),
        ],
        settingsLeft: 0,
      });
      assert.equal([...functionCodes(meters.heard())], [3, 4]);
    } finally {
      meters.stop();
    }
  });

  Scan('Ctrl-C ends it with what was found, the status of a part, and the port free', async () => {
    const bundle = join(process.cwd(), 'dist', 'firmware.js');
    assert.ok(existsSync(bundle), 'build the bundles first: node build.mjs');
    const meters = await startPtyMeters([{ baud: 19_200, unit: 1, registers: REGISTERS }]);
    let child: ChildProcess | undefined;
    try {
      const flags = ['--scan', '--all', '--units', '1-1', '--serial-url', meters.path, '--serial-driver', 'tty'];
      const started = spawn(process.execPath, [bundle, 'self-test', ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
      child = started;
      const exit = new Promise<number | null>((resolve) => started.once('exit', resolve));
      let printed = '';
      started.stdout.on('data', (chunk) => (printed += chunk));
      let said = '';
      for await (const line of createInterface({ input: started.stderr })) {
        said += `${line}\n`;
        if (line.startsWith('8/28 ')) started.kill('SIGINT');
      }
      assert.is(await exit, 5);
      assert.match(
        printed,
        /^# 19200 8E1, unit 1: or-we-514 or or-we-515.*\n(# 19200.*\n){2}\[serial\]\nurl = .*\ndriver = "tty"\n/,
      );
      assert.is(configOf(printed.trim().split('\n')).number('serial.baud'), 19_200);
      // On a busy machine the signal comes some settings later.
      assert.match(said, /stopped; (1\d|2[01]) settings were not asked\n$/);
      assert.ok(commandWorks('flock', '-n', meters.path, 'true'), 'the port is free');
    } finally {
      child?.kill();
      meters.stop();
    }
  });
}

if (
  needs('socat', hasSocat(), 'apt-get install socat') &&
  needs('pymodbus', hasPymodbus(), 'apt-get install python3-pymodbus python3-serial-asyncio')
) {
  Scan('meters of every kind on one bus are all listed, and nothing is ever written', async () => {
    const folder = mkdtempSync(join(tmpdir(), 's3mp-scan-'));
    const pty = await startPtyPair(folder);
    // As in the field, where a meter with three phases also has the registers of one.
    const sdm630: PymodbusUnit = { ...mapUnit('sdm630'), 4: { ...mapUnit('sdm120')[4], ...mapUnit('sdm630')[4] } };
    const slave = await startPymodbusBus(pty.meter, {
      1: mapUnit('or-we-514'),
      2: { ...mapUnit('or-we-515'), delay_ms: 40 },
      3: mapUnit('or-we-504'),
      5: mapUnit('or-we-516'),
      6: mapUnit('sdm120'),
      8: sdm630,
      // A thing that is no energy meter.
      9: { 3: { 0: 17, 1: 4 } },
    });
    try {
      const { status, lines } = await scan({ 'serial-url': pty.bus, 'serial-driver': 'tty' }, false);
      assert.is(status, 0);
      assert.equal(
        lines.slice(0, 7).map((line) => line.replace(/^# 9600 8E1, unit |;.*/g, '')),
        [
          '1: or-we-514 or or-we-515, identity 162 (0xa2)',
          '2: or-we-515, identity 162 (0xa2)',
          '3: or-we-504',
          '5: or-we-516, identity 1234567 (0x12d687)',
          '6: sdm120 or sdm230, identity 19088743 (0x1234567)',
          '8: sdm630, identity 19088745 (0x1234569)',
          '9: no register map fits',
        ],
      );
      const config = configOf(lines);
      assert.is(config.number('serial.unit'), 1);
      assert.is(config.number('serial.stop_bits'), 1);
      assert.equal(config.strings('serial.further'), [
        '2:or-we-515',
        '3:or-we-504',
        '5:or-we-516',
        '6:sdm120',
        '8:sdm630',
      ]);
      assert.equal([...functionCodes(slave.heard())], [3, 4]);
    } finally {
      await slave.stop();
      await pty.stop();
      rmSync(folder, { recursive: true });
    }
  });
}

Scan('behind a device server the unit is found; for people the lines are those of the configuration', async () => {
  const house = { at: () => HOUSE };
  const slave = await startSimSlave({ host: '127.0.0.1', port: 0 }, new SimMeter(2, house), {
    baud: 0,
    turnaroundMs: 0,
  });
  try {
    const url = `tcp://127.0.0.1:${slave.port}`;
    const { status, lines } = await scan({ 'serial-url': url }, false);
    assert.is(status, 0);
    assert.equal(lines.slice(1), [
      '[serial]',
      `url = "${url}"`,
      'baud = 9600',
      'parity = "even"',
      'unit = 2',
      'map = "or-we-514"',
    ]);
  } finally {
    await slave.close();
  }
});

Scan('an answer that is late, during the question to the next unit, is still its own', async () => {
  const meter = new SimMeter(2, { at: () => HOUSE });
  const slave = await startSimSlave({ host: '127.0.0.1', port: 0 }, meter, { baud: 0, turnaroundMs: 450 });
  try {
    const { status, lines } = await scan({ 'serial-url': `tcp://127.0.0.1:${slave.port}`, units: '1-4' });
    assert.is(status, 0);
    const { unit, map } = JSON.parse(lines[0]!);
    assert.equal([unit, map, lines.length], [2, 'or-we-514', 2]);
  } finally {
    await slave.close();
  }
});

Scan('noise without end is nobody’s answer, and the scan ends', async () => {
  const random = seeded();
  const server = createServer((socket) => {
    const timer = setInterval(() => socket.write(random.bytes(1 + random.below(60))), 3);
    socket.on('error', () => {});
    socket.on('close', () => clearInterval(timer));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const url = `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { status, lines } = await scan({ 'serial-url': url, units: '1-8' });
    assert.equal([status, lines.length], [3, 1]);
  } finally {
    server.close();
  }
});

Scan(
  'where nothing answers the status is 3; a port that does not open and units that cannot be are errors',
  async () => {
    const slave = await startSimSlave({ host: '127.0.0.1', port: 0 }, new SimMeter(200), { baud: 0, turnaroundMs: 0 });
    try {
      const url = `tcp://127.0.0.1:${slave.port}`;
      const nothing = await scan({ 'serial-url': url, units: '1-3' });
      assert.equal([nothing.status, nothing.lines], [3, ['{"serial":[],"settingsLeft":0}']]);
      assert.match(nothing.said, /nothing answers: .*--serial-map/);
      for (const units of ['0-3', '5-2', '1-248', 'all']) {
        const error = await scan({ 'serial-url': url, units }).catch((thrown) => thrown);
        assert.is(error.code, 'usage.invalid', units);
      }
    } finally {
      await slave.close();
    }
    for (const url of ['tcp://127.0.0.1:1', '/dev/s3mp-no-such-port']) {
      const error = await scan({ 'serial-url': url, 'serial-driver': 'tty' }).catch((thrown) => thrown);
      assert.is(error.code, 'modbus.port', url);
      assert.not.match(error.message, /trying again/);
    }
  },
);

Scan.run();
