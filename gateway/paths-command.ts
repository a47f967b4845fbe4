/**
 * `gateway paths DST` and `gateway ping DST`: what the AS's path service offers and whether it works, in the shapes that
 * users of the `scion` tool know. They run beside a running gateway, from the AS directory.
 *
 *   verbs: { run, paths: pathsVerb, ping: pingVerb }        in the program's table; both read `as.directory`
 *
 * DST is an ISD-AS, or `ISD-AS,host`: with a host, `paths` also tells by SCMP echo which paths are alive.
 */

import { createSocket } from 'node:dgram';
import { join } from 'node:path';
import { ConfigError, S3mpError, ScionError } from '#base/errors';
import type { FlagSpec, Verb, VerbContext } from '#hw/cli';
import { openPathSource } from '#hw/path-source';
import { ScionSocket } from '#hw/scion-socket';
import { formatAddress, type HostAddress, parseAddress } from '#scion/address';
import { formatIpPort } from '#scion/ip';
import { formatIsdAs, parseIsdAs } from '#scion/isd-as';
import { asesOf, LATENCY_UNSET, type ScionPath, sequenceText } from '#scion/path-metadata';
import { type HostTopology, SHIM_PORT } from '#scion/topology';

const LOCAL_FLAG: FlagSpec = {
  type: 'string',
  value: 'IP',
  help: 'own address in the AS (default: as the system routes)',
};

const PATHS_FLAGS = {
  local: LOCAL_FLAG,
  timeout: { type: 'string', value: 'MS', help: 'wait this long for an echo (default 1000)' },
} as const satisfies Record<string, FlagSpec>;

const PING_FLAGS = {
  local: LOCAL_FLAG,
  count: { type: 'string', value: 'N', help: 'echo requests to send (default 3)' },
  size: { type: 'string', value: 'BYTES', help: 'data bytes in each (default 8)' },
  interval: { type: 'string', value: 'MS', help: 'time between requests (default 1000)' },
  timeout: { type: 'string', value: 'MS', help: 'wait this long for each answer (default 1000)' },
  path: { type: 'string', value: 'INDEX', help: 'path to use, as numbered by `paths` (default 0)' },
} as const satisfies Record<string, FlagSpec>;

export const pathsVerb: Verb = {
  summary: 'list the paths to an AS; with a host (ISD-AS,IP) also whether they are alive',
  positionals: ['DST'],
  flags: PATHS_FLAGS,
  run: (context) => withSocket(context, showPaths),
};

export const pingVerb: Verb = {
  summary: 'send SCMP echo requests to a host (ISD-AS,IP)',
  positionals: ['DST'],
  flags: PING_FLAGS,
  run: (context) => withSocket(context, ping),
};

interface Destination {
  readonly ia: bigint;
  readonly host: HostAddress | undefined;
}

interface Session {
  readonly context: VerbContext;
  readonly topology: HostTopology;
  readonly socket: ScionSocket;
  readonly destination: Destination;
}

async function withSocket(context: VerbContext, run: (session: Session) => Promise<number>): Promise<number> {
  const destination = parseDestination(context.positionals[0]!);
  const { config, log } = context;
  const file = config.optionalString('scion.topology') ?? join(config.string('as.directory'), 'topology.json');
  const { topology, source } = await openPathSource(config, file, log);
  const router = topology.routers[0]?.internal;
  const hostIp = (context.flags.local as string | undefined) ?? (await ownAddress(router?.host ?? '127.0.0.1'));
  const socket = await ScionSocket.open({
    topology,
    hostIp,
    pathSource: source,
    probing: false,
    shim: false,
    log: context.log,
  });
  try {
    return await run({ context, topology, socket, destination });
  } finally {
    await socket.close();
  }
}

function parseDestination(text: string): Destination {
  return text.includes(',') ? parseAddress(text) : { ia: parseIsdAs(text), host: undefined };
}

/** The address from which the system would send to `remote`. */
function ownAddress(remote: string): Promise<string> {
  const socket = createSocket(remote.includes(':') ? 'udp6' : 'udp4');
  return new Promise((resolve, reject) => {
    socket.once('error', (error) => {
      socket.close();
      reject(new S3mpError('socket.failed', `no route to ${remote}: ${error.message}`, { remote }, error));
    });
    socket.connect(SHIM_PORT, remote, () => {
      const { address } = socket.address();
      socket.close();
      resolve(address);
    });
  });
}

function integerFlag({ flags }: VerbContext, name: string, fallback: number, min: number, max: number): number {
  const text = flags[name];
  if (text === undefined) return fallback;
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new ConfigError('usage.invalid', `--${name} ${String(text)}: expected a whole number from ${min} to ${max}`);
}

/** Paths with fewest ASes first, as the combinator orders them. */
async function lookUp({ socket, destination }: Session): Promise<ScionPath[]> {
  const paths = await socket.paths(destination.ia);
  if (paths.length === 0) throw new ScionError('path.none', `no path to ${formatIsdAs(destination.ia)}`);
  return paths;
}

const nextHopOf = ({ socket }: Session, path: ScionPath, ia: bigint, host: HostAddress): string => {
  const { host: ip, port } = socket.nextHop({ ia, host, port: SHIM_PORT }, path);
  return formatIpPort(ip, port);
};

// --- paths -------------------------------------------------------------------------------------------------------------

type Status = 'alive' | 'timeout' | 'unknown';

