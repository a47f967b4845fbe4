/**
 * Poll loop: how near it comes to what the bus allows, and what it allocates.
 *
 * Efficiency is bus time : elapsed time over all requests of a run. Bus time of a read of n registers is 8 characters,
 * the meter's turnaround, 5 + 2n characters and the silence of 3.5 characters; the pty's far end (paced-meter.py) takes
 * the same time. The bare loop is the serialport package's stream with a timer, in the same rounds.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { messageOf } from '#base/errors';
import { METER_NODE_FLAGS } from '#hw/meter-flags';
import { type LineTiming, lineTiming } from '#modbus/line-timing';
import type { PollRun } from './poll-worker.ts';
import { median, type Report } from './report.ts';

const GOALS = [
  { baud: 9600, percent: 97 },
  { baud: 19_200, percent: 95 },
  { baud: 115_200, percent: 87 },
];
const TURNAROUND_MS = 0;
const ROUNDS = 3;
const SECONDS = 2.2;
const POLLS = 1_000_000;
/** No collection during a measurement: young space for more than what is allocated. */
const NO_COLLECTION = ['--expose-gc', '--min-semi-space-size=64', '--max-semi-space-size=64'];
/** The meter runs on the machine's own Node where npm knows one. */
const NODE = process.env.npm_node_execpath ?? process.execPath;
const WORKER = join(__dirname, 'poll-worker.js');

async function outputOf(child: ChildProcess): Promise<string> {
  let output = '';
  child.stdout!.on('data', (chunk) => (output += chunk));
  const [status] = await once(child, 'close');
  if (status !== 0) throw new Error(`${child.spawnargs.slice(1).join(' ')} ended with ${status}`);
  return output;
}

async function worker(flags: readonly string[], ...args: (string | number)[]): Promise<PollRun> {
  const child = spawn(NODE, [...flags, WORKER, ...args.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return JSON.parse(await outputOf(child)) as PollRun;
}

/** Runs `mode` against a paced meter of its own. */
async function onPacedLine(mode: 'loop' | 'bare', baud: number, flags: readonly string[]): Promise<PollRun> {
  const { characterMs } = lineTiming(baud, 'even');
  const script = join(process.cwd(), 'test', 'bench', 'paced-meter.py');
  const meter = spawn('python3', [script, String(characterMs), String(TURNAROUND_MS)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    const [path] = (await Promise.race([
      once(createInterface({ input: meter.stdout }), 'line'),
      once(meter, 'error').then(([error]) => Promise.reject(error)),
    ])) as [string];
    return await worker(flags, mode, path, baud, SECONDS);
  } finally {
    meter.stdin.end();
    if (meter.exitCode === null) await once(meter, 'close');
  }
}

function efficiency({ requests, registers, elapsedMs }: PollRun, { characterMs, gapMs }: LineTiming): number {
  const busMs = requests * (13 * characterMs + TURNAROUND_MS + gapMs) + 2 * registers * characterMs;
  return (100 * busMs) / elapsedMs;
}

async function efficiencies(report: Report): Promise<void> {
  for (const { baud, percent } of GOALS) {
    const timing = lineTiming(baud, 'even');
    const loop: number[] = [];
    const bare: number[] = [];
    let failures = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const run = await onPacedLine('loop', baud, METER_NODE_FLAGS);
      failures += run.failures;
      loop.push(efficiency(run, timing));
      bare.push(efficiency(await onPacedLine('bare', baud, METER_NODE_FLAGS), timing));
    }
    const value = median(loop);
    report.figure({
      bench: 'poll',
      metric: `efficiency at ${baud} 8E1, turnaround ${TURNAROUND_MS} ms`,
      value,
      unit: '%',
      baseline: median(bare),
      ratio: value / median(bare),
      goal: `≥ ${percent}`,
      ok: value >= percent,
      ...(failures > 0 ? { why: `with ${failures} failed attempts` } : {}),
    });
  }
}

async function allocations(report: Report): Promise<void> {
  const flags = [...METER_NODE_FLAGS, ...NO_COLLECTION];
  const memory = await worker(flags, 'allocation', POLLS);
  const driver = await onPacedLine('loop', 115_200, flags);
  const value = memory.allocated / memory.requests;
  report.figure({
    bench: 'poll',
    metric: 'allocated per poll; beside it with the serial driver',
    value,
    unit: 'B',
    baseline: driver.allocated / driver.requests,
    goal: '< 1',
    ok: value < 1 && memory.failures === 0,
  });
  report.figure({
    bench: 'poll',
    metric: 'time of our code per poll',
    value: (1000 * memory.elapsedMs) / memory.requests,
    unit: 'µs',
  });
}

export async function poll(report: Report): Promise<void> {
  try {
    await efficiencies(report);
    await allocations(report);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'needs python3: ' : '';
    const why = `not measured: ${missing}${messageOf(error)}`;
    report.figure({ bench: 'poll', metric: 'efficiency', value: null, unit: '%', goal: '≥ 97', ok: false, why });
  }
}
