/**
 * A-XDR coding of COSEM data (IEC 61334-6, IEC 62056-6-2 §4.1.5): the typed values that attributes and parameters are.
 *
 *   | tag | content |      length or count: 00..7F | 81 n | 82 n n | 83 n n n | 84 n n n n
 *
 * Written lengths are minimal, received ones may be longer. Nesting is bounded, and a count is checked against the bytes
 * that are left before anything is allocated. A compact array is read, never written: it is encoded as a plain array.
 */

import { DecodeError, DlmsError } from '#base/errors';
import { decodeUtf8, encodeUtf8 } from '#base/utf8';
import type { ByteReader } from '#dlms/reader';
import type { ByteWriter } from '#dlms/writer';

/** Tags of IEC 62056-6-2, table 3. */
export const Tag = {
  nullData: 0x00,
  array: 0x01,
  structure: 0x02,
  boolean: 0x03,
  bitString: 0x04,
  doubleLong: 0x05,
  doubleLongUnsigned: 0x06,
  octetString: 0x09,
  visibleString: 0x0a,
  utf8String: 0x0c,
  bcd: 0x0d,
  integer: 0x0f,
  long: 0x10,
  unsigned: 0x11,
  longUnsigned: 0x12,
  compactArray: 0x13,
  long64: 0x14,
  long64Unsigned: 0x15,
  enum: 0x16,
  float32: 0x17,
  float64: 0x18,
  dateTime: 0x19,
  date: 0x1a,
  time: 0x1b,
  deltaInteger: 0x1c,
  deltaLong: 0x1d,
  deltaDoubleLong: 0x1e,
  deltaUnsigned: 0x1f,
  deltaLongUnsigned: 0x20,
  deltaDoubleLongUnsigned: 0x21,
  dontCare: 0xff,
} as const;

export type NumberType =
  | 'double-long'
  | 'double-long-unsigned'
  | 'bcd'
  | 'integer'
  | 'long'
  | 'unsigned'
  | 'long-unsigned'
  | 'enum'
  | 'float32'
  | 'float64'
  | 'delta-integer'
  | 'delta-long'
  | 'delta-double-long'
  | 'delta-unsigned'
  | 'delta-long-unsigned'
  | 'delta-double-long-unsigned';

/** One COSEM value. Octets and raw date-times are views of the message they came in. */
export type Data =
  | { readonly type: 'null-data' | 'dont-care' }
  | { readonly type: 'array' | 'structure' | 'compact-array'; readonly value: readonly Data[] }
  | { readonly type: 'boolean'; readonly value: boolean }
  | { readonly type: 'bit-string'; readonly value: Uint8Array; readonly bits: number }
  | { readonly type: NumberType; readonly value: number }
  | { readonly type: 'long64' | 'long64-unsigned'; readonly value: bigint }
  | { readonly type: 'octet-string' | 'date-time' | 'date' | 'time'; readonly value: Uint8Array }
  | { readonly type: 'visible-string' | 'utf8-string'; readonly value: string };

export const NULL_DATA: Data = { type: 'null-data' };

/** Arrays and structures may nest this deep, which is more than any standard class needs. */
export const MAX_DEPTH = 8;

interface NumberCodec {
  readonly type: NumberType;
  readonly tag: number;
  readonly size: 1 | 2 | 4 | 8;
  readonly kind: 'signed' | 'unsigned' | 'float';
}

const number = (type: NumberType, tag: number, size: NumberCodec['size'], kind: NumberCodec['kind']): NumberCodec => ({
  type,
  tag,
  size,
  kind,
});

const NUMBERS: readonly NumberCodec[] = [
  number('double-long', Tag.doubleLong, 4, 'signed'),
  number('double-long-unsigned', Tag.doubleLongUnsigned, 4, 'unsigned'),
  number('bcd', Tag.bcd, 1, 'unsigned'),
  number('integer', Tag.integer, 1, 'signed'),
  number('long', Tag.long, 2, 'signed'),
  number('unsigned', Tag.unsigned, 1, 'unsigned'),
  number('long-unsigned', Tag.longUnsigned, 2, 'unsigned'),
  number('enum', Tag.enum, 1, 'unsigned'),
  number('float32', Tag.float32, 4, 'float'),
  number('float64', Tag.float64, 8, 'float'),
  number('delta-integer', Tag.deltaInteger, 1, 'signed'),
  number('delta-long', Tag.deltaLong, 2, 'signed'),
  number('delta-double-long', Tag.deltaDoubleLong, 4, 'signed'),
  number('delta-unsigned', Tag.deltaUnsigned, 1, 'unsigned'),
  number('delta-long-unsigned', Tag.deltaLongUnsigned, 2, 'unsigned'),
  number('delta-double-long-unsigned', Tag.deltaDoubleLongUnsigned, 4, 'unsigned'),
];

const NUMBER_BY_TAG = new Map(NUMBERS.map((codec) => [codec.tag, codec]));
const NUMBER_BY_TYPE = new Map(NUMBERS.map((codec) => [codec.type, codec]));

