/** The RTU master against a scripted line in virtual time. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, readU16, toHex } from '#base/bytes';
import { writeCrc } from '#modbus/crc';
import { lineTiming } from '#modbus/line-timing';
import { Outcome } from '#modbus/master';
import type { PlannedRead } from '#modbus/read-plan';
import { encodeException, readReplyLength } from '#modbus/rtu';
import { seeded } from '#test/random';
import vectors from '../../vectors/modbus.json';
import { ACTIVE_ENERGY, Line, REACTIVE_ENERGY, RETRIES, rangeRead, type Script, TIMEOUT_MS, VALUES } from './line.ts';

/** A good reply whose every word is `word`. */
function replyTo({ unit, functionCode, count }: PlannedRead, word = 0x0102): Uint8Array {
  const out = new Uint8Array(readReplyLength(count));
  out.set([unit, functionCode, 2 * count]);
  for (let i = 0; i < count; i++) out.set([word >>> 8, word & 0xff], 3 + 2 * i);
  writeCrc(out, 0, out.length - 2);
  return out;
}

function exceptionTo({ unit, functionCode }: PlannedRead, code: number): Uint8Array {
  const out = new Uint8Array(5);
  encodeException(out, 0, unit, functionCode, code);
  return out;
}

const join = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));
const damaged = (frame: Uint8Array, at = frame.length >> 1) => frame.map((byte, i) => (i === at ? byte ^ 0x40 : byte));
const firstWord = ({ master }: Line) => readU16(master.rx, master.dataAt);
const silence: Script = () => {};
/** Answers each attempt with the next of these; undefined is silence. */
const inTurn =
  (...answers: (Uint8Array | undefined)[]): Script =>
  (attempt, _sent, say) => {
    const answer = answers[attempt - 1];
    if (answer) say(answer, 50);
  };

const Timing = suite('line timing');

Timing('follows the standard: t3.5 of 11 or 10 bits, 1.75 ms above 19200', () => {
  const round = (value: number) => Math.round(value * 1000) / 1000;
  const gap = (baud: number, parity: 'none' | 'even') => round(lineTiming(baud, parity).gapMs);
  assert.is(round(lineTiming(9600, 'even').characterMs), 1.146);
  assert.is(round(lineTiming(9600, 'none').characterMs), 1.042);
  assert.is(round(lineTiming(9600, 'none', 2).characterMs), 1.146);
  assert.is(gap(9600, 'even'), 4.01);
  assert.is(gap(1200, 'even'), 32.083);
  assert.is(gap(19_200, 'even'), 2.005);
  assert.is(gap(38_400, 'even'), 1.75);
  assert.is(gap(115_200, 'none'), 1.75);
});

Timing.run();

const Master = suite('modbus master');

Master('a reply is taken when its last byte is there, at any split', () => {
  const reply = replyTo(VALUES, 0x1234);
  for (let split = 1; split < reply.length; split++) {
    const line = new Line();
    const outcome = line.transact(VALUES, (_attempt, _sent, say) => {
      say(reply.subarray(0, split), 40);
      say(reply.subarray(split), 55);
    });
    assert.is(outcome, Outcome.ok);
    assert.is(firstWord(line), 0x1234);
    assert.is(line.now, line.sent[0]!.at + 55);
  }
});

Master('a reply is taken byte by byte', () => {
  const line = new Line();
  const outcome = line.transact(VALUES, (_attempt, _sent, say) => {
    replyTo(VALUES).forEach((byte, i) => {
      say(Uint8Array.of(byte), 590 + 1.2 * i);
    });
  });
  assert.is(outcome, Outcome.ok);
  assert.equal({ ...line.master.counters }, { ...line.master.counters, requests: 1, replies: 1, strayBytes: 0 });
});

Master('the request that leaves is the planned one', () => {
  const line = new Line();
  line.transact(ACTIVE_ENERGY, inTurn(replyTo(ACTIVE_ENERGY)));
  assert.is(toHex(line.sent[0]!.frame), '0103a0000002e60b');
});

Master('nothing is sent within t3.5 after a reply', () => {
  const line = new Line();
  line.transact(VALUES, inTurn(replyTo(VALUES)));
  const repliedAt = line.now;
  line.transact(VALUES, inTurn(replyTo(VALUES)));
  assert.is(line.sent[1]!.at, repliedAt + lineTiming(9600, 'even').gapMs);
});

