/**
 * `gateway ping DST` and `gateway traceroute DST`: SCMP echo to a host, and which routers of a path answer how fast, as
 * users of the `scion` tool know them. Exit status: 0 ok, 3 no answer at all, 5 a traceroute with some answers missing.
 */

import { ConfigError } from '#base/errors';
import type { FlagSpec, Verb } from '#hw/cli';
import { LEAST_ECHO_DATA, type ScmpOutcome } from '#hw/scmp-prober';
import { formatAddress, type ScionAddress, Service, serviceHost } from '#scion/address';
import { formatIsdAs } from '#scion/isd-as';
import type { ScionPath } from '#scion/path-metadata';
import { type TracerouteStep, tracerouteSteps } from '#scion/traceroute';
import {
  integerFlag,
  lookUpPaths,
  PATH_FLAGS,
  pathJson,
  pathLine,
  roundMs,
  type ScmpSession,
  withScmpSession,
} from './scmp-session.ts';

const PATH_FLAG: FlagSpec = {
  type: 'string',
  value: 'INDEX',
  help: 'path to use, as numbered by `paths` (default 0)',
};

const PING_FLAGS = {
  ...PATH_FLAGS,
  count: { type: 'string', value: 'N', help: 'echo requests to send (default 3)' },
  size: { type: 'string', value: 'BYTES', help: 'data bytes in each (default 8)' },
  interval: { type: 'string', value: 'MS', help: 'time between requests (default 1000)' },
  timeout: { type: 'string', value: 'MS', help: 'wait this long for each answer (default 1000)' },
  path: PATH_FLAG,
} as const satisfies Record<string, FlagSpec>;

const TRACEROUTE_FLAGS = {
  ...PATH_FLAGS,
  timeout: { type: 'string', value: 'MS', help: 'wait this long for each answer (default 1000)' },
  path: PATH_FLAG,
} as const satisfies Record<string, FlagSpec>;

const PROBES_PER_HOP = 3;
/** Longest data of an echo whose packet fits into one UDP datagram whatever the path. */
const MOST_ECHO_DATA = 60_000;

export const pingVerb: Verb = {
  summary: 'send SCMP echo requests to a host (ISD-AS,IP)',
  positionals: ['DST'],
  flags: PING_FLAGS,
  run: (context) => withScmpSession(context, ping),
};

export const tracerouteVerb: Verb = {
  summary: 'ask every router on the path to an AS (ISD-AS) or host (ISD-AS,IP)',
  positionals: ['DST'],
  flags: TRACEROUTE_FLAGS,
  run: (context) => withScmpSession(context, traceroute),
};

async function choosePath(session: ScmpSession): Promise<ScionPath> {
  const paths = await lookUpPaths(session);
  return paths[integerFlag(session.context, 'path', 0, 0, paths.length - 1)]!;
}

// --- ping --------------------------------------------------------------------------------------------------------------

interface EchoReply {
  readonly scion_packet_size: number;
  readonly source: string;
  readonly scmp_seq: number;
  readonly round_trip_time: number;
  readonly state: 'success';
}

