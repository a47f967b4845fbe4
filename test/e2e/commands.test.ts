/** The head end's command line against the whole platform. */

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readRelayValue } from '#hw/sim/relay';
import { GUARD_MS } from '#test/guard';
import { imageOf, makeReleaseKey } from '../release.ts';
import { type ApiCommand, BUNDLES, OBIS, Platform, until } from './platform.ts';

let platform: Platform;

function headend(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  const script = join(BUNDLES, 'headend.js');
  return new Promise((resolve) =>
    execFile(process.execPath, [script, ...args, '--url', platform.url], { timeout: GUARD_MS }, (error, out, err) =>
      resolve({ status: error === null ? 0 : Number(error.code), out, err }),
    ),
  );
}

/** Signed requests that the meter has taken. */
let accepted = 0;

const Commands = suite('head end commands');
Commands.before(async () => {
  platform = await Platform.start({
    onLog(_, { message }) {
      if (message === 'command-accepted') accepted++;
    },
  });
  await until('the first reading', async () => (await platform.read()).status === 200);
});
Commands.after(() => platform?.stop());

Commands('read prints registers with units and the path, for people and as JSON', async () => {
  const { status, out } = await headend('read', platform.meterId);
  assert.is(status, 0);
  assert.match(out, /^Voltage +2\d\d\.?\d* V +good +1-0:32\.7\.0\.255$/m);
  assert.match(out, /^read in [\d.]+ ms over 1-ff00:0:\d+ /m);
  const json = JSON.parse((await headend('read', platform.meterId, '--json')).out);
  assert.is(json.values.find((v: { obis: string }) => v.obis === OBIS.voltage).unit, 'V');
});

Commands('meter list and paths', async () => {
  assert.match((await headend('meter', 'list')).out, new RegExp(`^${platform.meterId} +online `, 'm'));
  const { out } = await headend('paths', platform.meterId);
  assert.is(out.match(/in use$/gm)?.length, 1, out);
});

Commands('disconnect and connect end when the effect is read back', async () => {
  const relay = platform.lab.meters[0]!.relayFolder;
  const noReason = await headend('disconnect', platform.meterId);
  assert.is(noReason.status, 2, noReason.err);
  assert.match(noReason.err, /reason/);
  const off = await headend('disconnect', platform.meterId, '--reason', 'test of the command line');
  assert.is(off.status, 0, off.err);
  assert.match(off.err, /verified/);
  assert.is(readRelayValue(relay), false);
  const on = await headend('connect', platform.meterId);
  assert.is(on.status, 0, on.err);
  assert.is(readRelayValue(relay), true);
});

Commands('a command whose answer is late is read back, and only the command itself was signed', async () => {
  const { pid } = [...platform.lab.processes].find(([name]) => name.startsWith('meter'))![1];
  const before = accepted;
  process.kill(pid!, 'SIGSTOP');
  const headers = { 'idempotency-key': 'late-answer' };
  const body = { type: 'disconnect', reason: 'test of a late answer' };
  const response = await platform.request('POST', `meters/${platform.meterId}/commands`, body, headers);
  const { id } = (await response.json()) as ApiCommand;
  const state = async () => (await platform.get<ApiCommand>(`commands/${id}`)).state;
  await until('no answer', async () => (await state()) === 'unknown');
  process.kill(pid!, 'SIGCONT');
  await until('what became of it', async () => (await state()) === 'verified');
  assert.is(accepted - before, 1, 'signed requests that the meter took');
  assert.is((await headend('connect', platform.meterId)).status, 0);
});

Commands('self-test asks the meter, which looks at its parts and leaves the contact alone', async () => {
  const { status, out, err } = await headend('self-test', platform.meterId);
  assert.is(status, 0, out + err);
  for (const check of ['bus', 'registers', 'display', 'storage', 'clock', 'keys', 'address', 'path'])
    assert.match(out, new RegExp(`^PASS ${check} `, 'm'));
  assert.match(out, /^SKIP relay +moved at the device only$/m);
  assert.is(readRelayValue(platform.lab.meters[0]!.relayFolder), true);
});

Commands('a message is written and read back', async () => {
  const { status, out } = await headend('message', platform.meterId, 'Hello from the command line');
  assert.is(status, 0);
  assert.match(out, /Hello from the command line/);
});

Commands('a meter that no launcher has started takes no firmware, and the command line says why', async () => {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-commands-'));
  const file = join(folder, 'image');
  writeFileSync(file, imageOf('99.0.0', 'nothing', makeReleaseKey().privateKey));
  const { status, err } = await headend('firmware', platform.meterId, file);
  rmSync(folder, { recursive: true });
  assert.is(status, 1);
  assert.match(err, /takes no images: .*launcher\.js.*\(firmware\.unsupported\)/);
  assert.is((await headend('firmware', platform.meterId, join(folder, 'nothing'))).status, 2);
  assert.is((await headend('firmware', platform.meterId, file, '--within', '0')).status, 2);
});

Commands('errors have their exit status', async () => {
  assert.is((await headend('read', 'nobody')).status, 1);
  const script = join(BUNDLES, 'headend.js');
  const dead = await new Promise<number>((resolve) =>
    execFile(process.execPath, [script, 'meter', 'list', '--url', 'http://127.0.0.1:9/'], (error) =>
      resolve(Number(error?.code)),
    ),
  );
  assert.is(dead, 3);
});

Commands.run();
