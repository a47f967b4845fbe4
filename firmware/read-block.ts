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
  /** Replies at once in a row on this level. */
  clean = 0;
  /** Values read and not yet judged. */
  fresh = 0;
  /** The last snapshot contradicted itself. */
  isContradicted = false;
  isWarned = false;

  constructor(root: PlannedRead, levels: PlannedRead[][]) {
    this.root = root;
    this.levels = levels.map((reads) => reads.map((read) => new Slot(read)));
  }

  get slots(): Slot[] {
    return this.levels[this.level]!;
  }

  /** Makes every read due at `at`, if it was not before. */
  makeDue(at = 0): void {
    const { slots } = this;
    for (let i = 0; i < slots.length; i++) slots[i]!.nextAt = Math.min(slots[i]!.nextAt, at);
  }

  refine(): boolean {
    this.clean = 0;
    if (this.level + 1 >= this.levels.length) return false;
    this.level++;
    this.makeDue();
    return true;
  }
}
