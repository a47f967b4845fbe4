/**
 * A byte stream to a bus: a serial port, or raw RTU over TCP. A port that vanishes is opened again by itself; whoever
 * uses it sees `isOpen` and gets bytes when there are any.
 */

import type { ModbusError } from '#base/errors';

export interface BytePort {
  /** For people: `/dev/ttyUSB0 9600 8E1`, `tcp://127.0.0.1:1502`. */
  readonly name: string;
  readonly isOpen: boolean;
  /** What moves the bytes of an open serial port: `serialport` or `tty`. */
  readonly driver?: string | undefined;
  /** Sends a frame that stays unchanged until it has left; drops it when the port is closed. */
  write(frame: Uint8Array): void;
  /** Called with received bytes, a view that is valid during the call. */
  onData: (bytes: Uint8Array, length: number) => void;
  /** Called when the port opens, and when it is lost with the reason. */
  onState: (open: boolean, error?: ModbusError) => void;
  close(): Promise<void>;
}

/** Waits between attempts to open a port again, ms. */
export const REOPEN_FIRST_MS = 500;
export const REOPEN_LAST_MS = 10_000;
