/** The serial driver without an addon: stty and Node's tty streams, over a pty against a foreign slave. */

import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createLog } from '#hw/log';
import { openBus, type SerialDriver } from '#hw/serial/open';
import type { BytePort } from '#hw/serial/port';
import { missingSettings } from '#hw/serial/tty';
import { GUARD_MS } from '#test/guard';
import { commandWorks, needs } from '#test/needs';
import { Quality, Quantity } from '../../firmware/measurement-image.ts';
import { clock, loopOn, until } from './pty-loop.ts';
import {
  HOUSE,
  hasPymodbus,
  hasSocat,
  linkSerialDriver,
  registersOf,
  startPtyPair,
  startPymodbusSlave,
} from './pymodbus.ts';

const BUSYBOX = '/bin/busybox';

/** A port on one end of a pty pair that `test` makes in the folder, and what it reports. */
async function withPort(
  driver: SerialDriver,
  test: (rig: {
    folder: string;
    port: BytePort;
    states: string[];
    received: () => string;
    lines: string[];
  }) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-tty-'));
  const lines: string[] = [];
  const log = createLog('bus', { write: (line) => lines.push(line) });
  const port = openBus(join(folder, 'bus'), { baud: 9600, parity: 'even', driver, log });
  const states: string[] = [];
  let received = '';
  port.onState = (open, error) => states.push(open ? 'open' : error!.message);
  port.onData = (bytes, length) => (received += Buffer.from(bytes.subarray(0, length)).toString('latin1'));
  try {
    await test({ folder, port, states, received: () => received, lines });
  } finally {
    await port.close();
    rmSync(folder, { recursive: true });
  }
}

const Settings = suite('stty output');

/** As coreutils prints it, and as busybox does, which has fewer words. */
const COREUTILS = `speed 9600 baud; rows 0; columns 0; line = 0;
intr = ^C; quit = ^\\\\; erase = ^?; min = 1; time = 0;
parenb -parodd -cmspar cs8 -hupcl -cstopb cread clocal -crtscts
-ignbrk -brkint -opost -isig -icanon -iexten -echo`;

Settings('a line that took its settings lacks none, one that dropped parity is told so', () => {
  assert.equal(missingSettings(COREUTILS, { baud: 9600, parity: 'even' }), []);
  assert.equal(missingSettings(COREUTILS, { baud: 19_200, parity: 'even' }), ['19200 baud']);
  assert.equal(missingSettings(COREUTILS, { baud: 9600, parity: 'odd' }), ['parodd']);
  assert.equal(missingSettings(COREUTILS.replace('parenb', '-parenb'), { baud: 9600, parity: 'even' }), ['parenb']);
  const two = { baud: 9600, parity: 'even', stopBits: 2 } as const;
  assert.equal(missingSettings(COREUTILS, two), ['cstopb']);
  assert.equal(missingSettings(COREUTILS.replace('-cstopb', 'cstopb'), two), []);
  assert.equal(missingSettings('', { baud: 9600, parity: 'none' }).length, 5);
});

Settings.run();

