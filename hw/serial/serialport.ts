/**
 * A serial line through the native binding of the serialport package. The binding opens and configures the port and says
 * when it is readable; bytes are read and written at its file descriptor at once, into one fixed buffer, since streams
 * and the thread pool behind them cost a tenth of the bus time at 115200 baud.
 * The package is loaded at the first use only: where its native part is missing, `DriverMissing` says so.
 */

import { readSync } from 'node:fs';
import { messageOf } from '#base/errors';
import { isBusy, type Line, READ_SIZE, type SerialSettings } from '#hw/serial/line';

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

/** Event flag of the binding's poller, which must be armed again after each event. */
const READABLE = 1;

/** The native part cannot be loaded here: not installed, not built for this machine, or broken. */
export class DriverMissing extends Error {}

/** @throws DriverMissing; or the binding's own Error, when the port cannot be opened */
export async function openNativeLine(path: string, { baud, parity }: SerialSettings): Promise<Line> {
  const { SerialPort } = await import('serialport').catch((error) => {
    throw new DriverMissing(`serialport cannot be loaded: ${messageOf(error).split('\n')[0]}`);
  });
  const options = { path, baudRate: baud, dataBits: 8, stopBits: 1, parity, lock: true, hupcl: false } as const;
  const port = (await SerialPort.binding.open(options)) as unknown as PosixPort;
  const buffer = new Uint8Array(READ_SIZE);
  let open = true;
  const line: Line = {
    driver: 'serialport',
    fd: port.fd ?? -1,
    listen(onData, onLost) {
      port.poller.on('readable', (error) => {
        if (!open) return;
        try {
          if (error) throw error;
          const length = readSync(line.fd, buffer, 0, READ_SIZE, null);
          if (length === 0) throw new Error('the line was hung up');
          onData(buffer, length);
        } catch (reason) {
          if (!isBusy(reason)) onLost(reason);
        }
        if (open) port.poller.poll(READABLE);
      });
      port.poller.poll(READABLE);
    },
    close() {
      open = false;
      return port.close();
    },
  };
  try {
    if (typeof port.fd !== 'number') throw new Error('serial ports work on Linux and macOS only');
    // What came before belongs to nobody.
    await port.flush();
  } catch (error) {
    await line.close().catch(() => {});
    throw error;
  }
  return line;
}
