/** The screens of the meter's display, as rows of text on both sizes. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ControlState } from '#dlms/cosem/disconnect-control';
import { FRESH_LIMIT_MS, MeasurementImage, Quality, Quantity } from '../../firmware/measurement-image.ts';
import { type ScreenInput, screenRows } from '../../firmware/screen.ts';

/** A connected meter without a fault, its values read at 0 ms, in the time between two notices. */
const NOW = 7_000;
function input(changes: Partial<ScreenInput> = {}): ScreenInput {
  const image = new MeasurementImage();
  image.set(Quantity.activePower, 327, 0, Quality.good);
  image.set(Quantity.voltage, 23_142, 0, Quality.good);
  image.set(Quantity.activeEnergy, 1_979_360, 0, Quality.good);
  return {
    ia: '1-ff00:0:111',
    host: '10.0.0.5',
    image,
    connected: true,
    state: ControlState.connected,
    message: '',
    messageAt: 0,
    enrolmentCode: '',
    faults: [],
    now: NOW,
    columns: 21,
    rows: 8,
    ...changes,
  };
}
const ADDRESS = ['1-ff00:0:111', '10.0.0.5'];
const VALUES = [{ big: '327 W' }, '1979.36 kWh   231.4 V'];

const Screen = suite('screen');

Screen('the status has address, power, energy, voltage, output and what is wrong', () => {
  assert.equal(screenRows(input()), [...ADDRESS, ...VALUES, 'output ON']);
  const off = { connected: false, state: ControlState.disconnected, faults: ['storage fails', 'no keys'] };
  assert.equal(screenRows(input(off)).slice(4), ['output OFF', '! storage fails', '! no keys']);
  const ready = screenRows(input({ connected: false, state: ControlState.readyForReconnection }));
  assert.is(ready[4], 'OFF, may reconnect');
});

Screen('an IPv6 address goes over two rows and hides nothing', () => {
  const host = 'fd00:1234:5678:9abc:def0:1234:5678:9abc';
  const halves = [host.slice(0, 21), host.slice(21)];
  const faults = ['storage fails'];
  assert.equal(screenRows(input({ host, faults })), [ADDRESS[0], ...halves, ...VALUES, 'output ON', '! storage fails']);
  assert.equal(screenRows(input({ host, rows: 4 })), [ADDRESS[0], ...halves, 'output ON']);
  const enrolling = screenRows(input({ host, enrolmentCode: 'AAAA-BBBB-CCCC-DDDD', now: 0 }));
  assert.equal(enrolling.slice(-3), [ADDRESS[0], ...halves]);
  assert.is(
    enrolling.reduce((sum, row) => sum + (typeof row === 'string' ? 1 : 2), 0),
    8,
  );
});

Screen('a suspect value is marked, and one that is too old is not shown', () => {
  const suspect = input();
  suspect.image.doubt(Quantity.activePower);
  suspect.image.doubt(Quantity.activeEnergy);
  assert.equal(screenRows(suspect).slice(2, 4), [{ big: '327?W' }, '1979.36?kWh   231.4 V']);
  const old = screenRows(input({ now: FRESH_LIMIT_MS + 7_000 }));
  assert.equal(old.slice(2, 4), [{ big: '--- W' }, '--- kWh         --- V']);
});

Screen('a message is shown at once, then in turns with the status; the enrolment code goes before it', () => {
  const message = 'Your supply is cut on Monday from 8 to 12';
  const shown = screenRows(input({ message, messageAt: NOW }));
  assert.is(shown.join(' '), message);
  assert.ok(shown.every((row) => typeof row === 'string' && row.length <= 21));
  assert.is(screenRows(input({ message, messageAt: 0 }))[0], ADDRESS[0]);
  assert.is(screenRows(input({ message, messageAt: 0, now: 10_000 })).join(' '), message);
  const enrolling = input({ message, messageAt: NOW, enrolmentCode: '7K2MA-Q9DX4-3FT5C-W1E8P' });
  const code = [{ big: '7K2MA Q9DX4' }, { big: '3FT5C W1E8P' }];
  assert.equal(screenRows(enrolling), ['ENROLMENT CODE', '', ...code, ...ADDRESS]);
  assert.equal(screenRows({ ...enrolling, rows: 4 }), code);
});

Screen('a display of four rows shows values and address in turns, and the worst fault with the values', () => {
  const small = { rows: 4, faults: ['relay does not follow', 'no keys'] };
  assert.equal(screenRows(input({ ...small, now: 0 })), [...VALUES, '! relay does not follow']);
  assert.equal(screenRows(input({ ...small, now: 5_000 })).slice(0, 3), [...ADDRESS, 'output ON']);
});

Screen.run();
