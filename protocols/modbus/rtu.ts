/**
 * Modbus RTU frames (Modbus application protocol V1.1b3): read holding or input registers, write one or several.
 *
 *   | unit 1 | function 1 | data … | CRC low | CRC high |
 *
 * A reply carries no transaction number; who sent the request must know what to expect.
 */

import { readU16, writeU16 } from '#base/bytes';
import { ModbusError } from '#base/errors';
import { crc16, writeCrc } from '#modbus/crc';

export const FunctionCode = { readHolding: 3, readInput: 4, writeSingle: 6, writeMultiple: 16 } as const;

export const MAX_FRAME = 256;
export const READ_REQUEST_LENGTH = 8;
export const EXCEPTION_LENGTH = 5;
export const MAX_READ = 125;
export const MAX_WRITE = 123;
export const EXCEPTION_FLAG = 0x80;

/** Meaning of exception codes, and whether the same request may succeed later. */
export const EXCEPTIONS: Readonly<Record<number, { text: string; retry: boolean }>> = {
  1: { text: 'function not supported', retry: false },
  2: { text: 'register address not known', retry: false },
  3: { text: 'value or count not allowed', retry: false },
  4: { text: 'device failure', retry: true },
  5: { text: 'accepted, takes long', retry: true },
  6: { text: 'busy', retry: true },
  8: { text: 'memory parity error', retry: true },
  10: { text: 'gateway path not available', retry: true },
  11: { text: 'gateway target does not answer', retry: true },
};

/** Length of the reply to a read of `count` registers. */
export const readReplyLength = (count: number): number => 5 + 2 * count;

/**
 * Writes a read request.
 * @param functionCode  3 (holding) or 4 (input registers)
 * @param count  1…125
 * @returns offset behind the frame
 * @throws ModbusError `encode.out-of-range`
 */
export function encodeReadRequest(
  out: Uint8Array,
  at: number,
  unit: number,
  functionCode: number,
  start: number,
  count: number,
): number {
  if (count < 1 || count > MAX_READ) throw outOfRange('register count', count, MAX_READ);
  out[at] = unit;
  out[at + 1] = functionCode;
  writeU16(out, at + 2, start);
  return writeCrc(out, at, writeU16(out, at + 4, count));
}

/** Writes a request that sets one register; its reply is the same frame. @returns offset behind it */
export function encodeWriteSingle(out: Uint8Array, at: number, unit: number, address: number, value: number): number {
  out[at] = unit;
  out[at + 1] = FunctionCode.writeSingle;
  writeU16(out, at + 2, address);
  return writeCrc(out, at, writeU16(out, at + 4, value));
}

/**
 * Writes a request that sets registers from `start` on.
 * @returns offset behind the frame
 * @throws ModbusError `encode.out-of-range` for none or more than 123
 */
export function encodeWriteMultiple(
  out: Uint8Array,
  at: number,
  unit: number,
  start: number,
  values: ArrayLike<number>,
): number {
  if (values.length < 1 || values.length > MAX_WRITE) throw outOfRange('register count', values.length, MAX_WRITE);
  out[at] = unit;
  out[at + 1] = FunctionCode.writeMultiple;
  writeU16(out, at + 2, start);
  writeU16(out, at + 4, values.length);
  out[at + 6] = 2 * values.length;
  let end = at + 7;
  for (let i = 0; i < values.length; i++) end = writeU16(out, end, values[i]!);
  return writeCrc(out, at, end);
}

/** What a frame is, as an answer to a request. */
export const ReplyCheck = { reply: 0, exception: 1, short: 2, badCrc: 3, foreign: 4 } as const;
export type ReplyCheck = (typeof ReplyCheck)[keyof typeof ReplyCheck];

/**
 * Judges bytes as the reply to a read; never throws. Data words of a good reply start at `at + 3`, the code of an
 * exception is at `at + 2`.
 * @param end  end of the bytes received
 * @returns `short` only for what can still become a reply or an exception
 */
export function checkReadReply(
  buf: Uint8Array,
  at: number,
  end: number,
  unit: number,
  functionCode: number,
  count: number,
): ReplyCheck {
  const size = end - at;
  if (size < 1) return ReplyCheck.short;
  if (buf[at] !== unit) return ReplyCheck.foreign;
  if (size < 2) return ReplyCheck.short;
  const isException = buf[at + 1] === (functionCode | EXCEPTION_FLAG);
  if (!isException && buf[at + 1] !== functionCode) return ReplyCheck.foreign;
  if (size < 3) return ReplyCheck.short;
  if (!isException && buf[at + 2] !== 2 * count) return ReplyCheck.foreign;
  const length = isException ? EXCEPTION_LENGTH : readReplyLength(count);
  if (size < length) return ReplyCheck.short;
  if (crc16(buf, at, at + length) !== 0) return ReplyCheck.badCrc;
  return isException ? ReplyCheck.exception : ReplyCheck.reply;
}

/** Whether `buf[at, end)` is the good reply to a write: the first six bytes of the request, and a CRC. */
export function isWriteReply(buf: Uint8Array, at: number, end: number, request: Uint8Array): boolean {
  if (end - at !== READ_REQUEST_LENGTH || crc16(buf, at, end) !== 0) return false;
  for (let i = 0; i < 6; i++) if (buf[at + i] !== request[i]) return false;
  return true;
}

/** A request as a slave sees it. */
export interface Request {
  readonly unit: number;
  readonly functionCode: number;
  readonly start: number;
  /** Registers to read or write. */
  readonly count: number;
  /** Offset of the words to write, 0 for a read. */
  readonly valuesAt: number;
}

/** Length of the request that starts at `at` by its function code; 0 when more bytes are needed to tell. */
export function requestLength(buf: Uint8Array, at: number, end: number): number {
  if (end - at < 2) return 0;
  if (buf[at + 1] !== FunctionCode.writeMultiple) return READ_REQUEST_LENGTH;
  return end - at < 7 ? 0 : 9 + buf[at + 6]!;
}

/** Reads a whole request with a good CRC; undefined for anything else. */
export function decodeRequest(buf: Uint8Array, at: number, end: number): Request | undefined {
  if (end - at < READ_REQUEST_LENGTH || crc16(buf, at, end) !== 0) return undefined;
  const functionCode = buf[at + 1]!;
  const start = readU16(buf, at + 2);
  const unit = buf[at]!;
  if (functionCode !== FunctionCode.writeMultiple && end - at !== READ_REQUEST_LENGTH) return undefined;
  if (functionCode === FunctionCode.writeSingle) return { unit, functionCode, start, count: 1, valuesAt: at + 4 };
  const count = readU16(buf, at + 4);
  if (functionCode !== FunctionCode.writeMultiple) return { unit, functionCode, start, count, valuesAt: 0 };
  if (end - at !== 9 + buf[at + 6]! || buf[at + 6] !== 2 * count) return undefined;
  return { unit, functionCode, start, count, valuesAt: at + 7 };
}

/** Writes an exception reply. @returns offset behind it */
export function encodeException(out: Uint8Array, at: number, unit: number, functionCode: number, code: number): number {
  out[at] = unit;
  out[at + 1] = functionCode | EXCEPTION_FLAG;
  out[at + 2] = code;
  return writeCrc(out, at, at + 3);
}

function outOfRange(what: string, value: number, limit: number): ModbusError {
  return new ModbusError('encode.out-of-range', `${what} ${value}: expected 1 to ${limit}`);
}
