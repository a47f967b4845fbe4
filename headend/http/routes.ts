/** The route table of the API. */

import { createHash } from 'node:crypto';
import type { VerifyKey } from '#base/crypto';
import { S3mpError } from '#base/errors';
import { eventBody, timeText } from '../fleet/bodies.ts';
import type { Topic } from '../fleet/feed.ts';
import type { Fleet } from '../fleet/fleet.ts';
import { firmwareRoute } from './firmware-route.ts';
import type { Client } from './guard.ts';
import { openApiDocument } from './openapi.ts';
import type { Page } from './page-shell.ts';
import { pathRoutes } from './path-routes.ts';
import { RequestError } from './problem.ts';
import { profileRoutes } from './profile-routes.ts';
import type { Call, Parameter, Reply, Route } from './router.ts';
import type { Schema } from './schema.ts';
import * as schemas from './schemas.ts';
import type { StreamHub } from './stream.ts';
import type { CommandBody, CommandType, HistoryBody, LeaseBody, MeterBody } from './wire.ts';

/** Follows the inventory of enrolled meters. @returns the names of meters that are read from now on, and no more */
export type Reload = () => Promise<{ readonly added: readonly string[]; readonly removed: readonly string[] }>;

export interface RouteServices {
  readonly fleet: Fleet;
  readonly reload: Reload | undefined;
  readonly streams: StreamHub;
  readonly page: Page;
  readonly version: string;
  /** A lab's meters are simulated: a disconnect needs no token on loopback. */
  readonly labMode: boolean;
  /** Release key: firmware images that it has not signed are not even sent. */
  readonly releaseKey: VerifyKey | undefined;
}

const JSON_TYPE = 'application/json';
const RESOLUTIONS: Readonly<Record<string, number>> = {
  raw: 0,
  '1s': 1_000,
  '10s': 10_000,
  '1m': 60_000,
  '15m': 900_000,
  '1h': 3_600_000,
  '1d': 86_400_000,
};
/** Members of the query that bound a range of time. */
const RANGE = { from: 'inclusive; default five minutes before `to`', to: 'exclusive; default now' } as const;
const POINTS_LIMIT = 20_000;
const DEFAULT_RANGE_MS = 300_000;
const DEFAULT_EXPIRY_MS = 60_000;
const LONGEST_EXPIRY_MS = 86_400_000;

export const METER_ID: Parameter = {
  name: 'id',
  in: 'path',
  required: true,
  description: 'meter',
  schema: { type: 'string' },
};
export const query = (name: string, description: string, schema: Schema = { type: 'string' }): Parameter => ({
  name,
  in: 'query',
  description,
  schema,
});
export const RANGE_PARAMETERS = (from: string, to: string): Parameter[] =>
  Object.entries({ from, to }).map(([name, text]) => query(name, text, { type: 'string', format: 'date-time' }));
const json = (schema: Schema, status = 200) => ({ status, type: JSON_TYPE, schema });
const ok = (body: unknown): Reply => ({ status: 200, body });

export function buildRoutes(services: RouteServices): readonly Route[] {
  const routes: Route[] = [
    ...meterRoutes(services),
    ...profileRoutes(services.fleet),
    ...pathRoutes(services.fleet),
    ...commandRoutes(services),
    ...observationRoutes(services),
    ...operationRoutes(services, () => routes),
  ];
  return routes;
}

