/**
 * The choice among the candidates of a path manager: which is best, and whether to leave the chosen one for it. Pure
 * functions of what is known; nothing is changed here.
 */

import { type Candidate, expectedRtt, Rank, rankOf } from '#scion/path-candidate';
import { sharesInterface } from '#scion/path-metadata';
import { type PathRules, pathCost } from '#scion/path-preference';

/**
 * A silence of this length may be a stall of the line, whose answers are only late: power lines and radio retrain for
 * 200 ms. Counted from the first timeout, which comes a round trip after the datagram.
 */
const STALL_MS = 250;
/** A return to the path that was left, and a move to a better one, wait this long after the last move. */
const RETURN_MS = 2_000;
const MOVE_MS = 10_000;
/** A better path must be faster by this share and this much. */
const MOVE_SHARE = 0.1;
const MOVE_LEAST_MS = 5;

/** A path that expires sooner is not given out while another one lives longer. */
export const MIN_LIFE_MS = 10_000;

/** What a choice is made from. */
export interface Field {
  readonly rules: PathRules;
  /** Candidates that the rules allow and that live. */
  readonly usable: readonly Candidate[];
  /** Steady ms. */
  readonly now: number;
}

export interface Move {
  readonly to: Candidate;
  readonly why: 'silence' | 'hint' | 'return' | 'faster' | 'preferred' | 'pinned';
}

/** The best of some candidates. @param among  some of the usable ones, at least one */
export function bestOf(among: readonly Candidate[], field: Field): Candidate {
  const { rules, usable, now } = field;
  const silent = usable.filter((c) => c.silences > 0);
  const shared = (c: Candidate) => silent.filter((s) => s !== c && sharesInterface(s.path, c.path)).length;
  const cost = costs(field);
  const wanted = (c: Candidate) => (isPinned(c, rules) && rankOf(c, now) <= Rank.unknown ? 0 : 1);
  return among.reduce((best, c) => {
    const difference =
      wanted(c) - wanted(best) ||
      rankOf(c, now) - rankOf(best, now) ||
      c.silences - best.silences ||
      shared(c) - shared(best) ||
      (c.silences > 0 ? c.lastSilenceAt - best.lastSilenceAt : 0) ||
      cost(c) - cost(best) ||
      expectedRtt(c) - expectedRtt(best) ||
      c.path.interfaces.length - best.path.interfaces.length ||
      (c.path.fingerprint < best.path.fingerprint ? -1 : 1);
    return difference < 0 ? c : best;
  });
}

export function isPinned(c: Candidate, rules: PathRules): boolean {
  return c.path.fingerprint === rules.pin;
}

/** Cost of a candidate under the preference. */
function costs({ rules: { preference }, usable }: Field): (c: Candidate) => number {
  if (preference === 'latency') return () => 0;
  const paths = usable.map((c) => c.path);
  return (c) => pathCost(preference, c.path, paths);
}

/**
 * Whether to leave a working or failing current path.
 * @param best  the best one, which may be the current one
 * @param home  the path that was left because it failed
 * @param movedAt  when traffic moved the last time
 * @returns nothing when it is better to stay
 */
export function moveFrom(
  current: Candidate,
  best: Candidate,
  home: Candidate | undefined,
  movedAt: number,
  field: Field,
): Move | undefined {
  const { rules, now } = field;
  const [rank, bestRank] = [rankOf(current, now), rankOf(best, now)];
  if (rank >= Rank.hinted) {
    // Among hinted or silent paths there is nothing to gain, and a stalled one is left for a detour only.
    if (bestRank >= rank || (rank === Rank.silent && now - current.silentSince < STALL_MS)) return undefined;
    return { to: best, why: rank === Rank.hinted ? 'hint' : 'silence' };
  }
  const mayReturn = now - movedAt >= RETURN_MS;
  const mayMove = now - movedAt >= MOVE_MS;
  if (home !== undefined && mayReturn && isWorthReturning(home, current, field)) return { to: home, why: 'return' };
  // The pinned path is taken as soon as it is allowed and not in doubt, and left for nothing that is merely better.
  if (best === current || isPinned(current, rules)) return undefined;
  if (isPinned(best, rules) && bestRank <= Rank.unknown) return mayReturn ? { to: best, why: 'pinned' } : undefined;
  // A path that answers again is kept, and only a verified one may replace it.
  if (rank === Rank.recovering || bestRank !== Rank.alive || !mayMove) return undefined;
  const cost = costs(field);
  if (cost(best) < cost(current)) return { to: best, why: 'preferred' };
  if (cost(best) !== cost(current)) return undefined;
  const gain = expectedRtt(current) - expectedRtt(best);
  return gain >= worthMoving(current) ? { to: best, why: 'faster' } : undefined;
}

/** Back to the path that failed: once it is trusted again, unless it has become notably worse. */
function isWorthReturning(home: Candidate, current: Candidate, field: Field): boolean {
  const { rules, now } = field;
  if (home.forbidden !== undefined || home.expiresAt - now < MIN_LIFE_MS || rankOf(home, now) !== Rank.alive)
    return false;
  if (isPinned(home, rules)) return true;
  if (isPinned(current, rules)) return false;
  const cost = costs(field);
  const loss = expectedRtt(home) - expectedRtt(current);
  return cost(home) < cost(current) || (cost(home) === cost(current) && loss < worthMoving(current));
}

/** Difference of round trips that makes another path better, ms. */
function worthMoving(current: Candidate): number {
  return Math.max(MOVE_LEAST_MS, MOVE_SHARE * expectedRtt(current));
}
