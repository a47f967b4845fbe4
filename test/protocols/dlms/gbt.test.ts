/** General block transfer: the vectors, two endpoints over a bad line, hostile blocks, and the server. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { DecodeError, type DlmsError, S3mpError } from '#base/errors';
import { DlmsClient } from '#dlms/client';
import { type Exchange, exchangeSync } from '#dlms/exchange';
import { decodeGbt, encodeGbt, type GbtBlock, GbtEndpoint } from '#dlms/gbt';
import { inBlocks } from '#dlms/gbt-client';
import { Conformance } from '#dlms/initiate';
import { ByteReader } from '#dlms/reader';
import type { ServerSession } from '#dlms/server';
import { encodeSetRequest } from '#dlms/set';
import { encodeWrapperHeader } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';
import { seeded } from '#test/random';
import { LossyNetwork } from './lossy.ts';
import { connect, ECHO, NOTE, octets, PASSWORD, ROWS, smallMeter } from './small-device.ts';
import { vector } from './vectors.ts';

const Gbt = suite('dlms general block transfer');

const hexOf = (block: GbtBlock): string => {
  const w = new ByteWriter(new Uint8Array(300));
  encodeGbt(w, block);
  return toHex(w.written());
};
const blockOf = (hex: string): GbtBlock => decodeGbt(new ByteReader(fromHex(hex)));

Gbt('blocks match their vectors in both directions', () => {
  const single = vector('GBT single block, last, window 1, block 1 ack 0').expected;
  const block = blockOf(single);
  assert.equal(
    [block.isLast, block.isStreaming, block.window, block.number, block.acknowledged, toHex(block.data)],
    [true, false, 1, 1, 0, 'c401c1000a0568656c6c6f'],
  );
  assert.is(hexOf(block), single);
  const ack = vector('GBT acknowledgement of block 3, window 5, not streaming, no data').expected;
  assert.is(hexOf(blockOf(ack)), ack);
  assert.is(blockOf(ack).acknowledged, 3);
  for (const broken of ['', 'e0', 'e0810001000002c0', 'e08100010000010000'])
    assert.throws(
      () => blockOf(broken),
      (error: unknown) => error instanceof DecodeError,
    );
});

/** Lets two endpoints exchange an APDU and its answer; `lose` decides about each block. */
function exchange(
  request: Uint8Array,
  answer: Uint8Array,
  windows: readonly [number, number],
  maxPdu: number,
  lose: () => boolean,
  twice: () => boolean,
): { answer: Uint8Array; blocks: number; served: number } {
  const options = { maxApdu: 10_000, repeats: true };
  const client = new GbtEndpoint({ ...options, window: windows[0] });
  const server = new GbtEndpoint({ ...options, window: windows[1] });
  const out = new Uint8Array(maxPdu);
  let served = 0;
  let blocks = 0;
  const drain = (endpoint: GbtEndpoint): GbtBlock[] => {
    const sent: GbtBlock[] = [];
    for (;;) {
      const w = new ByteWriter(out);
      if (!endpoint.next(w)) return sent;
      assert.ok(w.length <= maxPdu);
      blocks++;
      const block = decodeGbt(new ByteReader(w.written().slice()));
      if (lose()) continue;
      sent.push(block);
      if (twice()) sent.push(block);
    }
  };
  client.expectAnswer();
  client.send(request, maxPdu, windows[1]);
  for (let rounds = 0; rounds < 3000; rounds++) {
    const toServer = drain(client);
    const toClient: GbtBlock[] = [];
    for (const block of toServer) {
      const whole = server.receive(block);
      if (whole) {
        assert.equal(whole, request);
        served++;
        server.send(answer, maxPdu);
      }
      toClient.push(...drain(server));
    }
    for (const block of toClient) {
      const whole = client.receive(block);
      if (whole) return { answer: whole, blocks, served };
    }
    // Silence: the client sends its window, or its acknowledgement, once more.
    client.repeat(windows[1]);
  }
  throw new Error('no end');
}

