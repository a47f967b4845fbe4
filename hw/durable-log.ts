/**
 * An append-only log of rows on a medium that may lose power at any byte: a ring of fixed-size records in a preallocated
 * file. A row is written and synchronized before `append` returns; what a cut leaves of it is not taken for a row.
 *
 *   file:    | header 4096 | segment | segment | …           a segment is 64 KiB, or the whole of a smaller log
 *   record:  | row number u32 | run u32 | row | zeros | CRC-32 |          a power of two of bytes, so none crosses a sector
 *
 * The header is text that says what the rows are. The CRC begins with the header's own, so that a record counts under its
 * header only. Row n lies in record n modulo their number: the one it replaces is the oldest. `run` is the row at which
 * the times of rows began to ascend, which makes the log's history a chain that is walked back from its newest record; a run
 * that begins behind its own record marks a log that was cleared. A damaged record costs itself only.
 *
 * What cannot be written stays in memory, the latest 64 rows of it, and is written when the medium is back.
 */

import { crc32 } from 'node:zlib';
import { readU32, writeU32 } from '#base/bytes';
import type { ProfileStore, RowInterval } from '#dlms/cosem/profile-store';
import { fileMedium, type Medium, setAside } from '#hw/medium';

const PAGE = 4096;
const SEGMENT = 65_536;
const ZEROS = new Uint8Array(PAGE);
const ROW_AT = 8;
const OVERHEAD = ROW_AT + 4;
/** Rows that wait in memory for the medium. */
export const PENDING = 64;
/** Rows of a range this many segments long are checked before it is read, of a longer one when they are met. */
const CHECKED_SEGMENTS = 2;

export interface LogOptions {
  readonly path: string;
  readonly rowSize: number;
  /** Rows to keep, at least. */
  readonly rows: number;
  /** What a row holds, in one line of ASCII: rows of another layout are another log. */
  readonly layout: string;
  readonly medium?: Medium;
  readonly readOnly?: boolean;
  /** Told of every operation of the medium that failed. */
  readonly onError?: (error: unknown) => void;
  /** Told of a file that was not this log and was kept under another name. */
  readonly onForeign?: (aside: string) => void;
}

/** Text at the beginning of a log's file. */
function headerText({ rowSize, layout }: LogOptions, recordSize: number, slots: number): Uint8Array {
  const lines = ['S3MP log 1', `${slots} records of ${recordSize} bytes, rows of ${rowSize}`, layout, ''];
  const header = new Uint8Array(PAGE);
  header.set(new TextEncoder().encode(lines.join('\n')).subarray(0, PAGE));
  return header;
}

const tagOf = (crc: number): string => crc.toString(16).padStart(8, '0');

export class DurableLog implements ProfileStore {
  readonly rowSize: number;
  readonly recordSize: number;
  /** Records in the file once it is whole. */
  readonly slots: number;
  readonly runs = [0];
  readonly layout: string;
  readonly #options: LogOptions;
  readonly #medium: Medium;
  readonly #header: Uint8Array;
  readonly #seed: number;
  readonly #perSegment: number;
  readonly #pending: Uint8Array;
  /** Damaged and lost rows, as far as known. */
  readonly #holes = new Set<number>();
  /** Segments whose records were all looked at. */
  readonly #checked = new Set<number>();
  readonly #page = new Uint8Array(PAGE);
  #pageAt = -1;
  #file: number | undefined;
  #isReadOnly = false;
  /** Tag of a file that is another log, by its header. */
  #foreign = '';
  #allocated = 0;
  #first = 0;
  #next = 0;
  /** Rows before this one are on the medium. */
  #durable = 0;
  #lastSeconds = 0;

