import { connect } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ErrorCode, HTTP_STATUS } from '#base/error-codes';
import type { S3mpError } from '#base/errors';
import { seededRandom } from '#hw/random';
import { GUARD_MS } from '#test/guard';
import { checkSchema } from '../../../headend/http/schema.ts';
import * as schemas from '../../../headend/http/schemas.ts';
import { startHttpServer } from '../../../headend/http/server.ts';
import { createToken } from '../../../headend/http/tokens.ts';
import { PATH_A, PATH_B } from '../scripted-meter.ts';
import { type Answer, type Ask, ask, type HttpRig, httpRig } from './http-rig.ts';

interface Context {
  rig: HttpRig;
  go: (question: Ask | string) => Promise<Answer>;
  command: (body: unknown, key?: string, headers?: Record<string, string>) => Promise<Answer>;
}

function contextOf(rig: HttpRig): Context {
  const go = (question: Ask | string) => ask(rig.port, typeof question === 'string' ? { path: question } : question);
  let keys = 0;
  return {
    rig,
    go,
    command: (body, key = `key-${++keys}`, headers = {}) =>
      go({ method: 'POST', path: '/api/v1/meters/m1/commands', body, headers: { 'idempotency-key': key, ...headers } }),
  };
}

function isProblem(answer: Answer, code: ErrorCode, pointer?: string): void {
  assert.is(answer.json?.code, code, answer.text.slice(0, 200));
  assert.is(answer.status, HTTP_STATUS[code]);
  assert.is(answer.headers['content-type'], 'application/problem+json');
  checkSchema(answer.json, schemas.PROBLEM);
  if (pointer !== undefined) assert.is(answer.json.pointer, pointer);
}

