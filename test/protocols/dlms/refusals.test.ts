/**
 * Requests that must not be served: each gets exactly the answer that the table of refusals has for it, gives no data, is
 * an event of the server, and stands in the meter's log.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { CIPHER_HEADROOM, CipherKey, sealApdu } from '#dlms/cipher';
import { DlmsClient } from '#dlms/client';
import { MemoryCounter } from '#dlms/client-security';
import { exchangeSync } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import { ByteReader } from '#dlms/reader';
import { Result } from '#dlms/result';
import type { ServerEvent, ServerSession } from '#dlms/server';
import { EventCode } from '#dlms/well-known';
import { encodeWrapperHeader, WRAPPER_SIZE } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';
import { nodeCrypto } from '#hw/crypto';
import { KEYS, METER_TITLE, PASSWORD, type TestMeter, testMeter, testSecurity } from '../../interop/dlms-meter.ts';

const Refusals = suite('dlms refusals');

const TITLE = asciiBytes('S3H00001');
const KEY = new CipherKey(nodeCrypto.gcmKey(KEYS.unicast), KEYS.authentication);
const GET_NAME = 'c001c1 0001 00002a0000ff 02 00';
const NO_ASSOCIATION = 'd80101';
const out = new Uint8Array(2056);

/** Where a request lands: a meter that takes signed commands only, and a client of it. */
interface Place {
  readonly meter: TestMeter;
  readonly session: ServerSession;
  readonly client: DlmsClient;
  readonly sap: number;
  /** Last counter that the client has used. */
  readonly counter: MemoryCounter;
  /** Every frame that the client sent. */
  readonly sent: Uint8Array[];
}

function place(sap: number, isOpen = true): Place {
  const meter = testMeter({ security: testSecurity(), commands: 'signed' });
  const session = meter.server.session('client')!;
  const counter = new MemoryCounter(100);
  const { unicast, authentication } = KEYS;
  const security = { crypto: nodeCrypto, mechanism: 5, title: TITLE, unicast, authentication, counter };
  const client = new DlmsClient({
    clientSap: sap,
    ...(sap === 1 ? { security } : sap === 17 ? { password: asciiBytes(PASSWORD) } : {}),
  });
  const sent: Uint8Array[] = [];
  if (isOpen)
    exchangeSync(client.associate(), (frame) => {
      sent.push(frame.slice());
      return give(session, frame);
    });
  return { meter, session, client, sap, counter, sent };
}

function give(session: ServerSession, frame: Uint8Array): Uint8Array {
  return out.slice(0, session.receive(frame.slice(), out, 1000));
}

/** Gives one APDU; the answer's APDU as hex. */
function ask({ session, sap }: Place, request: string | Uint8Array): string {
  const apdu = typeof request === 'string' ? fromHex(request) : request;
  const frame = new Uint8Array(WRAPPER_SIZE + apdu.length);
  encodeWrapperHeader(frame, 0, sap, 1, apdu.length);
  frame.set(apdu, WRAPPER_SIZE);
  return toHex(give(session, frame), WRAPPER_SIZE);
}

const STYLE = { tag: 0xc8, sc: 0x30, hasTitle: true };

function sealed(plain: string, counter: number, tag = 0xc8): Uint8Array {
  const w = new ByteWriter(new Uint8Array(256));
  w.at = CIPHER_HEADROOM;
  w.bytes(fromHex(plain));
  sealApdu(w, 0, CIPHER_HEADROOM, { ...STYLE, tag }, KEY, TITLE, counter);
  return w.written();
}

/** With a bit of its tag changed. */
function damaged(request: Uint8Array): Uint8Array {
  request[request.length - 1]! ^= 1;
  return request;
}

/** What the server's ciphered answer says. */
function opened(answer: string): string {
  const buf = fromHex(answer);
  // Tag, length of one byte, security control, counter.
  const counter = new ByteReader(buf, 3).u32('counter');
  const end = KEY.unprotect(0x30, METER_TITLE, counter, buf, 7, buf.length);
  assert.ok(end > 0, `${answer} opens`);
  return toHex(buf, 7, end);
}

