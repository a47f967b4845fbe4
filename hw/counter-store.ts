/**
 * Invocation counters in a file: two slots, written in turns, each with its CRC and synchronized before a value is used.
 * A power cut at any byte leaves the other slot whole, and nothing that the broken one promised was in use yet.
 *
 * A file in which no slot is whole is not replaced: counters that begin anew would repeat values under the same key.
 */

import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { ConfigError, messageOf } from '#base/errors';
import { COUNTER_RECORD_SIZE, CounterBook, type CounterStorage, recordSequence } from '#dlms/counters';

/** Slots lie on different pages of the medium. */
const SLOT_DISTANCE = 4096;
const FILE_SIZE = SLOT_DISTANCE + COUNTER_RECORD_SIZE;

/** Writes bytes at a position and returns when they are on the medium. */
export type PersistentWrite = (file: number, bytes: Uint8Array, position: number) => void;

const writeThrough: PersistentWrite = (file, bytes, position) => {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done, bytes.length - done, position + done);
  fdatasyncSync(file);
};

class SlotFile implements CounterStorage {
  readonly #file: number;
  readonly #write: PersistentWrite;
  #newest: Uint8Array | undefined;
  #nextSlot = 0;

  constructor(path: string, write: PersistentWrite) {
    this.#write = write;
    const isNew = !existsSync(path);
    if (isNew) createEmpty(path);
    this.#file = openSync(path, 'r+');
    const bytes = new Uint8Array(FILE_SIZE);
    readSync(this.#file, bytes, 0, FILE_SIZE, 0);
    const slots = [0, 1].map((slot) => bytes.slice(slot * SLOT_DISTANCE, slot * SLOT_DISTANCE + COUNTER_RECORD_SIZE));
    const [first, second] = slots.map(recordSequence) as [number, number];
    if (first < 0 && second < 0) {
      if (isEmpty(bytes)) return;
      closeSync(this.#file);
      throw new ConfigError('config.unreadable', `${path} holds no whole counter record: set new keys and remove it`, {
        path,
      });
    }
    const newest = first > second ? 0 : 1;
    this.#newest = slots[newest];
    this.#nextSlot = 1 - newest;
  }

  load(): Uint8Array | undefined {
    return this.#newest;
  }

  store(record: Uint8Array): void {
    this.#write(this.#file, record, this.#nextSlot * SLOT_DISTANCE);
    this.#nextSlot = 1 - this.#nextSlot;
  }

  close(): void {
    closeSync(this.#file);
  }
}

const EMPTY = new TextEncoder().encode('no counter was used yet');

/** Whether no record was ever finished: a power cut in the first one left the mark in the second slot alone. */
function isEmpty(bytes: Uint8Array): boolean {
  return EMPTY.every((byte, i) => bytes[SLOT_DISTANCE + i] === byte);
}

function createEmpty(path: string): void {
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const bytes = new Uint8Array(FILE_SIZE);
  bytes.set(EMPTY, SLOT_DISTANCE);
  const file = openSync(`${path}.new`, 'w', 0o600);
  writeSync(file, bytes);
  fsyncSync(file);
  closeSync(file);
  renameSync(`${path}.new`, path);
  const parent = openSync(folder, 'r');
  fsyncSync(parent);
  closeSync(parent);
}

export interface CounterFile {
  readonly book: CounterBook;
  close(): void;
}

/**
 * Opens the counters in a file, made when there is none.
 * @param write  how a record reaches the medium; tests cut it short
 * @throws ConfigError `config.unreadable`
 */
export function openCounterFile(path: string, write: PersistentWrite = writeThrough): CounterFile {
  try {
    const slots = new SlotFile(path, write);
    return { book: new CounterBook(slots), close: () => slots.close() };
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError('config.unreadable', `cannot use ${path}: ${messageOf(error)}`, { path }, error);
  }
}
