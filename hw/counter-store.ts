/**
 * Invocation counters in a file of two copies (slot-file.ts): a value is in use only when both hold its limit, so neither
 * a power cut at any byte nor the loss of one copy lets a value be used twice.
 *
 * A file in which no copy is whole is not replaced: counters that begin anew would repeat values under the same key.
 */

import { ConfigError, invalidFile, messageOf } from '#base/errors';
import { COUNTER_RECORD_SIZE, CounterBook, recordSequence } from '#dlms/counters';
import { fileMedium, type Medium } from '#hw/medium';
import { SlotFile } from '#hw/slot-file';

const SLOT = 4096;
/** Tells a file without a record yet from one that has lost its records. */
const MARK = new TextEncoder().encode('no counter was used yet');

export interface CounterFile {
  readonly book: CounterBook;
  close(): void;
}

/**
 * Opens the counters in a file, made when there is none.
 * @throws ConfigError `config.unreadable`, or `config.invalid` when no copy is whole
 */
export function openCounterFile(path: string, medium: Medium = fileMedium): CounterFile {
  const record = (slot: Uint8Array) => slot.subarray(0, COUNTER_RECORD_SIZE);
  let slots: SlotFile;
  try {
    const sequenceOf = (slot: Uint8Array) => recordSequence(record(slot));
    slots = new SlotFile({ path, distance: SLOT, sequenceOf, mark: MARK, medium });
  } catch (error) {
    throw new ConfigError('config.unreadable', `cannot use ${path}: ${messageOf(error)}`, { path }, error);
  }
  if (!slots.newest && !slots.isEmpty) {
    slots.close();
    throw invalidFile(path, 'it holds no whole counter record');
  }
  const load = () => slots.newest && record(slots.newest);
  return { book: new CounterBook({ load, store: (next) => slots.store(next) }), close: () => slots.close() };
}
