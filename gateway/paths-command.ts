/**
 * `gateway paths DST`: the paths to an AS and whether they are alive, as users of `scion showpaths` know it.
 *
 * A path is alive when the router of its last interface answers a traceroute request, which takes no host; with a host in
 * DST (`ISD-AS,IP`) that host has to answer an echo. Exit status: 0 when a path is alive (or none was probed), 3 when none
 * is.
 */

import { ScionError } from '#base/errors';
import type { FlagSpec, Verb } from '#hw/cli';
import type { ScmpOutcome } from '#hw/scmp-prober';
import { LEAST_ECHO_DATA } from '#hw/scmp-prober';
import { Service, serviceHost } from '#scion/address';
import { formatIsdAs } from '#scion/isd-as';
import { announcedLatencyMs, asesOf, LATENCY_UNSET, type ScionPath, sequenceText } from '#scion/path-metadata';
import { ScmpType } from '#scion/scmp';
import { tracerouteSteps } from '#scion/traceroute';
import {
  hopsJson,
  integerFlag,
  lookUpPaths,
  nextHopText,
  PATH_FLAGS,
  type ScmpSession,
  withScmpSession,
} from './scmp-session.ts';

const PATHS_FLAGS = {
  ...PATH_FLAGS,
  timeout: { type: 'string', value: 'MS', help: 'wait this long for the answers (default 1000)' },
  max: { type: 'string', value: 'N', help: 'show at most this many paths (default 10)' },
  extended: { type: 'boolean', help: 'show expiry, announced latency and bandwidth too' },
  'no-probe': { type: 'boolean', help: 'do not ask whether the paths are alive' },
} as const satisfies Record<string, FlagSpec>;

export const pathsVerb: Verb = {
  summary: 'list the paths to an AS (ISD-AS) or host (ISD-AS,IP) and whether they are alive',
  positionals: ['DST'],
  flags: PATHS_FLAGS,
  run: (context) => withScmpSession(context, showPaths),
};

interface Status {
  readonly status: 'alive' | 'timeout' | 'scmp' | 'unknown';
  /** What a router said. */
  readonly info?: string;
}

async function showPaths(session: ScmpSession): Promise<number> {
  const { context, topology, destination } = session;
  const timeoutMs = integerFlag(context, 'timeout', 1000, 1, 60_000);
  const max = integerFlag(context, 'max', 10, 1, 1000);
  const probe = context.flags['no-probe'] !== true;
  const to = formatIsdAs(destination.ia);
  if (destination.ia === topology.ia) {
    if (context.json) context.out(JSON.stringify({ local_isd_as: topology.isdAs, destination: to }));
    else context.out(`Empty path, destination is local AS ${to}`);
    return 0;
  }
  const paths = (await lookUp(session)).slice(0, max);
  const statuses = probe ? await Promise.all(paths.map((path) => statusOf(session, path, timeoutMs))) : [];
  if (context.json) {
    const shown = paths.map((path, i) => pathJson(session, path, statuses[i]));
    context.out(JSON.stringify({ local_isd_as: topology.isdAs, destination: to, paths: shown }));
  } else printPaths(session, paths, statuses);
  return !probe || statuses.some(({ status }) => status === 'alive') ? 0 : 3;
}

/** Says to which AS paths were looked for also when there is none, as the official tool does. */
async function lookUp(session: ScmpSession): Promise<ScionPath[]> {
  try {
    return await lookUpPaths(session);
  } catch (error) {
    if (error instanceof ScionError && error.code === 'path.none' && !session.context.json)
      session.context.out(`Available paths to ${formatIsdAs(session.destination.ia)}`);
    throw error;
  }
}

async function statusOf({ prober, destination }: ScmpSession, path: ScionPath, timeoutMs: number): Promise<Status> {
  const { ia, host } = destination;
  if (host !== undefined) return readOutcome(await prober.echo({ ia, host }, path, LEAST_ECHO_DATA, timeoutMs));
  const last = tracerouteSteps(path.raw).at(-1)!;
  // Nobody's address: the router answers, and if it does not, no host is bothered.
  return readOutcome(await prober.traceroute({ ia, host: serviceHost(Service.none) }, path, last, timeoutMs));
}

function readOutcome(outcome: ScmpOutcome): Status {
  if (outcome.kind === 'answer') return { status: 'alive' };
  if (outcome.kind === 'timeout') return { status: 'timeout' };
  const { type } = outcome.message;
  const down = type === ScmpType.externalInterfaceDown || type === ScmpType.internalConnectivityDown;
  return { status: down ? 'scmp' : 'unknown', info: outcome.text };
}

function printPaths(session: ScmpSession, paths: readonly ScionPath[], statuses: readonly Status[]): void {
  const { context, prober, destination } = session;
  context.out(`Available paths to ${formatIsdAs(destination.ia)}`);
  const width = String(paths.length - 1).length;
  let ases = 0;
  for (const [i, path] of paths.entries()) {
    const count = asesOf(path).length;
    if (count !== ases) context.out(`${count} Hops:`);
    ases = count;
    const entries = [`Hops: [${path.hops}]`, `MTU: ${path.mtu}`, `NextHop: ${nextHopText(session, path)}`];
    if (context.flags.extended === true) entries.push(...extendedEntries(path));
    const status = statuses[i];
    if (status !== undefined) entries.push(`Status: ${status.status}`, `LocalIP: ${prober.hostText}`);
    if (status?.info !== undefined) entries.push(`Info: ${status.info}`);
    // Few entries fit on a line; more are easier to read below each other.
    const separator = entries.length > 6 ? `\n${' '.repeat(width + 3)}` : ' ';
    context.out(`[${String(i).padStart(width)}] ${entries.join(separator)}`);
  }
}

function extendedEntries(path: ScionPath): string[] {
  const left = Math.max(0, Math.round((path.expiryMs - Date.now()) / 1000));
  const leftText = `${Math.floor(left / 3600)}h${Math.floor((left % 3600) / 60)}m${left % 60}s`;
  const entries = [`Expires: ${new Date(path.expiryMs).toISOString()} (${leftText})`];
  const latencyMs = announcedLatencyMs(path);
  const incomplete = ' (information incomplete)';
  if (latencyMs !== undefined) {
    const complete = !path.latenciesUs.includes(LATENCY_UNSET);
    entries.push(`Latency: ${complete ? '' : '>'}${latencyMs}ms${complete ? '' : incomplete}`);
  }
  const known = path.bandwidthsKbit.filter((kbit) => kbit > 0);
  if (known.length > 0) {
    const complete = known.length === path.bandwidthsKbit.length;
    entries.push(`Bandwidth: ${Math.min(...known)}Kbit/s${complete ? '' : incomplete}`);
  }
  return entries;
}

function pathJson(session: ScmpSession, path: ScionPath, status: Status | undefined): object {
  return {
    fingerprint: path.fingerprint.slice(0, 16),
    hops: hopsJson(path),
    sequence: sequenceText(path.interfaces).trimEnd(),
    next_hop: nextHopText(session, path),
    expiry: new Date(path.expiryMs).toISOString(),
    mtu: path.mtu,
    // Nanoseconds, -1 where nothing is announced, as the official tool prints them.
    latency: path.latenciesUs.map((us) => (us === LATENCY_UNSET ? -1 : us * 1000)),
    ...(status === undefined ? {} : { status: status.status }),
    ...(status?.info === undefined ? {} : { status_info: status.info }),
    ...(status === undefined ? {} : { local_ip: session.prober.hostText }),
  };
}
