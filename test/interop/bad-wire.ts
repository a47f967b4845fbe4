/**
 * A wire between two real serial ports that does to the bytes what a bad line does, at the pace of its baud rate: socat
 * makes a pty for each side, and the bytes pass through this process.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { LineTiming } from '#modbus/line-timing';
import type { Random } from '#test/random';
import { type Faults, noFaults, spoil } from '../firmware/line-faults.ts';

export interface BadWire {
  readonly faults: Faults;
  /** Path for the firmware. */
  readonly bus: string;
  /** Path for the energy meter. */
  readonly meter: string;
  stop(): Promise<void>;
}

/** Bytes that an adapter delivers at once. */
const BURST = 8;

/** Lays a wire whose ends are the ptys `bus` and `meter` in `folder`. */
export async function startBadWire(folder: string, timing: LineTiming, random: Random): Promise<BadWire> {
  const faults = noFaults();
  const bus = await openEnd(join(folder, 'bus'));
  const meter = await openEnd(join(folder, 'meter'));
  const clean = { ...noFaults() };
  const toBus = paced(bus.socket, timing);
  const toMeter = paced(meter.socket, timing);

  bus.socket.on('data', (request) => {
    if (faults.echo) toBus(spoil(request, faults, random), 0);
    toMeter(spoil(request, { ...clean, damaged: faults.damaged }, random), 0);
  });
  meter.socket.on('data', (reply) => {
    if (faults.hangMs !== Number.POSITIVE_INFINITY) toBus(spoil(reply, faults, random), faults.hangMs);
  });
  return {
    faults,
    bus: bus.path,
    meter: meter.path,
    async stop() {
      await Promise.all([bus.stop(), meter.stop()]);
    },
  };
}

/** Sends bytes as a line would: one after the other, a character at a time, delivered in bursts. */
function paced(socket: Socket, { characterMs }: LineTiming) {
  let freeAt = 0;
  return (bytes: Uint8Array, delayMs: number): void => {
    const now = performance.now();
    freeAt = Math.max(freeAt, now + delayMs);
    for (let at = 0; at < bytes.length; at += BURST) {
      const burst = bytes.slice(at, at + BURST);
      freeAt += burst.length * characterMs;
      setTimeout(() => socket.destroyed || socket.write(burst), freeAt - now);
    }
  };
}

interface End {
  readonly path: string;
  readonly socket: Socket;
  stop(): Promise<void>;
}

async function openEnd(path: string): Promise<End> {
  const server = createServer({ noDelay: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const connected = once(server, 'connection');
  const child = spawn('socat', [`pty,raw,echo=0,link=${path}`, `tcp:127.0.0.1:${port},nodelay`], { stdio: 'ignore' });
  const [socket] = (await Promise.race([connected, once(child, 'exit').then(() => [])])) as [Socket | undefined];
  server.close();
  if (socket === undefined || !existsSync(path)) throw new Error(`socat made no pty at ${path}`);
  socket.on('error', () => {});
  return { path, socket, stop: () => ended(child, socket) };
}

async function ended(child: ChildProcess, socket: Socket): Promise<void> {
  const exit = child.exitCode === null ? once(child, 'exit') : undefined;
  child.kill();
  await exit;
  socket.destroy();
}
