/** Routes that tell what happened: events, the audit chain, and the stream of everything as it happens. */

import { eventBody } from '../fleet/bodies.ts';
import type { Topic } from '../fleet/feed.ts';
import type { Fleet } from '../fleet/fleet.ts';
import { integerOf, listOf, query } from './parameters.ts';
import { json, ok, type Route } from './router.ts';
import * as schemas from './schemas.ts';
import type { StreamHub } from './stream.ts';

export function observationRoutes(fleet: Fleet, streams: StreamHub): Route[] {
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
