/** The OpenAPI 3.1 document, generated from the route table and the table of error codes. */

import { type ErrorCode, HTTP_STATUS } from '#base/error-codes';
import { ERROR_TITLES } from '#base/error-titles';
import { hasBody, type Route } from './router.ts';
import type { Schema } from './schema.ts';
import { PROBLEM } from './schemas.ts';

/** Problems that any route may give. */
const COMMON: readonly ErrorCode[] = ['request.origin', 'internal'];
const WITH_TOKEN: readonly ErrorCode[] = ['auth.required', 'auth.denied'];
const WITH_BODY: readonly ErrorCode[] = ['request.invalid', 'request.media-type', 'request.too-large'];

/** An example that fits a schema, put together from the examples of its parts. */
export function exampleOf(schema: Schema): unknown {
  if (schema.examples !== undefined && schema.examples.length > 0) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.enum !== undefined) return schema.enum[0];
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  switch (type) {
    case 'object':
      return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([k, inner]) => [k, exampleOf(inner)]));
    case 'array':
      return schema.items === undefined ? [] : [exampleOf(schema.items)];
    case 'integer':
    case 'number':
      return schema.minimum ?? 0;
    case 'boolean':
      return true;
    default:
      return schema.description ?? '';
  }
}

/** Codes that a route may answer with. */
export function problemsOf(route: Route): readonly ErrorCode[] {
  return [
    ...COMMON,
    ...(route.role === null ? [] : WITH_TOKEN),
    ...(hasBody(route.method) ? WITH_BODY : []),
    ...(route.limited ? (['rate.limited'] as const) : []),
    ...(route.parameters?.some((p) => p.in === 'query') ? (['request.invalid'] as const) : []),
    ...(route.problems ?? []),
  ].filter((code, i, all) => all.indexOf(code) === i);
}

export function openApiDocument(routes: readonly Route[], version: string): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operationOf(route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'S3MP head end',
      version,
      description: 'Meters over SCION: readings, live values, commands with read-back, paths and events.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      schemas: { Problem: PROBLEM },
    },
    paths,
  };
}

function operationOf(route: Route): Record<string, unknown> {
  const { answer } = route;
  const responses: Record<string, unknown> = {
    [answer.status]: {
      description: route.summary,
      ...(answer.type === ''
        ? {}
        : { content: { [answer.type]: { schema: answer.schema, example: exampleOf(answer.schema) } } }),
    },
  };
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of problemsOf(route)) {
    const http = HTTP_STATUS[code];
    byStatus.set(http, [...(byStatus.get(http) ?? []), code]);
  }
  for (const [status, codes] of byStatus) {
    responses[status] = {
      description: codes.map((code) => `${code}: ${ERROR_TITLES[code]}`).join('; '),
      content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
    };
  }
  return {
    operationId: operationId(route),
    summary: route.summary,
    security: route.role === null ? [] : [{ token: [] }, {}],
    ...(route.parameters === undefined ? {} : { parameters: route.parameters }),
    ...(route.body === undefined ? {} : { requestBody: requestBody(route.body) }),
    ...(route.upload === undefined ? {} : { requestBody: uploadBody(route.upload) }),
    responses,
  };
}

function requestBody(schema: Schema): Record<string, unknown> {
  const { examples = [], ...plain } = schema;
  const named = Object.fromEntries(examples.map((value, i) => [`example${i + 1}`, { value }]));
  return { required: true, content: { 'application/json': { schema: plain, examples: named } } };
}

function uploadBody({ type, description }: NonNullable<Route['upload']>): Record<string, unknown> {
  return { description, required: true, content: { [type]: { schema: { type: 'string', format: 'binary' } } } };
}

function operationId(route: Route): string {
  const words = route.path.split('/').filter((part) => part !== '' && part !== 'api' && part !== 'v1');
  const name = words.map((part) => part.replace(/[{}]/g, '').replace(/\W+/g, '_')).join('_') || 'page';
  return `${route.method.toLowerCase()}_${name}`;
}
