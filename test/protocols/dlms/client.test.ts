/** Our client against our server over the meter's model: every operation, lossy datagrams, and answers that are garbage. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, asciiText, fromHex } from '#base/bytes';
import { DlmsError } from '#base/errors';
import { DlmsClient } from '#dlms/client';
import { numberOf } from '#dlms/client-answers';
import { decodeDateTime } from '#dlms/date-time';
import { type Exchange, exchangeSync } from '#dlms/exchange';
import { Conformance } from '#dlms/initiate';
import { isAnswerTo } from '#dlms/match';
import { parseObis } from '#dlms/obis';
import type { ServerSession } from '#dlms/server';
import { MEASUREMENT_TIME, obisName, SUSPECT_QUANTITIES, suspectBit } from '#dlms/well-known';
import { seeded } from '#test/random';
import { Quality, Quantity } from '../../../firmware/measurement-image.ts';
import { KNOWN_REGISTERS, OBJECT_COUNT, PASSWORD, type TestMeter, testMeter } from '../../interop/dlms-meter.ts';

const Client = suite('dlms client');

const CONTROL = parseObis('0-0:96.3.10.255');
const MESSAGE = { classId: 1, ln: parseObis('0-0:96.13.0.255'), attribute: 2 };
const NAME = { classId: 1, ln: parseObis('0-0:42.0.0.255'), attribute: 2 };
const OBJECT_LIST = { classId: 15, ln: parseObis('0-0:40.0.0.255'), attribute: 2 };
const DISCONNECT = { classId: 70, ln: CONTROL, method: 1 };

function connect(options: { password?: string | null; maxPdu?: number; conformance?: number } = {}) {
  const { password = PASSWORD, ...rest } = options;
  const meter = testMeter();
  const session = meter.server.session('client')!;
  const credentials = password === null ? {} : { password: asciiBytes(password) };
  const client = new DlmsClient({ clientSap: password === null ? 16 : 17, ...credentials, ...rest });
  const frames = { sent: 0 };
  const out = new Uint8Array(2048);
  const send = (frame: Uint8Array): Uint8Array => {
    frames.sent++;
    return out.subarray(0, session.receive(frame, out, 0));
  };
  const run = <T>(operation: Exchange<T>): T => exchangeSync(operation, send);
  return { meter, session, client, run, frames };
}

function failure(run: () => unknown): DlmsError {
  try {
    run();
  } catch (error) {
    if (error instanceof DlmsError) return error;
    throw error;
  }
  return assert.unreachable('it should have failed') as never;
}

Client('reads every register of the meter in one request once the units are known', () => {
  const { client, run, frames } = connect();
  run(client.associate());
  const names = Object.keys(KNOWN_REGISTERS);
  const first = run(client.readRegisters(names));
  assert.is(frames.sent, 3, 'association, units, values');
  const again = run(client.readRegisters(names));
  assert.is(frames.sent, 4);
  for (const { registers } of [first, again])
    for (const { obis, value, unit, result } of registers)
      assert.equal([value, unit, result], [...KNOWN_REGISTERS[obis]!, 0], obis);
});

Client('stale values have a result instead of a value, suspect ones are marked', () => {
  const { client, run, meter } = connect();
  run(client.associate());
  meter.image.set(Quantity.activePower, 5000, meter.clock.steadyMs, Quality.suspect);
  meter.image.set(Quantity.voltage, 23_000, meter.clock.steadyMs - 10_001, Quality.good);
  const extras = ['0-0:96.10.1.255', SUSPECT_QUANTITIES, MEASUREMENT_TIME].map((obis) => ({
    classId: 1,
    ln: parseObis(obis),
    attribute: 2,
  }));
  const { registers, others } = run(client.readRegisters(['1-0:32.7.0.255', '1-0:1.7.0.255'], extras));
  assert.equal(registers[0], { obis: '1-0:32.7.0.255', value: null, unit: 'V', result: 2 });
  assert.is(registers[1]!.value, 5000);
  const [status, suspects, time] = others.map(({ data }) => data!);
  assert.is(numberOf(status!), 0x04);
  assert.is(numberOf(suspects!), suspectBit('1-0:1.7.0.255'));
  assert.is(suspectBit('1-0:16.7.0.255'), suspectBit('1-0:1.7.0.255'));
  assert.is(suspectBit('0-0:42.0.0.255'), 0);
  assert.ok(time?.type === 'octet-string');
  assert.is(decodeDateTime(time.value)?.epochMs, meter.clock.epochMs);
  assert.is(obisName('1-0:32.7.0.255'), 'Voltage');
});

Client('reads long values in blocks of any size, also when nothing else was negotiated', () => {
  const sizes = [64, 65, 127, 200, 500, 1024];
  const lists = sizes.map((maxPdu) => {
    const { client, run } = connect({ maxPdu });
    run(client.associate());
    const list = run(client.get(OBJECT_LIST));
    assert.ok(list.type === 'array');
    assert.is(list.value.length, OBJECT_COUNT);
    return JSON.stringify(list);
  });
  assert.is(new Set(lists).size, 1);
});

Client('lists are read in one request, in blocks, or one by one, with the same results', () => {
  const refs = [NAME, MESSAGE, { ...NAME, classId: 3 }, { ...NAME, attribute: 9 }, OBJECT_LIST];
  const full = connect();
  const blocks = connect({ maxPdu: 100 });
  const single = connect({ conformance: Conformance.get | Conformance.blockTransferWithGet });
  const results = [full, blocks, single].map(({ client, run }) => {
    run(client.associate());
    return run(client.getList(refs)).map(({ data, result }) => [JSON.stringify(data), result]);
  });
  assert.equal(results[0], results[1]);
  assert.equal(results[0], results[2]);
  assert.equal(
    results[0]!.map(([, result]) => result),
    [0, 0, 9, 4, 0],
  );
  assert.ok(single.frames.sent > refs.length);
  const many = full.run(full.client.getList(Array.from({ length: 40 }, () => NAME)));
  assert.is(many.length, 40, 'more than one request holds');
});

Client('switches the relay and writes the message', () => {
  const { client, run, meter } = connect();
  run(client.associate());
  assert.is(run(client.action(DISCONNECT)), null);
  assert.is(meter.relay.connected, false);
  assert.equal(run(client.get({ classId: 70, ln: CONTROL, attribute: 2 })), { type: 'boolean', value: false });
  assert.equal(run(client.get({ classId: 70, ln: CONTROL, attribute: 3 })), { type: 'enum', value: 0 });
  run(client.action({ classId: 70, ln: CONTROL, method: 2 }, null));
  assert.is(meter.relay.connected, true);
  run(client.set(MESSAGE, { type: 'utf8-string', value: 'Störung bis 18:00' }));
  assert.is(meter.message.text, 'Störung bis 18:00');
  const read = run(client.get(MESSAGE));
  assert.ok(read.type === 'octet-string');
  assert.is(Buffer.from(read.value).toString(), 'Störung bis 18:00');
  run(client.release());
  assert.not.ok(client.isAssociated);
  assert.is(failure(() => run(client.get(NAME))).code, 'dlms.not-associated');
});

Client('each refusal has its code and names the object', () => {
  const { client, run } = connect();
  run(client.associate());
  const codeOf = (operation: Exchange<unknown>) => failure(() => run(operation)).code;
  assert.is(codeOf(client.get({ ...NAME, attribute: 3 })), 'dlms.object-undefined');
  assert.is(codeOf(client.get({ ...NAME, classId: 3 })), 'dlms.object-undefined');
  assert.is(codeOf(client.get({ ...OBJECT_LIST, attribute: 7 })), 'dlms.access-denied');
  assert.is(codeOf(client.set(NAME, { type: 'null-data' })), 'dlms.access-denied');
  assert.is(codeOf(client.set(MESSAGE, { type: 'null-data' })), 'dlms.type-unmatched');
  assert.is(codeOf(client.action({ ...DISCONNECT, method: 9 })), 'dlms.object-undefined');
  const long = 'x'.repeat(5000);
  assert.is(codeOf(client.set(MESSAGE, { type: 'utf8-string', value: long })), 'dlms.refused', 'more than it takes');
  const error = failure(() => run(client.get({ ...NAME, attribute: 3 })));
  assert.equal(error.context, { result: 4, object: '1/0-0:42.0.0.255/3' });
});

Client('wrong credentials and foreign rejections are told apart', () => {
  const wrong = connect({ password: 'wrong' });
  const error = failure(() => wrong.run(wrong.client.associate()));
  assert.is(error.code, 'dlms.authentication-failed');
  assert.not.ok(error.message.includes('wrong'), 'no secret in the message');
  const nothing = connect({ conformance: Conformance.access });
  assert.is(failure(() => nothing.run(nothing.client.associate())).code, 'dlms.association-rejected');
  assert.is(nothing.client.isAssociated, false);
  const open = connect({ password: null });
  open.run(open.client.associate());
  assert.is(failure(() => open.run(open.client.action(DISCONNECT))).code, 'dlms.refused');
  assert.is(failure(() => open.run(open.client.get(MESSAGE))).code, 'dlms.object-undefined');
  assert.equal(open.meter.relay.moves, []);
});

Client('a server that has forgotten the association is recognized, and a new one can be opened', () => {
  const { client, run, session } = connect();
  run(client.associate());
  session.close();
  assert.is(failure(() => run(client.get(NAME))).code, 'dlms.not-associated');
  assert.not.ok(client.isAssociated);
  run(client.associate());
  const name = run(client.get(NAME));
  assert.is(name.type === 'octet-string' && asciiText(name.value), 'S3M0000000004711');
});

Client('answers that are empty, foreign or garbage fail the request and nothing else', () => {
  const { client, run, frames } = connect();
  run(client.associate());
  assert.is(frames.sent, 1);
  const garbage = [
    '',
    '0001000100110000',
    '000100010011000100',
    '0001000100110001c4',
    '0001000100110004c401c100',
    '0001000100110005c401c10109',
    '000100010011000401010f00',
    '0001000100100004c401c1010400',
    '0001000100110003d80101ff',
    '00010001001100040e010601',
    '0001000100110006c402c1000000',
  ];
  for (const hex of garbage) {
    const error = failure(() => exchangeSync(client.get(NAME), () => fromHex(hex)));
    assert.ok(error.code === 'dlms.unexpected-answer' || error.code === 'dlms.refused', `${hex}: ${error.code}`);
  }
  assert.ok(run(client.get(NAME)), 'the association goes on');
});

Client('blocks that repeat, jump or never end are refused', () => {
  const { client, run } = connect();
  run(client.associate());
  const block = (invoke: number, number: number, last: number, raw: string) => {
    const apdu = `c402${(0xc0 | invoke).toString(16)}0${last}${number.toString(16).padStart(8, '0')}00${(raw.length / 2).toString(16).padStart(2, '0')}${raw}`;
    return fromHex(`0001000100110${(apdu.length / 2).toString(16).padStart(3, '0')}${apdu}`);
  };
  const withBlocks = (answers: (invoke: number, n: number) => Uint8Array) => {
    let n = 0;
    return failure(() => exchangeSync(client.get(NAME), (frame) => answers(frame[10]! & 15, ++n))).code;
  };
  assert.is(
    withBlocks((invoke) => block(invoke, 1, 0, '0901')),
    'dlms.unexpected-answer',
    'block 1 twice',
  );
  assert.is(
    withBlocks((invoke, n) => block(invoke, 2 * n - 1, 0, '0901')),
    'dlms.unexpected-answer',
    'a gap',
  );
  assert.is(
    withBlocks((invoke, n) => block(invoke, n, 0, '')),
    'dlms.unexpected-answer',
    'empty blocks',
  );
  assert.is(
    withBlocks((invoke, n) => block(invoke, n, 0, '00'.repeat(100))),
    'dlms.unexpected-answer',
    'without end',
  );
  assert.is(
    withBlocks((invoke, n) => block(invoke, n, n === 2 ? 1 : 0, '0901')),
    'dlms.unexpected-answer',
    'garbage',
  );
  assert.ok(run(client.get(NAME)));
});

/** A datagram link that loses, repeats and delays in both directions; the driver sends again until it is answered. */
function lossyLink(meter: TestMeter, session: ServerSession, seed?: number) {
  const random = seeded(seed);
  const late: Uint8Array[] = [];
  const out = new Uint8Array(2048);
  let now = 0;
  const toServer = (frame: Uint8Array, answers: Uint8Array[]) => {
    const length = session.receive(frame, out, now);
    if (length > 0 && random.below(100) >= 30) answers.push(out.slice(0, length));
    if (length > 0 && random.below(100) < 20) late.push(out.slice(0, length));
  };
  const send = (frame: Uint8Array): Uint8Array => {
    for (let attempt = 0; attempt < 200; attempt++) {
      now += 40;
      meter.clock.steadyMs += 40;
      const answers: Uint8Array[] = late.splice(0, random.below(2));
      if (random.below(100) >= 30) toServer(frame, answers);
      if (random.below(100) < 20) toServer(frame, answers);
      for (const answer of answers) if (isAnswerTo(frame, answer)) return answer;
    }
    throw new Error('no answer after 200 attempts');
  };
  return <T>(operation: Exchange<T>): T => exchangeSync(operation, send);
}

Client('over a link that loses and repeats a third of everything, each ACTION runs exactly once', () => {
  const meter = testMeter();
  const session = meter.server.session('lossy')!;
  const client = new DlmsClient({ clientSap: 17, password: asciiBytes(PASSWORD), maxPdu: 200 });
  const run = lossyLink(meter, session);
  run(client.associate());
  for (let i = 0; i < 200; i++) {
    const connected = i % 2 === 1;
    run(client.action({ classId: 70, ln: CONTROL, method: connected ? 2 : 1 }));
    assert.is(meter.relay.connected, connected);
    assert.is(meter.relay.moves.length, i + 1, 'never twice');
    assert.equal(run(client.get({ classId: 70, ln: CONTROL, attribute: 2 })), { type: 'boolean', value: connected });
    run(client.set(MESSAGE, { type: 'utf8-string', value: `message ${i}` }));
    assert.is(meter.message.text, `message ${i}`);
    if (i % 20 === 0) {
      const list = run(client.get(OBJECT_LIST));
      assert.is(list.type === 'array' && list.value.length, OBJECT_COUNT);
    }
  }
  const actions = meter.events.filter(({ kind }) => kind === 'action');
  assert.is(actions.length, 200);
});

Client.run();
