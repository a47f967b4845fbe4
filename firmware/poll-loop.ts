/**
 * The poll loop: keeps the energy meter's registers in the measurement image, at bus speed and without allocating.
 *
 * A cycle does every read that is due, one after the other. A read that fails makes the values suspect and leaves them
 * to age; the meter is then asked less and less often until it answers again. A meter that refuses a block of registers
 * is asked for each of its values from then on.
 */

import type { SteadyClock } from '#base/crypto';
import { messageOf } from '#base/errors';
import type { Log } from '#hw/log';
import type { BytePort } from '#hw/serial/port';
import { Action, type LineTiming, Outcome, RtuMaster } from '#modbus/master';
import { type PlannedRead, planReads, splitRead } from '#modbus/read-plan';
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
  /** Pause after a failed cycle, ms; doubles from the first to the last. 5 s to 60 s by default. */
  readonly backoffMs?: { readonly first: number; readonly last: number };
  readonly image: MeasurementImage;
  readonly clock: SteadyClock;
  readonly log: Log;
}

const RETRIES = 2;
const BACKOFF_MS = { first: 5_000, last: 60_000 };
/** Refusals in a row that can only be those of the present read. */
const SURE_REFUSALS = 3;
/** Timers fire up to this late; a shorter wait blocks the process, so that the bus is not left idle. */
const BLOCK_MS = 1.5;
/** Blocking ends up to this late; the rest is spun. */
const SPIN_MS = 0.05;
/** A chain of steps at most this long without giving other work a turn. */
const STEPS_PER_TURN = 8;
/** A port that is closed is tried this often at least. */
const PORT_LIMIT_MS = 60_000;
const NEVER = Number.POSITIVE_INFINITY;

export class PollLoop {
  readonly master: RtuMaster;
  /** Steady ms of the step under way, and when the next is due; in an array for the reason that RtuMaster gives. */
  readonly time = new Float64Array(2);
  /** Cycles in which every read due succeeded. */
  cycles = 0;
  private readonly options: PollLoopOptions;
  private reads: readonly PlannedRead[];
  private nextReadAt: Float64Array;
  /** Index of the read under way or the last one of the cycle, -1 between cycles. */
  private current = -1;
  private cycleFailed = false;
  private cycleStartedAt = Number.NEGATIVE_INFINITY;
  private resumeAt = 0;
  private backoffMs = 0;
  /** Refusals of an address or count in a row. */
  private refusals = 0;
  /** When the port was last opened or could not be. */
  private portAt = 0;
  private timer: NodeJS.Timeout | undefined;
  private timerAt = NEVER;
  private running = false;
  /** Nobody rings: a wait on it is a sleep shorter than any timer's. */
  private readonly bell = new Int32Array(new SharedArrayBuffer(4));

  constructor(options: PollLoopOptions) {
    this.options = options;
    this.reads = planReads(options.map, options.unit);
    this.nextReadAt = new Float64Array(this.reads.length);
    this.master = new RtuMaster({ timing: options.timing, timeoutMs: options.timeoutMs, retries: RETRIES });
  }

  /** Takes over the port's events and polls until `stop`. */
  start(): void {
    const { port, log } = this.options;
    this.running = true;
    port.onData = (bytes, length) => {
      this.master.now[0] = this.options.clock();
      this.master.receive(bytes, length);
      this.pump();
    };
    this.portAt = this.options.clock();
    port.onState = (open, error) => {
      this.portAt = this.master.now[0] = this.options.clock();
      this.master.abort();
      this.current = -1;
      if (open) {
        log.info('bus open', { bus: port.name });
        this.resumeAt = 0;
        this.pump();
      } else {
        this.doubtAll();
        log.warn(messageOf(error), { code: error?.code });
      }
    };
    this.pump();
  }

  stop(): void {
    this.running = false;
    this.disarm();
  }

  /** Whether the energy meter answered in the last cycle. */
  get healthy(): boolean {
    return this.backoffMs === 0 && this.cycles > 0;
  }

  /** ms by which the loop is late with what is due; at most 0 while it works, also when the energy meter is silent. */
  overdueMs(now: number): number {
    return now - (this.time[1] === NEVER ? this.portAt + PORT_LIMIT_MS : this.time[1]!);
  }

  /** Does what is due now and arranges to be called again. */
  private readonly pump = (): void => {
    const { clock } = this.options;
    if (!this.running) return;
    for (let step = 0; step < STEPS_PER_TURN; step++) {
      this.time[0] = clock();
      this.step();
      const due = this.time[1]!;
      if (due === NEVER) return;
      const now = clock();
      if (due - now > BLOCK_MS) {
        this.wakeAt(due, now);
        return;
      }
      // Sleeping leaves the only core of a small board to the kernel and to whoever else has work.
      if (due - now > SPIN_MS) Atomics.wait(this.bell, 0, 0, due - now - SPIN_MS);
      while (clock() < due);
    }
    setImmediate(this.pump);
  };

  private wakeAt(due: number, now: number): void {
    // A timer that fires earlier serves as well: the step finds nothing to do and sets the next one.
    if (this.timerAt <= due) return;
    this.disarm();
    this.timerAt = due;
    this.timer = setTimeout(this.onTimer, due - now - 1);
  }

  private disarm(): void {
    clearTimeout(this.timer);
    this.timerAt = NEVER;
  }

  private readonly onTimer = (): void => {
    this.timerAt = NEVER;
    // After a stall of the process the reply may have come in time without having been read: its bytes go first.
    if (this.master.isWaiting && this.options.clock() >= this.master.nextDeadline) setImmediate(this.pump);
    else this.pump();
  };

