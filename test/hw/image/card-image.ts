/** Images like Raspberry Pi OS's, made with foreign tools and read back with them: sfdisk, mkfs, mtools, debugfs. */

import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { commandWorks, needs } from '../../needs.ts';

export const ROOT = join(__dirname, '..', '..', '..', '..');
export const ENVIRONMENT = {
  ...process.env,
  PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`,
  LC_ALL: 'C',
  MTOOLS_SKIP_CHECK: '1',
};

const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, {
    env: ENVIRONMENT,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    stdio: ['ignore', 'pipe', 'pipe'],
  });

const works = (command: string, ...args: string[]) => commandWorks('env', `PATH=${ENVIRONMENT.PATH}`, command, ...args);

export const hasFatTools = needs(
  'mtools',
  works('mtools', '-V') && works('sh', '-c', 'command -v mkfs.vfat && command -v fsck.vfat'),
  'install mtools and dosfstools to check the SD card writer against them',
);
export const hasExtTools = needs(
  'e2fsprogs',
  works('debugfs', '-V') && works('sh', '-c', 'command -v mkfs.ext4 && command -v sfdisk'),
  'install e2fsprogs and fdisk to check whole SD card images',
);

const MB = 1 << 20;
export const BOOT_AT = 4 * MB;
/** The smallest that mtools takes for FAT32. */
const BOOT_MB = 36;
export const ROOT_AT = BOOT_AT + BOOT_MB * MB;
export const CONFIG = '# For more options see the documentation\ndtparam=audio=on\n\n[all]\n';
export const CMDLINE =
  'console=serial0,115200 console=tty1 root=PARTUUID=deadbeef-02 rootfstype=ext4 fsck.repair=yes rootwait\n';

/** A FAT32 file system of its own, with files, as mkfs.vfat and mcopy make it. */
export function makeFat(file: string, mb: number, files: Readonly<Record<string, string>>, clusterSectors = 1): void {
  writeFileSync(file, '');
  truncateSync(file, mb * MB);
  run('mkfs.vfat', '-F', '32', '-s', String(clusterSectors), '-n', 'bootfs', file);
  for (const [name, content] of Object.entries(files)) {
    const source = `${file}.part`;
    writeFileSync(source, content);
    run('mcopy', '-o', '-i', file, source, `::${name}`);
  }
}

export interface ImageOptions {
  readonly files?: Readonly<Record<string, string>>;
  readonly bootMb?: number;
  readonly rootMb?: number;
}

/** MBR, FAT32 and ext4 in one file, as a fresh Raspberry Pi OS image has them. */
export function makeImage(folder: string, { files = {}, bootMb = BOOT_MB, rootMb = 16 }: ImageOptions = {}): string {
  const image = join(folder, 'card.img');
  const fat = join(folder, 'fat.part');
  makeFat(fat, bootMb, { 'config.txt': CONFIG, 'cmdline.txt': CMDLINE, ...files });
  const tree = join(folder, 'tree');
  for (const dir of ['etc/systemd/system/multi-user.target.wants', 'opt', 'usr/bin', 'var/lib'])
    mkdirSync(join(tree, dir), { recursive: true });
  writeFileSync(join(tree, 'etc/fstab'), 'PARTUUID=deadbeef-02 / ext4 defaults,noatime 0 1\n');
  const ext = join(folder, 'ext.part');
  writeFileSync(ext, '');
  truncateSync(ext, rootMb * MB);
  run('mkfs.ext4', '-q', '-d', tree, '-E', 'root_owner=0:0', '-L', 'rootfs', ext);
  writeFileSync(image, '');
  truncateSync(image, BOOT_AT + (bootMb + rootMb) * MB);
  const table = `label: dos\nlabel-id: 0xdeadbeef\n${BOOT_AT / 512},${bootMb * 2048},c\n${BOOT_AT / 512 + bootMb * 2048},${rootMb * 2048},83\n`;
  execFileSync('sfdisk', ['-q', image], { env: ENVIRONMENT, input: table, stdio: ['pipe', 'ignore', 'ignore'] });
  pour(fat, image, BOOT_AT);
  pour(ext, image, BOOT_AT + bootMb * MB);
  return image;
}

/** Copies a file into another at an offset. */
export function pour(from: string, to: string, offset: number): void {
  const bytes = readFileSync(from);
  const descriptor = openSync(to, 'r+');
  writeSync(descriptor, bytes, 0, bytes.length, offset);
  closeSync(descriptor);
}

/** A partition as a file of its own, for tools that take no offset. */
export function cut(image: string, offset: number, size: number, to: string): string {
  const bytes = new Uint8Array(size);
  const descriptor = openSync(image, 'r');
  readSync(descriptor, bytes, 0, size, offset);
  closeSync(descriptor);
  writeFileSync(to, bytes);
  return to;
}

/** A file of the boot partition, read by mtools. @returns undefined when mtools finds none */
export function readBoot(image: string, path: string, offset = BOOT_AT): Uint8Array | undefined {
  const { status, stdout } = spawnSync('mtype', ['-i', `${image}@@${offset}`, `::${path}`], {
    env: ENVIRONMENT,
    maxBuffer: 64 << 20,
  });
  return status === 0 ? stdout : undefined;
}

export function readBootText(image: string, path: string, offset = BOOT_AT): string {
  return Buffer.from(readBoot(image, path, offset) ?? '').toString('utf8');
}

/** One command of debugfs on the root partition. */
export function debugfs(image: string, command: string, bootMb = BOOT_MB): string {
  const place = `${image}?offset=${BOOT_AT + bootMb * MB}`;
  return run('debugfs', '-R', command, place);
}

/** fsck.vfat and e2fsck, which change nothing. @returns what they find wrong, '' for nothing */
export function faults(image: string, bootMb = BOOT_MB): string {
  const fat = cut(image, BOOT_AT, bootMb * MB, `${image}.fat`);
  const checks = [
    spawnSync('fsck.vfat', ['-n', fat], { env: ENVIRONMENT, encoding: 'utf8' }),
    spawnSync('e2fsck', ['-f', '-n', `${image}?offset=${BOOT_AT + bootMb * MB}`], {
      env: ENVIRONMENT,
      encoding: 'utf8',
    }),
  ];
  return checks.map(({ status, stdout }) => (status === 0 ? '' : stdout)).join('');
}

export const hashOf = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex');

/**
 * An archive laid out like Node's own. Its program is a real ARM file, the serial driver for that processor; nothing here
 * runs it.
 */
export function makeNodeArchive(
  folder: string,
  { processor = 'armv6', version = '22.20.0' }: { processor?: string; version?: string } = {},
): string {
  const name = `node-v${version}-linux-${processor}`;
  const inside = join(folder, name);
  const driver = join(ROOT, `dist/prebuilds/linux-arm/@serialport+bindings-cpp.${processor}.glibc.node`);
  for (const dir of ['bin', 'include/node', 'lib']) mkdirSync(join(inside, dir), { recursive: true });
  copyFileSync(driver, join(inside, 'bin/node'));
  writeFileSync(join(inside, 'LICENSE'), 'Node.js is licensed for use as follows\n');
  const [major, minor, patch] = version.split('.');
  writeFileSync(
    join(inside, 'include/node/node_version.h'),
    `#define NODE_MAJOR_VERSION ${major}\n#define NODE_MINOR_VERSION ${minor}\n#define NODE_PATCH_VERSION ${patch}\n`,
  );
  const archive = join(folder, `${name}.tar.gz`);
  run('tar', '-czf', archive, '-C', dirname(inside), name);
  return archive;
}

/** Runs the built tool. */
export function flash(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'dist/flash.js'), ...args], {
    encoding: 'utf8',
    env: ENVIRONMENT,
  });
  return { status, stdout, stderr };
}
