/**
 * What the meter keeps in its state folder: one durable log per profile and event log, `state` with all settings, the
 * commanded state of the contact, the message and the bound of the clock.
 *
 * A storage that fails does not stop the meter: it measures on, rows and values wait in memory, what must be recorded
 * before it happens is refused, and `onFault` is told. When the storage is back, what waits is written.
 *
 *   state record:  "S3ST" | sequence u32 | length u32 | { key length u8, key, value length u16, value }* | CRC-32
 */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { asciiBytes, equalBytes, readU16, readU32, writeU32 } from '#base/bytes';
import { messageOf } from '#base/errors';
import type { ProfileStore } from '#dlms/cosem/profile-store';
import type { SettingStore } from '#dlms/cosem/setting';
import { ByteWriter } from '#dlms/writer';
import { DurableLog } from '#hw/durable-log';
import { writeFileAtomic } from '#hw/files';
import type { Log } from '#hw/log';
import { fileMedium, type Medium, setAside } from '#hw/medium';
import { SlotFile } from '#hw/slot-file';

const MAGIC = 0x53335354;
const HEADER = 12;
/** Room for a state record. */
const STATE_SIZE = 16_384;
/** What need not be stored at once is stored this often, and a storage that failed is tried as often. */
const GATHER_MS = 60_000;
const RETRY_MS = 10_000;

/** Sequence number of a state record, -1 when it is not whole. */
function stateSequence(slot: Uint8Array): number {
  const end = HEADER + readU32(slot, 8);
  if (readU32(slot, 0) !== MAGIC || end + 4 > slot.length) return -1;
  return readU32(slot, end) === crc32(slot.subarray(0, end)) ? readU32(slot, 4) : -1;
}

/** The values of a state record. */
function stateValues(slot: Uint8Array): Map<string, Uint8Array> {
  const values = new Map<string, Uint8Array>();
  const end = HEADER + readU32(slot, 8);
  for (let at = HEADER; at < end; ) {
    const valueAt = at + 1 + slot[at]! + 2;
    const length = readU16(slot, valueAt - 2);
    values.set(
      Buffer.from(slot.subarray(at + 1, valueAt - 2)).toString('latin1'),
      slot.slice(valueAt, valueAt + length),
    );
    at = valueAt + length;
  }
  return values;
}

const openStateSlots = (path: string, medium: Medium, readOnly = false): SlotFile =>
  new SlotFile({ path, distance: STATE_SIZE, sequenceOf: stateSequence, medium, readOnly });

/** The values of a state file that another process may be writing; none when there is no whole record. */
export function readState(path: string): Map<string, Uint8Array> {
  if (!fileMedium.exists(path)) return new Map();
  const slots = openStateSlots(path, fileMedium, true);
  slots.close();
  return slots.newest ? stateValues(slots.newest) : new Map();
}

export class StateFiles {
  /** Told when the storage begins to fail and when it works again. */
  onFault: (isFailing: boolean) => void = () => {};
  /** Asked before each record of settings: keeps what is worth no record of its own. */
  beforeSave: () => void = () => {};
  readonly #folder: string;
  readonly #log: Log;
  readonly #medium: Medium;
  readonly #logs: DurableLog[] = [];
  #values = new Map<string, Uint8Array>();
  #slots: SlotFile | undefined;
  #sequence = 0;
  /** Values wait to be stored. */
  #isDirty = false;
  #isFailing = false;
  #gatheredAt = 0;
  #retriedAt = 0;

  constructor(folder: string, log: Log, medium: Medium = fileMedium) {
    this.#folder = folder;
    this.#log = log;
    this.#medium = medium;
    this.#try(() => this.#openState());
  }

