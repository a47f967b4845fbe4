/** The route that takes firmware images: who may send one, and what is refused before any meter hears of it. */

import { createPublicKey } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ErrorCode, HTTP_STATUS } from '#base/error-codes';
import { verifierOf } from '#hw/crypto';
import { seededRandom } from '#hw/random';
import { IMAGE_LIMIT } from '../../../headend/http/firmware-route.ts';
import { checkSchema } from '../../../headend/http/schema.ts';
import * as schemas from '../../../headend/http/schemas.ts';
import { createToken } from '../../../headend/http/tokens.ts';
import { imageOf, makeReleaseKey } from '../../release.ts';
import { ask, type HttpRig, httpRig } from './http-rig.ts';

const Route = suite('firmware route');
const release = makeReleaseKey();
const image = imageOf('0.2.0', 'console.log(1)'.repeat(400), release.privateKey);
const PATH = '/api/v1/meters/m1/firmware';

interface Sent {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of all shapes
  readonly json: any;
}

let keys = 0;
function send(
  port: number,
  body: Uint8Array,
  { path = PATH, headers = {} }: { path?: string; headers?: Record<string, string> } = {},
): Promise<Sent> {
  keys++;
  const all = { 'content-type': 'application/octet-stream', 'idempotency-key': `key-${keys}`, ...headers };
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: '127.0.0.1', port, method: 'POST', path, headers: all, agent: false },
      (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (chunk) => {
          text += chunk;
        });
        answer.on('end', () => resolve({ status: answer.statusCode!, json: JSON.parse(text) }));
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

function isProblem({ status, json }: Sent, code: ErrorCode, text?: RegExp): void {
  assert.is(json.code, code, JSON.stringify(json));
  assert.is(status, HTTP_STATUS[code]);
  if (text) assert.match(json.detail, text);
}

async function withRig(options: Parameters<typeof httpRig>[0], run: (rig: HttpRig) => Promise<void>): Promise<void> {
  const rig = await httpRig(options);
  try {
    await run(rig);
  } finally {
    await rig.close();
  }
}

Route('an image is taken once under its key, and followed as a command', async () => {
  await withRig({}, async ({ port, meter }) => {
    const first = await send(port, image, { headers: { 'idempotency-key': 'same' } });
    assert.is(first.status, 202, JSON.stringify(first.json));
    checkSchema(first.json, schemas.COMMAND);
    assert.is(first.json.image.version, '0.2.0');
    const again = await send(port, image, { headers: { 'idempotency-key': 'same' } });
    assert.is(again.json.id, first.json.id);
    const other = imageOf('0.3.0', 'x', release.privateKey);
    isProblem(await send(port, other, { headers: { 'idempotency-key': 'same' } }), 'command.conflict');
    for (;;) {
      const { json } = await ask(port, { path: `/api/v1/commands/${first.json.id}` });
      checkSchema(json, schemas.COMMAND);
      if (json.state === 'verified') break;
      assert.not.match(json.state, /failed|expired/, JSON.stringify(json));
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.is(meter.activations, 1);
  });
});

Route('it needs the role and the token that a disconnect needs, before the file is read', async () => {
  const viewer = createToken('anna', 'viewer');
  const operator = createToken('ben', 'operator');
  const as = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
  await withRig({ labMode: false, tokens: [viewer.stored, operator.stored] }, async ({ port, meter }) => {
    isProblem(await send(port, image), 'auth.required', /token/);
    isProblem(await send(port, image, as(viewer.token)), 'auth.denied');
    assert.is((await send(port, image, as(operator.token))).status, 202);
    isProblem(await send(port, image, { headers: { origin: 'http://evil.example' } }), 'request.origin');
    assert.is(meter.mostAtOnce <= 1, true);
  });
});

Route('an order is cancelled by whoever may give one, once', async () => {
  const viewer = createToken('anna', 'viewer');
  const operator = createToken('ben', 'operator');
  await withRig({ labMode: false, tokens: [viewer.stored, operator.stored] }, async ({ port, meter }) => {
    const cancel = async (token?: string, path = `${PATH}?reason=wrong%20release`): Promise<Sent> => {
      const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
      return ask(port, { method: 'DELETE', path, headers });
    };
    meter.isReachable = false;
    isProblem(await cancel(operator.token), 'command.unknown');
    const { json } = await send(port, image, { headers: { authorization: `Bearer ${operator.token}` } });
    isProblem(await cancel(), 'auth.required');
    isProblem(await cancel(viewer.token), 'auth.denied');
    isProblem(await cancel(operator.token, '/api/v1/meters/nobody/firmware'), 'meter.unknown');
    const done = await cancel(operator.token);
    assert.is(done.status, 200, JSON.stringify(done.json));
    checkSchema(done.json, schemas.COMMAND);
    assert.equal([done.json.id, done.json.error.code], [json.id, 'command.cancelled']);
    assert.match(done.json.error.detail, /cancelled by ben \(wrong release\)/);
    isProblem(await cancel(operator.token), 'command.unknown');
  });
});

Route('what is no whole image of the release key is refused, and no meter hears of it', async () => {
  const releaseKey = verifierOf(createPublicKey(release.publicKey));
  await withRig({ releaseKey, rate: { perSecond: 1000, burst: 1000 } }, async ({ port, meter }) => {
    const forged = imageOf('0.2.0', 'x', makeReleaseKey().privateKey);
    isProblem(await send(port, forged), 'request.invalid', /signature of the image is wrong/);
    isProblem(await send(port, image.subarray(0, -1)), 'request.invalid', /not a firmware image/);
    isProblem(await send(port, new Uint8Array(0)), 'request.invalid');
    const seed = Date.now();
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    for (let i = 0; i < 40; i++) {
      const broken = image.slice();
      broken[Math.floor(random() * broken.length)]! ^= 1 << Math.floor(random() * 8);
      isProblem(await send(port, broken), 'request.invalid');
    }
    isProblem(await send(port, image, { headers: { 'content-type': 'application/json' } }), 'request.media-type');
    isProblem(await send(port, image, { path: '/api/v1/meters/nobody/firmware' }), 'meter.unknown');
    isProblem(await send(port, image, { headers: { 'idempotency-key': 'a b' } }), 'request.invalid');
    for (const at of ['2001-01-01T00:00:00Z', '9999-01-01T00:00:00Z', 'tomorrow', ''])
      isProblem(await send(port, image, { path: `${PATH}?expiresAt=${at}` }), 'request.invalid', /expiresAt/);
    assert.is(meter.blocksSent, 0);
    assert.is((await send(port, image)).status, 202);
  });
});

Route('a file beyond the limit is refused, announced or not', async () => {
  await withRig({}, async ({ port }) => {
    const large = new Uint8Array(IMAGE_LIMIT + 1);
    isProblem(await send(port, large), 'request.too-large');
    isProblem(await send(port, large, { headers: { 'transfer-encoding': 'chunked' } }), 'request.too-large');
  });
});

Route.run();
