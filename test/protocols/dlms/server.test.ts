/** The server byte for byte: associations, services, block transfer, duplicates, limits. The model is the meter's. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { encodeAarq } from '#dlms/acse';
import { passwordAssociation, publicAssociation } from '#dlms/association';
import { encodeInitiateRequest } from '#dlms/initiate';
import { DlmsServer, type ServerSession } from '#dlms/server';
import { encodeWrapperHeader } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';
import { buildMeterModel } from '../../../firmware/meter-model.ts';
import { PASSWORD, type TestMeter, testMeter } from '../../interop/dlms-meter.ts';
import { vector, vectors } from './vectors.ts';

const Server = suite('dlms server');

const out = new Uint8Array(4096);
const FULL = 0x7e1f;

/** Sends one APDU; the answer's APDU as hex, or empty when there is none. */
function ask(session: ServerSession, apdu: string | Uint8Array, options: { sap?: number; at?: number } = {}): string {
  const body = typeof apdu === 'string' ? fromHex(apdu) : apdu;
  const frame = new Uint8Array(8 + body.length);
  encodeWrapperHeader(frame, 0, options.sap ?? 17, 1, body.length);
  frame.set(body, 8);
  const length = session.receive(frame, out, options.at ?? 1000);
  if (length === 0) return '';
  const header = toHex(out, 0, 8);
  assert.is(
    header,
    `00010001${(options.sap ?? 17).toString(16).padStart(4, '0')}${(length - 8).toString(16).padStart(4, '0')}`,
  );
  return toHex(out, 8, length);
}

function aarq(password: string | null = PASSWORD, conformance = FULL, maxPdu = 1024): Uint8Array {
  const w = new ByteWriter(new Uint8Array(256));
  const fields = { context: 1, mechanism: password === null ? 0 : 1, authentication: asciiBytes(password ?? '') };
  encodeAarq(w, fields, (inner) => encodeInitiateRequest(inner, conformance, maxPdu));
  return w.written();
}

interface Opened {
  readonly meter: TestMeter;
  readonly session: ServerSession;
}

function open(transport: 'datagram' | 'stream' = 'datagram', conformance = FULL, maxPdu = 1024): Opened {
  const meter = testMeter();
  const session = meter.server.session('client', { transport })!;
  const answer = ask(session, aarq(PASSWORD, conformance, maxPdu));
  assert.match(answer, /^6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f0400/);
  return { meter, session };
}

function fresh(transport: 'datagram' | 'stream' = 'stream'): Opened {
  const meter = testMeter();
  return { meter, session: meter.server.session('client', { transport })! };
}

const LDN = 'c001c1 0001 00002a0000ff 02 00';
const GET_CONTROL = 'c001c1 0046 000060030aff 02 00';
const DISCONNECT = 'c301c1 0046 000060030aff 01 01 0f00';
const RECONNECT = 'c301c1 0046 000060030aff 02 01 0f00';
const NOT_ASSOCIATED = 'd80101';

// Association

Server('a public association opens without credentials and negotiates what both support', () => {
  const { session, meter } = fresh('datagram');
  const answer = ask(session, fromHex(vector('AARQ no security').expected), { sap: 16 });
  assert.is(
    answer,
    '6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f0400 007214 04000007'.replace(/ /g, ''),
  );
  assert.equal(meter.events, [{ kind: 'association-opened', key: 'client', clientSap: 16 }]);
});

Server('bad association requests get the answers that were captured from another server', () => {
  for (const { name, inputs, expected } of vectors('reject')) {
    const { session } = fresh();
    const sap = name.includes('password') ? 17 : 16;
    const answer = ask(session, String(inputs.request), { sap });
    // What differs by design is the initiate response of a rejection: no services, our PDU size.
    const ours = expected.replace(/5f1f0400[0-9a-f]{10}0007$/, '5f1f040000000008000007');
    assert.is(answer, ours, name);
    assert.is(ask(session, LDN, { sap }), NOT_ASSOCIATED, `${name}: no data after it`);
  }
});