Gbt('APDUs of any size go through in windows of any size', () => {
  const bytes = (size: number) => Uint8Array.from({ length: size }, (_, i) => (i * 7) & 0xff);
  for (const maxPdu of [64, 300])
    for (const window of [1, 2, 5, 63])
      for (const size of [1, 57, 58, 59, 116, 1000, 5000]) {
        const never = () => false;
        const done = exchange(bytes(size), bytes(size + 13), [window, 4], maxPdu, never, never);
        assert.equal(done.answer, bytes(size + 13), `${size} bytes in ${maxPdu}, window ${window}`);
        assert.is(done.served, 1);
      }
});

Gbt('blocks that are lost are sent again from the gap, doubled ones count once', () => {
  const random = seeded();
  for (let round = 0; round < 300; round++) {
    const request = random.bytes(1 + random.below(900));
    const answer = random.bytes(1 + random.below(3000));
    const windows = [1 + random.below(8), 1 + random.below(8)] as const;
    const done = exchange(
      request,
      answer,
      windows,
      64 + random.below(64),
      () => random.below(5) === 0,
      () => random.below(5) === 0,
    );
    assert.is(toHex(done.answer), toHex(answer));
    assert.is(done.served, 1, 'the request was carried out once');
  }
});

Gbt('streaming says who speaks: the turn passes with the last block of a window', () => {
  const endpoint = new GbtEndpoint({ maxApdu: 1000, window: 2, repeats: true });
  const next = () => {
    const w = new ByteWriter(new Uint8Array(64));
    return endpoint.next(w) ? toHex(w.written()) : null;
  };
  assert.is(endpoint.receive(blockOf('e0430001000002c001')), null);
  assert.is(next(), null, 'streaming: the turn stays with the peer');
  assert.is(endpoint.receive(blockOf('e0030002000001c1')), null);
  assert.is(next(), 'e0020001000200', 'a window has ended and the request has not');
  assert.is(endpoint.receive(blockOf('e003000400000155')), null);
  assert.is(next(), 'e0020001000200', 'a gap: acknowledged up to it');
  assert.is(toHex(endpoint.receive(blockOf('e083000300000155'))!), 'c001c155');
  endpoint.send(new Uint8Array(9).fill(9), 6 + 3);
  assert.equal(
    [next(), next(), next(), next()],
    ['e0420001000302 0909', 'e042000200030209 09', 'e00200030003020909', null].map(
      (hex) => hex?.replace(/ /g, '') ?? null,
    ),
  );
  assert.is(endpoint.receive(blockOf('e0020001000100')), null);
  assert.equal(
    [next(), next(), next()],
    ['e04200020003020909', 'e00200030003020909', null],
    'sent again behind what was acknowledged',
  );
});

Gbt('hostile blocks end in nothing: no memory, no loop, no answer to an acknowledgement', () => {
  const endpoint = new GbtEndpoint({ maxApdu: 100, window: 1, repeats: true });
  const next = () => endpoint.next(new ByteWriter(new Uint8Array(64)));
  endpoint.receive(blockOf('e0010005000300'));
  assert.not.ok(next(), 'an acknowledgement of nothing');
  endpoint.receive(blockOf('e0800001000001c0'));
  assert.not.ok(next(), 'window 0');
  endpoint.receive(blockOf('e080000000000'.concat('0')));
  assert.not.ok(next(), 'abort');
  endpoint.receive(blockOf(`e001000100003c${'00'.repeat(60)}`));
  assert.is(endpoint.receive(blockOf(`e081000200003c${'00'.repeat(60)}`)), null, 'longer than an APDU may be');
  const random = seeded();
  for (let i = 0; i < 30_000; i++) {
    const control = random.below(256);
    const data = random.bytes(random.below(3) ? random.below(30) : 0);
    const whole = endpoint.receive({
      isLast: (control & 0x80) !== 0,
      isStreaming: (control & 0x40) !== 0,
      window: control & 0x3f,
      number: random.below(6),
      acknowledged: random.below(4),
      data,
    });
    if (whole) {
      assert.ok(whole.length <= 100);
      endpoint.send(random.bytes(40), 20);
    }
    for (let n = 0; next(); n++) assert.ok(n < 64);
  }
});

// The server

const out = new Uint8Array(4096);

