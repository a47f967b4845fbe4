/** Members of a request's path and query: how a route describes them, and how its handler reads them. */

import { RequestError } from './problem.ts';
import type { Parameter } from './router.ts';
import type { Schema } from './schema.ts';

/** Members of the query that bound a range of time. */
const BOUNDS = ['from', 'to'] as const;
type Bound = (typeof BOUNDS)[number];

export const METER_ID: Parameter = {
  name: 'id',
  in: 'path',
  required: true,
  description: 'meter',
  schema: { type: 'string' },
};

/** Describes a member of the query. */
export const query = (name: string, description: string, schema: Schema = { type: 'string' }): Parameter => ({
  name,
  in: 'query',
  description,
  schema,
});

/** Describes the members of the query that bound a range of time. */
export const RANGE_PARAMETERS = (from: string, to: string): Parameter[] =>
  Object.entries({ from, to }).map(([name, text]) => query(name, text, { type: 'string', format: 'date-time' }));

/** Reads a whole number of the query. @throws RequestError when it is none of `least`…`most` */
export function integerOf(query: URLSearchParams, name: string, fallback: number, least: number, most: number): number {
  const text = query.get(name);
  if (text === null) return fallback;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) throw new RequestError(`${name} must be ${least}…${most}`, `/${name}`);
  return value;
}

/** Reads the bounds of a range of time, ms since 1970. @throws RequestError for what is no time */
export function rangeOf(query: URLSearchParams): Partial<Record<Bound, number>> {
  const range: Partial<Record<Bound, number>> = {};
  for (const name of BOUNDS) {
    const text = query.get(name);
    if (text === null) continue;
    const at = /^\d{1,15}$/.test(text) ? Number(text) : Date.parse(text);
    if (Number.isNaN(at)) throw new RequestError(`${name} is not a time like 2026-01-31T12:00:00.000Z`, `/${name}`);
    range[name] = at;
  }
  return range;
}

/** Set of a comma-separated member, null when it is absent. */
export function listOf(query: URLSearchParams, name: string, known?: readonly string[]): Set<string> | null {
  const text = query.get(name);
  if (text === null) return null;
  const items = text.split(',').filter((item) => item !== '');
  const foreign = known === undefined ? undefined : items.find((item) => !known.includes(item));
  if (foreign !== undefined || items.length > 1000) {
    throw new RequestError(`${name} must be of ${known?.join(', ') ?? 'at most 1000 items'}`, `/${name}`);
  }
  return new Set(items);
}
