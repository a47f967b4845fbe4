/** The durable log: against a model, over power cuts, damage, full and failing disks; and how few reads a range needs. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readU32, writeU32 } from '#base/bytes';
import { countRows, findTime, rowAt, rowsBetween } from '#dlms/cosem/profile-store';
import { DurableLog, type LogOptions, PENDING } from '#hw/durable-log';
import { seeded } from '../random.ts';
import { SimDisk } from './sim-disk.ts';

const Logs = suite('durable log');
const PATH = '/state/load.log';
const ROW = 19;

function row(seconds: number, salt = 0): Uint8Array {
  const bytes = new Uint8Array(ROW).fill(salt & 0xff, 4);
  writeU32(bytes, 0, seconds);
  writeU32(bytes, 4, Math.imul(seconds, 2_654_435_761) >>> 0);
  return bytes;
}

interface Rig {
  readonly disk: SimDisk;
  readonly errors: string[];
  readonly aside: string[];
  open(extra?: Partial<LogOptions>): DurableLog;
}

function rig(disk = new SimDisk()): Rig {
  const errors: string[] = [];
  const aside: string[] = [];
  return {
    disk,
    errors,
    aside,
    open: (extra = {}) =>
      new DurableLog({
        path: PATH,
        rowSize: ROW,
        rows: 5000,
        layout: '1/0-0:96.10.1.255/2',
        medium: disk,
        onError: (error) => errors.push(String(error)),
        onForeign: (name) => aside.push(name),
        ...extra,
      }),
  };
}

const secondsOf = (log: DurableLog): (number | undefined)[] => {
  const all: (number | undefined)[] = [];
  for (let i = log.first; i < log.next; i++) {
    const bytes = log.read(i);
    all.push(bytes && readU32(bytes, 0));
  }
  return all;
};

Logs('rows are there after a restart, in order, and the ring keeps as many as it promises', () => {
  const { open, errors } = rig();
  let log = open();
  assert.is(log.recordSize, 32);
  assert.ok(log.slots >= 5000 && log.slots % 2048 === 0);
  for (let i = 0; i < 15_000; i++) {
    assert.ok(log.append(row(i)));
    if (i % 3571 === 0) {
      log.close();
      log = open();
      assert.is(log.next, i + 1);
    }
  }
  for (const seen of [log, open()]) {
    assert.is(seen.next, 15_000);
    assert.is(seen.first, 15_000 - log.slots);
    assert.equal(
      secondsOf(seen),
      Array.from({ length: log.slots }, (_, i) => 15_000 - log.slots + i),
    );
    assert.equal(seen.read(14_999), row(14_999));
    assert.is(seen.read(15_000), undefined);
    assert.is(seen.read(seen.first - 1), undefined);
  }
  assert.equal(errors, []);
});

Logs('a row is one write of one record and one sync, and the file never grows once it is whole', () => {
  const { open, disk } = rig();
  const log = open();
  while (!log.isWhole) assert.ok(log.grow());
  const size = disk.bytes(PATH).length;
  assert.is(size, 4096 + log.slots * 32);
  const before = { ...disk.counts };
  for (let i = 0; i < 10_000; i++) log.append(row(i));
  assert.equal(disk.counts, {
    writes: before.writes + 10_000,
    bytes: before.bytes + 10_000 * 32,
    syncs: before.syncs + 10_000,
  });
  assert.is(disk.bytes(PATH).length, size);
});

Logs('the header of a card can be read by people', () => {
  const { open, disk } = rig();
  open();
  const text = Buffer.from(disk.bytes(PATH).subarray(0, 4096)).toString('latin1').replace(/\0+$/, '');
  assert.is(text, 'S3MP log 1\n6144 records of 32 bytes, rows of 19\n1/0-0:96.10.1.255/2\n');
});

Logs('a damaged record costs itself, a damaged segment its records, and damage anywhere never the start', () => {
  const random = seeded();
  for (let round = 0; round < 30; round++) {
    const { open, disk } = rig();
    const log = open();
    const count = 1000 + random.below(9000);
    for (let i = 0; i < count; i++) log.append(row(i));
    const at = 4096 + random.below(disk.bytes(PATH).length - 4096);
    const size = [1, 40, 512, 4096, 65_536][random.below(5)]!;
    const bytes = round % 3 === 0 ? new Uint8Array(size) : random.bytes(size);
    const fits = bytes.subarray(0, Math.min(size, disk.bytes(PATH).length - at));
    const before = disk.bytes(PATH).slice();
    disk.damage(PATH, at, fits);
    const after = disk.bytes(PATH);
    const isHit = (number: number) => {
      const from = 4096 + (number % log.slots) * 32;
      return !before.subarray(from, from + 32).every((byte, i) => byte === after[from + i]);
    };
    const seen = open();
    let kept = 0;
    for (let number = log.first; number < log.next; number++) {
      const expected = isHit(number) ? undefined : row(number);
      const got = number < seen.first ? undefined : seen.read(number);
      // The newest ones may be cut off together with the damage at the end, nothing else.
      assert.equal(got, expected, `row ${number} of ${count}, ${size} bytes at ${at}`);
      if (got) kept++;
    }
    // A log whose newest rows are cut off begins further back, at rows that were overwritten: they are known when met.
    for (let number = seen.first; number < log.first; number++) assert.is(seen.read(number), undefined);
    assert.is(countRows(seen.readable(seen.first, seen.next)), kept);
    assert.ok(seen.append(row(count + 1)));
    assert.equal(open().read(seen.next - 1), row(count + 1));
  }
});

Logs('a damaged header is written anew when the records know it; another file is kept aside, never deleted', () => {
  const { open, disk, aside } = rig();
  const log = open();
  for (let i = 0; i < 100; i++) log.append(row(i));
  const header = disk.bytes(PATH).slice(0, 4096);
  disk.damage(PATH, 20, new Uint8Array(100).fill(7));
  assert.is(open().next, 100);
  assert.equal(disk.bytes(PATH).subarray(0, 4096), header);
  const other = open({ layout: '3/1-0:1.8.0.255/2' });
  assert.is(other.next, 0);
  assert.is(aside.length, 1);
  assert.ok(other.append(row(1)));
  disk.files.delete(aside[0]!);
  const another = new Uint8Array(100_000).fill(65);
  for (const bytes of [new Uint8Array(0), new Uint8Array(10), another, another]) {
    disk.files.set(PATH, { content: bytes.slice(), durable: bytes.slice(), dirty: new Set() });
    const fresh = open();
    assert.is(fresh.next, 0);
    assert.ok(fresh.append(row(5)));
    assert.equal(disk.bytes(aside.at(-1)!), bytes);
  }
});

Logs(
  'a firmware with other columns keeps the log aside, and the one before finds it again, however often they change',
  () => {
    const { open, disk, aside } = rig();
    const other = { layout: '3/1-0:1.8.0.255/2' };
    for (let i = 0; i < 20; i++) {
      const log = open(i % 2 === 0 ? {} : other);
      const kept = i >> 1;
      assert.is(log.next, kept);
      assert.equal(
        secondsOf(log),
        Array.from({ length: kept }, (_, n) => readU32(row(2 * n + (i % 2)), 0)),
      );
      assert.ok(log.append(row(i)));
      log.close();
    }
    assert.is(disk.files.size, 2, 'one file for each');
    assert.is(new Set(aside).size, 2);
    // A power failure between the two renamings leaves none in its place.
    disk.rename(PATH, `${PATH}.gone`);
    assert.is(open().next, 10);
  },
);

Logs('a range is found by halving, in each run of a clock that was set back', () => {
  const { open } = rig();
  const random = seeded();
  const log = open();
  const times: number[] = [];
  let now = 1000;
  for (let i = 0; i < 14_000; i++) {
    now += random.below(500) === 0 ? -random.below(300_000) : 900;
    now = Math.max(1, now);
    times.push(now);
    log.append(row(now));
  }
  for (const seen of [log, open()]) {
    assert.equal(seen.runs, log.runs);
    for (let i = 0; i < 200; i++) {
      const low = random.below(now * 1.2);
      const high = low + random.below(3_000_000);
      const found = rowsBetween(seen, seen.first, low, high);
      const expected = [];
      for (let n = seen.first; n < seen.next; n++) if (times[n]! >= low && times[n]! <= high) expected.push(n);
      const got = Array.from({ length: countRows(found) }, (_, index) => rowAt(found, index));
      assert.equal(got, expected);
    }
  }
});

Logs('ten years of quarters are opened and searched in few reads and little memory', () => {
  const { open, disk } = rig();
  const ten = { rows: 350_656 };
  let log = open(ten);
  for (let i = 0; i < 360_000; i++) log.append(row(i * 900), i % 50 === 49);
  log.flush();
  let reads = 0;
  let bytes = 0;
  const read = disk.read.bind(disk);
  disk.read = (file, out, position) => {
    reads++;
    bytes += out.length;
    return read(file, out, position);
  };
  log = open(ten);
  assert.is(log.next, 360_000);
  assert.ok(bytes < 900_000, `${bytes} bytes read to open`);
  reads = 0;
  const at = findTime(log, log.first, log.next, 200_000 * 900 - 1);
  assert.is(at, 200_000);
  assert.ok(reads < 20, `${reads} reads`);
  reads = 0;
  const day = rowsBetween(log, log.first, 200_000 * 900, 200_095 * 900);
  assert.is(countRows(day), 96);
  for (let i = 0; i < 96; i++) assert.equal(log.read(rowAt(day, i)), row((200_000 + i) * 900));
  assert.ok(reads < 70, `${reads} reads for a day`);
});

Logs('a log that was cleared stays empty, also when the power fails before the next row', () => {
  const { open } = rig();
  const log = open();
  for (let i = 0; i < 3000; i++) log.append(row(i));
  assert.ok(log.clear());
  for (const seen of [log, open()]) assert.equal([seen.next - seen.first, seen.readable(0, 9999)], [0, []]);
  const again = open();
  again.append(row(7));
  again.append(row(8));
  for (const seen of [again, open()]) assert.equal(secondsOf(seen), [7, 8]);
});

Logs('a full disk: a log that is whole goes on, another one waits in memory and loses the oldest of what waits', () => {
  const { open, disk, errors } = rig();
  const log = open();
  disk.capacity = disk.bytes(PATH).length;
  for (let i = 0; i < 2048; i++) assert.ok(log.append(row(i)));
  assert.not.ok(log.append(row(2048)));
  assert.ok(errors.length > 0 && /ENOSPC/.test(errors[0]!));
  assert.equal(log.read(2048), row(2048), 'served from memory');
  for (let i = 2049; i < 2148; i++) assert.not.ok(log.append(row(i)));
  assert.is(log.next, 2148);
  assert.is(log.read(2148 - PENDING - 1), undefined);
  assert.is(countRows(log.readable(0, 9999)), 2048 + PENDING);
  disk.capacity = Number.POSITIVE_INFINITY;
  assert.ok(log.append(row(2148)));
  for (const seen of [log, open()])
    assert.equal(
      secondsOf(seen).filter((s) => s !== undefined),
      [...Array(2048).keys(), ...Array.from({ length: PENDING }, (_, i) => 2149 - PENDING + i)],
    );
  while (!log.isWhole) log.grow();
  disk.capacity = 0;
  for (let i = 0; i < 10_000; i++) assert.ok(log.append(row(10_000 + i)));
});

Logs('a disk that cannot be opened, written or read: rows wait, and go behind the old ones when it is back', () => {
  const { open, disk } = rig();
  for (let i = 0; i < 10; i++) open().append(row(i));
  for (const fault of ['isReadOnly', 'isBroken'] as const) {
    disk[fault] = true;
    const log = open();
    const count = fault === 'isReadOnly' ? log.next : 0;
    assert.is(log.next, fault === 'isReadOnly' ? 10 : 0, 'what can be read is read');
    assert.not.ok(log.append(row(100)));
    assert.not.ok(log.append(row(101)));
    assert.is(log.next, count + 2);
    assert.equal(log.read(count), row(100));
    disk[fault] = false;
    assert.ok(log.flush());
    const all = secondsOf(log);
    assert.equal(all.slice(-2), [100, 101]);
    assert.equal(secondsOf(open()), all);
  }
  const log = open();
  disk.isBroken = true;
  assert.not.ok(log.append(row(200)));
  disk.isBroken = false;
  assert.ok(log.append(row(201)));
  assert.equal(secondsOf(open()).slice(-2), [200, 201]);
});

Logs.run();