/** Sends one APDU; all that comes back. */
function ask(session: ServerSession, apdu: string | Uint8Array, nowMs = 2000): string[] {
  const body = typeof apdu === 'string' ? fromHex(apdu.replace(/ /g, '')) : apdu;
  const frame = new Uint8Array(8 + body.length);
  encodeWrapperHeader(frame, 0, 17, 1, body.length);
  frame.set(body, 8);
  const answers: string[] = [];
  for (let length = session.receive(frame, out, nowMs); length > 0; length = session.next(out))
    answers.push(toHex(out, 8, length));
  return answers;
}

function opened(maxPdu = 64, transport: 'datagram' | 'stream' = 'datagram', isPolled = false) {
  const meter = smallMeter();
  const session = meter.server.session('client', { transport, isPolled })!;
  connect(session, { maxPdu, conformance: 0xff_ffff });
  return { meter, session };
}

Gbt("a GET in a block is answered in the client's window, and a lost block comes again", () => {
  const { meter, session } = opened();
  meter.note.value = octets(150);
  const get = 'e0 83 0001 0000 0d c001c1 0001 0000600d00ff 02 00';
  const first = ask(session, get);
  assert.equal(
    first.map((hex) => hex.slice(0, 12)),
    ['e04400010001', 'e04400020001', 'e08400030001'],
  );
  const data = (blocks: readonly string[]) => blocks.map((hex) => toHex(blockOf(hex).data)).join('');
  assert.is(data(first), `c401c10009${'8196'}${toHex(Uint8Array.from({ length: 150 }, (_, i) => i))}`);
  assert.equal(ask(session, get), first, 'the request again: the answer again');
  assert.equal(ask(session, 'e0030002000100'), first.slice(1), 'from the second on');
  assert.equal(ask(session, get), first.slice(1), 'a late copy of the request changes nothing');
  assert.equal(ask(session, 'e0030002000300'), [], 'all acknowledged');
});

Gbt('a SET that comes in blocks runs once, also when its blocks come twice or late', () => {
  const { meter, session } = opened();
  const apdu = new ByteWriter(new Uint8Array(200));
  encodeSetRequest(apdu, 0xc1, NOTE, octets(100));
  const part = (number: number, from: number, to: number, control: number) =>
    hexOf({
      isLast: (control & 0x80) !== 0,
      isStreaming: (control & 0x40) !== 0,
      window: 1,
      number,
      acknowledged: 0,
      data: apdu.buf.subarray(from, Math.min(to, apdu.length)),
    });
  const blocks = [part(1, 0, 50, 0x40), part(2, 50, 100, 0), part(3, 100, 999, 0x80)];
  assert.equal(ask(session, blocks[0]!), []);
  assert.equal(ask(session, blocks[1]!), ['e0040001000200']);
  assert.equal(ask(session, blocks[2]!), ['e0840001000304c501c100']);
  assert.equal(ask(session, blocks[2]!), ['e0840001000304c501c100']);
  assert.equal(ask(session, blocks[0]!), []);
  assert.is(meter.note.log.length, 1);
  ask(session, 'e0 81 0001 0000 0d c001c2 0001 0000600d00ff 02 00');
  for (const block of blocks) ask(session, block);
  assert.is(meter.note.log.length, 1, 'late blocks of the SET do not run it again');
});

Gbt('an unconfirmed request is acknowledged and not answered; other APDUs have no place in blocks', () => {
  const { meter, session } = opened();
  assert.equal(ask(session, 'e0 81 0001 0000 0f c10181 0001 0000600d00ff 02 00 1105'), ['e0840001000100']);
  assert.is(meter.note.log.length, 1);
  for (const inner of ['e0810001000000', '6200', '601da1', '00'])
    assert.equal(ask(session, `e0 81 0001 0000 ${(inner.length / 2).toString(16).padStart(2, '0')} ${inner}`), [
      'e0840001000103d80202',
    ]);
});

Gbt('blocks are refused where they were not negotiated, and broken ones everywhere', () => {
  const meter = smallMeter();
  const plain = meter.server.session('client')!;
  connect(plain);
  assert.equal(ask(plain, 'e0810001000000'), ['d80202']);
  const { session } = opened();
  assert.equal(ask(session, 'e081000100'), ['d80103']);
  assert.equal(ask(session, 'e081000100000500'), ['d80103']);
});

