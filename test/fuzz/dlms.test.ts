/**
 * Seeded mutations into every DLMS decoder and into a live server in each association state: nothing but `DecodeError`
 * is thrown, nothing outside the input is read, and the next honest client is served.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { DecodeError, DlmsError } from '#base/errors';
import { decodeAare, decodeAarq, decodeRelease } from '#dlms/acse';
import { decodeActionBlocks, decodeActionResponse } from '#dlms/action';
import { decodeData, encodeData } from '#dlms/axdr';
import { DlmsClient } from '#dlms/client';
import { decodeDateTime } from '#dlms/date-time';
import { exchangeSync } from '#dlms/exchange';
import { decodeGbt } from '#dlms/gbt';
import { decodeGetResponse } from '#dlms/get';
import { decodeConfirmedServiceError, decodeInitiateRequest, decodeInitiateResponse } from '#dlms/initiate';
import { decodeDataNotification, decodeEventNotification, decodeNotificationConfirm } from '#dlms/notification';
import { parseObis } from '#dlms/obis';
import { ByteReader } from '#dlms/reader';
import { decodeException } from '#dlms/result';
import type { ServerSession } from '#dlms/server';
import { decodeSetResponse } from '#dlms/set';
import { encodeWrapperHeader, WrapperStream } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';
import { type Random, seeded } from '#test/random';
import { PASSWORD, testMeter } from '../interop/dlms-meter.ts';
import vectorFile from '../vectors/dlms.json';

const Fuzz = suite('dlms fuzz');
const random = seeded();

/** Frames to start from: every published APDU, and values with every length form. */
const CORPUS = [
  ...(vectorFile.vectors as { expected: string; inputs: { request?: string } }[]).flatMap(({ expected, inputs }) =>
    inputs.request ? [expected, inputs.request] : [expected],
  ),
  'c003c102000100002a0000ff020000030100200700ff0200',
  'c104c1020001 0000600d00ff02000001 00002a0000ff0200 02 090141 090142',
  'c303c1010046000060030aff0101 0f00',
  'c001c1000f0000280000ff0200',
  'c001c10007 0100630100ff 02 01 02 0204 0600000001 0600000000 120001 120000',
  'c102c1 0001 0000600d00ff 02 00 00 00000001 04 09060102',
  'c103c1 01 00000002 04 03040506',
  'c105c1 02 0001 0000600d00ff0200 0001 00002a0000ff0200 00 00000001 03 020901',
  'c304c1 0046 000060030aff 01 01 00000001 02 0f00',
  'c305c1 01 0046 000060030aff 01 01 00000001 03 010f00',
  'c306c1 01 00000002 01 00',
  'c302c1 00000001',
  'c502c1 00000001',
  'c504c1 02 0000 00000002',
  'c704c1 00000001',
  'c702c1 01 00000001 05 0001000f00',
  'e083 0001 0000 0d c001c1000f0000280000ff0200',
  'e043 0001 0000 06 c001c1000f00',
  'e083 0002 0000 07 00280000ff0200',
  'e003 0002 0001 00',
  '0f 40000001 0c 07e80b1502081e0f17ffc400 0202 1105 1106',
  'c2 01 0c 07e50118ff0e303950ffc400 0001 0000600101ff 02 0901 31',
  '0204 0182000212 0001 120002 0981020102 0a8200010a 040affc0',
  '13 0202 1206 0c 000100000002000300000004',
  '1301000202021206 18 000100000002000300000004000500000006000700000008',
].map((hex) => fromHex(hex));

const INTERESTING = [0x00, 0x01, 0x02, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff, 0x13, 0x60, 0xbe];

/** One to four edits: flips, interesting bytes, cuts, doubled parts, parts of another frame. Exact-size result. */
function mutate(source: Uint8Array, { below, bytes }: Random): Uint8Array {
  let frame = source.slice();
  for (let edits = 1 + below(4); edits > 0; edits--) {
    const at = below(Math.max(1, frame.length));
    const kind = below(7);
    if (kind === 0) frame[at] = below(256);
    else if (kind === 1) frame[at] = INTERESTING[below(INTERESTING.length)]!;
    else if (kind === 2) frame[at] = (frame[at] ?? 0) ^ (1 << below(8));
    else if (kind === 3) frame = frame.slice(0, at);
    else if (kind === 4)
      frame = Uint8Array.from([...frame.subarray(0, at), ...bytes(1 + below(4)), ...frame.subarray(at)]);
    else if (kind === 5) frame = Uint8Array.from([...frame, ...frame.subarray(at)]);
    else {
      const other = CORPUS[below(CORPUS.length)]!;
      frame = Uint8Array.from([...frame.subarray(0, at), ...other.subarray(below(other.length))]);
    }
    if (frame.length > 600) frame = frame.slice(0, 600);
  }
  return frame;
}

const DECODERS: Readonly<Record<string, (r: ByteReader) => unknown>> = {
  data: (r) => decodeData(r),
  aarq: decodeAarq,
  aare: decodeAare,
  rlrq: (r) => decodeRelease(r, 0x62),
  rlre: (r) => decodeRelease(r, 0x63),
  'initiate request': decodeInitiateRequest,
  'initiate response': decodeInitiateResponse,
  'service error': decodeConfirmedServiceError,
  'get response': decodeGetResponse,
  'set response': decodeSetResponse,
  'action response': decodeActionResponse,
  'action answer in blocks': (r) => decodeActionBlocks(r.buf, r.buf.length % 2 === 0),
  'data notification': decodeDataNotification,
  'event notification': decodeEventNotification,
  'notification confirm': decodeNotificationConfirm,
  'general block transfer': decodeGbt,
  exception: decodeException,
};

