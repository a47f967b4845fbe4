import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { DecodeError } from '#base/errors';
import { type Data, decodeData, encodeData, MAX_DEPTH, readLength, sizeOfLength, writeLength } from '#dlms/axdr';
import { decodeAnyData } from '#dlms/compact-array';
import { ByteReader } from '#dlms/reader';
import { ByteWriter } from '#dlms/writer';
import { vectors } from './vectors.ts';

const Axdr = suite('axdr');

function encoded(data: Data): string {
  const w = encodeData(new ByteWriter(new Uint8Array(512)), data);
  assert.not.ok(w.overflowed);
  return toHex(w.written());
}

function decoded(hex: string): Data {
  const r = new ByteReader(fromHex(hex));
  const data = decodeAnyData(r);
  r.expectEnd('data');
  return data;
}

const octets = (hex: string): Data => ({ type: 'octet-string', value: fromHex(hex) });
const long = (value: number): Data => ({ type: 'long-unsigned', value });

/** One value of every type, beside its bytes. */
const SAMPLES: readonly (readonly [Data, string])[] = [
  [{ type: 'null-data' }, '00'],
  [{ type: 'dont-care' }, 'ff'],
  [{ type: 'array', value: [long(1), long(65_535)] }, '0102 120001 12ffff'],
  [{ type: 'structure', value: [{ type: 'boolean', value: true }, octets('0102')] }, '0202 0301 09020102'],
  [{ type: 'bit-string', bits: 10, value: fromHex('ffc0') }, '040affc0'],
  [{ type: 'double-long', value: -2 }, '05fffffffe'],
  [{ type: 'double-long-unsigned', value: 4_294_967_295 }, '06ffffffff'],
  [{ type: 'visible-string', value: 'S3M' }, '0a0353334d'],
  [{ type: 'utf8-string', value: 'Zähler €' }, '0c0b 5a c3a4 686c6572 20 e282ac'],
  [{ type: 'bcd', value: 0x42 }, '0d42'],
  [{ type: 'integer', value: -128 }, '0f80'],
  [{ type: 'long', value: -32_768 }, '108000'],
  [{ type: 'unsigned', value: 255 }, '11ff'],
  [{ type: 'long64', value: -2n }, '14fffffffffffffffe'],
  [{ type: 'long64-unsigned', value: 0xffff_ffff_ffff_ffffn }, '15ffffffffffffffff'],
  [{ type: 'enum', value: 35 }, '1623'],
  [{ type: 'float32', value: 1.5 }, '173fc00000'],
  [{ type: 'float64', value: -0.1 }, '18bfb999999999999a'],
  [{ type: 'date-time', value: fromHex('07e8060f0614172d00ff8880') }, '1907e8060f0614172d00ff8880'],
  [{ type: 'date', value: fromHex('07e80b15ff') }, '1a07e80b15ff'],
  [{ type: 'time', value: fromHex('081e0f17') }, '1b081e0f17'],
  [{ type: 'delta-integer', value: -1 }, '1cff'],
  [{ type: 'delta-long', value: -1 }, '1dffff'],
  [{ type: 'delta-double-long', value: -1 }, '1effffffff'],
  [{ type: 'delta-unsigned', value: 1 }, '1f01'],
  [{ type: 'delta-long-unsigned', value: 1 }, '200001'],
  [{ type: 'delta-double-long-unsigned', value: 1 }, '2100000001'],
];

Axdr('every type encodes to the bytes of the standard and back', () => {
  for (const [data, hex] of SAMPLES) {
    assert.is(encoded(data), hex.replace(/ /g, ''), data.type);
    assert.equal(decoded(hex), data);
  }
});

Axdr('every prefix of a value is truncated, never a shorter value', () => {
  for (const [data, hex] of SAMPLES) {
    const bytes = fromHex(hex);
    for (let end = 0; end < bytes.length; end++) {
      const isTruncated = (error: unknown) => error instanceof DecodeError && error.code === 'decode.truncated';
      assert.throws(() => decodeAnyData(new ByteReader(bytes, 0, end)), isTruncated, `${data.type} cut at ${end}`);
    }
  }
});

Axdr('lengths are written in their shortest form and read in any up to four bytes', () => {
  for (const length of [0, 1, 127, 128, 255, 256, 65_535, 65_536, 16_777_215, 16_777_216, 0xffff_ffff]) {
    const w = writeLength(new ByteWriter(new Uint8Array(8)), length);
    assert.is(w.length, sizeOfLength(length));
    assert.is(readLength(new ByteReader(w.written()), 'length'), length);
  }
  assert.is(readLength(new ByteReader(fromHex('820f0f')), 'length'), 3855);
  assert.is(readLength(new ByteReader(fromHex('8400000005')), 'length'), 5);
  for (const bad of ['80', '850000000001', 'ff']) {
    assert.throws(
      () => readLength(new ByteReader(fromHex(bad)), 'length'),
      (e: unknown) => e instanceof DecodeError,
    );
  }
});

