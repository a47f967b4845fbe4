/** Whole images of Raspberry Pi OS: made and read back with foreign tools, written by ours. */

import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { METER_NODE_FLAGS } from '#hw/meter-flags';
import {
  CMDLINE,
  CONFIG,
  debugfs,
  ENVIRONMENT,
  faults,
  flash,
  hasExtTools,
  hasFatTools,
  hashOf,
  makeImage,
  ROOT,
  ROOT_AT,
  readBoot,
  readBootText,
} from './card-image.ts';
import { cardParts, refused } from './card-parts.ts';

const Flash = suite('flash of an image');
const folder = mkdtempSync(join(tmpdir(), 's3mp-flash-image-'));
Flash.after(() => rmSync(folder, { recursive: true, force: true }));

const { keys, meter: METER } = cardParts(folder);
/** An image with little empty space. */
const SMALL = [...METER, '--state-mb', '16'];

function newImage(options: Parameters<typeof makeImage>[1] = {}): string {
  return makeImage(mkdtempSync(join(folder, 'image-')), options);
}

/** Mode, user and group of a path of the root, by debugfs. */
function placed(image: string, path: string): string {
  const text = debugfs(image, `stat ${path}`);
  const field = (name: string) => new RegExp(`\\b${name}:\\s+(\\S+)`).exec(text)?.[1];
  return `${field('Type')} ${field('Mode')} ${field('User')}:${field('Group')}`;
}

