/**
 * Compact arrays (IEC 62056-6-2, data type 19): one type description, then the elements without tags. A client meets them in
 * what servers send; a server takes none.
 */

import { DecodeError } from '#base/errors';
import { type Data, decodeContent, decodeData, readByteLength, Tag } from '#dlms/axdr';
import { ByteReader } from '#dlms/reader';

/** Reads one tagged value of any type. @returns as `decodeData` @throws DecodeError */
export function decodeAnyData(r: ByteReader): Data {
  return decodeData(r, 0, (reader, tag, depth) =>
    tag === Tag.compactArray ? { type: 'compact-array', value: decodeCompactArray(reader, depth) } : undefined,
  );
}

/** Type description of a compact array: a scalar tag, or an array or structure of further descriptions. */
interface TypeDescription {
  readonly tag: number;
  readonly elements: readonly TypeDescription[];
  /** Elements of a described array; 0 for the rest. */
  readonly count: number;
}

const COMPACT_DEPTH = 4;
const COMPACT_ELEMENTS = 4096;

function readTypeDescription(r: ByteReader, depth: number): TypeDescription {
  const at = r.at;
  const tag = r.u8('compact-array type');
  if (depth >= COMPACT_DEPTH) throw new DecodeError('compact-array type', at, `at most ${COMPACT_DEPTH} levels`);
  if (tag === Tag.array) {
    const count = r.u16('compact-array count');
    return { tag, count, elements: [readTypeDescription(r, depth + 1)] };
  }
  if (tag === Tag.structure) {
    const count = readByteLength(r, 'compact-array members');
    const elements: TypeDescription[] = [];
    for (let i = 0; i < count; i++) elements.push(readTypeDescription(r, depth + 1));
    return { tag, count: 0, elements };
  }
  if (tag === Tag.compactArray) throw new DecodeError('compact-array type', at, 'no compact array inside');
  return { tag, count: 0, elements: [] };
}

function decodeCompactArray(r: ByteReader, depth: number): Data[] {
  const type = readTypeDescription(r, depth);
  const size = readByteLength(r, 'compact-array contents');
  const end = r.at + size;
  const contents = new ByteReader(r.buf, r.at, end);
  const budget = { left: COMPACT_ELEMENTS };
  const values: Data[] = [];
  while (contents.remaining > 0) {
    const before = contents.at;
    values.push(decodeDescribed(contents, type, budget));
    if (contents.at === before)
      throw new DecodeError('compact-array contents', before, 'elements of at least one byte');
  }
  r.at = end;
  return values;
}

function decodeDescribed(r: ByteReader, type: TypeDescription, budget: { left: number }): Data {
  if (--budget.left < 0) throw new DecodeError('compact-array', r.at, `at most ${COMPACT_ELEMENTS} values`);
  if (type.tag === Tag.array) {
    const value: Data[] = [];
    for (let i = 0; i < type.count; i++) value.push(decodeDescribed(r, type.elements[0]!, budget));
    return { type: 'array', value };
  }
  if (type.tag === Tag.structure)
    return { type: 'structure', value: type.elements.map((element) => decodeDescribed(r, element, budget)) };
  return decodeContent(r, type.tag, r.at, COMPACT_DEPTH);
}
