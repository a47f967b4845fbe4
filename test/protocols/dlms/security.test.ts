/** The ciphered associations of a live server, byte for byte where it matters: opening, services, refusals, replay. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, readU32, toHex, writeU32 } from '#base/bytes';
import { DlmsError } from '#base/errors';
import type { Data } from '#dlms/axdr';
import { CIPHER_HEADROOM, CipherKey, GENERAL_GLO, sealApdu } from '#dlms/cipher';
import { DlmsClient } from '#dlms/client';
import { type ClientSecurityOptions, MemoryCounter } from '#dlms/client-security';
import { judgingTime } from '#dlms/cosem/clock';
import { CounterBook, type CounterStorage, MAX_COUNTER } from '#dlms/counters';
import { DATE_TIME_SIZE, encodeDateTime } from '#dlms/date-time';
import { exchangeSync } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import { type KeySet, Policy } from '#dlms/security';
import type { ServerSession } from '#dlms/server';
import { encodeSigned, type SignedCommand } from '#dlms/signing';
import { EventCode } from '#dlms/well-known';
import { encodeWrapperHeader, WRAPPER_SIZE } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';
import { nodeCrypto } from '#hw/crypto';
import {
  KEYS,
  KNOWN_REGISTERS,
  METER_TITLE,
  type TestMeter,
  testMeter,
  testSecurity,
} from '../../interop/dlms-meter.ts';
import { wrapKey } from './wrap-key.ts';

const Security = suite('dlms security');

const TITLE = asciiBytes('S3H00001');
const METER_KEY = '0f'.repeat(32);
const METER_PUBLIC =
  '048ffb7a2eaeaaf7931c1fb21192b737b39290fec6f055df4a35fd5e55c87a94ce656ced1ba84ae54ea9a3fb92122f3863c2448bd0719824d8d527615ce2a46d99';
const CLIENT_KEY = '1e'.repeat(32);
const CLIENT_PUBLIC =
  '04983c47fa5f7e1687726910c5baf9c59b5780e1652bd9369c33a77331412ab5b79f240959173974530980267edfc481b72f112edc3f4311968f82a6fac5f406a4';
const NAME = { classId: 1, ln: parseObis('0-0:42.0.0.255'), attribute: 2 };
const OUTPUT = { classId: 70, ln: parseObis('0-0:96.3.10.255'), attribute: 2 };
const DISCONNECT = { classId: 70, ln: parseObis('0-0:96.3.10.255'), method: 1 };
const RECONNECT = { classId: 70, ln: parseObis('0-0:96.3.10.255'), method: 2 };
const SETUP = { classId: 64, ln: parseObis('0-0:43.0.0.255') };
const COUNTER = { classId: 1, ln: parseObis('0-0:43.1.0.255'), attribute: 2 };
const LDN = fromHex('c001c1000100002a0000ff0200');
const out = new Uint8Array(4096);

interface Line {
  readonly client: DlmsClient;
  readonly session: ServerSession;
  /** Every frame that the client sent. */
  readonly sent: Uint8Array[];
  /** Every answer. */
  readonly got: Uint8Array[];
  run<T>(operation: Generator<Uint8Array, T, Uint8Array>): T;
}

function options(extra: Partial<ClientSecurityOptions> = {}): ClientSecurityOptions {
  return {
    crypto: nodeCrypto,
    mechanism: 5,
    title: TITLE,
    unicast: KEYS.unicast,
    authentication: KEYS.authentication,
    counter: new MemoryCounter(),
    ...extra,
  };
}

function connect(
  meter: TestMeter,
  extra: Partial<ClientSecurityOptions> = {},
  more: { key?: string; transport?: 'stream' | 'datagram'; maxPdu?: number } = {},
): Line {
  const { key = 'head end', transport = 'datagram', maxPdu = 1024 } = more;
  const session = meter.server.session(key, { transport })!;
  const client = new DlmsClient({ clientSap: 1, maxPdu, security: options(extra) });
  const sent: Uint8Array[] = [];
  const got: Uint8Array[] = [];
  return {
    client,
    session,
    sent,
    got,
    run: (operation) =>
      exchangeSync(operation, (frame) => {
        sent.push(frame.slice());
        const answer = give(session, frame);
        got.push(answer);
        return answer;
      }),
  };
}

