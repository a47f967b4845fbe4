/**
 * A small record that is replaced as a whole: two copies in a preallocated file, each on pages of its own, each written and
 * synchronized before the other is touched. A power cut at any byte leaves one whole copy, the old record or the new one;
 * afterwards any one copy may be lost without the record going back.
 *
 *   0                 distance
 *   | record | zeros  | record | zeros |
 */

import { fileMedium, type Medium } from '#hw/medium';

export interface SlotOptions {
  readonly path: string;
  /** Bytes of a slot, a multiple of 4096. */
  readonly distance: number;
  /** Sequence number of the record that begins here, -1 when it is not whole. */
  readonly sequenceOf: (slot: Uint8Array) => number;
  /** Content of the second slot before there is a record; zeros by default. */
  readonly mark?: Uint8Array;
  readonly medium?: Medium;
  readonly readOnly?: boolean;
}

export class SlotFile {
  readonly #options: SlotOptions;
  readonly #medium: Medium;
  readonly #file: number;
  /** Slot that the next record goes to first: the older one, or the one that is not whole. */
  #older = 0;
  /** Bytes of the newest record's slot; undefined when no slot is whole. */
  newest: Uint8Array | undefined;
  /** No record was ever finished. */
  readonly isEmpty: boolean;

  /** Opens the file, made when there is none. @throws what the medium throws */
  constructor(options: SlotOptions) {
    const { path, distance, sequenceOf, mark = new Uint8Array(0), medium = fileMedium, readOnly = false } = options;
    this.#options = options;
    this.#medium = medium;
    if (!medium.exists(path)) {
      const bytes = new Uint8Array(2 * distance);
      bytes.set(mark, distance);
      medium.create(path, bytes);
    }
    this.#file = medium.open(path, readOnly);
    const slots = [0, 1].map((slot) => {
      const bytes = new Uint8Array(distance);
      medium.read(this.#file, bytes, slot * distance);
      return bytes;
    }) as [Uint8Array, Uint8Array];
    const [first, second] = slots.map(sequenceOf) as [number, number];
    const newest = first > second ? 0 : 1;
    this.#older = 1 - newest;
    if (Math.max(first, second) >= 0) this.newest = slots[newest];
    // A cut in the very first write leaves the second slot as it was made.
    this.isEmpty =
      !this.newest && slots[1].every((byte, i) => byte === (mark[i] ?? 0)) && medium.size(this.#file) === 2 * distance;
  }

  /** Returns when both copies are on the medium. @throws what the medium throws; the record then counts as not written */
  store(record: Uint8Array): void {
    for (const slot of [this.#older, 1 - this.#older]) {
      this.#medium.write(this.#file, record, slot * this.#options.distance);
      this.#medium.sync(this.#file);
    }
  }

  close(): void {
    this.#medium.close(this.#file);
  }
}