Axdr('vectors of values decode to what is published', () => {
  const strings = vectors('data').filter(({ name }) => name === 'visible-string');
  assert.is(strings.length, 1);
  assert.equal(decoded(strings[0]!.expected), { type: 'visible-string', value: strings[0]!.inputs.decoded });
  const structure = vectors('data').find(({ name }) => name === 'structure of 5')!;
  const value = decoded(structure.expected);
  assert.ok(value.type === 'structure');
  assert.equal(
    value.value.map((member) => 'value' in member && member.value),
    structure.inputs.decoded,
  );
  assert.is(encoded(value), structure.expected);
  const compact = vectors('data').find(({ name }) => name.startsWith('compact-array'))!;
  const rows = decoded(compact.expected);
  assert.ok(rows.type === 'compact-array');
  assert.equal(
    rows.value.map((row) => row.type === 'structure' && row.value.map((cell) => 'value' in cell && cell.value)),
    compact.inputs.decoded,
  );
  for (const { name, expected } of vectors('datetime').filter(({ name }) => name.startsWith('Data ')))
    assert.is(encoded(decoded(expected)), expected, name);
});

Axdr('nesting is bounded: the deepest level passes and one more does not', () => {
  const nested = (levels: number) => `${'0101'.repeat(levels)}00`;
  assert.ok(decoded(nested(MAX_DEPTH)));
  for (const levels of [MAX_DEPTH + 1, 1000, 100_000]) {
    const isRefused = (error: unknown) => error instanceof DecodeError && error.code === 'decode.invalid';
    assert.throws(() => decoded(nested(levels)), isRefused, `${levels} levels`);
  }
});

Axdr('lying counts, endless bit strings and hostile compact arrays are refused without being believed', () => {
  const hostile = [
    '0184ffffffff00',
    '0284ffffffff00',
    '0984ffffffff00',
    '0484ffffffff00',
    '0484fffffff900',
    '13 01ffff 01ffff 01ffff 01ffff 01ffff 00 0400000000',
    '13 01ffff 00 0411111111',
    '13 00 0411111111',
    '13 13 00 00',
    '13 0202 1206 03 000100',
    `13 02 84ffffffff 12 00`,
    '22',
    '07',
  ];
  for (const hex of hostile)
    assert.throws(
      () => decoded(hex),
      (e: unknown) => e instanceof DecodeError,
      hex,
    );
});

Axdr('values that do not fit their type are not written', () => {
  const misfits: Data[] = [
    { type: 'unsigned', value: 256 },
    { type: 'integer', value: 128 },
    { type: 'long-unsigned', value: -1 },
    { type: 'double-long', value: 2 ** 31 },
    { type: 'double-long-unsigned', value: 1.5 },
    { type: 'long64-unsigned', value: -1n },
    { type: 'long64', value: 2n ** 63n },
    { type: 'enum', value: Number.NaN },
    { type: 'bit-string', bits: 9, value: fromHex('ff') },
    { type: 'date', value: fromHex('07e8') },
    { type: 'visible-string', value: '€' },
  ];
  for (const data of misfits)
    assert.throws(
      () => encoded(data),
      (e: { code?: string }) => e.code === 'encode.out-of-range',
      data.type,
    );
});

Axdr('a writer that is too small counts what it would need and stores nothing outside', () => {
  const buffer = new Uint8Array(12).fill(0xee);
  const w = new ByteWriter(buffer, 2, 6);
  encodeData(w, { type: 'array', value: [long(1), long(2), long(3)] });
  assert.ok(w.overflowed);
  assert.is(w.length, 11);
  assert.is(toHex(buffer, 6), 'eeeeeeeeeeee');
  assert.is(toHex(buffer, 0, 2), 'eeee');
});

Axdr('a server takes no compact array, also not inside another value', () => {
  for (const hex of ['13 11 02 0102', '02 01 13 11 02 0102']) {
    assert.throws(
      () => decodeData(new ByteReader(fromHex(hex))),
      (error: unknown) => error instanceof DecodeError && error.code === 'decode.invalid',
    );
    assert.type(decoded(hex), 'object');
  }
});

Axdr.run();
