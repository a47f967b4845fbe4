/**
 * What of Modbus takes bytes or tables from outside, each behind one function that makes a case, runs it and throws where a
 * promise is broken; for the fuzz test and the soak. The CRC is computed bit by bit here, so that nothing is judged by the
 * code under test.
 */

import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { fromHex, readU16, toHex, writeU32 } from '#base/bytes';
import { ConfigError, ModbusError } from '#base/errors';
import { loadConfig } from '#hw/config';
import { createLog } from '#hw/log';
import type { BytePort } from '#hw/serial/port';
import { SimMeter } from '#hw/sim/or-we-514';
import { lineTiming } from '#modbus/line-timing';
import { REGISTER_MAPS } from '#modbus/maps/index';
import { Outcome } from '#modbus/master';
import { levelsOf, type PlannedRead, planReads, splitRead } from '#modbus/read-plan';
import { QUANTITY_NAMES, type RegisterMap, type RegisterSpec, wordsOf } from '#modbus/register-map';
import { checkReadReply, decodeRequest, isWriteReply, MAX_FRAME, ReplyCheck, requestLength } from '#modbus/rtu';
import { metersOnBus } from '../../firmware/bus.ts';
import { FIRMWARE_CONFIG } from '../../firmware/config.ts';
import { MeasurementImage, QUANTITY_COUNT, Quality, type Quantity } from '../../firmware/measurement-image.ts';
import { PollLoop } from '../../firmware/poll-loop.ts';
import { Line } from '../protocols/modbus/line.ts';
import type { Random } from '../random.ts';
import mapVectors from '../vectors/modbus-maps.json';

/** Makes a case and runs it. @returns whether it was taken: a reply accepted, a plan made, a configuration read */
export type Run = () => boolean;

export interface Target {
  /** Of a hundred cases. */
  readonly share: number;
  /** What of the cases is taken lies between these, or the target tests nothing. */
  readonly taken: readonly [least: number, most: number];
  readonly start: (random: Random) => Run;
}

/** Bit by bit. */
export function slowCrc(bytes: Uint8Array): number {
  let crc = 0xffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ 0xa001 : crc >> 1;
  }
  return crc;
}

export function withCrc(body: Uint8Array): Uint8Array {
  const crc = slowCrc(body);
  return Uint8Array.of(...body, crc & 0xff, crc >> 8);
}

/** The golden exchanges of all maps: the read, and its reply. */
export const GOLDEN: readonly { read: PlannedRead; reply: Uint8Array }[] = REGISTER_MAPS.flatMap((map) =>
  planReads(map, 1).map((read, i) => ({
    read,
    reply: fromHex(mapVectors[map.name as keyof typeof mapVectors].reads[i]!.reply),
  })),
);

const pick = <T>(random: Random, list: readonly T[]): T => list[random.below(list.length)]!;
const oneOf = (random: Random, chances: number) => random.below(chances) === 0;

/** Bytes changed, cut, doubled, put in between; half of the time with a CRC that agrees again. */
function mutate(random: Random, source: Uint8Array): Uint8Array {
  let bytes = [...source];
  for (let edits = 1 + random.below(3); edits > 0; edits--) {
    const at = random.below(bytes.length + 1);
    const kind = random.below(6);
    if (kind === 0) bytes[at] = random.below(256);
    else if (kind === 1) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    else if (kind === 2) bytes = bytes.slice(0, at);
    else if (kind === 3) bytes.splice(at, 0, ...random.bytes(1 + random.below(4)));
    else if (kind === 4) bytes = [...bytes, ...bytes.slice(at)];
    else bytes = bytes.slice(at);
  }
  const mutated = Uint8Array.from(bytes.slice(0, 2 * MAX_FRAME));
  return oneOf(random, 2) && mutated.length > 2 ? withCrc(mutated.subarray(0, -2)) : mutated;
}

