/**
 * Protocol Buffers wire format: varints, fixed32, fixed64 and length-delimited fields, read and written by hand-made
 * field tables of the callers. Groups (wire types 3 and 4) are refused. A reader covers one message; a nested message
 * is a reader of its own over a part of the same bytes, so depth is what the caller's tables allow and no more.
 *
 *   tag = field << 3 | wire        0 varint   1 eight bytes   2 length, bytes   5 four bytes (little-endian)
 *
 * Writing leaves zero values out, as proto3 encoders do; fields come out in the order of the calls.
 */

import { DecodeError } from '#base/errors';
import { decodeUtf8, encodeUtf8 } from '#base/utf8';

export const WIRE_VARINT = 0;
export const WIRE_FIXED64 = 1;
export const WIRE_BYTES = 2;
export const WIRE_FIXED32 = 5;

const MAX_FIELD = 0x1fff_ffff;
const U64_MASK = 0xffff_ffff_ffff_ffffn;

/**
 * Reads the fields of one message in the order in which they come.
 *
 *   const r = new ProtoReader(bytes, 'HopField');
 *   while (r.next()) {
 *     if (r.field === 1) ingress = r.u32();
 *     else r.skip();
 *   }
 *
 * Every method throws DecodeError and nothing else.
 */
export class ProtoReader {
  /** Number of the field that `next` found. */
  field = 0;
  private wire = 0;
  private at: number;
  private readonly buf: Uint8Array;
  private readonly end: number;
  private readonly what: string;

  /** @param what  name of the message, for error texts */
  constructor(buf: Uint8Array, what: string, at = 0, end = buf.length) {
    this.buf = buf;
    this.what = what;
    this.at = at;
    this.end = end;
  }

  /** Moves to the next field; false at the end of the message. Read or `skip` each field before the next call. */
  next(): boolean {
    if (this.at >= this.end) return false;
    const tag = this.varintNumber();
    const field = Math.floor(tag / 8);
    const wire = tag % 8;
    if (field < 1 || field > MAX_FIELD) throw this.invalid('a field number of 1 to 536870911');
    if (wire !== WIRE_VARINT && wire !== WIRE_FIXED64 && wire !== WIRE_BYTES && wire !== WIRE_FIXED32)
      throw this.invalid('wire type 0, 1, 2 or 5');
    this.field = field;
    this.wire = wire;
    return true;
  }

  /** An unsigned varint of up to 64 bits. */
  u64(): bigint {
    this.expect(WIRE_VARINT);
    return this.varintBig();
  }

  /** A signed int64 (two's complement, not zigzag). */
  i64(): bigint {
    return BigInt.asIntN(64, this.u64());
  }

  /** An unsigned varint of up to 32 bits; a larger one is an error, not cut. */
  u32(): number {
    this.expect(WIRE_VARINT);
    const value = this.varintNumber();
    if (value > 0xffff_ffff) throw this.invalid('a value of at most 32 bits');
    return value;
  }

  /** A signed int32 or an enum value. */
  i32(): number {
    const value = this.i64();
    if (value < -0x8000_0000n || value > 0x7fff_ffffn) throw this.invalid('a signed value of 32 bits');
    return Number(value);
  }

  bool(): boolean {
    return this.u64() !== 0n;
  }

  /** Appends the values of a repeated varint field, which comes packed into one field or as one field a value. */
  packed(values: bigint[]): void {
    if (this.wire === WIRE_VARINT) {
      values.push(this.varintBig());
      return;
    }
    const { from, to } = this.delimited();
    const inner = new ProtoReader(this.buf, this.what, from, to);
    while (inner.at < inner.end) values.push(inner.varintBig());
  }

  /** IEEE 754 single precision. */
  float(): number {
    const at = this.fixed(WIRE_FIXED32, 4);
    return new DataView(this.buf.buffer, this.buf.byteOffset + at, 4).getFloat32(0, true);
  }

  fixed32(): number {
    const at = this.fixed(WIRE_FIXED32, 4);
    return this.littleU32(at);
  }

  fixed64(): bigint {
    const at = this.fixed(WIRE_FIXED64, 8);
    return (BigInt(this.littleU32(at + 4)) << 32n) | BigInt(this.littleU32(at));
  }

  /** The bytes of a length-delimited field, a view into the message. */
  bytes(): Uint8Array {
    const { from, to } = this.delimited();
    return this.buf.subarray(from, to);
  }

  /** UTF-8 text; malformed sequences are an error. */
  text(): string {
    const { from, to } = this.delimited();
    const text = decodeUtf8(this.buf, from, to);
    if (text === undefined) throw this.invalid('UTF-8 text');
    return text;
  }

  /** A reader over a nested message. */
  message(what: string): ProtoReader {
    const { from, to } = this.delimited();
    return new ProtoReader(this.buf, what, from, to);
  }

  /** Passes over the current field, whatever it is. */
  skip(): void {
    if (this.wire === WIRE_VARINT) this.varintBig();
    else if (this.wire === WIRE_FIXED64) this.fixed(WIRE_FIXED64, 8);
    else if (this.wire === WIRE_FIXED32) this.fixed(WIRE_FIXED32, 4);
    else this.delimited();
  }

  /** A DecodeError at the current position, for checks of the caller on values just read. */
  invalid(expected: string): DecodeError {
    return new DecodeError(this.what, this.at, expected);
  }

