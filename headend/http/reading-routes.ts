/** Routes of readings: one at once, those that are stored, and subscriptions to live ones. */

import { S3mpError } from '#base/errors';
import { timeText } from '../fleet/bodies.ts';
import type { Fleet } from '../fleet/fleet.ts';
import { listOf, METER_ID, query, RANGE_PARAMETERS, rangeOf } from './parameters.ts';
import { RequestError } from './problem.ts';
import { type Call, json, ok, type Reply, type Route } from './router.ts';
import * as schemas from './schemas.ts';
import type { HistoryBody, LeaseBody } from './wire.ts';

const RESOLUTIONS: Readonly<Record<string, number>> = {
  raw: 0,
  '1s': 1_000,
  '10s': 10_000,
  '1m': 60_000,
  '15m': 900_000,
  '1h': 3_600_000,
  '1d': 86_400_000,
};
const POINTS_LIMIT = 20_000;
const DEFAULT_RANGE_MS = 300_000;

export function readingRoutes(fleet: Fleet): Route[] {
  return [
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
        ...RANGE_PARAMETERS('inclusive; default five minutes before `to`', 'exclusive; default now'),
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
