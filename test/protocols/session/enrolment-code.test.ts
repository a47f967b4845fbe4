/** The enrolment code as people read and type it. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { toHex } from '#base/bytes';
import { messageOf, S3mpError } from '#base/errors';
import { nodeCrypto } from '#hw/crypto';
import {
  CODE_SIZE,
  enrolmentChallenge,
  enrolmentKeys,
  formatCode,
  parseCode,
  provesCode,
} from '#session/enrolment-code';
import { seeded } from '#test/random';

const Code = suite('enrolment code');
const random = seeded();
const SYMBOLS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

function refusal(text: string): string {
  try {
    parseCode(text);
  } catch (error) {
    assert.ok(error instanceof S3mpError && error.code === 'enrolment.code', messageOf(error));
    return messageOf(error);
  }
  return '';
}

Code('what is shown is read back, however it is typed', () => {
  for (let i = 0; i < 500; i++) {
    const code = random.bytes(CODE_SIZE);
    const text = formatCode(code);
    assert.match(text, /^([0-9A-HJKMNP-TV-Z]{5}-){3}[0-9A-HJKMNP-TV-Z]{5}$/);
    assert.is(toHex(parseCode(text)), toHex(code));
    const sloppy = ` ${text.toLowerCase().replaceAll('-', ' ').replaceAll('0', 'o').replaceAll('1', 'l')} `;
    assert.is(toHex(parseCode(sloppy)), toHex(code));
  }
});

Code('one wrong symbol, and two that changed places, are always noticed, and the group is named', () => {
  const text = formatCode(random.bytes(CODE_SIZE)).replaceAll('-', '');
  for (let at = 0; at < text.length; at++) {
    const group = new RegExp(`group ${Math.floor(at / 5) + 1} `);
    for (const symbol of SYMBOLS) {
      if (symbol === text[at]) continue;
      assert.match(refusal(text.slice(0, at) + symbol + text.slice(at + 1)), group);
    }
    const next = text[at + 1];
    if (at % 5 === 4 || next === text[at]) continue;
    assert.match(refusal(text.slice(0, at) + next + text[at] + text.slice(at + 2)), group);
  }
});

Code('a code of another length or with foreign symbols is refused, and is in no message', () => {
  const text = formatCode(random.bytes(CODE_SIZE));
  for (const wrong of ['', text.slice(1), `${text}0`, text.replace(/.$/, 'U'), text.replace(/.$/, 'é')]) {
    const message = refusal(wrong);
    assert.ok(message !== '');
    assert.not.ok(message.includes(text.slice(6, 11)));
  }
});

Code('another code or another title gives other keys', () => {
  const code = random.bytes(CODE_SIZE);
  const title = random.bytes(8);
  const keys = (c: Uint8Array, t: Uint8Array) => Object.values(enrolmentKeys(nodeCrypto, c, t)).map((k) => toHex(k));
  const all = [keys(code, title), keys(random.bytes(CODE_SIZE), title), keys(code, random.bytes(8))].flat();
  assert.is(new Set(all).size, 6);
  assert.equal(keys(code, title), keys(code.slice(), title.slice()));
});

Code('a challenge proves the code to whoever has it, for its title and randomness only', () => {
  const random = seeded();
  const code = random.bytes(CODE_SIZE);
  const title = random.bytes(8);
  const challenge = enrolmentChallenge(nodeCrypto, code, title, random.bytes(16));
  assert.is(challenge.length, 24);
  const proves = (c = code, t = title, what = challenge) => provesCode(nodeCrypto, c, t, what);
  assert.ok(proves());
  const changed = (bytes: Uint8Array, bit: number) => bytes.map((b, i) => (i === bit >> 3 ? b ^ (1 << (bit & 7)) : b));
  for (let bit = 0; bit < 8 * challenge.length; bit++) assert.not(proves(code, title, changed(challenge, bit)));
  for (let bit = 0; bit < 8 * title.length; bit++) assert.not(proves(code, changed(title, bit)));
  for (let bit = 0; bit < 8 * code.length; bit++) assert.not(proves(changed(code, bit)));
  for (let length = 0; length < 64; length++) assert.not(proves(code, title, random.bytes(length)));
  // HKDF-SHA-256 computed apart: by Python's hmac.
  const fixed = Uint8Array.from({ length: 34 }, (_, i) => i);
  const [c, t, r] = [fixed.subarray(0, 10), fixed.subarray(10, 18), fixed.subarray(18, 34)];
  assert.is(toHex(enrolmentChallenge(nodeCrypto, c, t, r)), '12131415161718191a1b1c1d1e1f2021a27548ce84ab2edf');
});

Code.run();
