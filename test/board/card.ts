/**
 * An SD card image as Raspberry Pi OS has them (boot partition with kernel and command line, ext4 root with systemd), made
 * from Debian's armel packages, then flashed with the project's own tool like a bought one. The emulator has no boot
 * loader of the Pi: the kernel's command line is taken from the boot partition and given to it.
 */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ARMEL } from './armel.ts';
import { ENVIRONMENT, EXT4_MODULES, kernelModule, writeArchive } from './initramfs.ts';
import type { Medium, Say } from './rig.ts';
import { BOARD_ADDRESS, firmwareToml, type World } from './world.ts';

const MB = 1 << 20;
const CARD_MODULES = ['softdog', 'i2c-tiny-usb', 'regmap-i2c', 'rtc-ds1307'];
/** QEMU wants a power of two. */
const CARD_MB = 512;
const BOOT_AT_MB = 4;
const BOOT_MB = 40;
const ROOT_MB = 384;
const STATE_MB = 64;
const UNITS = '/usr/lib/systemd/system';

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, {
    env: { ...ENVIRONMENT, MTOOLS_SKIP_CHECK: '1' },
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** A board with a flashed card: systemd starts the installed unit. @param bundles  folder of flash.js */
export function cardMedium(guest: string, bundles: string, say: Say): (folder: string, world: World) => Medium {
  return (folder, world) => {
    const card = makeCard(folder, guest);
    const config = join(folder, 'meter.toml');
    writeFileSync(config, firmwareToml('driver = "sim"\npath = "/run/s3mp-meter"'));
    const words = ['--image', card, '--node', 'apt', '--config', config, '--topology', world.topology];
    const flash = (): string =>
      run(process.execPath, join(bundles, 'flash.js'), ...words, '--keys', world.keys, '--state-mb', String(STATE_MB));
    say('flash', lastLine(flash()));
    say('flash', `again: ${lastLine(flash())}`);

    const modules = [...EXT4_MODULES, ...CARD_MODULES].map((name) => ({
      path: `modules/${name}.ko`,
      mode: 0o644,
      bytes: kernelModule(name),
    }));
    const initramfs = writeArchive(folder, [
      { path: 'init', mode: 0o755, bytes: readFileSync(join(guest, 'init-card')) },
      { path: 'bin/busybox', mode: 0o755, bytes: readFileSync(join(ARMEL, 'busybox')) },
      ...modules,
    ]);
    // Through the kernel's log, like the other medium's: see guest/boot.
    const shown = [
      'loglevel=7 printk.devkmsg=on',
      'systemd.journald.forward_to_kmsg=1 systemd.journald.max_level_kmsg=info',
      'systemd.show_status=0 systemd.getty_auto=no',
      // The chip's own, watchdog0, resets at once in the emulator when it is armed; systemd feeds the kernel's softdog.
      'systemd.watchdog_device=/dev/watchdog1',
    ].join(' ');
    return {
      card,
      initramfs,
      whenHung: 'restart',
      words() {
        const cmdline = run('mtype', '-i', `${card}@@${BOOT_AT_MB * MB}`, '::cmdline.txt').trim();
        say('card', `cmdline.txt: ${cmdline}`);
        return `${cmdline} rdinit=/init ${shown}`;
      },
      fingerprint() {
        const root = ['bs=1M', `skip=${BOOT_AT_MB + BOOT_MB}`, `count=${ROOT_MB}`, 'status=none'];
        return createHash('sha256')
          .update(execFileSync('dd', [`if=${card}`, ...root], { maxBuffer: CARD_MB * MB }))
          .digest('hex');
      },
    };
  };
}

const lastLine = (text: string) => text.trim().split('\n').at(-1)!;

function makeCard(folder: string, guest: string): string {
  const boot = join(folder, 'boot.img');
  sized(boot, BOOT_MB);
  run('mkfs.vfat', '-F', '32', '-s', '1', '-n', 'bootfs', boot);
  const part = join(folder, 'part');
  const put = (name: string, content: string | Uint8Array) => {
    writeFileSync(part, content);
    run('mcopy', '-o', '-i', boot, part, `::${name}`);
  };
  put('config.txt', '[all]\n');
  put('cmdline.txt', 'console=serial0,115200 console=tty1 root=/dev/mmcblk0p2 rootfstype=ext4 rootwait\n');
  for (const name of ['kernel.img', 'bcm2835-rpi-zero.dtb']) put(name, readFileSync(join(ARMEL, 'boot', name)));

  const root = join(folder, 'root.img');
  sized(root, ROOT_MB);
  run('mkfs.ext4', '-q', '-d', makeRoot(folder, guest), '-E', 'root_owner=0:0', '-L', 'rootfs', root);

  const card = join(folder, 'card.img');
  sized(card, CARD_MB);
  const sectors = (mb: number) => mb * 2048;
  const table = [
    'label: dos',
    `${sectors(BOOT_AT_MB)},${sectors(BOOT_MB)},c`,
    `${sectors(BOOT_AT_MB + BOOT_MB)},${sectors(ROOT_MB)},83`,
  ];
  const input = `${table.join('\n')}\n`;
  execFileSync('sfdisk', ['-q', card], { env: ENVIRONMENT, input, stdio: ['pipe', 'ignore', 'ignore'] });
  pour(boot, card, BOOT_AT_MB);
  pour(root, card, BOOT_AT_MB + BOOT_MB);
  return card;
}

function sized(file: string, mb: number): void {
  writeFileSync(file, '');
  truncateSync(file, mb * MB);
}

function pour(from: string, to: string, atMb: number): void {
  run('dd', `if=${from}`, `of=${to}`, 'bs=1M', `seek=${atMb}`, 'conv=notrunc,sparse', 'status=none');
}

/** Debian's packages unpacked, with the few files that their installation would have made. */
function makeRoot(folder: string, guest: string): string {
  const root = join(folder, 'root');
  // Links to the same files: nothing in them is changed.
  run('cp', '-al', join(ARMEL, 'system'), root);
  const place = (path: string) => {
    const file = join(root, path);
    mkdirSync(dirname(file), { recursive: true });
    return file;
  };
  const text = (path: string, content: string) => writeFileSync(place(path), content);
  const link = (path: string, target: string) => symlinkSync(target, place(path));
  text('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n');
  text('etc/group', 'root:x:0:\n');
  text('etc/hostname', 'zero\n');
  text('etc/machine-id', '5900000000000000000000000000005a\n');
  text(
    'etc/fstab',
    '/dev/mmcblk0p2 / ext4 defaults,noatime 0 1\n/dev/mmcblk0p1 /boot/firmware vfat defaults,nofail 0 2\n',
  );
  text('etc/systemd/network/10-lan.network', `[Match]\nName=usb0 enx* eth0\n[Network]\nAddress=${BOARD_ADDRESS}/24\n`);
  link('etc/systemd/system/multi-user.target.wants/systemd-networkd.service', `${UNITS}/systemd-networkd.service`);
  link('etc/systemd/system/default.target', `${UNITS}/multi-user.target`);
  // Asked for over the network, the meter's process stops as one that hangs: see guest/freeze-card.
  text(
    'etc/systemd/system/freeze.service',
    '[Service]\nExecStart=socat TCP-LISTEN:80,reuseaddr,fork EXEC:/opt/freeze\n',
  );
  link('etc/systemd/system/multi-user.target.wants/freeze.service', '/etc/systemd/system/freeze.service');
  text('opt/freeze', readFileSync(join(guest, 'freeze-card'), 'utf8'));
  chmodSync(place('opt/freeze'), 0o755);
  // What wants D-Bus, a person, all of the network, or a package that is not here.
  for (const unit of ['systemd-logind', 'e2scrub_reap', 'systemd-networkd-wait-online', 'ldconfig', 'getty-static'])
    link(`etc/systemd/system/${unit}.service`, '/dev/null');
  for (const folder of ['boot/firmware', 'mnt', 'media', 'opt', 'srv'])
    mkdirSync(join(root, folder), { recursive: true });
  // Without a clock systemd begins with the time of this file.
  const now = new Date();
  text('usr/lib/clock-epoch', '');
  utimesSync(place('usr/lib/clock-epoch'), now, now);
  return root;
}
