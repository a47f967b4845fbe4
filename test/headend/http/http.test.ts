/** Readings, meters, commands and live subscriptions over HTTP. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkSchema } from '../../../headend/http/schema.ts';
import * as schemas from '../../../headend/http/schemas.ts';
import { type Context, contextOf, isProblem, untilDone } from './http-context.ts';
import { httpRig } from './http-rig.ts';

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

Http.run();
