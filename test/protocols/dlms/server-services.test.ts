/** GET, SET and ACTION of the server byte for byte, lists and blocks. The model is the meter's. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, toHex } from '#base/bytes';
import { ask, DISCONNECT, FULL, GET_CONTROL, LDN, open, RECONNECT } from './server-line.ts';

const Services = suite('dlms server, services');

Services('GET refuses with the code that the standard has for each reason', () => {
  const { session } = open();
  const cases: readonly (readonly [string, string, string])[] = [
    ['unknown object', 'c001c1 0001 010101010101 02 00', '04'],
    ['another class', 'c001c1 0003 00002a0000ff 02 00', '09'],
    ['unknown attribute', 'c001c1 0001 00002a0000ff 03 00', '04'],
    ['negative attribute', 'c001c1 0001 00002a0000ff ff 00', '04'],
    ['the secret', 'c001c1 000f 0000280000ff 07 00', '03'],
    ['a selection that no object takes', 'c001c1 000f 0000280000ff 02 01 01 00', '0c'],
    ['bytes behind the request', 'c001c1 0001 00002a0000ff 02 00 00', 'fa'],
  ];
  for (const [what, apdu, result] of cases) assert.is(ask(session, apdu), `c401c101${result}`, what);
  assert.is(ask(session, LDN), `c401c1000910${toHex(asciiBytes('S3M0000000004711'))}`);
  assert.is(ask(session, 'c00185 0001 00002a0000ff 02 00'), '', 'unconfirmed: nothing is sent');
});

Services('attribute 0 gives every readable attribute at once', () => {
  const { session } = open();
  const all = ask(session, 'c001c1 0003 01002007 00ff 00 00');
  assert.is(all, 'c401c100 0203 0906 0100200700ff 12 59e4 0202 0ffe 1623'.replace(/ /g, ''));
  const without = open('datagram', FULL & ~0x2000);
  assert.is(ask(without.session, 'c001c1 0003 0100200700ff 00 00'), 'c401c10104');
});

Services('a list gives each reference its own result, in order', () => {
  const { session } = open();
  const answer = ask(session, 'c003c1 03 0003 0100200700ff 02 00 0001 010101010101 02 00 0046 000060030aff 03 00');
  assert.is(answer, 'c403c1 03 00 1259e4 01 04 00 1601'.replace(/ /g, ''));
  assert.is(ask(session, 'c003c1 00'), 'c403c100');
  const many = ask(session, `c003c1 21 ${'0001 00002a0000ff 02 00'.repeat(33)}`);
  assert.is(many, `c403c121${'01fa'.repeat(33)}`, '33 references');
  assert.is(ask(session, 'c003c1 02 0001 00002a0000ff 02 00'), 'd80103', 'fewer references than counted');
  assert.is(ask(session, 'c003c1 84ffffffff'), 'd80103');
  const without = open('datagram', FULL & ~0x0200);
  assert.is(ask(without.session, 'c003c1 01 0001 00002a0000ff 02 00'), 'd80202', 'lists were not negotiated');
});

Services('the object list comes in blocks that fill the PDU and join to one value', () => {
  for (const maxPdu of [64, 100, 300, 1024]) {
    const { session } = open('datagram', FULL, maxPdu);
    let answer = ask(session, 'c001c1 000f 0000280000ff 02 00');
    let joined = '';
    let block = 1;
    for (;;) {
      const [, last, number, raw = ''] = /^c402c1(..)(.{8})00(?:82....|81..|[0-7].)(.*)$/.exec(answer) ?? [];
      assert.is(number, block.toString(16).padStart(8, '0'));
      assert.ok(answer.length / 2 <= maxPdu, `${answer.length / 2} bytes in ${maxPdu}`);
      if (last === '00') assert.ok(answer.length / 2 >= maxPdu - 1, 'a block that is not the last is full');
      joined += raw;
      if (last === '01') break;
      answer = ask(session, `c002c1 ${number}`);
      block++;
    }
    assert.match(joined, /^013a/, `58 objects at ${maxPdu}`);
    assert.is(ask(session, `c002c1 ${block.toString(16).padStart(8, '0')}`), 'c402c101000000000110', 'it is over');
  }
});

Services('a lost block is sent again, a wrong number ends the transfer', () => {
  const { session } = open('datagram', FULL, 200);
  const first = ask(session, 'c001c1 000f 0000280000ff 02 00');
  const second = ask(session, 'c002c1 00000001');
  assert.is(ask(session, 'c002c1 00000001'), second);
  assert.not.equal(first, second);
  const third = ask(session, 'c002c1 00000002');
  assert.is(ask(session, 'c002c1 00000002'), third);
  assert.is(ask(session, 'c002c1 00000001'), 'c402c101000000010113', 'too old');
  assert.is(ask(session, 'c002c1 00000003'), 'c402c101000000000110', 'and it is over');
  for (const next of ['c002c1 00000000', 'c002c1 00000002', 'c002c2 00000001', 'c002c1 ffffffff']) {
    ask(session, 'c001c1 000f 0000280000ff 02 00');
    assert.match(ask(session, next), /0113$/, next);
  }
  ask(session, 'c001c1 000f 0000280000ff 02 00');
  ask(session, LDN);
  assert.is(ask(session, 'c002c1 00000001'), 'c402c101000000000110', 'a new GET ends it');
  ask(session, 'c001c1 000f 0000280000ff 02 00', { at: 2000 });
  assert.is(ask(session, 'c002c1 00000001', { at: 62_001 }), 'c402c101000000000110', 'and so does time');
  const without = open('datagram', FULL & ~0x1000, 200);
  assert.is(ask(without.session, 'c001c1 000f 0000280000ff 02 00'), 'c401c101fa', 'blocks were not negotiated');
});

Services('a long list keeps the values of its first block', () => {
  const { session, meter } = open('datagram', FULL, 64);
  const voltage = '0003 0100200700ff 02 00';
  const first = ask(session, `c003c1 14 ${voltage.repeat(20)}`);
  meter.image.set(0, 11_111, meter.clock.steadyMs, 1);
  const second = ask(session, 'c002c1 00000001');
  assert.match(first, /1259e4/);
  assert.match(second, /1259e4/);
  assert.not.match(second, /122b67/);
});

Services('SET writes whole values of the right type only', () => {
  const { session, meter } = open();
  const set = (data: string) => ask(session, `c101c1 0001 0000600d00ff 02 00 ${data}`);
  assert.is(set('0905 48656c6c6f'), 'c501c100');
  assert.is(meter.message.text, 'Hello');
  const cases: readonly (readonly [string, string, string])[] = [
    ['cut short', '0905 48656c', '0c'],
    ['a number', '06 00000001', '0c'],
    ['bytes behind it', '0901 41 00', 'fa'],
    ['not UTF-8', '0902 c328', 'fa'],
    ['nothing', '', '0c'],
    ['nine levels deep', `${'0101'.repeat(9)}00`, '0c'],
    ['a count of four billion', '01 84ffffffff', '0c'],
  ];
  for (const [what, data, result] of cases) assert.is(set(data), `c501c1${result}`, what);
  assert.is(ask(session, 'c101c1 0001 00002a0000ff 02 00 0901 41'), 'c501c103', 'read only');
  assert.is(ask(session, 'c101c1 0001 0000600d00ff 01 00 0906 000000000000'), 'c501c103', 'a logical name');
  assert.is(ask(session, 'c101c1 0001 0000600d00ff 00 00 0900'), 'c501c104', 'attribute 0');
  assert.is(meter.message.text, 'Hello', 'no refused value was stored');
  assert.is(
    ask(session, 'c104c1 02 0001 0000600d00ff 02 00 0001 00002a0000ff 02 00 02 0901 41 0901 42'),
    'c505c1020003',
  );
  assert.is(meter.message.text, 'A');
  assert.is(ask(session, 'c104c1 02 0001 0000600d00ff 02 00 0001 00002a0000ff 02 00 02 0901 42'), 'd80103');
  assert.is(meter.message.text, 'A', 'a broken list writes nothing');
});

Services('a message of 1024 bytes fits a stream, one more is refused', () => {
  const { session, meter } = open('stream', FULL, 2048);
  const set = (bytes: number) => {
    const length = bytes.toString(16).padStart(4, '0');
    return ask(session, `c101c1 0001 0000600d00ff 02 00 09 82${length} ${'41'.repeat(bytes)}`);
  };
  assert.is(set(1024), 'c501c100');
  assert.is(meter.message.text.length, 1024);
  assert.is(set(1025), 'c501c1fa');
  assert.is(meter.message.text.length, 1024);
  assert.match(ask(session, 'c001c1 0001 0000600d00ff 02 00'), /^c401c100 ?09820400/);
});

Services('ACTION runs methods that exist, are allowed and have a fitting parameter', () => {
  const { session, meter } = open();
  const cases: readonly (readonly [string, string, string])[] = [
    ['method 0', 'c301c1 0046 000060030aff 00 00', '04'],
    ['method 3', 'c301c1 0046 000060030aff 03 00', '04'],
    ['negative method', 'c301c1 0046 000060030aff 80 00', '04'],
    ['another class', 'c301c1 0001 000060030aff 01 00', '09'],
    ['no right', 'c301c1 0003 0100010800ff 01 01 0f00', '03'],
    ['wrong parameter', 'c301c1 0046 000060030aff 01 01 0900', '0c'],
    ['half a parameter', 'c301c1 0046 000060030aff 01 01 0f', '0c'],
    ['bytes behind it', 'c301c1 0046 000060030aff 01 00 00', 'fa'],
  ];
  for (const [what, apdu, result] of cases) assert.is(ask(session, apdu), `c701c1${result}00`, what);
  assert.equal(meter.relay.moves, []);
  assert.is(ask(session, 'c301c1 0046 000060030aff 01 00'), 'c701c10000', 'no parameter');
  assert.is(ask(session, GET_CONTROL), 'c401c1000300');
  assert.is(ask(session, RECONNECT), 'c701c10000');
  assert.is(ask(session, 'c303c1 02 0046 000060030aff 01 0046 000060030aff 02 02 0f00 0f00'), 'c703c10200000000');
  assert.is(meter.relay.moves.length, 4);
  const actions = meter.events.filter(({ kind }) => kind === 'action');
  assert.is(actions.length, cases.length + 4);
  assert.equal(actions.at(-1), {
    kind: 'action',
    key: 'client',
    clientSap: 17,
    obis: '0-0:96.3.10.255',
    id: 2,
    result: 0,
  });
});

Services('what was not negotiated is not served', () => {
  const { session, meter } = open('datagram', 0x10);
  assert.is(ask(session, DISCONNECT), 'd80102');
  assert.is(ask(session, 'c101c1 0001 0000600d00ff 02 00 0900'), 'd80102');
  assert.match(ask(session, LDN), /^c401c100/);
  assert.equal(meter.relay.moves, []);
});

Services.run();
