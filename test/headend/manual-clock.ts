/** A clock for tests whose hands the test turns: timers run in order, and what they wake runs to its end in between. */

import type { FleetClock } from '../../headend/fleet/clock.ts';

export class ManualClock implements FleetClock {
  private nowMs = 0;
  private timers: { at: number; run: () => void }[] = [];
  private readonly epoch = Date.parse('2026-03-01T12:00:00.000Z');

  readonly steady = () => this.nowMs;
  readonly wall = () => this.epoch + this.nowMs;
  readonly after = (ms: number, run: () => void) => {
    const timer = { at: this.nowMs + Math.max(0, ms), run };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((t) => t !== timer);
    };
  };
  readonly wait = (ms: number) => new Promise<void>((resolve) => void this.after(ms, resolve));

  /** Lets everything that is due run until `ms` have passed. */
  async advance(ms: number): Promise<void> {
    const end = this.nowMs + ms;
    for (;;) {
      await settle();
      const next = this.timers.reduce<{ at: number; run: () => void } | undefined>(
        (first, t) => (t.at <= end && (first === undefined || t.at < first.at) ? t : first),
        undefined,
      );
      if (next === undefined) break;
      this.timers = this.timers.filter((t) => t !== next);
      this.nowMs = Math.max(this.nowMs, next.at);
      next.run();
    }
    this.nowMs = end;
    await settle();
  }
}

/** Runs out all promise chains that do not wait for time. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}
