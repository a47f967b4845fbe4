/**
 * Which path to one destination AS to use now. A pure state machine: time comes in as an argument, probes and requests
 * are sent by someone else, who tells what became of them.
 *
 *   unknown --answer--> alive --silence--> suspect --more silence--> down
 *                         ^                   |                        |
 *                         +--- k answers -----+------- answers --------+
 *
 * Around a silent path requests take a detour at once, best over one that shares no interface with silent paths. The
 * path is left only when it stays silent longer than a line stalls and another one answers: a stall, also one of all
 * paths, moves nothing. A path that was left comes back into favour after GOOD_ANSWERS answers. A request that is
 * repeated tries another path without moving the traffic: when the destination is what stalls, nothing moves. An
 * SCMP error is a hint: the path is probed and others are preferred, but nothing is removed.
 * All times are ms of one steady clock; expiry is translated from the wall clock at `update`.
 */

import { ScionError } from '#base/errors';
import { formatIsdAs } from '#scion/isd-as';
import {
  type Candidate,
  MAX_PROBE_MS,
  newCandidate,
  type PathState,
  probeAt,
  Rank,
  rankOf,
  stateOf,
} from '#scion/path-candidate';
import { bestOf, isPinned, MIN_LIFE_MS, type Move, moveFrom } from '#scion/path-choice';
import { announcedLatencyMs, isdsOf, type ScionPath, sharesInterface, usesInterface } from '#scion/path-metadata';
import { announcedBandwidthKbit, DEFAULT_RULES, type PathRules, whyAgainstRules } from '#scion/path-preference';
import type { PathPolicy } from '#scion/policy';
import { RttEstimator } from '#scion/rtt';

/** What was answered or not: a request of the application or a probe of ours. */
export type Evidence = 'request' | 'probe';

/** Answers that a path needs after a silence to be trusted again. */
export const GOOD_ANSWERS = 3;
/** Life of an SCMP hint. */
export const HINT_MS = 10_000;

const REFRESH_MS = 300_000;
const REFRESH_BEFORE_EXPIRY_MS = 120_000;
const REFRESH_GAP_MS = 10_000;
const EMPTY_REFRESH_GAP_MS = 1_000;

/** A router at the end of a silent path is asked with each probe; its answer takes a round trip. */
const WORD_MS = MAX_PROBE_MS + 500;

export interface PathReport {
  readonly fingerprint: string;
  readonly hops: string;
  readonly isds: readonly number[];
  readonly mtu: number;
  /** Unix ms. */
  readonly expiryMs: number;
  /** One way, ms, as announced. */
  readonly announcedMs: number | undefined;
  /** Of the narrowest link, as announced. */
  readonly bandwidthKbit: number | undefined;
  readonly srttMs: number | undefined;
  readonly rtoMs: number;
  readonly state: PathState;
  readonly chosen: boolean;
  readonly pinned: boolean;
  /** Whether it shares no link with the chosen path. */
  readonly disjoint: boolean;
  /** Why the policy forbids the path; undefined when it conforms. */
  readonly forbidden: string | undefined;
}

export interface PathSwitch {
  readonly from: string | undefined;
  readonly to: string;
  readonly why: Move['why'] | 'first' | 'gone';
}

export interface PathManagerOptions {
  readonly dst: bigint;
  readonly policy?: PathPolicy;
  /** Preference and pin, and the policy when `policy` is left out. */
  readonly rules?: PathRules;
  readonly onSwitch?: (change: PathSwitch) => void;
}

export class PathManager {
  readonly dst: bigint;
  private rules: PathRules;
  private readonly onSwitch: ((change: PathSwitch) => void) | undefined;
  private candidates = new Map<string, Candidate>();
  private chosen: Candidate | undefined;
  /** The path that was left because it failed, to be returned to. */
  private home: Candidate | undefined;
  private switchedAt = Number.NEGATIVE_INFINITY;
  private refreshedAt = Number.NEGATIVE_INFINITY;
  private updatedAt = Number.NEGATIVE_INFINITY;
  /** Whether the destination ever answered a probe: until then their silence says nothing about a path. */
  private probesWork = false;

