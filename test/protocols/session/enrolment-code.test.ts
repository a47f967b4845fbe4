/** The enrolment code as people read and type it. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { toHex } from '#base/bytes';
import { messageOf, S3mpError } from '#base/errors';
import { nodeCrypto } from '#hw/crypto';
import { CODE_SIZE, enrolmentKeys, formatCode, parseCode } from '#session/enrolment-code';
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

Code.run();