  /**
   * One step of the loop at `time[0]`: begins a read, sends its request, or takes its reply. Leaves in `time[1]` when to
   * call again, Infinity when the port is closed.
   */
  step(): void {
    const { master, options, time } = this;
    const now = time[0]!;
    if (!options.port.isOpen) {
      time[1] = NEVER;
      return;
    }
    master.now[0] = now;
    if (master.isIdle && !this.beginNext()) return;
    switch (master.poll()) {
      case Action.send:
        options.port.write(master.request);
        break;
      case Action.done:
        this.finishRead();
        master.end();
        time[1] = now;
        return;
    }
    time[1] = master.nextDeadline;
  }

  /** Begins the next read that is due. @returns false if there is none; the step's due time then says when */
  private beginNext(): boolean {
    const now = this.time[0]!;
    if (now < this.resumeAt) return this.restUntil(this.resumeAt);
    if (this.current >= 0) {
      if (this.beginFrom(this.current + 1)) return true;
      this.finishCycle();
      if (now < this.resumeAt) return this.restUntil(this.resumeAt);
    }
    const cycleAt = this.cycleStartedAt + this.options.cycleMs;
    if (now < cycleAt) return this.restUntil(cycleAt);
    this.cycleFailed = false;
    if (!this.beginFrom(0)) return this.restUntil(this.firstDue());
    this.cycleStartedAt = now;
    return true;
  }

  private restUntil(at: number): false {
    this.time[1] = at;
    return false;
  }

  private beginFrom(first: number): boolean {
    const { reads, master } = this;
    const now = this.time[0]!;
    for (let i = first; i < reads.length; i++) {
      if (now < this.nextReadAt[i]!) continue;
      // The next cycle starts with a reply of another length, which settles what is owed without waiting.
      if (i > 0 && reads[i]!.count !== reads[0]!.count && master.isDoubtful(reads[i]!)) continue;
      this.current = i;
      master.begin(reads[i]!, this.backoffMs > 0 ? 0 : RETRIES);
      return true;
    }
    return false;
  }

  private firstDue(): number {
    let first = NEVER;
    for (let i = 0; i < this.nextReadAt.length; i++) first = Math.min(first, this.nextReadAt[i]!);
    return first;
  }

  private finishCycle(): void {
    this.current = -1;
    if (!this.cycleFailed) {
      if (this.backoffMs > 0) this.options.log.info('the energy meter answers again');
      this.backoffMs = 0;
      this.cycles++;
      return;
    }
    const { first, last } = this.options.backoffMs ?? BACKOFF_MS;
    this.backoffMs = Math.min(this.backoffMs === 0 ? first : 2 * this.backoffMs, last);
    this.resumeAt = this.time[0]! + this.backoffMs;
    this.options.log.warn(this.failureText(), {
      unit: this.options.unit,
      bus: this.options.port.name,
      again_s: this.backoffMs / 1000,
    });
  }

  private finishRead(): void {
    const { master } = this;
    const read = this.reads[this.current]!;
    if (master.outcome === Outcome.ok) {
      this.refusals = 0;
      this.nextReadAt[this.current] = this.time[0]! + read.everyMs;
      this.apply(read);
      return;
    }
    if (this.refusesBlock(read)) {
      this.split(read);
      return;
    }
    // The rest of the cycle would meet the same silence.
    this.cycleFailed = true;
    this.current = this.reads.length;
    this.doubtAll();
  }

  /**
   * Some meters of a family answer shorter reads only; they say "address" or "count". An exception does not name its
   * request: while an earlier answer is outstanding it may be that one's, but not several times in a row.
   */
  private refusesBlock(read: PlannedRead): boolean {
    const { outcome, exceptionCode, owesNothing } = this.master;
    const isRange = exceptionCode === 2 || exceptionCode === 3;
    this.refusals = outcome === Outcome.exception && isRange ? this.refusals + 1 : 0;
    return (owesNothing ? this.refusals > 0 : this.refusals >= SURE_REFUSALS) && read.values.length > 1;
  }

  private split(read: PlannedRead): void {
    this.refusals = 0;
    this.options.log.warn('the energy meter refuses the block; reading its values one by one', {
      start: `0x${read.start.toString(16)}`,
      registers: read.count,
    });
    const singles = splitRead(read);
    this.reads = this.reads.flatMap((other) => (other === read ? singles : [other]));
    this.nextReadAt = new Float64Array(this.reads.length);
    this.current--;
  }

  private apply(read: PlannedRead): void {
    const { image } = this.options;
    const now = this.time[0]!;
    const { rx, dataAt } = this.master;
    image.beginUpdate();
    for (let i = 0; i < read.values.length; i++) {
      const { quantity, offset, type, factor } = read.values[i]!;
      const value = Math.round(readRegister(rx, dataAt + offset, type) * factor);
      // A float register of a meter that has no value holds NaN.
      if (Number.isFinite(value)) image.set(Quantity[quantity], value, now, Quality.good);
    }
    image.endUpdate();
  }

  /** No value is confirmed; each is read again as soon as the meter answers. */
  private doubtAll(): void {
    const { image } = this.options;
    this.nextReadAt.fill(0);
    image.beginUpdate();
    for (let r = 0; r < this.reads.length; r++) {
      const { values } = this.reads[r]!;
      for (let i = 0; i < values.length; i++) image.doubt(Quantity[values[i]!.quantity]);
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
