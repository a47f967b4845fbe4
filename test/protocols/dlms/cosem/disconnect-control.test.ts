/** The control modes of class 70: every mode with every transition, and every trigger in every state. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  CONTROL_MODES,
  ControlState,
  DisconnectControl,
  nextControlState,
  type RelayGuard,
  TRANSITIONS,
  type TransitionLetter,
  type Trigger,
} from '#dlms/cosem/disconnect-control';
import { Result } from '#dlms/result';

const Control = suite('disconnect control');

/** The standard's table as printed: one row per mode, columns b, c, f, g, a, d, e, h. */
const COLUMNS = ['b', 'c', 'f', 'g', 'a', 'd', 'e', 'h'] as const;
const TABLE: readonly string[] = [
  '- - - - - - - -',
  'y y y y - y y -',
  'y y y y y - y -',
  'y y - y - y y -',
  'y y - y y - y -',
  'y y y y - y y y',
  'y y - y - y y y',
];

interface Contact extends RelayGuard {
  connected: boolean;
  moves: number;
  works: boolean;
}

function contact(connected: boolean): Contact {
  return {
    connected,
    moves: 0,
    works: true,
    isConnected() {
      return this.connected;
    },
    switchRelay(wanted) {
      this.moves++;
      if (this.works) this.connected = wanted;
      return this.works;
    },
  };
}

function control(mode: number, state: ControlState) {
  const guard = contact(state === ControlState.connected);
  const stored: ControlState[] = [];
  const object = new DisconnectControl('0-0:96.3.10.255', guard, {
    mode,
    initialState: state,
    onState: (next) => stored.push(next),
  });
  return { guard, object, stored };
}

Control('all seven modes allow exactly the transitions of the standard', () => {
  assert.is(CONTROL_MODES.length, 7);
  TABLE.forEach((line, mode) => {
    line.split(' ').forEach((cell, column) => {
      const letter: TransitionLetter = COLUMNS[column]!;
      const { trigger, from, to } = TRANSITIONS[letter];
      const name = `mode ${mode}, transition ${letter}`;
      const { object, guard, stored } = control(mode, from);
      const next = nextControlState(mode, from, trigger);
      // Two transitions share trigger and state (a and d); a mode has at most one of them.
      if (cell === 'y') {
        assert.is(next, to, name);
        assert.is(object.trigger(trigger, 'test'), Result.success, name);
        assert.is(object.state, to, name);
        assert.is(guard.connected, to === ControlState.connected, `${name}: contact`);
        assert.is(guard.moves, (from === ControlState.connected) === (to === ControlState.connected) ? 0 : 1, name);
        assert.equal(stored, [to], name);
      } else assert.not.equal(next, to, name);
    });
  });
});

Control('a trigger without a transition changes nothing, and succeeds only when its aim holds already', () => {
  const triggers = [...new Set(Object.values(TRANSITIONS).map(({ trigger }) => trigger))] as Trigger[];
  for (let mode = 0; mode <= 6; mode++) {
    for (const state of Object.values(ControlState)) {
      for (const trigger of triggers) {
        if (nextControlState(mode, state, trigger) !== undefined) continue;
        const { object, guard, stored } = control(mode, state);
        const result = object.trigger(trigger, 'test');
        const name = `mode ${mode}, state ${state}, ${trigger}: ${result}`;
        assert.is(object.state, state, name);
        assert.is(guard.moves, 0, name);
        assert.equal(stored, [], name);
        if (mode === 0) assert.is(result, Result.readWriteDenied, name);
        else assert.ok(result === Result.success || result === Result.otherReason, name);
        if (result === Result.success)
          assert.is(state === ControlState.connected, trigger.endsWith('reconnect') && state !== 2, name);
      }
    }
  }
  const again = (mode: number, state: ControlState, trigger: Trigger) =>
    control(mode, state).object.trigger(trigger, 't');
  assert.is(again(4, ControlState.disconnected, 'remote-disconnect'), Result.success);
  assert.is(again(4, ControlState.connected, 'remote-reconnect'), Result.success);
  assert.is(again(4, ControlState.readyForReconnection, 'remote-reconnect'), Result.otherReason, 'needs a person');
  assert.is(again(1, ControlState.readyForReconnection, 'remote-reconnect'), Result.success);
  assert.is(again(4, ControlState.connected, 'manual-disconnect'), Result.otherReason, 'mode 4 has no button');
});

Control('a contact that does not follow is a hardware fault and leaves the state', () => {
  const { object, guard, stored } = control(4, ControlState.connected);
  guard.works = false;
  assert.is(object.trigger('remote-disconnect', 'test'), Result.hardwareFault);
  assert.is(object.state, ControlState.connected);
  assert.equal(stored, []);
  guard.works = true;
  assert.is(object.trigger('remote-disconnect', 'test'), Result.success);
  guard.connected = true;
  assert.is(object.trigger('remote-disconnect', 'again'), Result.success);
  assert.is(guard.connected, false, 'a repeated command repairs a contact that has moved by itself');
});

Control('without a stored state it follows the measured contact', () => {
  for (const connected of [true, false]) {
    const object = new DisconnectControl('0-0:96.3.10.255', contact(connected), { mode: 4 });
    assert.is(object.state, connected ? ControlState.connected : ControlState.disconnected);
  }
});

Control.run();
