/** Counters on a real file: no value twice over restarts and power cuts, whichever byte the cut comes at. */

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes } from '#base/bytes';
import { COUNTER_RECORD_SIZE, CounterBook, MAX_COUNTER } from '#dlms/counters';
import { openCounterFile } from '#hw/counter-store';
import { fileMedium, type Medium } from '#hw/medium';

const Store = suite('counter store');
const folder = mkdtempSync(join(tmpdir(), 's3mp-counters-'));
Store.after(() => rmSync(folder, { recursive: true }));
let files = 0;
const newFile = () => join(folder, `counters-${++files}`);
const CLIENT = asciiBytes('S3H00001');

/** Writes whole until `count` writes are through, then only `bytes` bytes of the next one, as a power cut does. */
function cutAfter(count: number, bytes: number): Medium {
  let left = count;
  return {
    ...fileMedium,
    write: (file, record, position) => {
      if (left-- > 0) fileMedium.write(file, record, position);
      else {
        if (left === -1) fileMedium.write(file, record.subarray(0, bytes), position);
        throw new Error('the power is off');
      }
    },
    sync: () => {},
  };
}

Store('own values begin at 1 and go on behind the reserved ones after a restart', () => {
  const file = newFile();
  let counters = openCounterFile(file);
  assert.equal([counters.book.next(), counters.book.next()], [1, 2]);
  counters.close();
  assert.is(statSync(file).mode & 0o777, 0o600);
  counters = openCounterFile(file);
  assert.is(counters.book.next(), 1001);
  counters.close();
});

Store('a power cut at any byte of a write never lets a value be used twice', () => {
  for (const whole of [0, 1, 2, 3]) {
    for (let bytes = 0; bytes <= COUNTER_RECORD_SIZE; bytes++) {
      const file = newFile();
      const used = new Set<number>();
      const accepted = new Set<number>();
      let peer = 0;
      let command = 0;
      for (const write of [cutAfter(whole, bytes), cutAfter(1, bytes), undefined]) {
        const counters = openCounterFile(file, write);
        const { book } = counters;
        assert.ok(book.last(CLIENT) + 1 > Math.max(-1, ...accepted), 'what was accepted is not accepted again');
        assert.ok(book.command >= command, 'a command number never goes back');
        for (let i = 0; i < 3; i++) {
          const value = book.next();
          if (value !== 0) {
            assert.not.ok(used.has(value), `${value} twice after ${whole} writes and ${bytes} bytes`);
            used.add(value);
          }
          peer = Math.max(peer, book.last(CLIENT)) + 1;
          if (book.accept(CLIENT, peer)) accepted.add(peer);
          if (book.acceptCommand(command + 1)) command++;
        }
        counters.close();
      }
      assert.ok(used.size >= 3, 'the last start works');
      rmSync(file);
    }
  }
});

Store('values that go past a block are reserved before they are used', () => {
  const file = newFile();
  let writes = 0;
  const counters = openCounterFile(file, {
    ...fileMedium,
    write: (descriptor, record, position) => {
      writes++;
      fileMedium.write(descriptor, record, position);
    },
  });
  for (let i = 1; i <= 2500; i++) assert.is(counters.book.next(), i);
  assert.is(writes, 2 * 3, 'both copies, once a block');
  counters.close();
});

Store('a peer must go up, also behind a restart, and replay is refused', () => {
  const file = newFile();
  let { book, close } = openCounterFile(file);
  assert.is(book.highest(), 0);
  assert.ok(book.accept(CLIENT, 0), 'the first value may be 0');
  assert.ok(book.accept(CLIENT, 5));
  assert.not.ok(book.accept(CLIENT, 5));
  assert.not.ok(book.accept(CLIENT, 4));
  assert.is(book.highest(), 5);
  close();
  ({ book, close } = openCounterFile(file));
  assert.not.ok(book.accept(CLIENT, 6), 'values up to the reserved limit may have been taken');
  assert.ok(book.accept(CLIENT, book.last(CLIENT) + 1));
  assert.ok(book.accept(asciiBytes('OTHER001'), 1), 'another title counts by itself');
  assert.ok(book.accept(CLIENT, MAX_COUNTER), 'the last value is taken once');
  assert.not.ok(book.accept(CLIENT, MAX_COUNTER));
  close();
});

Store('own values end and never wrap', () => {
  let stored: Uint8Array | undefined;
  const storage = {
    load: () => stored,
    store: (record: Uint8Array) => {
      stored = record.slice();
    },
  };
  const first = new CounterBook(storage);
  first.next();
  const view = new DataView(stored!.buffer);
  view.setUint32(8, MAX_COUNTER - 1);
  stored = repairCrc(stored!);
  const last = new CounterBook(storage);
  assert.equal([last.next(), last.next(), last.next()], [MAX_COUNTER, 0, 0]);
});

Store('a storage that fails stops the counters instead of repeating them', () => {
  let isBroken = false;
  const book = new CounterBook({
    load: () => undefined,
    store: () => {
      if (isBroken) throw new Error('read-only file system');
    },
  });
  for (let i = 1; i <= 1000; i++) book.next();
  isBroken = true;
  assert.is(book.next(), 0);
  assert.not.ok(book.accept(CLIENT, 1));
  assert.not.ok(book.acceptCommand(1));
  isBroken = false;
  assert.is(book.next(), 1001);
  assert.ok(book.accept(CLIENT, 1));
});

Store('many titles are remembered in bounded space, the latest ones', () => {
  const file = newFile();
  let { book, close } = openCounterFile(file);
  const title = (i: number) => asciiBytes(`T${String(i).padStart(7, '0')}`);
  for (let i = 0; i < 100; i++) assert.ok(book.accept(title(i), i + 1));
  close();
  ({ book, close } = openCounterFile(file));
  assert.is(book.last(title(0)), -1);
  assert.ok(book.last(title(99)) >= 100);
  close();
});

Store('the loss of either copy, whichever it is, takes no counter back', () => {
  for (const broken of [0, 4096]) {
    const file = newFile();
    let { book, close } = openCounterFile(file);
    for (let i = 0; i < 1500; i++) book.next();
    assert.ok(book.accept(CLIENT, 300) && book.acceptCommand(7));
    close();
    const bytes = readFileSync(file);
    bytes.fill(0xa5, broken, broken + COUNTER_RECORD_SIZE);
    writeFileSync(file, bytes);
    ({ book, close } = openCounterFile(file));
    assert.is(book.next(), 2001);
    assert.is(book.command, 7);
    assert.not.ok(book.accept(CLIENT, 300));
    close();
  }
});

Store('a file without a whole record is refused, not begun anew', () => {
  const file = newFile();
  const counters = openCounterFile(file);
  counters.book.next();
  counters.book.accept(CLIENT, 1);
  counters.close();
  const bytes = readFileSync(file);
  bytes[10]! ^= 1;
  bytes[4096 + 10]! ^= 1;
  writeFileSync(file, bytes);
  assert.throws(() => openCounterFile(file), /no whole counter record/);
});

function repairCrc(record: Uint8Array): Uint8Array {
  let crc = -1;
  for (const byte of record.subarray(0, COUNTER_RECORD_SIZE - 4)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  new DataView(record.buffer).setUint32(COUNTER_RECORD_SIZE - 4, ~crc >>> 0);
  return record;
}

Store.run();
