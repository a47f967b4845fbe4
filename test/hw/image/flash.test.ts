import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { serviceUnit } from '#hw/image/units';
import { commandWorks, needs } from '../../needs.ts';
import { CMDLINE, ENVIRONMENT, flash, hashOf, makeNodeArchive, ROOT } from './card-image.ts';
import { cardParts, refused, TOPOLOGY } from './card-parts.ts';

const Flash = suite('flash');
const folder = mkdtempSync(join(tmpdir(), 's3mp-flash-'));
Flash.after(() => rmSync(folder, { recursive: true, force: true }));

const { archive, topology, keys, meter: METER, bootFolder } = cardParts(folder);
Flash('a boot partition in a folder gets everything, and the board installs it from there', () => {
  const boot = bootFolder();
  const args = ['--boot', boot, ...METER, '--keys', keys];
  const result = flash(...args);
  assert.is(result.status, 0, result.stderr);
  const listing = () =>
    readdirSync(boot, { recursive: true, encoding: 'utf8' })
      .filter((name) => statSync(join(boot, name)).isFile())
      .sort()
      .map((name) => `${name} ${hashOf(join(boot, name))} ${statSync(join(boot, name)).mtimeMs}`);
  const first = listing();
  assert.match(flash(...args).stdout, /nothing changed/);
  assert.equal(listing(), first);

  // What the first boot runs, with another root.
  const root = mkdtempSync(join(folder, 'root-'));
  const install = () =>
    spawnSync('sh', [join(boot, 's3mp/install.sh')], { env: { ...ENVIRONMENT, S3MP_ROOT: root }, encoding: 'utf8' });
  const installed = install();
  assert.is(installed.status, 0, installed.stdout + installed.stderr);
  const mode = (path: string) => (statSync(join(root, path)).mode & 0o7777).toString(8);
  assert.is(mode('opt/s3mp/bin/node'), '755');
  assert.is(mode('etc/s3mp/keys'), '700');
  assert.is(mode('etc/s3mp/keys/dlms.toml'), '600');
  assert.is(hashOf(join(root, 'opt/s3mp/firmware.js')), hashOf(join(ROOT, 'dist/firmware.js')));
  assert.is(readdirSync(join(boot, 's3mp/root/etc/s3mp/keys')).length, 0, 'no key stays on the boot partition');
  assert.is(install().status, 0, 'again');

  // A card that was damaged in between is noticed.
  writeFileSync(join(boot, 's3mp/root/opt/s3mp/launcher.js'), 'damaged');
  const damaged = install();
  assert.is(damaged.status, 1);
  assert.match(damaged.stdout, /launcher\.js is damaged/);
  assert.is(hashOf(join(root, 'opt/s3mp/launcher.js')), hashOf(join(ROOT, 'dist/launcher.js')), 'the good one stays');
});