function meterRoutes({ fleet, reload, labMode }: RouteServices): Route[] {
  const withClient = async (id: string, client: Client): Promise<MeterBody> => ({
    ...(await fleet.meter(id)),
    disconnectNeedsToken: !labMode && !client.hasToken,
  });
  return [
    {
      method: 'GET',
      path: '/api/v1/meters',
      summary: 'Lists the meters with their last values and state',
      role: 'viewer',
      parameters: [
        query('q', 'part of the id or name'),
        query('state', 'only meters in this state'),
        query('cursor', 'id after which to go on'),
        query('limit', 'at most so many, default 100', { type: 'integer', minimum: 1, maximum: 1000 }),
      ],
      answer: json(schemas.METERS),
      handler: async ({ query, client }) => {
        const limit = integerOf(query, 'limit', 100, 1, 1000);
        const cursor = query.get('cursor');
        const wanted = query.get('q')?.toLowerCase();
        const state = query.get('state');
        const meters: MeterBody[] = [];
        const ids = [...fleet.meterIds].sort();
        for (const id of ids) {
          if (cursor !== null && id <= cursor) continue;
          const meter = await withClient(id, client);
          if (state !== null && meter.state !== state) continue;
          if (wanted !== undefined && !`${id} ${meter.name}`.toLowerCase().includes(wanted)) continue;
          if (meters.length === limit) return ok({ meters, next: meters.at(-1)!.id });
          meters.push(meter);
        }
        return ok({ meters, next: null });
      },
    },
    {
      method: 'POST',
      path: '/api/v1/meters:reload',
      summary: 'Reads the inventory of enrolled meters and the revocation lists anew',
      role: 'admin',
      body: schemas.NOTHING,
      answer: json(schemas.RELOADED),
      problems: ['certificate.refused', 'config.invalid', 'config.unreadable'],
      limited: true,
      handler: async () => ok(reload ? await reload() : { added: [], removed: [] }),
    },
    {
      method: 'GET',
      path: '/api/v1/meters/{id}',
      summary: 'Shows a meter with its last values and state',
      role: 'viewer',
      parameters: [METER_ID],
      answer: json(schemas.METER),
      problems: ['meter.unknown'],
      handler: async ({ params, client }) => ok(await withClient(params.id!, client)),
    },
    {
      method: 'DELETE',
      path: '/api/v1/meters/{id}/data',
      summary: 'Deletes the values and events that are stored of a meter; commands and audit stay',
      role: 'admin',
      parameters: [METER_ID],
      answer: { status: 204, type: '', schema: {} },
      limited: true,
      handler: async ({ params, client }) => {
        await fleet.erase(params.id!, client.actor);
        return { status: 204 };
      },
    },
    {
      method: 'POST',
      path: '/api/v1/meters/{id}/readings',
      summary: 'Reads a meter once and waits for the values',
      role: 'viewer',
      parameters: [METER_ID],
      body: schemas.NOTHING,
      answer: json(schemas.READING),
      problems: ['meter.unknown', 'meter.unreachable', 'meter.busy', 'path.none', 'path.none-conforming'],
      limited: true,
      handler: async ({ params }) => ok(await fleet.read(params.id!)),
    },
    {
      method: 'GET',
      path: '/api/v1/meters/{id}/readings',
      summary: 'Gives stored values',
      role: 'viewer',
      parameters: [
        METER_ID,
        ...RANGE_PARAMETERS(RANGE.from, RANGE.to),
        query('resolution', 'raw, or mean, least and largest of each interval', {
          type: 'string',
          enum: Object.keys(RESOLUTIONS),
          default: 'raw',
        }),
        query('obis', 'registers, separated by commas; default all'),
      ],
      answer: json(schemas.HISTORY),
      problems: ['meter.unknown'],
      handler: (call) => history(fleet, call),
    },
    {
      method: 'POST',
      path: '/api/v1/meters/{id}/live',
      summary: 'Subscribes to live readings, or renews a subscription',
      role: 'viewer',
      parameters: [METER_ID],
      body: schemas.LIVE_REQUEST,
      answer: json(schemas.LEASE),
      problems: ['meter.unknown', 'rate.limited'],
      limited: true,
      handler: ({ params, body }) => {
        const meter = params.id!;
        const { intervalMs = 1000, lease, stream } = body as { intervalMs?: number; lease?: string; stream?: string };
        const granted = fleet.subscribe({
          meter,
          intervalMs,
          ...(lease === undefined ? {} : { lease }),
          ...(stream === undefined ? {} : { stream }),
        });
        const answer: LeaseBody = {
          lease: granted.id,
          meter,
          intervalMs,
          expiresAt: timeText(fleet.leases.expiryOf(granted, fleet.now())),
          viewers: fleet.leases.viewersOf(meter),
        };
        return ok(answer);
      },
    },
    {
      method: 'DELETE',
      path: '/api/v1/meters/{id}/live/{lease}',
      summary: 'Ends a subscription',
      role: 'viewer',
      parameters: [
        METER_ID,
        { name: 'lease', in: 'path', required: true, description: 'subscription', schema: { type: 'string' } },
      ],
      answer: { status: 204, type: '', schema: {} },
      handler: ({ params }) => {
        if (!fleet.leases.end(params.id!, params.lease!)) {
          throw new S3mpError('request.not-found', 'no such live subscription');
        }
        return { status: 204 };
      },
    },
  ];
}

