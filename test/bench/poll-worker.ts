/**
 * The measured half of the poll bench, one process under the meter's own flags. Prints one JSON object.
 *
 *   poll-worker.js loop PORT BAUD SECONDS        the meter's poll loop
 *   poll-worker.js bare PORT BAUD SECONDS        the serialport package's stream and nothing else
 *   poll-worker.js allocation POLLS              the poll loop on a bus in memory, in virtual time
 */

import { performance } from 'node:perf_hooks';
import { createLog } from '#hw/log';
import { openBus } from '#hw/serial/open';
import type { BytePort } from '#hw/serial/port';
import { SimMeter } from '#hw/sim/or-we-514';
import { lineTiming } from '#modbus/line-timing';
import { OR_WE_514 } from '#modbus/maps/or-we-514';
import { planReads } from '#modbus/read-plan';
import { MeasurementImage } from '../../firmware/measurement-image.ts';
import { PollLoop } from '../../firmware/poll-loop.ts';
import { MemoryBus } from '../firmware/memory-bus.ts';

/** What was sent and how long it took, from one request to a later one. */
export interface PollRun {
  readonly requests: number;
  /** Registers of all replies together. */
  readonly registers: number;
  readonly elapsedMs: number;
  readonly failures: number;
  /** Bytes allocated, garbage collected or not. */
  readonly allocated: number;
}

const PARITY = 'even';
const WARM_UP_REQUESTS = 10;
/** Parts of the allocation run; a collection would show as a smaller heap after one of them. */
const CHUNKS = 20;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** What a household shows; values that contradict each other are read twice. */
const REGISTERS: readonly (readonly [address: number, value: number])[] = [
  [0x0130, 5001],
  [0x0131, 23_142],
  [0x013a, 1473],
  [0x0141, 327],
  [0x0149, 98],
  [0x0151, 341],
  [0x0158, 959],
  [0xa001, 1979],
  [0xa01f, 1023],
];

function makeLoop(port: BytePort, baud: number): PollLoop {
  return new PollLoop({
    port,
    map: OR_WE_514,
    unit: 1,
    timing: lineTiming(baud, PARITY),
    timeoutMs: 600,
    cycleMs: 0,
    image: new MeasurementImage(),
    clock: () => performance.now(),
    log: createLog('poll', { level: 'warn' }),
  });
}

/** Counts requests and registers from one request to the last. */
class Tally {
  private requests = -WARM_UP_REQUESTS;
  private registers = 0;
  private firstAt = 0;
  private lastAt = 0;
  private lastRegisters = 0;
  private heapAt = 0;
  private heap = 0;

  sent(count: number): void {
    const now = performance.now();
    this.requests++;
    if (this.requests === 0) {
      this.firstAt = now;
      this.registers = 0;
      this.heapAt = process.memoryUsage().heapUsed;
    } else {
      this.registers += this.lastRegisters;
      this.lastAt = now;
    }
    this.lastRegisters = count;
  }

  end(failures: number): PollRun {
    this.heap = process.memoryUsage().heapUsed - this.heapAt;
    const { requests, registers, firstAt, lastAt } = this;
    return { requests, registers, elapsedMs: lastAt - firstAt, failures, allocated: this.heap };
  }
}

async function loopRun(path: string, baud: number, seconds: number): Promise<PollRun> {
  const port = openBus(path, { baud, parity: PARITY });
  const tally = new Tally();
  const loop = makeLoop(port, baud);
  const write = port.write.bind(port);
  port.write = (frame) => {
    tally.sent((frame[4]! << 8) | frame[5]!);
    write(frame);
  };
  loop.start();
  await pause(1000 * seconds);
  loop.stop();
  const { counters } = loop.master;
  const run = tally.end(counters.failures + counters.timeouts + counters.damaged);
  await port.close();
  return run;
}

/** What a program of thirty lines does: the stream's events, a timer for t3.5, the same requests. */
async function bareRun(path: string, baud: number, seconds: number): Promise<PollRun> {
  const { SerialPort } = await import('serialport');
  const reads = planReads(OR_WE_514, 1);
  const due = reads.map(() => 0);
  const gapMs = lineTiming(baud, PARITY).gapMs;
  const tally = new Tally();
  const port = new SerialPort({ path, baudRate: baud, parity: PARITY });
  let index = -1;
  let received = 0;
  const send = () => {
    do index = (index + 1) % reads.length;
    while (performance.now() < due[index]!);
    due[index] = performance.now() + reads[index]!.everyMs;
    received = 0;
    tally.sent(reads[index]!.count);
    port.write(reads[index]!.frame);
  };
  port.on('data', (bytes: Buffer) => {
    received += bytes.length;
    if (received >= reads[index]!.replyLength) setTimeout(send, Math.ceil(gapMs));
  });
  await new Promise((resolve) => port.on('open', resolve));
  send();
  await pause(1000 * seconds);
  const run = tally.end(0);
  await new Promise((resolve) => port.close(resolve));
  return run;
}

/** Young space is large enough that nothing is collected meanwhile: what the heap grows by was allocated. */
function allocationRun(polls: number): PollRun {
  const meter = new SimMeter(1);
  for (const [address, value] of REGISTERS) meter.setRegister(address, value);
  const bus = new MemoryBus(meter, 57.25, false);
  const loop = makeLoop(bus, 9600);
  loop.time[0] = 0.5;
  bus.run(loop, 100_000);
  global.gc!();
  const startedAt = performance.now();
  let allocated = 0;
  let before = process.memoryUsage().heapUsed;
  for (let chunk = 0; chunk < CHUNKS; chunk++) {
    bus.run(loop, polls / CHUNKS);
    const after = process.memoryUsage().heapUsed;
    if (after < before) throw new Error('a collection spoiled the measurement');
    allocated += after - before;
    before = after;
  }
  const elapsedMs = performance.now() - startedAt;
  return { requests: polls, registers: 0, elapsedMs, failures: loop.master.counters.failures, allocated };
}

async function main(): Promise<PollRun> {
  const [mode, ...args] = process.argv.slice(2);
  if (mode === 'allocation') return allocationRun(Number(args[0]));
  return (mode === 'bare' ? bareRun : loopRun)(args[0]!, Number(args[1]), Number(args[2]));
}

if (require.main === module) {
  void main().then((run) => {
    console.log(JSON.stringify(run));
    process.exit(0);
  });
}