if (hasFatTools && hasExtTools) {
  Flash('an image gets files, permissions and units; foreign tools read them back and find no fault', () => {
    const image = newImage();
    const result = flash('--image', image, ...METER, '--keys', keys);
    assert.is(result.status, 0, result.stderr);
    assert.is(faults(image), '');

    for (const name of ['firmware.js', 'launcher.js']) {
      const path = `/opt/s3mp/${name}`;
      assert.is(debugfs(image, `cat ${path}`), readFileSync(join(ROOT, 'dist', name), 'utf8'));
      assert.is(placed(image, path), 'regular 0644 0:0');
    }
    assert.is(placed(image, '/opt/s3mp/bin/node'), 'regular 0755 0:0');
    assert.is(placed(image, '/opt/s3mp/bin/run'), 'regular 0755 0:0');
    assert.is(placed(image, '/etc/s3mp/keys'), 'directory 0700 0:0');
    assert.is(placed(image, '/etc/s3mp/keys/dlms.toml'), 'regular 0600 0:0');
    assert.is(
      debugfs(image, 'ls -p /opt/s3mp/prebuilds/linux-arm')
        .match(/[^/]+\.node/g)
        ?.join(),
      '@serialport+bindings-cpp.armv6.glibc.node',
    );
    const config = debugfs(image, 'cat /etc/s3mp/meter.toml');
    assert.match(config, 'serial = "4711"');
    assert.match(config, 'key_file = "/etc/s3mp/keys/dlms.toml"');
    assert.match(config, '[relay]\ndriver = "none"');
    assert.match(config, '[display]\ndriver = "auto"');
    const unit = debugfs(image, 'cat /etc/systemd/system/s3mp-meter.service');
    for (const line of [
      'Restart=always',
      'StartLimitIntervalSec=0',
      'ProtectSystem=strict',
      'User=s3mp',
      'StateDirectory=s3mp',
    ])
      assert.match(unit, line);
    assert.not.match(unit, /relay|gpio17/i);
    assert.match(
      debugfs(image, 'cat /opt/s3mp/bin/run'),
      `exec "$node" ${METER_NODE_FLAGS.join(' ')} /opt/s3mp/launcher.js`,
    );
    assert.match(
      debugfs(image, 'stat /etc/systemd/system/multi-user.target.wants/s3mp-meter.service'),
      'dest: "/etc/systemd/system/s3mp-meter.service"',
    );
    const manifest = JSON.parse(debugfs(image, 'cat /etc/s3mp/manifest.json'));
    assert.is(manifest.node, '22.20.0');
    for (const [path, { sha256 }] of Object.entries<{ sha256: string }>(manifest.files)) {
      const out = join(folder, 'dumped');
      debugfs(image, `dump ${path} ${out}`);
      assert.is(hashOf(out), sha256, path);
    }
    assert.is(manifest.files['/etc/s3mp/keys/dlms.toml'], undefined, 'no hash of a key');

    const configTxt = readBootText(image, 'config.txt');
    assert.ok(configTxt.startsWith(CONFIG));
    assert.match(configTxt, /# BEGIN s3mp\n.*enable_uart=1\n.*dtoverlay=disable-bt\n.*gpio=17=op,dl\n.*# END s3mp\n$/s);
    assert.is(readBootText(image, 'cmdline.txt'), CMDLINE.replace('console=serial0,115200 ', ''));
    assert.is(readBoot(image, 's3mp/files.txt'), undefined, 'nothing waits for the first boot');

    const table = spawnSync('sfdisk', ['-J', image], { env: ENVIRONMENT, encoding: 'utf8' });
    const { partitions } = JSON.parse(table.stdout).partitiontable;
    assert.is(partitions.length, 3);
    assert.equal([partitions[2].type, partitions[2].size, partitions[2].start % 8192], ['83', 256 * 2048, 0]);
  });

  Flash('a second run changes no byte, a dry run none at all', () => {
    const image = newImage();
    const fresh = hashOf(image);
    const dry = flash('--image', image, ...SMALL, '--dry-run');
    assert.is(dry.status, 0, dry.stderr);
    assert.match(dry.stdout, /would change/);
    assert.match(dry.stdout, '/opt/s3mp/firmware.js');
    assert.is(hashOf(image), fresh);

    assert.is(flash('--image', image, ...SMALL).status, 0);
    const first = hashOf(image);
    assert.is.not(first, fresh);
    const again = flash('--image', image, ...SMALL);
    assert.match(again.stdout, /nothing changed/);
    assert.is(hashOf(image), first);

    const moved = flash('--image', image, ...SMALL.map((word) => (word === '10.0.0.5' ? '10.0.0.6' : word)), '--json');
    const lines = moved.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(
      lines.slice(0, -1).map(({ path }) => path),
      ['/etc/s3mp/meter.toml', '/etc/s3mp/manifest.json'],
    );
    assert.is(faults(image), '');
  });

  Flash('without its root an image gets everything on the boot partition, and nothing there is lost', () => {
    const image = newImage({
      files: { 'kernel.img': 'k'.repeat(100_000), 'a long name of somebody else.txt': 'kept' },
    });
    const args = ['--image', image, ...METER, '--keys', keys, '--first-boot', '--state-mb', '0'];
    const size = statSync(image).size;
    assert.is(flash(...args).status, 0);
    assert.is(statSync(image).size, size);
    assert.is(faults(image), '');
    assert.is(
      readBootText(image, 's3mp/root/opt/s3mp/firmware.js'),
      readFileSync(join(ROOT, 'dist/firmware.js'), 'utf8'),
    );
    assert.is(readBootText(image, 'a long name of somebody else.txt'), 'kept');
    assert.is(readBootText(image, 'kernel.img').length, 100_000);
    assert.match(readBootText(image, 'cmdline.txt'), ' systemd.run=/boot/firmware/s3mp/install.sh ');
    const first = hashOf(image);
    assert.is(flash(...args).status, 0);
    assert.is(hashOf(image), first);
    assert.is(flash('--image', image, ...METER, '--keys', keys).status, 0, 'then with its root');
    assert.not.match(readBootText(image, 'cmdline.txt'), /systemd\.run/);
  });

  Flash('keys on the card are not replaced unasked', () => {
    const image = newImage();
    const run = (...more: string[]) => flash('--image', image, ...SMALL, ...more);
    assert.is(run('--keys', keys).status, 0);
    const others = mkdtempSync(join(folder, 'keys-'));
    const otherKeys = readFileSync(join(keys, 'dlms.toml'), 'utf8').replaceAll('11', '33');
    writeFileSync(join(others, 'dlms.toml'), otherKeys, { mode: 0o600 });
    const before = hashOf(image);
    refused(run('--keys', others), 'card.keys-exist', /--rekey/);
    assert.is(hashOf(image), before);
    assert.is(run('--keys', others, '--rekey').status, 0);
    assert.is(debugfs(image, 'cat /etc/s3mp/keys/dlms.toml'), otherKeys);
    assert.is(run().status, 0, 'without --keys they stay');
    assert.is(faults(image), '');
  });

  Flash('a full boot partition, a full root and a damaged file system are refused before anything is written', () => {
    const small = newImage({ files: { 'big.bin': 'x'.repeat(36_500_000) } });
    const before = hashOf(small);
    refused(flash('--image', small, ...METER, '--first-boot'), 'card.full', /MB are free/);
    assert.is(hashOf(small), before);

    const tight = newImage({ rootMb: 4 });
    const filler = join(folder, 'filler');
    writeFileSync(filler, randomBytes(2_400_000));
    spawnSync('debugfs', ['-w', '-R', `write ${filler} filler`, `${tight}?offset=${ROOT_AT}`], { env: ENVIRONMENT });
    const tightBefore = hashOf(tight);
    const result = flash('--image', tight, ...METER);
    refused(result, 'card.full', /root partition/);
    assert.is(hashOf(tight), tightBefore);

    const dirty = newImage();
    spawnSync('debugfs', ['-w', '-R', 'ssv state 2', `${dirty}?offset=${ROOT_AT}`], { env: ENVIRONMENT });
    refused(flash('--image', dirty, ...METER), 'card.unusable', /no clean ext4/);
  });
}

Flash.run();
