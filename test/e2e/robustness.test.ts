/**
 * What a platform meets in the field: garbage on every line and socket, broken configurations, taken ports, a meter that
 * is gone and comes back, an energy meter that falls silent. Nothing dies, and every refusal is said in words.
 */

import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readTopologyFile } from '#hw/files';
import { deviceNode } from '#hw/lab/lab';
import { HEADEND_AS, LAB_ASES } from '#hw/lab/topology';
import { SimMeter, startSimSlave } from '#hw/sim/or-we-514';
import { GUARD_MS } from '#test/guard';
import { seeded } from '../random.ts';
import { BUNDLES, MISSING_LIMIT_MS, OBIS, Platform, until } from './platform.ts';

const random = seeded();
const folder = mkdtempSync(join(tmpdir(), 's3mp-robustness-'));

/** A line between the firmware and the energy meter, with a hand on it. */
async function noisyLine(slavePort: number) {
  const ends = new Set<Socket>();
  const server = createServer((bus) => {
    const slave = connect(slavePort, '127.0.0.1');
    ends.add(bus);
    bus.on('error', () => {});
    slave.on('error', () => {});
    bus.on('data', (bytes) => slave.write(bytes));
    slave.on('data', (bytes) => bus.write(bytes));
    bus.on('close', () => {
      ends.delete(bus);
      slave.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return {
    url: `tcp://127.0.0.1:${port}`,
    noise: (bytes: Uint8Array) => ends.forEach((end) => void end.write(bytes)),
    breakConnections: () => ends.forEach((end) => void end.destroy()),
    close: () => {
      ends.forEach((end) => void end.destroy());
      server.close();
    },
  };
}

/** Runs a bundle until it ends. */
function run(
  bundle: string,
  args: readonly string[],
  node = deviceNode(),
): Promise<{ status: number | null; err: string }> {
  const child = spawn(node, [join(BUNDLES, bundle), ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  let err = '';
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), GUARD_MS);
  return new Promise((resolve) =>
    child.on('close', (status) => {
      clearTimeout(timer);
      resolve({ status, err });
    }),
  );
}

let platform: Platform;
let meter: SimMeter;
let slave: Awaited<ReturnType<typeof startSimSlave>>;
let line: Awaited<ReturnType<typeof noisyLine>>;

const qualityOf = async (obis: string) => Platform.value((await platform.read()).reading, obis).quality;
const readsWell = () =>
  until(
    'a good reading',
    async () => (await platform.read()).status === 200 && (await qualityOf(OBIS.voltage)) === 'good',
  );

const Robustness = suite('robustness');

Robustness.before(async () => {
  meter = new SimMeter();
  meter.setRegister(0x0131, 23000);
  slave = await startSimSlave({ host: '127.0.0.1', port: 0 }, meter, { baud: 0, turnaroundMs: 2 });
  line = await noisyLine(slave.port);
  platform = await Platform.start({ serialUrls: [line.url], dlmsTcp: true });
  await readsWell();
});
Robustness.after(async () => {
  await platform?.stop();
  line?.close();
  await slave?.close();
  rmSync(folder, { recursive: true, force: true });
});

Robustness('garbage on the serial line costs readings at worst, never a wrong value', async () => {
  for (let i = 0; i < 60; i++) {
    line.noise(random.bytes(1 + random.below(80)));
    await new Promise((resolve) => setTimeout(resolve, 20));
    if (i % 20 !== 0) continue;
    const { status, reading } = await platform.read();
    assert.is(status, 200);
    const voltage = Platform.value(reading, OBIS.voltage);
    assert.ok(voltage.value === 230 || voltage.quality === 'missing', `${voltage.value} ${voltage.quality}`);
  }
  await readsWell();
});

Robustness('a broken bus connection is opened again', async () => {
  line.breakConnections();
  meter.setRegister(0x0131, 22950);
  await until(
    'the new value',
    async () => Platform.value((await platform.read()).reading, OBIS.voltage).value === 229.5,
  );
});

Robustness('garbage on every UDP socket is dropped', async () => {
  const { addresses, meters } = platform.lab;
  const targets = LAB_ASES.flatMap(({ ia }) => {
    const { internal, interfaces } = readTopologyFile(platform.lab.topologyFile(ia)).routers[0]!;
    return [internal, ...interfaces.map((i) => i.local)].map(({ host, port }): [string, number] => [host, port]);
  });
  targets.push([meters[0]!.host, 4059], [meters[0]!.host, 30_041], [addresses.headend(HEADEND_AS.number), 30_041]);
  const socket = createSocket('udp4');
  for (let i = 0; i < 2_000; i++) {
    const bytes = random.bytes(random.below(1400));
    // A third looks like SCION at first sight.
    if (i % 3 === 0 && bytes.length > 12) bytes.set([0, 0, 0, 1, 17, 9, 0, bytes.length - 36, 1, 0, 0, 0]);
    const [host, port] = targets[i % targets.length]!;
    socket.send(bytes, port, host);
    if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await readsWell();
  socket.close();
});

Robustness('garbage on TCP 4059 closes that connection and no other', async () => {
  const { host } = platform.lab.meters[0]!;
  for (let i = 0; i < 20; i++) {
    const socket = connect(4059, host);
    socket.on('error', () => {});
    await new Promise<void>((resolve) => {
      socket.on('close', () => resolve());
      socket.write(random.bytes(1 + random.below(3000)));
      socket.setTimeout(300, () => socket.destroy());
    });
  }
  await readsWell();
});

Robustness('garbage and errors in a configuration are exit 2 with one line', async () => {
  const file = join(folder, 'device.toml');
  const cases: [Uint8Array | string, RegExp][] = [
    [random.bytes(400), /device\.toml|configuration/],
    ['[serial]\nurll = "x"\n', /did you mean serial\.url/],
    ['[serial]\nbaud = "fast"\n', /serial\.baud: expected a number/],
    ['[scion]\ntopology = "/nowhere/topology.json"\n', /password_file is not set|nowhere/],
  ];
  for (const [text, pattern] of cases) {
    writeFileSync(file, text);
    const { status, err } = await run('firmware.js', ['--config', file]);
    assert.is(status, 2, err);
    assert.match(err, pattern);
    assert.is(err.trim().split('\n').length, 1, err);
  }
  writeFileSync(join(folder, 'topology.json'), '{"isd_as": 5}');
  const gateway = await run('gateway.js', ['--as-directory', folder]);
  assert.is(gateway.status, 2);
  assert.match(gateway.err, /topology\.json.*isd_as/);
});

Robustness('a second process on a taken address says so', async () => {
  for (const [name, process] of platform.lab.processes) {
    const { node, script, args } = process.spec;
    const port = name === 'headend' ? ['--http-port', new URL(platform.url).port] : [];
    const { status, err } = await run(script.split('/').at(-1)!, [...args, ...port], node);
    assert.is(status, 2, `${name}: ${err}`);
    assert.match(err, /in use/, name);
    assert.not.match(err, /\n {4}at /, `${name} prints a stack`);
  }
  await readsWell();
});

Robustness('an energy meter that falls silent gives missing values, and comes back', async () => {
  slave.mute = true;
  await until('missing values', async () => (await qualityOf(OBIS.voltage)) === 'missing', MISSING_LIMIT_MS);
  const { reading } = await platform.read();
  assert.is(Platform.value(reading, OBIS.voltage).value, null, 'never an old value, never zero');
  slave.mute = false;
  await until('good values again', async () => (await qualityOf(OBIS.voltage)) === 'good');
});

Robustness('a meter that is gone is unreachable in words, and comes back by itself', async () => {
  const process = platform.lab.process('meter-1');
  await process.stop('SIGKILL');
  const { status, problem } = await platform.read();
  assert.is(status, 504);
  assert.is(problem.code, 'meter.unreachable');
  const gone = await until(
    'the meter late, stale or offline',
    async () => {
      const { state, values } = await platform.get<{ state: string; values: { quality: string; ageMs: number }[] }>(
        `meters/${platform.meterId}`,
      );
      return state !== 'online' && { state, values };
    },
    30_000,
  );
  assert.match(gone.state, /^(late|stale|offline)$/);
  await process.start();
  await readsWell();
});

Robustness('every process is still the one that was started', () => {
  for (const [name, process] of platform.lab.processes) assert.ok(process.running, `${name} has died`);
});

Robustness.run();
