/**
 * The root partition (ext4) of an image, through debugfs of e2fsprogs: no root, no mount. The file system is checked by
 * e2fsck before and after; one that is not clean, or whose journal waits, is not touched.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dirname } from 'node:path/posix';
import { messageOf } from '#base/errors';
import type { Item } from './contents.ts';
import { unusable } from './disk-file.ts';

/** sbin is not on everybody's path. */
const ENVIRONMENT = { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' };
const REGULAR = 0o100000;
const FOLDER = 0o040000;

export interface Known {
  readonly type: 'regular' | 'directory' | 'symlink' | 'other';
  /** Permission bits. */
  readonly mode: number;
  readonly user: number;
  readonly group: number;
  readonly size: number;
  /** Of a link. */
  readonly target: string | undefined;
}

export function hasDebugfs(): boolean {
  return spawnSync('debugfs', ['-V'], { env: ENVIRONMENT, stdio: 'ignore' }).status === 0;
}

export class Ext4 {
  readonly #image: string;
  readonly #place: string;
  readonly #scratch: string;

  /** @param offset  bytes from the beginning of the image */
  constructor(image: string, offset: number) {
    this.#image = image;
    this.#place = `${image}?offset=${offset}`;
    this.#scratch = mkdtempSync(join(tmpdir(), 's3mp-ext4-'));
  }

  close(): void {
    rmSync(this.#scratch, { recursive: true, force: true });
  }

  /** @throws ConfigError `card.unusable` when it is no clean ext4 */
  check(): void {
    const header = this.#debugfs(['stats -h']);
    if (!/^Filesystem state:\s+clean\s*$/m.test(header))
      throw unusable(`the root partition of ${this.#image} is no clean ext4: restore the image`);
    if (/needs_recovery/.test(header))
      throw unusable(`the journal of ${this.#image}'s root waits: the image was taken from a running system`);
    const { status, stdout } = spawnSync('e2fsck', ['-f', '-n', this.#place], { env: ENVIRONMENT, encoding: 'utf8' });
    if (status !== 0)
      throw unusable(
        `e2fsck finds faults in the root of ${this.#image}: ${(stdout ?? '').trim().split('\n').slice(-4).join(' ')}`,
      );
  }

  /** Free bytes for files of root. */
  get freeBytes(): number {
    const header = this.#debugfs(['stats -h']);
    const number = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(header)?.[1] ?? 0);
    return number('Free blocks') * number('Block size');
  }

  /** What lies at each path; nothing for what is not there. */
  stat(paths: readonly string[]): Map<string, Known> {
    const found = new Map<string, Known>();
    const answers = this.#debugfs(paths.map((path) => `stat "${path}"`)).split(/^debugfs: stat /m);
    for (const answer of answers.slice(1)) {
      const path = /^"([^"]*)"/.exec(answer)?.[1];
      const type = /\bType: (\w+)/.exec(answer)?.[1];
      if (path === undefined || type === undefined) continue;
      const number = (name: string, base = 10) =>
        Number.parseInt(new RegExp(`\\b${name}:\\s+(\\d+)`).exec(answer)?.[1] ?? '0', base);
      found.set(path, {
        type: type === 'regular' || type === 'directory' || type === 'symlink' ? type : 'other',
        mode: number('Mode', 8) & 0o7777,
        user: number('User'),
        group: number('Group'),
        size: number('Size'),
        target: /Fast link dest: "([^"]*)"/.exec(answer)?.[1],
      });
    }
    return found;
  }

  /** Contents of regular files. */
  read(paths: readonly string[]): Map<string, Uint8Array> {
    const places = paths.map((_, i) => join(this.#scratch, `out-${i}`));
    this.#debugfs(paths.map((path, i) => `dump "${path}" "${places[i]}"`));
    return new Map(
      paths.map((path, i) => {
        const bytes = readFileSync(places[i]!);
        rmSync(places[i]!);
        return [path, bytes];
      }),
    );
  }

  /** Which items are not there as they should be. */
  differing(items: readonly Item[]): Item[] {
    const known = this.stat(items.map(({ path }) => path));
    const files = items.filter((item) => item.kind === 'file' && known.get(item.path)?.type === 'regular');
    const contents = this.read(files.map(({ path }) => path));
    return items.filter((item) => {
      const there = known.get(item.path);
      if (!there) return true;
      if (item.kind === 'link') return there.type !== 'symlink' || there.target !== item.target;
      const isRoots = there.user === 0 && there.group === 0;
      if (item.kind === 'folder') return there.type !== 'directory';
      return !isRoots || there.mode !== item.mode || Buffer.compare(contents.get(item.path)!, item.bytes) !== 0;
    });
  }

  /** Writes items, replacing what has their paths, with the folders that they need. */
  write(items: readonly Item[]): void {
    const commands: string[] = [];
    const known = this.stat(items.map(({ path }) => path));
    const own = (path: string, mode: number) =>
      commands.push(`sif "${path}" mode 0${mode.toString(8)}`, `sif "${path}" uid 0`, `sif "${path}" gid 0`);
    const folders = new Set<string>();
    for (const { path } of items)
      for (let parent = dirname(path); parent !== '/'; parent = dirname(parent)) folders.add(parent);
    for (const item of items) if (item.kind === 'folder') folders.delete(item.path);
    const missing = [...folders].sort();
    const there = this.stat(missing);
    const modes = new Map(missing.filter((path) => !there.has(path)).map((path) => [path, 0o755]));
    for (const item of items) if (item.kind === 'folder' && !known.has(item.path)) modes.set(item.path, item.mode);
    for (const [path, mode] of [...modes].sort(([a], [b]) => (a < b ? -1 : 1))) {
      commands.push(`mkdir "${path}"`);
      own(path, FOLDER | mode);
    }
    for (const [i, item] of items.entries()) {
      if (item.kind === 'folder') continue;
      if (known.has(item.path)) commands.push(`rm "${item.path}"`);
      if (item.kind === 'link') {
        commands.push(`symlink "${item.path}" "${item.target}"`);
        continue;
      }
      const source = join(this.#scratch, `in-${i}`);
      writeFileSync(source, item.bytes, { mode: 0o600 });
      commands.push(`write "${source}" "${item.path}"`);
      own(item.path, REGULAR | item.mode);
    }
    this.#debugfs(commands, '-w');
  }

  /** Runs commands, each echoed behind `debugfs: `. @throws ConfigError `card.unusable` */
  #debugfs(commands: readonly string[], ...flags: string[]): string {
    const script = join(this.#scratch, 'commands');
    writeFileSync(script, `${commands.join('\n')}\n`);
    try {
      return execFileSync('debugfs', [...flags, '-f', script, this.#place], {
        env: ENVIRONMENT,
        encoding: 'utf8',
        maxBuffer: 64 << 20,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
    } catch (error) {
      throw unusable(`debugfs fails on ${this.#image}: ${messageOf(error)}`);
    }
  }
}
