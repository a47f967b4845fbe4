/**
 * What the serial drivers have in common: a line that is open at a file descriptor, and a port that opens such a line
 * again and again whenever it is lost.
 */

import { writeSync } from 'node:fs';
import { ModbusError, messageOf } from '#base/errors';
import { type BytePort, REOPEN_FIRST_MS, REOPEN_LAST_MS } from '#hw/serial/port';

export interface SerialSettings {
  readonly baud: number;
  readonly parity: 'none' | 'even' | 'odd';
  /** 1 by default. */
  readonly stopBits?: 1 | 2;
}

/** For people: `9600 8E1`. */
export const settingsText = ({ baud, parity, stopBits = 1 }: SerialSettings): string =>
  `${baud} 8${parity[0]!.toUpperCase()}${stopBits}`;

/** An open line. */
export interface Line {
  /** Name of the driver. */
  readonly driver: string;
  /** Non-blocking, for writing. */
  readonly fd: number;
  /** Starts to deliver bytes (a view that is valid during the call) and, once, the loss of the line. */
  listen(onData: (bytes: Uint8Array, length: number) => void, onLost: (error: unknown) => void): void;
  close(): Promise<void>;
}

export type OpenLine = (path: string, settings: SerialSettings) => Promise<Line>;

/** Bytes that a driver takes at once. */
export const READ_SIZE = 512;

/** Opens a port, and opens it again whenever it is lost (an unplugged adapter). */
export function keepOpen(path: string, settings: SerialSettings, openLine: OpenLine): BytePort {
  let line: Line | undefined;
  let closed = false;
  let opening: Promise<void> | undefined;
  let waitMs = REOPEN_FIRST_MS;
  let timer: NodeJS.Timeout | undefined;

  const self: BytePort = {
    name: `${path} ${settingsText(settings)}`,
    get driver() {
      return line?.driver;
    },
    get isOpen() {
      return line !== undefined;
    },
    write(frame) {
      if (line === undefined) return;
      try {
        writeSync(line.fd, frame);
      } catch (error) {
        if (!isBusy(error)) lost(error);
      }
    },
    onData: () => {},
    onState: () => {},
    async close() {
      closed = true;
      clearTimeout(timer);
      await opening;
      const old = line;
      line = undefined;
      await old?.close().catch(() => {});
    },
  };

  async function openNow(): Promise<void> {
    let opened: Line;
    try {
      opened = await openLine(path, settings);
    } catch (error) {
      lost(error);
      return;
    }
    if (closed) {
      await opened.close().catch(() => {});
      return;
    }
    line = opened;
    waitMs = REOPEN_FIRST_MS;
    opened.listen(
      (bytes, length) => line === opened && self.onData(bytes, length),
      (error) => line === opened && lost(error),
    );
    if (line === opened) self.onState(true);
  }

  function lost(error: unknown): void {
    if (closed) return;
    const old = line;
    line = undefined;
    old?.close().catch(() => {});
    clearTimeout(timer);
    timer = setTimeout(open, waitMs);
    self.onState(
      false,
      new ModbusError('modbus.port', `${self.name}: ${hint(path, error)}; trying again in ${waitMs / 1000} s`),
    );
    waitMs = Math.min(2 * waitMs, REOPEN_LAST_MS);
  }

  function open(): void {
    opening = openNow();
  }

  // The caller sets its handlers first.
  timer = setTimeout(open, 0);
  return self;
}

/** Nothing to read, or no room to write, just now. */
export function isBusy(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'EAGAIN' || code === 'EINTR';
}

/** The driver's words, with what to do about the usual ones. */
function hint(path: string, error: unknown): string {
  const text = messageOf(error);
  if (/No such file|ENOENT/i.test(text))
    return /serial\d|ttyAMA|ttyS\d/.test(path)
      ? `${text} (enable_uart=1 and dtoverlay=disable-bt belong in config.txt)`
      : `${text} (is the adapter plugged in? see ls /dev/serial/by-id)`;
  if (/bad file|hung up|E(BADF|IO|NXIO|NODEV)\b/i.test(text)) return `the adapter is gone: ${text} (plug it in again)`;
  if (/Permission denied|EACCES/i.test(text)) return `${text} (the user must be in the group dialout)`;
  if (/lock|EBUSY/i.test(text)) return `${text} (another program holds the port)`;
  return text;
}
