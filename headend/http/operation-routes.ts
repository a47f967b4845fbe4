/** Routes of the server itself: the page, its health, metrics, and the description of the API. */

import type { Fleet } from '../fleet/fleet.ts';
import { openApiDocument } from './openapi.ts';
import type { Page } from './page-shell.ts';
import { type Call, json, ok, type Reply, type Route } from './router.ts';
import * as schemas from './schemas.ts';

export interface OperationServices {
  readonly fleet: Fleet;
  readonly page: Page;
  readonly version: string;
}

/** @param routes  the whole table, which the description is made of when it is first asked for */
export function operationRoutes({ fleet, page, version }: OperationServices, routes: () => readonly Route[]): Route[] {
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