for (const { name, stream, want, request } of vectors.resync) {
  Master(`finds the reply: ${name}`, () => {
    const frame = fromHex(request);
    const read = rangeRead(readU16(frame, 2), readU16(frame, 4));
    assert.is(toHex(read.frame), request);
    const whole = fromHex(stream);
    for (let split = 0; split < whole.length; split++) {
      const line = new Line();
      const outcome = line.transact(read, (_attempt, _sent, say) => {
        say(whole.subarray(0, split), 40);
        say(whole.subarray(split), 48);
      });
      const expected = fromHex(want);
      if (expected.length === 5) {
        assert.is(outcome, Outcome.exception);
        assert.is(line.master.exceptionCode, expected[2]);
      } else {
        assert.is(outcome, Outcome.ok);
        const at = line.master.dataAt - 3;
        assert.is(toHex(line.master.rx, at, at + expected.length), want);
      }
      line.idle(100);
      const { counters } = line.master;
      assert.is(counters.strayBytes + 8 * counters.echoes, whole.length - expected.length, `split at ${split}`);
      assert.is(counters.requests, 1);
    }
  });
}

for (const { name, frame } of vectors.negative) {
  if (frame === undefined) continue;
  Master(`never accepts: ${name}`, () => {
    const line = new Line();
    assert.is(
      line.transact(rangeRead(0x131, 1), inTurn(fromHex(frame), fromHex(frame), fromHex(frame))),
      Outcome.damaged,
    );
    assert.is(line.master.counters.replies, 0);
    assert.is(line.master.counters.damaged, RETRIES + 1);
  });
}

Master('an echo leaves the reply its whole time', () => {
  const line = new Line();
  const outcome = line.transact(VALUES, (_attempt, { frame }, say) => {
    say(frame.subarray(0, 3), 1);
    say(frame.subarray(3), 9);
    say(replyTo(VALUES), 590);
  });
  assert.is(outcome, Outcome.ok);
  assert.is(line.master.counters.echoes, 1);
  assert.is(line.master.counters.requests, 1);
});

Master('an echo and a stray zero are no reply even where their CRC agrees', () => {
  // A read of two registers at 0x04xx: the echo starts like its reply, and the CRC of echo and zero byte is 0.
  const read = rangeRead(0x0430, 2);
  const line = new Line();
  assert.is(line.transact(read, inTurn(join(read.frame, Uint8Array.of(0)))), Outcome.timeout);
  assert.is(line.transact(read, inTurn(join(read.frame, Uint8Array.of(0), replyTo(read, 7)))), Outcome.ok);
  assert.is(firstWord(line), 7);
});

Master('a glitch before the reply leaves it its whole time', () => {
  for (const glitch of ['00', 'ff', '01', '0103', '00ff']) {
    const line = new Line();
    const outcome = line.transact(VALUES, (_attempt, _sent, say) => {
      say(fromHex(glitch), 10);
      say(replyTo(VALUES), 400);
    });
    assert.is(outcome, Outcome.ok, glitch);
    assert.is(line.master.counters.requests, 1, glitch);
  }
});

Master('a damaged reply is asked for again soon, and the good one taken', () => {
  const line = new Line();
  assert.is(line.transact(VALUES, inTurn(damaged(replyTo(VALUES)), replyTo(VALUES, 9))), Outcome.ok);
  assert.is(firstWord(line), 9);
  assert.is(line.master.counters.damaged, 1);
  assert.ok(line.sent[1]!.at - line.sent[0]!.at < 300, 'without waiting for the timeout');
});

Master('a reply that stops in the middle is damaged', () => {
  const line = new Line();
  const part = replyTo(VALUES).subarray(0, 30);
  assert.is(line.transact(VALUES, inTurn(part, part, part)), Outcome.damaged);
  assert.is(line.master.counters.damaged, 3);
  assert.is(line.master.counters.failures, 1);
});

Master('a good frame of another unit is not taken', () => {
  const line = new Line();
  const foreign = replyTo(rangeRead(VALUES.start, VALUES.count, 2));
  assert.is(line.transact(VALUES, inTurn(foreign, foreign, foreign)), Outcome.damaged);
  assert.is(line.transact(VALUES, inTurn(join(foreign, replyTo(VALUES, 3)))), Outcome.ok);
  assert.is(firstWord(line), 3);
});

