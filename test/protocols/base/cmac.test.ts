import { createCipheriv, randomBytes } from 'node:crypto';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Aes128 } from '#base/aes';
import { fromHex, toHex } from '#base/bytes';
import { AesCmac } from '#base/cmac';
import vectors from '../../vectors/scion-packets.json';

const Aes = suite('AES-128 and CMAC');

Aes('the example block of FIPS 197 appendix C.1 is reproduced', () => {
  const out = new Uint8Array(16);
  new Aes128(fromHex('000102030405060708090a0b0c0d0e0f')).encryptBlock(
    fromHex('00112233445566778899aabbccddeeff'),
    0,
    out,
    0,
  );
  assert.is(toHex(out), '69c4e0d86a7b0430d8cdb78070b4c55a');
});

Aes('random blocks agree with OpenSSL, also in place and at an offset', () => {
  for (let i = 0; i < 500; i++) {
    const key = randomBytes(16);
    const block = randomBytes(16);
    const cipher = createCipheriv('aes-128-ecb', key, null).setAutoPadding(false);
    const expected = cipher.update(block).toString('hex');
    const buffer = new Uint8Array(40);
    buffer.set(block, 7);
    new Aes128(key).encryptBlock(buffer, 7, buffer, 7);
    assert.is(toHex(buffer, 7, 23), expected, `key ${key.toString('hex')} block ${block.toString('hex')}`);
    assert.is(toHex(buffer, 23), '00'.repeat(17));
  }
});

Aes('a key of another length is refused', () => {
  assert.throws(() => new Aes128(new Uint8Array(24)), /24 bytes/);
});

Aes('RFC 4493 tags of 0, 16, 40 and 64 bytes', () => {
  const { inputs, expected } = vectors['aes-cmac-rfc4493'];
  const mac = new AesCmac(fromHex(inputs.key_hex));
  const message = fromHex(inputs.message_hex);
  const tag = new Uint8Array(16);
  for (const [length, hex] of Object.entries(expected.tags)) {
    assert.is(mac.compute(message, 0, Number(length), tag, 0), 16);
    assert.is(toHex(tag), hex);
  }
});

Aes('a message in pieces has the tag of the whole, and one block has it in one call', () => {
  const mac = new AesCmac(randomBytes(16));
  for (let length = 0; length <= 70; length++) {
    const message = randomBytes(length);
    const whole = new Uint8Array(16);
    const pieces = new Uint8Array(16);
    mac.compute(message, 0, length, whole, 0);
    const cut = Math.floor(length / 3);
    mac.reset();
    mac.update(message, 0, cut);
    mac.update(message, cut, cut);
    mac.update(message, cut, length);
    mac.digestInto(pieces, 0);
    assert.equal(pieces, whole);
    if (length !== 16) continue;
    const view = new DataView(message.buffer, message.byteOffset);
    mac.oneBlock(view.getInt32(0), view.getInt32(4), view.getInt32(8), view.getInt32(12));
    mac.writeWords(pieces, 0);
    assert.equal(pieces, whole);
  }
});

Aes.run();
