/** Who may do what over HTTP: tokens, loopback, limits of each client. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { S3mpError } from '#base/errors';
import { startHttpServer } from '../../../headend/http/server.ts';
import { createToken } from '../../../headend/http/tokens.ts';
import { type Context, contextOf, isProblem, untilDone } from './http-context.ts';
import { httpRig } from './http-rig.ts';

const Access = suite('http access');

async function withRig(
  options: Parameters<typeof httpRig>[0],
  work: (context: Context) => Promise<void>,
): Promise<void> {
  const rig = await httpRig(options);
  try {
    await work(contextOf(rig));
  } finally {
    await rig.close();
  }
}

Access('outside the lab a disconnect needs a token even on loopback, a connect does not', async () => {
  const { token, stored } = createToken('anna', 'operator');
  await withRig({ labMode: false, tokens: [stored] }, async (context) => {
    assert.is((await context.go('/api/v1/meters/m1')).json.disconnectNeedsToken, true);
    const body = { type: 'disconnect', reason: 'order 4711' };
    isProblem(await context.command(body), 'auth.required');
    assert.is(context.rig.meter.switches, 0);
    assert.is((await context.command({ type: 'connect' })).status, 202);
    const answer = await context.command(body, 'k9', { authorization: `Bearer ${token}` });
    assert.is(answer.status, 202);
    assert.is(answer.json.actor, 'anna');
    await untilDone(context, answer.json.id);
  });
});

Access('beyond loopback nothing but page and health is given without a token', async () => {
  const operator = createToken('anna', 'operator');
  const viewer = createToken('ben', 'viewer');
  await withRig({ host: '0.0.0.0', tokens: [operator.stored, viewer.stored] }, async ({ go, command }) => {
    for (const path of ['/', '/healthz', '/readyz', '/api/v1/openapi.json'])
      assert.is((await go(path)).status, 200, path);
    for (const path of ['/api/v1/meters', '/api/v1/stream', '/metrics', '/api/v1/events', '/api/v1/audit']) {
      const refused = await go(path);
      isProblem(refused, 'auth.required');
      assert.match(String(refused.headers['www-authenticate']), /^Bearer/);
    }
    const as = (token: string) => ({ authorization: `Bearer ${token}` });
    isProblem(await go({ path: '/api/v1/meters', headers: as(`${viewer.token}x`) }), 'auth.required');
    isProblem(await go({ path: '/api/v1/meters', headers: { authorization: 'Basic YTpi' } }), 'auth.required');
    isProblem(await go(`/api/v1/meters?token=${viewer.token}`), 'auth.required');
    assert.is((await go({ path: '/api/v1/meters', headers: as(viewer.token) })).status, 200);
    isProblem(await command({ type: 'connect' }, 'k1', as(viewer.token)), 'auth.denied');
    isProblem(await go({ path: '/api/v1/audit', headers: as(viewer.token) }), 'auth.denied');
    assert.is((await command({ type: 'connect' }, 'k1', as(operator.token))).status, 202);
    isProblem(
      await go({ path: '/api/v1/meters', headers: { ...as(viewer.token), host: 'evil.example' } }),
      'request.origin',
    );
  });
});

Access('a key of one person is not that of another', async () => {
  const a = createToken('anna', 'operator');
  const b = createToken('ben', 'operator');
  await withRig({ tokens: [a.stored, b.stored] }, async ({ command }) => {
    const first = await command({ type: 'connect' }, 'same', { authorization: `Bearer ${a.token}` });
    const second = await command({ type: 'message', text: 'x' }, 'same', { authorization: `Bearer ${b.token}` });
    assert.is(second.status, 202);
    assert.is.not(first.json.id, second.json.id);
  });
});

Access('readings are limited per client', async () => {
  await withRig({ rate: { perSecond: 1, burst: 3 } }, async ({ go }) => {
    const read = () => go({ method: 'POST', path: '/api/v1/meters/m1/readings', body: {} });
    for (let i = 0; i < 3; i++) assert.is((await read()).status, 200);
    const refused = await read();
    isProblem(refused, 'rate.limited');
    assert.is(refused.headers['retry-after'], '1');
    assert.is((await go('/api/v1/meters')).status, 200);
  });
});

Access('a port that is taken is a clear error; serving openly without a token is refused', async () => {
  await withRig({}, async ({ rig }) => {
    const codeOf = (options: { host: string; port: number }) =>
      startHttpServer({ fleet: rig.fleet, ...options }).then(
        () => 'started',
        (error: S3mpError) => `${error.code} ${error.exitStatus}`,
      );
    assert.is(await codeOf({ host: '127.0.0.1', port: rig.port }), 'socket.in-use 2');
    assert.is(await codeOf({ host: '0.0.0.0', port: 0 }), 'config.invalid 2');
    assert.is(await codeOf({ host: '203.0.113.1', port: 0 }), 'config.invalid 2');
  });
});

Access.run();
