/**
 * Class 7, Profile Generic v1: rows of values captured by period or by order, read whole, by range of time (selector 1)
 * or by entry (selector 2), with the columns that are wanted. Sorted first in, first out. Column 1 is always the clock.
 *
 *   row in the store:  seconds u32 | deviation i16 | clock status u8 | values as A-XDR, one behind the other | padding
 *
 * A period below a day is aligned to multiples of it in UTC, so a day of change to or from daylight saving has 92 or 100
 * quarters; a period of a day ends at local midnight. The time of a row is the end of its interval. A clock that goes back
 * captures nothing twice, unless it goes back by more than a day: then the rows begin anew.
 */

import { readI16, readU32, writeU16, writeU32 } from '#base/bytes';
import type { Selection } from '#dlms/apdu';
import { type Data, Tag, writeLength, writeOctetString } from '#dlms/axdr';
import { CLOCK, dateTimeOctets, type MeterClock } from '#dlms/cosem/clock';
import type { CosemObject, RequestContext } from '#dlms/cosem/logical-device';
import { countRows, type ProfileStore, type RowInterval, rowAt, rowsBetween } from '#dlms/cosem/profile-store';
import { DATE_TIME_SIZE, encodeDateTime } from '#dlms/date-time';
import { members } from '#dlms/members';
import { formatObis, parseObis } from '#dlms/obis';
import { arrayPieces, type Pieces } from '#dlms/pieces';
import { Result } from '#dlms/result';
import { ByteWriter } from '#dlms/writer';

export interface ProfileColumn {
  readonly classId: number;
  readonly obis: string;
  readonly attribute: number;
  /** Most bytes that the value takes, tag included. */
  readonly size: number;
  /** Writes the value to capture; what it refuses is captured as null-data, or as before with `holds`. */
  readonly read: (w: ByteWriter) => number;
  /** A register that counts: while it cannot be read, its last value stands. */
  readonly holds?: boolean;
  /** An unsigned of status bits: gets the bits of the interval (`mark`) as well. */
  readonly isStatus?: boolean;
}

export interface ProfileOptions {
  readonly obis: string;
  readonly clock: MeterClock;
  /** Without the clock, which comes first by itself. */
  readonly columns: readonly ProfileColumn[];
  /** Seconds; 0 captures by order only. */
  readonly period: number;
  readonly entries: number;
  /** Holds some rows more than `entries`, so that a row stays readable while a transfer is under way. */
  readonly store: ProfileStore;
  /** Status bit for a value that could not be read. */
  readonly missingBit?: number;
  /** Called after method 1 has emptied the buffer. */
  readonly onReset?: () => void;
}

const HEADER = 7;
/** Rows beyond `profile_entries` that a store should hold. */
export const SPARE_ROWS = 16;
const DAY = 86_400;
/** A clock that goes back further shows that the times before were wrong. */
const FAR_BACK_MS = DAY * 1000;
const SORT_FIFO = 1;
const CLOCK_LN = parseObis(CLOCK);
const SIZES: Readonly<Record<number, number>> = {
  [Tag.nullData]: 1,
  [Tag.boolean]: 2,
  [Tag.integer]: 2,
  [Tag.unsigned]: 2,
  [Tag.enum]: 2,
  [Tag.long]: 3,
  [Tag.longUnsigned]: 3,
  [Tag.doubleLong]: 5,
  [Tag.doubleLongUnsigned]: 5,
  [Tag.long64]: 9,
  [Tag.long64Unsigned]: 9,
};

/** Bytes of the value at `at`; octet-strings are shorter than 128. */
function valueSize(row: Uint8Array, at: number): number {
  return SIZES[row[at]!] ?? 2 + row[at + 1]!;
}

/** Bytes of one row with these columns. */
export function profileRowSize(columns: readonly ProfileColumn[]): number {
  return columns.reduce((size, column) => size + column.size, HEADER);
}

/** The columns of a row in one line, `class/object/attribute` each. */
export function profileLayout(columns: readonly ProfileColumn[]): string {
  return columns.map(({ classId, obis, attribute }) => `${classId}/${obis}/${attribute}`).join(' ');
}

export class ProfileGeneric implements CosemObject {
  readonly classId = 7;
  readonly version = 1;
  readonly attributes = 8;
  readonly methods = 2;
  readonly ln: Uint8Array;
  /** Selective access of the buffer, for the object list. */
  readonly selectors = [1, 2];
  readonly #options: ProfileOptions;
  readonly #names: readonly Uint8Array[];
  readonly #row: Uint8Array;
  readonly #scratch = new Uint8Array(DATE_TIME_SIZE);
  #marks = 0;
  /** Interval that the last capture closed; undefined until the clock was looked at. */
  #interval: number | undefined;

