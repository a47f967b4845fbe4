/** Archives that a kernel unpacks into RAM: the one that every boot has, and a second one with files of ours behind it. */

import { spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { METER_NODE_FLAGS } from '#hw/meter-flags';
import { ARMEL } from './armel.ts';
import type { Medium } from './rig.ts';
import { BOARD_ADDRESS, firmwareToml, type World } from './world.ts';

/** QEMU wants a power of two. */
const STATE_MB = 64;
/** The chip's waits 15 s; an emulated board that shares its processor may hold up the meter for longer. */
const WATCHDOG_S = 30;
/** The chip's three buses, of which the emulator has none, come before the adapter's. */
const DISPLAY = 'driver = "i2ctransfer"\nbus = 3';
const WATCHDOG_TOML = `[watchdog]\ndriver = "device"\ndevice = "/dev/watchdog1"\n`;
/** Modules of an ext4 file system in the order in which they are loaded. */
export const EXT4_MODULES = ['crc32c_generic', 'crc16', 'mbcache', 'jbd2', 'ext4'];
const BOARD_MODULES = ['softdog', 'i2c-dev', 'i2c-tiny-usb', 'regmap-i2c', 'rtc-ds1307'];
/** With the folders of file system tools. */
export const ENVIRONMENT = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

export interface ArchiveFile {
  readonly path: string;
  readonly mode: number;
  readonly bytes: Uint8Array | string;
}

const boardSettings = (): string => [`ADDRESS=${BOARD_ADDRESS}/24`, `WATCHDOG_S=${WATCHDOG_S}`, ''].join('\n');

/** A module of the board's kernel, not compressed. */
export function kernelModule(name: string): Uint8Array {
  const modules = join(ARMEL, 'modules');
  const path = readdirSync(modules, { recursive: true, encoding: 'utf8' }).find((file) =>
    file.endsWith(`/${name}.ko.xz`),
  );
  if (path === undefined) throw new Error(`this kernel has no module ${name}`);
  const { status, stdout, stderr } = spawnSync('xz', ['-dc', join(modules, path)], { maxBuffer: 16 << 20 });
  if (status !== 0) throw new Error(`xz ${path}: ${stderr}`);
  return stdout;
}

/** Writes a newc archive, all of root. @returns its path */
export function writeArchive(folder: string, files: readonly ArchiveFile[]): string {
  const tree = join(folder, 'archive');
  for (const { path, mode, bytes } of files) {
    const file = join(tree, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, bytes);
    chmodSync(file, mode);
  }
  const list = spawnSync('find', ['.'], { cwd: tree });
  const words = ['-o', '-H', 'newc', '--quiet', '-R', '0:0'];
  const archive = spawnSync('cpio', words, { cwd: tree, input: list.stdout, maxBuffer: 64 << 20 });
  if (archive.status !== 0) throw new Error(`cpio: ${archive.stderr}`);
  writeFileSync(`${tree}.cpio`, archive.stdout);
  return `${tree}.cpio`;
}

/** A board whose system is in RAM and whose card holds the meter's state: busybox init starts the meter. @param guest  files of its init, in the project */
export function ramMedium(guest: string, bundles: string): (folder: string, world: World) => Medium {
  return (folder, { keys, topology }) => {
    const text = (path: string, bytes: Uint8Array | string, mode = 0o644): ArchiveFile => ({ path, mode, bytes });
    const program = (name: string, path: string) => text(path, readFileSync(join(guest, name)), 0o755);
    const key = (name: string) => text(`etc/s3mp/keys/${name}`, readFileSync(join(keys, name)), 0o600);
    const own = writeArchive(folder, [
      program('init', 'init'),
      program('boot', 'etc/boot'),
      program('watch', 'etc/watch'),
      program('run', 'opt/s3mp/run'),
      program('freeze', 'www/cgi-bin/freeze'),
      ...[...EXT4_MODULES, ...BOARD_MODULES].map((name) => text(`usr/lib/modules/${name}.ko`, kernelModule(name))),
      text('etc/inittab', readFileSync(join(guest, 'inittab'))),
      text('etc/board.conf', boardSettings()),
      text('etc/s3mp/firmware.toml', `${firmwareToml(DISPLAY)}${WATCHDOG_TOML}`),
      text('etc/s3mp/topology.json', readFileSync(topology)),
      ...['dlms.toml', 'command.pem', 'password.txt'].map(key),
      text('opt/s3mp/firmware.js', readFileSync(join(bundles, 'firmware.js'))),
      text('opt/s3mp/node-flags', `${METER_NODE_FLAGS.join(' ')}\n`),
    ]);
    const initramfs = join(folder, 'initramfs.cpio');
    copyFileSync(join(ARMEL, 'boot', 'initramfs.cpio'), initramfs);
    appendFileSync(initramfs, readFileSync(own));
    const card = join(folder, 'state.img');
    writeFileSync(card, '');
    truncateSync(card, STATE_MB << 20);
    const made = spawnSync('mkfs.ext4', ['-q', card], { env: ENVIRONMENT, encoding: 'utf8' });
    if (made.status !== 0) throw new Error(`mkfs.ext4: ${made.stderr}`);
    return { initramfs, card, whenHung: 'reset', hasPanel: true, words: () => 'quiet printk.devkmsg=on rdinit=/init' };
  };
}