  constructor({ dst, rules = DEFAULT_RULES, policy = rules.policy, onSwitch }: PathManagerOptions) {
    this.dst = dst;
    this.rules = { ...rules, policy };
    this.onSwitch = onSwitch;
  }

  // --- Candidates ------------------------------------------------------------------------------------------------------

  /**
   * Takes the paths of a lookup; what is known about a path survives by its fingerprint. A lookup without living paths
   * keeps those that still live.
   * @param wallNow  Unix ms
   */
  update(paths: readonly ScionPath[], now: number, wallNow: number): void {
    this.updatedAt = now;
    const next = new Map<string, Candidate>();
    for (const path of paths) {
      const expiresAt = now + (path.expiryMs - wallNow);
      if (expiresAt <= now) continue;
      const candidate = this.candidates.get(path.fingerprint) ?? newCandidate(path);
      candidate.path = path;
      candidate.expiresAt = expiresAt;
      candidate.forbidden = whyAgainstRules(this.rules, path);
      next.set(path.fingerprint, candidate);
    }
    if (next.size === 0) return;
    this.candidates = next;
    if (this.home !== undefined && !next.has(this.home.path.fingerprint)) this.home = undefined;
  }

  setPolicy(policy: PathPolicy): void {
    this.setRules({ ...this.rules, policy });
  }

  /** Other rules are in force at once: the next `select` follows them. */
  setRules(rules: PathRules): void {
    this.rules = rules;
    this.home = undefined;
    this.switchedAt = Number.NEGATIVE_INFINITY;
    for (const candidate of this.candidates.values()) candidate.forbidden = whyAgainstRules(rules, candidate.path);
  }

  /** Takes over paths and measurements of another manager for the same destination. */
  learnFrom(other: PathManager): void {
    this.updatedAt = other.updatedAt;
    this.refreshedAt = other.refreshedAt;
    this.probesWork = other.probesWork;
    for (const [fingerprint, candidate] of other.candidates) {
      const forbidden = whyAgainstRules(this.rules, candidate.path);
      this.candidates.set(fingerprint, { ...candidate, rtt: candidate.rtt.copy(), forbidden });
    }
    const { chosen } = other;
    if (chosen !== undefined) this.chosen = this.candidates.get(chosen.path.fingerprint);
  }

  /** Whether paths should be looked up now; `onRefresh` says that it began. */
  refreshDue(now: number): boolean {
    return now >= this.nextRefresh();
  }

  /** Time of the next lookup. */
  nextRefresh(): number {
    const conforming = [...this.candidates.values()].filter((c) => c.forbidden === undefined);
    if (conforming.length === 0) return this.refreshedAt + EMPTY_REFRESH_GAP_MS;
    const firstExpiry = Math.min(...conforming.map((c) => c.expiresAt));
    const wanted = Math.min(this.updatedAt + REFRESH_MS, firstExpiry - REFRESH_BEFORE_EXPIRY_MS);
    return Math.max(wanted, this.refreshedAt + REFRESH_GAP_MS);
  }

  onRefresh(now: number): void {
    this.refreshedAt = now;
  }

  // --- Choice ----------------------------------------------------------------------------------------------------------

  /**
   * The path to send on now: the chosen one, or a detour around it while it is silent.
   * @throws ScionError `path.none` without any path, `path.none-conforming` when the policy forbids them all
   */
  select(now: number): ScionPath {
    const usable = this.usable(now);
    if (usable.length === 0) throw this.noPath(now);
    const current = this.chosen !== undefined && usable.includes(this.chosen) ? this.chosen : undefined;
    const field = { rules: this.rules, usable, now };
    const best = bestOf(usable, field);
    if (current === undefined) this.choose(best, this.chosen === undefined ? 'first' : 'gone', now);
    else {
      const move = moveFrom(current, best, this.home, this.switchedAt, field);
      if (move?.why === 'silence' || move?.why === 'hint') this.home ??= current;
      if (move !== undefined) this.choose(move.to, move.why, now);
    }
    const { chosen } = this;
    return rankOf(chosen!, now) === Rank.silent ? best.path : chosen!.path;
  }

