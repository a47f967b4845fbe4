/**
 * Seeded bytes into whatever of Modbus takes them: nothing but typed errors is thrown, nothing outside the input is read or
 * written, every transaction ends, and no reply is taken that is not the answer to the pending request.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { toHex } from '#base/bytes';
import { Outcome } from '#modbus/master';
import { seeded } from '#test/random';
import { Line } from '../protocols/modbus/line.ts';
import { GOLDEN, TARGETS } from './modbus-targets.ts';

const CASES = 100_000;
const random = seeded();
const Fuzz = suite('modbus fuzz');

for (const [name, { share, taken, start }] of Object.entries(TARGETS)) {
  const count = (CASES * share) / 100;
  Fuzz(`${name}: ${count} cases`, () => {
    const run = start(random);
    let accepted = 0;
    for (let i = 0; i < count; i++) if (run()) accepted++;
    const part = accepted / count;
    assert.ok(part >= taken[0] && part <= taken[1], `${accepted} of ${count} taken`);
  });
}

Fuzz('a reply is taken at every split of its bytes, whole and byte by byte, behind an echo and behind noise', () => {
  for (const { read, reply } of GOLDEN) {
    const behind = [
      new Uint8Array(0),
      read.frame,
      Uint8Array.of(read.unit),
      Uint8Array.of(0xff, 0),
      read.frame.slice(0, 5),
    ];
    for (const before of behind) {
      const bytes = Uint8Array.of(...before, ...reply);
      for (let split = 0; split <= bytes.length; split++) {
        const line = new Line();
        const outcome = line.transact(read, (_attempt, _sent, say) => {
          say(bytes.subarray(0, split), 40);
          if (split < bytes.length) say(bytes.subarray(split), 50);
        });
        assert.is(outcome, Outcome.ok, `${toHex(bytes)} at ${split}`);
        assert.is(line.sent.length, 1);
        const { rx, dataAt } = line.master;
        assert.is(toHex(rx, dataAt, dataAt + 2 * read.count), toHex(reply, 3, 3 + 2 * read.count));
      }
    }
    const line = new Line();
    const outcome = line.transact(read, (_attempt, _sent, say) => {
      reply.forEach((byte, i) => {
        say(Uint8Array.of(byte), 40 + 1.2 * i);
      });
    });
    assert.is(outcome, Outcome.ok);
  }
});

Fuzz('a reply with any one bit changed is never taken', () => {
  for (const { read, reply } of GOLDEN) {
    for (let bit = 0; bit < 8 * reply.length; bit++) {
      const bytes = reply.slice();
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      const line = new Line(undefined, 20, 0);
      const outcome = line.transact(read, (_attempt, _sent, say) => say(bytes, 5));
      assert.is.not(outcome, Outcome.ok, toHex(bytes));
    }
  }
});

Fuzz.run();