const IDEMPOTENCY_KEY: Parameter = {
  name: 'Idempotency-Key',
  in: 'header',
  required: true,
  description: 'a repeat with the same key and body gives the same command and never runs twice',
  schema: { type: 'string', minLength: 1, maxLength: 128 },
};

function commandRoutes(services: RouteServices): Route[] {
  const { fleet, labMode } = services;
  return [
    firmwareRoute(services, [METER_ID, IDEMPOTENCY_KEY]),
    {
      method: 'POST',
      path: '/api/v1/meters/{id}/commands',
      summary: 'Commands a meter; the outcome is read back from it',
      role: 'operator',
      parameters: [METER_ID, IDEMPOTENCY_KEY],
      body: schemas.COMMAND_REQUEST,
      answer: json(schemas.COMMAND, 202),
      problems: ['meter.unknown', 'command.conflict', 'meter.busy'],
      limited: true,
      handler: (call) => command(fleet, labMode, call),
    },
    {
      method: 'GET',
      path: '/api/v1/meters/{id}/commands',
      summary: 'Lists the last commands of a meter, newest first',
      role: 'viewer',
      parameters: [
        METER_ID,
        query('limit', 'at most so many, default 20', { type: 'integer', minimum: 1, maximum: 200 }),
      ],
      answer: json(schemas.COMMANDS),
      problems: ['meter.unknown'],
      handler: async ({ params, query }) =>
        ok({ commands: await fleet.commandsOf(params.id!, integerOf(query, 'limit', 20, 1, 200)) }),
    },
    {
      method: 'GET',
      path: '/api/v1/commands/{id}',
      summary: 'Shows a command, its stages and the evidence of its outcome',
      role: 'viewer',
      parameters: [{ ...METER_ID, description: 'command' }],
      answer: json(schemas.COMMAND),
      problems: ['command.unknown'],
      handler: async ({ params }) => ok(await fleet.command(params.id!)),
    },
  ];
}

function observationRoutes({ fleet, streams }: RouteServices): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/v1/events',
      summary: 'Lists events, oldest first: the newest ones, or those after a sequence number',
      role: 'viewer',
      parameters: [
        query('since', 'sequence number', { type: 'integer', minimum: 0 }),
        query('meter', 'only of this meter'),
        query('kind', 'only of this kind'),
        query('limit', 'at most so many, default 100', { type: 'integer', minimum: 1, maximum: 1000 }),
      ],
      answer: json(schemas.EVENTS),
      handler: async ({ query }) => {
        const since = query.has('since') ? integerOf(query, 'since', 0, 0, Number.MAX_SAFE_INTEGER) : undefined;
        const meter = query.get('meter');
        const kind = query.get('kind');
        const events = await fleet.store.events({
          limit: integerOf(query, 'limit', 100, 1, 1000),
          ...(since === undefined ? {} : { since }),
          ...(meter === null ? {} : { meter }),
          ...(kind === null ? {} : { kind }),
        });
        return ok({ events: events.map(eventBody) });
      },
    },
    {
      method: 'GET',
      path: '/api/v1/audit',
      summary: 'Gives lines of the audit chain',
      role: 'operator',
      parameters: [
        query('after', 'only lines behind this sequence number', { type: 'integer', minimum: 0 }),
        query('limit', 'at most so many, default 100', { type: 'integer', minimum: 1, maximum: 1000 }),
      ],
      answer: json(schemas.AUDIT),
      handler: async ({ query }) => {
        const after = integerOf(query, 'after', 0, 0, Number.MAX_SAFE_INTEGER - 1);
        return ok({ lines: await fleet.store.audit(after + 1, integerOf(query, 'limit', 100, 1, 1000)) });
      },
    },
    {
      method: 'GET',
      path: '/api/v1/stream',
      summary: 'Server-sent events: hello, reading, state, event, command, path, heartbeat, reset',
      role: 'viewer',
      parameters: [
        query('meters', 'ids, separated by commas; default all'),
        query('topics', `of ${schemas.STREAM_TOPICS.join(', ')}, separated by commas; default all`),
        { name: 'Last-Event-ID', in: 'header', description: 'resumes behind this id', schema: { type: 'string' } },
      ],
      answer: { status: 200, type: 'text/event-stream', schema: { type: 'string', examples: ['event: heartbeat'] } },
      problems: ['rate.limited'],
      handler: ({ request, response, query }) => {
        if (request.method === 'HEAD') return { status: 200, type: 'text/event-stream', body: '' };
        streams.open(request, response, {
          meters: listOf(query, 'meters'),
          topics: (listOf(query, 'topics', schemas.STREAM_TOPICS) ?? new Set(schemas.STREAM_TOPICS)) as Set<Topic>,
        });
        return undefined;
      },
    },
  ];
}

