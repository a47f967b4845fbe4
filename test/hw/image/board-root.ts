/**
 * A root of a board's own for its shell scripts: a tree on a RAM disk, in namespaces for mounts and processes, with the
 * machine's programs below /usr and stand-ins for those that would talk to systemd and udev. What the scripts mount,
 * format and remount is theirs alone. Needs root, or user namespaces.
 */

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { commandWorks, needs } from '../../needs.ts';

export const isRoot = process.getuid?.() === 0;
const UNSHARE = ['-m', '-p', '--fork', ...(isRoot ? [] : ['-r'])];

export const hasNamespaces = needs(
  'namespaces',
  commandWorks('unshare', ...UNSHARE, 'mount', '-t', 'tmpfs', 'probe', '/mnt'),
  "run as root, or allow user namespaces, to run the board's scripts in a root of their own",
);
export const hasLoopDevices = needs(
  'loop',
  isRoot && commandWorks('losetup', '-f'),
  'run as root, with loop devices, to format a state partition',
);

/** Everything up to the program that runs in the root. $1 tree, $2 kernel command line, $3 programs to hide */
const ENTER = `
set -e
tree=$1 cmdline=$2 hidden=$3 root=$1.mnt
shift 3
mkdir -p "$root"
mount -t tmpfs -o mode=0755 board "$root"
cp -a "$tree/." "$root"
mount --bind "$tree/dev" "$root/dev"
touch "$root/dev/null" "$root/dev/zero"
mount --bind /dev/null "$root/dev/null"
mount --bind /dev/zero "$root/dev/zero"
for loop in /dev/loop[0-9]*; do
  [ -b "$loop" ] || continue
  touch "$root$loop"
  mount --bind "$loop" "$root$loop"
done
mount -t proc proc "$root/proc"
mount --bind "$cmdline" "$root/proc/cmdline"
`;
/** Runs beside the root, and brings back what has become of it. */
const BESIDE = `${ENTER}
mount --rbind /usr "$root/usr"
for name in $hidden; do [ ! -e "$root/usr/bin/$name" ] || mount --bind /dev/null "$root/usr/bin/$name"; done
set +e
chroot "$root" /usr/bin/env -i PATH=/stub:/usr/sbin:/usr/bin:/sbin:/bin "$@"
status=$?
cat "$root/proc/mounts" | sed "s#$root##" >"$tree/dev/mounts"
for part in boot etc opt run var; do rm -rf "$tree/$part" && cp -ax "$root/$part" "$tree/$part"; done
exit $status`;
/** Runs in place of init, as the kernel starts it. Its programs lie in the root itself: other mounts are not below an overlay. */
const AS_INIT = `${ENTER}
mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/lib32" "$root/usr/lib64"
for name in cat chroot env grep ls mkdir modprobe mount mountpoint pivot_root rmdir sed sh umount; do
  program=$(command -v "$name") || continue
  cp -L "$program" "$root/usr/bin/$name"
  for library in $(ldd "$program" | grep -o '/[^ )]*'); do
    mkdir -p "$root/$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
done
mount -t sysfs sysfs "$root/sys" || mount -t tmpfs sysfs "$root/sys"
mount -t tmpfs run "$root/run"
mkdir "$root/old"
cd "$root"
pivot_root . old
umount -l /old
rmdir /old
exec /usr/bin/env -i PATH=/stub:/usr/sbin:/usr/bin:/sbin:/bin "$@"`;

export interface Ended {
  readonly status: number | null;
  readonly out: string;
}

export class BoardRoot {
  readonly tree: string;
  /** What the kernel was started with. */
  cmdline = 'console=tty1 root=/dev/mmcblk0p2 rootwait';
  /** Programs of the machine that this board does not have. */
  hidden: readonly string[] = [];

  /** @param tree  a folder that does not exist */
  constructor(tree: string) {
    this.tree = tree;
    for (const folder of [
      'boot/firmware',
      'dev',
      'etc',
      'mnt',
      'opt',
      'proc',
      'run',
      'sbin',
      'stub',
      'sys',
      'tmp',
      'usr',
      'var/lib',
    ])
      mkdirSync(join(tree, folder), { recursive: true });
    for (const name of ['bin', 'lib', 'lib32', 'lib64'])
      if (existsSync(`/${name}`) && lstatSync(`/${name}`).isSymbolicLink())
        symlinkSync(readlinkSync(`/${name}`), join(tree, name));
    this.write('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n');
    this.write('etc/group', 'root:x:0:\n');
    this.write(
      'etc/fstab',
      '/dev/mmcblk0p2 / ext4 defaults,noatime 0 1\n/dev/mmcblk0p1 /boot/firmware vfat defaults 0 2\n',
    );
  }

  path(name: string): string {
    return join(this.tree, name);
  }

  write(name: string, text: string, mode = 0o644): void {
    mkdirSync(dirname(this.path(name)), { recursive: true });
    writeFileSync(this.path(name), text);
    chmodSync(this.path(name), mode);
  }

  read(name: string): string {
    return readFileSync(this.path(name), 'utf8');
  }

  /** A stand-in for a program: its calls are kept, then it does what the shell script says. */
  stub(name: string, script = '', folder = 'stub'): void {
    this.write(`${folder}/${name}`, `#!/bin/sh\necho "${name} $*" >>/dev/calls\n${script}\n`, 0o755);
  }

  /** Calls of stand-ins since the last look. */
  calls(): string[] {
    const file = this.path('dev/calls');
    const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
    rmSync(file, { force: true });
    return lines;
  }

  /** Mounts at the end of the last run, `device place type options`. */
  mounts(): string[] {
    return this.read('dev/mounts').split('\n');
  }

  run(...words: readonly string[]): Ended {
    return this.#enter(BESIDE, words);
  }

  /** Runs a script as process 1. */
  boot(...words: readonly string[]): Ended {
    return this.#enter(AS_INIT, words);
  }

  #enter(script: string, words: readonly string[]): Ended {
    writeFileSync(`${this.tree}.cmdline`, `${this.cmdline}\n`);
    const args = [...UNSHARE, 'sh', '-c', script, 'sh', this.tree, `${this.tree}.cmdline`, this.hidden.join(' ')];
    const { status, stdout, stderr } = spawnSync('unshare', [...args, ...words], { encoding: 'utf8', timeout: 60_000 });
    return { status, out: stdout + stderr };
  }
}
