/** Foreign clients read the meter's whole model over TCP: every attribute, profiles; set its clock, send an image. */

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EventCode } from '#dlms/well-known';
import { createLog } from '#hw/log';
import { seededRandom } from '#hw/random';
import { needs, PYTHON, pythonHas } from '#test/needs';
import { FileImageSlot } from '../../firmware/image-slots.ts';
import { Pusher } from '../../firmware/push.ts';
import { StateFiles } from '../../firmware/state-files.ts';
import { listen, OBJECT_COUNT, PASSWORD, pass, type TestMeter, testMeter } from './dlms-meter.ts';

interface Line {
  // biome-ignore lint/suspicious/noExplicitAny: each step has a result of its own shape
  readonly result?: any;
  readonly error?: string;
}

const scripts = join(__dirname, '..', '..', '..', 'test', 'interop');
const HINT = 'install test/interop/requirements.txt for the Python named by S3MP_PYTHON';
const LOAD = '1.0.99.1.0.255';

async function linesOf(child: ChildProcess): Promise<string[]> {
  let output = '';
  let errors = '';
  child.stdout!.on('data', (chunk) => (output += chunk));
  child.stderr!.on('data', (chunk) => (errors += chunk));
  const status = await new Promise((resolve) => child.on('close', resolve));
  assert.is(status, 0, errors);
  return output.split('\n').filter(Boolean);
}

/** Runs the steps in an association with the password; returns their lines. */
async function run(script: string, steps: readonly unknown[], meter: TestMeter): Promise<Line[]> {
  const listener = await listen(meter);
  try {
    const plan = JSON.stringify({ password: PASSWORD, steps });
    const lines = await linesOf(
      spawn(PYTHON, [join(scripts, script), '127.0.0.1', String(listener.port), plan], {
        env: { ...process.env, TZ: 'UTC' },
      }),
    );
    return lines.slice(1).map((line) => JSON.parse(line) as Line);
  } finally {
    await listener.close();
  }
}

function quarters(meter: TestMeter, hours: number): number[] {
  const first = Math.ceil(meter.clock.epochMs / 900_000) * 900;
  pass(meter, hours * 3_600_000, 10_000);
  return Array.from({ length: hours * 4 }, (_, i) => first + i * 900);
}

