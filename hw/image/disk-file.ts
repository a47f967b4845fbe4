/** An image file: positioned reads and writes, and its partition table (MBR). Whole devices are refused. */

import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { ConfigError, messageOf } from '#base/errors';

export const SECTOR = 512;
const TABLE_AT = 446;
const ENTRY_SIZE = 16;
const ENTRIES = 4;
/** Partitions begin on multiples of this, the erase blocks of common cards. */
const ALIGNMENT = 4 << 20;

export const PartitionType = { fat32Chs: 0x0b, fat32: 0x0c, linux: 0x83, gptGuard: 0xee } as const;

export interface Partition {
  /** 1…4. */
  readonly number: number;
  readonly type: number;
  /** Bytes from the beginning of the image. */
  readonly offset: number;
  readonly size: number;
}

/** What is wrong with a card or an image, as the error that ends the program. */
export function unusable(message: string, context: Readonly<Record<string, string | number>> = {}): ConfigError {
  return new ConfigError('card.unusable', message, context);
}

/**
 * Refuses what is no regular file: nothing here writes to a device.
 * @throws ConfigError `card.unusable`
 */
export function checkImageFile(file: string): void {
  let kind: ReturnType<typeof statSync>;
  try {
    kind = statSync(file);
  } catch (error) {
    throw unusable(`cannot read ${file}: ${messageOf(error)}`, { file });
  }
  if (kind.isBlockDevice() || kind.isCharacterDevice())
    throw unusable(
      `${file} is a device, not an image file: write the image with Raspberry Pi Imager, mount the card's boot partition and give --boot DIR`,
      { file },
    );
  if (!kind.isFile()) throw unusable(`${file} is not a file: --image takes an unpacked .img`, { file });
}

export class DiskFile {
  readonly path: string;
  readonly #descriptor: number;

  /** @throws ConfigError `card.unusable` */
  constructor(path: string, mode: 'r' | 'r+') {
    checkImageFile(path);
    this.path = path;
    try {
      this.#descriptor = openSync(path, mode);
    } catch (error) {
      throw unusable(`cannot open ${path}: ${messageOf(error)}`, { file: path });
    }
  }

  get size(): number {
    return fstatSync(this.#descriptor).size;
  }

  /** @throws ConfigError `card.unusable` when the file ends earlier */
  read(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; ) {
      const count = readSync(this.#descriptor, bytes, at, length - at, offset + at);
      if (count === 0) throw unusable(`${this.path} ends at byte ${offset + at}, too early: is the download complete?`);
      at += count;
    }
    return bytes;
  }

  write(offset: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at, bytes.length - at, offset + at);
  }

  /** Makes the file longer; what is added reads as zeros. */
  extend(size: number): void {
    if (size > this.size) ftruncateSync(this.#descriptor, size);
  }

  sync(): void {
    fsyncSync(this.#descriptor);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

const le32 = (bytes: Uint8Array, at: number) =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at, true);

/**
 * Reads the partition table.
 * @throws ConfigError `card.unusable` when there is none, or one that does not fit the file
 */
export function readPartitions(disk: DiskFile): Partition[] {
  const magic = disk.size < SECTOR ? new Uint8Array(6) : disk.read(0, 6);
  if (magic[0] === 0xfd && magic[1] === 0x37)
    throw unusable(`${disk.path} is packed: run unxz ${disk.path} first`, { file: disk.path });
  if ((magic[0] === 0x50 && magic[1] === 0x4b) || (magic[0] === 0x1f && magic[1] === 0x8b))
    throw unusable(`${disk.path} is an archive: unpack the .img first`, { file: disk.path });
  const sector = disk.size < SECTOR ? new Uint8Array(SECTOR) : disk.read(0, SECTOR);
  if (sector[510] !== 0x55 || sector[511] !== 0xaa)
    throw unusable(`${disk.path} has no partition table: --image takes a Raspberry Pi OS .img`, { file: disk.path });
  const partitions: Partition[] = [];
  for (let i = 0; i < ENTRIES; i++) {
    const at = TABLE_AT + i * ENTRY_SIZE;
    const type = sector[at + 4]!;
    if (type === 0) continue;
    const partition = {
      number: i + 1,
      type,
      offset: le32(sector, at + 8) * SECTOR,
      size: le32(sector, at + 12) * SECTOR,
    };
    if (type === PartitionType.gptGuard) throw unusable(`${disk.path} has a GPT; Raspberry Pi OS images have an MBR`);
    if (partition.offset === 0 || partition.offset + partition.size > disk.size)
      throw unusable(
        `partition ${i + 1} of ${disk.path} ends at byte ${partition.offset + partition.size}, the file at ${disk.size}: is the download complete?`,
      );
    partitions.push(partition);
  }
  return partitions;
}

/** Where a partition of `size` bytes would go behind all others; undefined when the table is full. */
export function placeForPartition(partitions: readonly Partition[], size: number): Partition | undefined {
  const used = new Set(partitions.map((p) => p.number));
  const number = [1, 2, 3, 4].find((n) => !used.has(n) && [...used].every((u) => u < n));
  if (number === undefined) return undefined;
  const end = Math.max(...partitions.map((p) => p.offset + p.size));
  const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
  return { number, type: PartitionType.linux, offset, size };
}

/** Adds a partition to the table and room for it to the file. Its content, zeros, is formatted at the first start. */
export function addPartition(disk: DiskFile, { number, type, offset, size }: Partition): void {
  disk.extend(offset + size);
  const entry = new Uint8Array(ENTRY_SIZE);
  // CHS fields say "beyond what CHS can address"; every reader of today takes the LBA fields.
  entry.set([0, 0xfe, 0xff, 0xff, type, 0xfe, 0xff, 0xff]);
  const view = new DataView(entry.buffer);
  view.setUint32(8, offset / SECTOR, true);
  view.setUint32(12, size / SECTOR, true);
  disk.write(TABLE_AT + (number - 1) * ENTRY_SIZE, entry);
}
