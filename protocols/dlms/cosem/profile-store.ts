/**
 * Where a profile's rows live: a ring of rows of one size, each with a number that only grows. The interface is what a
 * durable log implements; the store here is memory, and grows to its size as rows come.
 */

export interface ProfileStore {
  readonly rowSize: number;
  /** Number of the oldest row that is kept; equal to `next` when there is none. */
  readonly first: number;
  /** Number that the next row gets. */
  readonly next: number;
  append(row: Uint8Array): void;
  /** A view of a row, valid until the next call; undefined when it was overwritten or never written. */
  read(row: number): Uint8Array | undefined;
  clear(): void;
}

export class MemoryProfileStore implements ProfileStore {
  readonly rowSize: number;
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

  append(row: Uint8Array): void {
    this.#grow();
    this.#bytes.set(row.subarray(0, this.rowSize), (this.#next % this.#capacity) * this.rowSize);
    this.#next++;
    this.#first = Math.max(this.#first, this.#next - this.#capacity);
  }

  read(row: number): Uint8Array | undefined {
    if (row < this.#first || row >= this.#next) return undefined;
    const at = (row % this.#capacity) * this.rowSize;
    return this.#bytes.subarray(at, at + this.rowSize);
  }

  clear(): void {
    this.#first = this.#next;
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
