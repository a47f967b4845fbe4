/** Archives that a kernel unpacks into RAM: the one that every boot has, and a second one with files of ours behind it. */

import { spawnSync } from 'node:child_process';
import { appendFileSync, chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { METER_NODE_FLAGS } from '#hw/meter-flags';
import { ARMEL } from './armel.ts';
import type { Medium } from './rig.ts';
import { BOARD_ADDRESS, FIRMWARE_TOML, type World } from './world.ts';

export interface ArchiveFile {
  readonly path: string;
  readonly mode: number;
  readonly bytes: Uint8Array | string;
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

/** A board without a card: busybox init starts the meter. @param guest  files of its init, in the project */
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
      text('etc/inittab', readFileSync(join(guest, 'inittab'))),
      text('etc/board.conf', `ADDRESS=${BOARD_ADDRESS}/24\nLAST_TIME=${Math.floor(Date.now() / 1000)}\n`),
      text('etc/s3mp/firmware.toml', FIRMWARE_TOML),
      text('etc/s3mp/topology.json', readFileSync(topology)),
      ...['dlms.toml', 'command.pem', 'password.txt'].map(key),
      text('opt/s3mp/firmware.js', readFileSync(join(bundles, 'firmware.js'))),
      text('opt/s3mp/node-flags', `${METER_NODE_FLAGS.join(' ')}\n`),
    ]);
    const initramfs = join(folder, 'initramfs.cpio');
    copyFileSync(join(ARMEL, 'boot', 'initramfs.cpio'), initramfs);
    appendFileSync(initramfs, readFileSync(own));
    return { initramfs, words: () => 'quiet printk.devkmsg=on rdinit=/init' };
  };
}
