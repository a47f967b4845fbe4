/** The paths to a meter and its path policy over HTTP. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkSchema } from '../../../headend/http/schema.ts';
import * as schemas from '../../../headend/http/schemas.ts';
import { PATH_A, PATH_B } from '../scripted-meter.ts';
import { type Context, contextOf, isProblem } from './http-context.ts';
import { type Ask, httpRig } from './http-rig.ts';

const Paths = suite<Context>('http api, paths');

Paths.before.each(async (context) => {
  Object.assign(context, contextOf(await httpRig()));
});
Paths.after.each(async ({ rig }) => {
  await rig.close();
});

const policyPath = '/api/v1/meters/m1/path-policy';
const put = (body: unknown): Ask => ({ method: 'PUT', path: policyPath, body });

Paths('a path policy is put, shown, survives in the store and the audit, and is taken away', async ({ go, rig }) => {
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

Paths('a wrong path policy is refused with the member that is wrong, and nothing changes', async ({ go, rig }) => {
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

Paths('an evaluation tells what a policy would do and changes nothing', async ({ go, rig }) => {
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

Paths('paths are listed with state, choice and why they are forbidden', async ({ go }) => {
  const { json } = await go('/api/v1/meters/m1/paths');
  checkSchema(json, schemas.PATHS);
  assert.is(json.paths.filter((p: { chosen: boolean }) => p.chosen).length, 1);
  assert.match(json.paths[2].forbidden, /ISD/);
});

Paths.run();
