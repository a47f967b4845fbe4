/** Frames captured from an OR-WE-514 and worked out by hand (test/vectors/modbus.json), both directions. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { crc16, writeCrc } from '#modbus/crc';
import { OR_WE_514 } from '#modbus/maps/or-we-514';
import { planReads } from '#modbus/read-plan';
import { type QuantityName, readRegister } from '#modbus/register-map';
import {
  checkReadReply,
  decodeRequest,
  EXCEPTIONS,
  encodeException,
  encodeReadRequest,
  encodeWriteMultiple,
  encodeWriteSingle,
  isWriteReply,
  MAX_FRAME,
  ReplyCheck,
  requestLength,
} from '#modbus/rtu';
import vectors from '../../vectors/modbus.json';

const out = new Uint8Array(MAX_FRAME);

/** Encodes the request that `frame` holds, from its decoded fields. */
function encodeAgain(frame: Uint8Array): string {
  const request = decodeRequest(frame, 0, frame.length)!;
  const { unit, functionCode, start, count, valuesAt } = request;
  if (functionCode === 6) return toHex(out, 0, encodeWriteSingle(out, 0, unit, start, word(frame, valuesAt)));
  if (functionCode === 16) {
    const values = Array.from({ length: count }, (_, i) => word(frame, valuesAt + 2 * i));
    return toHex(out, 0, encodeWriteMultiple(out, 0, unit, start, values));
  }
  return toHex(out, 0, encodeReadRequest(out, 0, unit, functionCode, start, count));
}

const word = (buf: Uint8Array, at: number) => readRegister(buf, at, 'u16');

function checkReply(request: Uint8Array, reply: Uint8Array): ReplyCheck {
  return checkReadReply(reply, 0, reply.length, request[0]!, request[1]!, word(request, 4));
}

const Crc = suite('modbus crc vectors');

for (const { name, data, crc, crc_wire } of vectors.crc.vectors) {
  Crc(name, () => {
    const bytes = fromHex(data);
    assert.is(crc16(bytes, 0, bytes.length), Number.parseInt(crc, 16));
    const framed = new Uint8Array(bytes.length + 2);
    framed.set(bytes);
    assert.is(writeCrc(framed, 0, bytes.length), framed.length);
    assert.is(toHex(framed, bytes.length), crc_wire);
    assert.is(crc16(framed, 0, framed.length), 0);
  });
}

Crc('of one byte is an entry of the published table', () => {
  assert.is(vectors.crc.table.length, 256);
  for (let i = 0; i < 256; i++) {
    // From 0xffff one step gives T[0xff ^ byte] ^ 0x00ff.
    const expected = Number.parseInt(vectors.crc.table[i]!, 16) ^ 0x00ff;
    assert.is(crc16(Uint8Array.of(i ^ 0xff), 0, 1), expected, `entry ${i}`);
  }
});

Crc.run();

const Captured = suite('frames of a real OR-WE-514');
const registers = new Map(OR_WE_514.registers.map((r) => [r.address, r]));

for (const { name, request, response, decode } of vectors.orno_or_we_514_captured.pairs) {
  Captured(`${name}: ${decode.value} ${decode.unit}`, () => {
    const frame = fromHex(request);
    const reply = fromHex(response);
    assert.is(requestLength(frame, 0, frame.length), frame.length);
    assert.is(encodeAgain(frame), request);
    assert.is(checkReply(frame, reply), ReplyCheck.reply);
    const spec = registers.get(decode.reg)!;
    assert.is(spec.type, decode.type);
    const raw = readRegister(reply, 3, spec.type);
    assert.is(raw, decode.raw);
    // The map's factor leads to an integer in the quantity's unit: 0.01 V, 0.001 A, W, Wh …
    const perUnit: Record<string, number> = { V: 100, Hz: 100, A: 1000, W: 1, var: 1, VA: 1, kWh: 1000, kvarh: 1000 };
    assert.is(raw * spec.factor, Math.round(decode.value * (perUnit[decode.unit] ?? 1000)));
  });
}

/** Values of a reply to a planned read, by quantity. */
function planned(index: number, response: string): Partial<Record<QuantityName, number>> {
  const read = planReads(OR_WE_514, 1)[index]!;
  const reply = fromHex(response);
  assert.is(checkReply(read.frame, reply), ReplyCheck.reply);
  return Object.fromEntries(read.values.map((v) => [v.quantity, readRegister(reply, 3 + v.offset, v.type) * v.factor]));
}

Captured('the block of all instantaneous values decodes through the plan', () => {
  const block = vectors.orno_or_we_514_coalesced[0]!;
  assert.is(toHex(planReads(OR_WE_514, 1)[0]!.frame), block.request);
  assert.equal(planned(0, block.response), {
    frequency: 5001,
    voltage: 23142,
    current: 1473,
    activePower: 327,
    reactivePower: 98,
    apparentPower: 341,
    powerFactor: 959,
  });
});