async function showPaths(session: Session): Promise<number> {
  const { context, topology, socket, destination } = session;
  const { ia, host } = destination;
  const timeoutMs = integerFlag(context, 'timeout', 1000, 1, 60_000);
  const paths = await lookUp(session);
  const statuses = await Promise.all(
    paths.map(async (path): Promise<Status> => {
      if (host === undefined) return 'unknown';
      const { rttMs } = await socket.ping({ ia, host }, path, { timeoutMs });
      return rttMs === undefined ? 'timeout' : 'alive';
    }),
  );
  const nextHops = paths.map((path) =>
    path.raw.length === 0 ? '' : nextHopOf(session, path, ia, host ?? socket.local.host),
  );
  if (context.json) {
    const shown = paths.map((path, i) => pathJson(path, nextHops[i]!, statuses[i]!, socket.hostText));
    context.out(JSON.stringify({ local_isd_as: topology.isdAs, destination: formatIsdAs(ia), paths: shown }));
  } else printPaths(session, paths, statuses, nextHops);
  return statuses.includes('alive') || host === undefined ? 0 : 3;
}

function printPaths(
  { context, socket, destination }: Session,
  paths: readonly ScionPath[],
  statuses: readonly Status[],
  nextHops: readonly string[],
): void {
  const to = formatIsdAs(destination.ia);
  if (paths[0]!.raw.length === 0) {
    context.out(`Empty path, destination is local AS ${to}`);
    return;
  }
  context.out(`Available paths to ${to}`);
  let ases = 0;
  for (const [i, path] of paths.entries()) {
    const count = asesOf(path).length;
    if (count !== ases) context.out(`${count} Hops:`);
    ases = count;
    context.out(
      `[${i}] Hops: [${path.hops}] MTU: ${path.mtu} NextHop: ${nextHops[i]} Status: ${statuses[i]} LocalIP: ${socket.hostText}`,
    );
  }
}

function pathJson(path: ScionPath, nextHop: string, status: Status, localIp: string): object {
  return {
    fingerprint: path.fingerprint.slice(0, 16),
    hops: path.interfaces.map(({ ia, id }) => ({ interface: id, isd_as: formatIsdAs(ia) })),
    sequence: sequenceText(path.interfaces).trimEnd(),
    next_hop: nextHop,
    expiry: path.raw.length === 0 ? null : new Date(path.expiryMs).toISOString(),
    mtu: path.mtu,
    // Nanoseconds, -1 where nothing is announced, as the official tool prints them.
    latency: path.latenciesUs.map((us) => (us === LATENCY_UNSET ? -1 : us * 1000)),
    status,
    local_ip: localIp,
  };
}

// --- ping --------------------------------------------------------------------------------------------------------------

async function ping(session: Session): Promise<number> {
  const { context, socket, destination } = session;
  const { ia, host } = destination;
  if (host === undefined) throw new ConfigError('usage.invalid', 'ping needs a host: ISD-AS,IP');
  const count = integerFlag(context, 'count', 3, 1, 100_000);
  const size = integerFlag(context, 'size', 8, 8, 8000);
  const intervalMs = integerFlag(context, 'interval', 1000, 1, 3_600_000);
  const timeoutMs = integerFlag(context, 'timeout', 1000, 1, 60_000);
  const paths = await lookUp(session);
  const path = paths[integerFlag(context, 'path', 0, 0, paths.length - 1)]!;
  const name = formatAddress({ ia, host });
  const out = (text: string) => {
    if (!context.json) context.out(text);
  };
  out(`Resolved local address:\n  ${socket.hostText}`);
  out(`Using path:\n  Hops: [${path.hops}] MTU: ${path.mtu} NextHop: ${nextHopOf(session, path, ia, host)}\n`);
  const started = socket.now();
  const rtts: number[] = [];
  for (let sequence = 0; sequence < count; sequence++) {
    const sentAt = socket.now();
    const { rttMs, packetBytes } = await socket.ping({ ia, host }, path, { size, timeoutMs });
    if (sequence === 0) out(`PING ${name} pld=${size}B scion_pkt=${packetBytes}B`);
    if (rttMs === undefined) out(`no answer from ${name}: scmp_seq=${sequence} state=After timeout`);
    else {
      rtts.push(rttMs);
      out(`${packetBytes} bytes from ${name}: scmp_seq=${sequence} time=${rttMs.toFixed(3)}ms`);
    }
    if (context.json)
      context.out(JSON.stringify({ scmp_seq: sequence, rtt_ms: rttMs ?? null, packet_bytes: packetBytes }));
    const rest = intervalMs - (socket.now() - sentAt);
    if (sequence + 1 < count && rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
  }
  const loss = Math.round((100 * (count - rtts.length)) / count);
  const tookMs = (socket.now() - started).toFixed(1);
  out(`\n--- ${name} statistics ---`);
  out(`${count} packets transmitted, ${rtts.length} received, ${loss}% packet loss, time ${tookMs}ms`);
  if (rtts.length > 0) out(`rtt min/avg/max/mdev = ${statistics(rtts)} ms`);
  return rtts.length > 0 ? 0 : 3;
}

/** Minimum, mean, maximum and standard deviation. */
function statistics(values: readonly number[]): string {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length;
  return [Math.min(...values), mean, Math.max(...values), Math.sqrt(variance)].map((v) => v.toFixed(3)).join('/');
}
