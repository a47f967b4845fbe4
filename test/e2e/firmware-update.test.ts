/**
 * Firmware over the line, with the bundles that ship: the head end's command line, the head end, the ASes and a meter that
 * launcher.js starts. The relay's file must never be written.
 */

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { relayValueFile } from '#hw/sim/relay';
import { GUARD_MS } from '#test/guard';
import { bundleOf, imageOf, makeReleaseKey, versionOf } from '../release.ts';
import { BUNDLES, Platform, until } from './platform.ts';

const Firmware = suite('firmware over the line');
const folder = mkdtempSync(join(tmpdir(), 's3mp-firmware-'));
const release = makeReleaseKey();
const bundleFile = join(BUNDLES, 'firmware.js');
const OWN = versionOf(readFileSync(bundleFile, 'utf8'));
const [own1, own2] = OWN.split('.').map(Number) as [number, number];
/** A later release, `next(1)` the first. */
const next = (steps: number) => `${own1}.${own2 + steps}.0`;

let platform: Platform;
let relayWrittenAt: number;

interface Outcome {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

function headend(...args: string[]): Promise<Outcome> {
  const script = join(BUNDLES, 'headend.js');
  return new Promise((resolve) =>
    execFile(process.execPath, [script, ...args, '--url', platform.url], { timeout: GUARD_MS }, (error, out, err) =>
      resolve({ status: error === null ? 0 : Number(error.code), out, err }),
    ),
  );
}

function file(name: string, image: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, image);
  return path;
}

const meter = () => platform.lab.meters[0]!;
const contactMoved = () => statSync(relayValueFile(meter().relayFolder)).mtimeMs !== relayWrittenAt;
const install = (path: string, ...more: string[]) => headend('firmware', platform.meterId, path, ...more);
const signed = (version: string, code = bundleOf(bundleFile, version)) => imageOf(version, code, release.privateKey);

async function events(): Promise<string> {
  const { events } = await platform.get<{ events: { text: string }[] }>(`meters/${platform.meterId}/log`);
  return events.map(({ text }) => text).join('\n');
}

async function audit(): Promise<string> {
  const { lines } = await platform.get<{ lines: { line: string }[] }>('audit?limit=1000');
  return lines.map(({ line }) => line).join('\n');
}

Firmware.before(async () => {
  const releaseKeyFile = join(folder, 'release.pem');
  writeFileSync(releaseKeyFile, release.publicKey);
  platform = await Platform.start({ releaseKeyFile, lines: 'none' });
  await until('the first reading', async () => (await platform.read()).status === 200);
  relayWrittenAt = statSync(relayValueFile(meter().relayFolder)).mtimeMs;
});
Firmware.after(async () => {
  await platform?.stop();
  rmSync(folder, { recursive: true, force: true });
});