  constructor(options: LogOptions) {
    this.#options = options;
    this.#medium = options.medium ?? fileMedium;
    this.rowSize = options.rowSize;
    this.layout = options.layout;
    this.recordSize = 2 ** Math.ceil(Math.log2(options.rowSize + OVERHEAD));
    const perPage = PAGE / this.recordSize;
    const pages = Math.ceil(options.rows / perPage);
    this.#perSegment = Math.min(SEGMENT / PAGE, pages) * perPage;
    this.slots = Math.ceil(options.rows / this.#perSegment) * this.#perSegment;
    this.#header = headerText(options, this.recordSize, this.slots);
    this.#seed = crc32(this.#header);
    this.#pending = new Uint8Array(PENDING * this.recordSize);
    this.#attempt(() => this.#open());
  }

  get first(): number {
    return this.#first;
  }

  get next(): number {
    return this.#next;
  }

  /** Whether the whole file is preallocated. */
  get isWhole(): boolean {
    return this.#allocated * this.#perSegment >= this.slots;
  }

  append(row: Uint8Array, urgent = true): boolean {
    const seconds = readU32(row, 0);
    const isAscending = this.#next === this.#first || seconds >= this.#lastSeconds;
    const run = isAscending ? this.runs.at(-1)! : this.#next;
    if (!isAscending) this.runs.push(run);
    this.#lastSeconds = seconds;
    this.#add(run, row);
    return urgent && this.flush();
  }

  clear(): boolean {
    const marker = this.#next;
    this.#add(marker + 1, new Uint8Array(this.rowSize));
    this.#startAt(marker + 1);
    return this.flush();
  }

  /** Writes what waits. @returns whether every row is on the medium */
  flush(): boolean {
    return this.#attempt(() => {
      if (this.#file === undefined || this.#isReadOnly) this.#reopen();
      if (this.#durable === this.#next) return;
      const file = this.#file!;
      for (let row = this.#durable; row < this.#next; row++) {
        const slot = row % this.slots;
        while (slot >= this.#allocated * this.#perSegment) this.#allocate();
        this.#medium.write(file, this.#waiting(row), this.#position(slot));
      }
      this.#medium.sync(file);
      this.#durable = this.#next;
      this.#pageAt = -1;
    });
  }

  /** Preallocates a segment more, so that a disk that fills up later does not stop the log. @returns false when it failed */
  grow(): boolean {
    return this.#attempt(() => {
      if (this.#file !== undefined && !this.#isReadOnly && !this.isWhole) this.#allocate();
    });
  }

  read(row: number): Uint8Array | undefined {
    if (row < this.#first || row >= this.#next || this.#holes.has(row)) return undefined;
    const record = this.#record(row);
    if (!record) this.#check(this.#segmentOf(row));
    return record?.subarray(ROW_AT, ROW_AT + this.rowSize);
  }

  readable(begin: number, end: number): RowInterval[] {
    const from = Math.max(begin, this.#first);
    const to = Math.min(end, this.#next);
    if (from < to && to - from <= CHECKED_SEGMENTS * this.#perSegment) {
      for (let row = from; row < Math.min(to, this.#durable); row += this.#perSegment)
        this.#check(this.#segmentOf(row));
      if (to > from) this.#check(this.#segmentOf(to - 1));
    }
    const intervals: RowInterval[] = [];
    const holes = [...this.#holes].filter((row) => row >= from && row < to).sort((a, b) => a - b);
    let at = from;
    for (const hole of [...holes, to]) {
      if (hole > at) intervals.push({ begin: at, end: hole });
      at = hole + 1;
    }
    return intervals;
  }

  close(): void {
    if (this.#file !== undefined) this.#medium.close(this.#file);
    this.#file = undefined;
  }

  #attempt(operation: () => void): boolean {
    try {
      operation();
      return true;
    } catch (error) {
      this.#options.onError?.(error);
      return false;
    }
  }

  #open(): void {
    const { path, readOnly = false, onForeign } = this.#options;
    const medium = this.#medium;
    const isKnown = medium.exists(path);
    if (!isKnown && !readOnly) this.#make();
    this.#isReadOnly = readOnly;
    try {
      this.#file = medium.open(path, readOnly);
    } catch (error) {
      // A medium that takes no writes may still be read.
      if (readOnly) throw error;
      this.#options.onError?.(error);
      this.#file = medium.open(path, true);
      this.#isReadOnly = true;
    }
    try {
      while (!this.#takesHeader()) {
        this.close();
        onForeign?.(setAside(medium, path, `.${this.#foreign}`));
        this.#make();
        this.#file = medium.open(path);
      }
      if (this.#allocated === 0 && !this.#isReadOnly) this.#allocate();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** The file that was set aside when a firmware with other columns ran here, else a new one. */
  #make(): void {
    const { path } = this.#options;
    const aside = `${path}.${tagOf(this.#seed)}.aside`;
    if (this.#medium.exists(aside)) this.#medium.rename(aside, path);
    else this.#medium.create(path, this.#header);
  }

  /** Reads what is there. @returns whether it is this log; a header that its own records contradict is written anew */
  #takesHeader(): boolean {
    const header = new Uint8Array(PAGE);
    this.#medium.read(this.#file!, header, 0);
    this.#recover();
    if (this.#isReadOnly || header.every((byte, i) => byte === this.#header[i])) return true;
    if (this.#next === 0) {
      this.#foreign = tagOf(crc32(header));
      return false;
    }
    this.#medium.write(this.#file!, this.#header, 0);
    this.#medium.sync(this.#file!);
    return true;
  }

  /** Opens a log that could not be opened for writing; rows that came since go behind those that are found. */
  #reopen(): void {
    const rows: Uint8Array[] = [];
    for (let row = this.#durable; row < this.#next; row++) {
      const record = this.#waiting(row);
      if (readU32(record, 4) <= row) rows.push(record.slice(ROW_AT, ROW_AT + this.rowSize));
    }
    this.close();
    this.#open();
    for (const row of rows) this.append(row, false);
    if (this.#isReadOnly) throw new Error(`${this.#options.path} takes no writes`);
  }

  /** Finds the newest row: in the segment whose first page has the highest numbers, or behind it when that is damaged. */
  #recover(): void {
    this.#holes.clear();
    this.#checked.clear();
    this.#pageAt = -1;
    const body = this.#medium.size(this.#file!) - PAGE;
    const segments = this.slots / this.#perSegment;
    this.#allocated = Math.min(segments, Math.max(0, Math.floor(body / (this.#perSegment * this.recordSize))));
    const per = this.#perSegment;
    let newest = -1;
    let start = 0;
    for (let segment = 0; segment < this.#allocated; segment++) {
      const first = this.#newestIn(segment * per, 1);
      const row = first < 0 ? this.#newestIn(segment * per, PAGE / this.recordSize) : first;
      if (row > newest) start = segment;
      newest = Math.max(newest, row);
    }
    for (let i = 0; i < this.#allocated; i++) {
      const row = this.#newestIn(((start + i) % this.#allocated) * per, per);
      if (i > 0 && row <= newest) break;
      newest = Math.max(newest, row);
    }
    this.#next = this.#durable = newest + 1;
    this.#startAt(Math.max(0, this.#next - this.slots));
    if (newest >= 0) this.#walkRuns(newest);
  }

  /** Follows the runs back to the oldest row or to where the log was cleared. */
  #walkRuns(newest: number): void {
    const oldest = this.#first;
    const runs: number[] = [];
    for (let row = newest; row >= oldest; ) {
      const record = this.#record(row);
      const run = record ? readU32(record, 4) : row;
      if (run > row) {
        this.#first = row + 1;
        break;
      }
      if (record) {
        if (row === newest) this.#lastSeconds = readU32(record, ROW_AT);
        // A damaged record at the end of a run may hide one more run: it is then found in what lies before.
        runs.unshift(run);
      }
      row = run - 1;
    }
    this.runs.splice(0, this.runs.length, ...runs);
    if (this.runs.length === 0 || this.runs[0]! > this.#first) this.runs.unshift(this.#first);
  }

  #startAt(row: number): void {
    this.#first = row;
    this.runs.splice(0, this.runs.length, row);
  }

  /** Takes a record into memory. When too many wait, the oldest of them is lost. */
  #add(run: number, row: Uint8Array): void {
    if (this.#next - this.#durable >= PENDING) {
      this.#holes.add(this.#durable++);
    }
    const record = this.#waiting(this.#next);
    record.fill(0);
    writeU32(record, 0, this.#next);
    writeU32(record, 4, run);
    record.set(row.subarray(0, this.rowSize), ROW_AT);
    const end = this.recordSize - 4;
    writeU32(record, end, crc32(record.subarray(0, end), this.#seed));
    this.#next++;
    this.#first = Math.max(this.#first, this.#next - this.slots);
    this.#holes.delete(this.#first - 1);
    if (this.runs[1]! <= this.#first) this.runs.shift();
  }

  #waiting(row: number): Uint8Array {
    const at = (row % PENDING) * this.recordSize;
    return this.#pending.subarray(at, at + this.recordSize);
  }

  #position(slot: number): number {
    return PAGE + slot * this.recordSize;
  }

  #segmentOf(row: number): number {
    return Math.floor((row % this.slots) / this.#perSegment);
  }

  #allocate(): void {
    const size = this.#perSegment * this.recordSize;
    // Page by page: a segment of zeros a second would be memory until the next collection.
    for (let at = 0; at < size; at += PAGE) this.#medium.write(this.#file!, ZEROS, PAGE + this.#allocated * size + at);
    this.#medium.sync(this.#file!);
    this.#allocated++;
  }

  /** A row's record, undefined when it is not whole. */
  #record(row: number): Uint8Array | undefined {
    if (row >= this.#durable) return this.#waiting(row);
    return this.#rowIn(row % this.slots) === row ? this.#recordIn(row % this.slots) : undefined;
  }

  /** Number of the row in a slot, -1 when there is none. */
  #rowIn(slot: number): number {
    const record = this.#recordIn(slot);
    const row = readU32(record, 0);
    const end = this.recordSize - 4;
    const isWhole = row % this.slots === slot && readU32(record, end) === crc32(record.subarray(0, end), this.#seed);
    return isWhole ? row : -1;
  }

  #recordIn(slot: number): Uint8Array {
    const position = this.#position(slot);
    const page = position - (position % PAGE);
    if (page !== this.#pageAt) {
      this.#pageAt = -1;
      this.#page.fill(0);
      // What cannot be read is as good as damaged.
      if (this.#attempt(() => void this.#medium.read(this.#file!, this.#page, page))) this.#pageAt = page;
    }
    return this.#page.subarray(position - page, position - page + this.recordSize);
  }

  /** Newest row among so many records from a slot on, -1 when there is none. */
  #newestIn(slot: number, count: number): number {
    let newest = -1;
    for (let i = 0; i < count; i++) newest = Math.max(newest, this.#rowIn(slot + i));
    return newest;
  }

  /** Looks at all records of a segment once, and remembers the damaged ones. */
  #check(segment: number): void {
    if (this.#checked.has(segment) || this.#file === undefined) return;
    this.#checked.add(segment);
    const newest = this.#durable - 1;
    for (let slot = segment * this.#perSegment; slot < (segment + 1) * this.#perSegment; slot++) {
      const row = newest - ((((newest - slot) % this.slots) + this.slots) % this.slots);
      if (row >= this.#first && this.#rowIn(slot) !== row) this.#holes.add(row);
    }
  }
}

/** Opens any log for reading, by what its header says. @returns undefined when the file is none */
export function openLogFile(path: string, medium: Medium): DurableLog | undefined {
  const file = medium.open(path, true);
  const header = new Uint8Array(PAGE);
  medium.read(file, header, 0);
  medium.close(file);
  const text = Buffer.from(header).toString('latin1');
  const [, slots, rowSize, layout] =
    /^S3MP log 1\n(\d{1,7}) records of \d+ bytes, rows of (\d{1,3})\n(.*)\n/.exec(text) ?? [];
  if (layout === undefined) return undefined;
  return new DurableLog({ path, rowSize: Number(rowSize), rows: Number(slots), layout, medium, readOnly: true });
}
