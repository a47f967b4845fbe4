/** The scripts of the board, run in a root of their own: installation, set-up, read-only root, and what starts the meter. */

import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { BUILD_ADDONS, OVERLAY_INIT, STATE_LABEL, setupScript } from '#hw/image/scripts';
import { runScript, SYSUSERS } from '#hw/image/units';
import { METER_NODE_FLAGS } from '#hw/meter-flags';
import { BoardRoot, hasLoopDevices, hasNamespaces, isRoot } from './board-root.ts';
import { CMDLINE, CONFIG, flash, hashOf, ROOT } from './card-image.ts';
import { cardParts } from './card-parts.ts';

const Scripts = suite('scripts of the board');
const folder = mkdtempSync(join(tmpdir(), 's3mp-scripts-'));
Scripts.after(() => rmSync(folder, { recursive: true, force: true }));

const { keys, meter } = cardParts(folder);
const INSTALL = '/boot/firmware/s3mp/install.sh';
const KEY = 'etc/s3mp/keys/dlms.toml';
let boards = 0;

function newBoard(): BoardRoot {
  const board = new BoardRoot(join(folder, `board-${++boards}`));
  for (const name of ['systemctl', 'udevadm', 'swapoff']) board.stub(name);
  return board;
}

/** A board whose boot partition was flashed, and which starts with what is written there. */
function flashedBoard(files: Readonly<Record<string, string>> = {}): BoardRoot {
  const board = newBoard();
  for (const [name, content] of Object.entries({ 'config.txt': CONFIG, 'cmdline.txt': CMDLINE, ...files }))
    board.write(`boot/firmware/${name}`, content);
  const { status, stderr } = flash('--boot', board.path('boot/firmware'), ...meter, '--keys', keys);
  assert.is(status, 0, stderr);
  board.cmdline = board.read('boot/firmware/cmdline.txt').trim();
  return board;
}