/** Whether `bytes` begin with what answers a read, by the standard's text: a reply, an exception, or neither. */
function answerAt(bytes: Uint8Array, { unit, functionCode, count }: PlannedRead): 'reply' | 'exception' | 'none' {
  const isWhole = (length: number) => bytes.length >= length && slowCrc(bytes.subarray(0, length)) === 0;
  if (bytes[0] !== unit) return 'none';
  if (bytes[1] === functionCode && bytes[2] === 2 * count && isWhole(5 + 2 * count)) return 'reply';
  return bytes[1] === functionCode + 128 && isWhole(5) ? 'exception' : 'none';
}

/** Bytes of exactly their size, where a read behind the end gives undefined, and the same before others. */
function inGuard(bytes: Uint8Array, at: number): Uint8Array {
  const roomy = new Uint8Array(at + bytes.length + 16).fill(0xa5);
  roomy.set(bytes, at);
  return roomy;
}

function replies(random: Random): Run {
  return () => {
    const { read, reply } = pick(random, GOLDEN);
    const { unit, functionCode, count } = read;
    const exception = withCrc(Uint8Array.of(unit, functionCode | 0x80, random.below(256)));
    const source = pick(random, [reply, reply, exception, read.frame, pick(random, GOLDEN).reply]);
    const bytes = oneOf(random, 8)
      ? source
      : oneOf(random, 8)
        ? random.bytes(random.below(260))
        : mutate(random, source);
    const at = random.below(4);
    const end = at + bytes.length;
    const roomy = inGuard(bytes, at);
    const check = checkReadReply(bytes, 0, bytes.length, unit, functionCode, count);
    assert.is(checkReadReply(roomy, at, end, unit, functionCode, count), check);
    assert.is(toHex(roomy, at, end), toHex(bytes), 'nothing is written');
    const answer = answerAt(bytes, read);
    assert.is(check === ReplyCheck.reply, answer === 'reply');
    assert.is(check === ReplyCheck.exception, answer === 'exception');
    if (check === ReplyCheck.short) {
      // What more could make an answer of it: the rest of one.
      const header = [unit, bytes[1] ?? functionCode, bytes[2] ?? 2 * count];
      assert.ok(header.every((byte, i) => i >= bytes.length || bytes[i] === byte));
      assert.ok(bytes.length < (bytes[1] === (functionCode | 0x80) ? 5 : 5 + 2 * count));
    }
    return answer !== 'none';
  };
}

/** A slave takes and a master's write confirms whole frames only. */
function requests(random: Random): Run {
  const meter = new SimMeter(1);
  const out = new Uint8Array(MAX_FRAME);
  const write = withCrc(Uint8Array.of(1, 16, 1, 0x18, 0, 1, 2, 3, 0xe8));
  const single = withCrc(Uint8Array.of(1, 6, 1, 0x18, 3, 0xe8));
  return () => {
    const source = pick(random, [pick(random, GOLDEN).read.frame, write, single]);
    const bytes = oneOf(random, 4) ? source : mutate(random, source);
    const roomy = inGuard(bytes, 3);
    const request = decodeRequest(bytes, 0, bytes.length);
    const again = decodeRequest(roomy, 3, 3 + bytes.length);
    if (request && request.valuesAt > 0) assert.is(again!.valuesAt, request.valuesAt + 3);
    else assert.equal(again, request);
    assert.is(requestLength(bytes, 0, bytes.length), requestLength(roomy, 3, 3 + bytes.length));
    const length = meter.answer(bytes, bytes.length, out, 0);
    assert.ok(isWriteReply(bytes, 0, bytes.length, single) === (toHex(bytes) === toHex(single)));
    if (length === 0) return false;
    // Nobody answers what is damaged, or for another.
    assert.is(slowCrc(bytes), 0);
    assert.is(bytes[0], 1);
    assert.is(slowCrc(out.subarray(0, length)), 0);
    return true;
  };
}

