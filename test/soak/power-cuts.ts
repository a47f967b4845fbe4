/**
 * Power cuts and torn writes of everything that the meter keeps, on a simulated disk: the power goes after any byte, and of
 * what was not synchronized the disk keeps a random set of sectors. After each cut the files are opened again and compared
 * with what was promised before it; the same files then go on to the next cut, so that what a cut leaves meets the next.
 */

import * as assert from 'uvu/assert';
import { asciiBytes, readU32, writeU32 } from '#base/bytes';
import { countRows, rowsBetween } from '#dlms/cosem/profile-store';
import { openCounterFile } from '#hw/counter-store';
import { DurableLog } from '#hw/durable-log';
import { createLog } from '#hw/log';
import { StateFiles } from '../../firmware/state-files.ts';
import { SimDisk } from '../hw/sim-disk.ts';
import type { Random } from '../random.ts';

/** Cuts that one set of files lives through. */
const LIFE = 60;
const ROW_SIZES = [8, 19, 52, 61, 110] as const;
const quiet = createLog('soak', { write: () => {} });

/** Where the power went, as counted for the report. */
export type CutCounts = Record<string, number>;

/** A subject lives through cuts: `work` until the power is off, then `check` on what is left. */
interface Subject {
  work(disk: SimDisk): void;
  check(disk: SimDisk): void;
}

/** Bytes until the power goes: within one record, within a few, or within a whole segment that is being made. */
function budget(random: Random): number {
  const reach = [3, 70, 300, 5_000, 140_000][random.below(5)]!;
  return random.below(reach);
}

/** Content of a row is known from its number and the time that it was given. */
function rowOf(size: number, number: number, seconds: number): Uint8Array {
  const row = new Uint8Array(size);
  for (let i = 4; i < size; i++) row[i] = Math.imul(number + 1, 0x9e3779b1 * i) >>> 24;
  writeU32(row, 0, seconds);
  return row;
}

/** A durable log: rows that were acknowledged stay, in order; of the others only those that were written last may go. */
function logSubject(random: Random): Subject {
  const rowSize = ROW_SIZES[random.below(ROW_SIZES.length)]!;
  const rows = [60, 300, 5_000][random.below(3)]!;
  const open = (disk: SimDisk, onForeign?: () => void) =>
    new DurableLog({
      path: '/state/log',
      rowSize,
      rows,
      layout: 'soak',
      medium: disk,
      ...(onForeign && { onForeign }),
    });
  /** Times of rows by number, undefined for those that are known to be lost. */
  let times: (number | undefined)[] = [];
  /** Rows before this one were acknowledged. */
  let acknowledged = 0;
  let first = 0;
  /** Rows before this one may have given way to newer ones, also to such that were then lost. */
  let overwritten = 0;
  /** A clearing was under way when the power went. */
  let clearedTo: number | undefined;
  let now = 1_000_000;

  return {
    work(disk) {
      const log = open(disk);
      for (let i = 0; i < 400 && disk.budget > 0; i++) {
        if (random.below(200) === 0) log.grow();
        if (random.below(500) === 0) {
          clearedTo = log.next + 1;
          times.push(undefined);
          const isDone = log.clear();
          if (!isDone) return;
          acknowledged = first = clearedTo;
          clearedTo = undefined;
          continue;
        }
        now += random.below(60) === 0 ? -random.below(20_000) : random.below(900);
        const isUrgent = random.below(4) > 0;
        const number = log.next;
        times[number] = now;
        const isStored = log.append(rowOf(rowSize, number, now), isUrgent) || (random.below(8) === 0 && log.flush());
        if (isStored) acknowledged = log.next;
      }
      if (log.flush()) acknowledged = log.next;
      log.close();
    },
    check(disk) {
      const log = open(disk, () => assert.unreachable('the log is not known again'));
      const attempted = times.length;
      assert.ok(log.next >= acknowledged, `${acknowledged - log.next} acknowledged rows are cut off`);
      assert.ok(log.next <= attempted, 'rows that nobody wrote');
      const isCleared = clearedTo !== undefined && log.first >= clearedTo;
      if (isCleared) first = clearedTo!;
      clearedTo = undefined;
      // The record under the pen is the oldest of a ring.
      const from = Math.max(first, attempted - log.slots);
      assert.ok(log.first <= Math.max(from, first), `the log begins at ${log.first}, not at ${from}`);
      for (let number = from; number < log.next; number++) {
        const row = log.read(number);
        const seconds = times[number];
        const isPromised = number >= overwritten && number < acknowledged && seconds !== undefined;
        if (row) assert.equal(row, rowOf(rowSize, number, seconds!), `row ${number}`);
        else if (isPromised) assert.unreachable(`row ${number} of ${acknowledged} is lost`);
        else times[number] = undefined;
      }
      const kept = countRows(log.readable(from, log.next));
      const found = rowsBetween(log, from, 0, 0xffff_fffe);
      assert.is(countRows(found), kept, 'a search by time finds every row');
      overwritten = Math.max(overwritten, from);
      times = times.slice(0, log.next);
      acknowledged = log.next;
      log.close();
    },
  };
}