Server('every refusal has its own diagnostic, and none associates', () => {
  const base = toHex(aarq());
  const diagnostic = (answer: string) =>
    /^61..a109060760857405080101a203020101a305(a[12])030201(..)/.exec(answer)?.slice(1).join('');
  const cases: readonly (readonly [string, string, number, string])[] = [
    ['mechanism missing on the password client', toHex(aarq(null)), 17, 'a10c'],
    ['password on the public client', base, 16, 'a10d'],
    ['high-level mechanism', base.replace('0760857405080201', '0760857405080205'), 17, 'a10d'],
    ['mechanism nobody knows', base.replace('0760857405080201', '0760857405080209'), 17, 'a10b'],
    ['foreign mechanism name', base.replace('0760857405080201', '0760857405080301'), 17, 'a10b'],
    ['ciphered context', base.replace('60857405080101', '60857405080103'), 17, 'a102'],
    ['wrong password', toHex(aarq('correct hors')), 17, 'a10d'],
    ['longer password', toHex(aarq(`${PASSWORD}x`)), 17, 'a10d'],
    ['empty password', toHex(aarq('')), 17, 'a10d'],
    ['no common ACSE version', `6021${'80020640'}${vector('AARQ no security').expected.slice(4)}`, 16, 'a202'],
    [
      'title of seven bytes',
      `6028${'a609040701020304050607'}${vector('AARQ no security').expected.slice(4)}`,
      16,
      'a103',
    ],
    ['unknown client on a connection', vector('AARQ no security').expected, 99, 'a101'],
  ];
  for (const [what, request, sap, expected] of cases) {
    const { session } = fresh();
    assert.is(diagnostic(ask(session, request, { sap })), expected, what);
    assert.is(ask(session, LDN, { sap }), NOT_ASSOCIATED, `${what}: no data after it`);
  }
});

Server('a dedicated key in the clear is refused', () => {
  const { session } = fresh();
  const initiate = `0101 10 ${'00'.repeat(16)} 00 00 06 5f1f0400007e1f 04b0`.replace(/ /g, '');
  const request = `602ea109060760857405080101be21041f${initiate}`;
  assert.match(ask(session, request, { sap: 16 }), /be0604040e010600$/);
});

Server('datagrams that are noise, for another server, or from an unknown client are dropped', () => {
  const { session } = fresh('datagram');
  const receive = (hex: string) => session.receive(fromHex(hex), out, 0);
  assert.is(receive(''), 0);
  assert.is(receive('0001001000010000'), 0, 'no APDU');
  assert.is(receive('000200100001000162'), 0, 'version 2');
  assert.is(receive('00010010000100ff6200'), 0, 'wrong length');
  assert.is(receive('0001001000020002 6200'), 0, 'another logical device');
  assert.is(receive('00010010007f0002 6200'), 0, 'broadcast');
  assert.is(ask(session, vector('AARQ no security').expected, { sap: 99 }), '');
  const truncated = vectors('reject').find(({ name }) => name.includes('truncated'))!;
  assert.is(ask(session, String(truncated.inputs.request), { sap: 16 }), '', 'outer length broken');
  const inner = vector('AARQ no security').expected.replace('be10040e', 'be10040f');
  assert.match(ask(session, inner, { sap: 16 }), /be0604040e010600$/);
});

