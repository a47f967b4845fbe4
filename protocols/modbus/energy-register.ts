/**
 * An energy register over time: it never goes back, and never up by more than the meter can carry. What contradicts that is
 * held back until it has stood its ground for several readings; then another meter has been put on the bus.
 *
 * Between two counts of the register the energy is integrated from the power, with the register as the anchor: the value
 * never goes back, is never ahead of the register by as much as a count, and meets it at each count. That holds over a
 * restart as well: how far ahead it was is kept, or the most that it can have been is held until the register counts.
 */

import { Doubt, MAX_AMPERES } from '#modbus/plausibility';

/** Readings in a row that must agree with each other before they are believed against all before. */
const CONFIRMATIONS = 4;
/** Highest voltage of a phase that carries the highest current, V. */
const MAX_VOLTS = 300;
/** A power older than this says nothing about the time since, ms. */
const MAX_POWER_AGE_MS = 5_000;
const WS_PER_WH = 3_600;

export class EnergyRegister {
  /** Wh (varh) to give: the register, and what was integrated since its last count. */
  value = 0;
  /** Steady ms of the last reading that was believed; NaN before the first. */
  readAt = Number.NaN;
  /** How often another meter was found. */
  changes = 0;
  /** `value` is as far ahead of the register as it may have been before a restart; the next count shows what is true. */
  isHeld = false;
  /** What was given before the restart, until a second reading has confirmed the first. */
  #before: { readonly register: number; readonly ahead: number | undefined; readonly isHeld: boolean } | undefined;
  #register = 0;
  #isConfirmed = false;
  #candidate = 0;
  #candidateAt = 0;
  #agreeing = 0;
  #powerAt = 0;
  readonly #step: number;
  readonly #limitPerMs: number;

  /**
   * @param step  of the register, Wh
   * @param phases  of the meter, which bound what it can count
   */
  constructor(step: number, phases: number) {
    this.#step = step;
    this.#limitPerMs = (phases * MAX_AMPERES * MAX_VOLTS) / (1000 * WS_PER_WH);
  }

  /**
   * Takes a reading.
   * @returns why `value` is suspect, bits of `Doubt`; 0 when it is confirmed
   */
  read(register: number, nowMs: number): number {
    if (Number.isNaN(this.readAt)) {
      this.#begin(register, nowMs);
      return this.isHeld ? Doubt.alone | Doubt.held : Doubt.alone;
    }
    if (this.#follows(register, nowMs, this.#register, this.readAt)) {
      this.#confirm(register);
      this.#believe(register, nowMs);
      return this.isHeld ? Doubt.held : 0;
    }
    const agrees = this.#agreeing > 0 && this.#follows(register, nowMs, this.#candidate, this.#candidateAt);
    this.#agreeing = agrees ? this.#agreeing + 1 : 1;
    this.#candidate = register;
    this.#candidateAt = nowMs;
    if (this.#agreeing < CONFIRMATIONS) return Doubt.step;
    if (this.#isConfirmed) this.changes++;
    this.#begin(register, nowMs);
    this.#confirm(register);
    return this.isHeld ? Doubt.held : 0;
  }

  /**
   * Goes on where the meter was before a restart: the value never goes down by one. Before the first reading.
   * @param register  read last, or before that
   * @param ahead  by how much the value was ahead of it, Wh; undefined when that is not known: then it is held at the most
   *   that it can have been, just below the next count
   * @param isHeld  whether it was held then
   */
  restore(register: number, ahead: number | undefined, isHeld: boolean): void {
    this.#before = { register, ahead, isHeld };
  }

  /** What `restore` takes. A reading that nothing has confirmed is not worth it, but its value was given. */
  get kept(): { readonly register: number; readonly ahead: number | undefined; readonly isHeld: boolean } {
    if (this.#isConfirmed)
      return { register: this.#register, ahead: Math.floor(this.value) - this.#register, isHeld: this.isHeld };
    const { register = 0, ahead, isHeld = false } = this.#before ?? {};
    return { register, ahead: Number.isNaN(this.readAt) ? ahead : undefined, isHeld };
  }

  /** Whether it is the reading that was believed last. */
  isLast(register: number): boolean {
    return register === this.#register && !Number.isNaN(this.readAt);
  }

  /** Adds what flowed since the last power, in Wh; `powerW` is what counts, never negative. */
  integrate(powerW: number, nowMs: number): void {
    const elapsedMs = nowMs - this.#powerAt;
    // A reply that may have been a late one does not make the time go back.
    if (elapsedMs <= 0) return;
    this.#powerAt = nowMs;
    if (elapsedMs > MAX_POWER_AGE_MS || this.#step <= 1) return;
    const wh = (powerW * elapsedMs) / (1000 * WS_PER_WH);
    this.value = Math.max(this.value, Math.min(this.value + wh, this.#register + this.#step - 1));
  }

  /** Forgets all readings: the next ones are those of another meter. */
  forget(): void {
    this.value = 0;
    this.readAt = Number.NaN;
    this.isHeld = false;
    this.#before = undefined;
    this.#isConfirmed = false;
    this.#agreeing = 0;
  }

  /** Takes a first reading, with what was given before the restart if it can be of the same meter. */
  #begin(register: number, nowMs: number): void {
    this.#register = register;
    this.readAt = nowMs;
    this.value = register;
    this.isHeld = false;
    const before = this.#before;
    if (!before || register < before.register) return;
    const most = register + this.#step - 1;
    this.value = before.ahead === undefined ? most : Math.max(register, Math.min(before.register + before.ahead, most));
    this.isHeld = this.value > register && (before.ahead === undefined || before.isHeld);
  }

  /** A second reading agrees. One below that of before the restart is another meter's. */
  #confirm(register: number): void {
    if (this.#before && register < this.#before.register) this.changes++;
    this.#before = undefined;
    this.#isConfirmed = true;
    this.#agreeing = 0;
  }

  #follows(register: number, nowMs: number, before: number, beforeMs: number): boolean {
    return register >= before && register <= before + 2 * this.#step + this.#limitPerMs * (nowMs - beforeMs);
  }

  #believe(register: number, nowMs: number): void {
    this.#register = register;
    this.readAt = nowMs;
    if (register >= this.value) this.isHeld = false;
    this.value = Math.max(this.value, register);
  }
}