/** Settings: a value that was acknowledged or shown never gives way to an older one. */
function settingsSubject(random: Random): Subject {
  const keys = ['0-0:96.3.10.255/3', 'time', 'message'];
  const acknowledged = new Map<string, number>();
  const attempted = new Map<string, number>();
  let count = 0;
  return {
    work(disk) {
      const files = new StateFiles('/state', quiet, disk);
      const log = files.profile('profile', 19, 60);
      const settings = files.settings();
      for (let i = 0; i < 100 && disk.budget > 0; i++) {
        const key = keys[random.below(keys.length)]!;
        const value = new Uint8Array(4 + random.below(300));
        writeU32(value, 0, ++count);
        attempted.set(key, count);
        if (random.below(5) === 0) settings.keep(key, value);
        else if (settings.set(key, value)) for (const [each, last] of attempted) acknowledged.set(each, last);
        if (random.below(3) === 0) log.append(rowOf(19, count, count));
        files.tick(i * 1000);
      }
      if (files.flush()) for (const [each, last] of attempted) acknowledged.set(each, last);
      files.close();
    },
    check(disk) {
      const files = new StateFiles('/state', quiet, disk);
      assert.not(files.isFailing, 'the state does not open');
      assert.not(disk.exists('/state/state.aside'), 'no copy was whole');
      const settings = files.settings();
      for (const key of keys) {
        const stored = settings.get(key);
        const value = stored ? readU32(stored, 0) : 0;
        assert.ok(value >= (acknowledged.get(key) ?? 0), `${key} went back to ${value}`);
        assert.ok(value <= (attempted.get(key) ?? 0), `${key} has a value that nobody wrote`);
        acknowledged.set(key, value);
        attempted.set(key, value);
      }
      files.close();
    },
  };
}

/** Invocation counters: no own value twice, nothing from a peer taken twice. */
function counterSubject(random: Random): Subject {
  const peer = asciiBytes('S3MPEER1');
  let used = 0;
  let taken = -1;
  let commanded = 0;
  return {
    work(disk) {
      const { book } = openCounterFile('/keys/counters', disk);
      for (let i = 0; i < 4_000 && disk.budget > 0; i++) {
        const value = book.next();
        if (value !== 0) {
          assert.ok(value > used, `counter ${value} after ${used}`);
          used = value;
        }
        if (random.below(10) > 0) continue;
        if (book.acceptCommand(book.command + 1 + random.below(3))) commanded = book.command;
        assert.not(book.acceptCommand(commanded), 'a command is taken twice');
        const next = Math.max(taken, book.last(peer)) + 1 + random.below(40);
        if (book.accept(peer, next)) taken = next;
        assert.not(book.accept(peer, taken), 'a value is taken twice');
      }
    },
    check(disk) {
      const file = openCounterFile('/keys/counters', disk);
      assert.ok(file.book.last(peer) >= taken, `the peer's counter went back from ${taken}`);
      assert.ok(file.book.command >= commanded, `the number of commands went back from ${commanded}`);
      commanded = file.book.command;
      file.close();
    },
  };
}

const SUBJECTS = { log: logSubject, settings: settingsSubject, counters: counterSubject };

/** Cuts the power `count` times. @returns how often each subject was met, and how often in the middle of a write */
export function powerCuts(random: Random, count: number): CutCounts {
  const counts: CutCounts = { log: 0, settings: 0, counters: 0, torn: 0 };
  const names = Object.keys(SUBJECTS) as (keyof typeof SUBJECTS)[];
  for (let done = 0; done < count; ) {
    const name = names[[0, 0, 0, 1, 2][random.below(5)]!]!;
    const subject = SUBJECTS[name](random);
    const disk = new SimDisk();
    for (let i = 0; i < LIFE && done < count; i++) {
      disk.budget = budget(random);
      try {
        subject.work(disk);
      } catch (error) {
        if (disk.budget > 0 || error instanceof assert.Assertion) throw error;
      }
      if (disk.budget > 0) continue;
      if (disk.isTorn) counts.torn!++;
      disk.restart(random);
      subject.check(disk);
      counts[name]!++;
      done++;
    }
  }
  return counts;
}
