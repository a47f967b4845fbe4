/**
 * The border router's speed: packets per second through `gateway.js` over real UDP sockets beside a bare relay in Node,
 * both in a process of their own under the same load, and the cost of one packet in memory.
 *
 * Load and sink share one core with a window of packets under way, so nothing is lost to full buffers; when they are the
 * bottleneck, the packets per second of the process's own CPU time still tell the two apart.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { fromHex } from '#base/bytes';
import { UdpSocket } from '#hw/udp';
import { parseHost } from '#scion/address';
import { parseIsdAs } from '#scion/isd-as';
import { encodeUdpPacket } from '#scion/packet';
import { NO_SIBLING } from '#scion/router';
import { RouterAction } from '#scion/router-types';
import { CORE, LEAF, TwoAses } from '../gateway/two-ases.ts';
import { routerFor } from '../protocols/scion/network.ts';
import vectors from '../vectors/scion-forwarding.json';
import { median, type Report } from './report.ts';

const PAYLOAD = new Uint8Array(100).fill(0x55);
const WINDOW = 384;
const WARM_UP = 30_000;
const PACKETS = 120_000;
const ROUNDS = 3;
const IN_MEMORY = 1_000_000;
const CLOCK_TICKS = 100;

interface Speed {
  /** Packets per second of wall time, and per second of CPU time of the process that carries them. */
  readonly wall: number;
  readonly cpu: number;
}

export async function router(report: Report): Promise<void> {
  const ases = await TwoAses.create();
  try {
    const routed: Speed[] = [];
    const relayed: Speed[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      relayed.push(await measure(ases, relayArgs(ases), { host: ases.host(CORE), port: 40_000 }));
      routed.push(await measure(ases, routerArgs(ases), ases.router(CORE)));
    }
    socketFigures(report, routed, relayed);
  } finally {
    ases.remove();
  }
  memoryFigures(report);
}

function socketFigures(report: Report, routed: Speed[], relayed: Speed[]): void {
  const of = (speeds: Speed[], key: keyof Speed) => median(speeds.map((s) => s[key]));
  const wall = of(routed, 'wall');
  report.figure({
    bench: 'router',
    metric: 'packets through gateway.js, beside a bare relay',
    value: wall,
    unit: '1/s',
    baseline: of(relayed, 'wall'),
    ratio: wall / of(relayed, 'wall'),
    goal: '≥ 35,000',
    ok: wall >= 35_000,
  });
  const cpu = of(routed, 'cpu');
  const ratio = cpu / of(relayed, 'cpu');
  report.figure({
    bench: 'router',
    metric: 'packets per second of its CPU time',
    value: cpu,
    unit: '1/s',
    baseline: of(relayed, 'cpu'),
    ratio,
    goal: '≥ 70 % of the relay',
    ok: ratio >= 0.7,
  });
}

/** The Node for the gateway: the machine's own where npm tells it, as in the field. */
const gatewayNode = (): string => process.env.npm_node_execpath ?? process.execPath;

const routerArgs = (ases: TwoAses): string[] => [
  join(__dirname, '..', 'gateway.js'),
  '--as-directory',
  ases.directory(CORE),
  '--no-path-service-enabled',
  '--json',
];

function relayArgs(ases: TwoAses): string[] {
  const sink = ases.link(LEAF);
  return [join(__dirname, 'udp-relay.js'), ases.host(CORE), '40000', sink.host, String(sink.port)];
}

async function measure(ases: TwoAses, args: string[], target: { host: string; port: number }): Promise<Speed> {
  const child = spawn(gatewayNode(), args, { stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    await ready(child);
    return await load(ases, child, target);
  } finally {
    child.kill('SIGTERM');
    await once(child, 'close');
  }
}

function ready(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stderr!.on('data', (chunk) => {
      text += chunk;
      if (text.includes('"ready"')) resolve();
    });
    child.once('close', () => reject(new Error(`ended before it was ready: ${text}`)));
  });
}

