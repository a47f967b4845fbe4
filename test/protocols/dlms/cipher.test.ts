/** Ciphering, high-level authentication and key wrap against published and captured frames, both directions. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { DecodeError } from '#base/errors';
import { decodeAare, decodeAarq, decodeRelease, encodeAare, encodeAarq, encodeRelease } from '#dlms/acse';
import { CIPHER_HEADROOM, CipherHeader, CipherKey, cipherOverhead, GENERAL_GLO, sealApdu } from '#dlms/cipher';
import { checkHls, type HlsPass, proveHls } from '#dlms/hls';
import {
  decodeInitiateRequest,
  decodeInitiateResponse,
  encodeInitiateRequest,
  encodeInitiateResponse,
} from '#dlms/initiate';
import { ByteReader } from '#dlms/reader';
import { ByteWriter } from '#dlms/writer';
import { nodeCrypto } from '#hw/crypto';
import { seeded } from '#test/random';
import { vector, vectors } from './vectors.ts';
import { wrapKey } from './wrap-key.ts';

const Cipher = suite('dlms cipher');

const hex = (value: unknown) => fromHex(String(value));
const keyOf = (inputs: Readonly<Record<string, unknown>>) =>
  new CipherKey(nodeCrypto.gcmKey(hex(inputs.ek)), hex(inputs.ak));

function seal(plain: Uint8Array, style: number, sc: number, key: CipherKey, title: Uint8Array, ic: number, at = 0) {
  const w = new ByteWriter(new Uint8Array(at + 2048), at);
  w.at = at + CIPHER_HEADROOM;
  w.bytes(plain);
  sealApdu(w, at, at + CIPHER_HEADROOM, { tag: style, sc, hasTitle: true }, key, title, ic);
  return w.written().slice();
}

function open(apdu: Uint8Array, key: CipherKey, title: Uint8Array): Uint8Array | undefined {
  const copy = apdu.slice();
  const header = new CipherHeader().read(new ByteReader(copy));
  const sender = header.titleAt < 0 ? title : copy.slice(header.titleAt, header.titleAt + 8);
  const end = key.unprotect(header.sc, sender, header.counter, copy, header.at, header.end);
  return end < 0 ? undefined : copy.slice(header.at, end);
}

Cipher('service-specific ciphering gives the published frames and opens them', () => {
  const cases = vectors('gcm').filter(({ inputs }) => inputs.plain !== undefined);
  assert.is(cases.length, 5);
  for (const { name, inputs, expected } of cases) {
    const plain = hex(inputs.plain);
    const title = hex(inputs.systemTitle);
    const sealed = seal(plain, Number(inputs.tag), Number(inputs.sc), keyOf(inputs), title, Number(inputs.ic));
    assert.is(toHex(sealed), expected, name);
    assert.is(toHex(open(hex(expected), keyOf(inputs), title)!), inputs.plain, name);
    const overhead = cipherOverhead({ tag: Number(inputs.tag), sc: Number(inputs.sc), hasTitle: true }, 127);
    assert.is(sealed.length, plain.length + overhead, name);
  }
});

Cipher('general ciphering of a field notification opens and is made again', () => {
  const { inputs, expected } = vector('general-glo-ciphering DataNotification');
  const apdu = hex(inputs.apdu);
  const title = apdu.slice(2, 10);
  assert.is(toHex(open(apdu, keyOf(inputs), new Uint8Array(8))!), expected);
  assert.is(toHex(seal(hex(expected), GENERAL_GLO, 0x30, keyOf(inputs), title, 0x1e5)), inputs.apdu);
});

Cipher('an empty title is read, with the title known from the association', () => {
  const { inputs, expected } = vector('general-glo-ciphering with empty system title');
  const header = new CipherHeader().read(new ByteReader(hex(expected)));
  assert.equal([header.titleAt, header.sc, header.counter], [-1, Number(inputs.sc), Number(inputs.ic)]);
  assert.is(toHex(hex(expected), header.at, header.end), inputs.cipherTextAndTag);
});

Cipher('association and release frames with a ciphered initiate are the published ones', () => {
  const key = keyOf({ ek: '000102030405060708090a0b0c0d0e0f', ak: 'd0d1d2d3d4d5d6d7d8d9dadbdcdddedf' });
  const title = hex('4d4d4d0000bc614e');
  const sealed = (at: number, counter: number, write: (w: ByteWriter) => void) => (inner: ByteWriter) => {
    const start = inner.at;
    inner.at += CIPHER_HEADROOM;
    write(inner);
    sealApdu(inner, start, start + CIPHER_HEADROOM, { tag: at, sc: 0x30, hasTitle: true }, key, title, counter);
  };
  const request = sealed(0xc8, 0x01234567, (w) =>
    encodeInitiateRequest(w, 0x007e1f, 1200, hex('00112233445566778899aabbccddeeff')),
  );
  const response = sealed(0xc8, 0x01234567, (w) => encodeInitiateResponse(w, 0x007c1f, 1024));
  const frame = (write: (w: ByteWriter) => void) => {
    const w = new ByteWriter(new Uint8Array(256));
    write(w);
    return toHex(w.written());
  };
  const aarq = { context: 3, mechanism: 1, authentication: hex('3132333435363738'), callingTitle: title };
  const expectedAarq = vector('AARQ ciphered LLS with dedicated key').expected;
  assert.is(
    frame((w) => encodeAarq(w, aarq, request)),
    expectedAarq,
  );
  assert.is(
    frame((w) => encodeRelease(w, 0x62, 0, request)),
    vector('RLRQ protected').expected,
  );
  const aare = { context: 3, result: 0, diagnostic: 0, respondingTitle: title };
  assert.is(
    frame((w) => encodeAare(w, aare, response)),
    vector('AARE ciphered with responding AP title').expected,
  );
  assert.is(
    frame((w) => encodeRelease(w, 0x63, 0, response)),
    vector('RLRE protected').expected,
  );
  // And back: what stands in them opens.
  const opened = (information: Uint8Array | null) => open(information!, key, title)!;
  const reader = (text: string) => new ByteReader(hex(text));
  const initiate = decodeInitiateRequest(new ByteReader(opened(decodeAarq(reader(expectedAarq)).userInformation)));
  assert.is(toHex(initiate.dedicatedKey!), '00112233445566778899aabbccddeeff');
  for (const information of [
    decodeAare(reader(vector('AARE ciphered with responding AP title').expected)).userInformation,
    decodeRelease(reader(vector('RLRE protected').expected), 0x63).userInformation,
  ])
    assert.is(decodeInitiateResponse(new ByteReader(opened(information))).conformance, 0x007c1f);
});

Cipher('the captured association is what both sides would send and open', () => {
  for (const { name, inputs, expected } of vectors('transcript')) {
    const plain = hex(inputs.plain);
    const sealed = seal(plain, 0xc8, Number(inputs.sc), keyOf(inputs), hex(inputs.senderTitle), Number(inputs.ic));
    const isAcse = expected.startsWith('6');
    assert.ok(isAcse ? expected.endsWith(toHex(sealed)) : toHex(sealed) === expected, name);
    assert.is(toHex(open(sealed, keyOf(inputs), hex(inputs.senderTitle))!), inputs.plain, name);
  }
});

Cipher('high-level authentication gives the published answers and checks them', () => {
  const none = new Uint8Array(0);
  let checked = 0;
  for (const { name, inputs, expected } of vectors('hls')) {
    const { ek, challenge, secret, StoC, CtoS, clientTitle, serverTitle } = inputs;
    const base = { crypto: nodeCrypto, sent: none, verifier: none };
    const isServer = name.includes('f(CtoS)');
    const pass: HlsPass | undefined = ek
      ? { ...base, mechanism: 5, prover: hex(inputs.systemTitle), received: hex(challenge), key: keyOf(inputs) }
      : name.startsWith('HLS-SHA256')
        ? {
            ...base,
            mechanism: 6,
            secret: hex(secret),
            prover: hex(isServer ? serverTitle : clientTitle),
            verifier: hex(isServer ? clientTitle : serverTitle),
            received: hex(isServer ? CtoS : StoC),
            sent: hex(isServer ? StoC : CtoS),
          }
        : /MD5|SHA1/.test(name)
          ? {
              ...base,
              mechanism: name.includes('MD5') ? 3 : 4,
              prover: none,
              received: hex(challenge),
              secret: hex(secret),
            }
          : undefined;
    if (!pass) continue;
    assert.is(toHex(proveHls(pass, Number(inputs.ic ?? 0))!), expected, name);
    assert.ok(checkHls(pass, hex(expected)), name);
    for (let bit = 0; bit < expected.length * 4; bit += 7) {
      const wrong = hex(expected);
      wrong[bit >> 3]! ^= 1 << (bit & 7);
      assert.not.ok(checkHls(pass, wrong), `${name}: bit ${bit}`);
    }
    assert.not.ok(checkHls(pass, none));
    checked++;
  }
  assert.is(checked, 8);
});

Cipher('a signature over the titles and challenges holds for this order only', () => {
  const own = nodeCrypto.signingKey(fromHex('0f'.repeat(32)));
  const publicKey = nodeCrypto.verifyKey(
    fromHex(
      '048ffb7a2eaeaaf7931c1fb21192b737b39290fec6f055df4a35fd5e55c87a94ce656ced1ba84ae54ea9a3fb92122f3863c2448bd0719824d8d527615ce2a46d99',
    ),
  );
  const pass: HlsPass = {
    mechanism: 7,
    crypto: nodeCrypto,
    prover: hex('4d4d4d0000000001'),
    verifier: hex('4d4d4d0000bc614e'),
    received: hex('503677524a323146'),
    sent: hex('4b35366956616759'),
  };
  const answer = proveHls(pass, 0, own)!;
  assert.is(answer.length, 64);
  assert.ok(checkHls(pass, answer, publicKey));
  assert.not.ok(checkHls({ ...pass, prover: pass.verifier, verifier: pass.prover }, answer, publicKey));
  assert.not.ok(checkHls({ ...pass, received: pass.sent, sent: pass.received }, answer, publicKey));
  assert.not.ok(checkHls(pass, answer.subarray(1), publicKey));
  assert.not.ok(checkHls(pass, answer), 'no key, no trust');
  assert.is(proveHls(pass, 0), undefined);
});

Cipher('keys wrap and unwrap as published, and a changed one does not unwrap', () => {
  for (const name of ['AES-128 key wrap', 'AES-256 key wrap of 256-bit key (suite 2)']) {
    const { inputs, expected } = vector(name);
    assert.is(toHex(wrapKey(hex(inputs.kek), hex(inputs.key))), expected);
    assert.is(toHex(nodeCrypto.unwrapKey(hex(inputs.kek), hex(expected))!), inputs.key);
    const wrong = hex(expected);
    wrong[3]! ^= 0x10;
    assert.is(nodeCrypto.unwrapKey(hex(inputs.kek), wrong), undefined);
    assert.is(nodeCrypto.unwrapKey(hex(inputs.kek), hex(expected).subarray(1)), undefined);
  }
});

Cipher('every length, style and protection opens to what was sealed, any change does not', () => {
  const random = seeded();
  const key = keyOf({ ek: '00'.repeat(16), ak: '11'.repeat(16) });
  const title = hex('4d4d4d0000000001');
  for (const style of [0xc8, 0xd0, GENERAL_GLO, 0xdc]) {
    for (const sc of [0x10, 0x20, 0x30, 0x31]) {
      for (const size of [3, 100, 109, 110, 127, 128, 238, 239, 255, 256, 1000]) {
        const plain = Uint8Array.from([0xc4, ...random.bytes(size - 1)]);
        const sealed = seal(plain, style, sc, key, title, 77, 5);
        assert.is(toHex(open(sealed, key, title)!), toHex(plain), `${style} ${sc} ${size}`);
        if (sc === 0x20) continue;
        const wrong = sealed.slice();
        const at = sealed.length - 1 - random.below(size + 12);
        wrong[at]! ^= 1 << random.below(8);
        assert.is(open(wrong, key, title), undefined, `byte ${at}`);
        if (style < 0xdb) assert.is(open(sealed, key, hex('4d4d4d0000000002')), undefined, 'another sender');
      }
    }
  }
});

Cipher('headers that are broken, compressed or unprotected are refused', () => {
  for (const bad of [
    '',
    'c8',
    'c8053000000001',
    'c8123000000001',
    `c811${'3000000001'}${'00'.repeat(11)}`,
    `c812${'0000000001'}${'00'.repeat(13)}`,
    `c812${'b000000001'}${'00'.repeat(13)}`,
    `db0400000000${'123000000001'}${'00'.repeat(13)}`,
    `c012${'3000000001'}${'00'.repeat(13)}`,
    `c812${'3000000001'}${'00'.repeat(14)}`,
  ])
    assert.throws(
      () => new CipherHeader().read(new ByteReader(fromHex(bad))),
      (e: unknown) => e instanceof DecodeError,
      bad,
    );
});

Cipher.run();
