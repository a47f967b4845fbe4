/**
 * Bounds-checked cursor over received bytes: every DLMS decoder reads through one. All integers big-endian.
 *
 * Convention of this layer: decoders take a `ByteReader`, encoders a `ByteWriter`; both move on. A read past the end
 * throws `DecodeError` with `decode.truncated`, and nothing else is ever thrown by reading. Views share the input.
 */

import { readI16, readI32, readU16, readU32, readU64 } from '#base/bytes';
import { DecodeError } from '#base/errors';

export class ByteReader {
  buf: Uint8Array;
  at: number;
  end: number;

  constructor(buf: Uint8Array, at = 0, end = buf.length) {
    this.buf = buf;
    this.at = at;
    this.end = end;
  }

  /** Points this cursor at other bytes, so that a session needs one cursor for its life. */
  reset(buf: Uint8Array, at: number, end: number): this {
    this.buf = buf;
    this.at = at;
    this.end = end;
    return this;
  }

  get remaining(): number {
    return this.end - this.at;
  }

  /** Moves over `count` bytes and returns where they begin. */
  take(count: number, what: string): number {
    const at = this.at;
    if (count > this.end - at)
      throw new DecodeError(what, at, `${count} bytes, ${this.end - at} left`, 'decode.truncated');
    this.at = at + count;
    return at;
  }

  u8(what: string): number {
    return this.buf[this.take(1, what)]!;
  }

  i8(what: string): number {
    return (this.buf[this.take(1, what)]! << 24) >> 24;
  }

  u16(what: string): number {
    return readU16(this.buf, this.take(2, what));
  }

  i16(what: string): number {
    return readI16(this.buf, this.take(2, what));
  }

  u32(what: string): number {
    return readU32(this.buf, this.take(4, what));
  }

  i32(what: string): number {
    return readI32(this.buf, this.take(4, what));
  }

  u64(what: string): bigint {
    return readU64(this.buf, this.take(8, what));
  }

  /** A view of the next `count` bytes; copy it to keep it. */
  view(count: number, what: string): Uint8Array {
    const at = this.take(count, what);
    return this.buf.subarray(at, at + count);
  }

  /** @throws DecodeError unless the next byte is `value` */
  expect(value: number, what: string): void {
    const at = this.at;
    const found = this.u8(what);
    if (found !== value) throw new DecodeError(what, at, `0x${value.toString(16).padStart(2, '0')}`);
  }

  /** @throws DecodeError when bytes are left over: a message ends where its last field ends */
  expectEnd(what: string): void {
    if (this.at !== this.end) throw new DecodeError(what, this.at, `the end, ${this.end - this.at} bytes left over`);
  }
}
