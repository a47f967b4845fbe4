/** RelayGuard: every road to the contact, and what it does when the contact does not obey. Virtual clock. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { S3mpError } from '#base/errors';
import type { Trigger } from '#dlms/cosem/disconnect-control';
import { EventCode } from '#dlms/well-known';
import { createLog } from '#hw/log';
import type { Relay } from '#hw/relay';
import { type GuardOptions, guardRelay, type WatchfulGuard } from '../../firmware/relay-guard.ts';

const HOUR_MS = 3_600_000;

function rig(extra: Partial<GuardOptions> = {}) {
  const state = {
    now: 0,
    connected: true,
    follows: true,
    throws: false,
    watts: undefined as number | undefined,
    stores: true,
    /** What happened, in order. */
    log: [] as string[],
  };
  const relay: Relay = {
    kind: 'test',
    set(connected) {
      state.log.push(connected ? 'closes' : 'opens');
      if (state.throws) throw new S3mpError('relay.failed', 'no such pin');
      if (state.follows) state.connected = connected;
    },
    isConnected: () => state.connected,
    close: () => {},
  };
  const guard = guardRelay({
    relay,
    log: createLog('relay', { write: () => {} }),
    steadyClock: () => state.now,
    dwellMs: 1_000,
    power: () => state.watts,
    record: (code) => state.stores && state.log.push(`event ${code}`) > 0,
    onChange: () => {},
    ...extra,
  });
  const pass = (seconds: number) => {
    for (let i = 0; i < seconds; i++) {
      state.now += 1_000;
      guard.tick();
    }
  };
  return { state, guard, pass };
}

const move = (guard: WatchfulGuard, connected: boolean, trigger: Trigger) =>
  guard.switchRelay(connected, 'test', trigger, () => true);

const Guard = suite('relay guard');

Guard('the event is written before the contact moves', () => {
  const { state, guard } = rig();
  assert.is(move(guard, false, 'remote-disconnect'), true);
  assert.equal(state.log, [`event ${EventCode.remoteDisconnect}`, 'opens']);
});

Guard('the contact rests between two movements', () => {
  const { state, guard } = rig();
  move(guard, false, 'remote-disconnect');
  state.now = 999;
  assert.is(move(guard, true, 'remote-reconnect'), 'too-soon');
  state.now = 1_000;
  assert.is(move(guard, true, 'remote-reconnect'), true);
  assert.is(state.log.filter((entry) => /opens|closes/.test(entry)).length, 2);
});

Guard('disconnections in an hour are limited, reconnections are not', () => {
  const { state, guard } = rig({ perHour: 3 });
  for (let i = 0; i < 3; i++, state.now += 2_000) {
    assert.is(move(guard, false, 'local-disconnect'), true);
    state.now += 2_000;
    assert.is(move(guard, true, 'local-reconnect'), true);
  }
  const before = state.log.length;
  assert.is(move(guard, false, 'local-disconnect'), 'too-soon');
  assert.is(state.log.length, before, 'no event, no movement');
  assert.is(move(guard, true, 'local-reconnect'), true);
  state.now = HOUR_MS;
  assert.is(move(guard, false, 'local-disconnect'), true, 'the first one is an hour old');
});

Guard('a restart resets neither the rest of the contact nor the count of the hour', () => {
  const { state, guard } = rig({ perHour: 2, dwellMs: 60_000 });
  state.now = 5_000;
  guard.resume([
    [EventCode.remoteDisconnect, HOUR_MS - 100_000],
    [EventCode.localDisconnect, 50_000],
    [EventCode.remoteReconnect, 20_000],
    [EventCode.disconnectFailure, 0],
  ]);
  assert.is(move(guard, false, 'remote-disconnect'), 'too-soon');
  assert.is(move(guard, true, 'remote-reconnect'), 'too-soon', 'the contact rests for 40 s more');
  state.now += 40_000;
  assert.is(move(guard, false, 'remote-disconnect'), 'too-soon', 'two in this hour');
  assert.is(move(guard, true, 'remote-reconnect'), true);
  state.now += 60_000;
  assert.is(move(guard, false, 'remote-disconnect'), true, 'the first of them is an hour old');
});

Guard('a disconnection is restored at the start, whatever was moved before', () => {
  const { state, guard } = rig({ perHour: 1, dwellMs: 600_000 });
  guard.resume([[EventCode.remoteDisconnect, 1_000]]);
  assert.is(move(guard, false, 'restore'), true);
  assert.equal(state.log, [`event ${EventCode.relayRestored}`, 'opens']);
});

Guard('what cannot be stored does not happen: neither event nor commanded state, no movement', () => {
  const { state, guard } = rig();
  state.stores = false;
  assert.is(move(guard, false, 'remote-disconnect'), 'not-recorded');
  assert.equal(state.log, []);
  state.stores = true;
  assert.is(
    guard.switchRelay(false, 'test', 'remote-disconnect', () => false),
    'not-recorded',
  );
  assert.equal(state.log, [`event ${EventCode.remoteDisconnect}`]);
  assert.ok(state.connected);
});

Guard(
  'a contact that does not follow, and a driver that fails, are an event and a fault until the next success',
  () => {
    for (const broken of ['follows', 'throws'] as const) {
      const { state, guard, pass } = rig();
      state[broken] = broken === 'throws';
      assert.is(move(guard, false, 'remote-disconnect'), false);
      assert.equal(state.log, [`event ${EventCode.remoteDisconnect}`, 'opens', `event ${EventCode.disconnectFailure}`]);
      assert.is(guard.fault, 'relay does not follow');
      pass(60);
      assert.is(state.log.length, 3, 'reported once, moved once');
      assert.is(guard.fault, 'relay does not follow');
      state[broken] = broken !== 'throws';
      assert.is(move(guard, false, 'remote-disconnect'), true);
      assert.is(guard.fault, undefined);
    }
  },
);

Guard('power through an open contact is a failure after ten seconds, once, whichever way it flows', () => {
  for (const watts of [31, -31]) {
    const { state, guard, pass } = rig({ leakW: 30 });
    move(guard, false, 'remote-disconnect');
    state.log.length = 0;
    state.watts = 30;
    pass(60);
    assert.equal(state.log, [], 'leakage of a snubber is none');
    state.watts = watts;
    pass(10);
    state.watts = 0;
    pass(1);
    state.watts = watts;
    pass(10);
    assert.equal(state.log, [], 'neither is a moment of it');
    pass(60);
    assert.equal(state.log, [`event ${EventCode.disconnectFailure}`]);
    assert.is(guard.fault, 'power while OFF');
    state.watts = undefined;
    pass(1);
    assert.is(guard.fault, undefined);
  }
});

Guard('a contact that leaves its position is reported and not moved back', () => {
  const { state, guard, pass } = rig();
  state.connected = false;
  pass(60);
  assert.equal(state.log, [`event ${EventCode.disconnectFailure}`]);
  assert.is(guard.fault, 'relay moved by itself');
  state.connected = true;
  pass(1);
  assert.is(guard.fault, undefined);
});

Guard('a contact that was commanded elsewhere before the start is reported and not moved', () => {
  const { state, pass } = rig({ commanded: false });
  pass(20);
  assert.equal(state.log, [`event ${EventCode.disconnectFailure}`]);
});

Guard('a day without commands moves nothing, with and without values', () => {
  for (const watts of [undefined, 0, 5_000]) {
    const { state, pass } = rig();
    state.watts = watts;
    pass(86_400);
    assert.equal(state.log, []);
  }
});

Guard.run();
