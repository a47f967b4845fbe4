import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as bytes from '#base/bytes';

const Bytes = suite('bytes');

Bytes('every width reads back what was written and returns the offset behind it', () => {
  const out = new Uint8Array(32);
  assert.is(bytes.writeU8(out, 0, 0xfe), 1);
  assert.is(bytes.writeU16(out, 1, 0xfedc), 3);
  assert.is(bytes.writeU32(out, 3, 0xfedcba98), 7);
  assert.is(bytes.writeU48(out, 7, 0xfedcba987654), 13);
  assert.is(bytes.writeU64(out, 13, 0xfedcba9876543210n), 21);
  assert.is(bytes.toHex(out, 0, 21), 'fefedcfedcba98fedcba987654fedcba9876543210');
  assert.is(bytes.readU16(out, 1), 0xfedc);
  assert.is(bytes.readI16(out, 1), 0xfedc - 0x10000);
  assert.is(bytes.readU32(out, 3), 0xfedcba98);
  assert.is(bytes.readI32(out, 3), 0xfedcba98 - 0x100000000);
  assert.is(bytes.readU48(out, 7), 0xfedcba987654);
  assert.is(bytes.readU64(out, 13), 0xfedcba9876543210n);
});

Bytes('hexadecimal text is refused when it is not whole bytes', () => {
  assert.equal(bytes.fromHex('00 fF\n10'), new Uint8Array([0, 255, 16]));
  assert.throws(() => bytes.fromHex('0'), RangeError);
  assert.throws(() => bytes.fromHex('0g'), RangeError);
});

Bytes('constant-time comparison sees a difference in length and in any byte', () => {
  const tag = bytes.fromHex('00112233');
  assert.ok(bytes.constantTimeEqual(tag, bytes.fromHex('00112233')));
  assert.not.ok(bytes.constantTimeEqual(tag, bytes.fromHex('001122')));
  for (let i = 0; i < tag.length; i++) {
    const other = tag.slice();
    other[i]! ^= 0x80;
    assert.not.ok(bytes.constantTimeEqual(tag, other));
  }
});

Bytes.run();
