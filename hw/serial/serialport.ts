/**
 * A serial port through the native binding of the serialport package. The binding opens and configures the port and says
 * when it is readable; bytes are read and written at its file descriptor at once, into one fixed buffer, since streams
 * and the thread pool behind them cost a tenth of the bus time at 115200 baud.
 * The package is loaded at the first use only: where its native part is missing, the error says so and the meter runs on.
 */

import { readSync, writeSync } from 'node:fs';
import { ModbusError, messageOf } from '#base/errors';
import { type BytePort, REOPEN_FIRST_MS, REOPEN_LAST_MS } from '#hw/serial/port';

export interface SerialSettings {
  readonly baud: number;
  readonly parity: 'none' | 'even' | 'odd';
}

/** What the bindings for Linux and macOS have in common. */
interface PosixPort {
  readonly fd: number | null;
  readonly poller: {
    on(event: 'readable', listener: (error: Error | null) => void): unknown;
    poll(events: number): void;
  };
  flush(): Promise<void>;
  close(): Promise<void>;
}

const READ_SIZE = 512;
/** Event flag of the binding's poller, which must be armed again after each event. */
const READABLE = 1;

/** Opens a port, and opens it again whenever it is lost (an unplugged adapter). */
export function openSerialPort(path: string, { baud, parity }: SerialSettings): BytePort {
  let port: PosixPort | undefined;
  let closed = false;
  let opening: Promise<void> | undefined;
  let waitMs = REOPEN_FIRST_MS;
  let timer: NodeJS.Timeout | undefined;
  const buffer = new Uint8Array(READ_SIZE);

  const self: BytePort = {
    name: `${path} ${baud} 8${parity === 'none' ? 'N' : parity === 'even' ? 'E' : 'O'}1`,
    get isOpen() {
      return port !== undefined;
    },
    write(frame) {
      if (port === undefined) return;
      try {
        writeSync(port.fd!, frame);
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
      const old = port;
      port = undefined;
      await old?.close().catch(() => {});
    },
  };

  async function openNow(): Promise<void> {
    let opened: PosixPort | undefined;
    try {
      const { SerialPort } = await import('serialport');
      const options = { path, baudRate: baud, dataBits: 8, stopBits: 1, parity, lock: true, hupcl: false } as const;
      opened = (await SerialPort.binding.open(options)) as unknown as PosixPort;
      if (typeof opened.fd !== 'number') throw new Error('serial ports work on Linux and macOS only');
      // What came before belongs to nobody.
      await opened.flush();
    } catch (error) {
      await opened?.close().catch(() => {});
      lost(error);
      return;
    }
    if (closed) {
      await opened.close().catch(() => {});
      return;
    }
    port = opened;
    waitMs = REOPEN_FIRST_MS;
    listen(opened);
    self.onState(true);
  }

  function listen(opened: PosixPort): void {
    opened.poller.on('readable', (error) => {
      if (port !== opened) return;
      const length = error ? failed(error) : readInto(opened);
      if (length > 0) self.onData(buffer, length);
      if (port === opened) opened.poller.poll(READABLE);
    });
    opened.poller.poll(READABLE);
  }

  /** @returns bytes read, 0 when there were none or the port is lost */
  function readInto(opened: PosixPort): number {
    try {
      const length = readSync(opened.fd!, buffer, 0, READ_SIZE, null);
      return length > 0 ? length : failed(new Error('the line was hung up'));
    } catch (error) {
      return isBusy(error) ? 0 : failed(error);
    }
  }

  function failed(error: unknown): 0 {
    lost(error);
    return 0;
  }

  function lost(error: unknown): void {
    if (closed) return;
    const old = port;
    port = undefined;
    old?.close().catch(() => {});
    clearTimeout(timer);
    timer = setTimeout(open, waitMs);
    self.onState(
      false,
      new ModbusError('modbus.port', `${self.name}: ${hint(error)}; trying again in ${waitMs / 1000} s`),
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
function isBusy(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'EAGAIN' || code === 'EINTR';
}

/** The driver's words, with what to do about the usual ones. */
function hint(error: unknown): string {
  const text = messageOf(error);
  if (/No such file/i.test(text)) return `${text} (is the adapter plugged in? see ls /dev/serial/by-id)`;
  if (/Permission denied/i.test(text)) return `${text} (the user must be in the group dialout)`;
  if (/lock/i.test(text)) return `${text} (another program holds the port)`;
  return text;
}
