/**
 * Node 20 of Debian's armel packages on an emulated ARM1176, the CPU of a Pi Zero (ARMv6, VFPv2). The tree is made by
 * armel.sh; S3MP_ARMEL names its folder, which is in the user's cache when it does not. It is the soft-float Node: serialport's hard-float ARMv6 driver cannot load into
 * it, so the meter takes its driver without an addon.
 */

import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandWorks } from '#test/needs';

const cache = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
export const ARMEL = process.env.S3MP_ARMEL || join(cache, 's3mp-armel');
export const ARMEL_HINT = `apt-get install qemu-user-static; test/board/armel.sh ${ARMEL}`;
/** The whole board takes minutes and 60 MB of packages, so it runs when it is asked for. */
export const wantsBoard = process.env.S3MP_BOARD === '1';
export const BOARD_HINT = `S3MP_BOARD=1 runs it, or npm run board; it needs: apt-get install qemu-system-arm device-tree-compiler cpio xz-utils e2fsprogs; test/board/armel.sh ${ARMEL} kernel`;

/** Whether `armel.sh` has made a part: `node`, `kernel` or `systemd`. */
export const hasArmel = (part: string): boolean => existsSync(join(ARMEL, `${part}.done`));

export const hasEmulatedNode = (): boolean => hasArmel('node') && commandWorks('qemu-arm-static', '--version');

/** Whether a board can be emulated: the emulator, its kernel, and what its initramfs, device tree and card are made with. */
export const hasEmulatedBoard = (): boolean =>
  hasArmel('kernel') &&
  commandWorks('qemu-system-arm', '--version') &&
  commandWorks('fdtput', '-V') &&
  commandWorks('cpio', '--version') &&
  commandWorks('xz', '--version') &&
  existsSync('/usr/sbin/mkfs.ext4');

/**
 * Writes a program that stands for `node` on that CPU: programs that it starts are this machine's own.
 * @param folder  where it is written
 * @returns its path
 */
export function writeEmulatedNode(folder = mkdtempSync(join(tmpdir(), 's3mp-armel-'))): string {
  const root = join(ARMEL, 'root');
  const libraries = join(root, 'usr', 'lib', 'arm-linux-gnueabi');
  const file = join(folder, 'node');
  const command = `qemu-arm-static -cpu arm1176 -L '${root}' -E LD_LIBRARY_PATH='${libraries}' '${root}/usr/bin/node'`;
  writeFileSync(file, `#!/bin/sh\nexec ${command} "$@"\n`);
  chmodSync(file, 0o755);
  return file;
}

/** Ends a program that hangs; the emulator takes tens of times what the processor takes, and others run beside it. */
const EMULATED_LIMIT_MS = 300_000;

export interface Finished {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a script on the emulated CPU to its end. */
export function runEmulated(node: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Finished {
  const { status, stdout, stderr } = spawnSync(node, args, {
    encoding: 'utf8',
    timeout: EMULATED_LIMIT_MS,
    env: { ...process.env, ...env },
  });
  return { status, stdout, stderr };
}
