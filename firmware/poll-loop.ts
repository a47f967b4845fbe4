/**
 * The poll loop: keeps the energy meter's registers in the measurement image, at bus speed and without allocating.
 *
 * A cycle does every read that is due, one after the other. A read that fails leaves its values to age; after a failed
 * cycle the meter is asked less and less often until it answers again.
 */

import type { SteadyClock } from '#base/crypto';
import { messageOf } from '#base/errors';
import type { Log } from '#hw/log';
import type { BytePort } from '#hw/serial/port';
import { Action, type LineTiming, Outcome, RtuMaster } from '#modbus/master';
import { type PlannedRead, planReads } from '#modbus/read-plan';
import { type RegisterMap, readRegister } from '#modbus/register-map';
import { EXCEPTIONS } from '#modbus/rtu';
import { type MeasurementImage, Quality, Quantity } from './measurement-image.ts';

export interface PollLoopOptions {
  readonly port: BytePort;
  readonly map: RegisterMap;
  readonly unit: number;
  readonly timing: LineTiming;
  readonly timeoutMs: number;
  /** Shortest time between the starts of two cycles, ms; 0 polls as fast as the bus allows. */
  readonly cycleMs: number;
  readonly image: MeasurementImage;
  readonly clock: SteadyClock;
  readonly log: Log;
}

const RETRIES = 2;
const BACKOFF_FIRST_MS = 5_000;
const BACKOFF_LAST_MS = 60_000;
/** Timers fire up to this late; a shorter wait before a request is spun, so that the bus is not left idle. */
const SPIN_MS = 1.5;
/** A chain of reads at most this long without giving other work a turn. */
const STEPS_PER_TURN = 8;

export class PollLoop {
  readonly master: RtuMaster;
  /** Cycles in which every read due succeeded. */
  cycles = 0;
  private readonly options: PollLoopOptions;
  private readonly reads: readonly PlannedRead[];
  private readonly nextReadAt: Float64Array;
  private current = -1;
  private cycleFailed = false;
  private cycleStartedAt = Number.NEGATIVE_INFINITY;
  private resumeAt = 0;
  private backoffMs = 0;
  private timer: NodeJS.Timeout | undefined;
  private running = false;

  constructor(options: PollLoopOptions) {
    this.options = options;
    this.reads = planReads(options.map, options.unit);
    this.nextReadAt = new Float64Array(this.reads.length);
    this.master = new RtuMaster({ timing: options.timing, timeoutMs: options.timeoutMs, retries: RETRIES });
  }

  start(): void {
    const { port, log } = this.options;
    this.running = true;
    port.onData = (bytes, length) => {
      this.master.receive(bytes, length, this.options.clock());
      this.pump();
    };
    port.onState = (open, error) => {
      if (open) {
        log.info('bus open', { bus: port.name });
        this.master.abort(this.options.clock());
        this.current = -1;
        this.backoffMs = 0;
        this.resumeAt = 0;
        this.pump();
      } else log.warn(messageOf(error), { code: error?.code });
    };
    this.pump();
  }

  stop(): void {
    this.running = false;
    clearTimeout(this.timer);
  }

  /** Whether the energy meter answered in the last cycle. */
  get healthy(): boolean {
    return this.backoffMs === 0 && this.cycles > 0;
  }

  /** Does what is due now and arranges to be called again. */
  private readonly pump = (): void => {
    const { clock } = this.options;
    if (!this.running) return;
    for (let step = 0; step < STEPS_PER_TURN; step++) {
      let now = clock();
      const due = this.step(now);
      if (due === Number.POSITIVE_INFINITY) return;
      now = clock();
      if (due > now) {
        if (due - now > SPIN_MS) {
          this.sleep(due - now - 1);
          return;
        }
        while (clock() < due);
      }
    }
    this.sleep(0);
  };

  private sleep(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(this.pump, Math.max(0, ms));
  }

  /**
   * One step of the loop: begins a read, sends its request, or takes its reply.
   * @returns steady ms at which to call again, Infinity when the port is closed
   */
  step(now: number): number {
    const { master, options } = this;
    if (!options.port.isOpen) return Number.POSITIVE_INFINITY;
    if (master.isIdle) {
      const at = this.beginNext(now);
      if (at > now || master.isIdle) return at;
    }
    switch (master.poll(now)) {
      case Action.send:
        options.port.write(master.request);
        return master.nextDeadline;
      case Action.done:
        this.finishRead(now);
        master.end();
        return now;
      default:
        return master.nextDeadline;
    }
  }

  /** Begins the next read that is due. @returns when to come back if none is */
  private beginNext(now: number): number {
    if (now < this.resumeAt) return this.resumeAt;
    if (this.current < 0) {
      const cycleAt = this.cycleStartedAt + this.options.cycleMs;
      if (now < cycleAt) return cycleAt;
      this.cycleStartedAt = now;
      this.cycleFailed = false;
    }
    for (let i = this.current + 1; i < this.reads.length; i++) {
      if (now < this.nextReadAt[i]!) continue;
      this.current = i;
      this.master.begin(this.reads[i]!, now);
      return now;
    }
    this.finishCycle(now);
    return Math.max(this.resumeAt, this.nextDue());
  }

  /** When the first read of the next cycle is due. */
  private nextDue(): number {
    let due = this.nextReadAt[0]!;
    for (let i = 1; i < this.nextReadAt.length; i++) due = Math.min(due, this.nextReadAt[i]!);
    return due;
  }

  private finishCycle(now: number): void {
    this.current = -1;
    if (!this.cycleFailed) {
      if (this.backoffMs > 0) this.options.log.info('the energy meter answers again');
      this.backoffMs = 0;
      this.cycles++;
      return;
    }
    this.backoffMs = Math.min(this.backoffMs === 0 ? BACKOFF_FIRST_MS : 2 * this.backoffMs, BACKOFF_LAST_MS);
    this.resumeAt = now + this.backoffMs;
    this.options.log.warn(`${this.failureText()}; asking again in ${this.backoffMs / 1000} s`, {
      unit: this.options.unit,
      bus: this.options.port.name,
    });
  }

  private finishRead(now: number): void {
    const { master } = this;
    const read = this.reads[this.current]!;
    if (master.outcome === Outcome.ok) {
      this.nextReadAt[this.current] = now + read.everyMs;
      this.apply(read, now);
    } else {
      // The rest of the cycle would meet the same silence.
      this.cycleFailed = true;
      this.current = this.reads.length;
    }
  }

  private apply(read: PlannedRead, now: number): void {
    const { image } = this.options;
    const { rx, dataAt } = this.master;
    image.beginUpdate();
    for (let i = 0; i < read.values.length; i++) {
      const value = read.values[i]!;
      const raw = readRegister(rx, dataAt + value.offset, value.type);
      image.set(Quantity[value.quantity], raw * value.factor, now, Quality.good);
    }
    image.endUpdate();
  }

  private failureText(): string {
    const { outcome, exceptionCode } = this.master;
    if (outcome === Outcome.exception) {
      return `the energy meter refuses: ${EXCEPTIONS[exceptionCode]?.text ?? `exception ${exceptionCode}`} (wrong register map?)`;
    }
    if (outcome === Outcome.damaged)
      return 'the answer on the bus is damaged (wrong baud rate or parity, noise, another master?)';
    return 'no answer from the energy meter (wiring A/B, unit address, baud rate, parity?)';
  }
}
