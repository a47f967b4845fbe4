/**
 * A serial line without a native addon: `stty` sets the line, Node's own tty stream says when there are bytes, and frames
 * are written at the file descriptor. For boards whose Node no addon fits.
 *
 * Parity is what goes wrong silently: drivers drop what they cannot do. So the settings are read back, except on a pty,
 * which has neither parity nor speed.
 */

import type { SpawnOptions } from 'node:child_process';
import { closeSync, constants, openSync, realpathSync } from 'node:fs';
import type { ReadStream } from 'node:tty';
import { messageOf } from '#base/errors';
import { type Line, READ_SIZE, type SerialSettings } from '#hw/serial/line';
import { spawn } from '#hw/spawn';

/** Words that coreutils' and busybox's stty both know. */
const PARITY = { none: ['-parenb'], even: ['parenb', '-parodd'], odd: ['parenb', 'parodd'] } as const;
const STOP_BITS = { 1: '-cstopb', 2: 'cstopb' } as const;
const FRAMING = ['raw', '-echo', '-echoe', '-echok', 'cs8', 'clocal', 'cread', '-hupcl', '-crtscts'];
const COMMAND_LIMIT_MS = 10_000;

/** @throws Error when the port cannot be opened, is held by another program, or does not take the settings */
export async function openTtyLine(path: string, settings: SerialSettings): Promise<Line> {
  const fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK);
  let stream: ReadStream | undefined;
  let deliver: (bytes: Uint8Array, length: number) => void = () => {};
  try {
    const isPty = realpathSync(path).startsWith('/dev/pts/');
    await lock(fd);
    await configure(fd, settings, isPty);
    // libuv opens the device anew and puts it on this descriptor, so the line is set before (an open that waits for a
    // carrier would wait forever) and locked again after. One buffer serves all reads.
    const onread = {
      buffer: new Uint8Array(READ_SIZE),
      callback: (length: number, bytes: Uint8Array) => {
        deliver(bytes, length);
        return true;
      },
    };
    // Loaded here: a meter with another driver does not keep it in memory.
    const tty = process.getBuiltinModule('node:tty');
    const opened = new tty.ReadStream(fd, { onread } as ConstructorParameters<typeof ReadStream>[1]);
    stream = opened;
    let reason: unknown = new Error('the line was hung up');
    opened.on('error', (error) => {
      reason = error;
    });
    await lock(fd);
    if (!isPty) await verify(fd, settings);
    return {
      driver: 'tty',
      fd,
      listen(onData, onLost) {
        deliver = onData;
        opened.on('close', () => onLost(reason));
        if (opened.closed) onLost(reason);
        else opened.resume();
      },
      close: () => closeBoth(fd, opened),
    };
  } catch (error) {
    await closeBoth(fd, stream);
    throw error;
  }
}

/** Takes the lock that serialport also takes; it lasts as long as the descriptor. Without `flock` there is none. */
async function lock(fd: number): Promise<void> {
  const result = await command(fd, 'flock', ['-n', '3']);
  if (result?.status === 1) throw new Error('cannot lock the port');
}

async function configure(fd: number, { baud, parity, stopBits = 1 }: SerialSettings, isPty: boolean): Promise<void> {
  await stty(fd, [String(baud), ...FRAMING, STOP_BITS[stopBits], ...PARITY[isPty ? 'none' : parity]]);
}

/** Reads the settings back. @throws Error that names what the port did not take */
async function verify(fd: number, settings: SerialSettings): Promise<void> {
  const missing = missingSettings(await stty(fd, ['-a']), settings);
  if (missing.length > 0) throw new Error(`the port does not take ${missing.join(', ')}`);
}

/** What the output of `stty -a` lacks of the settings that matter. */
export function missingSettings(shown: string, { baud, parity, stopBits = 1 }: SerialSettings): string[] {
  const set = shown.split(/[\s;]+/);
  const missing = ['cs8', STOP_BITS[stopBits], '-icanon', ...PARITY[parity]].filter((word) => !set.includes(word));
  if (set[set.indexOf('speed') + 1] !== String(baud)) missing.unshift(`${baud} baud`);
  return missing;
}

async function stty(fd: number, words: readonly string[]): Promise<string> {
  const result = await command(fd, 'stty', words);
  if (!result) throw new Error('there is no stty here: install coreutils or busybox, or use serial.driver serialport');
  if (result.status !== 0)
    throw new Error(`stty ${words.join(' ')}: ${result.errors.trim() || `status ${result.status}`}`);
  return result.output;
}

/**
 * Runs a command with the line as its standard input and as descriptor 3.
 * @returns undefined when there is no such command
 */
function command(fd: number, name: string, words: readonly string[]) {
  return new Promise<{ status: number | null; output: string; errors: string } | undefined>((resolve, reject) => {
    const options: SpawnOptions = {
      stdio: [fd, 'pipe', 'pipe', fd],
      timeout: COMMAND_LIMIT_MS,
      env: { PATH: process.env.PATH, LC_ALL: 'C' },
    };
    const child = spawn(name, words, options);
    let output = '';
    let errors = '';
    child.stdout!.on('data', (chunk) => (output += chunk));
    child.stderr!.on('data', (chunk) => (errors += chunk));
    child.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ENOENT' ? resolve(undefined) : reject(new Error(`${name}: ${messageOf(error)}`)),
    );
    child.on('close', (status) => resolve({ status, output, errors }));
  });
}

async function closeBoth(fd: number, stream: ReadStream | undefined): Promise<void> {
  // libuv uses our descriptor itself where it cannot open the device anew, and closes it then.
  const isShared = (stream as { _handle?: { fd?: number } } | undefined)?._handle?.fd === fd;
  if (stream && !stream.closed) {
    const gone = new Promise((resolve) => stream.once('close', resolve));
    stream.destroy();
    await gone;
  }
  if (!isShared) closeSync(fd);
}
