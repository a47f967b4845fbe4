/** Associations of the server byte for byte: opening, refusals, passwords, sessions and their limits. The model is the meter's. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { passwordAssociation, publicAssociation } from '#dlms/association';
import { DlmsServer } from '#dlms/server';
import { buildMeterModel } from '../../../firmware/meter-model.ts';
import { PASSWORD, testMeter } from '../../interop/dlms-meter.ts';
import { aarq, ask, DISCONNECT, fresh, GET_CONTROL, LDN, NOT_ASSOCIATED, open } from './server-line.ts';
import { vector, vectors } from './vectors.ts';

const Server = suite('dlms server');

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
  const receive = (hex: string) => session.receive(fromHex(hex), new Uint8Array(64), 0);
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

Server.run();