async function ping(session: ScmpSession): Promise<number> {
  const { context, prober, destination } = session;
  const { ia, host } = destination;
  if (host === undefined) throw new ConfigError('usage.invalid', 'ping needs a host: ISD-AS,IP');
  const count = integerFlag(context, 'count', 3, 1, 100_000);
  const size = integerFlag(context, 'size', LEAST_ECHO_DATA, LEAST_ECHO_DATA, MOST_ECHO_DATA);
  const intervalMs = integerFlag(context, 'interval', 1000, 1, 3_600_000);
  const timeoutMs = integerFlag(context, 'timeout', 1000, 1, 60_000);
  const path = await choosePath(session);
  const target = { ia, host };
  const name = formatAddress(target);
  const packetBytes = prober.echoLength(target, path, size);
  const out = printer(session);
  out(`Resolved local address:\n  ${prober.hostText}`);
  out(`Using path:\n  ${pathLine(session, path)}\n`);
  out(`PING ${name} pld=${size}B scion_pkt=${packetBytes}B`);

  const started = performance.now();
  const replies: EchoReply[] = [];
  for (let sequence = 0; sequence < count; sequence++) {
    const sentAt = performance.now();
    const outcome = await prober.echo(target, path, size, timeoutMs);
    if (outcome.kind === 'answer') {
      const { rttMs } = outcome;
      const source = addressOf(outcome);
      out(`${outcome.packetBytes} bytes from ${source}: scmp_seq=${sequence} time=${rttMs.toFixed(3)}ms`);
      replies.push({
        scion_packet_size: outcome.packetBytes,
        source,
        scmp_seq: sequence,
        round_trip_time: roundMs(rttMs),
        state: 'success',
      });
    } else if (outcome.kind === 'error') out(`ERROR: ${outcome.text}`);
    else out(`no answer from ${name}: scmp_seq=${sequence} within ${timeoutMs}ms`);
    const rest = intervalMs - (performance.now() - sentAt);
    if (sequence + 1 < count && rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
  }

  const tookMs = performance.now() - started;
  const loss = 100 - Math.floor((100 * replies.length) / count);
  const figures = statistics(replies.map((reply) => reply.round_trip_time));
  out(`\n--- ${name} statistics ---`);
  out(`${count} packets transmitted, ${replies.length} received, ${loss}% packet loss, time ${tookMs.toFixed(3)}ms`);
  if (replies.length > 0)
    out(
      `rtt min/avg/max/mdev = ${[figures.min, figures.avg, figures.max, figures.mdev].map((v) => v.toFixed(3)).join('/')} ms`,
    );
  if (context.json) {
    const report = {
      path: pathJson(session, path),
      payload_size: size,
      scion_packet_size: packetBytes,
      replies,
      statistics: {
        sent: count,
        received: replies.length,
        packet_loss: loss,
        time: roundMs(tookMs),
        min_rtt: roundMs(figures.min),
        avg_rtt: roundMs(figures.avg),
        max_rtt: roundMs(figures.max),
        mdev_rtt: roundMs(figures.mdev),
      },
    };
    context.out(JSON.stringify(report));
  }
  return replies.length > 0 ? 0 : 3;
}

/** Lines for people; nothing with `--json`. */
function printer({ context }: ScmpSession): (text: string) => void {
  return (text) => {
    if (!context.json) context.out(text);
  };
}

type Answer = Extract<ScmpOutcome, { kind: 'answer' }>;

const addressOf = ({ ia, host }: Answer): string => `${formatIsdAs(ia)},${host}`;

/** Minimum, mean, maximum and standard deviation; zeros for none. */
function statistics(values: readonly number[]): { min: number; avg: number; max: number; mdev: number } {
  if (values.length === 0) return { min: 0, avg: 0, max: 0, mdev: 0 };
  const avg = values.reduce((sum, v) => sum + v, 0) / values.length;
  const variance = values.reduce((sum, v) => sum + (v - avg) ** 2, 0) / values.length;
  return { min: Math.min(...values), avg, max: Math.max(...values), mdev: Math.sqrt(variance) };
}

// --- traceroute --------------------------------------------------------------------------------------------------------

async function traceroute(session: ScmpSession): Promise<number> {
  const { context, topology, prober, destination } = session;
  const { ia } = destination;
  if (ia === topology.ia)
    throw new ConfigError('usage.invalid', `${formatIsdAs(ia)} is this AS: no router lies between`);
  const timeoutMs = integerFlag(context, 'timeout', 1000, 1, 60_000);
  const path = await choosePath(session);
  // Without a host nobody's address: only routers are asked.
  const target = { ia, host: destination.host ?? serviceHost(Service.none) };
  const out = printer(session);
  out(`Resolved local address:\n  ${prober.hostText}`);
  out(`Using path:\n  ${pathLine(session, path)}\n`);

  const hops: object[] = [];
  let answered = 0;
  const steps = tracerouteSteps(path.raw);
  for (const [index, step] of steps.entries()) {
    const outcomes = await probeStep(session, target, path, step, timeoutMs);
    for (const outcome of outcomes) if (outcome.kind === 'error') out(`ERROR: ${outcome.text}`);
    const answers = outcomes.filter((outcome) => outcome.kind === 'answer');
    answered += answers.length;
    const [first] = answers;
    const who = first === undefined ? '??' : `${addressOf(first)} IfID=${first.interface}`;
    const times = outcomes.map((o) => (o.kind === 'answer' ? `${o.rttMs.toFixed(3)}ms` : '*'));
    out(`${index} ${who} ${times.join(' ')}`);
    const asked = path.interfaces[index];
    hops.push({
      interface_id: first?.interface ?? asked?.id ?? 0,
      ip: first?.host ?? '',
      isd_as: formatIsdAs(first?.ia ?? asked?.ia ?? 0n),
      round_trip_times: answers.map((answer) => roundMs(answer.rttMs)),
    });
  }
  if (context.json) context.out(JSON.stringify({ path: pathJson(session, path), hops }));
  if (answered === steps.length * PROBES_PER_HOP) return 0;
  return answered === 0 ? 3 : 5;
}

async function probeStep(
  { prober }: ScmpSession,
  target: ScionAddress,
  path: ScionPath,
  step: TracerouteStep,
  timeoutMs: number,
): Promise<ScmpOutcome[]> {
  const outcomes: ScmpOutcome[] = [];
  for (let i = 0; i < PROBES_PER_HOP; i++) outcomes.push(await prober.traceroute(target, path, step, timeoutMs));
  return outcomes;
}