Flash('each way of a first boot gets its hook, beside what is there', () => {
  const USER_DATA = '#cloud-config\nhostname: meter7\nruncmd:\n  - [ echo, hello ]\n';
  // Also a card that has been started: for cloud-init its instance is the old one.
  for (const userData of [
    USER_DATA,
    USER_DATA.replace('runcmd:\n', 'runcmd:\n  # BEGIN s3mp\n  - [ sh, install.sh ]\n  # END s3mp\n'),
    `${USER_DATA.replace(/runcmd.*/s, '')}# BEGIN s3mp\nruncmd:\n  - [ sh, install.sh ]\n# END s3mp\n`,
  ]) {
    const trixie = bootFolder({ 'user-data': userData, 'issue.txt': 'Raspberry Pi reference 2025-11-24\n' });
    const result = flash('--boot', trixie, ...METER);
    assert.is(result.status, 0, result.stderr);
    assert.match(result.stderr, /at its next start the board installs/);
    const left = userData.endsWith('# END s3mp\n') ? USER_DATA.replace(/runcmd.*/s, '') : USER_DATA;
    assert.is(readFileSync(join(trixie, 'user-data'), 'utf8'), left, 'cloud-init would run it once in its life');
    assert.match(readFileSync(join(trixie, 'cmdline.txt'), 'utf8'), ' systemd.run=/boot/firmware/s3mp/install.sh ');
    assert.match(flash('--boot', trixie, ...METER).stdout, /nothing changed/);
  }

  const imager = bootFolder({
    'cmdline.txt': `${CMDLINE.trim()} systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target\n`,
    'firstrun.sh': '#!/bin/bash\nset +e\necho host >/etc/hostname\nexit 0\n',
  });
  assert.is(flash('--boot', imager, ...METER).status, 0);
  assert.match(
    readFileSync(join(imager, 'firstrun.sh'), 'utf8'),
    /^#!\/bin\/bash\n# BEGIN s3mp\nsh \S+install\.sh \|\| true\n# END s3mp\nset \+e\n/,
  );
  assert.match(readFileSync(join(imager, 'cmdline.txt'), 'utf8'), 'systemd.run=/boot/firmware/firstrun.sh');

  const bullseye = bootFolder({ 'issue.txt': 'Raspberry Pi reference 2023-05-03\n' });
  assert.is(flash('--boot', bullseye, ...METER).status, 0);
  assert.match(readFileSync(join(bullseye, 'cmdline.txt'), 'utf8'), 'systemd.run=/boot/s3mp/install.sh');

  const used = bootFolder({
    'cmdline.txt': `${CMDLINE.trim()} init=/opt/s3mp/bin/overlay-init\n`,
    'user-data': '#cloud-config\n',
    'issue.txt': 'Raspberry Pi reference 2025-11-24\n',
  });
  for (let run = 0; run < 2; run++) {
    assert.is(flash('--boot', used, ...METER).status, 0);
    const cmdline = readFileSync(join(used, 'cmdline.txt'), 'utf8');
    assert.match(cmdline, ' systemd.run=/boot/firmware/s3mp/install.sh ');
    assert.not.match(cmdline, 'overlay-init', 'under a read-only root the installation would go to RAM');
  }
});

Flash('what is no card is refused with words', () => {
  const empty = mkdtempSync(join(folder, 'empty-'));
  refused(flash('--boot', empty, ...METER), 'card.unusable', /config\.txt and cmdline\.txt missing/);
  refused(flash('--boot', join(empty, 'nothing'), ...METER), 'card.unusable', /not a folder/);
  refused(flash('--image', '/dev/null', ...METER), 'card.unusable', /is a device/);
  const file = join(empty, 'x.img');
  writeFileSync(file, Buffer.from('fd377a585a00', 'hex'));
  truncateSync(file, 4096);
  refused(flash('--image', file, ...METER), 'card.unusable', /unxz/);
  writeFileSync(file, Buffer.alloc(4096));
  refused(flash('--image', file, ...METER), 'card.unusable', /no partition table/);
  refused(flash('--image', file, '--boot', empty, ...METER), 'usage.invalid', /--boot DIR/);
  refused(flash(...METER), 'usage.invalid', /--image FILE/);
  refused(flash('--boot', empty, '--nodee', 'x'), 'usage.invalid', /did you mean --node/);
  const twoLines = bootFolder({ 'cmdline.txt': 'a\nb\n' });
  refused(flash('--boot', twoLines, ...METER), 'card.unusable', /2 lines/);
});

Flash('no unit closes devices to the meter', () => {
  // Each of these implies a device policy, the clock's before systemd 253.
  assert.not.match(serviceUnit('firmware'), /^(PrivateDevices|ProtectClock|DeviceAllow|DevicePolicy)=/m);
});

Flash('what the board could not install is told the next time', () => {
  const boot = bootFolder();
  assert.is(flash('--boot', boot, ...METER).status, 0);
  writeFileSync(join(boot, 's3mp/failed.txt'), '/opt/s3mp/launcher.js is damaged: flash the card again\n');
  assert.match(
    flash('--boot', boot, ...METER).stderr,
    /did not install what was flashed before: .*launcher\.js is damaged/,
  );
});