/** Broken streams to a master in virtual time, in pieces at any time. */
function streams(random: Random): Run {
  let line = new Line();
  let left = 0;
  const damaged = (frame: Uint8Array) => {
    const copy = frame.slice();
    copy[random.below(copy.length)]! ^= 1 << random.below(8);
    return copy;
  };
  const cut = (bytes: Uint8Array) => bytes.subarray(0, random.below(bytes.length + 1));
  const pieces: ((read: PlannedRead, reply: Uint8Array) => Uint8Array)[] = [
    (_, reply) => reply,
    (_, reply) => damaged(reply),
    (_, reply) => cut(reply),
    (_, reply) => mutate(random, reply),
    () => pick(random, GOLDEN).reply,
    (_, reply) => withCrc(Uint8Array.of(random.below(256), ...reply.subarray(1, -2))),
    (_, reply) => withCrc(Uint8Array.of(reply[0]!, random.below(256), ...reply.subarray(2, -2))),
    (read) => read.frame,
    (read) => cut(read.frame),
    (read) => damaged(withCrc(Uint8Array.of(read.unit, read.functionCode | 0x80, random.below(256)))),
    (read) => withCrc(Uint8Array.of(random.below(256), read.functionCode | 0x80, random.below(256))),
    (read) => Uint8Array.of(read.unit, read.functionCode, 2 * read.count),
    (read) => Uint8Array.of(read.unit),
    () => random.bytes(random.below(12)),
    () => random.bytes(1 + random.below(300)),
  ];
  return () => {
    if (left-- === 0) {
      left = 50;
      const timing = lineTiming(
        pick(random, [1200, 9600, 115_200]),
        pick(random, ['even', 'none']),
        1 + random.below(2),
      );
      line = new Line(timing, pick(random, [20, 300, 600]), random.below(3));
    }
    const { read, reply } = pick(random, GOLDEN);
    const heardBefore = line.heard.length;
    // It throws when the transaction does not end.
    const outcome = line.transact(read, (_attempt, _sent, say) => {
      let at = random.below(80);
      for (let n = random.below(4); n > 0; n--) {
        const piece = pick(random, pieces)(read, reply);
        const split = random.below(piece.length + 1);
        say(piece.subarray(0, split), at);
        say(piece.subarray(split), at + random.below(20));
        at += random.below(30);
      }
    });
    const { rx, dataAt, exceptionCode } = line.master;
    const heard = toHex(Uint8Array.from(line.heard.slice(heardBefore)));
    if (outcome === Outcome.ok) {
      const frame = rx.slice(dataAt - 3, dataAt - 3 + read.replyLength);
      assert.is(answerAt(frame, read), 'reply');
      assert.ok(heard.includes(toHex(frame)), 'the frame was on the line, in one piece, after the request');
    } else if (outcome === Outcome.exception) {
      const frame = withCrc(Uint8Array.of(read.unit, read.functionCode | 0x80, exceptionCode));
      assert.ok(heard.includes(toHex(frame)), 'the exception was on the line');
    }
    return outcome === Outcome.ok;
  };
}

/** Whether registers that are read at the same rate overlap, or one is longer than a read may be. */
const isImpossible = ({ registers, maxRead }: RegisterMap): boolean =>
  registers.some(
    (a, i) =>
      wordsOf(a.type) > maxRead ||
      registers.some(
        (b, k) =>
          k > i &&
          a.everyMs === b.everyMs &&
          a.address < b.address + wordsOf(b.type) &&
          b.address < a.address + wordsOf(a.type),
      ),
  );

