/**
 * A serial port through the native binding of the serialport package, read into one fixed buffer without its streams.
 * The package is loaded at the first use only: where its native part is missing, the error says so and the meter runs on.
 */

import type { SerialPort as SerialPortType } from 'serialport';
import { ModbusError, messageOf } from '#base/errors';
import { type BytePort, REOPEN_FIRST_MS, REOPEN_LAST_MS } from '#hw/serial/port';

type NativePort = Awaited<ReturnType<typeof SerialPortType.binding.open>>;

export interface SerialSettings {
  readonly baud: number;
  readonly parity: 'none' | 'even' | 'odd';
}

const READ_SIZE = 512;

/** Opens a port, and opens it again whenever it is lost (an unplugged adapter). */
export function openSerialPort(path: string, { baud, parity }: SerialSettings): BytePort {
  let port: NativePort | undefined;
  let closed = false;
  let waitMs = REOPEN_FIRST_MS;
  let timer: NodeJS.Timeout | undefined;
  const buffer = Buffer.alloc(READ_SIZE);

  const self: BytePort = {
    name: `${path} ${baud} 8${parity === 'none' ? 'N' : parity === 'even' ? 'E' : 'O'}1`,
    get isOpen() {
      return port !== undefined;
    },
    write(frame) {
      // The binding takes a Buffer; this is a view of the caller's bytes, not a copy.
      port?.write(Buffer.from(frame.buffer, frame.byteOffset, frame.length)).catch(lost);
    },
    onData: () => {},
    onState: () => {},
    async close() {
      closed = true;
      clearTimeout(timer);
      await port?.close().catch(() => {});
      port = undefined;
    },
  };

  async function openNow(): Promise<void> {
    let opened: NativePort;
    try {
      const { SerialPort } = await import('serialport');
      const options = { path, baudRate: baud, dataBits: 8, stopBits: 1, parity, lock: true, hupcl: false } as const;
      opened = await SerialPort.binding.open(options);
    } catch (error) {
      lost(error);
      return;
    }
    if (closed) {
      await opened.close().catch(() => {});
      return;
    }
    port = opened;
    waitMs = REOPEN_FIRST_MS;
    self.onState(true);
    await readFrom(opened);
  }

  async function readFrom(opened: NativePort): Promise<void> {
    try {
      while (port === opened) {
        const { bytesRead } = await opened.read(buffer, 0, READ_SIZE);
        if (bytesRead > 0) self.onData(buffer, bytesRead);
      }
    } catch (error) {
      if (port === opened) lost(error);
    }
  }

  function lost(error: unknown): void {
    if (closed) return;
    const old = port;
    port = undefined;
    old?.close().catch(() => {});
    clearTimeout(timer);
    timer = setTimeout(() => void openNow(), waitMs);
    self.onState(
      false,
      new ModbusError('modbus.port', `${self.name}: ${hint(error)}; trying again in ${waitMs / 1000} s`),
    );
    waitMs = Math.min(2 * waitMs, REOPEN_LAST_MS);
  }

  // The caller sets its handlers first.
  timer = setTimeout(() => void openNow(), 0);
  return self;
}

/** The driver's words, with what to do about the usual ones. */
function hint(error: unknown): string {
  const text = messageOf(error);
  if (/No such file/i.test(text)) return `${text} (is the adapter plugged in? see ls /dev/serial/by-id)`;
  if (/Permission denied/i.test(text)) return `${text} (the user must be in the group dialout)`;
  if (/lock/i.test(text)) return `${text} (another program holds the port)`;
  return text;
}