Fuzz('decoders throw nothing but DecodeError and stay inside their input', () => {
  for (const [name, decode] of Object.entries(DECODERS)) {
    let decoded = 0;
    for (let i = 0; i < 12_000; i++) {
      const frame = mutate(CORPUS[i % CORPUS.length]!, random);
      const r = new ByteReader(frame);
      try {
        decode(r);
        decoded++;
      } catch (error) {
        if (!(error instanceof DecodeError)) throw new Error(`${name} of ${toHex(frame)}: ${error}`);
      }
      assert.ok(r.at <= frame.length, `${name} read past ${toHex(frame)}`);
    }
    if (name === 'data') assert.ok(decoded > 1000, `${decoded} mutations were still values`);
  }
});

Fuzz('a value that was decoded encodes to bytes that decode to the same value', () => {
  let compared = 0;
  const w = new ByteWriter(new Uint8Array(65_536));
  for (let i = 0; i < 40_000; i++) {
    const frame = mutate(CORPUS[i % CORPUS.length]!, random);
    let value: ReturnType<typeof decodeData>;
    try {
      value = decodeData(new ByteReader(frame));
    } catch {
      continue;
    }
    encodeData(w.reset(w.buf, 0, w.buf.length), value);
    const first = toHex(w.written());
    const again = decodeData(new ByteReader(fromHex(first)));
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

const out = new Uint8Array(2056);

function send(session: ServerSession, apdu: Uint8Array, clientSap: number, nowMs: number): number {
  const frame = new Uint8Array(8 + apdu.length);
  encodeWrapperHeader(frame, 0, clientSap, 1, apdu.length);
  frame.set(apdu, 8);
  const length = session.receive(frame, out, nowMs);
  assert.ok(length === 0 || (length > 8 && length <= 8 + 2048), `${length} bytes to ${toHex(apdu)}`);
  let further = 0;
  while (length > 0 && session.next(out) > 0) assert.ok(++further < 64, `too many answers to ${toHex(apdu)}`);
  return length;
}

Fuzz('a server answers mutated requests in every state and serves the next honest client', () => {
  for (const transport of ['datagram', 'stream'] as const) {
    for (const state of ['idle', 'public', 'password', 'blocks'] as const) {
      const meter = testMeter();
      const clientSap = state === 'public' ? 16 : 17;
      let now = 0;
      const makeClient = () =>
        new DlmsClient({
          clientSap,
          ...(clientSap === 17 ? { password: asciiBytes(PASSWORD) } : {}),
          // Every service there is, and answers that do not fit.
          ...(state === 'blocks' ? { conformance: 0xff_ffff, maxPdu: 64 } : {}),
        });
      let session = meter.server.session('fuzzed', { transport, source: 'fuzzer' })!;
      const run = (frame: Uint8Array) => out.slice(0, session.receive(frame, out, now));
      for (let i = 0; i < 8000; i++) {
        now += 5;
        meter.clock.steadyMs = 50_000;
        if (state !== 'idle' && i % 40 === 0) {
          session.close();
          session = meter.server.session(`fuzzed ${i}`, { transport, source: `fuzzer ${i}` })!;
          exchangeSync(makeClient().associate(), run);
        }
        const apdu = mutate(CORPUS[random.below(CORPUS.length)]!, random);
        if (apdu.length > 0) send(session, apdu, random.below(20) === 0 ? random.below(65_536) : clientSap, now);
      }
      const honest = meter.server.session('honest', { transport })!;
      const client = new DlmsClient({ clientSap: 17, password: asciiBytes(PASSWORD) });
      const ask = (frame: Uint8Array) => out.slice(0, honest.receive(frame, out, now));
      exchangeSync(client.associate(), ask);
      const { registers } = exchangeSync(client.readRegisters(['1-0:32.7.0.255']), ask);
      assert.is(registers[0]!.value, 230.12);
      const mayAct = state === 'password' || state === 'blocks';
      if (!mayAct) assert.equal(meter.relay.moves, [], `${state}: nobody may switch`);
      if (!mayAct) assert.is(meter.message.text, '');
    }
  }
});

Fuzz('a client takes any answer as a failure or a value, and stays usable', () => {
  const meter = testMeter();
  const session = meter.server.session('client')!;
  const client = new DlmsClient({ clientSap: 17, password: asciiBytes(PASSWORD), maxPdu: 100 });
  const honest = (frame: Uint8Array) => out.slice(0, session.receive(frame, out, 0));
  const list = { classId: 15, ln: parseObis('0-0:40.0.0.255'), attribute: 2 };
  exchangeSync(client.associate(), honest);
  for (let i = 0; i < 10_000; i++) {
    let answers = 0;
    try {
      exchangeSync(client.get(list), (frame) => {
        if (++answers > 2000) throw new Error('an endless transfer');
        const answer = honest(frame);
        return random.below(8) === 0 ? mutate(answer, random) : answer;
      });
    } catch (error) {
      if (!(error instanceof DlmsError)) throw error;
    }
    if (!client.isAssociated) exchangeSync(client.associate(), honest);
  }
  assert.is(exchangeSync(client.get(list), honest).type, 'array');
});

Fuzz.run();
