/**
 * What the meter keeps in its state folder: settings (one JSON file of encoded values) and the rows of profiles and logs (one
 * append-only file each). A storage that fails is reported and does not stop the meter: values then live until the next
 * start.
 *
 *   profile file:  'S3P1' | row size u32 | { row | CRC-32 of it u32 }*        a torn end is cut off when it is opened
 */

import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { readU32, writeU32 } from '#base/bytes';
import { messageOf } from '#base/errors';
import { MemoryProfileStore, type ProfileStore } from '#dlms/cosem/profile-store';
import type { SettingStore } from '#dlms/cosem/setting';
import { writeFileAtomic } from '#hw/files';
import type { Log } from '#hw/log';

const MAGIC = 0x53335031;
const HEADER = 8;
const CRC = 4;

export class StateFiles {
  readonly #folder: string;
  readonly #log: Log;

  constructor(folder: string, log: Log) {
    this.#folder = folder;
    this.#log = log;
    this.attempt('the state folder cannot be used, nothing survives a restart', () =>
      mkdirSync(folder, { recursive: true, mode: 0o700 }),
    );
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

  /** Settings in `settings.json`: `{ "0-0:17.0.0.255/4": "0600001388" }`. */
  settings(): SettingStore {
    const file = this.text('settings.json');
    const text = file.get();
    const values =
      this.attempt('settings.json is broken, the settings are as delivered', () =>
        text === '' ? {} : (JSON.parse(text) as Record<string, string>),
      ) ?? {};
    return {
      get: (key) => (typeof values[key] === 'string' ? Uint8Array.from(Buffer.from(values[key], 'hex')) : undefined),
      set: (key, value) => {
        values[key] = Buffer.from(value).toString('hex');
        file.set(JSON.stringify(values));
      },
    };
  }

  profile(name: string, rowSize: number, rows: number): ProfileStore {
    return new FileProfileStore(this, `${name}.rows`, rowSize, rows);
  }
}

/** Rows in memory, and behind each other in a file that is written anew when it holds twice what is kept. */
class FileProfileStore implements ProfileStore {
  readonly rowSize: number;
  readonly #files: StateFiles;
  readonly #name: string;
  readonly #rows: number;
  readonly #memory: MemoryProfileStore;
  readonly #record: Uint8Array;
  #descriptor: number | undefined;
  #written = 0;

  constructor(files: StateFiles, name: string, rowSize: number, rows: number) {
    this.rowSize = rowSize;
    this.#files = files;
    this.#name = name;
    this.#rows = rows;
    this.#memory = new MemoryProfileStore(rowSize, rows);
    this.#record = new Uint8Array(rowSize + CRC);
    this.#attempt(() => this.#load());
  }

  get first(): number {
    return this.#memory.first;
  }

  get next(): number {
    return this.#memory.next;
  }

  read(row: number): Uint8Array | undefined {
    return this.#memory.read(row);
  }

  append(row: Uint8Array): void {
    this.#memory.append(row);
    this.#attempt(() => {
      if (this.#descriptor === undefined || this.#written >= 2 * this.#rows) this.#rewrite();
      else this.#write(this.#descriptor, row);
    });
  }

  clear(): void {
    this.#memory.clear();
    this.#attempt(() => this.#rewrite());
  }

  #attempt(operation: () => void): void {
    this.#files.attempt(`${this.#name} is not stored`, operation);
  }

  #load(): void {
    const file = this.#files.path(this.#name);
    const bytes = existsSync(file) ? readFileSync(file) : new Uint8Array(0);
    const size = this.rowSize + CRC;
    // Rows of other columns than today's mean nothing; they are kept aside for people.
    if (bytes.length < HEADER || readU32(bytes, 0) !== MAGIC || readU32(bytes, 4) !== this.rowSize) {
      if (bytes.length > 0) renameSync(file, `${file}.old`);
      this.#rewrite();
      return;
    }
    let at = HEADER;
    for (; at + size <= bytes.length; at += size) {
      const row = bytes.subarray(at, at + this.rowSize);
      if (crc32(row) !== readU32(bytes, at + this.rowSize)) break;
      this.#memory.append(row);
      this.#written++;
    }
    if (at < bytes.length) truncateSync(file, at);
    this.#descriptor = openSync(file, 'a');
  }

  #write(descriptor: number, row: Uint8Array): void {
    this.#record.set(row);
    writeU32(this.#record, this.rowSize, crc32(row));
    writeSync(descriptor, this.#record);
    this.#written++;
  }

  /** Writes the rows that are kept into a new file, which then takes the place of the old one. */
  #rewrite(): void {
    const file = this.#files.path(this.#name);
    const fresh = `${file}.new`;
    const descriptor = openSync(fresh, 'w', 0o600);
    const header = new Uint8Array(HEADER);
    writeU32(header, 0, MAGIC);
    writeU32(header, 4, this.rowSize);
    writeSync(descriptor, header);
    this.#written = 0;
    for (let row = this.#memory.first; row < this.#memory.next; row++) this.#write(descriptor, this.#memory.read(row)!);
    fsyncSync(descriptor);
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = descriptor;
    renameSync(fresh, file);
  }
}
