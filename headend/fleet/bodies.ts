/** From what the fleet and the store hold to the JSON bodies of the API. */

import type { ErrorCode } from '#base/error-codes';
import { ERROR_TITLES } from '#base/error-titles';
import type { CommandBody, EventBody, PathBody, PathReportBody, ReadingBody, ValueBody } from '../http/wire.ts';
import type { PathReport, PathTaken, Reading } from '../meter-connection.ts';
import type { CommandRecord, EventRecord, StoredValue } from '../store/store.ts';
import { type AgeLimits, qualityAt } from './ageing.ts';
import type { Preparation } from './command-procedure.ts';

/** RFC 3339 in UTC with milliseconds. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString();
}

/** @param ageMs  since the value was received */
export function valueBody(value: StoredValue, ageMs: number, limits: AgeLimits): ValueBody {
  const quality = qualityAt(value.quality, ageMs, limits);
  return {
    obis: value.obis,
    name: value.name,
    value: quality === 'missing' ? null : value.value,
    unit: value.unit,
    measuredAt: value.measuredAt === null ? null : timeText(value.measuredAt),
    receivedAt: timeText(value.receivedAt),
    ageMs: Math.max(0, Math.round(ageMs)),
    quality: value.value === null ? 'missing' : quality,
  };
}

export function storedValues(reading: Reading): StoredValue[] {
  const { measuredAt, receivedAt } = reading;
  return reading.values.map(({ obis, name, unit, value, quality }) => {
    return { obis, name, unit, value, quality, measuredAt, receivedAt };
  });
}

export function readingBody(meter: string, reading: Reading, ageMs: number, limits: AgeLimits): ReadingBody {
  return {
    meter,
    receivedAt: timeText(reading.receivedAt),
    delayMs: reading.delayMs,
    path: pathBody(reading.path),
    values: storedValues(reading).map((value) => valueBody(value, ageMs, limits)),
  };
}

export function pathBody(path: PathTaken | null): PathBody | null {
  if (path === null) return null;
  const { fingerprint, hops, isds, rttMs } = path;
  return { fingerprint, hops, isds, rttMs };
}

export function pathReportBody(report: PathReport): PathReportBody {
  const { state, chosen, pinned, disjoint, forbidden, mtu, announcedLatencyMs, announcedBandwidthKbit } = report;
  return {
    ...pathBody(report)!,
    state,
    chosen,
    pinned,
    disjoint,
    forbidden,
    mtu,
    announcedLatencyMs,
    announcedBandwidthKbit,
    expiresAt: timeText(report.expiresAt),
  };
}

/** @param progress  of what is brought for the command now */
export function commandBody(record: CommandRecord, progress?: Preparation): CommandBody {
  const { id, meter, type, reason, text, actor, state, evidence, error } = record;
  return {
    id,
    meter,
    type,
    reason,
    text,
    actor,
    state,
    stages: record.stages.map((stage) => ({ state: stage.state, at: timeText(stage.at) })),
    createdAt: timeText(record.createdAt),
    expiresAt: timeText(record.expiresAt),
    image: record.image ?? null,
    progress: progress === undefined ? null : { ...progress },
    evidence,
    error: error === null ? null : { ...error, title: titleOf(error.code) },
  };
}

function titleOf(code: string): string {
  return ERROR_TITLES[code as ErrorCode] ?? 'Failed';
}

export function eventBody(event: EventRecord): EventBody {
  return { ...event, at: timeText(event.at) };
}
