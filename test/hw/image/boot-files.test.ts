/** The text files of the boot partition, and what cloud-init and systemd make of them. */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { ConfigError } from '#base/errors';
import {
  firstBootOf,
  METER_CONFIG,
  patchCmdline,
  patchFirstRun,
  releaseOf,
  withoutSection,
  withSection,
} from '#hw/image/boot-files';
import { commandWorks, needs } from '../../needs.ts';
import { seeded } from '../../random.ts';
import { CMDLINE } from './card-image.ts';

const Files = suite('boot files');
const folder = mkdtempSync(join(tmpdir(), 's3mp-boot-files-'));
Files.after(() => rmSync(folder, { recursive: true, force: true }));

const HOOK = '/boot/firmware/s3mp/install.sh';
const hooked = (text: string) => patchCmdline(text, { freeUart: true, hook: HOOK });

Files('a section comes to the end, is replaced in its place, keeps line ends and goes without a trace', () => {
  for (const eol of ['\n', '\r\n']) {
    const lines = (...all: string[]) => all.map((line) => line + eol).join('');
    const text = lines('# of somebody', 'a=1');
    const once = withSection(text, ['b=2']);
    assert.is(once, lines('# of somebody', 'a=1', '# BEGIN s3mp', 'b=2', '# END s3mp'));
    const between = once + lines('c=3');
    assert.is(withSection(between, ['b=4']), between.replace('b=2', 'b=4'));
    assert.is(withoutSection(between), text + lines('c=3'));
    assert.is(withoutSection(text), text);
  }
  assert.is(withSection('a=1', ['b=2']), 'a=1\n# BEGIN s3mp\nb=2\n# END s3mp\n', 'a file without a last line end');
  assert.throws(
    () => withSection('# BEGIN s3mp\nhalf', METER_CONFIG),
    (error: ConfigError) => error.code === 'card.unusable',
  );
});

Files('whatever stands around it, a section put in twice is there once, and taken out leaves what was', () => {
  const random = seeded();
  const words = ['runcmd:\n', '  - [ a, b ]\n', '# BEGIN\n', '\n', '[all]\n', 'END s3mp\n', 'dtparam=i2c_arm=on\n'];
  for (let i = 0; i < 2_000; i++) {
    const text = Array.from({ length: random.below(8) }, () => words[random.below(words.length)]).join('');
    const once = withSection(text, METER_CONFIG);
    assert.is(withSection(once, METER_CONFIG), once);
    assert.is(withoutSection(once), text);
  }
});

Files('the command line loses the console on the UART and gets the hook, in one line, however often', () => {
  const once = hooked(CMDLINE);
  assert.is(
    once,
    `${CMDLINE.replace('console=serial0,115200 ', '').trim()} systemd.run=${HOOK} systemd.run_success_action=reboot systemd.unit=kernel-command-line.target\n`,
  );
  assert.is(hooked(once), once);
  assert.is(patchCmdline(once, { freeUart: true, hook: undefined }), CMDLINE.replace('console=serial0,115200 ', ''));
  assert.is(patchCmdline(CMDLINE, { freeUart: false, hook: undefined }), CMDLINE, 'a gateway keeps its console');
  const others = 'root=x systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot\n';
  assert.is(patchCmdline(others, { freeUart: true, hook: undefined }), others, "the imager's hook is not ours");
  assert.is(hooked(`${CMDLINE.trim()} init=/opt/s3mp/bin/overlay-init`), once, 'not into RAM');
  for (const text of ['', 'a\nb\n'])
    assert.throws(
      () => hooked(text),
      (error: ConfigError) => error.code === 'card.unusable',
      text,
    );
});

