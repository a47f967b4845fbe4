/** The ciphered associations of a live server, byte for byte where it matters: opening, services, refusals. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, readU32, toHex, writeU32 } from '#base/bytes';
import { GENERAL_GLO } from '#dlms/cipher';
import { DlmsClient } from '#dlms/client';
import { type ClientSecurityOptions, MemoryCounter } from '#dlms/client-security';
import { parseObis } from '#dlms/obis';
import { Policy } from '#dlms/security';
import { WRAPPER_SIZE } from '#dlms/wrapper';
import { nodeCrypto } from '#hw/crypto';
import {
  CLIENT_KEY,
  CLIENT_PUBLIC,
  KEYS,
  KNOWN_REGISTERS,
  METER_KEY,
  METER_PUBLIC,
  METER_TITLE,
  testMeter,
  testSecurity,
} from '../../interop/dlms-meter.ts';
import {
  ask,
  connect,
  DISCONNECT,
  failure,
  give,
  LDN,
  NAME,
  OUTPUT,
  options,
  RECONNECT,
  reasons,
  sealed,
  secure,
  TITLE,
} from './secure-line.ts';

const Security = suite('dlms security');

for (const [name, extra] of Object.entries({
  'glo tags': {},
  'general ciphering': { style: 'general' },
  'a dedicated key': { hasDedicatedKey: true },
  'a dedicated key, general': { hasDedicatedKey: true, style: 'general' },
} satisfies Record<string, Partial<ClientSecurityOptions>>)) {
  Security(`reads, switches and releases with ${name}, nothing in the clear`, () => {
    const meter = secure();
    const { client, run, sent, got } = connect(meter, extra);
    run(client.associate());
    assert.equal(client.serverTitle, METER_TITLE);
    const { registers } = run(client.readRegisters(Object.keys(KNOWN_REGISTERS)));
    for (const { obis, value } of registers) assert.ok(Math.abs(value! - KNOWN_REGISTERS[obis]![0]) < 1e-9, obis);
    run(client.action(DISCONNECT));
    assert.not.ok(meter.relay.connected);
    run(client.action(RECONNECT));
    run(client.release());
    for (const frame of [...sent, ...got]) {
      const tag = frame[WRAPPER_SIZE]!;
      assert.ok(
        (tag >= 0x60 && tag <= 0x63) || (tag >= 0xc8 && tag <= 0xd7) || tag === 0xdb || tag === 0xdc,
        `tag ${tag.toString(16)}`,
      );
    }
    assert.match(toHex(got.at(-1)!, WRAPPER_SIZE), /^63..800100be..04..(28|db)/, 'a protected release');
    assert.equal(
      meter.events.filter(({ kind }) => kind.startsWith('association')).map(({ kind }) => kind),
      ['association-opened', 'association-closed'],
    );
    assert.is(give(connect(meter).session, sent.at(-2)!)[WRAPPER_SIZE], 0xd8, 'no data after the release');
  });
}

Security('the AARE is short and says what clients need to go on', () => {
  const { client, run, got } = connect(secure());
  run(client.associate());
  const aare = toHex(got[0]!, WRAPPER_SIZE);
  assert.match(
    aare,
    /^61..a109060760857405080103a203020100a305a10302010ea40a040853334d303437313188020780890760857405080205aa128010[0-9a-f]{32}be230421281f30/,
  );
  assert.ok(got[0]![WRAPPER_SIZE + 1]! <= 127);
  assert.ok(readU32(got[0]!, got[0]!.length - 30) >= 1, "the server's first counter is not 0");
});

Security('an object list comes in blocks that each fit the smaller PDU, ciphering included', () => {
  for (const maxPdu of [100, 200, 300, 1024]) {
    for (const style of ['glo', 'general'] as const) {
      const { client, run, got } = connect(secure(), { style }, { maxPdu });
      run(client.associate());
      const list = run(client.get({ classId: 15, ln: parseObis('0-0:40.0.0.255'), attribute: 2 }));
      assert.ok(list.type === 'array' && list.value.length > 50);
      for (const frame of got.slice(1))
        assert.ok(frame.length - WRAPPER_SIZE <= maxPdu, `${frame.length} for ${maxPdu}`);
      assert.ok(
        got.some((frame) => frame.length - WRAPPER_SIZE > maxPdu - 40),
        'blocks are filled',
      );
    }
  }
});

Security('mechanisms SHA-256 and ECDSA authenticate both sides; a wrong secret or key does not', () => {
  const secret = asciiBytes('a long secret');
  const security = testSecurity();
  const sha = testMeter(
    { security },
    {
      associations: [
        { clientSap: 1, role: 'management', mechanism: 6, conformance: 0x401f1f, password: secret, security },
      ],
    },
  );
  const right = connect(sha, { mechanism: 6, secret });
  right.run(right.client.associate());
  assert.is(right.run(right.client.get(NAME)).type, 'octet-string');
  const wrong = connect(
    sha,
    { mechanism: 6, secret: asciiBytes('another'), title: asciiBytes('S3H00002') },
    { key: 'x' },
  );
  assert.is(failure(() => wrong.run(wrong.client.associate())).code, 'dlms.authentication-failed');

  const pair = {
    signing: nodeCrypto.signingKey(fromHex(METER_KEY)),
    clientKey: nodeCrypto.verifyKey(fromHex(CLIENT_PUBLIC)),
  };
  const signed = testMeter({ security: testSecurity({ suite: 1, ...pair }) });
  const keys = {
    mechanism: 7,
    suite: 1,
    signing: nodeCrypto.signingKey(fromHex(CLIENT_KEY)),
    serverKey: nodeCrypto.verifyKey(fromHex(METER_PUBLIC)),
  } as const;
  const ecdsa = connect(signed, keys);
  ecdsa.run(ecdsa.client.associate());
  assert.is(ecdsa.run(ecdsa.client.get(NAME)).type, 'octet-string');
  for (const bad of [{ signing: nodeCrypto.signingKey(fromHex(METER_KEY)) }, { serverKey: pair.clientKey }]) {
    const line = connect(signed, { ...keys, ...bad, title: asciiBytes('S3H00003'), counter: new MemoryCounter(500) });
    assert.is(failure(() => line.run(line.client.associate())).code, 'dlms.authentication-failed');
  }
  const foreignSuite = connect(signed, { ...keys, suite: 0, counter: new MemoryCounter(900) });
  assert.equal(failure(() => foreignSuite.run(foreignSuite.client.associate())).context, { state: 1, service: 5 });
});

Security('a client has MD5 and SHA-1 only when they are allowed by name, a server never', () => {
  const secret = asciiBytes('a long secret');
  const meter = testMeter({ security: testSecurity({ policy: Policy.none }) });
  for (const mechanism of [3, 4]) {
    assert.is(failure(() => connect(meter, { mechanism, secret })).code, 'config.invalid');
    const { client, run, got } = connect(meter, { mechanism, secret, allowsBrokenHash: true, isCiphered: false });
    assert.is(failure(() => run(client.associate())).code, 'dlms.authentication-failed');
    assert.match(toHex(got[0]!, WRAPPER_SIZE), /a203020101a305a10302010d/);
  }
  const manufacturer = connect(meter, { mechanism: 2, secret, isCiphered: false });
  assert.is(failure(() => manufacturer.run(manufacturer.client.associate())).code, 'dlms.authentication-failed');
});

Security('wrong keys, foreign titles and plain requests get one answer, no data and an event', () => {
  const cases: readonly (readonly [string, Partial<ClientSecurityOptions>])[] = [
    ['unicast key', { unicast: KEYS.master }],
    ['authentication key', { authentication: KEYS.master }],
    ['suite', { suite: 1 }],
    ['plain context', { isCiphered: false }],
  ];
  for (const [what, extra] of cases) {
    const meter = secure();
    const { client, run, session } = connect(meter, extra);
    const { context } = failure(() => run(client.associate()));
    assert.equal(context, { state: 1, service: 5 }, what);
    assert.is(ask(session, LDN), 'd80101', `${what}: no association`);
    assert.is(ask(session, sealed(LDN, 90)), 'd80101');
    assert.equal(reasons(meter), [what === 'plain context' ? 'unprotected' : 'undecipherable']);
  }
  const closed = testMeter({ security: testSecurity({ clientTitle: asciiBytes('S3H99999') }) });
  const stranger = connect(closed);
  assert.equal(failure(() => stranger.run(stranger.client.associate())).context, { state: 1, service: 5 });
});

Security('inside an association, what is not protected as agreed gets D8 01 05 and changes nothing', () => {
  const meter = secure();
  const { client, run, session } = connect(meter);
  run(client.associate());
  const before = meter.relay.moves.length;
  const disconnect = fromHex('c301c10046000060030aff01010f00');
  const bad: readonly (readonly [string, Uint8Array])[] = [
    ['plain', disconnect],
    ['authenticated only', sealed(disconnect, 50, { sc: 0x10 })],
    ['encrypted only', sealed(disconnect, 50, { sc: 0x20 })],
    ['wrong key', sealed(disconnect, 50, { key: KEYS.master })],
    ['foreign title', sealed(disconnect, 50, { style: GENERAL_GLO, title: asciiBytes('S3H00009') })],
    ['dedicated without a key', sealed(disconnect, 50, { style: 0xd0 })],
    ['broadcast without a key', sealed(disconnect, 50, { sc: 0x70 })],
    ['another suite', sealed(disconnect, 50, { sc: 0x31 })],
    ['two layers', sealed(sealed(disconnect, 50), 51, { style: GENERAL_GLO })],
    ['a tag that names another service', Uint8Array.from([0xc8, ...sealed(disconnect, 50).subarray(1)])],
    ['too short', fromHex('cb0530000000ff')],
    ['general ciphering', fromHex('dd00000000000000')],
  ];
  for (const [what, apdu] of bad) assert.is(ask(session, apdu), 'd80105', what);
  const changed = sealed(disconnect, 50);
  for (let at = 2; at < changed.length; at++) {
    const copy = changed.slice();
    copy[at]! ^= 0x04;
    assert.is(ask(session, copy), 'd80105', `byte ${at}`);
  }
  assert.is(meter.relay.moves.length, before);
  assert.is(run(client.get(NAME)).type, 'octet-string', 'the honest client goes on');
});

Security('while the challenge is unanswered nothing is served, and a wrong answer ends it', () => {
  const meter = secure();
  const open = () => {
    const session = meter.server.session('pending')!;
    const client = new DlmsClient({ clientSap: 1, security: options({ counter: new MemoryCounter(base) }) });
    const operation = client.associate();
    const first = operation.next();
    const second = operation.next(give(session, first.value as Uint8Array));
    base += 50;
    return { session, reply: (second.value as Uint8Array).slice() };
  };
  let base = 0;
  const stray = open();
  assert.is(ask(stray.session, sealed(LDN, 40)), 'd80101');
  assert.is(ask(stray.session, sealed(LDN, 41)), 'd80101');
  assert.is(toHex(give(stray.session, stray.reply), WRAPPER_SIZE), 'd80101', 'over after the second stray');
  const wrong = open();
  const guess = fromHex(`c301c1000f0000280000ff01010911 10 0000004d ${'ab'.repeat(12)}`);
  const answer = ask(wrong.session, sealed(guess, 80));
  assert.is(answer.slice(0, 2), 'cf', 'refused inside the cipher');
  assert.is(toHex(give(wrong.session, wrong.reply), WRAPPER_SIZE), 'd80101', 'one attempt per challenge');
  const event = meter.events.find(({ kind }) => kind === 'association-rejected');
  assert.is(event?.kind === 'association-rejected' && event.diagnostic, 13);
  const late = open();
  late.session.receive(fromHex('0001001000010001c0'), new Uint8Array(64), 1000);
  assert.is(toHex(give(late.session, late.reply, 40_000), WRAPPER_SIZE), 'd80101', 'the challenge expires');
  assert.not.ok(meter.events.some(({ kind }) => kind === 'association-opened'));
});

Security('challenges of the wrong size and missing titles are refused in the AARE', () => {
  const aarq = (challenge: number, title: string) =>
    fromHex(
      `60${(0x2b + challenge + title.length / 2).toString(16).padStart(2, '0')}a109060760857405080103${title}8a0207808b0760857405080205ac${(challenge + 2).toString(16).padStart(2, '0')}80${challenge.toString(16).padStart(2, '0')}${'5a'.repeat(challenge)}be10040e01000000065f1f0400007e1f04b0`.replace(
        /^60../,
        '',
      ),
    );
  const whole = (body: Uint8Array) => Uint8Array.from([0x60, body.length, ...body]);
  const title = `a60a0408${toHex(TITLE)}`;
  for (const [challenge, given, expected] of [
    [7, title, 'a305a10302010d'],
    [65, title, 'a305a10302010d'],
    [16, '', 'a305a103020103'],
    [16, 'a60904070102030405060a', 'a305a103020103'],
  ] as const) {
    const answer = ask(secure().server.session('x', { transport: 'stream' })!, whole(aarq(challenge, given)));
    assert.ok(answer.includes(expected), `${challenge} ${given}: ${answer}`);
  }
  assert.is(ask(secure().server.session('x')!, whole(aarq(16, title))), 'd80105', 'a plain initiate is no AARE');
});

Security('only a protected release ends a ciphered association on datagrams', () => {
  const meter = secure();
  const { client, run, session } = connect(meter);
  run(client.associate());
  assert.is(ask(session, fromHex('6203800100')), 'd80102');
  assert.is(run(client.get(NAME)).type, 'octet-string');
  run(client.release());
  assert.is(ask(session, fromHex('6203800100')), '6303800100', 'without an association a release is harmless');
  const stream = connect(meter, { title: asciiBytes('S3H00002') }, { key: 'tcp', transport: 'stream' });
  stream.run(stream.client.associate());
  assert.is(ask(stream.session, fromHex('6203800100')), '6303800100');
});

Security('the client takes no answer that is forged, plain or repeated', () => {
  const meter = secure();
  const { client, run, session } = connect(meter);
  run(client.associate());
  const first = client.get(NAME);
  const request = (first.next().value as Uint8Array).slice();
  const answer = give(session, request);
  const forged = answer.slice();
  forged[forged.length - 1]! ^= 1;
  const plain = fromHex(`0001000100010017${'c401c10009104142'}${'43'.repeat(15)}`);
  assert.not.ok(client.takes(request, forged));
  assert.not.ok(client.takes(request, plain));
  assert.ok(client.takes(request, answer));
  assert.not.ok(client.takes(request, answer), 'not twice');
  const done = first.next(answer);
  assert.ok(done.done && done.value.type === 'octet-string');
  const second = client.get(OUTPUT);
  const next = (second.next().value as Uint8Array).slice();
  assert.not.ok(client.takes(next, answer), 'an answer to an earlier request');
  assert.is(failure(() => second.next(plain)).code, 'dlms.unexpected-answer');
});

Security('a captured exchange is opened by the server with the same keys', () => {
  // The counter and challenge of a foreign client, captured: the AARQ opens, and the AARE asks for authentication.
  const meter = testMeter({ security: testSecurity() });
  const aarq = fromHex(
    '605da109060760857405080103a60a04084d4d4d00000000018a0207808b0760857405080205ac12801090979aad82801bf88f826cc7deb27774be230421211f3000000064d58d97269c48bb93d990a934ca946160b68b6aaaf7f7314d85f1',
  );
  const answer = ask(meter.server.session('gurux')!, aarq);
  assert.match(answer, /a305a10302010e/);
  const header = new Uint8Array(4);
  writeU32(header, 0, meter.port.security!.options.counters.last(fromHex('4d4d4d0000000001')));
  assert.is(toHex(header), '00000064');
});

Security('a client that is hidden on a transport does not exist there', () => {
  const meter = secure();
  const ask16 = (hiddenClients: readonly number[]) => {
    const session = meter.server.session(`hidden ${hiddenClients}`, { hiddenClients })!;
    const client = new DlmsClient({ clientSap: 16 });
    return give(session, client.associate().next().value as Uint8Array).length;
  };
  assert.is(ask16([16]), 0);
  assert.ok(ask16([]) > 0);
});

Security.run();
