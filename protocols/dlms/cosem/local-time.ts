/**
 * Local time of a COSEM clock: standard deviation and daylight saving between two yearly instants such as "last Sunday in
 * March, 02:00". Deviations are minutes added to local time to get UTC: Central Europe is -60 in winter, -120 in summer.
 *
 * A date of the rules gives month, day and day of week: day FE is the last of the month, FD the last but one; with a day
 * of week, FE is the last such weekday of the month and a number the first such weekday on or after that day.
 */

import { readU16 } from '#base/bytes';

const DAY_MS = 86_400_000;
const MINUTE_MS = 60_000;
const ANY = 0xff;
const LAST = 0xfe;
const SECOND_LAST = 0xfd;

export interface Zone {
  /** Minutes to add to local standard time to get UTC. */
  readonly deviation: number;
  /** Minutes by which clocks go forward, mostly 60. */
  readonly dstShift: number;
  readonly dstEnabled: boolean;
  /** Date-times of 12 bytes: begin in standard time, end in daylight time. */
  readonly dstBegin: Uint8Array;
  readonly dstEnd: Uint8Array;
}

export interface LocalTime {
  readonly deviation: number;
  readonly isDst: boolean;
}

/** Day of month that a rule names; undefined when it leaves month or day open. */
function ruleDay(year: number, month: number, day: number, weekday: number): number | undefined {
  if (month < 1 || month > 12 || day === ANY) return undefined;
  const last = new Date(Date.UTC(year, month, 0)).getUTCDate();
  const from = day === LAST ? last : day === SECOND_LAST ? last - 1 : day;
  if (weekday === ANY) return from;
  const found = ((new Date(Date.UTC(year, month - 1, from)).getUTCDay() + 6) % 7) + 1;
  return day === LAST || day === SECOND_LAST ? from - ((found - weekday + 7) % 7) : from + ((weekday - found + 7) % 7);
}

/** Local ms of a rule's instant in a year; undefined when the rule does not say. */
function ruleInstant(rule: Uint8Array, year: number): number | undefined {
  const ruleYear = readU16(rule, 0);
  if (ruleYear !== 0xffff && ruleYear !== year) return undefined;
  const [month = 0, day = 0, weekday = 0, hour = 0, minute = 0] = rule.subarray(2, 7);
  const date = ruleDay(year, month, day, weekday);
  if (date === undefined) return undefined;
  const zeroed = (value: number) => (value === ANY ? 0 : value);
  return Date.UTC(year, month - 1, date, zeroed(hour), zeroed(minute));
}

/** Deviation and season at an instant. @param epochMs  ms since the Unix epoch */
export function localTimeAt(zone: Zone, epochMs: number): LocalTime {
  const standard = { deviation: zone.deviation, isDst: false };
  if (!zone.dstEnabled) return standard;
  const year = new Date(epochMs - zone.deviation * MINUTE_MS).getUTCFullYear();
  const begin = ruleInstant(zone.dstBegin, year);
  const end = ruleInstant(zone.dstEnd, year);
  if (begin === undefined || end === undefined) return standard;
  const daylight = zone.deviation - zone.dstShift;
  const from = begin + zone.deviation * MINUTE_MS;
  const to = end + daylight * MINUTE_MS;
  // South of the equator the year begins in daylight saving.
  const isDst = from < to ? epochMs >= from && epochMs < to : epochMs >= from || epochMs < to;
  return isDst ? { deviation: daylight, isDst } : standard;
}

/** Instant of a local time without deviation. The hour that exists twice in autumn is taken as the first of the two. */
export function epochOfLocal(zone: Zone, localMs: number): number {
  const asDaylight = localMs + (zone.deviation - zone.dstShift) * MINUTE_MS;
  return localTimeAt(zone, asDaylight).isDst ? asDaylight : localMs + zone.deviation * MINUTE_MS;
}

/** Local ms since 1970-01-01T00:00 local time. */
export function localOfEpoch(zone: Zone, epochMs: number): number {
  return epochMs - localTimeAt(zone, epochMs).deviation * MINUTE_MS;
}

/** Number of the local day an instant lies in. */
export function localDay(zone: Zone, epochMs: number): number {
  return Math.floor(localOfEpoch(zone, epochMs) / DAY_MS);
}

/**
 * Whether a schedule's time and date (4 and 5 bytes: hour minute second hundredths, year month day weekday) name this
 * local second. Fields of FF fit anything.
 */
export function scheduleFits(time: Uint8Array, date: Uint8Array, localMs: number): boolean {
  const at = new Date(localMs);
  const fits = (field: number | undefined, value: number) => field === ANY || field === value;
  if (!fits(time[0], at.getUTCHours()) || !fits(time[1], at.getUTCMinutes()) || !fits(time[2], at.getUTCSeconds()))
    return false;
  const year = at.getUTCFullYear();
  const month = at.getUTCMonth() + 1;
  const ruleYear = readU16(date, 0);
  if ((ruleYear !== 0xffff && ruleYear !== year) || !fits(date[2], month)) return false;
  const day = at.getUTCDate();
  const weekday = ((at.getUTCDay() + 6) % 7) + 1;
  if (date[3] === ANY) return fits(date[4], weekday);
  return ruleDay(year, month, date[3]!, date[4]!) === day;
}
