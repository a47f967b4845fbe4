/** Block transfer and lists: our client against our server, the server byte for byte, and values that nobody holds. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { type Data, octetsThatFit, sizeOfLength } from '#dlms/axdr';
import { exchangeSync } from '#dlms/exchange';
import { Conformance } from '#dlms/initiate';
import { bytesPiece, FIRST_PIECE, fillBlock, joinPieces } from '#dlms/pieces';
import type { ServerSession } from '#dlms/server';
import { encodeSetRequest } from '#dlms/set';
import { encodeWrapperHeader } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';
import { APPEND, connect, ECHO, NOTE, octets, ROWS, SECOND_NOTE, type SmallMeter, smallMeter } from './small-device.ts';
import { vector } from './vectors.ts';

const Blocks = suite('dlms blocks and lists');

const out = new Uint8Array(4096);

function ask(session: ServerSession, apdu: string, nowMs = 2000): string {
  const body = fromHex(apdu.replace(/ /g, ''));
  const frame = new Uint8Array(8 + body.length);
  encodeWrapperHeader(frame, 0, 17, 1, body.length);
  frame.set(body, 8);
  const length = session.receive(frame, out, nowMs);
  return toHex(out, 8, Math.max(8, length));
}

function opened(options: Parameters<typeof smallMeter>[0] = {}, maxPdu = 64) {
  const meter: SmallMeter = smallMeter(options);
  const session = meter.server.session('client')!;
  return { meter, session, ...connect(session, { maxPdu }) };
}

Blocks('SET in blocks: the published frames are taken, and our client sends the same bytes', () => {
  const parts = [1, 2, 3].map(
    (n) => vector(`SET.request block transfer part ${n} (100-byte octet-string, max PDU 64)`).expected,
  );
  const { meter, session } = opened();
  const frames = parts;
  assert.is(ask(session, frames[0]!), 'c502c100000001');
  assert.is(ask(session, frames[1]!), 'c502c100000002');
  assert.equal(meter.note.log, [], 'nothing is set before the last block');
  assert.is(ask(session, frames[2]!), 'c503c10000000003');
  assert.equal(meter.note.value, octets(100));

  const other = opened({ maxPdu: 64 });
  const sent: string[] = [];
  exchangeSync(other.client.set(NOTE, octets(100)), (frame) => {
    sent.push(toHex(frame, 8));
    return other.send(frame);
  });
  assert.equal(
    sent.map((hex) => `${hex.slice(0, 4)}c1${hex.slice(6)}`),
    parts,
  );
  assert.equal(other.meter.note.value, octets(100));
});

Blocks('a client without anything special writes, reads and runs values of every size around the PDU', () => {
  for (const size of [0, 1, 30, 40, 41, 42, 43, 44, 45, 46, 47, 48, 60, 127, 128, 255, 256, 1000, 4000]) {
    const { meter, client, send } = opened({ maxPdu: 64 });
    exchangeSync(client.set(NOTE, octets(size, 3)), send);
    assert.equal(meter.note.value, octets(size, 3), `SET of ${size}`);
    assert.equal(exchangeSync(client.get(NOTE), send), octets(size, 3), `GET of ${size}`);
    if (size > 2000) continue;
    assert.equal(exchangeSync(client.action(ECHO, octets(size, 5)), send), octets(size, 5), `ACTION of ${size}`);
    assert.is(meter.note.log.length, 2, 'the method ran once');
  }
});

Blocks('lists of values and methods go in one request, long ones in blocks, each with its own result', () => {
  const { meter, client, send } = opened({ maxPdu: 128 }, 128);
  const bad: Data = { type: 'boolean', value: true };
  const hidden = { classId: 1, ln: fromHex('0000600d09ff'), attribute: 2 };
  for (const size of [5, 200]) {
    const results = exchangeSync(
      client.setList([
        { ref: NOTE, value: octets(size) },
        { ref: SECOND_NOTE, value: bad },
        { ref: hidden, value: octets(1) },
        { ref: SECOND_NOTE, value: octets(size, 9) },
      ]),
      send,
    );
    assert.equal(results, [0, 12, 4, 0]);
    assert.equal(meter.note.value, octets(size));
    assert.equal(meter.second.value, octets(size, 9));
    const answers = exchangeSync(
      client.actionList([
        { ref: APPEND, parameter: null },
        { ref: ECHO, parameter: octets(size, 1) },
        { ref: { ...ECHO, method: 3 }, parameter: octets(size) },
      ]),
      send,
    );
    assert.equal(answers, [
      { result: 0, data: null },
      { result: 0, data: octets(size, 1) },
      { result: 4, data: null },
    ]);
    const read = exchangeSync(client.getList([NOTE, ROWS, hidden, SECOND_NOTE]), send);
    assert.equal(read[0], { data: octets(size), result: 0 });
    assert.is(read[1]!.data?.type === 'array' && read[1]!.data.value.length, 10);
    assert.equal(read[2], { data: null, result: 4 });
    assert.equal(read[3]!.data, octets(size, 9));
  }
});

Blocks('without the conformance bit a long request stays at home and a long answer is refused', () => {
  const { get, set, action } = Conformance;
  const meter = smallMeter({ maxPdu: 64 });
  const { client, send } = connect(meter.server.session('client')!, { maxPdu: 64, conformance: get | set | action });
  assert.throws(
    () => exchangeSync(client.set(NOTE, octets(100)), send),
    (error: { code?: string }) => error.code === 'encode.out-of-range',
  );
  meter.note.value = octets(100);
  assert.throws(
    () => exchangeSync(client.get(NOTE), send),
    (error: { context?: { result?: number } }) => error.context?.result === 250,
  );
});

// Robustness of the assembly

const FIRST = 'c102c1 0001 0000600d00ff 02 00';

Blocks('repeated blocks are acknowledged again and count once; gaps, strangers and floods end the transfer', () => {
  const { meter, session } = opened();
  assert.is(ask(session, `${FIRST} 00 00000001 02 0906`), 'c502c100000001');
  assert.is(ask(session, `${FIRST} 00 00000001 02 0906`), 'c502c100000001', 'the first block again');
  assert.is(ask(session, 'c103c1 00 00000002 02 0102'), 'c502c100000002');
  assert.is(ask(session, 'c103c1 00 00000002 02 0102'), 'c502c100000002');
  assert.is(ask(session, `${FIRST} 00 00000001 02 0906`), '', 'the first block, late: nobody waits for this');
  assert.is(ask(session, 'c103c1 01 00000003 04 03040506'), 'c503c10000000003');
  assert.equal(meter.note.value, { type: 'octet-string', value: Uint8Array.of(1, 2, 3, 4, 5, 6) });

  const refused = (blocks: readonly string[], answer: string, why: string) => {
    const { meter: other, session: fresh } = opened();
    const answers = blocks.map((block) => ask(fresh, block));
    assert.is(answers.at(-1), answer.replace(/ /g, ''), why);
    assert.equal(other.note.log, [], why);
  };
  refused(['c103c1 01 00000002 01 00'], 'c503c1 12 00000002', 'no transfer');
  refused(['c306c1 01 00000002 01 00'], 'c701c1 10 00', 'no transfer of an ACTION');
  refused([`${FIRST} 00 00000001 01 09`, 'c103c1 00 00000003 01 00'], 'c503c1 13 00000003', 'a gap');
  refused([`${FIRST} 00 00000001 01 09`, 'c103c2 00 00000002 01 00'], 'c503c2 12 00000002', 'another invoke id');
  refused([`${FIRST} 00 00000000 01 09`], 'c503c1 13 00000000', 'block number 0');
  const empty = (n: number) => `c103c1 00 0000000${n} 00`;
  refused([`${FIRST} 00 00000001 00`, empty(2), empty(3)], 'c503c1 11 00000003', 'empty blocks for ever');
  const long = '82 0384'.concat('00'.repeat(900));
  const many = [2, 3, 4, 5].map((n) => `c103c1 00 0000000${n} ${long}`);
  refused([`${FIRST} 00 00000001 ${long}`, ...many], 'c503c1 11 00000005', 'more than a value may have');
  refused([`${FIRST} 01 00000001 03 090601`], 'c503c1 0c 00000001', 'a value that is cut short');
  refused([`${FIRST} 01 00000001 04 09010000`], 'c503c1 fa 00000001', 'bytes behind the value');
  refused([`${FIRST} 00 00000001 02 0901`, 'c102c1 0001 00'], 'd80103', 'a block that is none');
});

Blocks('a transfer that nobody continues for a minute is over', () => {
  const { meter, session } = opened();
  assert.is(ask(session, `${FIRST} 00 00000001 02 0901`, 10_000), 'c502c100000001');
  assert.is(ask(session, 'c103c1 01 00000002 01 07', 70_001), 'c503c11200000002');
  assert.equal(meter.note.log, []);
});

Blocks('another SET or ACTION in between gives the transfer up, a GET does not', () => {
  const { meter, session } = opened();
  ask(session, `${FIRST} 00 00000001 02 0901`);
  assert.match(ask(session, 'c001c2 0001 0000600d01ff 02 00'), /^c401c200/);
  assert.is(ask(session, 'c103c1 01 00000002 01 07'), 'c503c10000000002');
  ask(session, `${FIRST.replace('c1 00', 'c3 00')} 00 00000001 02 0901`);
  assert.is(ask(session, 'c101c4 0001 0000600d01ff 02 00 11 05'), 'c501c400');
  assert.is(ask(session, 'c103c3 01 00000002 01 07'), 'c503c31200000002');
  assert.is(meter.note.log.length, 1);
});

Blocks('an unconfirmed transfer is carried out without a word', () => {
  const { meter, session } = opened();
  assert.is(ask(session, `${FIRST.replace('c102c1', 'c10281')} 00 00000001 02 0902`), '');
  assert.is(ask(session, 'c10381 01 00000002 02 0708'), '');
  assert.equal(meter.note.value, { type: 'octet-string', value: Uint8Array.of(7, 8) });
});

// Values in pieces

Blocks('ten thousand rows come through blocks, and the server holds none of them', () => {
  const { meter, session } = opened({ rows: 10_000 }, 1024);
  const { client } = connect(session, { maxPdu: 1024 });
  let blocks = 0;
  let longest = 0;
  const value = exchangeSync(client.get(ROWS), (frame) => {
    const answer = out.slice(0, session.receive(frame, out, 5000));
    blocks++;
    longest = Math.max(longest, answer.length - 8);
    return answer;
  });
  assert.ok(value.type === 'array');
  assert.is(value.value.length, 10_000);
  value.value.forEach((row, i) => {
    assert.ok(row.type === 'structure' && row.value[0]?.type === 'double-long-unsigned' && row.value[0].value === i);
  });
  assert.ok(longest <= 1024);
  assert.is(blocks, Math.ceil((10_000 * 21 + 4) / octetsThatFit(1024 - 9)));
  // The first look stops where the PDU is full; after that at most one row per block boundary is written twice.
  assert.ok(meter.rows.written < 10_000 + 60 + blocks, `${meter.rows.written} rows written`);
});

Blocks('a block that was lost is given again with the same bytes, and rows captured meanwhile change nothing', () => {
  const { meter, session } = opened({ rows: 100, capacity: 110 });
  const first = ask(session, 'c001c1 0007 0100630100ff 02 00');
  assert.match(first, /^c402c10000000001/);
  meter.rows.captured += 5;
  const second = ask(session, 'c002c1 00000001');
  assert.is(ask(session, 'c002c1 00000001'), second);
  assert.is(ask(session, 'c002c1 00000001'), second);
  assert.not.equal(ask(session, 'c002c1 00000002'), second);
  const value = exchangeSync(connect(session).client.get(ROWS), (frame) =>
    out.slice(0, session.receive(frame, out, 1)),
  );
  assert.is(value.type === 'array' && value.value.length, 105);
});

Blocks('a row that was overwritten during the transfer ends it with an error', () => {
  const { meter, session } = opened({ rows: 200, capacity: 100 });
  ask(session, 'c001c1 0007 0100630100ff 02 00');
  meter.rows.captured += 50;
  assert.is(ask(session, 'c002c1 00000001'), 'c402c10100000002010f');
  assert.is(ask(session, 'c002c1 00000002'), 'c402c101000000000110', 'and it is over');
});

Blocks('selective access reaches the object, and is refused where there is none', () => {
  const { client, send } = opened({ rows: 50 }, 1024);
  const entry = (from: number, to: number): Data => ({
    type: 'structure',
    value: [
      { type: 'double-long-unsigned', value: from },
      { type: 'double-long-unsigned', value: to },
      { type: 'long-unsigned', value: 1 },
      { type: 'long-unsigned', value: 0 },
    ],
  });
  const numbers = (value: Data) =>
    value.type === 'array' ? value.value.map((row) => (row.type === 'structure' ? row.value[0] : row)) : null;
  const rows = exchangeSync(client.get(ROWS, { selector: 2, parameter: entry(3, 5) }), send);
  assert.equal(
    numbers(rows),
    [2, 3, 4].map((value) => ({ type: 'double-long-unsigned', value })),
  );
  assert.equal(exchangeSync(client.get(ROWS, { selector: 2, parameter: entry(9, 4) }), send), {
    type: 'array',
    value: [],
  });
  for (const [ref, selector] of [
    [ROWS, 7],
    [NOTE, 1],
    [{ ...ROWS, attribute: 1 }, 2],
  ] as const)
    assert.throws(
      () => exchangeSync(client.get(ref, { selector, parameter: entry(1, 1) }), send),
      (error: { context?: { result?: number } }) => error.context?.result === 12,
    );
});

Blocks('pieces are cut at every place without a byte lost, in any size of block', () => {
  const whole = Uint8Array.from({ length: 500 }, (_, i) => i & 0xff);
  const cuts = [0, 1, 2, 40, 41, 300, 500];
  const pieces = joinPieces(cuts.slice(1).map((to, i) => bytesPiece(whole.subarray(cuts[i], to))));
  const block = new Uint8Array(520);
  for (let size = 1; size <= 510; size++) {
    const seen: number[] = [];
    for (let from = FIRST_PIECE; ; ) {
      block.fill(0xee);
      const { length, next, isLast, result } = fillBlock(pieces, from, block, 5, 5 + size);
      assert.is(result, 0);
      assert.is(block[4], 0xee);
      assert.is(block[5 + size], 0xee, 'nothing behind the block');
      seen.push(...block.subarray(5, 5 + length));
      if (isLast) break;
      assert.is(length, size);
      from = next;
    }
    assert.equal(Uint8Array.from(seen), whole, `blocks of ${size}`);
  }
});

Blocks('octets that fit are as many as there is room for', () => {
  for (const room of [0, 1, 2, 127, 128, 129, 130, 256, 257, 258, 259, 65_537, 65_538, 65_539, 65_540]) {
    const count = octetsThatFit(room);
    assert.ok(count === 0 || count + sizeOfLength(count) <= room);
    assert.ok(count + 1 + sizeOfLength(count + 1) > room);
  }
});

Blocks('a SET that just fits is not cut', () => {
  const w = new ByteWriter(new Uint8Array(256));
  encodeSetRequest(w, 0xc1, NOTE, octets(49));
  const { client, send } = opened({ maxPdu: w.length });
  let frames = 0;
  exchangeSync(client.set(NOTE, octets(49)), (frame) => {
    frames++;
    return send(frame);
  });
  assert.is(frames, 1);
});

Blocks.run();
