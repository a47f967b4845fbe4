/** Protocol Buffers wire codec: vectors from the encoding guide, properties over random messages, mutations. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { DecodeError } from '#base/errors';
import { ProtoReader, ProtoWriter } from '#base/proto';
import { seededRandom } from '#hw/random';

const Proto = suite('proto');

function reader(hex: string): ProtoReader {
  const r = new ProtoReader(fromHex(hex), 'test');
  assert.ok(r.next());
  return r;
}

function failsWith(code: string, run: () => unknown): void {
  try {
    run();
  } catch (error) {
    assert.instance(error, DecodeError);
    assert.is((error as DecodeError).code, code);
    return;
  }
  assert.unreachable(`expected ${code}`);
}

Proto('the examples of the encoding guide decode and encode alike', () => {
  assert.is(reader('089601').u32(), 150);
  assert.is(reader('120774657374696e67').text(), 'testing');
  const nested = reader('1a03089601').message('inner');
  assert.ok(nested.next());
  assert.is(nested.u32(), 150);
  assert.not(nested.next());
  assert.is(toHex(new ProtoWriter().u32(1, 150).finish()), '089601');
  assert.is(toHex(new ProtoWriter().text(2, 'testing').finish()), '120774657374696e67');
  assert.is(toHex(new ProtoWriter().message(3, (m) => m.u32(1, 150)).finish()), '1a03089601');
  assert.is(toHex(new ProtoWriter().i32(1, -2).finish()), '08feffffffffffffffff01');
  assert.is(reader('08feffffffffffffffff01').i32(), -2);
  assert.is(toHex(new ProtoWriter().fixed32(1, 0x01020304).fixed64(2, 5n).finish()), '0d04030201110500000000000000');
  assert.is(reader('0d0000803f').float(), 1);
});

Proto('zero values are left out, a nested message without fields is not', () => {
  const w = new ProtoWriter().u32(1, 0).u64(2, 0n).bytes(3, new Uint8Array(0)).text(4, '').bool(5, false).float(6, 0);
  assert.is(w.finish().length, 0);
  assert.is(toHex(new ProtoWriter().message(1, () => {}).finish()), '0a00');
});

Proto('64-bit values keep every bit', () => {
  for (const value of [1n, 0x7fn, 0x80n, 0x1ff0000000110n, 0xffff_ffff_ffff_ffffn]) {
    const r = new ProtoReader(new ProtoWriter().u64(1, value).finish(), 'test');
    assert.ok(r.next());
    assert.is(r.u64(), value);
  }
  assert.is(reader('08ffffffffffffffffff01').i64(), -1n);
});

Proto('bad input is an error with its code', () => {
  failsWith('decode.truncated', () => reader('0896').u32());
  failsWith('decode.truncated', () => reader('0a05010203').bytes());
  failsWith('decode.truncated', () => reader('0d000000').fixed32());
  failsWith('decode.truncated', () => reader('0d000000').skip());
  failsWith('decode.invalid', () => reader('08ffffffffffffffffff02').u64());
  failsWith('decode.invalid', () => reader('0880808080808080808080808000').u64());
  failsWith('decode.invalid', () => reader('088080808010').u32());
  failsWith('decode.invalid', () => reader('0800').bytes());
  failsWith('decode.invalid', () => reader('0a02c328').text());
  failsWith('decode.invalid', () => reader('0b'));
  failsWith('decode.invalid', () => reader('0008'));
  failsWith('decode.invalid', () => reader('0affffffffffffffffff01').bytes());
});

Proto('mutations of a message never do anything but decode or fail with a DecodeError', () => {
  const seed = Number(process.env.S3MP_SEED ?? Date.now() % 1e9);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const message = new ProtoWriter()
    .u64(1, 0x1ff0000000110n)
    .message(2, (m) => m.u32(1, 7).text(2, 'text').bytes(3, new Uint8Array(9)))
    .fixed64(3, 99n)
    .float(4, 1.5)
    .i64(5, -7n)
    .finish();
  let failed = 0;
  let read = 0;
  for (let i = 0; i < 20_000; i++) {
    const bytes = message.slice(0, 1 + Math.floor(random() * message.length));
    for (let k = 0; k <= random() * 3; k++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    try {
      const r = new ProtoReader(bytes, 'fuzz');
      while (r.next()) {
        read++;
        const choice = Math.floor(random() * 4);
        if (choice === 0) r.skip();
        else if (r.field === 2) {
          const inner = r.message('inner');
          while (inner.next()) inner.skip();
        } else if (r.field === 4) r.float();
        else if (r.field === 3) r.fixed64();
        else r.u64();
      }
    } catch (error) {
      assert.instance(error, DecodeError);
      failed++;
    }
  }
  assert.ok(failed > 1000 && read > 1000, `${failed} failed, ${read} fields read`);
});

Proto.run();