Master('silence is a timeout after the retries, each after its whole time', () => {
  const line = new Line();
  assert.is(line.transact(VALUES, silence), Outcome.timeout);
  const { counters } = line.master;
  assert.is(counters.timeouts, RETRIES + 1);
  assert.is(counters.requests, RETRIES + 1);
  assert.is(counters.failures, 1);
  for (let i = 1; i < line.sent.length; i++) assert.ok(line.sent[i]!.at - line.sent[i - 1]!.at > TIMEOUT_MS);
  assert.is(line.transact(VALUES, inTurn(replyTo(VALUES, 5))), Outcome.ok);
  assert.is(firstWord(line), 5);
});

Master('a transaction may have fewer retries than usual', () => {
  const line = new Line();
  assert.is(line.transact(VALUES, silence, 0), Outcome.timeout);
  assert.is(line.sent.length, 1);
});

for (const code of [1, 2, 3]) {
  Master(`exception ${code} ends the transaction at once`, () => {
    const line = new Line();
    assert.is(line.transact(VALUES, inTurn(exceptionTo(VALUES, code))), Outcome.exception);
    assert.is(line.master.exceptionCode, code);
    assert.is(line.sent.length, 1);
    assert.ok(line.master.owesNothing);
  });
}

for (const code of [5, 6]) {
  Master(`exception ${code} is followed by a pause and another attempt`, () => {
    const line = new Line();
    const script = inTurn(exceptionTo(VALUES, code), exceptionTo(VALUES, code), replyTo(VALUES, 4));
    assert.is(line.transact(VALUES, script), Outcome.ok);
    assert.is(line.sent.length, 3);
    assert.ok(line.sent[1]!.at - line.sent[0]!.at >= 150);
    assert.is(
      line.transact(VALUES, () => line.say(exceptionTo(VALUES, code), line.now + 30)),
      Outcome.exception,
    );
    assert.is(line.master.exceptionCode, code);
  });
}

Master('a late reply to an earlier attempt counts, and the next read waits for the last one', () => {
  const line = new Line();
  const answers: Script = (_attempt, _sent, say) => say(replyTo(ACTIVE_ENERGY, 0xaaaa), TIMEOUT_MS + 150);
  assert.is(line.transact(ACTIVE_ENERGY, answers), Outcome.ok);
  assert.is(line.sent.length, 2);
  assert.ok(line.master.isDoubtful(REACTIVE_ENERGY));
  assert.not(line.master.isDoubtful(VALUES));
  assert.is(line.transact(REACTIVE_ENERGY, inTurn(replyTo(REACTIVE_ENERGY, 0xbbbb))), Outcome.ok);
  assert.is(firstWord(line), 0xbbbb);
  assert.ok(line.sent[2]!.at > line.sent[1]!.at + TIMEOUT_MS + 150, 'not before the late reply has passed');
});

Master('a read of another length settles what is owed', () => {
  const line = new Line();
  line.transact(ACTIVE_ENERGY, silence);
  assert.ok(line.master.isDoubtful(REACTIVE_ENERGY));
  assert.not(line.master.owesNothing);
  // The late reply comes first, and is passed over for its length.
  const script: Script = (_attempt, _sent, say) => {
    say(replyTo(ACTIVE_ENERGY), 20);
    say(replyTo(VALUES), 90);
  };
  assert.is(line.transact(VALUES, script), Outcome.ok);
  assert.not(line.master.isDoubtful(REACTIVE_ENERGY));
  assert.ok(line.master.owesNothing);
});

Master('a reply that may have been a late one of an older transaction settles nothing of its length', () => {
  const line = new Line();
  line.transact(ACTIVE_ENERGY, silence);
  assert.is(line.transact(ACTIVE_ENERGY, inTurn(replyTo(ACTIVE_ENERGY))), Outcome.ok);
  assert.ok(line.master.isDoubtful(REACTIVE_ENERGY));
});

Master('a babbling line ends the transaction as damaged, within its time', () => {
  for (const [baud, everyMs] of [
    [9600, 1],
    [1200, 8],
  ] as const) {
    const line = new Line(lineTiming(baud, 'even'));
    const until = line.now + 40_000;
    for (let at = line.now; at < until; at += everyMs) line.say(Uint8Array.of(at & 0xff), at);
    line.idle(5);
    const startedAt = line.now;
    assert.is(line.transact(VALUES, silence), Outcome.damaged);
    assert.is(line.sent.length, 0, 'nobody speaks into a busy line');
    assert.ok(line.now - startedAt < 10_000);
    assert.ok(line.master.counters.strayBytes > 100);
    assert.is(line.master.counters.failures, 1);
  }
});

