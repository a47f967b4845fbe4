/** The watchdog against a real datagram socket as systemd opens it, and against a file in place of the kernel's device. */

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#hw/log';
import { openWatchdog, type WatchdogSettings } from '#hw/watchdog';
import { GUARD_MS } from '#test/guard';
import { commandWorks, needs } from '#test/needs';

const SETTINGS: WatchdogSettings = { driver: 'auto', device: '/nowhere/watchdog' };

/** Prints each datagram of a Unix socket as a line of JSON. */
const RECEIVER = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace('@', chr(0), 1))
print('"bound"', flush=True)
while True:
    print(json.dumps(s.recv(4096).decode()), flush=True)
`;

async function receiver(address: string) {
  const child = spawn('/usr/bin/python3', ['-c', RECEIVER, address], { stdio: ['ignore', 'pipe', 'inherit'] });
  const received: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => received.push(JSON.parse(line) as string));
  const until = async (what: string, condition: () => boolean) => {
    const end = Date.now() + GUARD_MS;
    while (!condition()) {
      assert.ok(Date.now() < end, `within ${GUARD_MS} ms: ${what}, got ${JSON.stringify(received)}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  await until('bound', () => received.length > 0);
  const stop = () => {
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill();
    return gone;
  };
  return { text: () => received.slice(1).join('\n').split('\n'), until, stop };
}

const lines: string[] = [];
const log = createLog('watchdog', { write: (line) => lines.push(line) });

async function inFolder(test: (folder: string) => Promise<void> | void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-watchdog-'));
  lines.length = 0;
  try {
    await test(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const Watchdogs = suite('watchdog');

/** Runs a whole life of the service and gives what systemd was told. */
async function life(address: string): Promise<string[]> {
  const systemd = await receiver(address);
  try {
    const watchdog = openWatchdog(SETTINGS, log, { NOTIFY_SOCKET: address, WATCHDOG_USEC: '30000000' });
    assert.is(watchdog.kind, 'systemd');
    watchdog.ready();
    watchdog.status('all is\nwell');
    await systemd.until('ready', () => systemd.text().includes('STATUS=all is well'));
    for (let ms = 0; ms <= 20_000; ms += 1_000) watchdog.feed(ms);
    watchdog.close();
    await systemd.until('stopping', () => systemd.text().includes('STOPPING=1'));
    return systemd.text().filter((line) => line !== '');
  } finally {
    await systemd.stop();
  }
}

const LIFE = ['READY=1', 'STATUS=all is well', 'WATCHDOG=1', 'WATCHDOG=1', 'WATCHDOG=1', 'STOPPING=1'];

if (needs('socat', commandWorks('socat', '-V'), 'apt-get install socat')) {
  Watchdogs('systemd hears ready, status, a feeding each quarter of its patience, and the stop', async () => {
    await inFolder(async (folder) => {
      assert.equal(await life(join(folder, 'notify')), LIFE);
    });
  });

  Watchdogs('an abstract address serves as well', async () => {
    assert.equal(await life(`@s3mp-test-${process.pid}`), LIFE);
  });
}

if (needs('systemd-notify', commandWorks('systemd-notify', '--version'), 'apt-get install systemd')) {
  Watchdogs('without socat systemd-notify is used', async () => {
    await inFolder(async (folder) => {
      const path = process.env.PATH;
      const tool = join(folder, 'bin');
      mkdirSync(tool);
      symlinkSync('/usr/bin/systemd-notify', join(tool, 'systemd-notify'));
      const address = join(folder, 'notify');
      const systemd = await receiver(address);
      process.env.PATH = tool;
      process.env.NOTIFY_SOCKET = address;
      try {
        const watchdog = openWatchdog(SETTINGS, log);
        watchdog.ready();
        await systemd.until('ready', () => systemd.text().includes('READY=1'));
        watchdog.close();
        await systemd.until('stopping', () => systemd.text().includes('STOPPING=1'));
      } finally {
        process.env.PATH = path;
        delete process.env.NOTIFY_SOCKET;
        await systemd.stop();
      }
    });
  });
}

Watchdogs('with neither of them the log says what to install, and nothing else happens', async () => {
  await inFolder(async (folder) => {
    const path = process.env.PATH;
    process.env.PATH = folder;
    try {
      const watchdog = openWatchdog(SETTINGS, log, { NOTIFY_SOCKET: join(folder, 'notify') });
      watchdog.ready();
      const end = Date.now() + GUARD_MS;
      while (lines.length === 0 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
      assert.match(lines[0] ?? '', /install socat/);
      watchdog.feed(0);
      watchdog.close();
    } finally {
      process.env.PATH = path;
    }
  });
});

Watchdogs('without systemd there is none, and asking for it is a warning', async () => {
  assert.is(openWatchdog(SETTINGS, log, {}).kind, 'none');
  await inFolder(() => {
    assert.is(openWatchdog({ ...SETTINGS, driver: 'systemd' }, log, {}).kind, 'none');
    assert.match(lines[0]!, /warn .*not with Type=notify/);
  });
});

Watchdogs('the device is fed every three seconds and disarmed by an orderly stop', async () => {
  await inFolder((folder) => {
    const device = join(folder, 'watchdog');
    writeFileSync(device, '');
    const watchdog = openWatchdog({ driver: 'device', device }, log, {});
    for (let ms = 0; ms < 10_000; ms += 500) watchdog.feed(ms);
    assert.is(readFileSync(device, 'latin1'), '....');
    watchdog.close();
    assert.is(readFileSync(device, 'latin1'), '....V');
    const missing = join(folder, 'missing');
    assert.is(openWatchdog({ driver: 'device', device: missing }, log, {}).kind, 'none');
    assert.not(existsSync(missing), 'no file is made in its place');
    assert.match(lines[0]!, /error .*cannot be used/);
  });
});

Watchdogs.run();
