/**
 * The lane of one meter: one operation at a time, the most urgent first, in order of arrival within a priority. A meter
 * accepts one association and its counters must grow, so a second operation never starts beside the first, not even when
 * the first has passed its deadline: its caller is told, the lane stays taken until the operation has really ended.
 */

import { S3mpError } from '#base/errors';
import type { FleetClock } from './clock.ts';

/** Most urgent first. */
export const PRIORITIES = ['command', 'on-demand', 'live', 'background'] as const;
export type Priority = (typeof PRIORITIES)[number];

/** An operation gets what is left of its deadline, ms. */
export type Operation<T> = (remainingMs: number) => Promise<T>;

/** An operation is given this long beyond its deadline to report its own, better error. */
const GRACE_MS = 250;

interface Job {
  readonly operation: Operation<unknown>;
  readonly deadline: number;
  readonly runMs: number | undefined;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  cancelTimer: () => void;
}

export class Lane {
  private readonly clock: FleetClock;
  private readonly queues: Job[][] = PRIORITIES.map(() => []);
  private readonly capacity: number;
  private readonly subject: string;
  private running = false;

  /**
   * @param subject  for messages: `meter-1`
   * @param capacity  operations that may wait
   */
  constructor(clock: FleetClock, subject: string, capacity = 32) {
    this.clock = clock;
    this.subject = subject;
    this.capacity = capacity;
  }

  /** Operations that wait. */
  get waiting(): number {
    return this.queues.reduce((sum, queue) => sum + queue.length, 0);
  }

  get busy(): boolean {
    return this.running;
  }

  /**
   * Runs an operation in its turn.
   * @param deadlineMs  from now, waiting included
   * @param runMs  the operation's own time once its turn has come, in place of what is left of the deadline
   * @throws S3mpError `meter.busy` when its turn does not come in time or too many wait, `meter.unreachable` when it does
   *   not end in time, otherwise what the operation rejects with
   */
  run<T>(priority: Priority, deadlineMs: number, operation: Operation<T>, runMs?: number): Promise<T> {
    if (this.waiting >= this.capacity) {
      return Promise.reject(new S3mpError('meter.busy', `${this.subject}: ${this.capacity} requests wait already`));
    }
    return new Promise<T>((resolve, reject) => {
      const queue = this.queues[PRIORITIES.indexOf(priority)]!;
      const job: Job = {
        operation,
        deadline: this.clock.steady() + deadlineMs,
        runMs,
        resolve: resolve as (value: unknown) => void,
        reject,
        cancelTimer: () => {},
      };
      job.cancelTimer = this.clock.after(deadlineMs, () => {
        const index = queue.indexOf(job);
        if (index < 0) return;
        queue.splice(index, 1);
        reject(new S3mpError('meter.busy', `${this.subject}: not its turn within ${Math.round(deadlineMs)} ms`));
      });
      queue.push(job);
      this.next();
    });
  }

  /** Rejects everything that waits; the running operation ends by itself. */
  clear(error: S3mpError): void {
    for (const queue of this.queues) {
      for (const job of queue.splice(0)) {
        job.cancelTimer();
        job.reject(error);
      }
    }
  }

  private next(): void {
    if (this.running) return;
    const job = this.queues.find((queue) => queue.length > 0)?.shift();
    if (job === undefined) return;
    this.running = true;
    job.cancelTimer();
    const remaining = job.runMs ?? Math.max(1, job.deadline - this.clock.steady());
    const cancel = this.clock.after(remaining + GRACE_MS, () =>
      job.reject(new S3mpError('meter.unreachable', `${this.subject}: no answer within ${Math.round(remaining)} ms`)),
    );
    void this.settle(job, remaining).finally(() => {
      cancel();
      this.running = false;
      this.next();
    });
  }

  private async settle(job: Job, remaining: number): Promise<void> {
    try {
      job.resolve(await job.operation(remaining));
    } catch (error) {
      job.reject(error);
    }
  }
}
