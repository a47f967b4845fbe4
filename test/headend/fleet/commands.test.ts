/** Commands to a scripted meter: stages, evidence, lost answers, restarts of the head end, the audit. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { S3mpError } from '#base/errors';
import type { CommandState } from '../../../headend/http/wire.ts';
import { firstBreach } from '../../../headend/store/audit-chain.ts';
import { openSqliteStore } from '../../../headend/store/sqlite.ts';
import { codeOf, request, rig, stagesOf } from './fleet-rig.ts';

const Commands = suite('fleet commands');
const GOOD: CommandState[] = ['queued', 'sent', 'acknowledged', 'verified'];

Commands('a disconnect is verified by control state, output state and power', async () => {
  const r = await rig();
  assert.equal(await stagesOf(r, 'disconnect', 10_000), GOOD);
  const { lastCommand, control } = await r.fleet.meter('m1');
  assert.is(lastCommand!.evidence!.outputState, false);
  assert.is(lastCommand!.evidence!.controlState, 'disconnected');
  assert.is(lastCommand!.evidence!.powerAfterW, 0);
  assert.is(control!.outputState, false);
  assert.equal(await stagesOf(r, 'connect', 10_000), GOOD);
  assert.is((await r.fleet.meter('m1')).lastCommand!.evidence!.powerAfterW, 412);
  assert.is(r.meter.switches, 2);
});

Commands('a relay that does not follow is a failure with the evidence', async () => {
  const r = await rig();
  r.meter.isStuck = true;
  assert.equal(await stagesOf(r, 'disconnect', 10_000), ['queued', 'sent', 'acknowledged', 'failed']);
  const { lastCommand } = await r.fleet.meter('m1');
  assert.is(lastCommand!.evidence!.outputState, true);
  assert.match(lastCommand!.error!.detail, /reports connected, output closed/);
});

Commands('power that still flows behind an open relay is a failure', async () => {
  const r = await rig();
  r.meter.leakW = 380;
  assert.equal(await stagesOf(r, 'disconnect', 10_000), ['queued', 'sent', 'acknowledged', 'failed']);
  assert.match((await r.fleet.meter('m1')).lastCommand!.error!.detail, /380 W flow/);
});

Commands('a lost answer is unknown and resolved by reading back, never by sending again', async () => {
  const r = await rig();
  r.meter.loseAnswer = true;
  assert.equal(await stagesOf(r, 'disconnect', 20_000), ['queued', 'sent', 'unknown', 'verified']);
  assert.is(r.meter.switches, 1);
  r.meter.loseRequest = true;
  assert.equal(await stagesOf(r, 'connect', 20_000), ['queued', 'sent', 'unknown', 'failed']);
  assert.is(r.meter.switches, 2);
  assert.not.ok(r.meter.relay);
});

Commands('an unknown outcome waits until the meter is back', async () => {
  const r = await rig();
  r.meter.delayMs = 100;
  r.meter.loseAnswer = true;
  const { command } = await r.fleet.submit(request(r, 'disconnect'));
  await r.clock.advance(150);
  r.meter.isReachable = false;
  await r.clock.advance(300_000);
  assert.is((await r.fleet.command(command.id)).state, 'unknown');
  r.meter.isReachable = true;
  void r.fleet.read('m1');
  await r.clock.advance(5_000);
  assert.is((await r.fleet.command(command.id)).state, 'verified');
  assert.is(r.meter.switches, 1);
});

Commands('a refusal is a failure at once, with its code', async () => {
  const r = await rig();
  r.meter.refusal = new S3mpError('dlms.access-denied', 'not for this client');
  assert.equal(await stagesOf(r, 'disconnect', 1_000), ['queued', 'sent', 'failed']);
  assert.is((await r.fleet.meter('m1')).lastCommand!.error!.code, 'dlms.access-denied');
});

Commands('a command that does not get its turn in time expires unsent', async () => {
  const r = await rig();
  r.meter.delayMs = 4_000;
  void r.fleet.read('m1');
  const { command } = await r.fleet.submit(request(r, 'disconnect', { expiresAt: r.clock.wall() + 1_000 }));
  await r.clock.advance(20_000);
  const { state, stages } = await r.fleet.command(command.id);
  assert.is(state, 'expired');
  assert.equal(
    stages.map((s) => s.state),
    ['queued', 'expired'],
  );
  assert.is(r.meter.switches, 0);
});

Commands('commands of one meter run one after another in order', async () => {
  const r = await rig();
  r.meter.delayMs = 50;
  await r.fleet.submit(request(r, 'disconnect'));
  await r.fleet.submit(request(r, 'connect'));
  await r.fleet.submit(request(r, 'message'));
  await r.clock.advance(20_000);
  assert.ok(r.meter.relay);
  assert.is(r.meter.message, 'hello');
  const states = (await r.fleet.commandsOf('m1', 10)).map((c) => c.state);
  assert.equal(states, ['verified', 'verified', 'verified']);
});

Commands('a message is verified by reading it back', async () => {
  const r = await rig();
  assert.equal(await stagesOf(r, 'message', 2_000), GOOD);
  const { message, lastCommand } = await r.fleet.meter('m1');
  assert.is(message!.text, 'hello');
  assert.is(lastCommand!.evidence!.text, 'hello');
});

Commands('the same key gives the same command once; another body is a conflict', async () => {
  const r = await rig();
  const first = request(r, 'disconnect');
  const a = await r.fleet.submit(first);
  await r.clock.advance(10_000);
  const b = await r.fleet.submit(first);
  assert.ok(a.created && !b.created);
  assert.is(a.command.id, b.command.id);
  assert.is(b.command.state, 'verified');
  assert.is(r.meter.switches, 1);
  assert.is(await codeOf(r.fleet.submit({ ...first, bodyHash: 'other' })), 'command.conflict');
});

Commands('a head end that stopped after sending reads back, one that stopped before sends', async () => {
  const store = openSqliteStore({ file: ':memory:' });
  const first = await rig({}, store);
  const { record } = await store.createCommand({
    ...(
      await store.createCommand({
        ...request(first, 'disconnect'),
        id: 'cmd-sent',
        createdAt: first.clock.wall(),
        state: 'queued',
        stages: [],
        evidence: null,
        error: null,
      })
    ).record,
    id: 'cmd-queued',
    idempotencyKey: 'key-queued',
    type: 'message',
    text: 'after restart',
  });
  await store.updateCommand({ ...(await store.command('cmd-sent'))!, state: 'sent' });
  assert.is(record.state, 'queued');
  const second = await rig({}, store);
  second.meter.relay = false;
  await second.clock.advance(10_000);
  assert.is((await store.command('cmd-sent'))!.state, 'verified');
  assert.is(second.meter.switches, 0, 'never sent again');
  assert.is((await store.command('cmd-queued'))!.state, 'verified');
  assert.is(second.meter.message, 'after restart');
});

Commands('the audit has who, why, every stage and the evidence, in an unbroken chain', async () => {
  const r = await rig();
  await stagesOf(r, 'disconnect', 10_000);
  const lines = await r.store.audit(1, 100);
  assert.is(firstBreach(lines), null);
  const entries = lines.map((l) => JSON.parse(l.line));
  assert.equal(
    entries.map((e) => e.action),
    ['command.submitted', 'command.sent', 'command.verified'],
  );
  assert.is(entries[0].detail.reason, 'test');
  assert.is(entries[0].actor, 'local');
  assert.is(entries[2].detail.outputState, false);
});

Commands('a command is on record as sent before it leaves', async () => {
  const r = await rig();
  let stateAtSending: string | undefined;
  const original = r.meter.switchOutput.bind(r.meter);
  r.meter.switchOutput = async (connect) => {
    stateAtSending = (await r.store.commands('m1', 1))[0]!.state;
    return original(connect);
  };
  await stagesOf(r, 'disconnect', 5_000);
  assert.is(stateAtSending, 'sent');
});

Commands('an order whose audit cannot be written is refused, and the next start does not take it up', async () => {
  const store = openSqliteStore({ file: ':memory:' });
  const r = await rig({}, store);
  const { appendAudit } = store;
  store.appendAudit = () => Promise.reject(new S3mpError('internal', 'disk full'));
  assert.is(await codeOf(r.fleet.submit(request(r, 'disconnect'))), 'internal');
  store.appendAudit = appendAudit;
  assert.equal(await store.openCommands(), []);
});

Commands.run();