  constructor(options: ProfileOptions) {
    this.ln = parseObis(options.obis);
    this.#options = options;
    this.#names = options.columns.map(({ obis }) => parseObis(obis));
    this.#row = new Uint8Array(options.store.rowSize);
    const { store } = options;
    const newest = store.next > store.first ? store.read(store.next - 1) : undefined;
    if (newest) this.#interval = this.#intervalOf(readU32(newest, 0) * 1000);
  }

  /** Number of rows that a client sees. */
  get entriesInUse(): number {
    return countRows(this.#visible());
  }

  /** The rows that a client sees. */
  #visible(): RowInterval[] {
    const { store } = this.#options;
    return store.readable(this.#oldest, store.next);
  }

  get #oldest(): number {
    const { store, entries } = this.#options;
    return Math.max(store.first, store.next - entries);
  }

  /** Adds bits to the status of the interval under way. */
  mark(bits: number): void {
    this.#marks |= bits;
  }

  /** Captures when a period has ended since the last look. */
  tick(epochMs: number): void {
    if (this.#options.period === 0) return;
    const interval = this.#intervalOf(epochMs);
    const isFarBack = this.#interval !== undefined && this.#endOf(this.#interval, epochMs) > epochMs + FAR_BACK_MS;
    if (this.#interval === undefined || isFarBack) this.#interval = interval;
    else if (interval > this.#interval) this.capture(this.#endOf(interval, epochMs));
  }

  #intervalOf(epochMs: number): number {
    const { period, clock } = this.#options;
    if (period === 0) return 0;
    return period < DAY ? Math.floor(epochMs / 1000 / period) : clock.localDay(epochMs);
  }

  /** Instant at which an interval began, that is, the one before it ended. */
  #endOf(interval: number, epochMs: number): number {
    const { period, clock } = this.#options;
    if (period < DAY) return interval * period * 1000;
    const local = clock.localMs(epochMs);
    return epochMs - (local - interval * DAY * 1000);
  }

  /**
   * Captures a row now.
   * @param epochMs  its time
   * @param isUrgent  false when the row may be lost by a power cut within the next minute
   * @returns whether the row is stored
   */
  capture(epochMs: number, isUrgent = true): boolean {
    const { clock, columns, store, missingBit = 0 } = this.#options;
    const row = this.#row;
    const previous = store.read(store.next - 1)?.slice();
    row.fill(0);
    writeU32(row, 0, Math.floor(epochMs / 1000));
    writeU16(row, 4, clock.localTime(epochMs).deviation & 0xffff);
    row[6] = clock.statusAt(epochMs);
    const w = new ByteWriter(row, HEADER);
    let previousAt = HEADER;
    let statusAt = 0;
    let isMissing = false;
    for (const column of columns) {
      const at = w.at;
      if (column.read(w) !== Result.success || w.at - at > column.size) {
        w.at = at;
        isMissing = true;
        const last = previous?.subarray(previousAt, previousAt + valueSize(previous, previousAt));
        if (column.holds && last) w.bytes(last);
        else w.u8(Tag.nullData);
      }
      if (column.isStatus) statusAt = at + 1;
      if (previous) previousAt += valueSize(previous, previousAt);
    }
    if (statusAt > 0) row[statusAt]! |= this.#marks | (isMissing ? missingBit : 0);
    this.#marks = 0;
    const isStored = store.append(row, isUrgent);
    this.#interval = Math.max(this.#interval ?? 0, this.#intervalOf(epochMs));
    return isStored;
  }

  /** Seconds and values of the newest row, for the device's own use; undefined when there is none. */
  newest(): Uint8Array | undefined {
    return this.#options.store.read(this.#options.store.next - 1);
  }

  get(id: number, w: ByteWriter): number {
    const { period, entries } = this.#options;
    if (id === 3) this.#writeCaptureObjects(w);
    else if (id === 4) w.u8(Tag.doubleLongUnsigned).u32(period);
    else if (id === 5) w.u8(Tag.enum).u8(SORT_FIFO);
    // Sorted by arrival, not by a column: the capture object of zeros.
    else if (id === 6) writeCaptureObject(w, 0, new Uint8Array(6), 0);
    else w.u8(Tag.doubleLongUnsigned).u32(id === 7 ? this.entriesInUse : entries);
    return Result.success;
  }

  #writeCaptureObjects(w: ByteWriter): void {
    const { columns } = this.#options;
    writeLength(w.u8(Tag.array), columns.length + 1);
    writeCaptureObject(w, 8, CLOCK_LN, 2);
    columns.forEach((column, i) => {
      writeCaptureObject(w, column.classId, this.#names[i]!, column.attribute);
    });
  }

  open(id: number, selection: Selection | null): Pieces | number | null {
    if (id !== 2) return null;
    const all = this.#options.columns.map((_, i) => i + 1);
    if (selection === null) return this.#rows(this.#visible(), [0, ...all]);
    if (selection.selector === 1) return this.#openRange(selection.parameter);
    if (selection.selector === 2) return this.#openEntries(selection.parameter);
    return Result.typeUnmatched;
  }

  /** Selector 2: `{ from u32, to u32, from column u16, to column u16 }`, counted from 1; a `to` of 0 is the last. */
  #openEntries(parameter: Data): Pieces | number {
    const [u32, u16] = ['double-long-unsigned', 'long-unsigned'] as const;
    const fields = members(parameter, u32, u32, u16, u16);
    if (!fields) return Result.typeUnmatched;
    const [from, to, fromColumn, toColumn] = fields;
    const begin = Math.max(from, 1);
    const rows = this.#visible();
    const inUse = countRows(rows);
    const end = to === 0 ? inUse : Math.min(to, inUse);
    const width = this.#options.columns.length + 1;
    const left = Math.max(fromColumn, 1);
    const right = toColumn === 0 ? width : Math.min(toColumn, width);
    const columns = Array.from({ length: Math.max(0, right - left + 1) }, (_, i) => left - 1 + i);
    return this.#rows(rows, columns, begin - 1, Math.max(0, end - begin + 1));
  }

