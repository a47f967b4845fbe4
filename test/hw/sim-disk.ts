/**
 * A disk in memory behind the interface of the real one: it counts what is written, can be full, read-only or broken, and
 * loses power after any byte. What was not synchronized is then a matter of luck, sector by sector: the old content, the
 * new one, or for the sector under the pen any part of the new one before the old rest.
 */

import type { Medium } from '#hw/medium';
import type { Random } from '../random.ts';

export const SECTOR = 512;

interface File {
  /** What every reader sees. */
  content: Uint8Array;
  /** What is on the medium. */
  durable: Uint8Array;
  /** Sectors that differ, or may. */
  readonly dirty: Set<number>;
}

export class PowerCut extends Error {
  constructor() {
    super('the power is off');
  }
}

export class SimDisk implements Medium {
  readonly files = new Map<string, File>();
  readonly counts = { writes: 0, bytes: 0, syncs: 0 };
  /** Bytes that may still be written before the power goes; a sync and a rename cost one. */
  budget = Number.POSITIVE_INFINITY;
  /** Bytes that files may take. */
  capacity = Number.POSITIVE_INFINITY;
  isReadOnly = false;
  isBroken = false;
  /** The power went in the middle of a write. */
  isTorn = false;
  #open = new Map<number, { path: string; readOnly: boolean }>();
  #next = 3;

  exists(path: string): boolean {
    return this.files.has(path);
  }

  create(path: string, bytes: Uint8Array): void {
    this.#check();
    if (this.#used() + bytes.length > this.capacity) throw new Error('ENOSPC: no space left on device');
    this.#spend(bytes.length + 1);
    this.counts.writes++;
    this.counts.syncs++;
    this.counts.bytes += bytes.length;
    this.files.set(path, { content: bytes.slice(), durable: bytes.slice(), dirty: new Set() });
  }

  open(path: string, readOnly = false): number {
    if (!readOnly) this.#check();
    if (this.isBroken) throw new Error('EIO: i/o error');
    if (!this.files.has(path)) throw new Error(`ENOENT: no such file ${path}`);
    this.#open.set(this.#next, { path, readOnly });
    return this.#next++;
  }

  size(file: number): number {
    return this.#file(file).content.length;
  }

  read(file: number, out: Uint8Array, position: number): number {
    if (this.isBroken) throw new Error('EIO: i/o error');
    const part = this.#file(file).content.subarray(position, position + out.length);
    out.set(part);
    return part.length;
  }

  write(file: number, bytes: Uint8Array, position: number): void {
    this.#check();
    if (this.#open.get(file)!.readOnly) throw new Error('EBADF: bad file descriptor');
    const target = this.#file(file);
    const end = position + bytes.length;
    if (end > target.content.length) {
      if (this.#used() + end - target.content.length > this.capacity)
        throw new Error('ENOSPC: no space left on device');
      target.content = longer(target.content, end);
    }
    const left = Math.min(this.budget, bytes.length);
    this.isTorn = left > 0 && left < bytes.length;
    target.content.set(bytes.subarray(0, left), position);
    for (let at = position; at < position + left; at += SECTOR - (at % SECTOR))
      target.dirty.add(Math.floor(at / SECTOR));
    this.counts.writes++;
    this.counts.bytes += left;
    this.#spend(bytes.length);
  }

  sync(file: number): void {
    this.#check();
    this.#spend(1);
    this.counts.syncs++;
    const target = this.#file(file);
    settle(target, () => true);
  }

  close(file: number): void {
    this.#open.delete(file);
  }

  rename(from: string, to: string): void {
    this.#check();
    this.#spend(1);
    this.files.set(to, this.files.get(from)!);
    this.files.delete(from);
  }

  /** The power comes back: of every sector that was not synchronized luck keeps the new or the old content. */
  restart(random: Random): void {
    const odds = random.below(4);
    for (const file of this.files.values()) settle(file, () => random.below(4) < odds);
    this.#open.clear();
    this.isTorn = false;
    this.budget = Number.POSITIVE_INFINITY;
  }

  /** What programs have written so far, as the medium would have it if everything had been synchronized. */
  bytes(path: string): Uint8Array {
    return this.files.get(path)!.content;
  }

  /** Damages bytes on the medium. */
  damage(path: string, position: number, bytes: Uint8Array): void {
    const file = this.files.get(path)!;
    file.content.set(bytes, position);
    file.durable.set(bytes, position);
  }

  #file(file: number): File {
    return this.files.get(this.#open.get(file)!.path)!;
  }

  #used(): number {
    let sum = 0;
    for (const { content } of this.files.values()) sum += content.length;
    return sum;
  }

  #check(): void {
    if (this.budget <= 0) throw new PowerCut();
    if (this.isBroken) throw new Error('EIO: i/o error');
    if (this.isReadOnly) throw new Error('EROFS: read-only file system');
  }

  #spend(bytes: number): void {
    this.budget -= bytes;
    if (this.budget < 0) {
      this.budget = 0;
      throw new PowerCut();
    }
  }
}

/** The same bytes with zeros behind; there is room for more, so that a file that grows is not copied each time. */
function longer(bytes: Uint8Array, length: number): Uint8Array {
  if (length <= bytes.buffer.byteLength - bytes.byteOffset)
    return new Uint8Array(bytes.buffer, bytes.byteOffset, length);
  const room = new Uint8Array(2 * length);
  room.set(bytes);
  return room.subarray(0, length);
}

/** Takes dirty sectors that are kept to the medium, and shows the medium's content for the others. */
function settle(file: File, isKept: (sector: number) => boolean): void {
  // The file's new length is kept with any sector behind the old end.
  if (file.durable.length < file.content.length) file.durable = longer(file.durable, file.content.length);
  for (const sector of file.dirty) {
    const [from, to] = [sector * SECTOR, (sector + 1) * SECTOR];
    if (isKept(sector)) file.durable.set(file.content.subarray(from, to), from);
    else file.content.set(file.durable.subarray(from, to), from);
  }
  file.dirty.clear();
}
