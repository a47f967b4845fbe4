/**
 * How many SCMP errors a router may send: a token bucket per link that offending packets come by, so that a flood of bad
 * packets buys neither a flood of answers nor the silence of the other links.
 */

export interface ErrorBudgetOptions {
  /** Errors per second that a link may cause in the long run. */
  readonly perSecond: number;
  /** Errors at once after a quiet time. */
  readonly burst: number;
}

export const DEFAULT_ERROR_BUDGET: ErrorBudgetOptions = { perSecond: 500, burst: 500 };

export class ErrorBudget {
  /** Errors that were not sent. */
  suppressed = 0;
  private readonly perMs: number;
  private readonly burst: number;
  private readonly slots = new Map<number, number>();
  private readonly tokens: Float64Array;
  private readonly filledAtMs: Float64Array;

  /** @param links  numbers of the links, each of which gets its bucket */
  constructor({ perSecond, burst }: ErrorBudgetOptions, links: readonly number[]) {
    this.perMs = perSecond / 1000;
    this.burst = burst;
    links.forEach((link, slot) => {
      this.slots.set(link, slot);
    });
    this.tokens = new Float64Array(links.length).fill(burst);
    this.filledAtMs = new Float64Array(links.length);
  }

  /** Takes one token. @returns whether an error about a packet from this link may be sent now */
  take(link: number, nowMs: number): boolean {
    const slot = this.slots.get(link);
    if (slot === undefined) return false;
    // A clock that was set back only delays the refill.
    const elapsed = Math.max(0, nowMs - this.filledAtMs[slot]!);
    const tokens = Math.min(this.burst, this.tokens[slot]! + elapsed * this.perMs);
    this.filledAtMs[slot] = nowMs;
    const granted = tokens >= 1;
    this.tokens[slot] = granted ? tokens - 1 : tokens;
    if (!granted) this.suppressed++;
    return granted;
  }
}
