/** Raw Modbus RTU bytes over TCP, as serial device servers and the simulated energy meter carry them. */

import { connect, type Socket } from 'node:net';
import { ModbusError } from '#base/errors';
import { type BytePort, REOPEN_FIRST_MS, REOPEN_LAST_MS } from '#hw/serial/port';

/** A far end that vanished without a word is noticed after some of these. */
const KEEP_ALIVE_MS = 10_000;

/** Connects, and connects again whenever the connection is lost. */
export function openTcpPort(host: string, port: number): BytePort {
  let socket: Socket | undefined;
  let open = false;
  let closed = false;
  let waitMs = REOPEN_FIRST_MS;
  let timer: NodeJS.Timeout | undefined;

  const self: BytePort = {
    name: `tcp://${host}:${port}`,
    get isOpen() {
      return open;
    },
    write(frame) {
      // A request that could not leave must not follow later, among its successors.
      if (open && socket!.writableLength === 0) socket!.write(frame);
    },
    onData: () => {},
    onState: () => {},
    async close() {
      closed = true;
      clearTimeout(timer);
      socket?.destroy();
    },
  };

  function connectNow(): void {
    let reason: Error | undefined;
    socket = connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS });
    socket.on('connect', () => {
      open = true;
      waitMs = REOPEN_FIRST_MS;
      self.onState(true);
    });
    socket.on('data', (bytes) => self.onData(bytes, bytes.length));
    socket.on('error', (error) => {
      reason = error;
    });
    socket.on('close', () => {
      open = false;
      if (closed) return;
      const why = reason?.message ?? 'the far end closed the connection';
      self.onState(false, new ModbusError('modbus.port', `${self.name}: ${why}; trying again in ${waitMs / 1000} s`));
      timer = setTimeout(connectNow, waitMs);
      waitMs = Math.min(2 * waitMs, REOPEN_LAST_MS);
    });
  }
  // The caller sets its handlers first.
  timer = setTimeout(connectNow, 0);
  return self;
}