Server('services without association, unknown tags and ciphered requests are refused in words', () => {
  for (const transport of ['datagram', 'stream'] as const) {
    const { session } = fresh(transport);
    for (const apdu of [LDN, DISCONNECT, 'c101c1 0001 0000600d00ff 02 00 0900', 'c002c100000001', 'c8', 'db00'])
      assert.is(ask(session, apdu), NOT_ASSOCIATED, apdu);
    for (const apdu of ['00', '05', 'c2', 'd9', 'e0', 'ff']) assert.is(ask(session, apdu), 'd80202', apdu);
    assert.is(ask(session, '6200'), '6303800100', 'a release without association is granted');
  }
  const { session } = open();
  for (const apdu of ['c81e30', 'd0', 'db00', 'dc00', '21']) assert.is(ask(session, apdu), 'd80105', apdu);
  assert.is(ask(session, 'c009c1'), 'd80202', 'a GET form nobody knows');
  assert.is(ask(session, 'c107c1 0001 0000600d00ff 02 00 01 00000001 00'), 'd80202', 'a SET form nobody knows');
  assert.is(ask(session, 'c001'), 'd80103', 'a request without invoke id');
  assert.is(ask(session, 'c001c1 0001'), 'd80103', 'a request without descriptor');
  assert.is(ask(session, new Uint8Array(1025)), 'd80104', 'longer than the PDU size');
});

Server('passwords are counted per address and slowed down, and the right one is refused meanwhile', () => {
  const { server, events } = testMeter();
  const attempt = (key: string, password: string, at: number) => {
    const session = server.session(key, { transport: 'stream', source: key.split(':')[0]! })!;
    return ask(session, aarq(password), { at }).slice(0, 60);
  };
  const granted = attempt('good:1', PASSWORD, 0);
  for (let i = 0; i < 4; i++) attempt(`evil:${i}`, `guess ${i}`, 10);
  assert.is(attempt('evil:9', PASSWORD, 11), attempt('evil:8', 'wrong', 11), 'locked: right and wrong look alike');
  assert.is(attempt('good:2', PASSWORD, 12), granted, 'other addresses are not locked');
  assert.is(attempt('evil:10', PASSWORD, 10_000), granted, 'after the wait the right one opens');
  const failures = events.flatMap((event) => (event.kind === 'association-rejected' ? [event.failures] : []));
  assert.equal(failures, [1, 2, 3, 4, 0, 0]);
});

Server('release, a new association request, silence and disconnection each end the association', () => {
  const { session, meter } = open();
  assert.is(ask(session, '6203800100'), '6303800100');
  assert.is(ask(session, LDN), NOT_ASSOCIATED);
  ask(session, aarq());
  ask(session, aarq('nope'));
  assert.is(ask(session, LDN), NOT_ASSOCIATED, 'a failed request ends the old association as well');
  ask(session, aarq(), { at: 2000 });
  assert.match(ask(session, LDN, { at: 602_000 }), /^c401c100/);
  assert.is(ask(session, LDN, { at: 1_202_001 }), NOT_ASSOCIATED);
  ask(session, aarq(), { at: 1_300_000 });
  session.close();
  assert.is(meter.server.sessionCount, 0);
  const reasons = meter.events.flatMap((event) => (event.kind === 'association-closed' ? [event.reason] : []));
  assert.equal(reasons, ['released', 'replaced', 'expired', 'disconnected']);
});

Server('two clients of one host have separate associations', () => {
  const { session } = open();
  assert.is(ask(session, LDN, { sap: 16 }), NOT_ASSOCIATED);
  ask(session, aarq(null), { sap: 16 });
  assert.is(ask(session, GET_CONTROL, { sap: 16 }), 'c401c10104', 'hidden from the public');
  assert.is(ask(session, GET_CONTROL), 'c401c1000301');
});

Server('sessions are bounded: idle ones make room, associated ones do not', () => {
  const meter = testMeter();
  const server = new DlmsServer(buildMeterModel(meter.port), {
    associations: [publicAssociation(), passwordAssociation(asciiBytes(PASSWORD))],
    maxSessions: 4,
  });
  for (let i = 0; i < 100; i++) assert.ok(server.session(`flood ${i}`));
  assert.is(server.sessionCount, 4);
  for (let i = 0; i < 4; i++) ask(server.session(`client ${i}`)!, aarq());
  assert.is(server.session('one too many'), undefined);
  assert.ok(server.session('client 2'));
  ask(server.session('client 2')!, '6200');
  assert.ok(server.session('next'), 'a released one makes room');
  assert.is(server.sessionCount, 4);
});

