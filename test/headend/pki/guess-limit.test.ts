/** The limit on wrong enrolment codes: per meter, in total, over a restart, and with files and clocks that are broken. */

import { mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { S3mpError } from '#base/errors';
import { GuessLimit } from '../../../headend/pki/guess-limit.ts';

const Limit = suite('guess limit');
const folder = mkdtempSync(join(tmpdir(), 's3mp-guesses-'));
Limit.after(() => rmSync(folder, { recursive: true }));

const METER = '[1-ff00:0:111,10.1.0.5]:4059';
let files = 0;
let nowMs = 0;
Limit.before.each(() => {
  nowMs = Date.UTC(2026, 0, 1);
});

const nextFile = () => join(folder, `${++files}`, 'guesses.json');
/** A limit as a process that has just started has it. */
const limitIn = (file: string) => new GuessLimit(file, () => nowMs);

/** Seconds that an attempt has to wait, 0 when it was counted; the code of another refusal. */
function attempt(file: string, meter = METER): number | string {
  try {
    limitIn(file).begin(meter);
    return 0;
  } catch (error) {
    if (!(error instanceof S3mpError)) throw error;
    return error.code === 'enrolment.wait' ? (error.context?.waitS as number) : error.code;
  }
}

Limit('behind three wrong codes the next attempt waits, twice as long each time, also in another process', () => {
  const file = nextFile();
  for (let i = 0; i < 4; i++) assert.is(attempt(file), 0);
  assert.is(attempt(file), 30);
  nowMs += 29_001;
  assert.is(attempt(file), 1);
  nowMs += 999;
  assert.is(attempt(file), 0);
  assert.is(attempt(file), 60, 'what had to wait was no attempt');
  for (let i = 0; i < 20; i++) {
    nowMs += 3_600_000;
    assert.is(attempt(file), 0);
  }
  assert.is(attempt(file), 3600, 'never longer than an hour');
  assert.is(statSync(file).mode & 0o777, 0o600);
});

Limit('codes of many meters together wait, too, and other meters count for themselves', () => {
  const file = nextFile();
  for (let i = 0; i < 11; i++) assert.is(attempt(file, `meter ${i}`), 0);
  assert.is(attempt(file, 'another'), 10);
  nowMs += 10_000;
  assert.is(attempt(file, 'another'), 0);
  assert.is(attempt(file, 'one more'), 20);
  limitIn(file).takeBack('another', true);
  assert.is(attempt(file, 'one more'), 10, 'less one');
});

Limit('a right code forgets the wrong ones before it, a meter that was not reached only that attempt', () => {
  const file = nextFile();
  for (let i = 0; i < 4; i++) attempt(file);
  nowMs += 30_000;
  attempt(file);
  limitIn(file).takeBack(METER, false);
  assert.is(attempt(file), 30, 'four are left');
  nowMs += 30_000;
  attempt(file);
  limitIn(file).takeBack(METER, true);
  for (let i = 0; i < 4; i++) assert.is(attempt(file), 0);
  nowMs += 24 * 3_600_000;
  for (let i = 0; i < 4; i++) assert.is(attempt(file), 0, 'a day later nothing counts any more');
});

Limit('a clock that is put back makes nobody wait longer than the rule', () => {
  const file = nextFile();
  for (let i = 0; i < 4; i++) attempt(file);
  nowMs -= 365 * 86_400_000;
  assert.is(attempt(file), 30);
});

Limit('without a whole file nothing is tried', () => {
  const file = nextFile();
  attempt(file);
  const whole = readFileSync(file, 'utf8');
  for (const text of [
    '',
    '{}',
    whole.slice(0, -4),
    whole.replace('"failures":1', '"failures":-1'),
    whole.replace('"failures":1', '"failures":"1"'),
  ]) {
    writeFileSync(file, text);
    assert.is(attempt(file), 'config.invalid', text);
  }
  writeFileSync(join(folder, 'plain'), '');
  assert.throws(() => limitIn(join(folder, 'plain', 'guesses.json')).begin(METER));
});

Limit('two attempts at the same moment do not pass as one, and a lock that was left behind goes', () => {
  const file = nextFile();
  attempt(file);
  writeFileSync(`${file}.lock`, '');
  assert.is(attempt(file), 1);
  utimesSync(`${file}.lock`, 0, 0);
  assert.is(attempt(file), 0);
});

Limit.run();