  /** Whether the last use of the storage failed. */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  path(name: string): string {
    return join(this.#folder, name);
  }

  /** Runs a file operation. @returns its value, undefined when it failed, which is logged */
  attempt<T>(what: string, operation: () => T): T | undefined {
    try {
      return operation();
    } catch (error) {
      this.#log.warn(what, { error: messageOf(error) });
      return undefined;
    }
  }

  /** A text that survives a restart. */
  text(name: string): { get(): string; set(text: string): void } {
    const file = this.path(name);
    let text = this.attempt(`${name} cannot be read`, () => (existsSync(file) ? readFileSync(file, 'utf8') : '')) ?? '';
    return {
      get: () => text,
      set: (next) => {
        text = next;
        this.attempt(`${name} is not stored`, () => writeFileAtomic(file, next, 0o600));
      },
    };
  }

  settings(): SettingStore {
    return {
      get: (key) => this.#values.get(key),
      set: (key, value) => {
        const before = this.#values.get(key);
        if (before && !this.#isDirty && equalBytes(before, value)) return !this.#isFailing;
        this.#values.set(key, value);
        if (this.#save()) return true;
        if (before) this.#values.set(key, before);
        else this.#values.delete(key);
        return false;
      },
      keep: (key, value) => {
        this.#values.set(key, value);
        this.#isDirty = true;
      },
    };
  }

  /** @param layout  the columns, in one line */
  profile(name: string, rowSize: number, rows: number, layout = name): ProfileStore {
    const log = new DurableLog({
      path: this.path(`${name}.log`),
      rowSize,
      rows,
      layout,
      medium: this.#medium,
      onError: (error) => this.#failed(error),
      onForeign: (aside) => this.#log.warn('a file was not the log of this name and is kept aside', { aside }),
    });
    this.#logs.push(log);
    return log;
  }

  /** Stores what waits, prepares the files for what comes, and tries a storage again that failed. About once a second. */
  tick(steadyMs: number): void {
    if (this.#isFailing && steadyMs - this.#retriedAt < RETRY_MS) return;
    const isDue = this.#isFailing || steadyMs - this.#gatheredAt >= GATHER_MS;
    this.#retriedAt = steadyMs;
    if (!isDue) {
      // One segment a second, so that the first start is quick.
      this.#logs.find((log) => !log.isWhole)?.grow();
      return;
    }
    this.#gatheredAt = steadyMs;
    const works = this.flush();
    if (works && this.#isFailing && this.#logs.every((log) => log.isWhole || log.grow())) {
      this.#isFailing = false;
      this.#log.info('the storage works again');
      this.onFault(false);
    }
  }

  /** Stores everything that waits. @returns whether it did */
  flush(): boolean {
    const isSaved = (!this.#isDirty && !this.#isFailing) || this.#save();
    return this.#logs.reduce((works, log) => log.flush() && works, isSaved);
  }

  close(): void {
    this.flush();
    for (const log of this.#logs) log.close();
    this.#slots?.close();
  }

  #openState(): void {
    const path = this.path('state');
    this.#slots = openStateSlots(path, this.#medium);
    const { newest, isEmpty } = this.#slots;
    if (newest) {
      this.#sequence = readU32(newest, 4);
      // What was kept in memory while the file could not be opened is newer.
      this.#values = new Map([...stateValues(newest), ...this.#values]);
    } else if (!isEmpty) {
      this.#slots.close();
      const aside = setAside(this.#medium, path);
      this.#log.error('no whole record of settings is left, they are as delivered', { aside });
      this.#slots = openStateSlots(path, this.#medium);
    }
  }

  #save(): boolean {
    return this.#try(() => {
      this.beforeSave();
      if (!this.#slots) this.#openState();
      const bytes = new Uint8Array(STATE_SIZE);
      const w = new ByteWriter(bytes, HEADER, STATE_SIZE - 4);
      for (const [key, value] of this.#values) w.u8(key.length).bytes(asciiBytes(key)).u16(value.length).bytes(value);
      const end = w.at;
      if (w.overflowed) throw new Error(`the settings take ${end} bytes, more than ${STATE_SIZE - 4}`);
      writeU32(bytes, 0, MAGIC);
      writeU32(bytes, 4, this.#sequence + 1);
      writeU32(bytes, 8, end - HEADER);
      writeU32(bytes, end, crc32(bytes.subarray(0, end)));
      const record = bytes.subarray(0, end + 4);
      this.#slots!.store(record);
      this.#sequence++;
      this.#isDirty = false;
    });
  }

  #try(operation: () => void): boolean {
    try {
      operation();
      return true;
    } catch (error) {
      this.#failed(error);
      return false;
    }
  }

  #failed(error: unknown): void {
    if (this.#isFailing) return;
    this.#isFailing = true;
    this.#log.error('the storage fails: values and rows wait in memory, what must be recorded is refused', {
      error: messageOf(error),
    });
    this.onFault(true);
  }
}
