/**
 * Reads profiles (class 7) of any meter: capture objects and the scalers of the registers first, kept for the next time,
 * then rows by range of time or by entry. A time of null-data in a row stands for "one capture period after the row
 * before", as many meters send it.
 */

import { DlmsError } from '#base/errors';
import type { Data } from '#dlms/axdr';
import type { DlmsClient } from '#dlms/client';
import { numberOf } from '#dlms/client-answers';
import { DATE_TIME_SIZE, decodeDateTime, encodeDateTime } from '#dlms/date-time';
import type { Exchange } from '#dlms/exchange';
import { formatObis, parseObis } from '#dlms/obis';
import { scale, unitSymbol } from '#dlms/units';

export interface ProfileField {
  readonly obis: string;
  readonly classId: number;
  readonly attribute: number;
  /** Of registers; '' for others. */
  readonly unit: string;
}

export interface ReadRow {
  /** ms since the Unix epoch; null when the meter gave none. */
  readonly at: number | null;
  /** Bits of `ClockStatus` of the row's time. */
  readonly clockStatus: number;
  /** One per field: scaled number, null for null-data or what is no number. */
  readonly values: readonly (number | null)[];
}

export interface ReadProfile {
  readonly fields: readonly ProfileField[];
  /** Capture period in seconds, 0 when captured by order. */
  readonly period: number;
  readonly rows: readonly ReadRow[];
}

/** Which rows: by time (ms since the epoch, both ends included), or by number from 1, 0 as end for the newest. */
export type ProfileRange =
  | { readonly from: number; readonly to: number; readonly columns?: readonly string[] }
  | { readonly firstEntry: number; readonly lastEntry: number };

interface Layout {
  readonly objects: readonly Data[];
  readonly fields: readonly ProfileField[];
  readonly scalers: readonly number[];
  readonly clock: number;
  readonly period: number;
}

const PROFILE = 7;
const CLOCK = 8;
/** Attribute with scaler and unit of each class that has one. */
const SCALER_ATTRIBUTES: Readonly<Record<number, number>> = { 3: 3, 4: 3, 5: 4 };

export class ProfileReader {
  readonly #client: DlmsClient;
  readonly #layouts = new Map<string, Layout>();

  constructor(client: DlmsClient) {
    this.#client = client;
  }

  /** Reads rows of a profile. @throws DlmsError with the code of the server's result */
  *read(obis: string, range: ProfileRange): Exchange<ReadProfile> {
    const layout = this.#layouts.get(obis) ?? (yield* this.#learn(obis));
    this.#layouts.set(obis, layout);
    const wanted =
      'columns' in range && range.columns ? this.#select(layout, range.columns) : layout.fields.map(indexOf);
    const parameter: Data =
      'from' in range ? rangeOf(layout, range, wanted) : entriesOf(range.firstEntry, range.lastEntry);
    const selection = { selector: 'from' in range ? 1 : 2, parameter };
    const ref = { classId: PROFILE, ln: parseObis(obis), attribute: 2 };
    const buffer = yield* this.#client.get(ref, selection);
    if (buffer.type !== 'array' && buffer.type !== 'compact-array') throw unexpected(`${buffer.type} as buffer`);
    const fields = wanted.filter((column) => column !== layout.clock);
    const rows: ReadRow[] = [];
    for (const row of buffer.value) rows.push(rowOf(row, layout, wanted, rows.at(-1)));
    return { fields: fields.map((column) => layout.fields[column]!), period: layout.period, rows };
  }

