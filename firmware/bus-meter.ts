/**
 * One energy meter on the bus: which of its registers are due, what becomes of their values, and how often it is asked when
 * it does not answer. It does no I/O and nothing in it allocates while the meter answers.
 *
 * Registers that are read together form a block. On a line that damages replies a block is read in ever smaller pieces,
 * and in larger ones again when the line has been good for a while. What becomes of their values: block-values.ts.
 */

import type { Log } from '#hw/log';
import type { LineTiming } from '#modbus/line-timing';
import { Outcome, type RtuMaster } from '#modbus/master';
import { Doubt } from '#modbus/plausibility';
import { joinGap, levelsOf, type PlannedRead, plainRead, planReads, splitRead } from '#modbus/read-plan';
import { type RegisterMap, readRegister } from '#modbus/register-map';
import { EXCEPTIONS } from '#modbus/rtu';
import { BlockValues } from './block-values.ts';
import type { MeasurementImage } from './measurement-image.ts';
import { Block, type Slot } from './read-block.ts';

export interface MeterOnBus {
  readonly map: RegisterMap;
  /** Modbus unit address, 1…247. */
  readonly unit: number;
  readonly image: MeasurementImage;
}

export interface BusMeterOptions extends MeterOnBus {
  readonly timing: LineTiming;
  /** Shortest time between the starts of two passes, ms. */
  readonly cycleMs: number;
  readonly backoffMs: { readonly first: number; readonly last: number };
  readonly log: Log;
  /** Told when another meter answers in this one's place. */
  readonly onMeterChanged?: (() => void) | undefined;
}

/** Refusals in a row that can only be those of the present read. */
const SURE_REFUSALS = 3;
/** How long a single register that was refused is not asked for, ms. */
const REFUSED_MS = 60_000;
/** Pause between two reads of the identity, and before a block that was refused is tried once more. */
const HOUR_MS = 3_600_000;
/** Replies at once, in a row, after which pieces are joined again. */
const JOIN_AFTER = 40;
/** Transactions in a row without a good reply, by weight, after which the meter is left alone for a while. */
const STRIKES = 8;
const SILENCE_STRIKES = 4;

export class BusMeter {
  /** Passes in which every read due succeeded. */
  cycles = 0;
  isInPass = false;
  /** Steady ms from which the next pass may begin; see `findDue`. In an array for the reason that RtuMaster gives. */
  readonly dueAt = new Float64Array(1);
  readonly #options: BusMeterOptions;
  readonly #values: BlockValues;
  #blocks: Block[] = [];
  #gap: number;
  #isTuned = false;
  /** The read under way: index of its block and in the block. */
  #block = 0;
  #slot = 0;
  /** A read that was passed over for the sake of its safety. */
  #skippedBlock = -1;
  #skippedSlot = 0;
  /** One was in the pass before. */
  #hadSkipped = false;
  #begun = 0;
  #hasFailed = false;
  #strikes = 0;
  /** Since it was last left alone. */
  #hasAnswered = false;
  /** Damaged replies came in this pass: somebody is there. */
  #wasHeard = false;
  #refusals = 0;
  #passStartedAt = Number.NEGATIVE_INFINITY;
  #resumeAt = 0;
  #backoffMs = 0;
  #identity = -1;
  #otherIdentity = -1;

  constructor(options: BusMeterOptions) {
    this.#options = options;
    this.#values = new BlockValues(options);
    this.#gap = joinGap(options.timing, 0);
    this.#plan();
  }

  get unit(): number {
    return this.#options.unit;
  }

  /** The active energy, where the meter counts it. */
  get energy() {
    return this.#values.energy;
  }

  /** Whether the meter answers. */
  get healthy(): boolean {
    return this.cycles > 0 && this.#backoffMs === 0 && this.#strikes < SILENCE_STRIKES;
  }

  /** Whether it was silent the last time it was asked. */
  get isSilent(): boolean {
    return this.#strikes >= SILENCE_STRIKES && !this.#isLineBad;
  }

