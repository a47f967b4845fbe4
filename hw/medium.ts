/**
 * The file operations behind everything that must survive a power cut. Durable stores go through this interface, so that
 * tests put a disk behind it that is cut at any byte, loses or reorders what was not synchronized, is full or fails.
 */

import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';

/** Every operation throws what the operating system says. */
export interface Medium {
  exists(path: string): boolean;
  /** Makes a file with these bytes, on the medium when this returns; a power cut leaves the whole file or none. */
  create(path: string, bytes: Uint8Array): void;
  /** @returns a descriptor */
  open(path: string, readOnly?: boolean): number;
  size(file: number): number;
  /** Reads up to `out.length` bytes. @returns how many there were */
  read(file: number, out: Uint8Array, position: number): number;
  /** Writes all bytes; they may be on the medium after `sync` only. */
  write(file: number, bytes: Uint8Array, position: number): void;
  /** Returns when what was written is on the medium. */
  sync(file: number): void;
  close(file: number): void;
  /** Renames a file, on the medium when this returns. */
  rename(from: string, to: string): void;
}

/** The file system. Files are for their owner only. */
export const fileMedium: Medium = {
  exists: existsSync,
  create(path, bytes) {
    makeFolder(dirname(path));
    rmSync(`${path}.new`, { force: true });
    const file = openSync(`${path}.new`, 'wx', 0o600);
    try {
      fileMedium.write(file, bytes, 0);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameDurably(`${path}.new`, path);
  },
  open: (path, readOnly = false) => openSync(path, readOnly ? 'r' : 'r+'),
  size: (file) => fstatSync(file).size,
  read: (file, out, position) => readSync(file, out, 0, out.length, position),
  write(file, bytes, position) {
    for (let done = 0; done < bytes.length; )
      done += writeSync(file, bytes, done, bytes.length - done, position + done);
  },
  sync: fdatasyncSync,
  close: closeSync,
  rename: renameDurably,
};

/** Keeps a file that is not ours under a name that is free. @param tag  tells such files apart @returns that name */
export function setAside(medium: Medium, path: string, tag = ''): string {
  const name = `${path}${tag}.aside`;
  let aside = name;
  for (let i = 2; medium.exists(aside); i++) aside = `${name}-${i}`;
  medium.rename(path, aside);
  return aside;
}

/** Renames within a folder, and returns when the folder is on the medium: before, a power cut may undo it. */
export function renameDurably(from: string, to: string): void {
  renameSync(from, to);
  syncFolder(dirname(to));
}

/** Returns when the names in a folder are on the medium. */
function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Makes a folder for its owner only, with those that lead to it. Node's `recursive` turns for ever where the file system
 * has no place for a folder and calls it missing, as /proc does.
 */
export function makeFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeFolder(dirname(folder));
  mkdirSync(folder, { mode: 0o700 });
}
