/**
 * Tests of protocols/ on an emulated ARM1176 under Node 20: byte order, 64-bit values, tables, ciphers and codecs give
 * there what they give here. Chosen for what they cover in a short time; all others pass there as well.
 */

import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { needs } from '#test/needs';
import { ARMEL_HINT, hasEmulatedNode, runEmulated, writeEmulatedNode } from './armel.ts';

const CHOSEN = [
  'base/bytes',
  'base/cmac',
  'base/proto',
  'modbus/vectors',
  'modbus/read-plan',
  'dlms/axdr',
  'dlms/apdu',
  'dlms/blocks',
  'dlms/cipher',
  'dlms/server',
  'scion/address',
  'scion/end-host',
  'scion/packet',
  'scion/scmp',
  'session/dlms-keys',
  'session/drkey',
];

const bundled = join(__dirname, '..', 'protocols');
const isBuilt = existsSync(bundled);

if (needs('armel', hasEmulatedNode(), ARMEL_HINT) && needs('tests of protocols/', isBuilt, 'node build.mjs --tests')) {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-arm1176-'));
  const node = writeEmulatedNode(folder);
  const Protocols = suite('protocols on an emulated ARM1176');
  Protocols.after(() => rmSync(folder, { recursive: true }));

  for (const name of CHOSEN) {
    Protocols(name, () => {
      const { status, stdout, stderr } = runEmulated(node, [join(bundled, `${name}.test.js`)], { NO_COLOR: '1' });
      assert.is(status, 0, `${stdout}${stderr}`);
      const [, total, passed] = /Total:\s+(\d+)\s+Passed:\s+(\d+)/.exec(stdout) ?? [];
      assert.ok(Number(total) > 0, stdout);
      assert.is(passed, total);
    });
  }
  Protocols.run();
}
