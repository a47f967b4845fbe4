/**
 * DLMS: what one GET of a register costs our server beside servers made of other libraries, all asked by the same client
 * over TCP in the same run, in turns; what a request allocates; how long a day's profile takes; and the codec.
 *
 * One connection, one request at a time, in the clear. CPU time is the kernel's, over all threads of the server's process,
 * user and system: a compiler's and a collector's too. Most of it is what a segment in and a segment out cost a runtime,
 * so two bare Node servers stand beside it, which answer each segment unread: no server on node:net can cost less than
 * they do.
 * Foreign servers: the Java peers where `mvn -f test/interop/java process-classes` has built them; the program that
 * S3MP_GURUX_C names, Gurux's example server in C without its trace file, which takes its first port after `-p`.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { messageOf } from '#base/errors';
import { decodeData, encodeData } from '#dlms/axdr';
import { DlmsClient } from '#dlms/client';
import { exchange } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import { ProfileReader } from '#dlms/profile-reader';
import { ByteReader } from '#dlms/reader';
import { WRAPPER_SIZE } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';
import { connectDlmsTcp, type DlmsTcpChannel } from '#hw/dlms-tcp';
import { METER_NODE_FLAGS } from '#hw/meter-flags';
import { listen, PASSWORD, pass, testMeter } from '../interop/dlms-meter.ts';
import { javaProgram, javaVersion, type Program, Served } from '../interop/dlms-peers.ts';
import { BENCH_FOLDER } from './child.ts';
import { median, type Report } from './report.ts';

const HOST = '127.0.0.1';
/** Java's second compiler is through after some 60,000 requests. */
const WARM_UP = 100_000;
/** Short rounds in turns: what else runs on the machine meets all of them alike. */
const GETS = 1_000;
const ROUNDS = 40;
const OPERATIONS = 100_000;
const TIMES_C = 3;
const TIMES_BARE = 1.2;
/** The meter runs on the machine's own Node where npm knows one. */
const NODE = process.env.npm_node_execpath ?? process.execPath;
const ENERGY = '1-0:1.8.0.255';

interface Asked {
  readonly name: string;
  readonly server: Served;
  readonly channel: DlmsTcpChannel;
  /** The same GET each time, as a wrapper frame. */
  readonly request: Uint8Array;
  /** CPU time of each thread when it was last seen, ns: of those, too, that have ended. */
  readonly threads: Map<string, number>;
  readonly us: number[];
}

/** CPU time of a server so far, ns, over all its threads. */
function cpuNs({ server, threads }: Asked): number {
  for (const task of readdirSync(`/proc/${server.pid}/task`))
    try {
      const text = readFileSync(`/proc/${server.pid}/task/${task}/schedstat`, 'latin1');
      threads.set(task, Number(text.split(' ')[0]));
    } catch {
      // It has just ended.
    }
  let sum = 0;
  for (const ns of threads.values()) sum += ns;
  return sum;
}

async function ask({ channel, request }: Asked, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    const answer = await channel.exchange(request);
    if (answer[WRAPPER_SIZE] !== 0xc4 || answer[WRAPPER_SIZE + 3] !== 0) throw new Error('no value in the answer');
  }
}

async function asked(name: string, program: Program, args: string[], obis: string, offset = 0): Promise<Asked> {
  const server = await Served.start(program, ...args);
  return open(name, server, server.port + offset, obis);
}

async function open(name: string, server: Served, port: number, obis: string): Promise<Asked> {
  const isOurs = name === 'ours';
  // Of our meter a client without password sees no register.
  const client = new DlmsClient(isOurs ? { clientSap: 17, password: asciiBytes(PASSWORD) } : { clientSap: 16 });
  const channel = await connectDlmsTcp(HOST, port);
  await exchange(client.associate(), (frame) => channel.exchange(frame));
  const step = client.get({ classId: 3, ln: parseObis(obis), attribute: 2 }).next();
  return { name, server, channel, request: (step.value as Uint8Array).slice(), threads: new Map(), us: [] };
}

/** A bare server, asked with the frame of a GET. */
async function bare(name: string, args: readonly string[]): Promise<Asked> {
  const program: Program = [NODE, ...METER_NODE_FLAGS, join(BENCH_FOLDER, 'bare-tcp.js'), ...args];
  const server = await Served.start(program);
  const channel = await connectDlmsTcp(HOST, server.port);
  const request = fromHex('000100110001000dc001c100030100010800ff0200');
  return { name, server, channel, request, threads: new Map(), us: [] };
}

