/**
 * COSEM date-time (IEC 62056-6-2 §4.1.6), 12 bytes:
 *
 *   0      2       3     4     5      6     7     8            9            11
 *   | year | month | day | dow | hour | min | sec | hundredths | deviation i16 | status |
 *
 * The deviation is added to local time to get UTC: Central European winter time is -60. FF (year FFFF, deviation 8000)
 * means "not specified". Schedules with "last Sunday" wildcards are not resolved here.
 */

import { readI16, readU16, writeU16 } from '#base/bytes';

export const DATE_TIME_SIZE = 12;

/** Bits of the status byte; FF means not specified. */
export const ClockStatus = {
  invalid: 0x01,
  doubtful: 0x02,
  differentBase: 0x04,
  invalidStatus: 0x08,
  daylightSaving: 0x80,
} as const;

const UNSPECIFIED = 0xff;
const UNSPECIFIED_YEAR = 0xffff;
const UNSPECIFIED_DEVIATION = -0x8000;
const DAY_MS = 86_400_000;

/** Days from 1970-01-01 to a date of the Gregorian calendar. */
function daysOf(year: number, month: number, day: number): number {
  const shifted = month <= 2 ? year - 1 : year;
  const era = Math.floor(shifted / 400);
  const yearOfEra = shifted - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}

function daysInMonth(year: number, month: number): number {
  const isLeap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  return month === 2 ? (isLeap ? 29 : 28) : month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

/**
 * Writes a date-time with every field specified.
 * @param epochMs  ms since the Unix epoch, year 1…9999
 * @param deviationMinutes  minutes to add to local time to get UTC, -720…720
 * @param status  bits of `ClockStatus`
 * @returns offset behind the 12 bytes
 */
export function encodeDateTime(
  out: Uint8Array,
  at: number,
  epochMs: number,
  deviationMinutes: number,
  status: number,
): number {
  const local = Math.floor(epochMs) - deviationMinutes * 60_000;
  const days = Math.floor(local / DAY_MS);
  const ms = local - days * DAY_MS;
  // Civil date from a day count, with years that begin in March so that the leap day is the last.
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  writeU16(out, at, yearOfEra + era * 400 + (month <= 2 ? 1 : 0));
  out[at + 2] = month;
  out[at + 3] = dayOfYear - Math.floor((153 * marchMonth + 2) / 5) + 1;
  // 1970-01-01 was a Thursday; Monday is 1.
  out[at + 4] = ((((days + 3) % 7) + 7) % 7) + 1;
  out[at + 5] = Math.floor(ms / 3_600_000);
  out[at + 6] = Math.floor(ms / 60_000) % 60;
  out[at + 7] = Math.floor(ms / 1000) % 60;
  out[at + 8] = Math.floor(ms / 10) % 100;
  writeU16(out, at + 9, deviationMinutes & 0xffff);
  out[at + 11] = status;
  return at + DATE_TIME_SIZE;
}

export interface DateTime {
  /** ms since the Unix epoch; null when a field that is needed is not specified. */
  readonly epochMs: number | null;
  /** Minutes to add to local time to get UTC; null when not specified (the time is then taken as UTC). */
  readonly deviationMinutes: number | null;
  /** Bits of `ClockStatus`, or 0xff when not specified. */
  readonly status: number;
}

/**
 * Reads the 12 bytes at `at`. The day of week is ignored, unspecified seconds and hundredths count as 0.
 * @returns undefined when a field is out of its range
 */
export function decodeDateTime(buf: Uint8Array, at = 0): DateTime | undefined {
  if (buf.length - at < DATE_TIME_SIZE) return undefined;
  const year = readU16(buf, at);
  const [month = 0, day = 0, , hour = 0, minute = 0, second = 0, hundredths = 0] = buf.subarray(at + 2, at + 9);
  const deviation = readI16(buf, at + 9);
  const status = buf[at + 11]!;
  const isIn = (value: number, high: number) => value <= high || value === UNSPECIFIED;
  if (month === 0 || (month > 12 && month < 0xfd) || day === 0 || (day > 31 && day < 0xfd)) return undefined;
  if (!isIn(hour, 23) || !isIn(minute, 59) || !isIn(second, 59) || !isIn(hundredths, 99)) return undefined;
  if (deviation !== UNSPECIFIED_DEVIATION && Math.abs(deviation) > 840) return undefined;
  const deviationMinutes = deviation === UNSPECIFIED_DEVIATION ? null : deviation;
  if (year === UNSPECIFIED_YEAR || month > 12 || day > 31 || hour === UNSPECIFIED || minute === UNSPECIFIED)
    return { epochMs: null, deviationMinutes, status };
  if (year === 0 || day > daysInMonth(year, month)) return undefined;
  const specified = (value: number) => (value === UNSPECIFIED ? 0 : value);
  const local =
    daysOf(year, month, day) * DAY_MS +
    (hour * 3600 + minute * 60 + specified(second)) * 1000 +
    specified(hundredths) * 10;
  return { epochMs: local + (deviationMinutes ?? 0) * 60_000, deviationMinutes, status };
}
