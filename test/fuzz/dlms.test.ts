/**
 * Seeded mutations into every DLMS decoder and into a live server in each association state: nothing but `DecodeError`
 * is thrown, nothing outside the input is read, and the next honest client is served.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { DlmsError } from '#base/errors';
import { encodeData } from '#dlms/axdr';
import { decodeAnyData } from '#dlms/compact-array';
import { decodeDateTime } from '#dlms/date-time';
import { exchangeSync } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import { ByteReader } from '#dlms/reader';
import { WrapperStream } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';
import { seeded } from '#test/random';
import { CORPUS, mutate } from './dlms-corpus.ts';
import { DECODERS, outcomeOf } from './dlms-decoders.ts';
import { Fuzzed } from './dlms-fuzzed.ts';
import { caseFor, STATES } from './dlms-states.ts';

const Fuzz = suite('dlms fuzz');
const random = seeded();

Fuzz('decoders throw nothing but DecodeError and stay inside their input', () => {
  for (const [name, decode] of Object.entries(DECODERS)) {
    let decoded = 0;
    for (let i = 0; i < 6000; i++) {
      const frame = mutate(CORPUS[i % CORPUS.length]!, random);
      try {
        if (!outcomeOf(decode, frame).startsWith('decode.')) decoded++;
      } catch (error) {
        throw new Error(`${name} of ${toHex(frame)}`, { cause: error });
      }
    }
    if (name === 'data') assert.ok(decoded > 500, `${decoded} mutations were still values`);
  }
});

Fuzz('a value that was decoded encodes to bytes that decode to the same value', () => {
  let compared = 0;
  const w = new ByteWriter(new Uint8Array(65_536));
  for (let i = 0; i < 40_000; i++) {
    const frame = mutate(CORPUS[i % CORPUS.length]!, random);
    let value: ReturnType<typeof decodeAnyData>;
    try {
      value = decodeAnyData(new ByteReader(frame));
    } catch {
      continue;
    }
    encodeData(w.reset(w.buf, 0, w.buf.length), value);
    const first = toHex(w.written());
    const again = decodeAnyData(new ByteReader(fromHex(first)));
    encodeData(w.reset(w.buf, 0, w.buf.length), again);
    assert.is(toHex(w.written()), first, toHex(frame));
    compared++;
  }
  assert.ok(compared > 3000, `${compared} values`);
});

Fuzz('date-times of any bytes are refused or are instants of the calendar', () => {
  for (let i = 0; i < 50_000; i++) {
    const bytes = random.bytes(12);
    bytes[0] = random.below(20);
    if (i % 2) bytes[2] = 1 + random.below(12);
    if (i % 3) bytes[3] = 1 + random.below(31);
    const time = decodeDateTime(bytes);
    if (time?.epochMs) assert.ok(Number.isSafeInteger(time.epochMs), toHex(bytes));
  }
});

Fuzz('streams of noise end in a fault or in frames within the limit', () => {
  for (let i = 0; i < 3000; i++) {
    const stream = new WrapperStream(64);
    for (let chunks = 0; chunks < 8; chunks++) {
      const chunk = random.bytes(random.below(40));
      if (random.below(2) === 0) chunk.set(fromHex('00010010000100').subarray(0, chunk.length));
      stream.push(chunk, (frame) => {
        assert.ok(frame.length <= 72);
        return true;
      });
    }
  }
});

for (const transport of ['datagram', 'stream'] as const) {
  for (const state of STATES) {
    if (state.transport && state.transport !== transport) continue;
    const { name, probe } = state;
    if (probe)
      Fuzz(`${name}, ${transport}: the state is what it is called`, () => {
        const fuzzed = new Fuzzed(transport, state.suite);
        state.enter(fuzzed);
        const answer = fuzzed.probe(probe[0], probe[2]);
        assert.match(answer, probe[1], answer);
      });
    Fuzz(`${name}, ${transport}: an answer or none, and the next honest client is served`, () => {
      const fuzzed = new Fuzzed(transport, state.suite);
      for (let i = 0; i < 1000; i++) {
        if (i % state.cases === 0) {
          fuzzed.fresh();
          state.enter(fuzzed);
        }
        const frame = caseFor(state, random);
        try {
          if (state.give) state.give(fuzzed, frame, random);
          else fuzzed.send(frame);
        } catch (error) {
          throw new Error(toHex(frame), { cause: error });
        }
      }
      fuzzed.check();
    });
  }
}

Fuzz('a client takes any answer as a failure or a value, and stays usable', () => {
  const list = { classId: 15, ln: parseObis('0-0:40.0.0.255'), attribute: 2 };
  const fuzzed = new Fuzzed('datagram');
  const client = fuzzed.client({ sap: 17, maxPdu: 100 });
  fuzzed.run(client.associate());
  for (let i = 0; i < 10_000; i++) {
    let answers = 0;
    try {
      exchangeSync(client.get(list), (frame) => {
        if (++answers > 2000) throw new Error('an endless transfer');
        const answer = fuzzed.ask(frame);
        return random.below(8) === 0 ? mutate(answer, random) : answer;
      });
    } catch (error) {
      if (!(error instanceof DlmsError)) throw error;
    }
    if (!client.isAssociated) fuzzed.run(client.associate());
  }
  assert.is(fuzzed.run(client.get(list)).type, 'array');
});

Fuzz('a client with keys takes nothing that was changed on the way', () => {
  const name = { classId: 1, ln: parseObis('0-0:42.0.0.255'), attribute: 2 };
  for (const suite of [0, 1] as const) {
    const fuzzed = new Fuzzed('datagram', suite);
    const client = fuzzed.client({ sap: 1, maxPdu: 200 });
    fuzzed.run(client.associate());
    const expected = toHex((fuzzed.run(client.get(name)) as { value: Uint8Array }).value);
    let failures = 0;
    for (let i = 0; i < 2000; i++) {
      try {
        const value = exchangeSync(client.get(name), (frame) => {
          const answer = fuzzed.ask(frame);
          return random.below(2) === 0 ? mutate(answer, random) : answer;
        });
        assert.is(value.type === 'octet-string' && toHex(value.value), expected);
      } catch (error) {
        if (!(error instanceof DlmsError)) throw error;
        failures++;
      }
      if (!client.isAssociated) fuzzed.run(client.associate());
    }
    assert.ok(failures > 250, `${failures} answers refused`);
  }
});

Fuzz.run();