Master('babble after the request ends every attempt', () => {
  const line = new Line();
  const script: Script = (_attempt, _sent, say) => {
    for (let ms = 1; ms < 900; ms += 2) say(fromHex('0103'), ms);
  };
  assert.is(line.transact(VALUES, script), Outcome.damaged);
  assert.is(line.master.counters.replies, 0);
});

Master('a flood of one chunk with the reply at its end is searched to its end', () => {
  const line = new Line();
  const flood = new Uint8Array(20_000).map((_, i) => [1, 3, 82, 0][i % 4]!);
  assert.is(line.transact(VALUES, inTurn(join(flood, replyTo(VALUES, 6)))), Outcome.ok);
  assert.is(firstWord(line), 6);
  assert.is(line.master.counters.strayBytes, flood.length);
});

Master('retries at 1200 baud are not mistaken for a babbling line', () => {
  const line = new Line(lineTiming(1200, 'even'), 300);
  assert.is(line.transact(VALUES, inTurn(undefined, undefined, replyTo(VALUES, 8))), Outcome.ok);
  assert.is(line.sent.length, 3);
});

Master('a reply under way when the time ends may end', () => {
  const line = new Line(lineTiming(1200, 'even'), 300);
  const reply = replyTo(VALUES);
  const outcome = line.transact(VALUES, (_attempt, _sent, say) => {
    reply.forEach((byte, i) => {
      say(Uint8Array.of(byte), 370 + 9.17 * i);
    });
  });
  assert.is(outcome, Outcome.ok);
  assert.is(line.sent.length, 1);
});

Master('after an abort the line must be quiet first, and late bytes belong to nobody', () => {
  const line = new Line();
  const { master } = line;
  master.now[0] = line.now;
  master.begin(ACTIVE_ENERGY);
  master.poll();
  master.abort();
  assert.ok(master.isIdle);
  assert.is(master.nextDeadline, Number.POSITIVE_INFINITY);
  assert.ok(master.isDoubtful(REACTIVE_ENERGY));
  const late = replyTo(ACTIVE_ENERGY);
  master.receive(late, late.length);
  assert.is(master.counters.strayBytes, late.length);
  assert.is(line.transact(VALUES, inTurn(replyTo(VALUES, 2))), Outcome.ok);
  assert.is(firstWord(line), 2);
});

Master.run();

const Properties = suite('modbus master properties');

Properties('a reply is never taken for that of another read, however late it comes', () => {
  const random = seeded();
  // Six reads of three lengths; every reply says where it is from. 0x0500 is refused.
  const reads = [0xa000, 0xa01e, 0x0500].map((start) => rangeRead(start, 2));
  reads.push(rangeRead(0x0140, 10), rangeRead(0x0150, 10), VALUES);
  let good = 0;
  let retried = 0;
  for (let run = 0; run < 300; run++) {
    const line = new Line();
    const slowness = random.below(2) === 0 ? 700 : 2400;
    let lastAnswerAt = 0;
    for (let i = 0; i < 40; i++) {
      const read = reads[random.below(reads.length)]!;
      const sentBefore = line.sent.length;
      const outcome = line.transact(read, (_attempt, sent, say) => {
        if (random.below(8) === 0) return;
        const delay = random.below(3) === 0 ? random.below(slowness) : random.below(200);
        // A meter answers one request after the other.
        lastAnswerAt = Math.max(lastAnswerAt + 10, sent.at + 10 + delay);
        say(read.start === 0x0500 ? exceptionTo(read, 2) : replyTo(read, read.start), lastAnswerAt - sent.at);
      });
      if (line.sent.length - sentBefore > 1) retried++;
      if (outcome === Outcome.ok) {
        good++;
        assert.is(firstWord(line), read.start);
      } else if (outcome === Outcome.exception && line.master.owesNothing) {
        assert.is(read.start, 0x0500);
      }
      if (random.below(4) === 0) line.idle(random.below(500));
    }
  }
  assert.ok(good > 3000 && retried > 1000, `${good} good, ${retried} retried`);
});

Properties.run();