/** Gurux's example in C serves five ports from the one it is given; the fourth is the wrapper with logical names. */
async function guruxC(program: string, folder: string): Promise<Asked> {
  const first = await freePort();
  // It leaves its settings in the folder where it runs.
  const script = 'cd "$3" && echo "$2" && exec "$1" -p "$2" -t Off >/dev/null';
  const server = await Served.start(['sh', '-c', script, 'sh', program, String(first), folder]);
  for (let tries = 0; ; tries++) {
    try {
      return await open('Gurux C', server, first + 3, '1-1:21.25.0.255');
    } catch (error) {
      if (tries === 50) throw error;
      await new Promise((wake) => setTimeout(wake, 50));
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, HOST, done));
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}

async function costOfGets(report: Report): Promise<void> {
  const all: Asked[] = [];
  const folder = mkdtempSync(join(tmpdir(), 's3mp-bench-'));
  const absent = new Map<string, string>();
  const add = async (name: string, start: (() => Promise<Asked>) | undefined, hint: string) => {
    try {
      if (start) all.push(await start());
      else absent.set(name, hint);
    } catch (error) {
      absent.set(name, messageOf(error));
    }
  };
  const ours: Program = [NODE, ...METER_NODE_FLAGS, join(BENCH_FOLDER, 'dlms-server.js')];
  const c = process.env.S3MP_GURUX_C;
  const hint = 'mvn -f test/interop/java process-classes has not built it';
  const plan = JSON.stringify({ transport: 'tcp', password: PASSWORD, steps: [] });
  const compiled = ([command, , ...args]: Program): Program => [command, ...args];
  all.push(await asked('ours', ours, [], ENERGY));
  await add('Gurux C', c ? () => guruxC(resolve(c), folder) : undefined, 'S3MP_GURUX_C names no program');
  const java = compiled(javaProgram('GuruxServer'));
  await add(
    'Gurux Java',
    javaVersion('gurux.dlms') ? () => asked('Gurux Java', java, [plan], ENERGY) : undefined,
    hint,
  );
  const jdlms = compiled(javaProgram('JdlmsServer'));
  await add('jDLMS', javaVersion('jdlms') ? () => asked('jDLMS', jdlms, [], ENERGY) : undefined, hint);
  const bareData = await bare('bare Node', []);
  const bareInPlace = await bare('bare Node in place', ['in-place']);
  all.push(bareData, bareInPlace);
  try {
    for (const each of all) await ask(each, WARM_UP);
    for (let round = 0; round < ROUNDS; round++)
      for (const each of all) {
        const before = cpuNs(each);
        await ask(each, GETS);
        each.us.push((cpuNs(each) - before) / GETS / 1000);
      }
  } finally {
    for (const { channel, server } of all) {
      channel.close();
      await server.stop();
    }
    rmSync(folder, { recursive: true });
  }
  const value = median(all[0]!.us);
  const floor = median(bareInPlace.us);
  for (const [what, baseline, times] of [
    ['a bare Node server', median(bareData.us), undefined],
    ['a bare Node server that receives in place', floor, TIMES_BARE],
  ] as const) {
    const metric = `CPU of our server per GET over TCP, beside ${what}`;
    const ratio = value / baseline;
    const judged = times === undefined ? {} : { goal: `≤ × ${times}`, ok: ratio <= times };
    report.figure({ bench: 'dlms', metric, value, unit: 'µs', baseline, ratio, ...judged });
  }
  for (const [name, times] of [
    ['Gurux C', TIMES_C],
    ['Gurux Java', 1],
    ['jDLMS', 1],
  ] as const) {
    const peer = all.find((each) => each.name === name);
    const metric = `CPU of our server per GET over TCP, beside ${name}`;
    const goal = times === 1 ? '< × 1' : `≤ × ${times}`;
    if (!peer) {
      report.figure({ bench: 'dlms', metric, value, unit: 'µs', why: `no baseline: ${absent.get(name)}` });
      continue;
    }
    const baseline = median(peer.us);
    const ratio = value / baseline;
    const ok = times === 1 ? ratio < 1 : ratio <= times;
    const why = `the bare server in place: × ${(floor / baseline).toFixed(2)}`;
    report.figure({ bench: 'dlms', metric, value, unit: 'µs', baseline, ratio, goal, ok, ...(ok ? {} : { why }) });
  }
}

