/**
 * Slows down guessing of meters' one-time codes from this side: wrong ones are counted per meter and of all meters together,
 * and behind a few the next attempt has to wait, longer each time. An attempt counts before it leaves and is taken back when
 * the meter was not reached or accepted the code, so neither a crash nor a restart makes a guess free.
 *
 *   { "meters": { "[1-ff00:0:111,10.1.0.5]:4059": { "failures": 4, "lastMs": 1767225600000 } }, "total": { … } }
 */

import { closeSync, existsSync, mkdirSync, openSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { ConfigError, messageOf, S3mpError } from '#base/errors';
import { readTextFile, writeFileAtomic } from '#hw/files';

interface Rule {
  /** Failures that cost nothing. */
  readonly allowed: number;
  readonly initialMs: number;
  readonly maxMs: number;
}

interface Count {
  readonly failures: number;
  readonly lastMs: number;
}

interface Counts {
  meters: Record<string, Count>;
  total: Count;
}

const METER_RULE: Rule = { allowed: 3, initialMs: 30_000, maxMs: 3_600_000 };
const TOTAL_RULE: Rule = { allowed: 10, initialMs: 10_000, maxMs: 600_000 };
/** Failures are forgotten when there was none for so long. */
const FORGET_MS = 24 * 3_600_000;
/** Nobody holds the lock longer than it takes to write a small file. */
const STALE_LOCK_MS = 10_000;
const NONE: Count = { failures: 0, lastMs: 0 };

/** Ms that have to pass behind the last failure. */
function pauseMs({ failures }: Count, { allowed, initialMs, maxMs }: Rule): number {
  const beyond = failures - allowed;
  return beyond <= 0 ? 0 : Math.min(maxMs, initialMs * 2 ** (beyond - 1));
}

export class GuessLimit {
  readonly #file: string;
  readonly #now: () => number;

  /** @param now  ms since the Unix epoch */
  constructor(file: string, now: () => number = Date.now) {
    this.#file = file;
    this.#now = now;
  }

  /**
   * Counts an attempt at a meter's code as failed, until `takeBack`.
   * @returns failed attempts at this meter's code, this one included
   * @throws S3mpError `enrolment.wait` with `waitS`, seconds, when it must not be made now; ConfigError when it cannot be
   *   counted
   */
  begin(meter: string): number {
    return this.#change((counts) => {
      const own = counts.meters[meter] ?? NONE;
      this.#mustNotWait(own, METER_RULE, `the code of ${meter} was wrong`);
      this.#mustNotWait(counts.total, TOTAL_RULE, 'codes of meters were wrong');
      counts.meters[meter] = this.#failed(own);
      counts.total = this.#failed(counts.total);
      return counts.meters[meter].failures;
    });
  }

  /** Takes the last attempt back, or all of this meter's when the code was right. */
  takeBack(meter: string, wasRight: boolean): void {
    this.#change((counts) => {
      const own = counts.meters[meter] ?? NONE;
      const count = wasRight ? own.failures : Math.min(1, own.failures);
      counts.meters[meter] = { ...own, failures: own.failures - count };
      counts.total = { ...counts.total, failures: Math.max(0, counts.total.failures - count) };
    });
  }

  #failed({ failures }: Count): Count {
    return { failures: failures + 1, lastMs: this.#now() };
  }

  #mustNotWait(count: Count, rule: Rule, what: string): void {
    // A clock that was put back makes nobody wait longer than the rule says.
    const passedMs = Math.max(0, this.#now() - count.lastMs);
    const waitMs = pauseMs(count, rule) - passedMs;
    if (waitMs <= 0) return;
    const waitS = Math.ceil(waitMs / 1000);
    const message = `${what} ${count.failures} times: the next attempt may be made in ${waitText(waitS)}`;
    throw new S3mpError('enrolment.wait', message, { failures: count.failures, waitS });
  }

  #change<T>(change: (counts: Counts) => T): T {
    mkdirSync(dirname(this.#file), { recursive: true, mode: 0o700 });
    const unlock = this.#lock();
    try {
      const counts = this.#read();
      const result = change(counts);
      writeFileAtomic(this.#file, `${JSON.stringify(counts)}\n`, 0o600);
      return result;
    } finally {
      unlock();
    }
  }

  /** Two attempts that begin at the same time must not count as one. */
  #lock(): () => void {
    const lock = `${this.#file}.lock`;
    try {
      if (existsSync(lock) && Math.abs(Date.now() - statSync(lock).mtimeMs) > STALE_LOCK_MS) rmSync(lock);
      closeSync(openSync(lock, 'wx', 0o600));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST')
        throw new S3mpError('enrolment.wait', 'another attempt begins at this moment: try again', { waitS: 1 });
      throw new ConfigError('config.unreadable', `cannot write ${lock}: ${messageOf(error)}`, { file: lock }, error);
    }
    return () => rmSync(lock, { force: true });
  }

  #read(): Counts {
    if (!existsSync(this.#file)) return { meters: {}, total: NONE };
    try {
      const { meters, total } = JSON.parse(readTextFile(this.#file)) as Counts;
      const isFresh = (count: Count) => {
        if (!Number.isSafeInteger(count.failures) || count.failures < 0 || !Number.isFinite(count.lastMs))
          throw new TypeError('not a count of failures');
        return count.failures > 0 && this.#now() - count.lastMs < FORGET_MS;
      };
      return {
        meters: Object.fromEntries(Object.entries(meters).filter(([, count]) => isFresh(count))),
        total: isFresh(total) ? total : NONE,
      };
    } catch (error) {
      const message = `${this.#file}: ${messageOf(error)}; it counts wrong codes, remove it only if you know why it is broken`;
      throw new ConfigError('config.invalid', message, { file: this.#file }, error);
    }
  }
}

function waitText(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  return `${Math.ceil(seconds / 60)} min`;
}