  /**
   * The path on which to repeat a request that stays unanswered: the best one that it has not used. Traffic does not move
   * before something is answered there, so a destination that stalls moves nothing.
   * @param used  fingerprints of the paths that carried the request
   * @throws ScionError as `select`
   */
  selectRepeat(now: number, used: readonly string[]): ScionPath {
    const usable = this.usable(now);
    if (usable.length === 0) throw this.noPath(now);
    const fresh = usable.filter((c) => !used.includes(c.path.fingerprint));
    return bestOf(fresh.length > 0 ? fresh : usable, { rules: this.rules, usable, now }).path;
  }

  /** Whether `select` would find a path. */
  hasPath(now: number): boolean {
    return this.usable(now).length > 0;
  }

  /** Retransmission timeout for a datagram sent now on a path, ms. */
  rtoMs(fingerprint: string): number {
    const candidate = this.candidates.get(fingerprint);
    return candidate === undefined ? new RttEstimator().rtoMs() : candidate.rtt.rtoMs(candidate.silences);
  }

  /** The path with a fingerprint, while it is a candidate. */
  find(fingerprint: string): ScionPath | undefined {
    return this.candidates.get(fingerprint)?.path;
  }

  /** Every candidate, also forbidden ones. */
  paths(): ScionPath[] {
    return [...this.candidates.values()].map((c) => c.path);
  }

  private usable(now: number): Candidate[] {
    const alive = [...this.candidates.values()].filter((c) => c.forbidden === undefined && c.expiresAt > now);
    const lasting = alive.filter((c) => c.expiresAt - now >= MIN_LIFE_MS);
    return lasting.length > 0 ? lasting : alive;
  }

  private noPath(now: number): ScionError {
    const to = formatIsdAs(this.dst);
    const living = [...this.candidates.values()].filter((c) => c.expiresAt > now);
    const forbidden = living.find((c) => c.forbidden !== undefined);
    if (forbidden === undefined) return new ScionError('path.none', `no path to ${to}`, { destination: to });
    return new ScionError(
      'path.none-conforming',
      `${living.length} paths to ${to}, none conforms to the policy: ${forbidden.path.hops}: ${forbidden.forbidden}`,
      { destination: to, paths: living.length },
    );
  }

  /** What the policy forbids although it may work; undefined when nothing is. */
  forbiddenPath(now: number): { readonly hops: string; readonly why: string } | undefined {
    for (const { path, forbidden, expiresAt } of this.candidates.values()) {
      if (forbidden !== undefined && expiresAt > now) return { hops: path.hops, why: forbidden };
    }
    return undefined;
  }

  /** Whether the last datagram on a path stayed unanswered. */
  isSilent(fingerprint: string): boolean {
    return (this.candidates.get(fingerprint)?.silences ?? 0) > 0;
  }

  /**
   * Whether no allowed path has led to the destination's AS since a time: neither an answer nor its router's word, which
   * holds until it could have been asked again.
   */
  isCutOff(since: number, now: number): boolean {
    const heard = Math.min(since, now - WORD_MS);
    return this.usable(now).every((c) => c.silences > 0 && c.lastAnswerAt < since && c.lastArrivalAt < heard);
  }

  private choose(candidate: Candidate, why: PathSwitch['why'], now: number): void {
    const from = this.chosen?.path.fingerprint;
    this.chosen = candidate;
    this.switchedAt = now;
    if (this.home === candidate) this.home = undefined;
    this.onSwitch?.({ from, to: candidate.path.fingerprint, why });
  }

  // --- Evidence --------------------------------------------------------------------------------------------------------

  /** A probe left on this path (`request`s need not be told: only their answer or silence counts). */
  onSent(fingerprint: string, now: number, evidence: Evidence = 'request'): void {
    const candidate = this.candidates.get(fingerprint);
    if (candidate === undefined || evidence !== 'probe') return;
    candidate.lastProbeAt = now;
    candidate.probeWanted = false;
  }

  /** An answer came back on this path. */
  onAnswered(fingerprint: string, rttMs: number, now: number, evidence: Evidence = 'request'): void {
    if (evidence === 'probe') this.probesWork = true;
    const candidate = this.candidates.get(fingerprint);
    if (candidate === undefined) return;
    candidate.rtt.sample(rttMs);
    candidate.everAnswered = true;
    candidate.lastAnswerAt = now;
    candidate.probesUnanswered = 0;
    candidate.hintUntil = Number.NEGATIVE_INFINITY;
    if (candidate.silences > 0) {
      candidate.silences = 0;
      candidate.goodNeeded = GOOD_ANSWERS;
    }
    if (candidate.goodNeeded > 0) candidate.goodNeeded--;
  }

