/** The boot partition as flash sees it: a mounted folder, or FAT32 inside an image. */

import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { messageOf } from '#base/errors';
import { type DiskFile, type Partition, PartitionType, unusable } from './disk-file.ts';
import { Fat32 } from './fat32.ts';

export interface BootVolume {
  readonly name: string;
  readonly freeBytes: number;
  /** @param path  from the root of the partition, `s3mp/files.txt` */
  read(path: string): Uint8Array | undefined;
  /** Names in a folder; '' is the root. */
  list(path: string): string[];
  write(path: string, bytes: Uint8Array): void;
  remove(path: string): void;
  /** Makes what was written durable. */
  commit(): void;
}

/** @throws ConfigError `card.unusable` when the folder is no boot partition of Raspberry Pi OS */
export function openBootFolder(folder: string): BootVolume {
  if (!existsSync(folder) || !statSync(folder).isDirectory())
    throw unusable(`${folder} is not a folder: give the place where the card's boot partition is mounted`);
  const place = (path: string) => join(folder, path);
  const attempt = <T>(what: string, work: () => T): T => {
    try {
      return work();
    } catch (error) {
      throw unusable(`${what}: ${messageOf(error)}`, { folder });
    }
  };
  const touched = new Set<string>();
  return {
    name: folder,
    get freeBytes() {
      const { bavail, bsize } = statfsSync(folder);
      return bavail * bsize;
    },
    read: (path) => (existsSync(place(path)) ? readFileSync(place(path)) : undefined),
    list: (path) => (existsSync(place(path)) ? readdirSync(place(path)) : []),
    write(path, bytes) {
      attempt(`cannot write ${place(path)}`, () => {
        mkdirSync(dirname(place(path)), { recursive: true });
        const fresh = `${place(path)}.new`;
        const descriptor = openSync(fresh, 'w', 0o600);
        try {
          for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at);
          fsyncSync(descriptor);
        } finally {
          closeSync(descriptor);
        }
        renameSync(fresh, place(path));
        touched.add(dirname(place(path)));
      });
    },
    remove(path) {
      attempt(`cannot remove ${place(path)}`, () => rmSync(place(path), { force: true }));
      touched.add(dirname(place(path)));
    },
    commit() {
      for (const dir of touched) {
        const descriptor = openSync(dir, 'r');
        fsyncSync(descriptor);
        closeSync(descriptor);
      }
      touched.clear();
    },
  };
}

/** @throws ConfigError `card.unusable` when the image has no sound FAT32 partition */
export function openBootPartition(disk: DiskFile, partitions: readonly Partition[]): BootVolume {
  const boot = partitions.find(({ type }) => type === PartitionType.fat32 || type === PartitionType.fat32Chs);
  if (!boot) throw unusable(`${disk.path} has no FAT32 partition: --image takes a Raspberry Pi OS .img`);
  const fat = new Fat32(disk, boot.offset, boot.size);
  return {
    name: `${disk.path}, partition ${boot.number}`,
    get freeBytes() {
      return fat.freeBytes;
    },
    read: (path) => fat.read(path),
    list: (path) => fat.list(path),
    write: (path, bytes) => void fat.write(path, bytes),
    remove: (path) => void fat.remove(path),
    commit: () => fat.commit(),
  };
}

/** @throws ConfigError `card.unusable` without config.txt and cmdline.txt */
export function checkBootVolume(volume: BootVolume): void {
  const missing = ['config.txt', 'cmdline.txt'].filter((name) => volume.read(name) === undefined);
  if (missing.length > 0)
    throw unusable(
      `${volume.name} is no boot partition of Raspberry Pi OS: ${missing.join(' and ')} missing; mount the small FAT partition of the card (bootfs) and give its folder`,
    );
}