/** The request of a client that wants in. */
function aarq({ client, sap }: Place, password?: string): Uint8Array {
  const asking = password === undefined ? client : new DlmsClient({ clientSap: sap, password: asciiBytes(password) });
  return (asking.associate().next().value as Uint8Array).slice(WRAPPER_SIZE);
}

/** Everything in the five logs but associations that came and went. */
function logged({ model }: TestMeter): number[] {
  return ['0-0:96.11.0.255', '0-0:96.11.1.255', '0-0:96.11.2.255', '0-0:96.11.4.255']
    .map((obis) => {
      const w = new ByteWriter(new Uint8Array(4));
      model.device.find(parseObis(obis))!.get!(2, w, undefined as never);
      return w.buf[1]!;
    })
    .filter((code) => code !== 0 && code !== EventCode.associationOpened && code !== EventCode.associationClosed);
}

interface Case {
  readonly what: string;
  readonly sap: number;
  readonly isOpen?: boolean;
  run(at: Place): string;
  /** The answer's APDU in hex, opened where it is ciphered. */
  readonly answer: string | RegExp;
  /** Of the server's event: its kind, and the part that says why. */
  readonly event: readonly [ServerEvent['kind'], string | number];
  readonly code: number;
}

const LONG = `c101c1 0001 0000600d00ff 02 00 09820410 ${'20'.repeat(1040)}`;
/** One request in the clear: what it is, the client, the request, the answer, and kind and reason of the event. */
const PLAIN: readonly (readonly [string, number, string, string, ServerEvent['kind'], string | number])[] = [
  ['a PDU that is too long', 17, LONG, 'd80104', 'request-refused', 'pdu-too-long'],
  ['GET of an object that is not there', 17, 'c001c1 0001 0000636363ff 02 00', 'c401c10104', 'get', 4],
  [
    'GET of an object that is not there, in a list',
    17,
    'c003c1 02 0001 0000636363ff 02 00 0003 0000600d00ff 02 00',
    'c403c10201040109',
    'get',
    4,
  ],
  ['SET of an object that is not there', 17, 'c101c1 0001 0000636363ff 02 00 0900', 'c501c104', 'set', 4],
  ['ACTION of an object that is not there', 17, 'c301c1 0046 0000636363ff 01 01 0f00', 'c701c10400', 'action', 4],
  ['an object of another class', 17, 'c001c1 0003 0000600d00ff 02 00', 'c401c10109', 'get', 9],
  ['an attribute that nobody may write', 17, 'c101c1 0003 0100010800ff 02 00 0600000000', 'c501c103', 'set', 3],
  ['a secret that nobody may read', 17, 'c001c1 000f 0000280000ff 07 00', 'c401c10103', 'get', 3],
  ['an object that this client does not see', 16, 'c001c1 0046 000060030aff 02 00', 'c401c10104', 'get', 4],
  ['an unsigned command', 17, 'c301c1 0046 000060030aff 01 01 0f00', 'c701c10d00', 'action', 13],
];

