/** When a meter is read by itself: one timer, at most one scheduled reading under way, pauses after failures. */

import { retryPause } from './ageing.ts';
import type { FleetClock } from './clock.ts';

/** What a schedule is kept for. */
export interface ScheduledMeter {
  /** 0 when no readings are wanted. */
  readonly intervalMs: () => number;
  /** Steady time of the newest reading, null before the first. */
  readonly readAt: () => number | null;
  /** Attempts in a row without an answer. */
  readonly failures: () => number;
  /** Reads, and keeps account of a failure. */
  readonly read: () => Promise<unknown>;
  /** Told when the time of the next reading is known again. */
  readonly scheduled: () => void;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export class ReadingSchedule {
  private readonly clock: FleetClock;
  private readonly meter: ScheduledMeter;
  private cancelTimer: () => void = () => {};
  private due: number | null = null;
  private reading = false;
  private stopped = false;

  constructor(clock: FleetClock, meter: ScheduledMeter) {
    this.clock = clock;
    this.meter = meter;
  }

  /** Steady time of the next reading, null when there is none or it is under way. */
  get dueAt(): number | null {
    return this.due;
  }

  /** Reads at once, and from then on. */
  start(): void {
    if (this.meter.intervalMs() > 0) this.schedule(0);
  }

  stop(): void {
    this.stopped = true;
    this.cancelTimer();
  }

  /** Begins anew, as when the interval has changed. */
  reschedule(): void {
    if (this.stopped) return;
    this.cancelTimer();
    this.due = null;
    const intervalMs = this.meter.intervalMs();
    const readAt = this.meter.readAt();
    if (intervalMs === 0 || this.reading) return;
    const sinceRead = readAt === null ? Number.POSITIVE_INFINITY : this.clock.steady() - readAt;
    this.schedule(Math.max(0, intervalMs - sinceRead));
  }

  /** Ends a pause: a meter that is back is read at its normal pace at once. */
  resume(): void {
    if (this.due !== null && !this.reading) this.reschedule();
  }

  private schedule(inMs: number): void {
    this.cancelTimer();
    if (this.stopped) return;
    this.due = this.clock.steady() + inMs;
    this.cancelTimer = this.clock.after(inMs, () => void this.readNow());
  }

  private async readNow(): Promise<void> {
    const due = this.due ?? this.clock.steady();
    this.due = null;
    this.reading = true;
    try {
      await this.meter.read();
    } catch {
      // The meter's account of failures decides on the next attempt below.
    }
    this.reading = false;
    const intervalMs = this.meter.intervalMs();
    const failures = this.meter.failures();
    if (this.stopped || intervalMs === 0) return;
    const now = this.clock.steady();
    if (failures > 0) this.schedule(retryPause(failures, intervalMs, this.meter.random()));
    // At a fixed rate from the first due time, so that the delay of a reading does not add to the interval.
    else this.schedule(Math.max(0, due + intervalMs - now));
    this.meter.scheduled();
  }
}
