/**
 * Path policy (scionproto private/path/pathpol): access control lists of hop predicates, and sequences.
 *
 *   hop predicate   ISD | ISD-AS | ISD-AS#IF | ISD-AS#IN,OUT      0 is a wildcard
 *   ACL             ["- 1-ff00:0:133", "+ 1", "-"]    per interface the first match decides, one deny rejects the path
 *   sequence        "1-ff00:0:133#0 1+ 2-ff00:0:1? 2-ff00:0:233#1"    a regular expression over hops, in `sequence.ts`
 *
 * A geofence is an ACL. Left out: options, extends, and the local and remote lists of policy objects.
 */

import { invalidConfig } from '#base/errors';
import { asOf, formatIsdAs, isdOf, parseAs } from '#scion/isd-as';
import type { PathInterface, ScionPath } from '#scion/path-metadata';
import { parseSequence, type Sequence, sequenceMatches } from '#scion/sequence';

export interface HopPredicate {
  readonly isd: number;
  readonly as: bigint;
  /** [] matches any, [either], or [inbound, outbound]. */
  readonly interfaces: readonly number[];
}

export interface AclEntry {
  readonly allow: boolean;
  /** Undefined matches everything. */
  readonly predicate: HopPredicate | undefined;
  readonly text: string;
}

/** A policy in force. */
export interface PathPolicy {
  readonly acl: readonly AclEntry[];
  readonly sequence: Sequence | undefined;
}

export const ALLOW_ALL: PathPolicy = { acl: [], sequence: undefined };

/**
 * Reads a policy.
 * @param acl  empty allows every path
 * @param sequence  empty allows every path
 * @throws ConfigError `config.invalid` naming the entry and what was expected
 */
export function parsePolicy(acl: readonly string[], sequence = ''): PathPolicy {
  return { acl: parseAcl(acl), sequence: sequence === '' ? undefined : parseSequence(sequence) };
}

/** Why a path is forbidden, in words; undefined when it conforms. */
export function whyForbidden(policy: PathPolicy, path: ScionPath): string | undefined {
  for (const [i, hop] of path.interfaces.entries()) {
    const entry = policy.acl.find(({ predicate }) => matches(predicate, hop, i % 2 === 1));
    if (entry !== undefined && !entry.allow) return `${formatIsdAs(hop.ia)}#${hop.id} is denied by "${entry.text}"`;
  }
  if (policy.sequence !== undefined && !sequenceMatches(policy.sequence, path.interfaces))
    return `the hops do not match the sequence "${policy.sequence.text}"`;
  return undefined;
}

/** @param inbound  whether the path enters the AS here */
function matches(predicate: HopPredicate | undefined, hop: PathInterface, inbound: boolean): boolean {
  if (predicate === undefined) return true;
  const { isd, as, interfaces } = predicate;
  if (isd !== 0 && isd !== isdOf(hop.ia)) return false;
  if (as !== 0n && as !== asOf(hop.ia)) return false;
  const wanted = interfaces.length === 2 ? interfaces[inbound ? 0 : 1]! : (interfaces[0] ?? 0);
  return wanted === 0 || wanted === hop.id;
}

const invalid = (message: string) => invalidConfig(`path policy: ${message}`);

function parseAcl(lines: readonly string[]): AclEntry[] {
  const entries = lines.map(parseAclEntry);
  if (entries.length === 0) return entries;
  const catchAll = entries.map(({ predicate }) => matchesEverything(predicate)).indexOf(true);
  if (catchAll !== entries.length - 1)
    throw invalid('the last entry, and only it, must match everything: end with "+" or "-"');
  return entries;
}

function parseAclEntry(line: string): AclEntry {
  const parts = /^([+-])(?: ([^ ]+))?$/.exec(line);
  if (parts === null) throw invalid(`"${line}": expected "+ HOP" or "- HOP"`);
  return {
    allow: parts[1] === '+',
    predicate: parts[2] === undefined ? undefined : parseHopPredicate(parts[2]),
    text: line,
  };
}

function matchesEverything(predicate: HopPredicate | undefined): boolean {
  if (predicate === undefined) return true;
  return predicate.isd === 0 && predicate.as === 0n && predicate.interfaces.every((id) => id === 0);
}

/**
 * Reads `1`, `1-ff00:0:110`, `1-ff00:0:110#1` or `1-ff00:0:110#1,2`.
 * @throws ConfigError `config.invalid`
 */
export function parseHopPredicate(text: string): HopPredicate {
  const parts = /^(\d+)(?:-([0-9a-fA-F:]+)(?:#(\d+)(?:,(\d+))?)?)?$/.exec(text);
  if (parts === null) throw invalid(`"${text}" is no hop: expected ISD, ISD-AS or ISD-AS#IF[,IF]`);
  const [, isdText, asText, ...ids] = parts;
  const isd = Number(isdText);
  const interfaces = ids.filter((id) => id !== undefined).map(Number);
  if (isd > 0xffff) throw invalid(`"${text}": ISD ${isd} exceeds 65535`);
  if (interfaces.some((id) => id > 0xffff)) throw invalid(`"${text}": interface id exceeds 65535`);
  let as = 0n;
  if (asText !== undefined) {
    try {
      as = parseAs(asText);
    } catch {
      throw invalid(`"${text}": ${asText} is no AS number`);
    }
  }
  if (as === 0n && interfaces.some((id) => id !== 0)) throw invalid(`"${text}": an interface needs an AS`);
  return { isd, as, interfaces };
}
