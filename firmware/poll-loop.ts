/**
 * The poll loop: keeps the registers of the energy meters on a bus in their measurement images, at bus speed and without
 * allocating. The meters take turns; in each turn every read of the meter that is due is done, one after the other.
 */

import type { SteadyClock } from '#base/crypto';
import { messageOf } from '#base/errors';
import type { Log } from '#hw/log';
import type { BytePort } from '#hw/serial/port';
import type { LineTiming } from '#modbus/line-timing';
import { Action, RtuMaster } from '#modbus/master';
import { BusMeter, type MeterOnBus } from './bus-meter.ts';

export interface PollLoopOptions extends MeterOnBus {
  readonly port: BytePort;
  /** Further energy meters on the same bus. */
  readonly further?: readonly MeterOnBus[];
  readonly timing: LineTiming;
  readonly timeoutMs: number;
  /** Shortest time between the starts of two cycles, ms; 0 polls as fast as the bus allows. */
  readonly cycleMs: number;
  /** Pause after a failed cycle, ms; doubles from the first to the last. 5 s to 60 s by default. */
  readonly backoffMs?: { readonly first: number; readonly last: number };
  /** Silence before another unit is spoken to, ms; some meters take what went to another one for theirs. 100 by default. */
  readonly switchMs?: number;
  /** Told when another energy meter answers in place of the former one. @param unit  its address */
  readonly onMeterChanged?: (unit: number) => void;
  readonly clock: SteadyClock;
  readonly log: Log;
}

const RETRIES = 2;
const BACKOFF_MS = { first: 5_000, last: 60_000 };
const SWITCH_MS = 100;
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
  readonly #options: PollLoopOptions;
  readonly #meters: readonly BusMeter[];
  /** Index of the meter whose turn it is or was. */
  #turn = 0;
  /** When the port was last opened or could not be. */
  #portAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = NEVER;
  #running = false;
  /** Nobody rings: a wait on it is a sleep shorter than any timer's. */
  readonly #bell = new Int32Array(new SharedArrayBuffer(4));

  constructor(options: PollLoopOptions) {
    this.#options = options;
    const { timing, timeoutMs, cycleMs, backoffMs = BACKOFF_MS, switchMs = SWITCH_MS, log, onMeterChanged } = options;
    this.#meters = [options, ...(options.further ?? [])].map(({ map, unit, image }) => {
      const changed = onMeterChanged && (() => onMeterChanged(unit));
      return new BusMeter({ map, unit, image, timing, cycleMs, backoffMs, log, onMeterChanged: changed });
    });
    this.master = new RtuMaster({ timing, timeoutMs, retries: RETRIES, switchMs });
  }

  /** Takes over the port's events and polls until `stop`. */
  start(): void {
    const { port, log } = this.#options;
    this.#running = true;
    port.onData = (bytes, length) => {
      this.master.now[0] = this.#options.clock();
      this.master.receive(bytes, length);
      this.#pump();
    };
    this.#portAt = this.#options.clock();
    port.onState = (open, error) => {
      this.#portAt = this.master.now[0] = this.#options.clock();
      this.master.abort();
      for (const meter of this.#meters) meter.lose();
      if (open) {
        log.info('bus open', { bus: port.name });
        this.#pump();
      } else {
        log.warn(messageOf(error), { code: error?.code });
      }
    };
    this.#pump();
  }

  stop(): void {
    this.#running = false;
    this.#disarm();
  }

  /** Whether the port is open and the meter answers; of several, the first. */
  get healthy(): boolean {
    return this.#options.port.isOpen && this.#meters[0]!.healthy;
  }

  /** Active energy of each meter. */
  get energies() {
    return this.#meters.map(({ energy }) => energy);
  }

  /** Passes in which every read due of the meter succeeded; of several, the first. */
  get cycles(): number {
    return this.#meters[0]!.cycles;
  }

  /** ms by which the loop is late with what is due; at most 0 while it works, also when the energy meter is silent. */
  overdueMs(now: number): number {
    return now - (this.time[1] === NEVER ? this.#portAt + PORT_LIMIT_MS : this.time[1]!);
  }

  /** Does what is due now and arranges to be called again. */
  readonly #pump = (): void => {
    const { clock } = this.#options;
    if (!this.#running) return;
    for (let step = 0; step < STEPS_PER_TURN; step++) {
      this.time[0] = clock();
      this.step();
      const due = this.time[1]!;
      if (due === NEVER) return;
      const now = clock();
      if (due - now > BLOCK_MS) {
        this.#wakeAt(due, now);
        return;
      }
      // Sleeping leaves the only core of a small board to the kernel and to whoever else has work.
      if (due - now > SPIN_MS) Atomics.wait(this.#bell, 0, 0, due - now - SPIN_MS);
      while (clock() < due);
    }
    setImmediate(this.#pump);
  };

  #wakeAt(due: number, now: number): void {
    // A timer that fires earlier serves as well: the step finds nothing to do and sets the next one.
    if (this.#timerAt <= due) return;
    this.#disarm();
    this.#timerAt = due;
    this.#timer = setTimeout(this.#onTimer, due - now - 1);
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timerAt = NEVER;
  }

  readonly #onTimer = (): void => {
    this.#timerAt = NEVER;
    // After a stall of the process the reply may have come in time without having been read: its bytes go first.
    if (this.master.isWaiting && this.#options.clock() >= this.master.nextDeadline) setImmediate(this.#pump);
    else this.#pump();
  };

  /**
   * One step of the loop at `time[0]`: begins a read, sends its request, or takes its reply. Leaves in `time[1]` when to
   * call again, Infinity when the port is closed.
   */
  step(): void {
    const { master, time } = this;
    const options = this.#options;
    const now = time[0]!;
    if (!options.port.isOpen) {
      time[1] = NEVER;
      return;
    }
    master.now[0] = now;
    if (master.isIdle && !this.#beginNext()) return;
    switch (master.poll()) {
      case Action.send:
        options.port.write(master.request);
        break;
      case Action.done:
        this.#meters[this.#turn]!.finishRead(master);
        master.end();
        time[1] = now;
        return;
    }
    master.findDue();
    time[1] = master.due[0]!;
  }

  /** Begins the next read that is due. @returns false if there is none; the step's due time then says when */
  #beginNext(): boolean {
    const { master } = this;
    const options = this.#options;
    const meters = this.#meters;
    const now = this.time[0]!;
    let first = NEVER;
    // The pass under way goes on; on a shared bus the others come first while its unit must be left in peace.
    for (let i = 0; i <= meters.length; i++) {
      const turn = (this.#turn + i) % meters.length;
      const meter = meters[turn]!;
      const { isInPass } = meter;
      if (!isInPass && i === 0) continue;
      if (!isInPass) meter.findDue();
      const due = Math.max(isInPass ? 0 : meter.dueAt[0]!, meters.length > 1 ? master.freeAt[meter.unit]! : 0);
      if (due > now) {
        first = Math.min(first, due);
        continue;
      }
      if (!isInPass) meter.startPass(master);
      if (this.#begin(meter, turn)) return true;
      if (!isInPass) continue;
      meter.finishPass(master, options.port.name);
      meter.findDue();
      first = Math.min(first, meter.dueAt[0]!);
    }
    this.time[1] = first;
    return false;
  }

  #begin(meter: BusMeter, turn: number): boolean {
    const read = meter.next(this.master);
    if (read === undefined) return false;
    this.#turn = turn;
    // Others wait for their turn.
    const isProbed = meter.isProbed || (meter.isSilent && this.#meters.length > 1);
    this.master.begin(read, isProbed ? 0 : RETRIES);
    return true;
  }
}