Files('only a first script of the imager that will run is a road beside systemd.run', () => {
  const runs = 'root=x systemd.run=/boot/firmware/firstrun.sh';
  const has =
    (...names: string[]) =>
    (name: string) =>
      names.includes(name);
  assert.is(firstBootOf(has('firstrun.sh'), runs), 'firstrun');
  assert.is(firstBootOf(has('firstrun.sh'), 'root=x'), 'cmdline', 'it has run');
  assert.is(firstBootOf(has(), runs), 'cmdline');
  assert.is(firstBootOf(has('user-data', 'meta-data'), CMDLINE), 'cmdline', 'cloud-init may have had its turn');
});

Files('the release is told by the date of the image', () => {
  const release = (date: string, hasUserData = false) => releaseOf(`Raspberry Pi reference ${date}\n`, hasUserData);
  assert.is(release('2025-11-24'), 'trixie');
  assert.is(release('2024-07-04'), 'bookworm');
  assert.is(release('2023-05-03'), 'bullseye');
  assert.is(releaseOf(undefined, true), 'trixie');
  assert.is(releaseOf('something else', false), undefined);
});

Files("the imager's script is still one, with the installation in front, however often", () => {
  for (const script of ['#!/bin/bash\nset +e\nexit 0\n', 'echo without a first line\n']) {
    const once = patchFirstRun(script, HOOK);
    assert.is(patchFirstRun(once, HOOK), once);
    assert.is(withoutSection(once), script);
    assert.is(once.startsWith('#!'), script.startsWith('#!'));
    const file = join(folder, 'firstrun.sh');
    writeFileSync(file, once.replaceAll(HOOK, join(folder, 'nothing.sh')));
    assert.is(spawnSync('sh', [file]).status, 0, 'an installation that fails is not its end');
  }
});

if (
  needs('cloud-init', commandWorks('cloud-init', '--version'), 'install cloud-init to check what is left in user-data')
) {
  Files('what earlier cards had in user-data is taken out, and cloud-init finds nothing wrong with the rest', () => {
    const rest = '#cloud-config\nhostname: meter7\nssh_pwauth: false\n';
    const ours = (indent: string) =>
      `${indent}# BEGIN s3mp\n${indent}- [ sh, ${HOOK} ]\n${indent}# END s3mp\n${indent}- [ echo, hello ]\n`;
    for (const text of [
      withSection(rest, ['runcmd:', `  - [ sh, ${HOOK} ]`]),
      `${rest}runcmd:\n${ours('')}`,
      `${rest}runcmd:\n${ours('  ')}`,
      `${rest}runcmd:\n${ours('    ')}`,
    ]) {
      const file = join(folder, 'user-data');
      writeFileSync(file, withoutSection(text));
      assert.not.match(readFileSync(file, 'utf8'), /s3mp/);
      const { status, stdout, stderr } = spawnSync('cloud-init', ['schema', '--config-file', file], {
        encoding: 'utf8',
      });
      assert.is(status, 0, `${readFileSync(file, 'utf8')}${stdout}${stderr}`);
    }
  });
}

const GENERATORS = ['/usr/lib/systemd/system-generators', '/lib/systemd/system-generators'];
const generator = GENERATORS.map((place) => join(place, 'systemd-run-generator')).find((file) => existsSync(file));
if (needs('systemd-run-generator', generator !== undefined, 'install systemd to see what it makes of cmdline.txt')) {
  Files('systemd makes a service of the hook that runs the installation and then starts the board again', () => {
    const units = join(folder, 'units');
    mkdirSync(units);
    const env = { ...process.env, SYSTEMD_PROC_CMDLINE: hooked(CMDLINE).trim() };
    const { status, stderr } = spawnSync(generator!, [units, units, units], { env, encoding: 'utf8' });
    assert.is(status, 0, stderr);
    assert.ok(readdirSync(units).includes('kernel-command-line.target'));
    const service = readFileSync(join(units, 'kernel-command-line.service'), 'utf8');
    assert.match(service, new RegExp(`^ExecStart=${HOOK}$`, 'm'));
    assert.match(service, /^SuccessAction=reboot$/m);
    assert.not.match(service, /DefaultDependencies=no/, 'the boot partition is mounted before');
  });
}

Files.run();
