import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { HTTP_STATUS } from '#base/error-codes';
import { exampleOf, openApiDocument, problemsOf } from '../../../headend/http/openapi.ts';
import { hasBody, Router } from '../../../headend/http/router.ts';
import { buildRoutes, type RouteServices } from '../../../headend/http/routes.ts';
import { checkSchema, type Schema } from '../../../headend/http/schema.ts';
import { ask, httpRig } from './http-rig.ts';

// The table's data needs no services; its handlers are not called here.
const routes = buildRoutes({} as RouteServices);

const OpenApi = suite('openapi');

OpenApi('every route has a summary, a schema with an example that fits it, and problems', () => {
  assert.ok(routes.length >= 17);
  for (const route of routes) {
    const name = `${route.method} ${route.path}`;
    assert.ok(route.summary.length > 8, name);
    if (route.answer.status !== 204) {
      const example = exampleOf(route.answer.schema);
      assert.is.not(example, undefined, name);
      if (/json/.test(route.answer.type)) checkSchema(example, route.answer.schema);
    }
    if (hasBody(route.method)) assert.ok(route.body ?? route.upload, `${name} needs a schema of its body`);
    for (const example of route.body?.examples ?? []) checkSchema(example, route.body!);
    if (route.body) assert.ok((route.body.examples?.length ?? 0) > 0, `${name} needs an example`);
    for (const code of problemsOf(route)) assert.ok(code in HTTP_STATUS, `${name} ${code}`);
    for (const member of route.path.matchAll(/\{(\w+)\}/g)) {
      assert.ok(
        route.parameters?.some((p) => p.in === 'path' && p.name === member[1]),
        `${name} does not describe ${member[1]}`,
      );
    }
  }
});

OpenApi('operation ids and routes are unique', () => {
  const document = openApiDocument(routes, '0') as { paths: Record<string, Record<string, { operationId: string }>> };
  const ids = Object.values(document.paths).flatMap((path) => Object.values(path).map((op) => op.operationId));
  assert.is(new Set(ids).size, routes.length);
});

OpenApi('the server serves the document of its own table', async () => {
  const rig = await httpRig();
  try {
    const { json } = await ask(rig.port, { path: '/api/v1/openapi.json' });
    assert.is(json.openapi, '3.1.0');
    for (const route of routes) assert.ok(json.paths[route.path][route.method.toLowerCase()], route.path);
    const post = json.paths['/api/v1/meters/{id}/commands'].post;
    assert.ok(post.responses[409] && post.responses[401] && post.responses[413]);
    assert.ok(post.parameters.some((p: { name: string }) => p.name === 'Idempotency-Key'));
  } finally {
    await rig.close();
  }
});

OpenApi('paths match whole segments only and are decoded once', () => {
  const router = new Router(routes);
  assert.equal(router.find('GET', '/api/v1/meters/a%2Fb').params, { id: 'a/b' });
  assert.equal(router.find('GET', '/api/v1/meters/%2541').params, { id: '%41' });
  assert.throws(() => router.find('GET', '/api/v1/meters/a/b/c'));
  assert.throws(() => router.find('GET', `/api/v1/meters/${'x'.repeat(300)}`));
});

OpenApi('the schema check sees each kind of breach', () => {
  const schema: Schema = {
    type: 'object',
    properties: {
      n: { type: 'integer', minimum: 1, maximum: 3 },
      t: { type: ['string', 'null'], maxLength: 3 },
      l: { type: 'array', items: { type: 'boolean' } },
      d: { type: 'string', format: 'date-time' },
      p: { type: 'string', pattern: '^a+$' },
    },
    required: ['n'],
    additionalProperties: false,
  };
  for (const good of [{ n: 1 }, { n: 3, t: null, l: [true] }, { n: 2, t: 'abc', d: '2026-01-01T00:00:00Z', p: 'aa' }]) {
    checkSchema(good, schema);
  }
  const bad: [unknown, string][] = [
    [{}, '/n'],
    [{ n: 0 }, '/n'],
    [{ n: 4 }, '/n'],
    [{ n: 1.5 }, '/n'],
    [{ n: '1' }, '/n'],
    [{ n: 1, t: 'abcd' }, '/t'],
    [{ n: 1, t: 7 }, '/t'],
    [{ n: 1, l: [true, 1] }, '/l/1'],
    [{ n: 1, d: 'x' }, '/d'],
    [{ n: 1, p: 'b' }, '/p'],
    [{ n: 1, 'a/b~': 1 }, '/a~1b~0'],
    [JSON.parse('{"n":1,"__proto__":{}}'), '/__proto__'],
    [[], ''],
    [null, ''],
  ];
  for (const [value, pointer] of bad) {
    try {
      checkSchema(value, schema);
      assert.unreachable(JSON.stringify(value));
    } catch (error) {
      assert.is((error as { pointer?: string }).pointer, pointer, JSON.stringify(value));
    }
  }
});

OpenApi.run();