/** Tables that a person could write: a plan of reads that fit, or an error that names the row. */
function maps(random: Random): Run {
  const types = ['u16', 'i16', 'u32', 'i32', 'f32'] as const;
  return () => {
    const base = pick(random, REGISTER_MAPS);
    const span = pick(random, [20, 200, 0x10000]);
    const registers: RegisterSpec[] = Array.from({ length: random.below(20) }, () => ({
      quantity: pick(random, QUANTITY_NAMES),
      address: random.below(span),
      type: pick(random, types),
      factor: pick(random, [0.1, 1, 10, 1000]),
      everyMs: pick(random, [0, 1000, 5000]),
    }));
    const map: RegisterMap = { ...base, registers, maxRead: 1 + random.below(125) };
    let plan: PlannedRead[];
    try {
      plan = planReads(map, 1 + random.below(247), random.below(40));
    } catch (error) {
      if (!(error instanceof ModbusError && error.code === 'modbus.map')) throw error;
      assert.ok(isImpossible(map), 'no plan for registers that can be read');
      return false;
    }
    assert.not(isImpossible(map));
    assert.is(plan.flatMap(({ values }) => values).length, registers.length, 'each register is read once');
    for (const read of plan) {
      for (const part of [read, ...splitRead(read), ...levelsOf(read).flat()]) {
        const { unit, functionCode, start, count, frame, values } = part;
        assert.is(slowCrc(frame), 0);
        assert.equal([...frame.subarray(0, 2)], [unit, functionCode]);
        assert.equal([readU16(frame, 2), readU16(frame, 4)], [start, count]);
        assert.ok(count >= 1 && count <= map.maxRead, `${count} of ${map.maxRead} registers`);
        assert.ok(
          start >= read.start && start + count <= read.start + read.count,
          'within the range of the whole read',
        );
        for (const { offset, type, index } of values) {
          assert.ok(offset >= 0 && offset + 2 * wordsOf(type) <= 2 * count);
          const address = start + offset / 2;
          assert.ok(registers.some((r) => r.address === address && QUANTITY_NAMES[index] === r.quantity));
        }
      }
    }
    return true;
  };
}

/** Keys of `[serial]` as a person may get them wrong: read, or an error that names the key. */
function configurations(random: Random): Run {
  const file = join(tmpdir(), `s3mp-fuzz-${process.pid}.toml`);
  process.once('exit', () => rmSync(file, { force: true }));
  const good = [
    'baud = 9600',
    'parity = "even"',
    'stop_bits = 2',
    'unit = 3',
    'map = "sdm120"',
    'further = ["2", "5:sdm630"]',
    'timeout_ms = 600',
  ];
  const values = [
    '0',
    '-1',
    '1e9',
    '9600.5',
    '""',
    '"none"',
    '[]',
    '["1:x"]',
    '["300"]',
    '["7:or-we-504", "8"]',
    '["3"]',
    '["2", "2:sdm630"]',
    'true',
  ];
  const bits = [...values, '[serial]', '=', '"', ']', '\\u0000', '2026-01-01', '{a = 1}', '#', 'map = "no"', 'further'];
  return () => {
    const lines = good.filter(() => !oneOf(random, 3));
    if (oneOf(random, 2)) lines.push(`${pick(random, good).split(' ')[0]} = ${pick(random, values)}`);
    let text = `[serial]\n${[...new Map(lines.map((line) => [line.split(' ')[0], line])).values()].join('\n')}\n`;
    for (let edits = random.below(3); edits > 0; edits--) {
      const at = random.below(text.length);
      const put = pick(random, [pick(random, bits), String.fromCharCode(random.below(128)), '']);
      text = text.slice(0, at) + put + text.slice(at + random.below(4));
    }
    writeFileSync(file, text);
    try {
      const config = loadConfig(FIRMWARE_CONFIG, { file });
      const meters = metersOnBus(config);
      assert.is(new Set(meters.map(({ unit }) => unit)).size, meters.length, text);
      for (const { unit, map } of meters) assert.ok(unit >= 1 && unit <= 247 && REGISTER_MAPS.includes(map), text);
      return true;
    } catch (error) {
      if (!(error instanceof ConfigError || error instanceof ModbusError)) throw new Error(text, { cause: error });
      return false;
    }
  };
}

const ODD_WORDS = [0x0000, 0x7fff, 0x8000, 0xffff, 0x4366, 0x3334];
/** Infinities, NaN, the largest and the smallest float, minus zero. */
const ODD_FLOATS = [0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0x7f7f_ffff, 0x0000_0001, 0x8000_0000];

