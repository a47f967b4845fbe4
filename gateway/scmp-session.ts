/**
 * What the verbs paths, ping and traceroute share: the destination, the path source that the configuration selects, a
 * socket for SCMP, and the choice of a path. They run beside a running gateway or on any host of the AS.
 */

import { createSocket } from 'node:dgram';
import { join } from 'node:path';
import { ConfigError, S3mpError, ScionError } from '#base/errors';
import type { FlagSpec, VerbContext } from '#hw/cli';
import { openPathSource, type PathSource } from '#hw/path-source';
import { ScmpProber } from '#hw/scmp-prober';
import { type HostAddress, parseAddress } from '#scion/address';
import { type HostTopology, SHIM_PORT } from '#scion/host-topology';
import { formatIpPort } from '#scion/ip';
import { formatIsdAs, parseIsdAs } from '#scion/isd-as';
import { type ScionPath, sequenceText } from '#scion/path-metadata';
import { parsePolicy, whyForbidden } from '#scion/policy';

/** Flags of every verb that looks up paths. */
export const PATH_FLAGS = {
  local: { type: 'string', value: 'IP', help: 'own address in the AS (default: as the system routes)' },
  sequence: { type: 'string', value: 'HOPS', help: 'use only paths whose hops match, as "0* 1-ff00:0:110 0*"' },
  refresh: { type: 'boolean', help: 'have the daemon ask the control service anew' },
} as const satisfies Record<string, FlagSpec>;

export interface Destination {
  readonly ia: bigint;
  readonly host: HostAddress | undefined;
}

export interface ScmpSession {
  readonly context: VerbContext;
  readonly topology: HostTopology;
  readonly source: PathSource;
  readonly prober: ScmpProber;
  readonly destination: Destination;
}

/** Runs a verb with the session that its arguments and configuration ask for. */
export async function withScmpSession(
  context: VerbContext,
  run: (session: ScmpSession) => Promise<number>,
): Promise<number> {
  const destination = parseDestination(context.positionals[0]!);
  const { config, log } = context;
  const file = config.optionalString('scion.topology') ?? join(config.string('as.directory'), 'topology.json');
  const { topology, source } = await openPathSource(config, file, log);
  try {
    const prober = await ScmpProber.open({ topology, hostIp: await hostIpOf(context, topology) });
    try {
      return await run({ context, topology, source, prober, destination });
    } finally {
      await prober.close();
    }
  } finally {
    source.close?.();
  }
}

function parseDestination(text: string): Destination {
  return text.includes(',') ? parseAddress(text) : { ia: parseIsdAs(text), host: undefined };
}

async function hostIpOf({ flags }: VerbContext, topology: HostTopology): Promise<string> {
  if (typeof flags.local === 'string') return flags.local;
  return ownAddress(topology.routers[0]?.internal.host ?? '127.0.0.1');
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

/** @throws ConfigError `usage.invalid` outside `min` to `max` */
export function integerFlag({ flags }: VerbContext, name: string, fallback: number, min: number, max: number): number {
  const text = flags[name];
  if (text === undefined) return fallback;
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new ConfigError('usage.invalid', `--${name} ${String(text)}: expected a whole number from ${min} to ${max}`);
}

/**
 * The living paths that match `--sequence`: fewest ASes first, then by interfaces, so that their numbers stay.
 * @throws ScionError `path.none`
 */
export async function lookUpPaths({ context, source, destination }: ScmpSession): Promise<ScionPath[]> {
  const { flags } = context;
  const sequence = typeof flags.sequence === 'string' ? flags.sequence : '';
  const policy = parsePolicy([], sequence);
  const now = Date.now();
  const all = await source.paths(destination.ia, { refresh: flags.refresh === true });
  const paths = all.filter((path) => path.expiryMs > now && whyForbidden(policy, path) === undefined);
  if (paths.length > 0) return paths.sort(comparePaths);
  const why = all.length > 0 && sequence !== '' ? ` that matches "${sequence}"` : '';
  throw new ScionError('path.none', `no path to ${formatIsdAs(destination.ia)}${why}`);
}

function comparePaths(a: ScionPath, b: ScionPath): number {
  const shorter = a.interfaces.length - b.interfaces.length;
  if (shorter !== 0) return shorter;
  for (const [i, { ia, id }] of a.interfaces.entries()) {
    const other = b.interfaces[i]!;
    if (ia !== other.ia) return ia < other.ia ? -1 : 1;
    if (id !== other.id) return id - other.id;
  }
  return a.expiryMs - b.expiryMs;
}

/** `ip:port` of the router to which packets on a path go; '' inside the AS. */
export function nextHopText({ prober, destination }: ScmpSession, path: ScionPath): string {
  if (path.raw.length === 0) return '';
  const { host, port } = prober.nextHop({ ia: destination.ia, host: destination.host ?? prober.localHost }, path);
  return formatIpPort(host, port);
}

/** The line `Hops: … MTU: … NextHop: …` of a path. */
export function pathLine(session: ScmpSession, path: ScionPath): string {
  if (path.raw.length === 0) return `Empty path MTU: ${path.mtu}`;
  return `Hops: [${path.hops}] MTU: ${path.mtu} NextHop: ${nextHopText(session, path)}`;
}

/** The path in the JSON of ping and traceroute. */
export function pathJson(session: ScmpSession, path: ScionPath): object {
  return {
    fingerprint: path.fingerprint,
    hops: hopsJson(path),
    sequence: sequenceText(path.interfaces).trimEnd(),
    local_ip: session.prober.hostText,
    next_hop: nextHopText(session, path),
  };
}

export function hopsJson(path: ScionPath): object[] {
  return path.interfaces.map(({ ia, id }) => ({ interface: id, isd_as: formatIsdAs(ia) }));
}

/** Milliseconds with microseconds, as a number. */
export const roundMs = (ms: number): number => Math.round(ms * 1000) / 1000;
