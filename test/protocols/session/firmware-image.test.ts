import { createECDH } from 'node:crypto';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { DecodeError, S3mpError } from '#base/errors';
import { nodeCrypto } from '#hw/crypto';
import {
  compareVersions,
  decodeFirmwareImage,
  encodeFirmwareImage,
  judgeFirmwareImage,
  parseVersion,
  type Version,
  verifyFirmwareImage,
} from '#session/firmware-image';
import { seeded } from '../../random.ts';

const Image = suite('firmware image');
const pair = () => {
  const ecdh = createECDH('prime256v1');
  const publicKey = ecdh.generateKeys();
  return { signer: nodeCrypto.signingKey(ecdh.getPrivateKey()), verifier: nodeCrypto.verifyKey(publicKey) };
};
const { signer, verifier } = pair();
const manifest = { model: 's3mp-meter', version: [1, 2, 3] as Version, minimum: [1, 0, 0] as Version };
const content = Uint8Array.from({ length: 3000 }, (_, i) => i & 0xff);
const image = encodeFirmwareImage(manifest, content, signer, nodeCrypto);

Image('an image says what was put into it, and its last field is the digest that class 18 compares', () => {
  const { model, version, minimum, content: inside } = decodeFirmwareImage(image);
  assert.equal({ model, version, minimum }, manifest);
  assert.equal(Uint8Array.from(inside), content);
  assert.is(verifyFirmwareImage(decodeFirmwareImage(image), verifier, nodeCrypto), null);
  assert.equal(
    Uint8Array.from(image.subarray(-32)),
    Uint8Array.from(nodeCrypto.hash('sha256', image.subarray(0, -32))),
  );
  assert.throws(
    () => encodeFirmwareImage({ ...manifest, model: 'x'.repeat(33) }, content, signer, nodeCrypto),
    (error: unknown) => error instanceof S3mpError && error.code === 'encode.out-of-range',
  );
});

Image('versions compare by numbers', () => {
  assert.equal(parseVersion('1.20.3'), [1, 20, 3]);
  for (const text of ['1.2', '1.2.x', '1.2.65536', '', '1.2.3.4']) assert.is(parseVersion(text), undefined, text);
  assert.is(compareVersions([1, 10, 0], [1, 9, 9]), 1);
  assert.is(compareVersions([1, 2, 3], [1, 2, 3]), 0);
  assert.is(compareVersions([0, 9, 9], [1, 0, 0]), -1);
});

Image('only a newer image for this model, within reach, may take over', () => {
  const here = { model: 's3mp-meter', running: [1, 1, 0] as Version, highest: [1, 1, 0] as Version };
  assert.is(judgeFirmwareImage(manifest, here), null);
  assert.is(judgeFirmwareImage({ ...manifest, model: 'other' }, here), 'model');
  assert.is(judgeFirmwareImage(manifest, { ...here, running: [1, 2, 3] }), 'older', 'the same');
  assert.is(judgeFirmwareImage(manifest, { ...here, running: [2, 0, 0] }), 'older');
  assert.is(judgeFirmwareImage(manifest, { ...here, highest: [1, 2, 4] }), 'older', 'a newer one has run here');
  assert.is(judgeFirmwareImage(manifest, { ...here, highest: [1, 2, 3] }), null, 'it has, and comes again');
  assert.is(judgeFirmwareImage(manifest, { ...here, running: [0, 9, 0] }), 'too-far');
});

Image('every changed bit, another key and every shorter image are refused', () => {
  const { below } = seeded();
  const refusal = (bytes: Uint8Array, key = verifier) => {
    try {
      return verifyFirmwareImage(decodeFirmwareImage(bytes), key, nodeCrypto) ?? 'accepted';
    } catch (error) {
      assert.ok(error instanceof DecodeError, String(error));
      return 'decode';
    }
  };
  assert.is(refusal(image, pair().verifier), 'signature');
  const end = image.length - 32;
  for (let bit = 0; bit < 8 * (image.length - content.length - 32); bit++) {
    const bytes = image.slice();
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    assert.is.not(refusal(bytes), 'accepted', `bit ${bit}`);
  }
  for (let round = 0; round < 500; round++) {
    const bytes = image.slice();
    const at = below(end);
    bytes[at]! ^= 1 + below(255);
    assert.is.not(refusal(bytes), 'accepted', `byte ${at}`);
    assert.is(refusal(image.subarray(0, below(image.length))), 'decode');
  }
});

Image('arbitrary bytes are an error of their own', () => {
  const { below, bytes } = seeded();
  for (let round = 0; round < 3000; round++) {
    const input = bytes(below(400));
    if (below(2) === 0) input.set(image.subarray(0, Math.min(6, input.length)));
    assert.throws(
      () => decodeFirmwareImage(input),
      (error: unknown) => error instanceof DecodeError,
    );
  }
});

Image.run();
