/** What the server makes of datagrams that come twice or late. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex } from '#base/bytes';
import { aarq, ask, DISCONNECT, GET_CONTROL, LDN, NOT_ASSOCIATED, open, RECONNECT } from './server-line.ts';

const Duplicates = suite('dlms server, duplicates');

Duplicates('a repeated ACTION datagram gets the same answer and runs once, also behind a GET', () => {
  const { session, meter } = open();
  const first = ask(session, DISCONNECT);
  for (let i = 0; i < 5; i++) assert.is(ask(session, DISCONNECT, { at: 1000 + i }), first);
  ask(session, GET_CONTROL);
  meter.relay.connected = true;
  assert.is(ask(session, DISCONNECT), first);
  assert.is(meter.relay.connected, true, 'a delayed duplicate does not open the contact again');
  assert.is(meter.relay.moves.length, 1);
  assert.is(ask(session, DISCONNECT, { at: 32_000 }), first);
  assert.is(meter.relay.moves.length, 2, 'after the window it is a new request');
});

Duplicates('a repeated SET and a repeated association request are answered from memory', () => {
  const { session, meter } = open();
  const set = 'c101c1 0001 0000600d00ff 02 00 0901 41';
  assert.is(ask(session, set), 'c501c100');
  meter.message.text = 'changed at the meter';
  assert.is(ask(session, set), 'c501c100');
  assert.is(meter.message.text, 'changed at the meter');
  const openings = () => meter.events.filter(({ kind }) => kind === 'association-opened').length;
  const opened = ask(session, aarq());
  assert.is(openings(), 1, 'a late duplicate of the AARQ does not end what it opened');
  assert.is(ask(session, aarq(), { at: 7000 }), opened);
  assert.is(openings(), 2, 'seconds later it comes from a client that has started anew');
  ask(session, LDN, { at: 7000 });
  assert.is(ask(session, aarq(), { at: 7000 }), opened);
  assert.is(openings(), 2);
  ask(session, set, { at: 7000 });
  assert.is(meter.message.text, 'A', 'nothing is remembered over it');
});

Duplicates(
  'a duplicate that comes after later requests has no effect and no answer, until its bytes can be a new request',
  () => {
    const { session, meter } = open();
    ask(session, DISCONNECT);
    ask(session, RECONNECT.replace('c1', 'c2'));
    assert.is(ask(session, DISCONNECT), '');
    assert.ok(meter.relay.connected);
    for (let i = 0; i < 12; i++) ask(session, LDN);
    assert.is(ask(session, DISCONNECT), '', 'thirteen requests later');
    ask(session, LDN);
    assert.is(ask(session, DISCONNECT), 'c701c10000', 'an invoke id comes round after 16');
    assert.is(meter.relay.moves.length, 3);
  },
);

Duplicates('repeated GETs give the value of now', () => {
  const { session, meter } = open();
  const voltage = 'c001c1 0003 0100200700ff 02 00';
  assert.is(ask(session, voltage), 'c401c1001259e4');
  meter.image.set(0, 23_100, meter.clock.steadyMs, 1);
  assert.is(ask(session, voltage), 'c401c100125a3c');
});

Duplicates('nothing is remembered over a release, nor on streams', () => {
  const { session, meter } = open();
  ask(session, DISCONNECT);
  ask(session, '6200');
  assert.is(ask(session, DISCONNECT), NOT_ASSOCIATED);
  assert.is(meter.relay.moves.length, 1);
  const stream = open('stream');
  ask(stream.session, DISCONNECT);
  stream.meter.relay.connected = true;
  ask(stream.session, DISCONNECT);
  assert.is(stream.meter.relay.connected, false, 'a stream does not lose or repeat, so this is a new request');
});

Duplicates('an answer buffer that is too small gives no answer instead of half of one', () => {
  const { session } = open();
  const frame = fromHex(`000100110001000d${LDN}`);
  assert.is(session.receive(frame, new Uint8Array(20), 1000), 0);
});

Duplicates.run();