  private expect(wire: number): void {
    if (this.wire !== wire) throw this.invalid(`wire type ${wire} for field ${this.field}`);
  }

  private truncated(): DecodeError {
    return new DecodeError(this.what, this.at, 'more bytes', 'decode.truncated');
  }

  private fixed(wire: number, length: number): number {
    this.expect(wire);
    if (this.end - this.at < length) throw this.truncated();
    const at = this.at;
    this.at += length;
    return at;
  }

  private delimited(): { from: number; to: number } {
    this.expect(WIRE_BYTES);
    const length = this.varintNumber();
    if (length > this.end - this.at) throw this.truncated();
    const from = this.at;
    this.at += length;
    return { from, to: this.at };
  }

  /** A varint as a number; values above 2^53 - 1 are refused, callers that need them take `u64`. */
  private varintNumber(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 8; i++) {
      if (this.at >= this.end) throw this.truncated();
      const byte = this.buf[this.at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) throw this.invalid('a smaller number');
        return value;
      }
      scale *= 128;
    }
    throw this.invalid('a shorter varint');
  }

  private varintBig(): bigint {
    let value = 0n;
    let shift = 0n;
    for (let i = 0; i < 10; i++) {
      if (this.at >= this.end) throw this.truncated();
      const byte = this.buf[this.at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (value > U64_MASK) throw this.invalid('a varint of at most 64 bits');
        return value;
      }
      shift += 7n;
    }
    throw this.invalid('a varint of at most ten bytes');
  }

  private littleU32(at: number): number {
    const b = this.buf;
    return ((b[at + 3]! << 24) | (b[at + 2]! << 16) | (b[at + 1]! << 8) | b[at]!) >>> 0;
  }
}

/**
 * Writes one message into a buffer that grows. Control messages are rare and small, so clarity wins over reuse.
 * Zero numbers, empty bytes and empty text are left out; `alwaysBytes` writes where presence matters.
 */
export class ProtoWriter {
  private buf: Uint8Array;
  private at = 0;

  constructor(capacity = 256) {
    this.buf = new Uint8Array(Math.max(16, capacity));
  }

  /** The bytes written so far, a copy of the exact size. */
  finish(): Uint8Array {
    return this.buf.slice(0, this.at);
  }

  u64(field: number, value: bigint): this {
    if (value === 0n) return this;
    this.tag(field, WIRE_VARINT);
    this.varint(value & U64_MASK);
    return this;
  }

  u32(field: number, value: number): this {
    if (value === 0) return this;
    this.tag(field, WIRE_VARINT);
    this.varint(BigInt(value));
    return this;
  }

  i64(field: number, value: bigint): this {
    return this.u64(field, BigInt.asUintN(64, value));
  }

  i32(field: number, value: number): this {
    return this.i64(field, BigInt(value));
  }

  bool(field: number, value: boolean): this {
    return this.u32(field, value ? 1 : 0);
  }

  fixed32(field: number, value: number): this {
    if (value === 0) return this;
    this.tag(field, WIRE_FIXED32);
    this.little(BigInt(value), 4);
    return this;
  }

  fixed64(field: number, value: bigint): this {
    if (value === 0n) return this;
    this.tag(field, WIRE_FIXED64);
    this.little(value, 8);
    return this;
  }

  float(field: number, value: number): this {
    if (value === 0) return this;
    const view = new DataView(new ArrayBuffer(4));
    view.setFloat32(0, value, true);
    this.tag(field, WIRE_FIXED32);
    this.little(BigInt(view.getUint32(0, true)), 4);
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    return value.length === 0 ? this : this.alwaysBytes(field, value);
  }

  /** A bytes field that is written even when empty (elements of a repeated field, `oneof`). */
  alwaysBytes(field: number, value: Uint8Array): this {
    this.tag(field, WIRE_BYTES);
    this.varint(BigInt(value.length));
    this.grow(value.length);
    this.buf.set(value, this.at);
    this.at += value.length;
    return this;
  }

  text(field: number, value: string): this {
    return this.bytes(field, encodeUtf8(value));
  }

  /** A repeated varint field, packed as proto3 encoders do. */
  packed(field: number, values: readonly bigint[]): this {
    const inner = new ProtoWriter(16);
    for (const value of values) {
      inner.grow(10);
      inner.varint(value & U64_MASK);
    }
    return this.bytes(field, inner.buf.subarray(0, inner.at));
  }

  /** A nested message, written even when it has no fields. */
  message(field: number, write: (inner: ProtoWriter) => void): this {
    const inner = new ProtoWriter(64);
    write(inner);
    return this.alwaysBytes(field, inner.buf.subarray(0, inner.at));
  }

  private tag(field: number, wire: number): void {
    this.varint(BigInt(field * 8 + wire));
  }

  private varint(value: bigint): void {
    this.grow(10);
    while (value > 0x7fn) {
      this.buf[this.at++] = Number(value & 0x7fn) | 0x80;
      value >>= 7n;
    }
    this.buf[this.at++] = Number(value);
  }

  private little(value: bigint, length: number): void {
    this.grow(length);
    for (let i = 0; i < length; i++) {
      this.buf[this.at++] = Number(value & 0xffn);
      value >>= 8n;
    }
  }

  private grow(more: number): void {
    if (this.at + more <= this.buf.length) return;
    const larger = new Uint8Array(Math.max(this.buf.length * 2, this.at + more));
    larger.set(this.buf);
    this.buf = larger;
  }
}