  /** Selector 1: `{ restricting object, from, to, selected columns }`, both ends included. */
  #openRange(parameter: Data): Pieces | number {
    if (parameter.type !== 'structure' || parameter.value.length !== 4) return Result.typeUnmatched;
    const [restricting, from, to, selected] = parameter.value as [Data, Data, Data, Data];
    if (this.#columnOf(restricting) !== 0 || selected.type !== 'array') return Result.typeUnmatched;
    const columns = selected.value.map((each) => this.#columnOf(each));
    const low = this.#bound(from, Number.NEGATIVE_INFINITY);
    const high = this.#bound(to, Number.POSITIVE_INFINITY);
    if (columns.includes(-1) || low === undefined || high === undefined) return Result.typeUnmatched;
    // In the order of the capture objects, whatever the order of the request.
    const wanted = columns.length === 0 ? [0, ...this.#options.columns.map((_, i) => i + 1)] : columns.sort(byNumber);
    const { store } = this.#options;
    return this.#rows(rowsBetween(store, this.#oldest, Math.ceil(low / 1000), Math.floor(high / 1000)), wanted);
  }

  #rows(rows: readonly RowInterval[], columns: readonly number[], from = 0, count = countRows(rows)): Pieces {
    return arrayPieces(count, (index, w) => this.#writeRow(rowAt(rows, from + index), columns, w));
  }

  /** Column that a capture object names: 0 the clock, -1 none. */
  #columnOf(object: Data): number {
    const [classId, ln, id] = members(object, 'long-unsigned', 'octet-string', 'integer', 'long-unsigned') ?? [];
    if (ln?.length !== 6) return -1;
    const name = formatObis(ln);
    if (classId === 8 && name === CLOCK && id === 2) return 0;
    const isSame = (c: ProfileColumn) => c.classId === classId && c.obis === name && c.attribute === id;
    const index = this.#options.columns.findIndex(isSame);
    return index < 0 ? -1 : index + 1;
  }

  /** Instant of a bound; `open` when its fields leave it open; undefined when it is no date-time. */
  #bound(value: Data, open: number): number | undefined {
    const bytes = dateTimeOctets(value);
    if (!bytes) return undefined;
    const instant = this.#options.clock.instantOf(bytes);
    return instant === null ? open : instant;
  }

  #writeRow(number: number, columns: readonly number[], w: ByteWriter): number {
    const row = this.#options.store.read(number);
    if (!row) return Result.longGetAborted;
    writeLength(w.u8(Tag.structure), columns.length);
    let at = HEADER;
    let column = 1;
    for (const wanted of columns) {
      if (wanted === 0) {
        encodeDateTime(this.#scratch, 0, readU32(row, 0) * 1000, readI16(row, 4), row[6]!);
        writeOctetString(w, this.#scratch);
        continue;
      }
      for (; column < wanted; column++) at += valueSize(row, at);
      w.bytes(row.subarray(at, at + valueSize(row, at)));
    }
    return Result.success;
  }

  invoke(method: number, _parameter: Data | null, _context: RequestContext): number {
    if (method === 2) {
      this.capture(this.#options.clock.now().epochMs);
      return Result.success;
    }
    this.#options.store.clear();
    this.#options.onReset?.();
    return Result.success;
  }
}

const byNumber = (a: number, b: number) => a - b;

function writeCaptureObject(w: ByteWriter, classId: number, ln: Uint8Array, id: number): void {
  w.u8(Tag.structure).u8(4).u8(Tag.longUnsigned).u16(classId);
  writeOctetString(w, ln);
  w.u8(Tag.integer).u8(id).u8(Tag.longUnsigned).u16(0);
}
