/**
 * Bounded cursor over a caller's buffer: every DLMS encoder writes through one. All integers big-endian.
 *
 * Writing never fails. Bytes that do not fit are counted instead of stored: `length` is what the message needs, and
 * `overflowed` says that it needs more than there is. So one encoding pass tells a server whether an answer fits its PDU
 * or has to go out in blocks.
 */

import { writeU16, writeU32, writeU64 } from '#base/bytes';

export class ByteWriter {
  buf: Uint8Array;
  /** Offset of the first byte of the message. */
  start: number;
  /** Offset where the next byte goes, also beyond `end`. */
  at: number;
  /** Offset behind the last byte that may be stored. */
  end: number;

  constructor(buf: Uint8Array, at = 0, end = buf.length) {
    this.buf = buf;
    this.start = at;
    this.at = at;
    this.end = end;
  }

  reset(buf: Uint8Array, at: number, end: number): this {
    this.buf = buf;
    this.start = at;
    this.at = at;
    this.end = end;
    return this;
  }

  /** Bytes that the message has or would have. */
  get length(): number {
    return this.at - this.start;
  }

  get overflowed(): boolean {
    return this.at > this.end;
  }

  /** The message so far; shares the buffer. Only whole when `overflowed` is false. */
  written(): Uint8Array {
    return this.buf.subarray(this.start, Math.min(this.at, this.end));
  }

  u8(value: number): this {
    if (this.at < this.end) this.buf[this.at] = value;
    this.at++;
    return this;
  }

  u16(value: number): this {
    if (this.at + 2 <= this.end) writeU16(this.buf, this.at, value);
    this.at += 2;
    return this;
  }

  /** Also for signed values: the low 32 bits are stored. */
  u32(value: number): this {
    if (this.at + 4 <= this.end) writeU32(this.buf, this.at, value);
    this.at += 4;
    return this;
  }

  u64(value: bigint): this {
    if (this.at + 8 <= this.end) writeU64(this.buf, this.at, value);
    this.at += 8;
    return this;
  }

  bytes(src: Uint8Array): this {
    if (this.at + src.length <= this.end) this.buf.set(src, this.at);
    this.at += src.length;
    return this;
  }

  /** Stores one byte at an offset that was passed before (patching a count or a choice). */
  patch(at: number, value: number): void {
    if (at < this.end) this.buf[at] = value;
  }
}