function operationRoutes({ fleet, page, version }: RouteServices, routes: () => readonly Route[]): Route[] {
  let document: unknown;
  return [
    {
      method: 'GET',
      path: '/',
      summary: 'The web page',
      role: null,
      answer: {
        status: 200,
        type: 'text/html; charset=utf-8',
        schema: { type: 'string', examples: ['<!doctype html>'] },
      },
      handler: ({ request }) => servePage(page, request.headers),
    },
    {
      method: 'GET',
      path: '/healthz',
      summary: 'Says that the process runs',
      role: null,
      answer: json(schemas.HEALTH),
      handler: () => ok({ status: 'ok', version }),
    },
    {
      method: 'GET',
      path: '/readyz',
      summary: 'Says whether the head end can serve; 503 while it starts and stops',
      role: null,
      answer: json(schemas.HEALTH),
      handler: () => {
        if (!fleet.isReady) return { status: 503, body: { status: 'starting', version } };
        return ok({ status: 'ok', version });
      },
    },
    {
      method: 'GET',
      path: '/metrics',
      summary: 'Metrics in Prometheus text format',
      role: 'viewer',
      answer: {
        status: 200,
        type: 'text/plain; version=0.0.4',
        schema: { type: 'string', examples: ['s3mp_meters 1'] },
      },
      handler: () => ({ status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', body: fleet.metrics.text() }),
    },
    {
      method: 'GET',
      path: '/api/v1/openapi.json',
      summary: 'This description',
      role: null,
      answer: json({ type: 'object', examples: [{ openapi: '3.1.0' }] }),
      handler: () => {
        document ??= openApiDocument(routes(), version);
        return ok(document);
      },
    },
  ];
}

async function history(fleet: Fleet, { params, query }: Call): Promise<Reply> {
  const meter = params.id!;
  await fleet.meter(meter);
  const given = rangeOf(query);
  const to = given.to ?? fleet.now();
  const from = given.from ?? to - DEFAULT_RANGE_MS;
  if (from >= to) throw new RequestError('from must be before to', '/from');
  const resolution = query.get('resolution') ?? 'raw';
  const resolutionMs = RESOLUTIONS[resolution];
  if (resolutionMs === undefined) {
    throw new RequestError(`resolution must be one of ${Object.keys(RESOLUTIONS).join(', ')}`, '/resolution');
  }
  const codes = [...(listOf(query, 'obis') ?? (await fleet.store.codes(meter)))];
  const series: { obis: string; points: HistoryBody['series'][number]['points'] }[] = [];
  for (const obis of codes.slice(0, 64)) {
    const points = await fleet.store.scan(meter, obis, { from, to, resolutionMs, limit: POINTS_LIMIT + 1 });
    if (points.length > POINTS_LIMIT) {
      throw new RequestError(`more than ${POINTS_LIMIT} values; ask for a coarser resolution`, '/resolution');
    }
    series.push({ obis, points: points.map((point) => ({ ...point, at: timeText(point.at) })) });
  }
  const body: HistoryBody = { meter, from: timeText(from), to: timeText(to), resolution, series };
  return ok(body);
}

/** The key of a request under which it runs once. It belongs to who chose it: nobody else can run into it. */
export function idempotencyKey({ request, client }: Call): string {
  const key = request.headers['idempotency-key'];
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(key)) {
    throw new RequestError('commands need an Idempotency-Key header of 1 to 128 printable characters');
  }
  return `${client.actor} ${key}`;
}

/** The answer to a command that was taken. */
export function taken({ command, created }: { command: CommandBody; created: boolean }): Reply {
  const headers = { location: `/api/v1/commands/${command.id}`, 'idempotency-replayed': String(!created) };
  return { status: 202, body: command, headers };
}

async function command(fleet: Fleet, labMode: boolean, call: Call): Promise<Reply> {
  const { params, body, client } = call;
  const meter = params.id!;
  const key = idempotencyKey(call);
  const { type, reason, text, expiresAt } = body as Record<string, string | undefined> & { type: CommandType };
  const jump = body.jump === true;
  if (type === 'disconnect') {
    if (reason === undefined) throw new RequestError('a disconnect needs a reason', '/reason');
    if (!labMode && !client.hasToken) throw new S3mpError('auth.required', 'a disconnect needs a token');
  }
  if (jump && type !== 'sync-clock') throw new RequestError(`jump belongs to sync-clock, not to ${type}`, '/jump');
  checkMessage(type, text, fleet.settings.messageLimit);
  const submitted = await fleet.submit({
    meter,
    type,
    reason: reason?.trim() ?? null,
    text: text ?? null,
    ...(jump ? { jump } : {}),
    actor: client.actor,
    idempotencyKey: key,
    bodyHash: createHash('sha256')
      .update(JSON.stringify([meter, type, reason ?? null, text ?? null, expiresAt ?? null, ...(jump ? [jump] : [])]))
      .digest('hex'),
    expiresAt: expiryOf(expiresAt, fleet.now()),
  });
  return taken(submitted);
}

function checkMessage(type: CommandType, text: string | undefined, limit: number): void {
  if (type !== 'message') {
    if (text !== undefined) throw new RequestError(`text belongs to a message, not to ${type}`, '/text');
    return;
  }
  if (text === undefined) throw new RequestError('a message needs a text', '/text');
  const bytes = new TextEncoder().encode(text).length;
  if (bytes > limit) throw new RequestError(`the text has ${bytes} bytes, at most ${limit}`, '/text');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u0009\u000b-\u001f\u007f]|\p{Surrogate}/u.test(text)) {
    throw new RequestError('the text has control characters', '/text');
  }
}