Gbt('on a line that is polled each block waits for its acknowledgement', () => {
  const { meter, session } = opened(64, 'stream', true);
  meter.note.value = octets(100);
  const get = 'e0 83 0001 0000 0d c001c1 0001 0000600d00ff 02 00';
  const [first, ...more] = ask(session, get);
  assert.is(more.length, 0);
  assert.match(first!, /^e00400010001/);
  assert.match(ask(session, 'e0030002000100')[0]!, /^e08400020001/);
  meter.note.value = { type: 'boolean', value: true };
  assert.equal(
    ask(session, get),
    ['e0840001000106c401c1000301'],
    'a stream has no duplicates: the same request is a new one',
  );
});

// The client

const EVERYTHING = Conformance.generalBlockTransfer | Conformance.get | Conformance.set | Conformance.action;

Gbt('a client runs its operations in blocks, with requests and answers longer than a PDU', () => {
  const meter = smallMeter({ rows: 60, maxPdu: 100 });
  const session = meter.server.session('client')!;
  const { client, send } = connect(session, { maxPdu: 100, conformance: EVERYTHING });
  let longest = 0;
  const measured = (frame: Uint8Array) => {
    const answer = send(frame);
    longest = Math.max(longest, frame.length - 8, answer.length - 8);
    assert.is(answer[8], 0xe0);
    return answer;
  };
  const run = <T>(operation: Exchange<T>) => exchangeSync(inBlocks(operation, client.serverMaxPdu), measured);
  for (const size of [3, 94, 95, 500, 1500]) {
    run(client.set(NOTE, octets(size)));
    assert.equal(meter.note.value, octets(size));
    assert.equal(run(client.get(NOTE)), octets(size));
    assert.equal(run(client.action(ECHO, octets(size, 7))), octets(size, 7));
  }
  const rows = run(client.get(ROWS));
  assert.is(rows.type === 'array' && rows.value.length, 60);
  assert.ok(longest <= 100);
});

Gbt('over a bad datagram network each operation in blocks has its effect once', () => {
  const random = seeded();
  const meter = smallMeter({ maxPdu: 100 });
  const network = new LossyNetwork(() => meter.server.session('client')!, random, {
    loss: 20,
    duplicates: 20,
    attempts: 9,
  });
  const client = new DlmsClient({ clientSap: 17, password: PASSWORD, maxPdu: 100, conformance: EVERYTHING });
  let unknown = 0;
  for (let i = 0; i < 200; i++) {
    const before = meter.note.log.length;
    const value = octets(random.below(700), i);
    const changes = i % 3 === 2 ? 0 : 1;
    try {
      if (!client.isAssociated) network.run(client.associate());
      if (i % 3 === 0) assert.equal(network.run(inBlocks(client.action(ECHO, value), 100)), value);
      else if (i % 3 === 1) network.run(inBlocks(client.set(NOTE, value), 100));
      else network.run(inBlocks(client.get(NOTE), 100));
    } catch (error) {
      assert.ok(error instanceof S3mpError && error.code === 'meter.unreachable', String(error));
      unknown++;
      client.reset();
      network.wait(500);
      assert.ok(meter.note.log.length - before <= changes);
      continue;
    }
    network.wait(300);
    assert.is(meter.note.log.length - before, changes);
    if (changes > 0) assert.equal(meter.note.log.at(-1), value);
  }
  assert.ok(unknown < 20, `${unknown} unknown`);
});

Gbt('a client gives up on a server that does not go on, and takes an exception for the answer', () => {
  const code = (answer: (frame: Uint8Array) => Uint8Array) => {
    const meter = smallMeter();
    const { client } = connect(meter.server.session('client')!, { conformance: EVERYTHING });
    try {
      exchangeSync(inBlocks(client.get(NOTE), 100), answer);
    } catch (error) {
      return (error as DlmsError).code;
    }
    return 'none';
  };
  const framed = (hex: string) => () => {
    const frame = new Uint8Array(8 + hex.length / 2);
    encodeWrapperHeader(frame, 0, 1, 17, hex.length / 2);
    frame.set(fromHex(hex), 8);
    return frame;
  };
  assert.is(code(framed('e0010001000100')), 'dlms.unexpected-answer');
  assert.is(code(framed('e0010001')), 'dlms.unexpected-answer');
  assert.is(code(framed('e0810001000100')), 'dlms.unexpected-answer');
  assert.is(code(framed('d80101')), 'dlms.not-associated');
});

Gbt.run();
