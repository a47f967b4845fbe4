/**
 * Class 8, Clock v0: the meter's time as local time with deviation, daylight saving by yearly rules, SET of the time and
 * the adjusting methods (1 to the quarter, 2 to the measuring period, 3 to the minute, 6 by seconds). Preset adjusting
 * (4, 5) is not offered. Zone and rules are settings; as delivered they say UTC without daylight saving.
 */

import { equalBytes } from '#base/bytes';
import { ApduTag } from '#dlms/apdu';
import { type Data, Tag, writeOctetString } from '#dlms/axdr';
import { epochOfLocal, type LocalTime, localDay, localOfEpoch, localTimeAt, type Zone } from '#dlms/cosem/local-time';
import type { CosemObject } from '#dlms/cosem/logical-device';
import { bool, i8, i16, octets, Setting, type SettingStore } from '#dlms/cosem/setting';
import { attribute, type MethodRunner, NO_METHOD, TableObject } from '#dlms/cosem/table-object';
import { ClockStatus, DATE_TIME_SIZE, decodeDateTime, encodeDateTime } from '#dlms/date-time';
import { Result } from '#dlms/result';
import { SetChoice } from '#dlms/set';
import type { ByteWriter } from '#dlms/writer';

/** The wall clock and whether anybody has set it since the start. */
export interface ClockReading {
  /** Milliseconds since the Unix epoch. */
  readonly epochMs: number;
  readonly isSet: boolean;
}

/** Where the time comes from and goes to. */
export interface ClockSource {
  readonly read: () => ClockReading;
  /** Moves the clock; without it clients cannot set the time. @returns whether the time was taken */
  readonly set?: ((epochMs: number) => boolean) | undefined;
}

export const CLOCK = '0-0:1.0.0.255';
/** clock_base 1: the internal crystal. */
const BASE_CRYSTAL = 1;
const DAY_AND_TIME_OPEN = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x80, 0x00, 0xff);
const QUARTER_MS = 900_000;

/** A SET of attribute 2 by an octet-string of 12, behind its tag, choice and invoke id: reference, no selection, type. */
const SET_TIME = Uint8Array.of(0, 8, 0, 0, 1, 0, 0, 255, 2, 0, 9, DATE_TIME_SIZE);

/** The time that a set-request sets the clock to, ms since the Unix epoch; undefined for any other request. */
function timeSetBy(request: Uint8Array): number | undefined {
  const at = 3 + SET_TIME.length;
  const isTime =
    request[0] === ApduTag.setRequest &&
    request[1] === SetChoice.normal &&
    equalBytes(request.subarray(3, at), SET_TIME);
  const time = isTime && request.length === at + DATE_TIME_SIZE ? decodeDateTime(request, at) : undefined;
  // Without deviation it is local time, which is another one in another zone.
  return typeof time?.deviationMinutes === 'number' ? (time.epochMs ?? undefined) : undefined;
}

/**
 * What signed requests are judged by, in seconds: one that sets the clock by the time that it sets, since nobody here knows
 * a better one; any other by the clock, and by none while that is not set.
 */
export function judgingTime(read: () => ClockReading): (request: Uint8Array) => number | undefined {
  return (request) => {
    const { epochMs, isSet } = read();
    const judgedMs = timeSetBy(request) ?? (isSet ? epochMs : undefined);
    return judgedMs === undefined ? undefined : Math.floor(judgedMs / 1000);
  };
}

/** The octets of a date-time value in either of its types; undefined for anything else. */
export function dateTimeOctets(value: Data): Uint8Array | undefined {
  const isDateTime = value.type === 'octet-string' || value.type === 'date-time';
  return isDateTime && value.value.length === DATE_TIME_SIZE ? value.value : undefined;
}

export class MeterClock {
  readonly object: CosemObject;
  readonly #source: ClockSource;
  readonly #zone: Setting;
  readonly #begin: Setting;
  readonly #end: Setting;
  readonly #shift: Setting;
  readonly #enabled: Setting;
  readonly #scratch = new Uint8Array(DATE_TIME_SIZE);
  /** Kept until a setting changes: it is asked for with every date-time. */
  #rules: Zone | undefined;

