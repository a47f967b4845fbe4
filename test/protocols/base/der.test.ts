/** DER: the shortest form and nothing else, both ways; broken bytes are errors of our own. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { DerReader, DerTag, DerWriter, enterWhole } from '#base/der';
import { DecodeError, S3mpError } from '#base/errors';
import { seeded } from '#test/random';

const Der = suite('der');
const random = seeded();

const written = (fill: (w: DerWriter) => unknown): string => {
  const w = new DerWriter(new Uint8Array(70_000));
  fill(w);
  return toHex(w.written());
};

/** Code of the error, '' when there is none. */
function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof S3mpError) return error.code;
    throw error;
  }
  return '';
}

Der('values have the encodings of X.690', () => {
  assert.is(
    written((w) => w.number(0)),
    '020100',
  );
  assert.is(
    written((w) => w.number(127)),
    '02017f',
  );
  assert.is(
    written((w) => w.number(128)),
    '02020080',
  );
  assert.is(
    written((w) => w.number(256)),
    '02020100',
  );
  assert.is(
    written((w) => w.number(2 ** 48 - 1)),
    '020700ffffffffffff',
  );
  assert.is(
    written((w) => w.unsigned(fromHex('000000ff'))),
    '020200ff',
  );
  assert.is(
    written((w) => w.boolean(true)),
    '0101ff',
  );
  assert.is(
    written((w) => w.bitString(fromHex('a0'), 5)),
    '030205a0',
  );
  assert.is(
    written((w) => w.time(Date.UTC(2049, 11, 31, 23, 59, 59) / 1000)),
    `170d${toHex(Buffer.from('491231235959Z'))}`,
  );
  assert.is(
    written((w) => w.time(Date.UTC(2050, 0, 1) / 1000)),
    `180f${toHex(Buffer.from('20500101000000Z'))}`,
  );
});

Der('lengths take the shortest form, and containers close over contents of any size', () => {
  for (const size of [0, 1, 127, 128, 255, 256, 65_535, 65_536]) {
    const hex = written((w) => w.nest(DerTag.sequence, () => w.primitive(DerTag.octetString, new Uint8Array(size))));
    const inner = enterWhole(fromHex(hex), 'value').bytes(DerTag.octetString);
    assert.is(inner.length, size);
  }
  assert.is(written((w) => w.primitive(4, new Uint8Array(128))).slice(0, 6), '048180');
  const short = new DerWriter(new Uint8Array(8));
  short.nest(DerTag.sequence, () => short.primitive(DerTag.octetString, new Uint8Array(200)));
  assert.is(
    refusal(() => short.written()),
    'encode.out-of-range',
  );
});

Der('anything but the shortest form is refused', () => {
  const read = (hex: string, use: (r: DerReader) => unknown) => refusal(() => use(new DerReader(fromHex(hex), 'x')));
  const element = (r: DerReader) => r.element();
  assert.is(read('0400', element), '');
  for (const [hex, why] of [
    ['048100', 'long form of a short length'],
    ['04820001ff', 'leading zero in the length'],
    [`0481 7f ${'00'.repeat(127)}`, 'one byte too many'],
    ['0480', 'indefinite length'],
    ['0484000000', 'length of four bytes'],
    ['1f0100', 'long tag'],
  ] as const)
    assert.is(read(hex, element), 'decode.invalid', why);
  for (const hex of ['', '04', '0401', '048180', '0482', '0405000000'])
    assert.is(read(hex, element), 'decode.truncated');
  for (const hex of ['0200', '020180', '02020001', '0202007f', '02080100000000000000'])
    assert.is(
      read(hex, (r) => r.number()),
      'decode.invalid',
      hex,
    );
  for (const hex of ['010101', '0100', '01020000'])
    assert.is(
      read(hex, (r) => r.boolean()),
      'decode.invalid',
      hex,
    );
  for (const hex of ['0300', '030101', '03020180'])
    assert.is(
      read(hex, (r) => r.bitString()),
      'decode.invalid',
      hex,
    );
  assert.is(
    refusal(() => enterWhole(fromHex('300000'), 'x')),
    'decode.invalid',
    'trailing byte',
  );
});

Der('times are dates that exist, in the form for their year', () => {
  const time = (tag: number, text: string) => {
    const bytes = Uint8Array.of(tag, text.length, ...Buffer.from(text));
    return refusal(() => new DerReader(bytes, 'x').time());
  };
  assert.is(time(DerTag.utcTime, '260228235959Z'), '');
  assert.is(time(DerTag.generalizedTime, '20500101000000Z'), '');
  for (const text of [
    '260229000000Z',
    '261301000000Z',
    '260101240000Z',
    '260101006000Z',
    '2601010000Z',
    '260101000000+0000',
  ])
    assert.is(time(DerTag.utcTime, text), 'decode.invalid', text);
  for (const text of ['20490101000000Z', '20500101000000.5Z', '205001010000Z', '20510229000000Z'])
    assert.is(time(DerTag.generalizedTime, text), 'decode.invalid', text);
  for (let i = 0; i < 200; i++) {
    const seconds = Math.floor(random.u32() * 1.4);
    const w = new DerWriter(new Uint8Array(32));
    w.time(seconds);
    assert.is(new DerReader(w.written(), 'x').time(), seconds);
  }
});

Der('random bytes are read or refused, never anything else', () => {
  for (let i = 0; i < 20_000; i++) {
    const bytes = random.bytes(random.below(24));
    if (bytes.length > 0) bytes[0] = [2, 3, 4, 0x30, 0x17, 0x18][random.below(6)]!;
    const r = new DerReader(bytes, 'x');
    for (const use of [() => r.element(), () => r.number(), () => r.time(), () => r.bitString()]) {
      r.at = 0;
      try {
        use();
      } catch (error) {
        assert.instance(error, DecodeError);
      }
      assert.ok(r.at <= bytes.length);
    }
  }
});

Der.run();