async function untilDone(context: Context, id: string): Promise<Answer> {
  for (;;) {
    const answer = await context.go(`/api/v1/commands/${id}`);
    if (['verified', 'failed', 'expired'].includes(answer.json.state)) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const Http = suite<Context>('http api');

Http.before.each(async (context) => {
  Object.assign(context, contextOf(await httpRig()));
});
Http.after.each(async ({ rig }) => {
  await rig.close();
});

Http('a reading on demand has values with unit, quality and age, the path and the delay', async ({ go, rig }) => {
  const answer = await go({ method: 'POST', path: '/api/v1/meters/m1/readings', body: {} });
  assert.is(answer.status, 200);
  checkSchema(answer.json, schemas.READING);
  const power = answer.json.values[0];
  assert.is(power.obis, '1-0:16.7.0.255');
  assert.is(power.value, 412);
  assert.is(power.quality, 'good');
  assert.is(answer.json.path.fingerprint, rig.meter.path.fingerprint);
  const missing = answer.json.values.at(-1);
  assert.is(missing.value, null);
  assert.is(missing.quality, 'missing');
});

Http('a meter that does not answer is a problem 504', async ({ go, rig }) => {
  rig.meter.isReachable = false;
  isProblem(await go({ method: 'POST', path: '/api/v1/meters/m1/readings', body: {} }), 'meter.unreachable');
  const { json } = await go('/api/v1/meters/m1');
  assert.is(json.state, 'offline');
  assert.is(json.reason, 'meter.unreachable');
  assert.equal(json.values, []);
});

Http('lists, shows and pages meters; unknown ones are 404', async ({ go }) => {
  const list = await go('/api/v1/meters?limit=1');
  checkSchema(list.json, schemas.METERS);
  assert.is(list.json.meters[0].id, 'm1');
  assert.is(list.json.next, null);
  assert.is((await go('/api/v1/meters?cursor=m1')).json.meters.length, 0);
  assert.is((await go('/api/v1/meters?q=household')).json.meters.length, 1);
  assert.is((await go('/api/v1/meters?q=elsewhere')).json.meters.length, 0);
  isProblem(await go('/api/v1/meters/none'), 'meter.unknown');
  isProblem(await go({ method: 'POST', path: '/api/v1/meters/none/readings', body: {} }), 'meter.unknown');
  isProblem(await go('/api/v1/meters?limit=0'), 'request.invalid', '/limit');
});

Http('gives back stored readings, raw and by interval', async ({ go }) => {
  for (let i = 0; i < 3; i++) await go({ method: 'POST', path: '/api/v1/meters/m1/readings', body: {} });
  const raw = await go('/api/v1/meters/m1/readings?obis=1-0:16.7.0.255');
  checkSchema(raw.json, schemas.HISTORY);
  const { points } = raw.json.series[0];
  assert.ok(points.length >= 1 && points.length <= 3);
  assert.is(points[0].value, 412);
  const day = await go('/api/v1/meters/m1/readings?resolution=1d');
  assert.is(day.json.series.length, 7);
  assert.ok(day.json.series.every((s: { points: unknown[] }) => s.points.length >= 1));
  isProblem(await go('/api/v1/meters/m1/readings?resolution=2s'), 'request.invalid', '/resolution');
  isProblem(await go('/api/v1/meters/m1/readings?from=yesterday'), 'request.invalid', '/from');
  isProblem(await go('/api/v1/meters/m1/readings?from=2000&to=1000'), 'request.invalid', '/from');
});

Http('a command answers 202 with a place to look, and ends verified', async (context) => {
  const answer = await context.command({ type: 'disconnect', reason: 'order 4711' });
  assert.is(answer.status, 202);
  assert.is(answer.headers.location, `/api/v1/commands/${answer.json.id}`);
  checkSchema(answer.json, schemas.COMMAND);
  const done = await untilDone(context, answer.json.id);
  checkSchema(done.json, schemas.COMMAND);
  assert.is(done.json.state, 'verified');
  assert.is(done.json.evidence.powerAfterW, 0);
  const list = await context.go('/api/v1/meters/m1/commands');
  checkSchema(list.json, schemas.COMMANDS);
  assert.is(list.json.commands.length, 1);
  const events = await context.go('/api/v1/events?kind=command.verified');
  checkSchema(events.json, schemas.EVENTS);
  assert.is(events.json.events.length, 1);
  const audit = await context.go('/api/v1/audit');
  checkSchema(audit.json, schemas.AUDIT);
  assert.is(audit.json.lines.length, 3);
  isProblem(await context.go('/api/v1/commands/cmd-x'), 'command.unknown');
});

Http('the same key and body is the same command, another body a conflict', async (context) => {
  const body = { type: 'disconnect', reason: 'order 4711' };
  const answers = await Promise.all(Array.from({ length: 5 }, () => context.command(body, 'k')));
  assert.is(new Set(answers.map((a) => a.json.id)).size, 1);
  await untilDone(context, answers[0]!.json.id);
  const again = await context.command(body, 'k');
  assert.is(again.json.state, 'verified');
  assert.is(again.headers['idempotency-replayed'], 'true');
  assert.is(context.rig.meter.switches, 1);
  isProblem(await context.command({ type: 'connect' }, 'k'), 'command.conflict');
});

Http('what is wrong with a command is said with its pointer', async (context) => {
  const cases: [unknown, string][] = [
    [{}, '/type'],
    [{ type: 'explode' }, '/type'],
    [{ type: 'disconnect' }, '/reason'],
    [{ type: 'disconnect', reason: '  ' }, '/reason'],
    [{ type: 'connect', reason: 7 }, '/reason'],
    [{ type: 'connect', text: 'x' }, '/text'],
    [{ type: 'message' }, '/text'],
    [{ type: 'message', text: 'ä'.repeat(81) }, '/text'],
    [{ type: 'message', text: 'bell \u0007' }, '/text'],
    [{ type: 'connect', extra: 1 }, '/extra'],
    [{ type: 'connect', expiresAt: '2001-01-01T00:00:00Z' }, '/expiresAt'],
    [{ type: 'connect', expiresAt: '2999-01-01T00:00:00Z' }, '/expiresAt'],
    [{ type: 'connect', expiresAt: 'soon' }, '/expiresAt'],
    [[], ''],
    [null, ''],
  ];
  for (const [body, pointer] of cases) {
    isProblem(await context.command(body), 'request.invalid', pointer);
  }
  isProblem(await context.command({ type: 'connect' }, 'a key with blanks'), 'request.invalid');
  const path = '/api/v1/meters/m1/commands';
  isProblem(await context.go({ method: 'POST', path, body: { type: 'connect' } }), 'request.invalid');
  assert.is(context.rig.meter.switches, 0);
});

Http('foreign hosts are refused: a name of somebody else may have been pointed here', async ({ go, rig }) => {
  const withHost = (host: string) => go({ path: '/api/v1/meters', headers: { host } });
  for (const host of [
    'evil.example',
    `evil.example:${rig.port}`,
    '127.0.0.1.evil.example',
    '192.168.1.4',
    'x y',
    '[::2]',
  ]) {
    isProblem(await withHost(host), 'request.origin');
  }
  assert.match(await raw(rig.port, 'GET /api/v1/meters HTTP/1.0\r\n\r\n'), /request\.origin/);
  for (const host of ['localhost', `127.0.0.1:${rig.port}`, '[::1]', '127.9.0.1', 'LOCALHOST:80']) {
    assert.is((await withHost(host)).status, 200, host);
  }
});

Http('foreign origins are refused, our own page is not', async ({ go, rig }) => {
  const post = (origin: string, more = {}) =>
    go({ method: 'POST', path: '/api/v1/meters/m1/readings', body: {}, headers: { origin, ...more } });
  for (const origin of ['http://evil.example', 'null', `http://localhost:${rig.port + 1}`, 'http://127.0.0.1']) {
    isProblem(await post(origin), 'request.origin');
  }
  assert.is((await post(`http://127.0.0.1:${rig.port}`)).status, 200);
  isProblem(await go({ path: '/api/v1/meters', headers: { 'sec-fetch-site': 'cross-site' } }), 'request.origin');
  const link = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' };
  assert.is((await go({ path: '/', headers: link })).status, 200);
  assert.is(rig.meter.reads, 1);
});

Http('a write must be JSON, also on loopback and also when empty', async ({ go, rig }) => {
  const path = '/api/v1/meters/m1/readings';
  isProblem(await go({ method: 'POST', path }), 'request.media-type');
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonx', '']) {
    isProblem(await go({ method: 'POST', path, body: '{}', headers: { 'content-type': type } }), 'request.media-type');
  }
  const json = { 'content-type': 'Application/JSON; charset=utf-8' };
  assert.is((await go({ method: 'POST', path, body: '{}', headers: json })).status, 200);
  assert.is((await go({ method: 'POST', path, headers: json })).status, 200);
  for (const body of ['{', 'nope', '{"a":1}}', '\u0000']) {
    isProblem(await go({ method: 'POST', path, body, headers: json }), 'request.invalid', '');
  }
  assert.is(rig.meter.reads, 2);
});

Http('a body beyond 64 kB is refused, announced or not', async ({ go, rig }) => {
  const path = '/api/v1/meters/m1/commands';
  const headers = { 'content-type': 'application/json', 'idempotency-key': 'k' };
  const big = JSON.stringify({ type: 'message', text: 'x'.repeat(70_000) });
  isProblem(await go({ method: 'POST', path, headers, body: big }), 'request.too-large');
  const head = `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n`;
  const chunk = `1000\r\n${'x'.repeat(4096)}\r\n`;
  const answer = await raw(rig.port, `${head}transfer-encoding: chunked\r\n\r\n${chunk.repeat(20)}`);
  assert.match(answer, /^HTTP\/1.1 413 /);
  assert.match(answer, /request\.too-large/);
});

Http('unknown routes are 404, wrong methods 405 with what is allowed', async ({ go }) => {
  for (const path of ['/nothing', '/api/v1', '/api/v1/meters/', '/api/v1/meters/m1/', '/api/v1/meters/%zz', '//']) {
    isProblem(await go(path), 'request.not-found');
  }
  const wrong = await go({ method: 'PUT', path: '/api/v1/meters/m1/readings' });
  isProblem(wrong, 'request.method');
  assert.is(wrong.headers.allow, 'POST, GET');
  isProblem(await go({ method: 'POST', path: '/healthz', body: {} }), 'request.method');
  assert.is((await go({ method: 'HEAD', path: '/api/v1/meters' })).status, 200);
});

Http('every answer carries the security headers; the page allows exactly its own script and style', async ({ go }) => {
  for (const path of ['/', '/api/v1/meters', '/nothing']) {
    const { headers } = await go(path);
    assert.is(headers['x-content-type-options'], 'nosniff', path);
    assert.is(headers['x-frame-options'], 'DENY', path);
    assert.match(String(headers['content-security-policy']), /default-src 'none'/);
    assert.is(headers['access-control-allow-origin'], undefined);
  }
  const page = await go('/');
  const policy = String(page.headers['content-security-policy']);
  assert.match(policy, /script-src 'sha256-[A-Za-z0-9+/]{43}='/);
  assert.not.match(policy, /unsafe/);
  assert.match(page.text, /<script>[^<]/);
  assert.not.match(page.text, /<!--s/);
  const cached = await go({ path: '/', headers: { 'if-none-match': String(page.headers.etag) } });
  assert.is(cached.status, 304);
});

Http('metrics, health and readiness', async ({ go, rig }) => {
  await go({ method: 'POST', path: '/api/v1/meters/m1/readings', body: {} });
  const { text } = await go('/metrics');
  for (const line of [
    's3mp_reads_total{result="ok"} 1',
    's3mp_read_seconds_count 1',
    's3mp_meters{state="online"} 1',
  ]) {
    assert.ok(text.includes(`\n${line}\n`), line);
  }
  assert.match(text, /s3mp_meter_age_seconds\{meter="m1"\} 0\.\d+/);
  assert.ok(text.split('\n').every((l) => l === '' || /^(# (HELP|TYPE) |\w+(\{.*\})? [\d.e+-]+$)/.test(l)));
  checkSchema((await go('/healthz')).json, schemas.HEALTH);
  assert.is((await go('/readyz')).status, 200);
  await rig.fleet.stop();
  assert.is((await go('/readyz')).status, 503);
  assert.is((await go('/healthz')).status, 200);
});

const policyPath = '/api/v1/meters/m1/path-policy';
const put = (body: unknown): Ask => ({ method: 'PUT', path: policyPath, body });

Http('a path policy is put, shown, survives in the store and the audit, and is taken away', async ({ go, rig }) => {
  const before = await go(policyPath);
  checkSchema(before.json, schemas.PATH_POLICY);
  assert.equal([before.json.own, before.json.acl, before.json.fence], [false, [], ['+ 1', '-']]);
  const policy = { acl: ['- 1-ff00:0:120', '+'], sequence: '', pin: PATH_A.fingerprint, preference: 'hops' };
  const taken = await go(put(policy));
  assert.is(taken.status, 200);
  checkSchema(taken.json, schemas.PATH_POLICY);
  assert.equal(taken.json, { meter: 'm1', own: true, fence: ['+ 1', '-'], ...policy });
  assert.equal(rig.meter.pathSettings, policy);
  assert.equal(JSON.parse((await rig.fleet.store.setting('m1', 'path-policy'))!), policy);
  const [line] = await rig.fleet.store.audit(1, 1);
  assert.match(line!.line, /path-policy/);
  assert.is((await go({ method: 'DELETE', path: policyPath })).status, 204);
  assert.is((await go(policyPath)).json.own, false);
  assert.is(await rig.fleet.store.setting('m1', 'path-policy'), undefined);
});

Http('a wrong path policy is refused with the member that is wrong, and nothing changes', async ({ go, rig }) => {
  const cases: [unknown, string][] = [
    [{ acl: ['+ 1'] }, '/acl'],
    [{ acl: ['* 1', '-'] }, '/acl'],
    [{ acl: ['+', 5] }, '/acl/1'],
    [{ acl: Array(65).fill('+ 1') }, '/acl'],
    [{ sequence: '1-ff00:0:112 (' }, '/sequence'],
    [{ preference: 'cheapest' }, '/preference'],
    [{ pin: 'f00d' }, '/pin'],
    [{ pin: 'c0ffee0000000001' }, '/pin'],
    [{ acl: ['- 1-ff00:0:110', '+'], pin: PATH_A.fingerprint }, '/pin'],
    [{ colour: 'red' }, '/colour'],
  ];
  for (const [body, pointer] of cases) isProblem(await go(put(body)), 'request.invalid', pointer);
  isProblem(await go({ ...put({}), path: '/api/v1/meters/m9/path-policy' }), 'meter.unknown');
  assert.is(rig.meter.pathSettings, null);
});

Http('an evaluation tells what a policy would do and changes nothing', async ({ go, rig }) => {
  const ask = (body: unknown) => go({ method: 'POST', path: '/api/v1/paths:evaluate', body });
  const all = await ask({ meter: 'm1' });
  checkSchema(all.json, schemas.EVALUATION);
  assert.equal([all.json.kept, all.json.dropped, all.json.survivesOneCut], [2, 1, true]);
  const narrow = await ask({ meter: 'm1', acl: ['- 1-ff00:0:110', '+'] });
  assert.equal([narrow.json.kept, narrow.json.dropped, narrow.json.survivesOneCut], [1, 2, false]);
  const chosen = narrow.json.paths.find((p: { chosen: boolean }) => p.chosen);
  assert.is(chosen.fingerprint, PATH_B.fingerprint);
  isProblem(await ask({}), 'request.invalid', '/meter');
  isProblem(await ask({ meter: 'm9' }), 'meter.unknown');
  assert.is(rig.meter.pathSettings, null);
});

Http('paths are listed with state, choice and why they are forbidden', async ({ go }) => {
  const { json } = await go('/api/v1/meters/m1/paths');
  checkSchema(json, schemas.PATHS);
  assert.is(json.paths.filter((p: { chosen: boolean }) => p.chosen).length, 1);
  assert.match(json.paths[2].forbidden, /ISD/);
});

Http('live subscriptions are granted, renewed and ended', async ({ go }) => {
  const path = '/api/v1/meters/m1/live';
  const first = await go({ method: 'POST', path, body: { intervalMs: 1000 } });
  checkSchema(first.json, schemas.LEASE);
  const renewed = await go({ method: 'POST', path, body: { intervalMs: 500, lease: first.json.lease } });
  assert.is(renewed.json.lease, first.json.lease);
  assert.is(renewed.json.viewers, 1);
  isProblem(await go({ method: 'POST', path, body: { intervalMs: 1 } }), 'request.invalid', '/intervalMs');
  assert.is((await go({ method: 'DELETE', path: `${path}/${first.json.lease}` })).status, 204);
  isProblem(await go({ method: 'DELETE', path: `${path}/${first.json.lease}` }), 'request.not-found');
});

Http('random bytes as a request never harm the next client', async ({ go, rig }) => {
  const seed = 4711;
  const random = seededRandom(seed);
  const valid = `POST /api/v1/meters/m1/commands HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nidempotency-key: k\r\ncontent-length: 18\r\nconnection: close\r\n\r\n{"type":"connect"}`;
  for (let i = 0; i < 200; i++) {
    const bytes = Buffer.from(valid);
    for (let n = 1 + Math.floor(random() * 6); n > 0; n--) {
      bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    }
    const answer = await raw(rig.port, bytes, 300);
    assert.not.match(answer, /^HTTP\/1.1 500/, `seed ${seed} round ${i}: ${bytes.toString('latin1')}`);
  }
  assert.is((await go('/api/v1/meters')).status, 200);
});

/** Sends bytes and gives all that comes back until the end or the time is over. */
function raw(port: number, bytes: string | Uint8Array, ms = GUARD_MS): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    const finish = () => {
      socket.destroy();
      clearTimeout(timer);
      resolve(text);
    };
    const timer = setTimeout(finish, ms);
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (text.includes('}') || /content-length: 0/.test(text)) finish();
    });
    socket.on('error', finish);
    socket.on('close', finish);
    socket.end(bytes);
  });
}

Http.run();

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