  /** The destination's border router answered on this path: it leads there, whatever the host does. */
  onArrived(fingerprint: string, now: number): void {
    const candidate = this.candidates.get(fingerprint);
    if (candidate !== undefined) candidate.lastArrivalAt = now;
  }

  /**
   * Nothing came back on this path within its timeout.
   * @param sentAt  when the silent datagram left: if anything was answered on the path since, the path is not to blame
   */
  onSilence(fingerprint: string, now: number, sentAt = Number.POSITIVE_INFINITY, evidence: Evidence = 'request'): void {
    const candidate = this.candidates.get(fingerprint);
    if (candidate === undefined || candidate.lastAnswerAt > sentAt) return;
    if (evidence === 'probe') {
      candidate.probesUnanswered++;
      if (!this.probesWork) return;
    }
    if (candidate.silences === 0) candidate.silentSince = now;
    candidate.silences++;
    candidate.lastSilenceAt = now;
    if (evidence === 'request') candidate.probeWanted = true;
  }

  /**
   * A router says that an interface is down. Believe it only as far as this: probe the paths through it now, and prefer
   * others for a while. An answer on a path refutes it.
   */
  onScmpDown(ia: bigint, id: number, now: number): void {
    for (const candidate of this.candidates.values()) {
      if (!usesInterface(candidate.path, ia, id)) continue;
      candidate.hintUntil = now + HINT_MS;
      candidate.probeWanted = true;
    }
  }

  // --- Probing ---------------------------------------------------------------------------------------------------------

  /** The path to probe now, most overdue first; undefined when none is due. */
  nextProbe(now: number): ScionPath | undefined {
    let due: Candidate | undefined;
    let dueAt = now;
    for (const candidate of this.candidates.values()) {
      if (candidate.forbidden !== undefined || candidate.expiresAt <= now) continue;
      const at = probeAt(candidate, now);
      if (at > dueAt || (at === dueAt && due !== undefined)) continue;
      due = candidate;
      dueAt = at;
    }
    return due?.path;
  }

  /** When the next probe is due; Infinity without candidates. */
  nextProbeAt(now: number): number {
    let at = Number.POSITIVE_INFINITY;
    for (const candidate of this.candidates.values()) {
      if (candidate.forbidden === undefined && candidate.expiresAt > now) at = Math.min(at, probeAt(candidate, now));
    }
    return at;
  }

  // --- Report ----------------------------------------------------------------------------------------------------------

  /** Every candidate for people and the API, the chosen one marked. */
  report(now: number): PathReport[] {
    const { chosen } = this;
    return [...this.candidates.values()].map((c) => ({
      fingerprint: c.path.fingerprint,
      hops: c.path.hops,
      isds: isdsOf(c.path),
      mtu: c.path.mtu,
      expiryMs: c.path.expiryMs,
      announcedMs: announcedLatencyMs(c.path),
      bandwidthKbit: announcedBandwidthKbit(c.path),
      srttMs: c.rtt.hasSample ? c.rtt.srttMs : undefined,
      rtoMs: c.rtt.rtoMs(c.silences),
      state: stateOf(c, now),
      chosen: c === this.chosen,
      pinned: isPinned(c, this.rules),
      disjoint: chosen !== undefined && c !== chosen && !sharesInterface(c.path, chosen.path),
      forbidden: c.forbidden,
    }));
  }

  /** What other rules would make of the candidates, the path marked that would be chosen; nothing is changed. */
  evaluate(rules: PathRules, now: number): PathReport[] {
    const trial = new PathManager({ dst: this.dst, rules });
    trial.learnFrom(this);
    if (trial.hasPath(now)) trial.select(now);
    else trial.chosen = undefined;
    return trial.report(now);
  }

  /** Whether two conforming paths share no interface: what losing one link survives. */
  hasDisjointPaths(now: number): boolean {
    const usable = this.usable(now);
    return usable.some((a, i) => usable.slice(i + 1).some((b) => !sharesInterface(a.path, b.path)));
  }
}