Firmware('a newer image is installed while readings go on, and its version is read back', async () => {
  const image = signed(next(1));
  const update = install(file('newer', image), '--reason', 'test of the update');
  const reads: number[] = [];
  let isDone = false;
  void update.finally(() => {
    isDone = true;
  });
  while (!isDone) {
    const { lastCommand } = await platform.get<{
      lastCommand: { progress: { stored: number; blocks: number } | null };
    }>(`meters/${platform.meterId}`);
    const progress = lastCommand?.progress;
    if (progress && progress.stored > 0 && progress.stored < progress.blocks) {
      if ((await platform.read()).status === 200) reads.push(progress.stored);
    } else await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { status, out, err } = await update;
  assert.is(status, 0, err);
  assert.is(JSON.parse(out).firmware, next(1));
  const { lastCommand } = await platform.get<{ lastCommand: { stages: { state: string }[] } }>(
    `meters/${platform.meterId}`,
  );
  assert.equal(
    lastCommand.stages.map(({ state }) => state),
    ['queued', 'sent', 'acknowledged', 'verified'],
  );
  assert.ok(new Set(reads).size >= 3, `readings between blocks: ${reads}`);
  assert.match(await events(), /firmware activated/);
  const lines = await audit();
  assert.match(lines, new RegExp(`"command.submitted".*"version":"${next(1)}","sha256":"[0-9a-f]{64}"`));
  assert.match(lines, new RegExp(`"command.verified".*"firmware":"${next(1)}"`));
  await until('a reading of the new firmware', async () => (await platform.read()).status === 200);
  assert.not.ok(contactMoved());
});

Firmware(
  'the same or an older version, a damaged file and what is no image are refused before anything is sent',
  async () => {
    const same = await install(file('same', signed(next(1))));
    assert.is(same.status, 1);
    assert.match(same.err, /not newer/);
    const image = signed(next(2));
    image[image.length - 100]! ^= 1;
    const damaged = await install(file('damaged', image));
    assert.is(damaged.status, 2);
    assert.match(damaged.err, /damaged/);
    const none = await install(file('none', Buffer.alloc(5000)));
    assert.is(none.status, 2);
    assert.match(none.err, /not a firmware image/);
    assert.not.match(await audit(), new RegExp(`"version":"${next(2)}"`));
  },
);

Firmware('a bad signature is refused by the meter and never activated', async () => {
  const forged = imageOf(next(2), bundleOf(bundleFile, next(2)).slice(0, 30_000), makeReleaseKey().privateKey);
  const { status, err } = await install(file('forged', forged));
  assert.is(status, 1);
  assert.match(err, /its signature is not that of the release key/);
  assert.not.match(err, /^sent$/m);
  assert.match(await events(), /firmware rejected/);
  assert.ok(platform.lab.process('meter-1').running);
  assert.not.ok(contactMoved());
});

Firmware('an order that is cancelled ends, nothing is started, and the image may be ordered again', async () => {
  const none = await install('--cancel');
  assert.is(none.status, 1);
  assert.match(none.err, /nothing is on its way/);
  assert.is((await headend('firmware', platform.meterId)).status, 2);
  const update = install(file('cancelled', signed(next(2))));
  await until('blocks at the meter', async () => {
    const { lastCommand } = await platform.get<{ lastCommand: { image?: { version: string }; progress: unknown } }>(
      `meters/${platform.meterId}`,
    );
    const progress = lastCommand.progress as { stored: number; blocks: number } | null;
    return lastCommand.image?.version === next(2) && progress !== null && progress.stored > 0;
  });
  const cancelled = await install('--cancel', '--reason', 'wrong release');
  assert.is(cancelled.status, 0, cancelled.err);
  assert.match(cancelled.out, /cancelled by \S+ \(wrong release\); \d+ of \d+ blocks are there/);
  const { status, err } = await update;
  assert.is(status, 1);
  assert.match(err, /cancelled by .*command\.cancelled/s);
  assert.match(await audit(), new RegExp(`"command.cancelled".*"wrong release".*"version":"${next(2)}"`));
  assert.is((await platform.read()).status, 200);
  assert.not.ok(contactMoved());
});

Firmware('power that fails amid the transfer delays it; the meter goes on with what it had', async () => {
  const image = signed(next(3));
  const update = install(file('interrupted', image));
  const process = platform.lab.process('meter-1');
  const progress = () =>
    platform.get<{ lastCommand: { progress: { stored: number; blocks: number; waiting: string | null } | null } }>(
      `meters/${platform.meterId}`,
    );
  await until('half of the blocks', async () => {
    const now = (await progress()).lastCommand.progress;
    return now !== null && now.stored > now.blocks / 2 && now.stored < now.blocks;
  });
  const { pid } = process;
  globalThis.process.kill(pid!, 'SIGKILL');
  await until('the meter again', () => process.running && process.pid !== pid);
  const resumed = await until('the transfer again', async () => {
    const now = (await progress()).lastCommand.progress;
    return now !== null && now.waiting === null && now;
  });
  const { status, out, err } = await update;
  assert.is(status, 0, err);
  assert.is(JSON.parse(out).firmware, next(3));
  assert.ok(resumed.stored >= resumed.blocks / 2 - 64, `went on at ${resumed.stored} of ${resumed.blocks}`);
  assert.not.ok(contactMoved());
});

Firmware('an image that crashes at its start falls back to the one before', async () => {
  const { status, err } = await install(file('broken', signed(next(4), 'process.abort()')));
  assert.is(status, 1, err);
  assert.match(
    err,
    new RegExp(`${next(4)} failed at its starts, and the meter has gone back to ${next(3)}`.replaceAll('.', '\\.')),
  );
  assert.match(err, /firmware\.fell-back/);
  await until('a reading', async () => (await platform.read()).status === 200);
  assert.match(await events(), /firmware fell back/);
  assert.not.ok(contactMoved());
});

Firmware.run();
