/** `firmware.js dump` over a state folder that a meter has open, as text and as JSON, whole and by range. */

import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EventCode } from '#dlms/well-known';
import { loadConfig } from '#hw/config';
import { createLog } from '#hw/log';
import { FIRMWARE_CONFIG } from '../../firmware/config.ts';
import { dumpVerb } from '../../firmware/dump.ts';
import { StateFiles } from '../../firmware/state-files.ts';
import { pass, testMeter } from '../interop/dlms-meter.ts';
import { seeded } from '../random.ts';

const Dump = suite('dump');
const quiet = createLog('test', { write: () => {} });

async function dump(folder: string, flags: Record<string, string> = {}, json = false): Promise<string[]> {
  const config = loadConfig(FIRMWARE_CONFIG, { flags: { 'state-directory': folder } });
  const lines: string[] = [];
  await dumpVerb.run({ config, flags, positionals: [], json, log: quiet, out: (text) => lines.push(text) });
  return lines;
}

async function status(folder: string): Promise<number> {
  const config = loadConfig(FIRMWARE_CONFIG, { flags: { 'state-directory': folder } });
  return (await dumpVerb.run({ config, flags: {}, positionals: [], json: true, log: quiet, out() {} })) ?? 0;
}

Dump('prints what a running meter has stored and changes nothing', async () => {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-dump-'));
  try {
    const files = new StateFiles(folder, quiet);
    const settings = files.settings();
    const meter = testMeter({
      settings,
      openStore: (name, rowSize, rows, layout) => files.profile(name, rowSize, rows, layout),
    });
    settings.set('message', Buffer.from('Grüße'));
    pass(meter, 4 * 3_600_000, 10_000);
    meter.model.control.trigger('remote-disconnect', 'test');
    const content = () => readdirSync(folder).map((name) => readFileSync(join(folder, name)).toString('latin1'));
    const before = content();
    const text = (await dump(folder)).join('\n');
    assert.match(text, /^controlState 0$/m);
    assert.match(text, /^message Grüße$/m);
    assert.match(text, /^profile-1-0-99-1-0-255: 16 rows of time 1\/0-0:96\.10\.1\.255\/2 3\/1-0:1\.8\.0\.255\/2/m);
    assert.match(text, /^2026-11-23T07:00:00\.000Z 0 0 1234560 7890$/m);
    assert.match(text, / power up$/m);
    const range = { log: '99-1-0', from: '2026-11-23T08:00Z', to: '2026-11-23T09:00Z' };
    const rows = (await dump(folder, range, true)).slice(1).map((line) => JSON.parse(line));
    assert.is(rows.length, 5);
    assert.equal(rows[0], {
      log: 'profile-1-0-99-1-0-255',
      row: 5,
      at: '2026-11-23T08:00:00.000Z',
      clockStatus: 0,
      values: [0, 1_234_560, 7_890],
    });
    assert.equal(content(), before);
    assert.ok(meter.model.events.record(EventCode.parametersChanged));
    files.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

Dump(
  'damaged, foreign and missing files cost themselves, and the exit status says that something is missing',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 's3mp-dump-'));
    try {
      const files = new StateFiles(folder, quiet);
      const meter = testMeter({
        settings: files.settings(),
        openStore: (name, rowSize, rows, layout) => files.profile(name, rowSize, rows, layout),
      });
      pass(meter, 4 * 3_600_000, 10_000);
      files.close();
      const whole = (await dump(folder, {}, true)).length;
      mkdirSync(join(folder, 'folder.log'));
      assert.is(await status(folder), 5);
      assert.is((await dump(folder, {}, true)).length, whole);
      rmdirSync(join(folder, 'folder.log'));
      renameSync(join(folder, 'state'), join(folder, 'kept'));
      mkdirSync(join(folder, 'state'));
      assert.is(await status(folder), 5);
      assert.is((await dump(folder, {}, true)).length, whole);
      rmdirSync(join(folder, 'state'));
      renameSync(join(folder, 'kept'), join(folder, 'state'));
      const names = readdirSync(folder);
      const random = seeded();
      for (let i = 0; i < 300; i++) {
        const path = join(folder, names[random.below(names.length)]!);
        const bytes = readFileSync(path);
        const damaged = Buffer.from(bytes.subarray(0, random.below(8) > 0 ? bytes.length : random.below(bytes.length)));
        const reach = Math.min(damaged.length, random.below(2) > 0 ? 120 : 6000);
        for (let n = random.below(9); n >= 0 && reach > 0; n--) damaged[random.below(reach)] = 0x30 + random.below(16);
        writeFileSync(path, damaged);
        assert.ok([0, 5].includes(await status(folder)));
        writeFileSync(path, bytes);
      }
      assert.is((await dump(folder, {}, true)).length, whole);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

Dump('a folder or a time that is none is an error of usage', async () => {
  const code = async (act: Promise<unknown>) => act.then(() => 'done').catch((error) => error.code);
  assert.is(await code(dump('/nowhere')), 'config.unreadable');
  assert.is(await code(dump(process.execPath)), 'config.unreadable');
  assert.is(await code(dump(tmpdir(), { from: 'yesterday' })), 'usage.invalid');
});

Dump.run();
