/**
 * A simulated OR-WE-514 at unit 1 with a load that does not change, for the self-test: raw RTU over TCP, reading only. The
 * meter of the lab, with a household and the pace of a line, is in or-we-514.ts; this one is in the firmware's bundle.
 */

import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { readU16, writeU16 } from '#base/bytes';
import { crc16, writeCrc } from '#modbus/crc';
import { readReplyLength } from '#modbus/rtu';

/** Registers that are not zero: frequency, voltage, power factor, energies, and with a load current and powers. */
const wordsOf = (isLoaded: boolean): Readonly<Record<number, number>> => ({
  304: 5001,
  305: 23_142,
  344: 959,
  40961: 50_000,
  40991: 20_000,
  ...(isLoaded ? { 314: 1473, 321: 327, 329: 98, 337: 341 } : {}),
});

/** @param isLoaded  whether current flows now */
export async function startSteadyMeter(isLoaded: () => boolean): Promise<{ url: string; close(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('data', (frame) => {
      if (frame.length !== 8 || crc16(frame, 0, 8) !== 0 || frame[0] !== 1 || frame[1] !== 3) return;
      const start = readU16(frame, 2);
      const count = frame[5]!;
      const words = wordsOf(isLoaded());
      const reply = new Uint8Array(readReplyLength(count));
      reply.set([1, 3, 2 * count]);
      for (let i = 0; i < count; i++) writeU16(reply, 3 + 2 * i, words[start + i] ?? 0);
      socket.write(reply.subarray(0, writeCrc(reply, 0, reply.length - 2)));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