if (needs('gurux', pythonHas('gurux_dlms'), HINT)) {
  const Gurux = suite('dlms model interop: gurux');
  const client = 'gurux-client.py';

  Gurux('reads every attribute that the association view says is readable', async () => {
    const folder = mkdtempSync(join(tmpdir(), 's3mp-gurux-'));
    try {
      const files = new StateFiles(folder, createLog('state', { level: 'error' }));
      const meter = testMeter({
        imageSlot: new FileImageSlot(files, 1 << 16),
        sendPush: () => true,
        associations: [{ clientSap: 16, role: 'public', mechanism: 0, conformance: 0x10 }],
        network: { ipv4: 0x7f000001, port: 4059, maxPdu: 1024 },
      });
      pass(meter, 1_200_000, 10_000);
      const [all] = await run(client, [['everything']], meter);
      const [count, failures] = all!.result;
      assert.equal(failures, []);
      assert.ok(count > 4 * OBJECT_COUNT, `${count} attributes`);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  Gurux('reads the load profile by range, with selected columns, and by entry', async () => {
    const meter = testMeter();
    const times = quarters(meter, 6);
    const [range, columns, entries, day] = await run(
      client,
      [
        ['profile', LOAD, times[3], times[9], null],
        ['profile', LOAD, times[3], times[4], ['1.0.1.8.0.255']],
        ['entries', LOAD, 2, 3],
        ['profile', LOAD, times[0], times.at(-1), null],
      ],
      meter,
    );
    assert.equal(
      range!.result,
      times.slice(3, 10).map((second) => [second, 0, 1_234_560, 7_890]),
    );
    assert.equal(
      columns!.result?.map((row: unknown[]) => row.at(-1)),
      [1_234_560, 1_234_560],
      JSON.stringify(columns),
    );
    assert.equal(
      entries!.result?.map(([second]: [number]) => second),
      times.slice(1, 4),
    );
    assert.is(day!.result?.length, times.length, 'in several blocks');
  });

  Gurux('sets the clock, which leaves two events', async () => {
    const meter = testMeter();
    const [set, log] = await run(
      client,
      [
        ['clock', '2027-02-03T04:05:06+00:00'],
        ['entries', '0.0.99.98.0.255', 1, 9],
      ],
      meter,
    );
    assert.is(set!.result, 'done', set!.error);
    assert.is(meter.clock.epochMs, Date.UTC(2027, 1, 3, 4, 5, 6));
    const codes = log!.result.map(([, code]: [number, number]) => code);
    assert.equal(codes, [EventCode.powerUp, EventCode.clockAdjustedOld, EventCode.clockAdjustedNew]);
  });

  Gurux('transfers an image with blocks that come late, and has it verified', async () => {
    const folder = mkdtempSync(join(tmpdir(), 's3mp-image-'));
    try {
      const files = new StateFiles(folder, createLog('state', { level: 'error' }));
      const meter = testMeter({ imageSlot: new FileImageSlot(files, 1 << 16) });
      const random = seededRandom(1);
      const content = Uint8Array.from({ length: 5_000 }, () => random() * 256);
      const image = Buffer.concat([content, createHash('sha256').update(content).digest()]);
      const [line] = await run(client, [['image', image.toString('hex'), [0, 4]]], meter);
      assert.equal(line!.result, [[0, 4], 10, 3, image.length], line!.error);
      assert.ok(readFileSync(join(folder, 'image.bin')).equals(image));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  Gurux('disconnects and reconnects by script', async () => {
    const meter = testMeter();
    const table = '0.0.10.0.106.255';
    const steps = [
      ['script', table, 1],
      ['script', table, 2],
      ['script', table, 9],
    ];
    const [off, on, unknown] = await run(client, steps, meter);
    assert.is(off!.result, 'done', off!.error);
    assert.is(on!.result, 'done', on!.error);
    assert.ok(unknown!.error);
    assert.equal(meter.relay.moves, [
      'disconnect: remote-disconnect by client 17',
      'connect: remote-reconnect by client 17',
    ]);
  });

  Gurux('receives a push over UDP that it ordered', async () => {
    const pusher = new Pusher(createLog('push', { level: 'error' }));
    const meter = testMeter({ sendPush: (destination, frame) => pusher.send(destination, frame) });
    const listener = spawn(PYTHON, [join(scripts, 'gurux-listener.py')]);
    const lines = createInterface(listener.stdout!)[Symbol.asyncIterator]();
    try {
      const port = Number((await lines.next()).value);
      const [ordered] = await run(client, [['push', '0.0.25.9.0.255', `127.0.0.1:${port}`]], meter);
      assert.is(ordered!.result, 'done', ordered!.error);
      meter.model.tick();
      const values = JSON.parse(String((await lines.next()).value)) as unknown[];
      assert.is(values.length, 5);
      assert.is(values[0], Buffer.from('S3M0000000004711').toString('hex'));
      assert.equal(values.slice(2), [0, 1_234_560, 987]);
    } finally {
      listener.kill();
    }
  });

  Gurux.run();
}

if (needs('dlms-cosem', pythonHas('dlms_cosem'), HINT)) {
  const Cosem = suite('dlms model interop: dlms-cosem');

  Cosem('reads the load profile by range, in blocks', async () => {
    const meter = testMeter();
    const times = quarters(meter, 24);
    const columns = [
      [8, '0.0.1.0.0.255', 2],
      [1, '0.0.96.10.1.255', 2],
      [3, '1.0.1.8.0.255', 2],
      [3, '1.0.3.8.0.255', 2],
    ];
    const [line] = await run('dlms-cosem-client.py', [['profile', LOAD, times[1], times.at(-2), columns]], meter);
    assert.equal(
      line!.result,
      times.slice(1, -1).map((second) => [second, 0, 1_234_560, 7_890]),
      line!.error,
    );
  });

  Cosem.run();
}