Captured('both energies decode through the plan', () => {
  const energy = vectors.orno_or_we_514_captured.pairs.filter((p) => p.decode.reg >= 0xa000);
  assert.equal(planned(1, energy[0]!.response), { activeEnergy: 1_979_360 });
  assert.equal(planned(2, energy[1]!.response), { reactiveEnergy: 1_023_480 });
});

Captured('export is a negative power', () => {
  const { request, response } = vectors.orno_or_we_514_coalesced.find((v) => v.name.startsWith('negative'))!;
  assert.is(checkReply(fromHex(request), fromHex(response)), ReplyCheck.reply);
  assert.is(readRegister(fromHex(response), 3, 'i32'), -327);
});

Captured('identity and energy blocks are good replies', () => {
  for (const { name, request, response } of vectors.orno_or_we_514_coalesced) {
    assert.is(encodeAgain(fromHex(request)), request, name);
    assert.is(checkReply(fromHex(request), fromHex(response)), ReplyCheck.reply, name);
  }
});

Captured.run();

const Frames = suite('modbus frame vectors');

for (const { name, request, response, fc } of vectors.frames) {
  Frames(name, () => {
    const frame = fromHex(request);
    assert.is(requestLength(frame, 0, frame.length), frame.length);
    assert.is(encodeAgain(frame), request);
    if (response === undefined) return;
    const reply = fromHex(response);
    if (fc <= 4) assert.is(checkReply(frame, reply), ReplyCheck.reply);
    else assert.ok(isWriteReply(reply, 0, reply.length, frame));
  });
}

for (const { name, request, response, code } of vectors.exceptions) {
  Frames(`exception: ${name}`, () => {
    const frame = fromHex(request);
    const reply = fromHex(response);
    assert.is(checkReply(frame, reply), ReplyCheck.exception);
    assert.is(reply[2], code);
    assert.is(toHex(out, 0, encodeException(out, 0, frame[0]!, frame[1]!, code)), response);
    assert.is(EXCEPTIONS[code]!.retry, code > 3);
  });
}

const NEGATIVE: Record<string, ReplyCheck> = {
  'bit flip in data, must fail CRC': ReplyCheck.badCrc,
  'CRC bytes swapped': ReplyCheck.badCrc,
  'truncated by one byte': ReplyCheck.short,
  'byte count disagrees with length, CRC correct': ReplyCheck.foreign,
  'good frame of another unit': ReplyCheck.foreign,
  'good frame, wrong function': ReplyCheck.foreign,
};

for (const { name, frame } of vectors.negative) {
  if (frame === undefined) continue; // a request, for the slave to keep silent about
  Frames(`not a reply: ${name}`, () => {
    const bytes = fromHex(frame);
    assert.is(checkReadReply(bytes, 0, bytes.length, 1, 3, 1), NEGATIVE[name]);
  });
}

Frames('every prefix of a reply is short', () => {
  const reply = fromHex(vectors.orno_or_we_514_captured.pairs[2]!.response);
  for (let end = 0; end < reply.length; end++) {
    assert.is(checkReadReply(reply, 0, end, 1, 3, 2), ReplyCheck.short, `${end} bytes`);
  }
});

Frames('a frame that is longer or shorter than its function says is no request', () => {
  const read = new Uint8Array(9);
  writeCrc(read, 0, encodeReadRequest(read, 0, 1, 3, 0x130, 2) - 1);
  assert.is(crc16(read, 0, 9), 0);
  assert.is(decodeRequest(read, 0, 9), undefined);
  const write = new Uint8Array(32);
  const end = encodeWriteMultiple(write, 0, 1, 0x110, [1, 2]);
  assert.equal(decodeRequest(write, 0, end), { unit: 1, functionCode: 16, start: 0x110, count: 2, valuesAt: 7 });
  write[5] = 3;
  writeCrc(write, 0, end - 2);
  assert.is(decodeRequest(write, 0, end), undefined);
});

Frames('counts that no frame can hold are refused', () => {
  const code = (build: () => unknown) => {
    try {
      build();
    } catch (error) {
      return (error as { code: string }).code;
    }
    return 'none';
  };
  assert.is(
    code(() => encodeReadRequest(out, 0, 1, 3, 0, 0)),
    'encode.out-of-range',
  );
  assert.is(
    code(() => encodeReadRequest(out, 0, 1, 3, 0, 126)),
    'encode.out-of-range',
  );
  assert.is(
    code(() => encodeReadRequest(out, 0, 1, 3, 0, 125)),
    'none',
  );
  assert.is(
    code(() => encodeWriteMultiple(out, 0, 1, 0, [])),
    'encode.out-of-range',
  );
  assert.is(
    code(() => encodeWriteMultiple(out, 0, 1, 0, new Array(124).fill(0))),
    'encode.out-of-range',
  );
});

Frames.run();
