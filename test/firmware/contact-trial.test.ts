/**
 * The self-test's trial of the contact, whichever way it ends: by a signal, by the end of the process, by a storage that
 * fails while the contact is open; and whose files it makes. Real processes on the twin of the relay.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#hw/config';
import { createLog } from '#hw/log';
import { readRelayValue } from '#hw/sim/relay';
import { startSteadyMeter } from '#hw/sim/steady-meter';
import { FIRMWARE_CONFIG } from '../../firmware/config.ts';
import { tryContact } from '../../firmware/contact-trial.ts';
import { dumpVerb } from '../../firmware/dump.ts';
import { enrolCommand } from '../../firmware/enrol-command.ts';
import { openWallClock } from '../../firmware/parts.ts';
import { selfTestVerb } from '../../firmware/self-test-device.ts';

const quiet = createLog('test', { write: () => {} });
const NOBODY = 65_534;
const fs = process.getBuiltinModule('node:fs');

/** In a process of its own: the self-test with flags of the environment; `end` in them ends it while the contact is open. */
async function child(): Promise<void> {
  const { end, ...flags } = JSON.parse(process.env.S3MP_TRIAL_CHILD!);
  if (end) {
    setInterval(() => {
      if (readRelayValue(flags['relay-path']) === false) process.exit(7);
    }, 5);
  }
  const config = loadConfig(FIRMWARE_CONFIG, { flags });
  const out = (line: string) => console.log(line);
  try {
    process.exit(await selfTestVerb.run({ config, flags, positionals: [], json: false, log: quiet, out }));
  } catch (error) {
    console.log(`${(error as { code: string }).code} ${(error as Error).message}`);
    process.exit(2);
  }
}

interface Rig {
  readonly state: string;
  readonly relay: string;
  readonly flags: Readonly<Record<string, string | boolean>>;
}

/** A meter with a twin of the relay behind which the load flows on, so that the trial waits with the contact open. */
async function withRig(test: (rig: Rig) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-trial-'));
  const meter = await startSteadyMeter(() => true);
  const state = join(folder, 'state');
  const relay = join(folder, 'relay');
  mkdirSync(state, { mode: 0o700 });
  const flags = {
    relay: true,
    yes: true,
    'relay-driver': 'sim',
    'relay-path': relay,
    'serial-url': meter.url,
    'state-directory': state,
    'scion-topology': '/nowhere',
    'scion-address': '127.0.0.1',
  };
  try {
    await test({ state, relay, flags });
  } finally {
    meter.close();
    rmSync(folder, { recursive: true });
  }
}

const startChild = (flags: object, uid = process.getuid!()) =>
  spawn(process.execPath, [__filename], {
    env: { ...process.env, S3MP_TRIAL_CHILD: JSON.stringify(flags) },
    stdio: ['ignore', 'pipe', 'inherit'],
    uid,
  });

/** Runs a child to its end, whoever or whatever ends it. */
async function ended(run: ReturnType<typeof startChild>) {
  let stdout = '';
  run.stdout.on('data', (chunk) => (stdout += chunk));
  const [status] = await once(run, 'close');
  return { status, stdout };
}
const runChild = (flags: object, uid?: number) => ended(startChild(flags, uid));

/** Codes of the disconnect log, oldest first. */
async function events(state: string): Promise<unknown[]> {
  const lines: string[] = [];
  const config = loadConfig(FIRMWARE_CONFIG, { flags: { 'state-directory': state } });
  const context = { config, flags: { log: 'log-' }, positionals: [], json: true, log: quiet };
  await dumpVerb.run({ ...context, out: (line) => lines.push(line) });
  return lines.flatMap((line) => JSON.parse(line).values ?? []);
}

const Trial = suite('contact trial');

Trial('a signal, once or again, or the end of the process: the contact is back, through the guard', async () => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', undefined] as const) {
    await withRig(async ({ state, relay, flags }) => {
      const run = startChild({ ...flags, end: signal === undefined });
      const watch = setInterval(() => {
        if (!signal || readRelayValue(relay) !== false) return;
        // Later ones could meet a process that is through with it.
        clearInterval(watch);
        run.kill(signal);
        run.kill(signal);
      }, 5);
      const { status, stdout } = await ended(run);
      clearInterval(watch);
      assert.is(status, signal ? 5 : 7, stdout);
      assert.is(readRelayValue(relay), true, signal ?? 'exit');
      assert.equal(await events(state), [60, 209], 'disconnected by hand, restored');
    });
  }
});

Trial('a storage that fails while the contact is open does not keep it open', async () => {
  await withRig(async ({ relay, flags }) => {
    const config = loadConfig(FIRMWARE_CONFIG, { flags });
    const { writeSync } = fs;
    let seen: boolean | undefined;
    try {
      const error = await tryContact({
        config,
        clock: () => performance.now(),
        wallClock: openWallClock(config, { get: () => undefined, set: () => false, keep: () => {} }),
        power: () => 327,
        isStopped: () => false,
        busWorks: () => true,
        until: async () => {
          seen = readRelayValue(relay);
          fs.writeSync = () => {
            throw Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO' });
          };
          return false;
        },
      }).catch((thrown) => thrown);
      assert.match(error.message, /327 W flow while it is open/);
    } finally {
      fs.writeSync = writeSync;
    }
    assert.is(seen, false);
    assert.is(readRelayValue(relay), true);
  });
});

Trial('without --relay nothing is left in the state folder', async () => {
  await withRig(async ({ state, flags }) => {
    const forgotten: string[] = [];
    const log = createLog('test', { write: (line) => forgotten.push(line) });
    const config = loadConfig(FIRMWARE_CONFIG, { flags: { 'state-directory': state, 'serial-driver': 'tty' } });
    await selfTestVerb.run({ config, flags: {}, positionals: [], json: false, log, out: () => {} });
    assert.match(forgotten.join(), /was --config FILE forgotten/);
    const { status, stdout } = await runChild({ ...flags, relay: false });
    assert.is(status, 1, stdout);
    assert.match(stdout, /^PASS storage/m);
    assert.equal(readdirSync(state), []);
  });
});

if (process.getuid!() === 0) {
  Trial('in a folder of somebody else it says what to type; files that are not theirs fail the storage', async () => {
    await withRig(async ({ state, flags }) => {
      const run = async (uid: number) => (await runChild({ ...flags, relay: false }, uid)).stdout;
      chownSync(state, NOBODY, NOBODY);
      assert.match(
        await run(0),
        /^usage\.invalid .*state belongs to nobody: type sudo -u nobody before this command$/m,
      );
      const config = loadConfig(FIRMWARE_CONFIG, { flags: { 'state-directory': state } });
      const context = { config, flags: {}, positionals: [], json: false, log: quiet, out: () => {} };
      const refusal = await enrolCommand(context).catch((error) => error);
      assert.is(refusal.code, 'usage.invalid');
      assert.equal(readdirSync(state), []);
      chmodSync(join(state, '..'), 0o755);
      assert.match(await run(NOBODY), /^PASS storage/m);
      fs.writeFileSync(join(state, 'log-standard.log'), '', { mode: 0o600 });
      assert.match(await run(NOBODY), /^FAIL storage .*EACCES.*log-standard\.log' -> .*sudo chown -R s3mp:/m);
      fs.writeFileSync(join(state, 'state'), '', { mode: 0o600 });
      assert.match(await run(NOBODY), /^FAIL storage .*EACCES.*state' -> .*sudo chown -R s3mp:/m);
    });
  });
} else console.log('SKIP root: run as root to test a folder of somebody else');

if (process.env.S3MP_TRIAL_CHILD) void child();
else Trial.run();
