/** Beside official SCION services, where their programs are given: the whole of `official.sh`. */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { needs } from '#test/needs';

const root = join(__dirname, '..', '..', '..');
const bin = process.env.SCION_BIN ?? '';
const present = bin !== '' && existsSync(join(bin, 'scion'));

const Beside = suite('official SCION services');

if (needs('scion', present, 'SCION_BIN names no folder with the official SCION programs')) {
  Beside('our router and end host work among them', () => {
    const { status, stdout, stderr } = spawnSync(join(root, 'test', 'interop', 'official.sh'), [], {
      cwd: root,
      encoding: 'utf8',
      timeout: 110_000,
      env: { ...process.env, S3MP_GATEWAY: join(root, 'dist', 'gateway.js') },
    });
    assert.is(status, 0, `${stdout}\n${stderr}`);
    assert.match(stdout, / steps passed, 0 failed/);
  });
}

Beside.run();
