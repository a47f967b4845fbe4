/**
 * What age does to values and meters. A number that nobody has confirmed for a while must not look like a fresh one:
 * values go good → stale → missing, meters online → late → stale, and offline when they do not answer.
 */

import type { MeterState, Quality } from '../http/wire.ts';
import type { MeasuredQuality } from '../meter-connection.ts';

export interface AgeLimits {
  /** Infinity when no readings are scheduled: then nothing can be late. */
  readonly lateAfterMs: number;
  readonly staleAfterMs: number;
  readonly missingAfterMs: number;
}

const STALE_AT_LEAST_MS = 10_000;
const MISSING_AT_LEAST_MS = 900_000;
/** Attempts in a row that may fail before a meter that was just seen counts as offline. */
const FAILURES_TO_OFFLINE = 3;

/** Limits for readings that come every `intervalMs`, 0 when none are scheduled. */
export function ageLimits(intervalMs: number): AgeLimits {
  return {
    lateAfterMs: intervalMs > 0 ? 2 * intervalMs : Number.POSITIVE_INFINITY,
    staleAfterMs: Math.max(STALE_AT_LEAST_MS, 4 * intervalMs),
    missingAfterMs: Math.max(MISSING_AT_LEAST_MS, 10 * intervalMs),
  };
}

export function qualityAt(measured: MeasuredQuality, ageMs: number, limits: AgeLimits): Quality {
  if (measured === 'missing' || ageMs > limits.missingAfterMs) return 'missing';
  return ageMs > limits.staleAfterMs ? 'stale' : measured;
}

/**
 * @param ageMs  age of the newest reading since the head end started, null when there is none
 * @param failures  failed attempts since the last answer
 */
export function meterStateAt(ageMs: number | null, failures: number, limits: AgeLimits): MeterState {
  const stale = ageMs === null || ageMs > limits.staleAfterMs;
  if (failures >= FAILURES_TO_OFFLINE || (failures > 0 && stale)) return 'offline';
  if (ageMs === null) return 'unknown';
  if (stale) return 'stale';
  // An attempt fails only after many datagrams over every path, so even one is more than noise.
  return failures > 0 || ageMs > limits.lateAfterMs ? 'late' : 'online';
}

/**
 * Pause before the next scheduled attempt: the interval itself after the first miss, then
 * doubling up to a limit, so that a dead meter costs little and a revived one is seen soon.
 * @param random  uniform in [0, 1): spreads meters that failed together
 */
export function retryPause(failures: number, intervalMs: number, random: number): number {
  if (failures <= 1) return intervalMs;
  const limit = Math.max(intervalMs, 15_000);
  const base = Math.min(limit, Math.max(intervalMs, 500) * 2 ** Math.min(failures - 1, 16));
  return base * (0.8 + 0.4 * random);
}