export function expiryOf(text: string | undefined, now: number, defaultMs = DEFAULT_EXPIRY_MS): number {
  const at = text === undefined ? now + defaultMs : Date.parse(text);
  // Parameters of the query are not checked by a schema.
  if (Number.isNaN(at)) throw new RequestError('expiresAt is no date-time', '/expiresAt');
  if (at <= now && text !== undefined) throw new RequestError('expiresAt is in the past', '/expiresAt');
  if (at > now + LONGEST_EXPIRY_MS) throw new RequestError('expiresAt is more than a day ahead', '/expiresAt');
  return at;
}

function servePage(page: Page, headers: Call['request']['headers']): Reply {
  const common = { etag: page.etag, 'cache-control': 'no-cache', 'content-security-policy': page.policy };
  if (headers['if-none-match'] === page.etag) return { status: 304, headers: common };
  const zipped = /\bgzip\b/.test(headers['accept-encoding'] ?? '');
  return {
    status: 200,
    type: 'text/html; charset=utf-8',
    body: zipped ? page.gzip : page.html,
    headers: { ...common, vary: 'accept-encoding', ...(zipped ? { 'content-encoding': 'gzip' } : {}) },
  };
}

// Members of the query.

function integerOf(query: URLSearchParams, name: string, fallback: number, least: number, most: number): number {
  const text = query.get(name);
  if (text === null) return fallback;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) throw new RequestError(`${name} must be ${least}…${most}`, `/${name}`);
  return value;
}

export function rangeOf(query: URLSearchParams): Partial<Record<keyof typeof RANGE, number>> {
  const range: Partial<Record<keyof typeof RANGE, number>> = {};
  for (const name of Object.keys(RANGE) as (keyof typeof RANGE)[]) {
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