/** A meter that gives any words in good frames: what reaches the image is a number, and unmarked only if it can be true. */
function readings(random: Random): Run {
  const quiet = createLog('fuzz', { write: () => {} });
  let left = 0;
  let answered = false;
  let now = 1000;
  let loop!: PollLoop;
  let image!: MeasurementImage;
  let pending: Uint8Array | undefined;
  const given = new Map<number, Uint8Array>();
  const port: BytePort = {
    name: 'fuzz',
    isOpen: true,
    onData: () => {},
    onState: () => {},
    async close() {},
    write(frame) {
      const [unit, functionCode, start, count] = [frame[0]!, frame[1]!, readU16(frame, 2), readU16(frame, 4)];
      answered = true;
      pending = undefined;
      if (oneOf(random, 20)) return;
      if (oneOf(random, 20)) pending = withCrc(Uint8Array.of(unit, functionCode | 0x80, random.below(256)));
      else {
        const words = new Uint8Array(2 * count);
        const golden = GOLDEN.find(({ read }) => toHex(read.frame) === toHex(frame));
        if (golden) words.set(golden.reply.subarray(3, -2));
        for (let edits = random.below(golden ? 3 : 20); edits > 0; edits--) {
          const word = oneOf(random, 2) ? pick(random, ODD_WORDS) : random.below(0x10000);
          words.set([word >> 8, word & 0xff], 2 * random.below(count));
          if (count > 1 && oneOf(random, 2)) writeU32(words, 4 * random.below(count >> 1), pick(random, ODD_FLOATS));
        }
        given.set(start, words);
        pending = withCrc(Uint8Array.of(unit, functionCode, 2 * count, ...words));
      }
    },
  };
  const restart = () => {
    image = new MeasurementImage();
    const options = { unit: 1, map: pick(random, REGISTER_MAPS), image, port, timing: lineTiming(9600, 'even') };
    loop = new PollLoop({ ...options, timeoutMs: 300, cycleMs: 0, clock: () => now, log: quiet });
    given.clear();
    left = 100;
  };
  return () => {
    if (left-- === 0 || !loop) restart();
    answered = false;
    for (let steps = 0; !answered; steps++) {
      if (steps > 1000) throw new Error('nothing is asked any more');
      loop.time[0] = now;
      loop.step();
      if (pending) {
        now += 60;
        loop.master.now[0] = now;
        loop.master.receive(pending, pending.length);
        pending = undefined;
      } else now = Math.max(now, loop.time[1]!);
    }
    let good = 0;
    for (let q = 0; q < QUANTITY_COUNT; q++) {
      const value = image.value(q as Quantity);
      assert.ok(Number.isFinite(value) && Number.isInteger(value), `${QUANTITY_NAMES[q]} is ${value}`);
      if (image.quality(q as Quantity, now) !== Quality.good) continue;
      good++;
      const name = QUANTITY_NAMES[q]!;
      if (name === 'voltage') assert.ok(value >= 8000 && value <= 30_000, `voltage ${value}`);
      if (name === 'frequency') assert.ok(value >= 4500 && value <= 6500, `frequency ${value}`);
      if (name === 'powerFactor') assert.ok(Math.abs(value) <= 1000, `power factor ${value}`);
      if (/Energy/.test(name)) assert.ok(value >= 0, `${name} ${value}`);
    }
    return good > 0;
  };
}

export const TARGETS: Readonly<Record<string, Target>> = {
  replies: { share: 30, taken: [0.1, 0.6], start: replies },
  requests: { share: 10, taken: [0.2, 0.7], start: requests },
  streams: { share: 30, taken: [0.1, 0.9], start: streams },
  maps: { share: 10, taken: [0.1, 0.9], start: maps },
  configurations: { share: 5, taken: [0.1, 0.7], start: configurations },
  readings: { share: 15, taken: [0.05, 0.95], start: readings },
};