  constructor(source: ClockSource, store: SettingStore) {
    this.#source = source;
    const setting = (id: number, example: Data, isValid?: (value: Data) => boolean) =>
      new Setting(store, `${CLOCK}/${id}`, isValid ? { example, isValid } : { example }, () => {
        this.#rules = undefined;
      });
    const within = (limit: number) => (value: Data) =>
      'value' in value && typeof value.value === 'number' && Math.abs(value.value) <= limit;
    const isRule = (value: Data) => value.type === 'octet-string' && decodeDateTime(value.value) !== undefined;
    this.#zone = setting(3, i16(0), within(840));
    this.#begin = setting(5, octets(DAY_AND_TIME_OPEN), isRule);
    this.#end = setting(6, octets(DAY_AND_TIME_OPEN), isRule);
    this.#shift = setting(7, i8(0), within(120));
    this.#enabled = setting(8, bool(false));
    const time = { read: (w: ByteWriter) => this.#writeNow(w), write: (value: Data) => this.#set(value) };
    const status = attribute((w) => {
      const { epochMs, isSet } = source.read();
      w.u8(Tag.unsigned).u8(this.#status(isSet, this.localTime(epochMs)));
    });
    const base = attribute((w) => w.u8(Tag.enum).u8(BASE_CRYSTAL));
    this.object = new TableObject(
      8,
      0,
      CLOCK,
      [time, this.#zone, status, this.#begin, this.#end, this.#shift, this.#enabled, base],
      [this.#align(QUARTER_MS), this.#align(QUARTER_MS), this.#align(60_000), NO_METHOD, NO_METHOD, this.#move],
    );
  }

  now(): ClockReading {
    return this.#source.read();
  }

  get zone(): Zone {
    this.#rules ??= {
      deviation: this.#zone.number,
      dstShift: this.#shift.number,
      dstEnabled: this.#enabled.value.type === 'boolean' && this.#enabled.value.value,
      dstBegin: ruleOf(this.#begin),
      dstEnd: ruleOf(this.#end),
    };
    return this.#rules;
  }

  localTime(epochMs: number): LocalTime {
    return localTimeAt(this.zone, epochMs);
  }

  localDay(epochMs: number): number {
    return localDay(this.zone, epochMs);
  }

  /** Local ms since 1970. */
  localMs(epochMs: number): number {
    return localOfEpoch(this.zone, epochMs);
  }

  /** Instant of a date-time; without deviation it is local time. Null when fields that are needed are open. */
  instantOf(dateTime: Uint8Array): number | null | undefined {
    const time = decodeDateTime(dateTime);
    if (!time || time.epochMs === null) return time && null;
    return time.deviationMinutes === null ? epochOfLocal(this.zone, time.epochMs) : time.epochMs;
  }

  /** Status byte of date-times at this instant. */
  statusAt(epochMs: number): number {
    return this.#status(this.#source.read().isSet, this.localTime(epochMs));
  }

  /** Writes an instant as attributes carry it: an octet-string of 12, in local time. */
  write(w: ByteWriter, epochMs: number): void {
    const { deviation, isDst } = this.localTime(epochMs);
    encodeDateTime(this.#scratch, 0, epochMs, deviation, this.#status(this.#source.read().isSet, { deviation, isDst }));
    writeOctetString(w, this.#scratch);
  }

  #status(isSet: boolean, { isDst }: LocalTime): number {
    return (isSet ? 0 : ClockStatus.invalid) | (isDst ? ClockStatus.daylightSaving : 0);
  }

  #writeNow(w: ByteWriter): number {
    this.write(w, this.#source.read().epochMs);
    return Result.success;
  }

  #set(value: Data): number {
    const bytes = dateTimeOctets(value);
    if (!bytes) return Result.typeUnmatched;
    const epochMs = this.instantOf(bytes);
    return typeof epochMs === 'number' ? this.#moveTo(epochMs) : Result.otherReason;
  }

  #moveTo(epochMs: number): number {
    if (!this.#source.set) return Result.readWriteDenied;
    return this.#source.set(epochMs) ? Result.success : Result.otherReason;
  }

  #align(unitMs: number): MethodRunner {
    return () => this.#moveTo(Math.round(this.#source.read().epochMs / unitMs) * unitMs);
  }

  readonly #move: MethodRunner = (parameter) => {
    if (parameter?.type !== 'long') return Result.typeUnmatched;
    if (Math.abs(parameter.value) > 900) return Result.otherReason;
    return this.#moveTo(this.#source.read().epochMs + parameter.value * 1000);
  };
}

function ruleOf(setting: Setting): Uint8Array {
  return setting.value.type === 'octet-string' ? setting.value.value : DAY_AND_TIME_OPEN;
}