/** Types whose content has a fixed number of octets. */
const OCTETS_BY_TAG = new Map<number, { type: 'date-time' | 'date' | 'time'; size: number }>([
  [Tag.dateTime, { type: 'date-time', size: 12 }],
  [Tag.date, { type: 'date', size: 5 }],
  [Tag.time, { type: 'time', size: 4 }],
]);

/** Bytes that `writeLength` needs for `length`. */
export function sizeOfLength(length: number): number {
  return length < 0x80 ? 1 : length < 0x100 ? 2 : length < 0x1_0000 ? 3 : length < 0x100_0000 ? 4 : 5;
}

/** How many bytes fit into `room` together with their length. */
export function octetsThatFit(room: number): number {
  let count = Math.max(0, room - 1);
  while (count > 0 && count + sizeOfLength(count) > room) count--;
  return count;
}

/** Writes a length or count in its shortest form. */
export function writeLength(w: ByteWriter, length: number): ByteWriter {
  if (length < 0x80) return w.u8(length);
  if (length < 0x100) return w.u8(0x81).u8(length);
  if (length < 0x1_0000) return w.u8(0x82).u16(length);
  if (length < 0x100_0000)
    return w
      .u8(0x83)
      .u8(length >>> 16)
      .u16(length);
  return w.u8(0x84).u32(length);
}

/** Reads a length or count of up to four bytes. @throws DecodeError */
export function readLength(r: ByteReader, what: string): number {
  const at = r.at;
  const first = r.u8(what);
  if (first < 0x80) return first;
  const size = first & 0x7f;
  if (size === 0 || size > 4) throw new DecodeError(what, at, 'a length of at most four bytes');
  let value = 0;
  for (let i = 0; i < size; i++) value = value * 0x100 + r.u8(what);
  return value;
}

/** Reads a length that counts bytes, which must be there. */
export function readByteLength(r: ByteReader, what: string): number {
  const at = r.at;
  const length = readLength(r, what);
  if (length > r.remaining) throw new DecodeError(what, at, `at most ${r.remaining} bytes`, 'decode.truncated');
  return length;
}

/** Writes `length bytes` without a tag. */
export function writeOctets(w: ByteWriter, octets: Uint8Array): ByteWriter {
  return writeLength(w, octets.length).bytes(octets);
}

export function readOctets(r: ByteReader, what: string): Uint8Array {
  return r.view(readByteLength(r, what), what);
}

/** Writes a tagged octet-string. */
export function writeOctetString(w: ByteWriter, octets: Uint8Array): ByteWriter {
  return writeOctets(w.u8(Tag.octetString), octets);
}

function rangeError(type: string, value: unknown): DlmsError {
  return new DlmsError('encode.out-of-range', `${type} cannot hold ${String(value)}`, { type });
}

function writeNumber(w: ByteWriter, codec: NumberCodec, value: number): void {
  if (codec.kind === 'float') {
    const scratch = new DataView(new ArrayBuffer(8));
    if (codec.size === 4) scratch.setFloat32(0, value);
    else scratch.setFloat64(0, value);
    w.bytes(new Uint8Array(scratch.buffer, 0, codec.size));
    return;
  }
  const span = 2 ** (8 * codec.size);
  const low = codec.kind === 'signed' ? -span / 2 : 0;
  if (!Number.isInteger(value) || value < low || value >= low + span) throw rangeError(codec.type, value);
  if (codec.size === 1) w.u8(value & 0xff);
  else if (codec.size === 2) w.u16(value & 0xffff);
  else w.u32(value);
}

function readNumber(r: ByteReader, codec: NumberCodec): number {
  const { size, kind, type } = codec;
  if (kind === 'float') {
    const at = r.take(size, type);
    const view = new DataView(r.buf.buffer, r.buf.byteOffset + at, size);
    return size === 4 ? view.getFloat32(0) : view.getFloat64(0);
  }
  if (size === 1) return kind === 'signed' ? r.i8(type) : r.u8(type);
  if (size === 2) return kind === 'signed' ? r.i16(type) : r.u16(type);
  return kind === 'signed' ? r.i32(type) : r.u32(type);
}

/**
 * Writes one tagged value.
 * @throws DlmsError `encode.out-of-range` when a number does not fit its type
 */
