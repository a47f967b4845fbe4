/**
 * The little BER (ITU-T X.690) that ACSE needs: one-byte tags, definite lengths of at most two bytes.
 * Indefinite and longer lengths are refused, and a child never reaches past its parent.
 */

import { DecodeError } from '#base/errors';
import { ByteReader } from '#dlms/reader';
import type { ByteWriter } from '#dlms/writer';

/** Reads a length and checks that so many bytes are there. @throws DecodeError */
export function readBerLength(r: ByteReader, what: string): number {
  const at = r.at;
  const first = r.u8(what);
  const length = first < 0x80 ? first : first === 0x81 ? r.u8(what) : first === 0x82 ? r.u16(what) : -1;
  if (length < 0) throw new DecodeError(what, at, 'a definite length of at most two bytes');
  if (length > r.remaining) throw new DecodeError(what, at, `at most ${r.remaining} bytes`, 'decode.truncated');
  return length;
}

/** Reads the contents of a field as a cursor of its own. */
export function readBerContents(r: ByteReader, what: string): ByteReader {
  const length = readBerLength(r, what);
  const at = r.take(length, what);
  return new ByteReader(r.buf, at, at + length);
}

/** Reads a field that must have `tag` and returns its contents. */
export function readBerField(r: ByteReader, tag: number, what: string): ByteReader {
  r.expect(tag, what);
  return readBerContents(r, what);
}

/**
 * Writes `tag length contents` with a one-byte length, which is patched behind the contents.
 * @param contents  writes at most 127 bytes: some clients read ACSE lengths as a single byte
 */
export function writeBerField(w: ByteWriter, tag: number, contents: () => void): void {
  w.u8(tag);
  const lengthAt = w.at;
  w.u8(0);
  contents();
  const length = w.at - lengthAt - 1;
  if (length > 127) throw new RangeError(`ACSE field of ${length} bytes exceeds 127`);
  w.patch(lengthAt, length);
}

/** Whether the field at `at` ends exactly at `end`. */
export function isWholeBer(buf: Uint8Array, at: number, end: number): boolean {
  const first = buf[at + 1] ?? 0x80;
  if (end - at < 2) return false;
  if (first < 0x80) return at + 2 + first === end;
  if (first === 0x81) return at + 3 + (buf[at + 2] ?? 0) === end;
  return first === 0x82 && at + 4 + ((buf[at + 2] ?? 0) << 8) + (buf[at + 3] ?? 0) === end;
}