/** What the server and model take from the heap to answer, without sockets. */
function allocation(report: Report, gc: () => void): void {
  const { server } = testMeter();
  const session = server.session('bench', { transport: 'stream' })!;
  const out = new Uint8Array(4096);
  const client = new DlmsClient({ clientSap: 17, password: asciiBytes(PASSWORD) });
  const association = client.associate();
  const aarq = association.next().value as Uint8Array;
  association.next(out.slice(0, session.receive(aarq, out, 1)));
  const register = { classId: 3, ln: parseObis(ENERGY), attribute: 2 };
  const single = (client.get(register).next().value as Uint8Array).slice();
  const list = (client.getList(Array.from({ length: 12 }, () => register)).next().value as Uint8Array).slice();
  for (const [what, request] of [
    ['GET of a register', single],
    ['GET of twelve registers', list],
  ] as const) {
    const length = session.receive(request, out, 2);
    const isValue = out[WRAPPER_SIZE] === 0xc4 && toHex(out.subarray(0, length)).includes('0012d680');
    if (!isValue) throw new Error(`the server answered ${toHex(out.subarray(0, length))}`);
    const { ns, bytes } = measure(gc, () => session.receive(request, out, 2));
    const metric = `server: ${what}`;
    report.figure({ bench: 'dlms', metric, value: ns, unit: 'ns' });
    report.figure({ bench: 'dlms', metric: `${metric}: allocated`, value: bytes, unit: 'B' });
  }
}

function codec(report: Report, gc: () => void): void {
  const row = {
    type: 'structure' as const,
    value: [
      { type: 'octet-string' as const, value: new Uint8Array(12) },
      { type: 'unsigned' as const, value: 0 },
      { type: 'double-long-unsigned' as const, value: 1_234_560 },
      { type: 'double-long-unsigned' as const, value: 7_890 },
    ],
  };
  const w = new ByteWriter(new Uint8Array(64));
  encodeData(w, row);
  const bytes = w.written().slice();
  for (const [metric, operation] of [
    ['encode a row of a profile', () => encodeData(new ByteWriter(w.buf), row)],
    ['decode a row of a profile', () => decodeData(new ByteReader(bytes))],
  ] as const) {
    const { ns, bytes: allocated } = measure(gc, operation);
    report.figure({ bench: 'dlms', metric, value: ns, unit: 'ns' });
    report.figure({ bench: 'dlms', metric: `${metric}: allocated`, value: allocated, unit: 'B' });
  }
}

function measure(gc: () => void, operation: () => unknown): { ns: number; bytes: number } {
  for (let i = 0; i < OPERATIONS; i++) operation();
  const ns: number[] = [];
  const bytes: number[] = [];
  for (let round = 0; round < 5; round++) {
    gc();
    const heap = process.memoryUsage().heapUsed;
    // Few enough that no collection hides what was allocated.
    const few = OPERATIONS / 100;
    for (let i = 0; i < few; i++) operation();
    bytes.push(Math.max(0, process.memoryUsage().heapUsed - heap) / few);
    const started = performance.now();
    for (let i = 0; i < OPERATIONS; i++) operation();
    ns.push(((performance.now() - started) * 1e6) / OPERATIONS);
  }
  return { ns: median(ns), bytes: median(bytes) };
}

async function dayProfile(report: Report): Promise<void> {
  const meter = testMeter();
  const from = Math.ceil(meter.clock.epochMs / 900_000) * 900_000;
  pass(meter, 86_400_000, 10_000);
  const listener = await listen(meter);
  const channel = await connectDlmsTcp(HOST, listener.port);
  const client = new DlmsClient({ clientSap: 17, password: asciiBytes(PASSWORD) });
  const send = (frame: Uint8Array) => channel.exchange(frame);
  const samples: number[] = [];
  try {
    await exchange(client.associate(), send);
    const reader = new ProfileReader(client);
    for (let i = 0; i < 60; i++) {
      const startedAt = performance.now();
      const range = { from, to: from + 95 * 900_000 };
      const { rows } = await exchange(reader.read('1-0:99.1.0.255', range), send);
      if (rows.length !== 96) throw new Error(`${rows.length} rows`);
      if (i >= 20) samples.push(performance.now() - startedAt);
    }
  } finally {
    channel.close();
    await listener.close();
  }
  const metric = 'read a day of the load profile, 96 rows, over TCP';
  report.figure({ bench: 'dlms', metric, value: median(samples), unit: 'ms' });
}

export async function dlms(report: Report): Promise<void> {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  await costOfGets(report);
  allocation(report, gc);
  codec(report, gc);
  await dayProfile(report);
}