const CASES: readonly Case[] = [
  {
    what: 'a wrong password',
    sap: 17,
    isOpen: false,
    run: (at) => ask(at, aarq(at, 'wrong')),
    answer: /^61..a109060760857405080101a203020101a305a10302010d/,
    event: ['association-rejected', 13],
    code: EventCode.associationRejected,
  },
  {
    what: 'a wrong tag in the association request',
    sap: 1,
    isOpen: false,
    run: (at) => ask(at, damaged(aarq(at))),
    answer: 'd80105',
    event: ['protection-failed', 'undecipherable'],
    code: EventCode.decryptionFailure,
  },
  {
    what: 'a wrong tag in a request',
    sap: 1,
    run: (at) => ask(at, damaged(sealed(GET_NAME, 200))),
    answer: 'd80105',
    event: ['protection-failed', 'undecipherable'],
    code: EventCode.decryptionFailure,
  },
  {
    what: 'a replayed request',
    sap: 1,
    run: (at) => {
      const request = sealed(GET_NAME, 200);
      ask(at, request);
      ask(at, sealed(GET_NAME, 201));
      return ask(at, request);
    },
    answer: 'd80106000000ca',
    event: ['protection-failed', 'replayed'],
    code: EventCode.replay,
  },
  {
    what: 'a replayed association request from elsewhere',
    sap: 1,
    run: ({ meter, sent }) => toHex(give(meter.server.session('elsewhere')!, sent[0]!), WRAPPER_SIZE),
    // AARQ 101, answer to the challenge 102, its ciphering 103.
    answer: 'd8010600000068',
    event: ['protection-failed', 'replayed'],
    code: EventCode.replay,
  },
  {
    what: 'a lowered counter',
    sap: 1,
    run: (at) => ask(at, sealed(GET_NAME, 50)),
    answer: 'd8010600000068',
    event: ['protection-failed', 'replayed'],
    code: EventCode.replay,
  },
  ...PLAIN.map(([what, sap, request, answer, kind, why]) => ({
    what,
    sap,
    run: (at: Place) => ask(at, request),
    answer,
    event: [kind, why] as const,
    code: why === Result.scopeOfAccessViolated ? EventCode.commandRefused : EventCode.requestRefused,
  })),
  {
    what: 'an unsigned command under the right keys',
    sap: 1,
    run: (at) => opened(ask(at, sealed('c301c1 0046 000060030aff 01 01 0f00', 200, 0xcb))),
    answer: 'c701c10d00',
    event: ['action', 13],
    code: EventCode.commandRefused,
  },
  {
    what: 'an unsigned threshold of the limiter',
    sap: 1,
    run: (at) => opened(ask(at, sealed('c101c1 0047 0000110000ff 04 00 0600000001', 200, 0xc9))),
    answer: 'c501c10d',
    event: ['set', 13],
    code: EventCode.commandRefused,
  },
];

for (const { what, sap, isOpen = true, run, answer, event, code } of CASES)
  Refusals(`${what}: its answer, no data, an event`, () => {
    const at = place(sap, isOpen);
    at.meter.events.length = 0;
    const got = run(at);
    if (typeof answer === 'string') assert.is(got, answer);
    else assert.match(got, answer);
    const [kind, why] = event;
    const reasons = at.meter.events
      .filter((each) => each.kind === kind)
      .map((each) =>
        'reason' in each ? each.reason : 'diagnostic' in each ? each.diagnostic : 'result' in each ? each.result : '',
      );
    assert.ok(reasons.includes(why), `${kind}: ${reasons}`);
    assert.ok(logged(at.meter).includes(code), `${logged(at.meter)}`);
    assert.equal(at.meter.relay.moves, []);
    assert.is(at.meter.message.text, '');
    if (!isOpen) assert.is(ask(at, GET_NAME), NO_ASSOCIATION, 'no data');
  });

Refusals('what anyone can send again and again is one entry a minute in the log', () => {
  const at = place(16);
  const entries = () => {
    const w = new ByteWriter(new Uint8Array(8));
    at.meter.model.device.find(parseObis('0-0:99.98.4.255'))!.get!(7, w, undefined as never);
    return new ByteReader(w.buf, 1).u32('entries in use');
  };
  const before = entries();
  for (let i = 0; i < 500; i++) ask(at, 'c001c1 0001 0000636363ff 02 00');
  assert.is(entries(), before + 1);
  at.meter.clock.steadyMs += 60_000;
  ask(at, 'c001c1 0001 0000636363ff 02 00');
  assert.is(entries(), before + 2);
});

Refusals('values that are missing for now are no refusal', () => {
  const at = place(17);
  at.meter.clock.steadyMs += 60_000;
  at.meter.events.length = 0;
  assert.is(ask(at, 'c001c1 0003 0100200700ff 02 00'), 'c401c10102');
  assert.equal(at.meter.events, []);
});

Refusals.run();
