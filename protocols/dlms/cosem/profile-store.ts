/**
 * Where a profile's rows live: a ring of rows of one size, each with a number that only grows and a time in seconds, u32,
 * in its first four bytes. The interface is what a durable log implements; the store here is memory, and grows to its size
 * as rows come.
 *
 * Times ascend with the numbers but where the clock was set back: there a new run begins. Within a run a time is found by
 * halving, so a range of a profile of ten years costs some twenty reads per run.
 */

import { readU32 } from '#base/bytes';

/** Row numbers from `begin` up to but not including `end`. */
export interface RowInterval {
  readonly begin: number;
  readonly end: number;
}

export interface ProfileStore {
  readonly rowSize: number;
  /** Number of the oldest row that is kept; equal to `next` when there is none. */
  readonly first: number;
  /** Number that the next row gets. */
  readonly next: number;
  /** First rows of the runs, ascending; the first one is at or before `first`. */
  readonly runs: readonly number[];
  /**
   * Appends a row.
   * @param urgent  false lets the store gather rows for up to a minute, where many writes would wear it out
   * @returns whether the row has reached what the store keeps it on
   */
  append(row: Uint8Array, urgent?: boolean): boolean;
  /** A view of a row, valid until the next call; undefined when it was overwritten, never written or damaged. */
  read(row: number): Uint8Array | undefined;
  /** The rows of an interval without those that are known to be damaged. */
  readable(begin: number, end: number): RowInterval[];
  clear(): boolean;
}

/** First row number of `[begin, end)`, all of one run, whose time is at least `seconds`; `end` when there is none. */
export function findTime(store: ProfileStore, begin: number, end: number, seconds: number): number {
  let low = begin;
  let high = end;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    let at = middle;
    let row = store.read(at);
    while (!row && ++at < high) row = store.read(at);
    if (row && readU32(row, 0) < seconds) low = at + 1;
    else high = middle;
  }
  return low;
}

/** Readable rows from row `first` on whose time lies in `[low, high]`, in seconds. */
export function rowsBetween(store: ProfileStore, first: number, low: number, high: number): RowInterval[] {
  const { runs, next } = store;
  return runs.flatMap((run, i) => {
    const end = runs[i + 1] ?? next;
    const from = findTime(store, Math.max(run, first), end, low);
    return store.readable(from, findTime(store, from, end, high + 1));
  });
}

/** Number of rows in intervals. */
export const countRows = (intervals: readonly RowInterval[]): number =>
  intervals.reduce((count, { begin, end }) => count + end - begin, 0);

/** Row number of the index-th row of intervals. */
export function rowAt(intervals: readonly RowInterval[], index: number): number {
  let left = index;
  for (const { begin, end } of intervals) {
    if (left < end - begin) return begin + left;
    left -= end - begin;
  }
  return -1;
}

export class MemoryProfileStore implements ProfileStore {
  readonly rowSize: number;
  readonly runs = [0];
  readonly #capacity: number;
  #bytes: Uint8Array;
  #first = 0;
  #next = 0;

  constructor(rowSize: number, capacity: number) {
    this.rowSize = rowSize;
    this.#capacity = capacity;
    this.#bytes = new Uint8Array(rowSize * Math.min(capacity, 32));
  }

  get first(): number {
    return this.#first;
  }

  get next(): number {
    return this.#next;
  }

  append(row: Uint8Array): boolean {
    const last = this.read(this.#next - 1);
    if (last && readU32(row, 0) < readU32(last, 0)) this.runs.push(this.#next);
    this.#grow();
    this.#bytes.set(row.subarray(0, this.rowSize), (this.#next % this.#capacity) * this.rowSize);
    this.#next++;
    this.#first = Math.max(this.#first, this.#next - this.#capacity);
    while (this.runs.length > 1 && this.runs[1]! <= this.#first) this.runs.shift();
    return true;
  }

  read(row: number): Uint8Array | undefined {
    if (row < this.#first || row >= this.#next) return undefined;
    const at = (row % this.#capacity) * this.rowSize;
    return this.#bytes.subarray(at, at + this.rowSize);
  }

  readable(begin: number, end: number): RowInterval[] {
    return begin < end ? [{ begin, end }] : [];
  }

  clear(): boolean {
    this.#first = this.#next;
    this.runs.splice(0, this.runs.length, this.#next);
    return true;
  }

  /** Doubles the memory until the ring has its size. Before that no row has wrapped, so places stay. */
  #grow(): void {
    const needed = ((this.#next % this.#capacity) + 1) * this.rowSize;
    if (needed <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.min(this.#capacity * this.rowSize, this.#bytes.length * 2));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }
}
