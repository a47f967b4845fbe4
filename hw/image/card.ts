/**
 * Plans and makes the changes of a card. A plan is complete before anything is written: what is refused leaves the card as
 * it was. Afterwards everything is read back and compared.
 *
 * Where the root can be written (an image, with debugfs), it gets the files; else they wait on the boot partition, where a
 * script that the first boot runs takes them from.
 */

import { ConfigError } from '#base/errors';
import {
  type FirstBoot,
  firstBootOf,
  GATEWAY_CONFIG_TXT,
  METER_CONFIG,
  patchCmdline,
  patchFirstRun,
  withoutSection,
  withSection,
} from './boot-files.ts';
import { type BootVolume, checkBootVolume } from './boot-volume.ts';
import { type Item, sha256 } from './contents.ts';
import { unusable } from './disk-file.ts';
import type { Ext4 } from './ext4.ts';
import { INSTALL_SCRIPT } from './scripts.ts';
import type { Device } from './units.ts';

const FOLDER = 's3mp';
/** What a path of a card may not have: neither debugfs nor the list on the boot partition could carry it. */
const ODD = /[\s"\\]/;
const text = (content: string) => Uint8Array.from(Buffer.from(content, 'utf8'));
const same = (a: Uint8Array | undefined, b: Uint8Array) => a !== undefined && Buffer.compare(a, b) === 0;

export interface CardOptions {
  readonly device: Device;
  readonly boot: BootVolume;
  /** The root of an image; undefined where only the boot partition can be written. */
  readonly root: Ext4 | undefined;
  readonly items: readonly Item[];
  /** Code name of the system's release, undefined when it is not known. */
  readonly release: string | undefined;
  /** Keys that are there are replaced. */
  readonly rekey: boolean;
}

export interface CardPlan {
  /** Files of the boot partition that change. */
  readonly boot: readonly { readonly path: string; readonly bytes: Uint8Array }[];
  /** Items of the root that change. */
  readonly root: readonly Item[];
  readonly firstBoot: FirstBoot | 'none';
}

/** `f 0644 SHA PATH` lines, what install.sh reads. @param kept  files of earlier lists, which stay on the card */
function fileList(items: readonly Item[], kept: readonly string[]): string {
  const lines = items
    .map((item) => {
      if (item.kind === 'link') return `l ${item.target} ${item.path}\n`;
      const mode = item.mode.toString(8).padStart(4, '0');
      if (item.kind === 'folder') return `d ${mode} ${item.path}\n`;
      return `${item.isSecret ? 'k' : 'f'} ${mode} ${sha256(item.bytes)} ${item.path}\n`;
    })
    .join('');
  return lines + kept.map((path) => `# kept ${path}\n`).join('');
}

/** Which of these paths are on the card: in its root, or by the list of what was flashed before. */
export function filesOnCard({ boot, root }: Pick<CardOptions, 'boot' | 'root'>, paths: readonly string[]): string[] {
  const known = root ? root.stat(paths.filter((path) => !ODD.test(path))) : new Set(listedFiles(boot));
  return paths.filter((path) => known.has(path));
}

/** Paths of the files in the list on the boot partition, also of those that earlier lists had. */
function listedFiles(boot: BootVolume): string[] {
  const list = Buffer.from(boot.read(`${FOLDER}/files.txt`) ?? '').toString('utf8');
  return [...list.matchAll(/^(?:[fk] \S+ \S+|# kept) (\S+)$/gm)].map(([, path]) => path!);
}

/** Why the board did not install what it got the last time; undefined when it did or was not started. */
export function whyNotInstalled(boot: BootVolume): string | undefined {
  const text = boot.read(`${FOLDER}/failed.txt`);
  return text && Buffer.from(text).toString('utf8').trim();
}

/** @throws ConfigError `card.unusable`, `card.keys-exist` */
export function planCard({ device, boot, root, items, release, rekey }: CardOptions): CardPlan {
  checkBootVolume(boot);
  const odd = items.find(({ path }) => ODD.test(path));
  if (odd) throw unusable(`the name ${odd.path} has a blank or a quote, which cannot be written to a card`);
  const names = new Set(boot.list('').map((name) => name.toLowerCase()));
  const read = (name: string) => Buffer.from(boot.read(name) ?? '').toString('utf8');
  const cmdline = read('cmdline.txt');
  const first = root ? 'none' : firstBootOf((name) => names.has(name), cmdline);
  // Where the system mounts the boot partition since bookworm, and before.
  const command = `${release === 'bullseye' ? '/boot' : '/boot/firmware'}/${FOLDER}/install.sh`;
  const wanted = new Map<string, Uint8Array>();
  wanted.set(
    'config.txt',
    text(withSection(read('config.txt'), device === 'firmware' ? METER_CONFIG : GATEWAY_CONFIG_TXT)),
  );
  const hook = first === 'cmdline' ? command : undefined;
  wanted.set('cmdline.txt', text(patchCmdline(cmdline, { freeUart: device === 'firmware', hook })));
  // Earlier cards were installed by cloud-init.
  if (names.has('user-data')) wanted.set('user-data', text(withoutSection(read('user-data'))));
  if (first === 'firstrun') wanted.set('firstrun.sh', text(patchFirstRun(read('firstrun.sh'), command)));
  if (!root) {
    const listed = new Set(items.map(({ path }) => path));
    const kept = listedFiles(boot).filter((path) => /^\/etc\/(s3mp|scion)\//.test(path) && !listed.has(path));
    wanted.set(`${FOLDER}/install.sh`, text(INSTALL_SCRIPT));
    wanted.set(`${FOLDER}/files.txt`, text(fileList(items, kept)));
    if (rekey) wanted.set(`${FOLDER}/rekey`, text('Keys that are there are replaced.\n'));
    for (const item of items) if (item.kind === 'file') wanted.set(`${FOLDER}/root${item.path}`, item.bytes);
  }
  const changes = [...wanted].filter(([path, bytes]) => !same(boot.read(path), bytes));
  const rootChanges = root?.differing(items) ?? [];
  if (!rekey) checkKeys(items, boot, root, rootChanges);
  const needed = changes.reduce((sum, [, bytes]) => sum + bytes.length + 65_536, 0);
  if (changes.length > 0 && needed > boot.freeBytes) throw full(boot.name, needed, boot.freeBytes);
  const rootNeeded = rootChanges.reduce((sum, item) => sum + (item.kind === 'file' ? item.bytes.length : 0) + 8192, 0);
  if (root && rootChanges.length > 0 && rootNeeded > root.freeBytes)
    throw full('the root partition', rootNeeded, root.freeBytes);
  return { boot: changes.map(([path, bytes]) => ({ path, bytes })), root: rootChanges, firstBoot: first };
}

function full(name: string, needed: number, free: number): ConfigError {
  const mb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  const message = `no room on ${name}: ${mb(needed)} are needed, ${mb(free)} are free; use a larger image or delete files`;
  return new ConfigError('card.full', message, { needed, free });
}

/** A meter whose keys change is another one for its head end. */
function checkKeys(items: readonly Item[], boot: BootVolume, root: Ext4 | undefined, changes: readonly Item[]): void {
  const secrets = items.filter((item) => item.kind === 'file' && item.isSecret);
  const known = root?.stat(secrets.map(({ path }) => path));
  const kept = secrets.find((item) => {
    if (item.kind !== 'file') return false;
    if (root) return known!.has(item.path) && changes.includes(item);
    const there = boot.read(`${FOLDER}/root${item.path}`);
    return there !== undefined && !same(there, item.bytes);
  });
  if (kept)
    throw new ConfigError(
      'card.keys-exist',
      `the card has another ${kept.path}: add --rekey to replace its keys, or leave --keys out to keep them`,
      { path: kept.path },
    );
}

/** Writes what is planned, then reads it back. @throws ConfigError `card.unusable` when something reads back differently */
export function writeCard({ boot, root, items }: CardOptions, plan: CardPlan): void {
  if (root && plan.root.length > 0) {
    root.write(plan.root);
    root.check();
    const wrong = root.differing(items);
    if (wrong.length > 0)
      throw unusable(`${wrong[0]!.path} does not read back as it was written: restore the image and start again`);
  }
  for (const { path, bytes } of plan.boot) boot.write(path, bytes);
  boot.commit();
  for (const { path, bytes } of plan.boot) {
    const there = boot.read(path);
    if (!there || sha256(there) !== sha256(bytes))
      throw unusable(`${path} does not read back as it was written: the card may be worn out`);
  }
}
