/** Profiles and event logs over HTTP, as JSON and CSV. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkSchema } from '../../../headend/http/schema.ts';
import { METER_LOG, PROFILE, SELF_TEST } from '../../../headend/http/schemas.ts';
import { ask, type HttpRig, httpRig } from './http-rig.ts';

const Profile = suite<{ rig: HttpRig }>('http profiles');
Profile.before.each(async (context) => {
  context.rig = await httpRig();
});
Profile.after.each(({ rig }) => rig.close());

const DAY = 'from=2026-11-01T00:00:00Z&to=2026-11-01T23:59:59Z';

Profile('gives the rows of a range with columns, units and quality', async ({ rig }) => {
  const { status, json } = await ask(rig.port, { path: `/api/v1/meters/m1/profile?${DAY}` });
  assert.is(status, 200);
  checkSchema(json, PROFILE);
  assert.is(json.profile, 'load');
  assert.is(json.periodS, 900);
  assert.equal(json.columns[0], { obis: '1-0:1.8.0.255', name: 'Active energy import', unit: 'Wh' });
  assert.is(json.rows.length, 96);
  assert.equal(json.rows[1], { at: '2026-11-01T00:15:00.000Z', quality: 'missing', values: [1_234_567, null] });
  const one = await ask(rig.port, { path: `/api/v1/meters/m1/profile?${DAY}&obis=1-0:1.8.0.255` });
  assert.equal(one.json.rows[0].values, [1_234_567]);
  assert.is(one.json.rows[0].quality, 'good');
});

Profile('a long range is read in slices without a gap or a row twice', async ({ rig }) => {
  const range = 'from=2026-09-01T00:00:00Z&to=2026-10-01T00:00:00Z';
  const { json } = await ask(rig.port, { path: `/api/v1/meters/m1/profile?${range}` });
  assert.is(json.rows.length, 30 * 96 + 1);
  assert.is(new Set(json.rows.map((row: { at: string }) => row.at)).size, json.rows.length);
  assert.is(rig.meter.reads, 5);
});

Profile('gives CSV to who asks for it', async ({ rig }) => {
  const { headers, text } = await ask(rig.port, {
    path: '/api/v1/meters/m1/profile?from=2026-11-01T00:00:00Z&to=2026-11-01T00:15:00Z',
    headers: { accept: 'text/csv' },
  });
  assert.match(headers['content-type']!, /^text\/csv/);
  assert.match(headers['content-disposition']!, 'm1-load.csv');
  assert.is(
    text,
    'time,quality,1-0:1.8.0.255 [Wh],1-0:3.8.0.255 [varh]\r\n' +
      '2026-11-01T00:00:00.000Z,missing,1234567,\r\n2026-11-01T00:15:00.000Z,missing,1234567,\r\n',
  );
});

Profile('gives the events of a log in words', async ({ rig }) => {
  const path = '/api/v1/meters/m1/log?from=2026-11-01T00:00:00Z&to=2026-11-01T00:10:00Z&log=disconnector';
  const { json } = await ask(rig.port, { path });
  checkSchema(json, METER_LOG);
  assert.equal(json.events, [{ at: '2026-11-01T00:00:00.000Z', code: 2, text: 'power up' }]);
});

Profile('gives the self-test of a meter, line by line', async ({ rig }) => {
  const good = await ask(rig.port, { path: '/api/v1/meters/m1/self-test' });
  checkSchema(good.json, SELF_TEST);
  assert.is(good.json.passed, true);
  rig.meter.selfTest += '\nFAIL display   nothing answers -> check its wiring\nwhat is this';
  const { json } = await ask(rig.port, { path: '/api/v1/meters/m1/self-test' });
  checkSchema(json, SELF_TEST);
  assert.is(json.passed, false);
  assert.equal(json.checks[0], { check: 'bus', result: 'PASS', text: '/dev/serial0, unit 1', hint: null });
  assert.equal(json.checks[2], { check: 'display', result: 'FAIL', text: 'nothing answers', hint: 'check its wiring' });
  assert.is(json.checks.length, 3);
});

Profile('refuses what makes no sense, and tells of a meter that does not answer', async ({ rig }) => {
  for (const [query, pointer] of [
    ['profile=yearly', '/profile'],
    ['from=2000&to=1000', '/from'],
    ['from=0', '/from'],
    ['obis=energy', '/obis'],
  ]) {
    const { status, json } = await ask(rig.port, { path: `/api/v1/meters/m1/profile?${query}` });
    assert.is(status, 422, query!);
    assert.is(json.pointer, pointer);
  }
  assert.is((await ask(rig.port, { path: '/api/v1/meters/m9/profile' })).status, 404);
  rig.meter.isReachable = false;
  assert.is((await ask(rig.port, { path: `/api/v1/meters/m1/profile?${DAY}` })).json.code, 'meter.unreachable');
});

Profile.run();