if (hasNamespaces) {
  Scripts('systemd.run installs everything, is gone afterwards, and leaves no key on the boot partition', () => {
    const board = flashedBoard({ 'user-data': '#cloud-config\n' });
    assert.match(board.cmdline, ` systemd.run=${INSTALL} `);
    // FAT gives every file the right to run.
    const { status, out } = board.run('sh', INSTALL);
    assert.is(status, 0, out);
    const mode = (path: string) => (statSync(board.path(path)).mode & 0o7777).toString(8);
    assert.equal(['opt/s3mp/bin/node', 'etc/s3mp/keys', KEY].map(mode), ['755', '700', '600']);
    assert.is(hashOf(board.path('opt/s3mp/firmware.js')), hashOf(join(ROOT, 'dist/firmware.js')));
    assert.not.ok(existsSync(board.path(`boot/firmware/s3mp/root/${KEY}`)));
    const console = CMDLINE.replace('console=serial0,115200 ', '');
    assert.is(board.read('boot/firmware/cmdline.txt'), console, 'everything else stays');
    assert.equal(board.calls(), [], 'systemd starts the board again by itself');

    // By hand, later: nothing is lost, and the services start.
    board.cmdline = console.trim();
    assert.is(board.run('sh', INSTALL).status, 0);
    assert.ok(existsSync(board.path(KEY)));
    assert.equal(board.calls(), [
      'systemctl daemon-reload',
      'udevadm control --reload',
      'systemctl --no-block start multi-user.target',
    ]);
  });

  Scripts('an installation that fails lets the board start with what it has, and says why on the card', () => {
    const board = flashedBoard();
    board.write('opt/s3mp/launcher.js', 'the one before');
    board.write('boot/firmware/s3mp/root/opt/s3mp/launcher.js', 'damaged');
    const { status, out } = board.run('sh', INSTALL);
    assert.is(status, 0, `systemd would turn the board off: ${out}`);
    assert.match(out, /launcher\.js is damaged/);
    assert.match(board.read('boot/firmware/s3mp/failed.txt'), '/opt/s3mp/launcher.js is damaged: flash the card again');
    assert.is(board.read('opt/s3mp/launcher.js'), 'the one before');
    assert.not.match(board.read('boot/firmware/cmdline.txt'), /systemd\.(run|unit)/);
    board.cmdline = board.read('boot/firmware/cmdline.txt').trim();
    assert.is(board.run('sh', INSTALL).status, 1, 'by hand');
    board.write('boot/firmware/s3mp/root/opt/s3mp/launcher.js', readFileSync(join(ROOT, 'dist/launcher.js'), 'utf8'));
    assert.is(board.run('sh', INSTALL).status, 0, 'mended');
    assert.not.ok(existsSync(board.path('boot/firmware/s3mp/failed.txt')));
  });

  Scripts("the imager's own first script goes on behind the installation, whatever becomes of that", () => {
    const own = [
      '#!/bin/bash',
      'set +e',
      'echo meter7 >/etc/hostname',
      'rm -f /boot/firmware/firstrun.sh',
      "sed -i 's| systemd.run.*||g' /boot/firmware/cmdline.txt",
      'exit 0',
    ];
    const hook = 'systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot';
    for (const isDamaged of [false, true]) {
      const board = flashedBoard({
        'cmdline.txt': `${CMDLINE.trim()} ${hook} systemd.unit=kernel-command-line.target\n`,
        'firstrun.sh': `${own.join('\n')}\n`,
      });
      if (isDamaged) board.write('boot/firmware/s3mp/root/opt/s3mp/launcher.js', 'damaged');
      const { status, out } = board.run('bash', '/boot/firmware/firstrun.sh');
      assert.is(status, 0, out);
      assert.is(board.read('etc/hostname'), 'meter7\n');
      assert.not.match(board.read('boot/firmware/cmdline.txt'), /systemd\.run/);
      assert.is(existsSync(board.path('etc/s3mp/manifest.json')), !isDamaged);
      assert.is(existsSync(board.path('boot/firmware/s3mp/failed.txt')), isDamaged);
      assert.equal(board.calls(), []);
    }
  });

  Scripts('keys that are there stay without --rekey, and lists that are not understood install nothing', () => {
    const board = flashedBoard();
    board.write(KEY, 'of this meter', 0o600);
    assert.is(board.run('sh', INSTALL).status, 0);
    assert.is(board.read(KEY), 'of this meter');
    const again = flashedBoard();
    again.write(KEY, 'of this meter', 0o600);
    again.write('boot/firmware/s3mp/rekey', '');
    assert.is(again.run('sh', INSTALL).status, 0);
    assert.match(again.read(KEY), 'unicast');
    assert.not.ok(existsSync(again.path('boot/firmware/s3mp/rekey')));
    again.cmdline = 'console=tty1';
    again.write('boot/firmware/s3mp/files.txt', 'x 0644 what /is/this\n');
    const { status, out } = again.run('sh', INSTALL);
    assert.is(status, 1);
    assert.match(out, /a line that is not understood/);
  });

  /** A board with the set-up script and what that needs. */
  const setUpBoard = (version = 257): BoardRoot => {
    const board = newBoard();
    board.stub('systemctl', `[ "$1" != --version ] || echo "systemd ${version} (${version}.1-1)"`);
    board.stub('findmnt', 'echo /dev/mmcblk0p2');
    board.write('opt/s3mp/bin/setup', setupScript('firmware', false), 0o755);
    board.write('opt/s3mp/firmware.js', 'NOTIFY_SOCKET');
    board.write('etc/sysusers.d/s3mp.conf', SYSUSERS);
    board.write('etc/s3mp/keys/dlms.toml', 'keys', 0o644);
    board.write('boot/firmware/cmdline.txt', CMDLINE);
    return board;
  };
  const DROP_IN = 'run/systemd/system/s3mp-meter.service.d/10-notify.conf';

  Scripts(
    'the set-up makes the user, closes the keys and asks for a watchdog where something carries its sign of life',
    () => {
      for (const [hidden, version, isWatched] of [
        [[], 252, spawnSync('sh', ['-c', 'command -v socat']).status === 0],
        [['socat'], 252, false],
        [['socat'], 254, true],
      ] as const) {
        const board = setUpBoard(version);
        board.hidden = hidden;
        const { status, out } = board.run('sh', '/opt/s3mp/bin/setup');
        assert.is(status, 0, out);
        assert.is(existsSync(board.path(DROP_IN)), isWatched, out);
        if (isWatched) assert.match(board.read(DROP_IN), 'Type=notify\nNotifyAccess=all\nWatchdogSec=30\n');
        const user = /^s3mp:x:(\d+):/m.exec(board.read('etc/passwd'))?.[1];
        const { mode, uid } = statSync(board.path('etc/s3mp/keys/dlms.toml'));
        assert.is((mode & 0o777).toString(8), '600');
        assert.is(String(uid), isRoot ? user : String(process.getuid?.()), 'others can be given nothing');
        assert.is(
          board.read('boot/firmware/cmdline.txt'),
          CMDLINE,
          'without a state partition the root stays as it is',
        );
      }
    },
  );

  Scripts('the root is overlaid: what is written is in RAM, and trouble starts the system as it is', () => {
    for (const hasMemory of [true, false]) {
      const board = newBoard();
      board.write('opt/s3mp/bin/overlay-init', OVERLAY_INIT, 0o755);
      board.write('dev/console', '');
      // What the system's init would find.
      board.write(
        'sbin/init',
        '#!/bin/sh\necho written >/etc/new\n{ echo "pid $$"; cat /etc/fstab; ls /ro/etc; grep " / " /proc/mounts; } >/dev/found 2>&1\n',
        0o755,
      );
      if (!hasMemory) board.stub('mount', 'case "$*" in *size=50%*) exit 1 ;; esac\nexec /usr/bin/mount "$@"');
      const { status, out } = board.boot('sh', '/opt/s3mp/bin/overlay-init');
      assert.is(status, 0, out);
      const found = board.read('dev/found');
      assert.match(found, /^pid 1\n/);
      if (hasMemory) {
        assert.match(found, /^overlay \/ overlay rw/m);
        assert.match(found, /^passwd$/m, 'the card is below /ro');
        assert.not.match(found, /^new$/m);
        assert.not.match(found, 'mmcblk0p2 / ext4');
        assert.match(found, 'mmcblk0p1 /boot/firmware');
      } else assert.match(found, /^\/dev\/mmcblk0p2 \/ ext4/m, 'as on the card');
    }
    const board = newBoard();
    board.write('opt/s3mp/bin/overlay-init', OVERLAY_INIT, 0o755);
    const byHand = board.run('sh', '-c', 'sh /opt/s3mp/bin/overlay-init; exit $?');
    assert.is(byHand.status, 2);
  });

  Scripts(
    'the meter starts with the Node.js of the card, else with that of the system, with the flags of a meter',
    () => {
      const board = newBoard();
      board.write('opt/s3mp/bin/run', runScript('firmware'), 0o755);
      const start = () => board.run('/opt/s3mp/bin/run', 'run', '--config', '/etc/s3mp/meter.toml');
      const words = `${METER_NODE_FLAGS.join(' ')} /opt/s3mp/launcher.js run --config /etc/s3mp/meter.toml`;
      board.hidden = ['node'];
      const none = start();
      assert.is(none.status, 2);
      assert.match(none.out, 'no Node.js on this card');
      board.stub('node', 'echo of the system');
      assert.match(start().out, 'of the system');
      assert.equal(board.calls(), [`node ${words}`]);
      board.stub('node', 'echo of the card', 'opt/s3mp/bin');
      assert.match(start().out, 'of the card');
      assert.equal(board.calls(), [`node ${words}`]);
    },
  );

  Scripts('the addons are built once, and not into RAM', () => {
    const board = newBoard();
    board.write('opt/s3mp/bin/s3mp-build-addons', BUILD_ADDONS, 0o755);
    board.stub('node', '[ -e /opt/s3mp/built ]', 'opt/s3mp/bin');
    board.stub('npm', 'touch /opt/s3mp/built');
    for (const name of ['g++', 'python3', 'apt-get']) board.stub(name);
    const build = () => board.run('sh', '/opt/s3mp/bin/s3mp-build-addons');
    const plain = board.cmdline;
    board.cmdline = `${plain} init=/opt/s3mp/bin/overlay-init`;
    assert.is(build().status, 2);
    board.cmdline = plain;
    const first = build();
    assert.is(first.status, 0, first.out);
    const [installs] = board.calls().filter((call) => call.startsWith('npm'));
    assert.match(installs!, /^npm install --prefix \/opt\/s3mp .*i2c-bus@\d+\.\d+\.\d+ onoff@\d+\.\d+\.\d+$/);
    assert.match(build().out, /there and load/);
    assert.not.ok(board.calls().some((call) => call.startsWith('npm')));
  });

  if (hasLoopDevices) {
    Scripts('a blank third partition becomes the state, once; one that holds something is left alone', () => {
      const disk = join(folder, 'state.img');
      writeFileSync(disk, '');
      truncateSync(disk, 32 << 20);
      const attach = spawnSync('losetup', ['--find', '--show', disk], { encoding: 'utf8' });
      assert.is(attach.status, 0, attach.stderr);
      const loop = attach.stdout.trim();
      try {
        const setUp = () => {
          const board = setUpBoard();
          symlinkSync(loop, board.path('dev/mmcblk0p3'));
          const { status, out } = board.run('sh', '/opt/s3mp/bin/setup');
          assert.is(status, 0, out);
          return { board, out };
        };
        // Foreign data that no tool knows.
        writeFileSync(disk, Buffer.alloc(32 << 20, 'x'));
        const foreign = setUp();
        assert.not.match(foreign.out, /formatting/);
        assert.not.ok(foreign.board.mounts().some((line) => line.includes('/var/lib/s3mp')));
        assert.ok(
          readFileSync(disk).every((byte) => byte === 0x78),
          'not a byte of it is changed',
        );

        writeFileSync(disk, Buffer.alloc(32 << 20));
        for (let start = 0; start < 2; start++) {
          const { board, out } = setUp();
          assert.is(/formatting \/dev\/mmcblk0p3/.test(out), start === 0, out);
          const mount = board.mounts().find((line) => line.includes(' /var/lib/s3mp '));
          assert.match(mount!, / ext4 rw,nosuid,nodev,noatime/);
          const line = board.read('boot/firmware/cmdline.txt');
          assert.is(line, `${CMDLINE.trim()} init=/opt/s3mp/bin/overlay-init\n`);
          // The next start, from the same card.
          board.cmdline = line.trim();
          assert.is(board.run('sh', '/opt/s3mp/bin/setup').status, 0);
          assert.is(board.read('boot/firmware/cmdline.txt'), line, 'once');
        }
        const label = spawnSync('blkid', ['-p', '-o', 'value', '-s', 'LABEL', loop], { encoding: 'utf8' });
        assert.is(label.stdout.trim(), STATE_LABEL);
      } finally {
        spawnSync('losetup', ['-d', loop]);
      }
    });
  }
}

Scripts.run();
