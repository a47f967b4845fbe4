/**
 * What a path is chosen by among those that the policy allows and that answer: a preference, and perhaps a pinned path.
 * A pin is a wish, not a fence: while the pinned path is silent, another allowed one carries the traffic.
 */

import type { PathInterface, ScionPath } from '#scion/path-metadata';
import { ALLOW_ALL, type PathPolicy, whyForbidden } from '#scion/policy';

export const PATH_PREFERENCES = ['latency', 'hops', 'mtu', 'bandwidth', 'disjoint'] as const;
/**
 * `latency`: least round trip, measured or announced. `hops`: fewest ASes. `mtu`: largest packets. `bandwidth`: widest
 * narrowest link as announced. `disjoint`: fewest links in common with the best standby, so that one cut cannot take both.
 */
export type PathPreference = (typeof PATH_PREFERENCES)[number];

/** Everything an operator says about the paths to one meter. */
export interface PathRules {
  /** Holds whatever else is said: what the configuration of a device allows. */
  readonly fence?: PathPolicy;
  readonly policy: PathPolicy;
  readonly preference: PathPreference;
  /** Fingerprint of the path to use while it answers. */
  readonly pin: string | undefined;
}

export const DEFAULT_RULES: PathRules = { policy: ALLOW_ALL, preference: 'latency', pin: undefined };

/** Room for headers around the path, extensions and some data: a path that leaves less is of no use. */
const LEAST_ROOM = 200;

/** Why rules forbid a path, in words; undefined when it conforms. */
export function whyAgainstRules({ fence, policy }: PathRules, path: ScionPath): string | undefined {
  if (path.mtu < path.raw.length + LEAST_ROOM) return `its MTU of ${path.mtu} bytes leaves no room for data`;
  return (fence === undefined ? undefined : whyForbidden(fence, path)) ?? whyForbidden(policy, path);
}

/** Announced bandwidth of the narrowest part, kbit/s; undefined when nothing is announced. */
export function announcedBandwidthKbit(path: ScionPath): number | undefined {
  const known = path.bandwidthsKbit.filter((kbit) => kbit > 0);
  return known.length === 0 ? undefined : Math.min(...known);
}

/** Number of interfaces that two paths have in common. */
export function sharedInterfaces(a: ScionPath, b: ScionPath): number {
  const same = (i: PathInterface) => b.interfaces.some((j) => i.ia === j.ia && i.id === j.id);
  return a.interfaces.filter(same).length;
}

/**
 * Cost of a path under a preference, lower is better; 0 for `latency`, which is measured and not read off a path.
 * @param others  the paths that it competes with, itself included or not
 */
export function pathCost(preference: PathPreference, path: ScionPath, others: readonly ScionPath[]): number {
  switch (preference) {
    case 'latency':
      return 0;
    case 'hops':
      return path.interfaces.length;
    case 'mtu':
      return -path.mtu;
    case 'bandwidth':
      return -(announcedBandwidthKbit(path) ?? 0);
    case 'disjoint': {
      const rivals = others.filter((other) => other.fingerprint !== path.fingerprint);
      return rivals.length === 0 ? 0 : Math.min(...rivals.map((other) => sharedInterfaces(path, other)));
    }
  }
}