/** Keeps a window of packets under way until all have arrived; a lost one is replaced after a pause. */
async function load(ases: TwoAses, child: ChildProcess, target: { host: string; port: number }): Promise<Speed> {
  const source = await UdpSocket.open({ host: ases.addresses.meter(CORE.number, 0), port: 0, onDatagram() {} });
  const out = new Uint8Array(1500);
  const end = encodeUdpPacket(out, 0, {
    src: { ia: parseIsdAs(CORE.isdAs), host: parseHost(source.host), port: source.port },
    dst: { ia: parseIsdAs(LEAF.isdAs), host: parseHost('127.0.0.1'), port: 31000 },
    path: ases.path(),
    payload: PAYLOAD,
  });
  const packet = out.subarray(0, end);
  let arrived = 0;
  let sent = 0;
  let limit = 0;
  let done = () => {};
  const push = () => {
    while (sent < limit && sent - arrived < WINDOW) {
      source.send(packet, target.host, target.port);
      sent++;
    }
  };
  const sink = await UdpSocket.open({
    ...ases.link(LEAF),
    onDatagram() {
      arrived++;
      if (arrived >= limit) done();
      else if ((arrived & 31) === 0) push();
    },
  });
  const run = async (count: number) => {
    const finished = new Promise<void>((resolve) => {
      done = resolve;
    });
    arrived = 0;
    sent = 0;
    limit = count;
    let before = -1;
    const watch = setInterval(() => {
      // Nothing moved: what is missing was lost.
      if (arrived === before) sent = arrived;
      before = arrived;
      push();
    }, 200);
    push();
    await finished;
    clearInterval(watch);
  };
  try {
    await run(WARM_UP);
    const [cpu, started] = [cpuSeconds(child), performance.now()];
    await run(PACKETS);
    const wall = (performance.now() - started) / 1000;
    return { wall: PACKETS / wall, cpu: PACKETS / (cpuSeconds(child) - cpu) };
  } finally {
    await source.close();
    await sink.close();
  }
}

/** User and system time of a process, from the kernel's accounting. */
function cpuSeconds(child: ChildProcess): number {
  const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}

function memoryFigures(report: Report): void {
  const { ns, bytes } = inMemory();
  report.figure({ bench: 'router', metric: 'one packet in memory, MAC verified', value: ns, unit: 'ns' });
  report.figure({
    bench: 'router',
    metric: 'allocated per packet by the router',
    value: bytes,
    unit: 'B',
    goal: '< 1',
    ok: bytes < 1,
  });
}

/** Runs one transit packet again and again through the router of an AS with two interfaces on its path. */
function inMemory(): { ns: number; bytes: number } {
  const c = vectors.cases[0]!;
  const transit = routerFor('1-ff00:0:111');
  const out = new Uint8Array(1500);
  const sent = c.forward_trace.find((t) => t.event === 'sent on interface 13')!;
  const length = encodeUdpPacket(out, 0, {
    src: { ia: parseIsdAs(c.src), host: parseHost('10.0.0.1'), port: 31000 },
    dst: { ia: parseIsdAs(c.dst), host: parseHost('10.0.0.2'), port: 31000 },
    path: fromHex(sent.path_hex),
    payload: PAYLOAD,
  });
  const fresh = out.slice(0, 80);
  const nowMs = 1_700_001_000_000;
  let forwarded = 0;
  const run = (count: number) => {
    for (let i = 0; i < count; i++) {
      // The router changes the position and the accumulators: put them back.
      for (let k = 36; k < 64; k++) out[k] = fresh[k]!;
      const { action } = transit.process(out, length, 12, NO_SIBLING, nowMs);
      if (action === RouterAction.forward) forwarded++;
    }
  };
  run(200_000);
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  gc();
  const heap = process.memoryUsage().heapUsed;
  const started = performance.now();
  run(IN_MEMORY);
  const ns = ((performance.now() - started) * 1e6) / IN_MEMORY;
  // Young objects that nothing holds count too, since no collection ran in between unless there were many of them.
  const bytes = Math.max(0, process.memoryUsage().heapUsed - heap) / IN_MEMORY;
  if (forwarded !== IN_MEMORY + 200_000) throw new Error(`only ${forwarded} packets were forwarded`);
  return { ns, bytes };
}