Flash('a Node.js that the board cannot run is refused with words', () => {
  const boot = bootFolder({ 'issue.txt': 'Raspberry Pi reference 2024-07-04\n' });
  const rest = ['--serial', '1', '--address', '10.0.0.5', '--topology', topology];
  const v7 = makeNodeArchive(mkdtempSync(join(folder, 'v7-')), { processor: 'armv7' });
  refused(flash('--boot', boot, '--node', v7, ...rest), 'node.unfit', /ARMv7, the Pi Zero is ARMv6; take node-v22/);
  assert.is(flash('--boot', boot, '--node', v7, '--board', 'zero2w', ...rest).status, 0);
  const old = makeNodeArchive(mkdtempSync(join(folder, 'old-')), { version: '18.20.4' });
  refused(flash('--boot', boot, '--node', old, ...rest), 'node.unfit', /18\.20\.4, the bundle needs 20\.19/);
  refused(flash('--boot', boot, '--node', archive, '--node-sha256', '00', ...rest), 'node.unfit', /SHA-256/);
  const right = createHash('sha256').update(readFileSync(archive)).digest('hex');
  assert.is(flash('--boot', boot, '--node', archive, '--node-sha256', right, ...rest).status, 0);
  refused(flash('--boot', boot, '--node', 'apt', ...rest), 'node.unfit', /bookworm has Node\.js 18\.20/);
  refused(flash('--boot', boot, '--node', topology, ...rest), 'node.unfit', /cannot unpack/);
  refused(flash('--boot', boot, ...rest), 'usage.invalid', /--node is missing/);
  const trixie = bootFolder({ 'user-data': '#cloud-config\n' });
  const apt = flash('--boot', trixie, '--node', 'apt', ...rest);
  assert.is(apt.status, 0, apt.stderr);
  assert.match(readFileSync(join(trixie, 's3mp/files.txt'), 'utf8'), /s3mp-node\.service/);
});

Flash('the gateway gets its unit and its AS directory, whose keys nobody else may read', () => {
  const boot = bootFolder();
  const as = mkdtempSync(join(folder, 'as-'));
  mkdirSync(join(as, 'keys'));
  writeFileSync(join(as, 'topology.json'), TOPOLOGY);
  writeFileSync(join(as, 'keys/master0.key'), 'MDEyMzQ1Njc4OWFiY2RlZg==');
  const run = () => flash('--boot', boot, '--device', 'gateway', '--node', archive, '--as', as);
  const result = run();
  assert.is(result.status, 0, result.stderr);
  writeFileSync(join(as, 'keys/master0.key'), 'no key');
  refused(run(), 'config.invalid', /as\.directory .*master0\.key: expected a master key as base64/);
  rmSync(join(as, 'keys/master0.key'));
  refused(run(), 'config.invalid', /cannot read \/etc\/scion\/keys\/master0\.key/);
  const list = readFileSync(join(boot, 's3mp/files.txt'), 'utf8');
  assert.match(list, /^k 0600 [0-9a-f]{64} \/etc\/scion\/keys\/master0\.key$/m);
  assert.match(list, /^f 0644 [0-9a-f]{64} \/etc\/scion\/topology\.json$/m);
  assert.match(list, /s3mp-gateway\.service$/m);
  assert.not.match(list, /firmware|launcher|udev/);
  assert.not.match(readFileSync(join(boot, 'config.txt'), 'utf8'), /gpio=17|disable-bt/);
});

const hasSystemd = needs(
  'systemd-analyze',
  commandWorks('systemd-analyze', '--version'),
  'install systemd to check the units',
);
if (hasSystemd) {
  Flash('systemd finds nothing wrong with the units, and sh with the scripts', () => {
    const boot = bootFolder();
    assert.is(flash('--boot', boot, ...METER).status, 0);
    const root = mkdtempSync(join(folder, 'units-'));
    const env = { ...ENVIRONMENT, S3MP_ROOT: root };
    assert.is(spawnSync('sh', [join(boot, 's3mp/install.sh')], { env }).status, 0);
    for (const name of ['run', 'setup', 'overlay-init', 's3mp-build-addons'])
      assert.is(spawnSync('sh', ['-n', join(root, 'opt/s3mp/bin', name)]).status, 0, name);
    for (const name of ['s3mp-meter.service', 's3mp-setup.service']) {
      const unit = join(root, 'etc/systemd/system', name);
      // The programs of the units lie below another root here.
      writeFileSync(unit, readFileSync(unit, 'utf8').replaceAll('/opt/s3mp', join(root, 'opt/s3mp')));
      const { stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', unit], {
        encoding: 'utf8',
        env: ENVIRONMENT,
      });
      const ours = stderr.split('\n').filter((line) => line.includes('s3mp') && !/s3mp-setup.*not found/.test(line));
      assert.equal(ours, [], stderr);
    }
  });
}

Flash.run();