Server('a table full of clients that went silent, or that anyone may be, makes room', () => {
  const meter = testMeter();
  const server = new DlmsServer(buildMeterModel(meter.port), {
    associations: [publicAssociation(), passwordAssociation(asciiBytes(PASSWORD))],
    maxSessions: 4,
    inactivityMs: 60_000,
  });
  for (let i = 0; i < 4; i++) ask(server.session(`client ${i}`, {}, 0)!, aarq());
  assert.is(server.session('too early', {}, 50_000), undefined);
  const late = server.session('an hour later', {}, 3_600_000);
  assert.ok(late, 'nobody else has said anything since');
  for (let i = 0; i < 20; i++) ask(server.session(`anyone ${i}`, {}, 3_600_000)!, aarq(null), { sap: 16 });
  assert.is(server.sessionCount, 4);
  assert.is(ask(server.session('head end', {}, 3_600_000)!, aarq()).slice(0, 2), '61');
});

// Services

Server('GET refuses with the code that the standard has for each reason', () => {
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

Server('attribute 0 gives every readable attribute at once', () => {
  const { session } = open();
  const all = ask(session, 'c001c1 0003 01002007 00ff 00 00');
  assert.is(all, 'c401c100 0203 0906 0100200700ff 12 59e4 0202 0ffe 1623'.replace(/ /g, ''));
  const without = open('datagram', FULL & ~0x2000);
  assert.is(ask(without.session, 'c001c1 0003 0100200700ff 00 00'), 'c401c10104');
});

Server('a list gives each reference its own result, in order', () => {
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

Server('the object list comes in blocks that fill the PDU and join to one value', () => {
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

Server('a lost block is sent again, a wrong number ends the transfer', () => {
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

Server('a long list keeps the values of its first block', () => {
  const { session, meter } = open('datagram', FULL, 64);
  const voltage = '0003 0100200700ff 02 00';
  const first = ask(session, `c003c1 14 ${voltage.repeat(20)}`);
  meter.image.set(0, 11_111, meter.clock.steadyMs, 1);
  const second = ask(session, 'c002c1 00000001');
  assert.match(first, /1259e4/);
  assert.match(second, /1259e4/);
  assert.not.match(second, /122b67/);
});

Server('SET writes whole values of the right type only', () => {
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

Server('a message of 1024 bytes fits a stream, one more is refused', () => {
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

Server('ACTION runs methods that exist, are allowed and have a fitting parameter', () => {
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

Server('what was not negotiated is not served', () => {
  const { session, meter } = open('datagram', 0x10);
  assert.is(ask(session, DISCONNECT), 'd80102');
  assert.is(ask(session, 'c101c1 0001 0000600d00ff 02 00 0900'), 'd80102');
  assert.match(ask(session, LDN), /^c401c100/);
  assert.equal(meter.relay.moves, []);
});

// Duplicates

Server('a repeated ACTION datagram gets the same answer and runs once, also behind a GET', () => {
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

Server('a repeated SET and a repeated association request are answered from memory', () => {
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

Server(
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

Server('repeated GETs give the value of now', () => {
  const { session, meter } = open();
  const voltage = 'c001c1 0003 0100200700ff 02 00';
  assert.is(ask(session, voltage), 'c401c1001259e4');
  meter.image.set(0, 23_100, meter.clock.steadyMs, 1);
  assert.is(ask(session, voltage), 'c401c100125a3c');
});

Server('nothing is remembered over a release, nor on streams', () => {
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

Server('an answer buffer that is too small gives no answer instead of half of one', () => {
  const { session } = open();
  const frame = fromHex(`000100110001000d${LDN}`);
  assert.is(session.receive(frame, new Uint8Array(20), 1000), 0);
});

Server.run();
