/** Live readings of one meter: how often, for how many, and how well the line keeps up. */

import type { LiveBody } from '../http/wire.ts';
import { DelayWindow } from './delay-window.ts';

const RATE_WINDOW_MS = 10_000;
const DELAY_WINDOW_MS = 60_000;

export class LiveReadings {
  private readonly delays = new DelayWindow();
  private live: { readonly intervalMs: number; readonly viewers: number; readonly since: number } | null = null;

  /** null when nobody looks. */
  get intervalMs(): number | null {
    return this.live?.intervalMs ?? null;
  }

  /**
   * Starts, changes or ends them.
   * @param now  steady ms
   */
  set(intervalMs: number | null, viewers: number, now: number): void {
    if (this.live === null && intervalMs !== null) this.delays.clear();
    this.live = intervalMs === null ? null : { intervalMs, viewers, since: this.live?.since ?? now };
  }

  /** Takes note of a reading. @param now  steady ms */
  add(now: number, delayMs: number): void {
    this.delays.add(now, delayMs);
  }

  /** @param now  steady ms */
  body(now: number): LiveBody | null {
    if (this.live === null) return null;
    const { intervalMs, viewers, since } = this.live;
    return {
      intervalMs,
      viewers,
      achievedPerSecond: round2(this.delays.rate(now, RATE_WINDOW_MS, since)),
      delayP50Ms: roundOrNull(this.delays.percentile(now, DELAY_WINDOW_MS, 0.5)),
      delayP95Ms: roundOrNull(this.delays.percentile(now, DELAY_WINDOW_MS, 0.95)),
    };
  }
}

function round2(value: number): number {
  return Math.round(value * 100) / 100;
}

function roundOrNull(value: number | null): number | null {
  return value === null ? null : round2(value);
}