  get #isBackingOff(): boolean {
    return this.#backoffMs > 0;
  }

  /** Whether replies were damaged of late. */
  get #isLineBad(): boolean {
    for (let b = 0; b < this.#blocks.length; b++) if (this.#blocks[b]!.level > 0) return true;
    return false;
  }

  /** Whether one question is enough to find out if the meter is back: on a bad line it is not. */
  get isProbed(): boolean {
    return this.#isBackingOff && !this.#isLineBad;
  }

  /** Strikes that end a pass. */
  get #limit(): number {
    if (this.#isBackingOff) return this.#isLineBad ? STRIKES : 1;
    return this.#hasAnswered && this.#isLineBad ? 2 * STRIKES : STRIKES;
  }

  /** Finds out `dueAt`. */
  findDue(): void {
    let first = Number.POSITIVE_INFINITY;
    for (let b = 0; b < this.#blocks.length; b++) {
      const { slots } = this.#blocks[b]!;
      for (let s = 0; s < slots.length; s++) first = Math.min(first, slots[s]!.nextAt);
    }
    this.dueAt[0] = Math.max(first, this.#resumeAt, this.#passStartedAt + this.#options.cycleMs);
  }

  /** Begins a pass over the reads that are due at the master's time; `next` gives them. */
  startPass(master: RtuMaster): void {
    this.#passStartedAt = master.now[0]!;
    this.isInPass = true;
    this.#block = 0;
    this.#slot = 0;
    this.#begun = 0;
    this.#hadSkipped = this.#skippedBlock >= 0;
    this.#skippedBlock = -1;
    this.#hasFailed = false;
    this.#wasHeard = false;
    this.#values.startPass();
  }

  /**
   * The next read that is due in this pass; undefined at its end. A read whose reply could be confused with a late one
   * is left to the next pass, where a reply of another length has settled that without waiting; if none has, it waits.
   */
  next(master: RtuMaster): PlannedRead | undefined {
    const now = master.now[0]!;
    for (; this.#block < this.#blocks.length; this.#block++, this.#slot = 0) {
      const block = this.#blocks[this.#block]!;
      const { slots } = block;
      for (; this.#slot < slots.length; this.#slot++) {
        const { read, nextAt } = slots[this.#slot]!;
        if (now < nextAt) continue;
        if (!master.isDoubtful(read)) return read;
        if (this.#hadSkipped) {
          this.#hadSkipped = false;
          return read;
        }
        if (this.#skippedBlock >= 0) continue;
        this.#skippedBlock = this.#block;
        this.#skippedSlot = this.#slot;
      }
      this.#values.publish(block);
    }
    if (this.#begun > 0 || this.#skippedBlock < 0) return undefined;
    this.#block = this.#skippedBlock;
    this.#slot = this.#skippedSlot;
    return this.#blocks[this.#block]!.slots[this.#slot]!.read;
  }

  /** Takes what came of the read under way. */
  finishRead(master: RtuMaster): void {
    const now = master.now[0]!;
    this.#begun++;
    const block = this.#blocks[this.#block]!;
    const slot = block.slots[this.#slot]!;
    const { outcome } = master;
    const isIdentity = slot.read.values.length === 0;
    // A refusal came through as well as values do. One that may be the late answer to another read proves nothing.
    const isAnswer = outcome === Outcome.ok || (outcome === Outcome.exception && this.#isOwn(master));
    this.#values.prove(isAnswer && master.atOnce);
    if (outcome === Outcome.ok) {
      this.#strikes = 0;
      this.#refusals = 0;
      this.#hasAnswered = true;
      // One good reply ends the patience: on a bad line a whole pass without a failure would not come.
      if (this.#isBackingOff) this.#options.log.info('the energy meter answers again', { unit: this.unit });
      this.#backoffMs = 0;
      if (!isIdentity && !this.#values.take(block, slot, master)) return;
      slot.nextAt = now + slot.read.everyMs;
      if (isIdentity) this.#identify(slot, master);
      this.#advance(block, master);
      return;
    }
    this.#values.drop(block, slot);
    if (isIdentity && outcome !== Outcome.damaged) {
      // Not every meter of a family has it.
      slot.nextAt = now + HOUR_MS;
      this.#slot++;
      return;
    }
    this.#hasFailed = true;
    if (outcome === Outcome.exception && this.#isRefusal(master)) this.#refuse(block, slot, master);
    else if (outcome === Outcome.damaged && master.wasSent) {
      this.#wasHeard = true;
      this.#damage(block, slot);
    } else {
      // Where others speak all the time, not even a question is possible.
      this.#strike(master.wasSent ? SILENCE_STRIKES : STRIKES);
      this.#doubtAll();
    }
    // The rest of the pass would meet the same silence.
    if (this.#strikes >= this.#limit) this.#block = this.#blocks.length;
  }

  /** Ends a pass: counts it, or leaves the meter alone for a while. */
  finishPass(master: RtuMaster, bus: string): void {
    const { log, backoffMs, unit } = this.#options;
    this.isInPass = false;
    if (this.#hasFailed && this.#strikes >= this.#limit) {
      this.#doubtAll();
      this.#hasAnswered = false;
      const isLonger = this.#isBackingOff && !this.#wasHeard;
      this.#backoffMs = Math.min(isLonger ? 2 * this.#backoffMs : backoffMs.first, backoffMs.last);
      this.#resumeAt = master.now[0]! + this.#backoffMs;
      log.warn(failureText(master), { unit, bus, again_s: this.#backoffMs / 1000 });
      return;
    }
    if (!this.#hasFailed) this.cycles++;
    if (!this.#isTuned) this.#tune(master);
  }

  /** The bus was lost: nothing is confirmed, and everything is read again as soon as it is back. */
  lose(): void {
    this.isInPass = false;
    this.#resumeAt = 0;
    this.#values.clear();
    for (let b = 0; b < this.#blocks.length; b++) this.#blocks[b]!.fresh = 0;
    this.#doubtAll();
  }

  #plan(): void {
    const { map, unit } = this.#options;
    this.#blocks = planReads(map, unit, this.#gap).map((read) => new Block(read, levelsOf(read)));
    const { identity } = map;
    if (identity) {
      const read = plainRead(unit, identity.functionCode, identity.address, identity.count);
      this.#blocks.push(new Block(read, [[read]]));
    }
  }

  /** Plans once more when the time that the meter takes to answer is known: slow meters are worth longer reads. */
  #tune(master: RtuMaster): void {
    const turnaroundMs = master.turnaroundMs(this.unit);
    if (turnaroundMs === undefined) return;
    this.#isTuned = true;
    const { map, unit, timing } = this.#options;
    const gap = joinGap(timing, turnaroundMs);
    const isWhole = this.#blocks.every(({ slots, root }) => slots.length === 0 || slots[0]!.read === root);
    if (!isWhole || planReads(map, unit, gap).length === planReads(map, unit, this.#gap).length) return;
    this.#gap = gap;
    this.#plan();
  }

  #advance(block: Block, { now, atOnce }: RtuMaster): void {
    block.clean = atOnce ? block.clean + 1 : 0;
    this.#slot++;
    if (this.#slot < block.slots.length) return;
    this.#values.publish(block);
    this.#block++;
    this.#slot = 0;
    if (now[0]! >= block.wholeAt) block.join();
    if (block.level === 0 || block.clean < JOIN_AFTER) return;
    block.clean = 0;
    block.level--;
    block.makeDue();
  }

  #strike(weight: number): void {
    this.#strikes += weight;
    this.#slot++;
  }

  /** A reply that does not come through may do in smaller pieces. */
  #damage(block: Block, { read }: Slot): void {
    this.#values.doubt(read, Doubt.unread);
    if (!block.refine()) {
      this.#strike(1);
      return;
    }
    this.#options.log.info('the line damages replies: reading smaller pieces', {
      start: `0x${block.root.start.toString(16)}`,
      pieces: block.slots.length,
    });
    this.#strikes = 0;
    this.#slot = 0;
    block.fresh = 0;
    this.#values.clear();
  }

  /** An exception does not name its request: while an earlier answer is outstanding it may be that one's. */
  #isOwn({ owesNothing }: RtuMaster): boolean {
    return owesNothing && !this.#isLineBad;
  }

  /** Some meters of a family answer shorter reads only; they say "address" or "count". Several in a row are no late ones. */
  #isRefusal(master: RtuMaster): boolean {
    const { exceptionCode } = master;
    this.#refusals = exceptionCode === 2 || exceptionCode === 3 ? this.#refusals + 1 : 0;
    return this.#isOwn(master) ? this.#refusals > 0 : this.#refusals >= SURE_REFUSALS;
  }

  #refuse(block: Block, slot: Slot, { now }: RtuMaster): void {
    this.#refusals = 0;
    if (slot.read.values.length === 1) {
      slot.nextAt = now[0]! + REFUSED_MS;
      this.#values.doubt(slot.read, Doubt.unread);
      this.#strike(1);
      return;
    }
    this.#options.log.warn('the energy meter refuses the block; reading its values one by one', {
      start: `0x${block.root.start.toString(16)}`,
      registers: block.root.count,
    });
    block.split(splitRead(block.root), now[0]! + HOUR_MS);
    this.#hasFailed = false;
    this.#slot = 0;
  }

  #identify(slot: Slot, { rx, dataAt }: RtuMaster): void {
    slot.nextAt += HOUR_MS;
    const identity = readRegister(rx, dataAt, slot.read.count === 1 ? 'u16' : 'u32');
    if (this.#identity >= 0 && identity !== this.#identity) {
      if (identity !== this.#otherIdentity) {
        this.#otherIdentity = identity;
        slot.nextAt = 0;
        return;
      }
      this.#values.changeMeter();
    }
    this.#identity = identity;
    this.#otherIdentity = -1;
  }

  /** No value is confirmed; each is read again as soon as the meter answers. */
  #doubtAll(): void {
    for (let b = 0; b < this.#blocks.length; b++) {
      const block = this.#blocks[b]!;
      if (block.root.values.length > 0) block.makeDue();
      this.#values.doubt(block.root, Doubt.unread);
    }
  }
}

function failureText({ outcome, exceptionCode }: RtuMaster): string {
  if (outcome === Outcome.exception) {
    return `the energy meter refuses: ${EXCEPTIONS[exceptionCode]?.text ?? `exception ${exceptionCode}`} (wrong register map?)`;
  }
  if (outcome === Outcome.damaged)
    return 'the answer on the bus is damaged (wrong baud rate or parity, noise, another master?)';
  return 'no answer from the energy meter (wiring A/B, unit address, baud rate, parity?)';
}
