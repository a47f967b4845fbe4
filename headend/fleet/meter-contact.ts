/**
 * The contact with one meter: its lane, and what the outcome of each call says about whether the meter can be reached.
 */

import { messageOf, S3mpError } from '#base/errors';
import type { FleetClock } from './clock.ts';
import { Lane, type Operation, type Priority } from './lane.ts';

/** Why the last call failed. */
export interface ContactFailure {
  readonly code: string;
  readonly detail: string;
}

export interface ContactHooks {
  /** The meter answers again. */
  readonly recovered: () => void;
  /** A call failed; `before` is the failure that was on record until then. */
  readonly failed: (failure: ContactFailure, before: ContactFailure | null) => void;
}

/** Failures that say nothing about whether the meter can be reached. */
const NOT_A_MISS = new Set([
  'meter.busy',
  'command.cancelled',
  'dlms.access-denied',
  'dlms.object-undefined',
  'dlms.type-unmatched',
  'dlms.refused',
]);

export class MeterContact {
  private readonly subject: string;
  private readonly clock: FleetClock;
  private readonly hooks: ContactHooks;
  private readonly lane: Lane;
  private readonly waiters = new Set<() => void>();
  private stopped = false;
  private misses = 0;
  private lastFailure: ContactFailure | null = null;

  /** Wall time of the last answer, null before the first. */
  lastSeenAt: number | null = null;

  /** @param subject  for messages: `meter-1` */
  constructor(subject: string, clock: FleetClock, hooks: ContactHooks) {
    this.subject = subject;
    this.clock = clock;
    this.hooks = hooks;
    this.lane = new Lane(clock, subject);
  }

  /** Calls without an answer since the last one with it. */
  get failures(): number {
    return this.misses;
  }

  /** Why the last call failed, null when it did not. */
  get failure(): ContactFailure | null {
    return this.lastFailure;
  }

  /** Rejects what waits for its turn and lets go who waits for the meter. */
  stop(): void {
    this.stopped = true;
    this.lane.clear(new S3mpError('meter.busy', `${this.subject}: the head end is stopping`));
    for (const wake of this.waiters) wake();
  }

  /** Runs an operation in its turn, as `Lane.run`, and takes note of its outcome. */
  async call<T>(priority: Priority, deadlineMs: number, operation: Operation<T>, runMs?: number): Promise<T> {
    try {
      const result = await this.lane.run(priority, deadlineMs, operation, runMs);
      this.reached();
      return result;
    } catch (error) {
      this.missed(error);
      throw error;
    }
  }

  /**
   * Runs a command in its turn.
   * @param waitMs  how long it may wait for its turn
   * @param onTurn  called when its turn has come; the command is sent when this has resolved
   * @param runMs  the command's own time
   */
  command(operation: Operation<void>, waitMs: number, onTurn: () => Promise<void>, runMs: number): Promise<void> {
    const inTurn: Operation<void> = async (ms) => {
      await onTurn();
      await operation(ms);
    };
    return this.call('command', Math.max(1, waitMs), inTurn, runMs);
  }

  /** Resolves when the meter answers again, or after `ms`. */
  untilReachable(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        cancel();
        this.waiters.delete(wake);
        resolve();
      };
      const cancel = this.clock.after(ms, wake);
      this.waiters.add(wake);
    });
  }

  private reached(): void {
    const recovered = this.misses > 0;
    this.misses = 0;
    this.lastFailure = null;
    this.lastSeenAt = this.clock.wall();
    if (!recovered) return;
    for (const wake of [...this.waiters]) wake();
    this.hooks.recovered();
  }

  private missed(error: unknown): void {
    const code = error instanceof S3mpError ? error.code : 'internal';
    if (this.stopped || code === 'meter.busy') return;
    if (!NOT_A_MISS.has(code)) this.misses++;
    const before = this.lastFailure;
    this.lastFailure = { code, detail: messageOf(error) };
    this.hooks.failed(this.lastFailure, before);
  }
}
