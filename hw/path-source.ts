/**
 * Where a host gets its paths from, behind one interface, and which source the configuration selects:
 *
 *   scion.daemon      the official daemon: topology and paths come from it
 *   scion.segments    a folder of segment files, for a host that asks nobody
 *   neither           the control service that topology.json names
 *
 * A cache in front of any of them joins equal questions, spares the service, and goes on with living paths while the
 * service is down.
 */

import { messageOf } from '#base/errors';
import type { Config, ConfigSpec } from '#hw/config';
import { DaemonClient } from '#hw/daemon-client';
import { readTopologyFile } from '#hw/files';
import type { Log } from '#hw/log';
import { pathClient } from '#hw/path-client';
import { SegmentStore } from '#hw/segment-store';
import { combinePaths, emptyPath } from '#scion/combinator';
import type { HostTopology } from '#scion/host-topology';
import { formatIpPort } from '#scion/ip';
import { formatIsdAs } from '#scion/isd-as';
import type { ScionPath } from '#scion/path-metadata';
import { emptySegmentSet, mergeSegments, requestsOfHost, type SegmentSet } from '#scion/segment-requests';

export interface PathQuery {
  /** Ask anew, whatever a cache holds. */
  readonly refresh?: boolean;
}

/** Paths of a host, ready to send. */
export interface PathSource {
  /**
   * Paths to an AS, best first; none is an empty list.
   * @throws ScionError `scion.path-service` or `scion.daemon` when nobody answers
   */
  paths(dst: bigint, query?: PathQuery): Promise<ScionPath[]>;
  close?(): void;
}

/** Where the segments for a destination come from. */
export interface SegmentSource {
  /** @throws ScionError `scion.path-service` */
  segments(dst: bigint): Promise<SegmentSet>;
}

/** Combines what a source of segments has into paths. */
export function combiningSource(topology: HostTopology, source: SegmentSource): PathSource {
  const { ia, mtu } = topology;
  return {
    async paths(dst) {
      if (dst === ia) return [emptyPath(ia, mtu)];
      return combinePaths(ia, dst, await source.segments(dst));
    },
  };
}

/** The segments of a folder, laid out as `segments/` of an AS directory. */
export function fileSource(topology: HostTopology, folder: string, log: Log, wallNow = Date.now): SegmentSource {
  const store = new SegmentStore({ folder, topology, log });
  return {
    async segments(dst) {
      const set = emptySegmentSet();
      for (const request of requestsOfHost(topology.ia, topology.core, dst)) {
        const answer = store.answer(request, wallNow());
        // A class that may not be asked for has no segments.
        if (typeof answer !== 'string') mergeSegments(set, answer);
      }
      return set;
    },
  };
}

// --- Cache -------------------------------------------------------------------------------------------------------------

/** An answer is used this long, at least and at most, and never into the last two minutes of a path's life. */
const MIN_AGE_MS = 2_000;
const MAX_AGE_MS = 300_000;
const BEFORE_EXPIRY_MS = 120_000;
const MAX_DESTINATIONS = 1_024;

interface CacheEntry {
  paths: ScionPath[];
  /** Wall clock, ms. */
  freshUntil: number;
  pending: Promise<ScionPath[]> | undefined;
}

/** Puts a cache in front of a source. @param wallNow  Unix ms */
export function cachingSource(source: PathSource, log: Log, wallNow = Date.now): PathSource {
  const entries = new Map<bigint, CacheEntry>();

  async function ask(dst: bigint, entry: CacheEntry): Promise<ScionPath[]> {
    try {
      const paths = await source.paths(dst, { refresh: true });
      entry.paths = paths;
      entry.freshUntil = freshUntil(paths, wallNow());
      return paths;
    } catch (error) {
      const living = entry.paths.filter(({ expiryMs }) => expiryMs > wallNow());
      if (living.length === 0) throw error;
      log.warn('going on with known paths', { to: formatIsdAs(dst), paths: living.length, error: messageOf(error) });
      return living;
    } finally {
      entry.pending = undefined;
    }
  }

  return {
    async paths(dst, { refresh = false } = {}) {
      let entry = entries.get(dst);
      if (entry === undefined) {
        if (entries.size >= MAX_DESTINATIONS) entries.delete(entries.keys().next().value!);
        entry = { paths: [], freshUntil: 0, pending: undefined };
        entries.set(dst, entry);
      }
      if (!refresh && wallNow() < entry.freshUntil) return entry.paths;
      entry.pending ??= ask(dst, entry);
      return entry.pending;
    },
    close: () => source.close?.(),
  };
}

function freshUntil(paths: readonly ScionPath[], now: number): number {
  if (paths.length === 0) return now;
  const expiry = Math.min(...paths.map(({ expiryMs }) => expiryMs));
  return now + Math.max(MIN_AGE_MS, Math.min(MAX_AGE_MS, expiry - BEFORE_EXPIRY_MS - now));
}

// --- Configuration -----------------------------------------------------------------------------------------------------

/** Keys of a program that looks up paths, beside its own `scion.topology`. */
export const PATH_SOURCE_CONFIG: ConfigSpec = {
  'scion.daemon': {
    type: 'string',
    help: 'ip:port of the SCION daemon to ask for paths; without it the control service of topology.json is asked',
  },
  'scion.segments': {
    type: 'string',
    help: 'folder with the path segments of this AS (up-*.seg, core-*.seg, down-*.seg); nobody is asked then',
  },
};

export interface HostPaths {
  readonly topology: HostTopology;
  readonly source: PathSource;
}

/**
 * Opens the path source that the configuration selects, with a cache in front of it.
 * @param topologyFile  read unless a daemon is configured
 * @throws ScionError `scion.daemon`, `scion.topology`; ConfigError `config.unreadable`
 */
export async function openPathSource(config: Config, topologyFile: string, log: Log): Promise<HostPaths> {
  const daemon = config.optionalString('scion.daemon');
  if (daemon !== undefined && daemon !== '') {
    const client = new DaemonClient({ address: daemon, log });
    const topology = await client.topology();
    return { topology, source: cachingSource(client, log) };
  }
  const topology = readTopologyFile(topologyFile);
  const folder = config.optionalString('scion.segments');
  const segments =
    folder !== undefined && folder !== ''
      ? fileSource(topology, folder, log)
      : pathClient({
          ia: topology.ia,
          isCore: topology.core,
          services: topology.controlServices.map(({ host, port }) => formatIpPort(host, port)),
          log,
        });
  return { topology, source: cachingSource(combiningSource(topology, segments), log) };
}