  *#learn(obis: string): Exchange<Layout> {
    const ln = parseObis(obis);
    const attribute = (id: number) => ({ classId: PROFILE, ln, attribute: id });
    const objects = yield* this.#client.get(attribute(3));
    const period = numberOf(yield* this.#client.get(attribute(4))) ?? 0;
    if (objects.type !== 'array') throw unexpected(`${objects.type} as capture objects`);
    const columns = objects.value.map((object) => {
      const [classId, name, id] = object.type === 'structure' ? object.value : [];
      if (classId?.type !== 'long-unsigned' || name?.type !== 'octet-string' || id?.type !== 'integer')
        throw unexpected('a broken capture object');
      return { classId: classId.value, ln: name.value.slice(), attribute: id.value };
    });
    const scaled = columns.filter(({ classId }) => SCALER_ATTRIBUTES[classId]);
    const answers = yield* this.#client.getList(
      scaled.map((column) => ({ ...column, attribute: SCALER_ATTRIBUTES[column.classId]! })),
    );
    const scalers = columns.map((column) => {
      const data = answers[scaled.indexOf(column)]?.data;
      const [scaler, unit] = data?.type === 'structure' ? data.value : [];
      return scaler?.type === 'integer' && unit?.type === 'enum'
        ? { scaler: scaler.value, unit: unit.value }
        : undefined;
    });
    return {
      objects: objects.value,
      fields: columns.map(({ classId, ln: name, attribute: id }, i) => ({
        obis: formatObis(name),
        classId,
        attribute: id,
        unit: scalers[i] ? unitSymbol(scalers[i].unit) : '',
      })),
      scalers: scalers.map((each) => each?.scaler ?? 0),
      clock: columns.findIndex(({ classId, attribute: id }) => classId === CLOCK && id === 2),
      period,
    };
  }

  /** The clock and the named columns, in the order of the capture objects. */
  #select({ fields, clock }: Layout, names: readonly string[]): number[] {
    const wanted = new Set(names.map((name) => formatObis(parseObis(name))));
    return fields.map(indexOf).filter((i) => i === clock || wanted.has(fields[i]!.obis));
  }
}

const indexOf = (_field: unknown, index: number) => index;

function rangeOf({ objects, clock, fields }: Layout, range: { from: number; to: number }, wanted: number[]): Data {
  const restricting = objects[clock];
  if (!restricting) throw new DlmsError('dlms.refused', 'the profile has no clock: it can be read by entry only');
  const columns = wanted.length === fields.length ? [] : wanted.map((column) => objects[column]!);
  const bound = (epochMs: number): Data => {
    const value = new Uint8Array(DATE_TIME_SIZE);
    encodeDateTime(value, 0, epochMs, 0, 0);
    return { type: 'octet-string', value };
  };
  return {
    type: 'structure',
    value: [restricting, bound(range.from), bound(range.to), { type: 'array', value: columns }],
  };
}

function entriesOf(first: number, last: number): Data {
  const u32 = (value: number): Data => ({ type: 'double-long-unsigned', value });
  const u16 = (value: number): Data => ({ type: 'long-unsigned', value });
  return { type: 'structure', value: [u32(first), u32(last), u16(1), u16(0)] };
}

function rowOf(row: Data, layout: Layout, wanted: readonly number[], before: ReadRow | undefined): ReadRow {
  if (row.type !== 'structure' || row.value.length !== wanted.length) throw unexpected('a row of another width');
  let at: number | null = null;
  let clockStatus = 0xff;
  const values: (number | null)[] = [];
  row.value.forEach((data, i) => {
    const column = wanted[i]!;
    if (column !== layout.clock) {
      const raw = numberOf(data);
      values.push(raw === null ? null : scale(raw, layout.scalers[column]!));
    } else if (data.type === 'octet-string' || data.type === 'date-time') {
      const time = decodeDateTime(data.value);
      at = time?.epochMs ?? null;
      clockStatus = time?.status ?? 0xff;
    } else if (before && before.at !== null) {
      at = before.at + layout.period * 1000;
      clockStatus = before.clockStatus;
    }
  });
  return { at, clockStatus, values };
}

function unexpected(what: string): DlmsError {
  return new DlmsError('dlms.unexpected-answer', `the server answered with ${what}`);
}
