/** What is read together of an energy meter, in one read or in smaller ones, and when each is due. */

import type { PlannedRead } from '#modbus/read-plan';

/** A read and when it is due. */
export class Slot {
  readonly read: PlannedRead;
  nextAt = 0;

  constructor(read: PlannedRead) {
    this.read = read;
  }
}

/** Registers that are planned as one read. */
export class Block {
  readonly root: PlannedRead;
  /** The reads by how small they are: whole, halves … single registers. */
  levels: Slot[][];
  level = 0;
  /** Steady ms when a block that was refused as a whole is tried as one again; Infinity otherwise. */
  wholeAt = Number.POSITIVE_INFINITY;
  /** Replies at once in a row on this level. */
  clean = 0;
  /** Values read and not yet judged. */
  fresh = 0;
  /** The last snapshot contradicted itself. */
  isContradicted = false;
  isWarned = false;

  readonly #planned: Slot[][];

  constructor(root: PlannedRead, levels: PlannedRead[][]) {
    this.root = root;
    this.#planned = levels.map((reads) => reads.map((read) => new Slot(read)));
    this.levels = this.#planned;
  }

  get slots(): Slot[] {
    return this.levels[this.level]!;
  }

  /** Makes every read due at `at`, if it was not before. */
  makeDue(at = 0): void {
    const { slots } = this;
    for (let i = 0; i < slots.length; i++) slots[i]!.nextAt = Math.min(slots[i]!.nextAt, at);
  }

  /** The meter refuses the block: until `wholeAt` each of its values is read alone. */
  split(singles: readonly PlannedRead[], wholeAt: number): void {
    this.levels = [singles.map((read) => new Slot(read))];
    this.level = 0;
    this.wholeAt = wholeAt;
  }

  /** Reads the block as planned again. */
  join(): void {
    this.levels = this.#planned;
    this.level = 0;
    this.wholeAt = Number.POSITIVE_INFINITY;
    this.makeDue();
  }

  refine(): boolean {
    this.clean = 0;
    if (this.level + 1 >= this.levels.length) return false;
    this.level++;
    this.makeDue();
    return true;
  }
}
