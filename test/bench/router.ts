/**
 * The border router's speed: packets per second through `gateway.js` over real UDP sockets for one, four and sixteen flows,
 * beside a bare relay in Node and, where SCION_BIN names a folder with its binaries, beside the official router, each in a
 * process of its own under the same load in the same run; and the cost of one packet in memory.
 *
 * Load and sink share one core with a window of packets under way, so nothing is lost to full buffers; when they are the
 * bottleneck, the packets per second of the process's own CPU time still tell the routers apart.
 */

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { fromHex } from '#base/bytes';
import { parseHost } from '#scion/address';
import { parseIsdAs } from '#scion/isd-as';
import { encodeUdpPacket } from '#scion/packet';
import { NO_SIBLING } from '#scion/router';
import { RouterAction } from '#scion/router-types';
import { CORE, LEAF, TwoAses } from '../gateway/two-ases.ts';
import { routerFor } from '../protocols/scion/network.ts';
import vectors from '../vectors/scion-forwarding.json';
import { median, type Report } from './report.ts';
import { gatewayTarget, RouterLoad, type Target } from './router-load.ts';

const FLOWS = [1, 4, 16];
const WARM_UP = 30_000;
const PACKETS = 100_000;
const ROUNDS = 3;
const IN_MEMORY = 1_000_000;

interface Speed {
  /** Packets per second of wall time, and per second of CPU time of the process that carries them. */
  readonly wall: number;
  readonly cpu: number;
}

export async function router(report: Report): Promise<void> {
  const ases = await TwoAses.create();
  try {
    const official = officialTarget(ases);
    for (const flows of FLOWS) {
      const [routed, relayed, beside]: [Speed[], Speed[], Speed[]] = [[], [], []];
      for (let round = 0; round < ROUNDS; round++) {
        relayed.push(await measure(ases, relayTarget(ases), flows));
        routed.push(await measure(ases, gatewayTarget(ases), flows));
        if (official !== undefined) beside.push(await measure(ases, official, flows));
      }
      socketFigures(report, flows, routed, relayed, beside);
    }
  } finally {
    ases.remove();
  }
  memoryFigures(report);
}

function socketFigures(report: Report, flows: number, routed: Speed[], relayed: Speed[], beside: Speed[]): void {
  const of = (speeds: Speed[], key: keyof Speed) => median(speeds.map((s) => s[key]));
  const count = `${flows} flow${flows === 1 ? '' : 's'}`;
  const wall = of(routed, 'wall');
  report.figure({
    bench: 'router',
    metric: `packets through gateway.js, beside a relay, ${count}`,
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
    metric: `packets per second of its CPU time, ${count}`,
    value: cpu,
    unit: '1/s',
    baseline: of(relayed, 'cpu'),
    ratio,
    goal: '≥ 70 % of the relay',
    ok: ratio >= 0.7,
  });
  if (beside.length === 0) return;
  for (const [key, metric] of [
    ['wall', 'packets, beside the official router'],
    ['cpu', 'packets per CPU second, beside the official router'],
  ] as const) {
    const [value, baseline] = [of(routed, key), of(beside, key)];
    const ratioToOfficial = value / baseline;
    report.figure({
      bench: 'router',
      metric: `${metric}, ${flows}`,
      value,
      unit: '1/s',
      baseline,
      ratio: ratioToOfficial,
    });
  }
}

function relayTarget(ases: TwoAses): Target {
  const [host, port] = [ases.host(CORE), 40_000];
  const sink = ases.link(LEAF);
  const args = [join(__dirname, 'udp-relay.js'), host, String(port), sink.host, String(sink.port)];
  return { command: process.env.npm_node_execpath ?? process.execPath, args, host, port };
}

/** The official router on the same AS directory, where SCION_BIN has one. */
function officialTarget(ases: TwoAses): Target | undefined {
  const command = join(process.env.SCION_BIN ?? '', 'router');
  if (!process.env.SCION_BIN || !existsSync(command)) return undefined;
  const directory = ases.directory(CORE);
  const file = join(directory, 'br.toml');
  // It wants a second key, and does not use it.
  writeFileSync(join(directory, 'keys', 'master1.key'), Buffer.alloc(16, 7).toString('base64'));
  writeFileSync(
    file,
    `[general]\nid = "br"\nconfig_dir = "${directory}"\n[features]\n[log.console]\nlevel = "error"\n[api]\n`,
  );
  return { command, args: ['--config', file], ...ases.router(CORE) };
}

async function measure(ases: TwoAses, target: Target, flows: number): Promise<Speed> {
  const load = await RouterLoad.start(ases, target, flows);
  try {
    await load.run(WARM_UP);
    const [cpu, started] = [load.cpuSeconds(), performance.now()];
    await load.run(PACKETS);
    const wall = (performance.now() - started) / 1000;
    return { wall: PACKETS / wall, cpu: PACKETS / (load.cpuSeconds() - cpu) };
  } finally {
    await load.stop();
  }
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
    payload: new Uint8Array(100).fill(0x55),
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
