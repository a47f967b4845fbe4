/**
 * Path policy (scionproto private/path/pathpol): access control lists of hop predicates, and sequences.
 *
 *   hop predicate   ISD | ISD-AS | ISD-AS#IF | ISD-AS#IN,OUT      0 is a wildcard
 *   ACL             ["- 1-ff00:0:133", "+ 1", "-"]    per interface the first match decides, one deny rejects the path
 *   sequence        "1-ff00:0:133#0 1+ 2-ff00:0:1? 2-ff00:0:233#1"    a regular expression over hops
 *
 * A geofence is an ACL. Left out: options, extends, and the local and remote lists of policy objects.
 */

import { ConfigError } from '#base/errors';
import { asOf, formatAs, formatIsdAs, isdOf, parseAs } from '#scion/isd-as';
import { type PathInterface, type ScionPath, sequenceText } from '#scion/path-metadata';

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
  readonly sequence: RegExp | undefined;
  readonly sequenceText: string;
}

export const ALLOW_ALL: PathPolicy = { acl: [], sequence: undefined, sequenceText: '' };

/**
 * Reads a policy.
 * @param acl  empty allows every path
 * @param sequence  empty allows every path
 * @throws ConfigError `config.invalid` naming the entry and what was expected
 */
export function parsePolicy(acl: readonly string[], sequence = ''): PathPolicy {
  return {
    acl: parseAcl(acl),
    sequence: sequence.trim() === '' ? undefined : parseSequence(sequence),
    sequenceText: sequence.trim(),
  };
}

/** Why a path is forbidden, in words; undefined when it conforms. */
export function whyForbidden(policy: PathPolicy, path: ScionPath): string | undefined {
  for (const [i, hop] of path.interfaces.entries()) {
    const entry = policy.acl.find(({ predicate }) => matches(predicate, hop, i % 2 === 1));
    if (entry !== undefined && !entry.allow) return `${formatIsdAs(hop.ia)}#${hop.id} is denied by "${entry.text}"`;
  }
  if (policy.sequence !== undefined && !policy.sequence.test(sequenceText(path.interfaces)))
    return `the hops do not match the sequence "${policy.sequenceText}"`;
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

const invalid = (message: string) => new ConfigError('config.invalid', `path policy: ${message}`);

function parseAcl(lines: readonly string[]): AclEntry[] {
  const entries = lines.map(parseAclEntry);
  if (entries.length === 0) return entries;
  const catchAll = entries.map(({ predicate }) => matchesEverything(predicate)).indexOf(true);
  if (catchAll !== entries.length - 1)
    throw invalid('the last entry, and only it, must match everything: end with "+" or "-"');
  return entries;
}

function parseAclEntry(line: string): AclEntry {
  const text = line.trim();
  const parts = /^([+-])(?:\s+(\S+))?$/.exec(text);
  if (parts === null) throw invalid(`"${line}": expected "+ HOP" or "- HOP"`);
  return {
    allow: parts[1] === '+',
    predicate: parts[2] === undefined ? undefined : parseHopPredicate(parts[2]),
    text,
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
  const parts = /^(\d{1,5})(?:-([0-9a-fA-F:]+)(?:#(\d{1,5})(?:,(\d{1,5}))?)?)?$/.exec(text);
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

// --- Sequence ----------------------------------------------------------------------------------------------------------

const ANY_ISD = '([0-9]+)';
const ANY_AS = '(([0-9]+)|([0-9a-fA-F]+:[0-9a-fA-F]+:[0-9a-fA-F]+))';
const ANY_IF = '([0-9]+)';

/** More tokens than any real sequence has; bounds the recursion and the size of the expression. */
const MAX_TOKENS = 200;

/**
 * Translates a sequence into a regular expression over `sequenceText`. `? + *` bind tightest, then `|`, then writing
 * hops one after the other.
 * @throws ConfigError `config.invalid`
 */
export function parseSequence(text: string): RegExp {
  const tokens = text.match(/[()?+*|]|[^()?+*|\s]+/g) ?? [];
  if (tokens.length > MAX_TOKENS) throw invalid(`sequence of ${tokens.length} parts exceeds ${MAX_TOKENS}`);
  let at = 0;

  function concatenation(): string {
    let expression = alternatives();
    while (at < tokens.length && tokens[at] !== ')') expression = `(${expression}${alternatives()})`;
    return expression;
  }
  function alternatives(): string {
    let expression = repeated();
    while (tokens[at] === '|') {
      at++;
      expression = `(${expression}|${repeated()})`;
    }
    return expression;
  }
  function repeated(): string {
    let expression = atom();
    while (tokens[at] === '?' || tokens[at] === '+' || tokens[at] === '*')
      expression = `(${expression})${tokens[at++]}`;
    return expression;
  }
  function atom(): string {
    const token = tokens[at++];
    if (token === '(') {
      const expression = concatenation();
      if (tokens[at++] !== ')') throw invalid(`sequence "${text}": expected )`);
      return expression;
    }
    if (token === undefined || /^[)?+*|]$/.test(token))
      throw invalid(`sequence "${text}": expected a hop${token === undefined ? ' at the end' : ` before ${token}`}`);
    return hopExpression(token);
  }

  const expression = concatenation();
  if (at < tokens.length) throw invalid(`sequence "${text}": unexpected ${tokens[at]}`);
  return new RegExp(`^${expression}$`);
}

function hopExpression(token: string): string {
  const { isd, as, interfaces } = parseHopPredicate(token);
  const isdPart = isd === 0 ? ANY_ISD : `${isd}`;
  const asPart = as === 0n ? ANY_AS : formatAs(as);
  const part = (id: number) => (id === 0 ? ANY_IF : `${id}`);
  const [first = 0, second] = interfaces;
  const ifPart =
    second !== undefined
      ? `${part(first)},${part(second)}`
      : first === 0
        ? `${ANY_IF},${ANY_IF}`
        : `((${ANY_IF},${first})|(${first},${ANY_IF}))`;
  return `((${isdPart}-${asPart}#${ifPart}) +)`;
}