if (needs('socat', hasSocat(), 'apt-get install socat')) {
  const Tty = suite('serial port by stty');

  Tty('carries bytes both ways on a raw line, and comes back with the line', async () => {
    await withPort('tty', async ({ folder, port, states, received }) => {
      for (let round = 1; round <= 3; round++) {
        const pty = await startPtyPair(folder);
        await until('open', () => port.isOpen);
        assert.is(port.driver, 'tty');
        const far = await openFar(pty.meter);
        try {
          // All that a cooked line would change: line feed, carriage return, XON, XOFF, interrupt, end of file.
          const odd = '\n\r\x11\x13\x03\x04\x00\xff';
          far.write(odd);
          await until('bytes from the far end', () => received() === odd.repeat(round));
          port.write(Uint8Array.from(Buffer.from(odd, 'latin1')));
          await until('bytes at the far end', () => far.received() === odd);
        } finally {
          await far.close();
          await pty.stop();
        }
        await until('the loss is noticed', () => !port.isOpen);
      }
      assert.is(states.filter((state) => state === 'open').length, 3);
      assert.ok(states.some((state) => /trying again in/.test(state)));
    });
  });

  if (needs('busybox', commandWorks('busybox', 'stty', '--help'), 'apt-get install busybox')) {
    Tty('busybox’s stty serves as well', async () => {
      const path = process.env.PATH;
      const tools = mkdtempSync(join(tmpdir(), 's3mp-busybox-'));
      for (const name of ['stty', 'flock']) symlinkSync(BUSYBOX, join(tools, name));
      try {
        await withPort('tty', async ({ folder, port, states }) => {
          const pty = await startPtyPair(folder);
          process.env.PATH = tools;
          try {
            await until('open', () => port.isOpen);
            assert.not.ok(
              states.some((state) => /stty|lock/.test(state)),
              String(states),
            );
            const shown = spawnSync(BUSYBOX, ['stty', '-F', pty.bus, '-a'], { encoding: 'utf8' }).stdout;
            assert.equal(missingSettings(shown, { baud: 9600, parity: 'none' }), []);
          } finally {
            await pty.stop();
          }
        });
      } finally {
        process.env.PATH = path;
        rmSync(tools, { recursive: true });
      }
    });
  }

  Tty('a port that another process holds is refused with words, and taken when it is free', async () => {
    await withPort('tty', async ({ folder, port, states }) => {
      const pty = await startPtyPair(folder);
      const holder = spawn('flock', ['-n', pty.bus, 'sleep', '60'], { stdio: 'ignore', detached: true });
      try {
        await until('refused', () => states.some((state) => /another program holds the port/.test(state)));
        process.kill(-holder.pid!);
        await until('open', () => port.isOpen);
        assert.not.ok(commandWorks('flock', '-n', pty.bus, 'true'), 'the open port is locked');
      } finally {
        holder.kill();
        await pty.stop();
      }
    });
  });

  Tty('two stop bits reach the line with either driver, and one is the default', async () => {
    linkSerialDriver();
    const folder = mkdtempSync(join(tmpdir(), 's3mp-tty-'));
    const pty = await startPtyPair(folder);
    try {
      for (const driver of ['tty', 'serialport'] as const) {
        for (const stopBits of [2, 1, undefined] as const) {
          const port = openBus(pty.bus, { baud: 9600, parity: 'none', driver, ...(stopBits ? { stopBits } : {}) });
          try {
            await until('open', () => port.isOpen);
            assert.match(port.name, stopBits === 2 ? / 9600 8N2$/ : / 9600 8N1$/);
            const shown = spawnSync('stty', ['-F', pty.bus, '-a'], { encoding: 'utf8' }).stdout;
            assert.match(shown, stopBits === 2 ? / cstopb/ : / -cstopb/, driver);
          } finally {
            await port.close();
          }
        }
      }
    } finally {
      await pty.stop();
      rmSync(folder, { recursive: true });
    }
  });

  Tty('a device that is no serial port is refused with stty’s words', async () => {
    const port = openBus('/dev/null', { baud: 9600, parity: 'even', driver: 'tty' });
    let message = '';
    port.onState = (_open, error) => (message ||= error?.message ?? 'open');
    try {
      await until('an answer', () => message !== '');
      assert.match(message, /stty .*: .*(ioctl|Inappropriate)/);
    } finally {
      await port.close();
    }
  });

  Tty('without the native part `auto` takes tty and says why once; `serialport` says what is missing', async () => {
    // The bundle of this test has no `prebuilds/` beside it unless another test has put it there.
    const folder = mkdtempSync(join(tmpdir(), 's3mp-noaddon-'));
    try {
      copyFileSync(__filename, join(folder, 'child.js'));
      const run = spawnSync(process.execPath, [join(folder, 'child.js')], {
        env: { ...process.env, S3MP_TTY_CHILD: '1' },
        cwd: process.cwd(),
        encoding: 'utf8',
        timeout: GUARD_MS,
      });
      assert.match(run.stdout, /^auto tty 1 warning: .*no native serial driver/m);
      assert.match(run.stdout, /^serialport undefined: .*serialport cannot be loaded/m);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  if (needs('pymodbus', hasPymodbus(), 'apt-get install python3-pymodbus python3-serial-asyncio')) {
    Tty('the poll loop reads a foreign meter through it', async () => {
      linkSerialDriver();
      await withPort('tty', async ({ folder, port }) => {
        const pty = await startPtyPair(folder);
        const slave = await startPymodbusSlave(pty.meter, registersOf({ ...HOUSE, activePower: -327 }));
        const { loop, image } = loopOn(port, { timeoutMs: GUARD_MS });
        loop.start();
        try {
          await until('50 cycles', () => loop.cycles > 50);
          assert.is(image.value(Quantity.activePower), -327);
          assert.is(image.quality(Quantity.activeEnergy, clock()), Quality.good);
          assert.is(loop.master.counters.failures + loop.master.counters.damaged, 0);
        } finally {
          loop.stop();
          await slave.stop();
          await pty.stop();
        }
      });
    });
  }

  if (process.env.S3MP_TTY_CHILD) void child();
  else Tty.run();
}

/** The far end of the line, through a program of its own. */
async function openFar(path: string) {
  const socat = spawn('socat', ['-u', `${path},raw,echo=0`, 'STDOUT'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const writer = spawn('socat', ['-u', 'STDIN', `${path},raw,echo=0`], { stdio: ['pipe', 'ignore', 'ignore'] });
  let received = '';
  socat.stdout.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')));
  return {
    received: () => received,
    write: (text: string) => void writer.stdin.write(Buffer.from(text, 'latin1')),
    async close() {
      for (const process of [socat, writer]) {
        const gone = new Promise((resolve) => process.once('exit', resolve));
        process.kill();
        await gone;
      }
    },
  };
}

/** Runs in a folder without the native part: opens a pty with both drivers and prints what became of it. */
async function child(): Promise<void> {
  for (const driver of ['auto', 'serialport'] as const) {
    await withPort(driver, async ({ folder, port, states, lines }) => {
      const pty = await startPtyPair(folder);
      await until('an answer', () => port.isOpen || states.length > 0);
      if (driver === 'auto') {
        await until('open', () => port.isOpen);
        console.log(`auto ${port.driver} ${lines.length} warning: ${lines[0]?.trim()}`);
      } else console.log(`serialport ${port.driver}: ${states[0]}`);
      await pty.stop();
    });
  }
}
