/**
 * Values that are too large to be held: a list of pieces that are written on demand, straight into the outgoing block.
 *
 * An object offers one by `CosemObject.open()`: piece 0 is the array's tag and count, the others are its elements (the
 * rows of a profile, the entries of an object list). The object fixes at `open` which elements they are (for a ring of
 * rows: absolute row numbers), so that captures during a long transfer change nothing. A block transfer keeps two
 * positions (piece and byte) and no bytes: a block that was lost is written once more from its position, so `write` must
 * give the same bytes each time. A row that was overwritten meanwhile answers with a result code, which ends the transfer.
 *
 * Example: `open(2, selection)` of a profile returns `arrayPieces(rows.count, (row, w) => store.write(first + row, w))`.
 */

import { Tag, writeLength } from '#dlms/axdr';
import { Result } from '#dlms/result';
import { ByteWriter } from '#dlms/writer';

export interface Pieces {
  readonly count: number;
  /**
   * Writes a piece; may be called for any index, in any order, more than once, with the same bytes each time. Nothing
   * that was written may be read back or patched: the writer keeps only the bytes that the block has room for.
   * @returns 0, or the result code that ends the transfer
   */
  write(index: number, w: ByteWriter): number;
}

/**
 * A COSEM array of elements that are written on demand.
 * @param count  number of elements, fixed
 * @param writeElement  writes element 0…count-1; returns 0, or the result code that ends the transfer
 */
export function arrayPieces(count: number, writeElement: (index: number, w: ByteWriter) => number): Pieces {
  return {
    count: count + 1,
    write(index, w) {
      if (index > 0) return writeElement(index - 1, w);
      writeLength(w.u8(Tag.array), count);
      return Result.success;
    },
  };
}

/** Bytes that are already there, as one piece. */
export function bytesPiece(bytes: Uint8Array): Pieces {
  return {
    count: 1,
    write(_index, w) {
      w.bytes(bytes);
      return Result.success;
    },
  };
}

/** Several values one behind the other. */
export function joinPieces(parts: readonly Pieces[]): Pieces {
  return {
    count: parts.reduce((count, part) => count + part.count, 0),
    write(index, w) {
      let at = index;
      for (const part of parts) {
        if (at < part.count) return part.write(at, w);
        at -= part.count;
      }
      return Result.otherReason;
    },
  };
}

/** Writes all pieces, or as many as say that the value does not fit. @returns 0 or the result code of a piece */
export function writePieces(pieces: Pieces, w: ByteWriter): number {
  for (let index = 0; index < pieces.count && !w.overflowed; index++) {
    const result = pieces.write(index, w);
    if (result !== Result.success) return result;
  }
  return Result.success;
}

/** A writer that drops what lies before `low` as well as what lies behind `end`, byte by byte. */
class WindowWriter extends ByteWriter {
  low = 0;

  override u8(value: number): this {
    if (this.at >= this.low && this.at < this.end) this.buf[this.at] = value;
    this.at++;
    return this;
  }

  override u16(value: number): this {
    return this.u8((value >>> 8) & 0xff).u8(value & 0xff);
  }

  override u32(value: number): this {
    return this.u16(value >>> 16).u16(value & 0xffff);
  }

  override u64(value: bigint): this {
    return this.u32(Number(value >> 32n) >>> 0).u32(Number(value & 0xffff_ffffn));
  }

  override bytes(src: Uint8Array): this {
    const from = Math.max(0, this.low - this.at);
    const to = Math.min(src.length, this.end - this.at);
    if (from < to) this.buf.set(from === 0 && to === src.length ? src : src.subarray(from, to), this.at + from);
    this.at += src.length;
    return this;
  }

  override patch(at: number, value: number): void {
    if (at >= this.low) super.patch(at, value);
  }
}

const NO_BYTES = new Uint8Array(0);

/** One for all transfers: it holds nothing between calls. */
const window = new WindowWriter(NO_BYTES);

/** A place in a value: the piece, and how many of its bytes lie before. */
export interface PiecePosition {
  readonly index: number;
  readonly skip: number;
}

export const FIRST_PIECE: PiecePosition = { index: 0, skip: 0 };

export interface Filled {
  /** Bytes written. */
  readonly length: number;
  /** Where the next block begins. */
  readonly next: PiecePosition;
  /** Whether nothing follows. */
  readonly isLast: boolean;
  /** 0, or the result code of the piece that could not be written. */
  readonly result: number;
}

/** Writes the value from a position on into `out[at, end)`, as far as it fits. */
export function fillBlock(pieces: Pieces, from: PiecePosition, out: Uint8Array, at: number, end: number): Filled {
  let { index, skip } = from;
  let to = at;
  window.reset(out, at, end);
  let result = 0;
  while (index < pieces.count && to < end && result === 0) {
    const pieceAt = to - skip;
    window.low = to;
    window.at = pieceAt;
    result = pieces.write(index, window);
    // A piece that has become shorter than what was already sent of it is not the same value any more.
    if (window.at < to) result ||= Result.longGetAborted;
    if (result !== 0) break;
    if (window.at > end) {
      skip = end - pieceAt;
      to = end;
    } else {
      to = window.at;
      index++;
      skip = 0;
    }
  }
  window.buf = NO_BYTES;
  return { length: to - at, next: { index, skip }, isLast: index >= pieces.count, result };
}