export function encodeData(w: ByteWriter, data: Data): ByteWriter {
  switch (data.type) {
    case 'null-data':
      return w.u8(Tag.nullData);
    case 'dont-care':
      return w.u8(Tag.dontCare);
    case 'array':
    case 'compact-array':
    case 'structure':
      writeLength(w.u8(data.type === 'structure' ? Tag.structure : Tag.array), data.value.length);
      for (const element of data.value) encodeData(w, element);
      return w;
    case 'boolean':
      return w.u8(Tag.boolean).u8(data.value ? 1 : 0);
    case 'bit-string':
      if ((data.bits + 7) >>> 3 !== data.value.length) throw rangeError('bit-string', `${data.bits} bits`);
      return writeLength(w.u8(Tag.bitString), data.bits).bytes(data.value);
    case 'octet-string':
      return writeOctetString(w, data.value);
    case 'date-time':
    case 'date':
    case 'time': {
      const [tag, { size }] = [...OCTETS_BY_TAG].find(([, { type }]) => type === data.type)!;
      if (size !== data.value.length) throw rangeError(data.type, `${data.value.length} bytes`);
      return w.u8(tag).bytes(data.value);
    }
    case 'visible-string': {
      writeLength(w.u8(Tag.visibleString), data.value.length);
      for (let i = 0; i < data.value.length; i++) {
        const code = data.value.charCodeAt(i);
        if (code > 0xff) throw rangeError('visible-string', `character ${code}`);
        w.u8(code);
      }
      return w;
    }
    case 'utf8-string':
      return writeOctets(w.u8(Tag.utf8String), encodeUtf8(data.value));
    case 'long64':
      if (BigInt.asIntN(64, data.value) !== data.value) throw rangeError('long64', data.value);
      return w.u8(Tag.long64).u64(BigInt.asUintN(64, data.value));
    case 'long64-unsigned':
      if (BigInt.asUintN(64, data.value) !== data.value) throw rangeError('long64-unsigned', data.value);
      return w.u8(Tag.long64Unsigned).u64(data.value);
    default: {
      const codec = NUMBER_BY_TYPE.get(data.type)!;
      w.u8(codec.tag);
      writeNumber(w, codec, data.value);
      return w;
    }
  }
}

/** Reads what follows a tag that `decodeData` does not know. @returns undefined when it does not know it either */
export type ContentReader = (r: ByteReader, tag: number, depth: number) => Data | undefined;

/**
 * Reads one tagged value. Of compact arrays, which only servers send, `decodeAnyData` of compact-array.ts knows.
 * @returns the value; octets are views of the reader's buffer
 * @throws DecodeError on anything that is not a value
 */
export function decodeData(r: ByteReader, depth = 0, more?: ContentReader): Data {
  const at = r.at;
  return decodeContent(r, r.u8('data tag'), at, depth, more);
}

/** Reads what follows a tag, which stood at `at`. @throws DecodeError */
export function decodeContent(r: ByteReader, tag: number, at: number, depth: number, more?: ContentReader): Data {
  const codec = NUMBER_BY_TAG.get(tag);
  if (codec) return { type: codec.type, value: readNumber(r, codec) };
  const fixed = OCTETS_BY_TAG.get(tag);
  if (fixed) return { type: fixed.type, value: r.view(fixed.size, fixed.type) };
  switch (tag) {
    case Tag.nullData:
      return NULL_DATA;
    case Tag.dontCare:
      return { type: 'dont-care' };
    case Tag.boolean:
      return { type: 'boolean', value: r.u8('boolean') !== 0 };
    case Tag.octetString:
      return { type: 'octet-string', value: readOctets(r, 'octet-string') };
    case Tag.visibleString:
      return { type: 'visible-string', value: latin1(readOctets(r, 'visible-string')) };
    case Tag.utf8String:
      return { type: 'utf8-string', value: readUtf8(r) };
    case Tag.long64:
      return { type: 'long64', value: BigInt.asIntN(64, r.u64('long64')) };
    case Tag.long64Unsigned:
      return { type: 'long64-unsigned', value: r.u64('long64-unsigned') };
    case Tag.bitString: {
      const bits = readLength(r, 'bit-string');
      // Divided, not shifted: a hostile length is near 2^32.
      return { type: 'bit-string', bits, value: r.view(Math.ceil(bits / 8), 'bit-string') };
    }
    case Tag.array:
    case Tag.structure: {
      const type = tag === Tag.array ? 'array' : 'structure';
      if (depth >= MAX_DEPTH) throw new DecodeError(type, at, `at most ${MAX_DEPTH} levels`);
      // Every element has a tag, so a count above the bytes left is a lie; checked before the list is made.
      const count = readByteLength(r, `${type} count`);
      const value: Data[] = [];
      for (let i = 0; i < count; i++) value.push(decodeData(r, depth + 1, more));
      return { type, value };
    }
    default: {
      const other = more?.(r, tag, depth);
      if (other) return other;
      throw new DecodeError('data tag', at, `a known type, got 0x${tag.toString(16).padStart(2, '0')}`);
    }
  }
}

function latin1(octets: Uint8Array): string {
  let text = '';
  for (let i = 0; i < octets.length; i++) text += String.fromCharCode(octets[i]!);
  return text;
}

function readUtf8(r: ByteReader): string {
  const at = r.at;
  const text = decodeUtf8(readOctets(r, 'utf8-string'));
  if (text === undefined) throw new DecodeError('utf8-string', at, 'well-formed UTF-8');
  return text;
}
