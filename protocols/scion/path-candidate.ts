/**
 * One candidate of a path manager: what is known about a path, how it ranks, and when it is probed again. A candidate is
 * plain data; path-manager.ts writes what becomes of requests and probes into it. All times are ms of one steady clock.
 */

import { announcedLatencyMs, type ScionPath } from '#scion/path-metadata';
import { RttEstimator } from '#scion/rtt';

export type PathState = 'unknown' | 'alive' | 'suspect' | 'down';

/** Silences in a row after which a path counts as down. */
export const DOWN_SILENCES = 3;

const STANDBY_PROBE_MS = 10_000;
const DOUBT_PROBE_MS = 500;
/** Least gap between two probes of one path, however urgent. */
const URGENT_PROBE_MS = 100;
export const MAX_PROBE_MS = 2_000;

export interface Candidate {
  readonly rtt: RttEstimator;
  path: ScionPath;
  expiresAt: number;
  forbidden: string | undefined;
  everAnswered: boolean;
  silences: number;
  /** First of the silences in a row. */
  silentSince: number;
  lastSilenceAt: number;
  /** Answers still missing before the path is trusted again. */
  goodNeeded: number;
  hintUntil: number;
  lastAnswerAt: number;
  /** When the destination's border router said that the path leads to it. */
  lastArrivalAt: number;
  lastProbeAt: number;
  /** Probes in a row without an answer. */
  probesUnanswered: number;
  probeWanted: boolean;
}

/** Order of preference before any figure counts. */
export const Rank = { alive: 0, unknown: 1, recovering: 2, hinted: 3, silent: 4 } as const;

export function rankOf(c: Candidate, now: number): number {
  if (c.silences > 0) return Rank.silent;
  if (c.hintUntil > now) return Rank.hinted;
  if (c.goodNeeded > 0) return Rank.recovering;
  return c.everAnswered ? Rank.alive : Rank.unknown;
}

export function stateOf(c: Candidate, now: number): PathState {
  if (c.silences >= DOWN_SILENCES) return 'down';
  const rank = rankOf(c, now);
  if (rank === Rank.alive) return 'alive';
  return rank === Rank.unknown ? 'unknown' : 'suspect';
}

/** Measured round trip, else twice the announced latency, else unknown and last. */
export function expectedRtt(c: Candidate): number {
  if (c.rtt.hasSample) return c.rtt.srttMs;
  const announced = announcedLatencyMs(c.path);
  return announced === undefined ? 1e9 : 2 * announced;
}

/** When a probe of the candidate is due. */
export function probeAt(c: Candidate, now: number): number {
  if (c.probeWanted) return c.lastProbeAt + URGENT_PROBE_MS;
  const backoff = (step: number) => Math.min(MAX_PROBE_MS, step * 2 ** Math.min(c.probesUnanswered, 8));
  if (rankOf(c, now) === Rank.alive) return Math.max(c.lastProbeAt, c.lastAnswerAt) + STANDBY_PROBE_MS;
  return c.lastProbeAt + backoff(DOUBT_PROBE_MS);
}

/** A candidate about which nothing is known yet; its first probe is due at once. */
export function newCandidate(path: ScionPath): Candidate {
  return {
    rtt: new RttEstimator(announcedLatencyMs(path)),
    path,
    expiresAt: 0,
    forbidden: undefined,
    everAnswered: false,
    silences: 0,
    silentSince: Number.NEGATIVE_INFINITY,
    lastSilenceAt: Number.NEGATIVE_INFINITY,
    goodNeeded: 0,
    hintUntil: Number.NEGATIVE_INFINITY,
    lastAnswerAt: Number.NEGATIVE_INFINITY,
    lastArrivalAt: Number.NEGATIVE_INFINITY,
    lastProbeAt: Number.NEGATIVE_INFINITY,
    probesUnanswered: 0,
    probeWanted: true,
  };
}
