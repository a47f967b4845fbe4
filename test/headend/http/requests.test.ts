/** What requests the server refuses whatever they ask for: foreign hosts and origins, bodies, routes, random bytes. */

import { connect } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { seededRandom } from '#hw/random';
import { GUARD_MS } from '#test/guard';
import { checkSchema } from '../../../headend/http/schema.ts';
import * as schemas from '../../../headend/http/schemas.ts';
import { type Context, contextOf, isProblem } from './http-context.ts';
import { httpRig } from './http-rig.ts';

const Requests = suite<Context>('http requests');

Requests.before.each(async (context) => {
  Object.assign(context, contextOf(await httpRig()));
});
Requests.after.each(async ({ rig }) => {
  await rig.close();
});

Requests('foreign hosts are refused: a name of somebody else may have been pointed here', async ({ go, rig }) => {
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

Requests('foreign origins are refused, our own page is not', async ({ go, rig }) => {
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

Requests('a write must be JSON, also on loopback and also when empty', async ({ go, rig }) => {
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

Requests('a body beyond 64 kB is refused, announced or not', async ({ go, rig }) => {
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

Requests('unknown routes are 404, wrong methods 405 with what is allowed', async ({ go }) => {
  for (const path of ['/nothing', '/api/v1', '/api/v1/meters/', '/api/v1/meters/m1/', '/api/v1/meters/%zz', '//']) {
    isProblem(await go(path), 'request.not-found');
  }
  const wrong = await go({ method: 'PUT', path: '/api/v1/meters/m1/readings' });
  isProblem(wrong, 'request.method');
  assert.is(wrong.headers.allow, 'POST, GET');
  isProblem(await go({ method: 'POST', path: '/healthz', body: {} }), 'request.method');
  assert.is((await go({ method: 'HEAD', path: '/api/v1/meters' })).status, 200);
});

Requests(
  'every answer carries the security headers; the page allows exactly its own script and style',
  async ({ go }) => {
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
  },
);

Requests('metrics, health and readiness', async ({ go, rig }) => {
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

Requests('random bytes as a request never harm the next client', async ({ go, rig }) => {
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

Requests.run();