function give(session: ServerSession, frame: Uint8Array, atMs = 1000): Uint8Array {
  return out.slice(0, session.receive(frame.slice(), out, atMs));
}

/** Gives an APDU as client 1; the answer's APDU as hex. */
function ask(session: ServerSession, apdu: Uint8Array): string {
  const frame = new Uint8Array(WRAPPER_SIZE + apdu.length);
  encodeWrapperHeader(frame, 0, 1, 1, apdu.length);
  frame.set(apdu, WRAPPER_SIZE);
  return toHex(give(session, frame), WRAPPER_SIZE);
}

function sealed(
  plain: Uint8Array,
  counter: number,
  { style = 0xc8, sc = 0x30, title = TITLE, key = KEYS.unicast } = {},
) {
  const w = new ByteWriter(new Uint8Array(2048));
  w.at = CIPHER_HEADROOM;
  w.bytes(plain);
  const cipher = new CipherKey(nodeCrypto.gcmKey(key), KEYS.authentication);
  sealApdu(w, 0, CIPHER_HEADROOM, { tag: style, sc, hasTitle: true }, cipher, title, counter);
  return w.written();
}

function failure(run: () => unknown): DlmsError {
  try {
    run();
  } catch (error) {
    if (error instanceof DlmsError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

const random16 = () => nodeCrypto.random(16);
const secure = () => testMeter({ security: testSecurity() });
const reasons = ({ events }: TestMeter) =>
  events.flatMap((event) => ('reason' in event && event.kind !== 'association-closed' ? [event.reason] : []));

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

Security('a repeated latest datagram is answered again, an older or lower one is a replay', () => {
  const meter = secure();
  const { client, run, session, sent, got } = connect(meter);
  run(client.associate());
  assert.equal(give(session, sent[1]!), got[1], 'the handshake, too');
  run(client.action(DISCONNECT));
  const disconnect = sent.at(-1)!;
  assert.equal(give(session, disconnect), got.at(-1));
  assert.equal(give(session, disconnect, 200_000), got.at(-1), 'no matter how late');
  run(client.action(RECONNECT));
  assert.ok(meter.relay.connected);
  const moves = meter.relay.moves.length;
  const counter = readU32(disconnect, WRAPPER_SIZE + 3);
  const answer = toHex(give(session, disconnect), WRAPPER_SIZE);
  assert.is(answer, `d80106${(counter + 2).toString(16).padStart(8, '0')}`);
  assert.is(meter.relay.moves.length, moves);
  assert.ok(reasons(meter).includes('replayed'));
  assert.equal(give(session, sent.at(-1)!), got.at(-1), 'a replay does not push the latest request out');
  const forged = sealed(LDN, 99, { key: KEYS.master });
  assert.is(ask(session, forged), 'd80105');
  assert.equal(give(session, sent.at(-1)!), got.at(-1), 'nor does a forged one');
});

Security('an AARQ that is replayed or forged neither opens nor ends an association', () => {
  const meter = secure();
  const { client, run, session, sent } = connect(meter);
  run(client.associate());
  run(client.get(NAME));
  const replay = toHex(give(session, sent[0]!, 60_000), WRAPPER_SIZE);
  assert.match(replay, /^d80106/);
  const forged = sent[0]!.slice();
  forged[forged.length - 1]! ^= 1;
  assert.is(toHex(give(session, forged), WRAPPER_SIZE), 'd80105');
  assert.is(run(client.get(NAME)).type, 'octet-string');
  // The same from elsewhere: neither.
  const elsewhere = meter.server.session('attacker')!;
  assert.match(toHex(give(elsewhere, sent[0]!), WRAPPER_SIZE), /^d80106/);
  assert.is(ask(elsewhere, LDN), 'd80101');
});

/** Runs an exchange up to the point where a request's answer is lost: gives the frame, takes nothing. */
function begun(operation: Generator<Uint8Array, void, Uint8Array>): Uint8Array {
  return (operation.next().value as Uint8Array).slice();
}

Security('late copies of a handshake are dropped: no answer, no event, no failure counted', () => {
  const meter = secure();
  const { client, run, session, sent } = connect(meter);
  run(client.associate());
  const [aarq, proof] = sent as [Uint8Array, Uint8Array];
  assert.is(give(session, aarq).length, 0, 'the AARQ, while the answer to the challenge is the latest');
  run(client.get(NAME));
  const { length } = meter.events;
  for (const late of [aarq, proof]) assert.is(give(session, late, 5000).length, 0);
  assert.is(meter.events.length, length);
  assert.is(run(client.get(NAME)).type, 'octet-string', 'the association goes on');
  for (const replay of [aarq, proof]) assert.match(toHex(give(session, replay, 60_000), WRAPPER_SIZE), /^d80106/);
  assert.equal(reasons(meter), ['replayed', 'replayed'], 'much later it is a replay');
});

Security('an AARQ that stayed unanswered is sent again as it is, so that a late AARE leads to an association', () => {
  const meter = secure();
  const { client, run, session, sent } = connect(meter);
  const first = begun(client.associate(1000));
  const late = give(session, first);
  const again = begun(client.associate(6000));
  assert.equal(again, first);
  assert.ok(client.takes(again, late));
  run(client.associate(6500));
  assert.equal(sent[0], first);
  assert.is(run(client.get(NAME)).type, 'octet-string');
  assert.equal(
    meter.events.map(({ kind }) => kind),
    ['association-opened'],
  );

  const { client: slow, session: other } = connect(meter, { title: asciiBytes('S3H00002') }, { key: 'slow' });
  const old = begun(slow.associate(0));
  give(other, old);
  assert.not.equal(begun(slow.associate(20_001)), old, 'the server has stopped waiting for its challenge');
  const { client: stream } = connect(meter, { title: asciiBytes('S3H00003') }, { key: 'stream' });
  assert.not.equal(begun(stream.associate()), begun(stream.associate()), 'a stream brings nothing late');
});

Security('an AARQ is not answered by what came late from before it', () => {
  const meter = secure();
  const counter = new MemoryCounter(10);
  const { client, run, got } = connect(meter, { counter });
  run(client.associate(0));
  const [aare] = got as [Uint8Array];
  const restarted = connect(meter, { counter: new MemoryCounter(5) }, { key: 'restarted' });
  const operation = restarted.client.associate(0);
  const behind = begun(operation);
  const refusal = give(restarted.session, behind);
  const next = (operation.next(refusal).value as Uint8Array).slice();
  assert.not.equal(next, behind);
  assert.not.ok(restarted.client.takes(next, refusal), 'the counter that it asks for is the one that was taken');
  assert.ok(restarted.client.takes(next, give(restarted.session, next)));

  const anew = begun(client.associate(0));
  const exception = (apdu: string) => fromHex(`000100010001${(apdu.length / 2).toString(16).padStart(4, '0')}${apdu}`);
  assert.not.ok(client.takes(anew, exception('d80101')), 'a lost association is nothing to an AARQ');
  assert.not.ok(client.takes(anew, aare), 'the AARE of the association before');
  assert.ok(client.takes(anew, exception('d80105')));
  assert.ok(client.takes(anew, exception('d80106000000ff')));
});

Security('a client that a restart put behind is refused without an event, a replay after it is one', () => {
  let record: Uint8Array | undefined;
  const storage: CounterStorage = {
    load: () => record,
    store: (next) => {
      record = next.slice();
    },
  };
  const start = () => testMeter({ security: testSecurity({ counters: new CounterBook(storage) }) });
  const counter = new MemoryCounter(1000);
  const before = connect(start(), { counter });
  before.run(before.client.associate());
  before.run(before.client.get(NAME));

  const meter = start();
  const { client, run, session, sent, got } = connect(meter, { counter });
  const value = (classId: number, obis: string, attribute: number) => {
    const data = run(client.get({ classId, ln: parseObis(obis), attribute }));
    return 'value' in data ? data.value : undefined;
  };
  const fraud = () => [value(7, '0-0:99.98.1.255', 7), value(1, '0-0:96.11.1.255', 2), value(1, '0-0:97.98.0.255', 2)];
  run(client.associate());
  assert.is(toHex(got[0]!, WRAPPER_SIZE), `d80106${(1001 + 256).toString(16).padStart(8, '0')}`);
  assert.equal(reasons(meter), ['behind-restart']);
  assert.equal(fraud(), [0, 0, 0]);

  assert.is(give(session, sent[0]!).length, 0, 'a late copy of it is dropped');
  assert.equal(reasons(meter), ['behind-restart']);
  assert.match(toHex(give(session, sent[0]!, 60_000), WRAPPER_SIZE), /^d80106/);
  assert.equal(reasons(meter), ['behind-restart', 'replayed']);
  assert.equal(fraud(), [1, EventCode.replay, 1 << 3]);

  // Below what a restart can have skipped it is a replay at once.
  const attacked = start();
  const old = connect(attacked, { counter: new MemoryCounter(10) });
  old.run(old.client.associate());
  assert.equal(reasons(attacked), ['replayed']);
});

Security('a client whose counter is behind is told where to go on, and goes there once', () => {
  const meter = secure();
  const first = connect(meter);
  first.run(first.client.associate());
  first.run(first.client.get(NAME));
  const again = connect(meter, { counter: new MemoryCounter() }, { key: 'restarted' });
  again.run(again.client.associate());
  assert.is(again.run(again.client.get(NAME)).type, 'octet-string');
  const far = meter.server.session('far')!;
  const late = connect(meter, { counter: new MemoryCounter(1_000_000) });
  late.run(late.client.associate());
  const lost = connect(meter, { counter: new MemoryCounter() }, { key: 'lost' });
  const { context } = failure(() => lost.run(lost.client.associate()));
  assert.is(context?.service, 6, 'a jump that is too far is not believed');
  assert.ok(far);
});

Security('the last counter is taken once, then the keys are used up', () => {
  const meter = secure();
  const { client, run, session } = connect(meter, { counter: new MemoryCounter(MAX_COUNTER - 4) });
  run(client.associate());
  assert.is(run(client.get(NAME)).type, 'octet-string');
  assert.is(failure(() => run(client.get(NAME))).code, 'dlms.counters-used-up');
  assert.is(ask(session, sealed(LDN, MAX_COUNTER)), `d80106ffffffff`);
});

Security('a server without counters says nothing under its key', () => {
  let isBroken = false;
  const security = testSecurity();
  const { counters } = security.options;
  const next = counters.next.bind(counters);
  counters.next = () => (isBroken ? 0 : next());
  const meter = testMeter({ security });
  const { client, run, session } = connect(meter);
  run(client.associate());
  isBroken = true;
  assert.is(ask(session, sealed(LDN, 77)), 'd80103');
  assert.ok(reasons(meter).includes('counters-used-up'));
  const other = connect(meter, { title: asciiBytes('S3H00002') }, { key: 'other' });
  assert.equal(failure(() => other.run(other.client.associate())).context, { state: 1, service: 3 });
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
  late.session.receive(fromHex('0001001000010001c0'), out, 1000);
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

Security('keys are transferred all or none, hold from the next request on, and reset no counter', () => {
  const stored: unknown[] = [];
  const security = testSecurity({ onChange: (keys, policy) => stored.push([toHex(keys.unicast), policy]) });
  const meter = testMeter({ security });
  const counter = new MemoryCounter();
  const { client, run } = connect(meter, { counter });
  run(client.associate());
  const fresh = fromHex('a0a1a2a3a4a5a6a7a8a9aaabacadaeaf');
  const wrap = (key: Uint8Array, id = 0, master = KEYS.master) =>
    ({
      type: 'structure',
      value: [
        { type: 'enum', value: id },
        { type: 'octet-string', value: wrapKey(master, key) },
      ],
    }) as const;
  const transfer = (...value: ReturnType<typeof wrap>[]) =>
    client.action({ ...SETUP, method: 2 }, { type: 'array', value });
  for (const bad of [
    [wrap(fresh, 0, KEYS.unicast)],
    [wrap(fresh), wrap(fresh, 9)],
    [wrap(fresh), wrap(new Uint8Array(24))],
    [],
  ])
    assert.is(failure(() => run(transfer(...bad))).context?.result, 250);
  assert.is(failure(() => run(client.action({ ...SETUP, method: 2 }))).context?.result, 12);
  assert.equal(stored, []);
  assert.is(run(client.get(NAME)).type, 'octet-string', 'nothing has changed');
  const highest = security.options.counters.highest();
  run(transfer(wrap(fresh)));
  assert.equal(stored, [[toHex(fresh), 3]]);
  assert.equal(failure(() => run(client.get(NAME))).context, { state: 1, service: 5 }, 'the old key is over');
  const renewed = connect(meter, { counter, unicast: fresh });
  renewed.run(renewed.client.associate());
  assert.ok(security.options.counters.highest() > highest);
  assert.is(renewed.run(renewed.client.get(NAME)).type, 'octet-string');
});

Security('keys that were replaced are wiped, those that were handed in are not', () => {
  const kept: KeySet[] = [];
  const security = testSecurity({ onChange: (keys) => void kept.push(keys) });
  const wrap = (key: Uint8Array) => wrapKey(KEYS.master, key);
  const [first, second] = [random16(), random16()];
  assert.ok(security.transfer([[0, wrap(first)]]));
  assert.is(toHex(kept[0]!.unicast), toHex(first));
  assert.not.ok(
    security.transfer([
      [0, wrap(second)],
      [9, wrap(second)],
    ]),
    'all or none',
  );
  assert.is(toHex(kept[0]!.unicast), toHex(first), 'still in use');
  assert.ok(security.transfer([[0, wrap(second)]]));
  assert.is(toHex(kept[0]!.unicast), toHex(new Uint8Array(16)));
  assert.is(toHex(kept[1]!.unicast), toHex(second));
  assert.ok(KEYS.unicast.some((byte) => byte !== 0));
});

Security('a key transfer that cannot be stored changes nothing', () => {
  const security = testSecurity({
    onChange: () => {
      throw new Error('no space');
    },
  });
  assert.not.ok(security.transfer([[0, wrapKey(KEYS.master, KEYS.master)]]));
  assert.not.ok(security.activate(Policy.both));
});

Security('the policy only rises', () => {
  const security = testSecurity({ policy: Policy.authenticated });
  const meter = testMeter({ security });
  const { client, run, session } = connect(meter);
  run(client.associate());
  const activate = (value: number) => run(client.action({ ...SETUP, method: 1 }, { type: 'enum', value }));
  assert.is(failure(() => activate(0)).context?.result, 250);
  assert.is(failure(() => activate(2)).context?.result, 250);
  assert.is(failure(() => activate(4)).context?.result, 250);
  assert.match(ask(session, sealed(LDN, 60, { sc: 0x10 })), /^cc..10/, 'the answer has the protection of its request');
  const behind = connect(meter, { counter: new MemoryCounter(100), title: asciiBytes('S3H00005') }, { key: 'k' });
  behind.run(behind.client.associate());
  behind.run(behind.client.action({ ...SETUP, method: 1 }, { type: 'enum', value: 3 }));
  assert.is(security.policy, 3);
  assert.is(ask(session, sealed(LDN, 61, { sc: 0x10 })), 'd80105');
});

Security('the security setup and the counter are read by those who may', () => {
  const meter = secure();
  const { client, run } = connect(meter);
  run(client.associate());
  const read = (attribute: number) => {
    const data = run(client.get({ ...SETUP, attribute }));
    return 'value' in data ? data.value : null;
  };
  assert.is(read(2), 3);
  assert.is(read(3), 0);
  assert.equal(read(4), TITLE);
  assert.equal(read(5), METER_TITLE);
  const highest = meter.port.security!.options.counters.highest();
  const pub = new DlmsClient({ clientSap: 16 });
  const session = meter.server.session('public')!;
  exchangeSync(pub.associate(), (frame) => give(session, frame));
  const counter = exchangeSync(pub.get(COUNTER), (frame) => give(session, frame));
  assert.equal(counter, { type: 'double-long-unsigned', value: highest });
  assert.is(
    failure(() => exchangeSync(pub.get({ ...SETUP, attribute: 2 }), (frame) => give(session, frame))).context?.result,
    4,
  );
});

// Signed commands

const COMMANDER = nodeCrypto.signingKey(fromHex(CLIENT_KEY));
const NOW = 1_800_000_000;

function signer(extra: Partial<SignedCommand> = {}, key = COMMANDER) {
  return (content: Uint8Array): Uint8Array => {
    const w = new ByteWriter(new Uint8Array(1024));
    const command = {
      number: 1,
      originator: TITLE,
      recipient: METER_TITLE,
      notBefore: NOW - 60,
      expiry: NOW + 60,
      reason: 'order 4711',
      content,
      ...extra,
    };
    encodeSigned(w, command, key);
    return w.written();
  };
}

function commanded(
  epochS: (request: Uint8Array) => number | undefined = () => NOW,
  port: Parameters<typeof testMeter>[0] = {},
) {
  const security = testSecurity();
  return testMeter(
    { security, commands: 'signed', ...port },
    {
      epochS,
      commands: {
        keys: [nodeCrypto.verifyKey(fromHex(CLIENT_PUBLIC))],
        title: METER_TITLE,
        accept: (number) => security.options.counters.acceptCommand(number),
      },
    },
  );
}

Security('an unsigned command is refused with 13, a signed one is carried out once', () => {
  const meter = commanded();
  const { client, run } = connect(meter);
  run(client.associate());
  assert.is(failure(() => run(client.action(DISCONNECT))).context?.result, 13);
  assert.equal(meter.relay.moves, []);
  run(client.signed(signer(), client.action(DISCONNECT)));
  assert.not.ok(meter.relay.connected);
  assert.is(failure(() => run(client.signed(signer(), client.action(RECONNECT)))).context?.result, 13, 'same number');
  run(client.signed(signer({ number: 2 }), client.action(RECONNECT)));
  assert.ok(meter.relay.connected);
  assert.is(run(client.get(NAME)).type, 'octet-string', 'what needs no signature goes without');
  assert.equal(
    meter.events.flatMap((e) => (e.kind.startsWith('command') && 'reason' in e ? [`${e.kind} ${e.reason}`] : [])),
    ['command-accepted order 4711', 'command-refused replayed', 'command-accepted order 4711'],
  );
});

Security('commands that are forged, early, expired, for another meter or without a clock are refused', () => {
  const bad: readonly (readonly [string, Partial<SignedCommand>, typeof COMMANDER])[] = [
    ['signature', {}, nodeCrypto.signingKey(fromHex(METER_KEY))],
    ['recipient', { recipient: asciiBytes('S3M09999') }, COMMANDER],
    ['not-yet', { notBefore: NOW + 1 }, COMMANDER],
    ['expired', { expiry: NOW - 1 }, COMMANDER],
    ['replayed', { number: 0 }, COMMANDER],
  ];
  for (const [reason, extra, key] of bad) {
    const meter = commanded();
    const { client, run } = connect(meter);
    run(client.associate());
    assert.is(failure(() => run(client.signed(signer(extra, key), client.action(DISCONNECT)))).context?.result, 13);
    assert.equal(reasons(meter), [reason]);
    assert.equal(meter.relay.moves, []);
  }
  const timeless = commanded(() => undefined);
  const line = connect(timeless);
  line.run(line.client.associate());
  assert.is(failure(() => line.run(line.client.signed(signer(), line.client.action(DISCONNECT)))).context?.result, 13);
  assert.equal(reasons(timeless), ['clock']);
});

const CLOCK_TIME = { classId: 8, ln: parseObis('0-0:1.0.0.255'), attribute: 2 };

function timeOf(epochMs: number, deviation = 0): Data {
  const value = new Uint8Array(DATE_TIME_SIZE);
  encodeDateTime(value, 0, epochMs, deviation, 0);
  return { type: 'octet-string', value };
}

/** A meter whose clock stands at a bound, two hours behind `NOW`. */
function timeless() {
  const clock = { epochMs: (NOW - 7200) * 1000, isSet: false };
  const meter = commanded(
    judgingTime(() => clock),
    {
      wallClock: () => clock,
      setTime: (epochMs) => {
        clock.epochMs = epochMs;
        clock.isSet = true;
        return true;
      },
    },
  );
  const { client, run } = connect(meter);
  run(client.associate());
  const resultOf = (work: () => unknown) => failure(work).context?.result;
  return { clock, meter, client, run, resultOf };
}

Security('a clock that is not set is set by a signed request only, and then commands are obeyed', () => {
  const { clock, meter, client, run, resultOf } = timeless();
  const set = (epochMs: number) => client.set(CLOCK_TIME, timeOf(epochMs));
  assert.is(
    resultOf(() => run(set(NOW * 1000))),
    13,
    'unsigned',
  );
  assert.is(
    resultOf(() => run(client.signed(signer(), client.action(DISCONNECT)))),
    13,
  );
  assert.equal(reasons(meter), ['clock']);
  run(client.signed(signer({ number: 2 }), set(NOW * 1000 + 250)));
  assert.equal(clock, { epochMs: NOW * 1000 + 250, isSet: true });
  run(client.signed(signer({ number: 3 }), client.action(DISCONNECT)));
  assert.not.ok(meter.relay.connected);
});

Security('a request that sets the clock is judged by the time that it sets, and obeyed once', () => {
  const { clock, meter, client, run, resultOf } = timeless();
  const before = { ...clock };
  const setting = (epochMs: number, extra: Partial<SignedCommand>, key?: typeof COMMANDER, deviation = 0) =>
    client.signed(signer(extra, key), client.set(CLOCK_TIME, timeOf(epochMs, deviation)));
  const bad: readonly (readonly [string, Parameters<typeof setting>])[] = [
    ['expired', [(NOW + 3600) * 1000, {}]],
    ['not-yet', [(NOW - 3600) * 1000, {}]],
    ['signature', [NOW * 1000, {}, nodeCrypto.signingKey(fromHex(METER_KEY))]],
    ['recipient', [NOW * 1000, { recipient: asciiBytes('S3M09999') }]],
    // Without deviation nobody knows which time it is.
    ['clock', [NOW * 1000, {}, COMMANDER, -0x8000]],
  ];
  for (const [reason, parameters] of bad) {
    assert.is(
      resultOf(() => run(setting(...parameters))),
      13,
      reason,
    );
    assert.is(reasons(meter).at(-1), reason);
    assert.equal(clock, before, reason);
  }
  run(setting(NOW * 1000, { number: 5 }));
  clock.isSet = false;
  assert.is(
    resultOf(() => run(setting(NOW * 1000, { number: 5 }))),
    13,
    'the same once more',
  );
  assert.is(reasons(meter).at(-1), 'replayed');
  assert.not.ok(clock.isSet);
});

Security('a clock that is not set is not adjusted either: that would make it look as if it were', () => {
  const { clock, client, run, resultOf } = timeless();
  for (const method of [1, 2, 3, 6]) {
    const parameter: Data = method === 6 ? { type: 'long', value: 60 } : { type: 'integer', value: 0 };
    const adjust = () => client.action({ ...CLOCK_TIME, method }, parameter);
    assert.is(
      resultOf(() => run(adjust())),
      13,
      `method ${method}`,
    );
    assert.is(
      resultOf(() => run(client.signed(signer({ number: method }), adjust()))),
      13,
      `method ${method}, signed`,
    );
  }
  assert.not.ok(clock.isSet);
  const plain = testMeter({ wallClock: () => clock });
  const context = { ...plain.model.device.ownContext('test'), role: 'password' };
  const ln = parseObis('0-0:1.0.0.255');
  assert.is(
    plain.model.device.invoke(context, 8, ln, 0, 3, { type: 'integer', value: 0 }, new ByteWriter(new Uint8Array(8))),
    2,
  );
});

Security('any change of a signed command breaks it', () => {
  const meter = commanded();
  const { client, run } = connect(meter);
  run(client.associate());
  const length = signer()(fromHex('c301c10046000060030aff01010f00')).length;
  for (let at = 1; at < length; at++) {
    const tamper = (content: Uint8Array) => {
      const command = signer()(content);
      command[at]! ^= 1;
      return command;
    };
    assert.throws(() => run(client.signed(tamper, client.action(DISCONNECT))));
    if (!client.isAssociated) run(client.associate());
  }
  assert.equal(meter.relay.moves, []);
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
