/**
 * Round-trip time and retransmission timeout (RFC 6298): smoothed RTT, its variation, and a timeout that doubles with
 * each silence in a row. Samples must belong to the datagram they were measured on: answers over SCION say which path
 * they took, so retransmissions do not blur them.
 */

export const MIN_RTO_MS = 30;
export const MAX_RTO_MS = 8_000;
/** Timers and schedulers are this coarse (G of RFC 6298): a very even RTT must not make every hiccup a loss. */
export const GRANULARITY_MS = 10;
/** Timeout for a path about which nothing is known. */
export const INITIAL_RTO_MS = 1_000;

export class RttEstimator {
  /** Smoothed RTT, ms; NaN before the first sample. */
  srttMs = Number.NaN;
  rttVarMs = 0;
  private readonly initialRtoMs: number;

  /** @param announcedMs  one-way latency that the path announces, if it does */
  constructor(announcedMs?: number) {
    this.initialRtoMs =
      announcedMs === undefined ? INITIAL_RTO_MS : Math.max(MIN_RTO_MS, Math.min(INITIAL_RTO_MS, 3 * 2 * announcedMs));
  }

  copy(): RttEstimator {
    return Object.assign(new RttEstimator(), this);
  }

  get hasSample(): boolean {
    return !Number.isNaN(this.srttMs);
  }

  sample(rttMs: number): void {
    if (!(rttMs >= 0)) return;
    if (!this.hasSample) {
      this.srttMs = rttMs;
      this.rttVarMs = rttMs / 2;
      return;
    }
    this.rttVarMs += (Math.abs(this.srttMs - rttMs) - this.rttVarMs) / 4;
    this.srttMs += (rttMs - this.srttMs) / 8;
  }

  /** @param silences  unanswered timeouts in a row */
  rtoMs(silences = 0): number {
    const base = this.hasSample
      ? Math.max(MIN_RTO_MS, this.srttMs + Math.max(GRANULARITY_MS, 4 * this.rttVarMs))
      : this.initialRtoMs;
    return Math.min(MAX_RTO_MS, base * 2 ** Math.min(silences, 10));
  }
}
