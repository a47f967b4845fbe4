/**
 * A simulated OR-WE-514: a Modbus RTU slave that answers with real RTU bytes over TCP, at the pace of its baud rate.
 * It keeps silent where a real one does: on a bad CRC, on another unit's address, on a broadcast.
 */

import { createServer, type Server, type Socket } from 'node:net';
import { readU16, writeU16, writeU32 } from '#base/bytes';
import { messageOf, S3mpError } from '#base/errors';
import type { HouseholdState } from '#hw/sim/household';
import { writeCrc } from '#modbus/crc';
import {
  decodeRequest,
  encodeException,
  FunctionCode,
  MAX_FRAME,
  MAX_READ,
  MAX_WRITE,
  readReplyLength,
  requestLength,
} from '#modbus/rtu';

/** Whose energy it measures. */
export interface House {
  at(nowMs: number): HouseholdState;
}

export interface SimSlaveOptions {
  readonly unit?: number;
  /** Bits per second that pace the answers, 11 bits a character; 0 answers at once. */
  readonly baud?: number;
  /** Time the meter takes before it answers, ms. */
  readonly turnaroundMs?: number;
}

/** Ranges of registers that exist: instantaneous values, energies, settings. */
const RANGES: readonly (readonly [first: number, last: number])[] = [
  [0x000b, 0x000b],
  [0x0110, 0x011c],
  [0x0130, 0x0158],
  [0xa000, 0xa01f],
];
const METER_TYPE = 0x00a2;
/** Longer than t3.5 at every rate above 1200 bit/s, shorter than any pause between an attempt and the next. */
const FRAME_SILENCE_MS = 30;

/** The register file and its answers, without any transport. */
export class SimMeter {
  private readonly registers = new Uint8Array(2 * 0x10000);
  private readonly household: House | undefined;
  private readonly unit: number;
  /** Most registers of one read; more is refused with exception 3. */
  maxRead: number;

  constructor(unit = 1, household?: House, maxRead = MAX_READ) {
    this.unit = unit;
    this.household = household;
    this.maxRead = maxRead;
    writeU16(this.registers, 2 * 0x000b, METER_TYPE);
    writeU16(this.registers, 2 * 0x0110, unit);
    writeU16(this.registers, 2 * 0x0111, 0x0304);
  }

  /** Sets a 16-bit register, for tests; a household overwrites its own. */
  setRegister(address: number, value: number): void {
    writeU16(this.registers, 2 * address, value);
  }

  /**
   * Answers one whole request.
   * @returns length of the reply in `out`, 0 for silence
   */
  answer(frame: Uint8Array, length: number, out: Uint8Array, nowMs: number): number {
    const request = decodeRequest(frame, 0, length);
    if (!request || request.unit !== this.unit) return 0;
    const { unit, functionCode, start, count } = request;
    const refuse = (code: number) => encodeException(out, 0, unit, functionCode, code);
    const isRead = functionCode === FunctionCode.readHolding;
    if (!isRead && functionCode !== FunctionCode.writeSingle && functionCode !== FunctionCode.writeMultiple) {
      return refuse(1);
    }
    if (count < 1 || count > (isRead ? this.maxRead : MAX_WRITE)) return refuse(3);
    if (!RANGES.some(([first, last]) => start >= first && start + count - 1 <= last)) return refuse(2);
    if (isRead) {
      this.refresh(nowMs);
      out[0] = unit;
      out[1] = functionCode;
      out[2] = 2 * count;
      out.set(this.registers.subarray(2 * start, 2 * (start + count)), 3);
      return writeCrc(out, 0, readReplyLength(count) - 2);
    }
    if (start < 0x0110 || start > 0x011c) return refuse(2);
    for (let i = 0; i < count; i++) this.setRegister(start + i, readU16(frame, request.valuesAt + 2 * i));
    out.set(frame.subarray(0, 6));
    return writeCrc(out, 0, 6);
  }

  private refresh(nowMs: number): void {
    if (!this.household) return;
    const s = this.household.at(nowMs);
    const { registers } = this;
    writeU16(registers, 2 * 0x0130, s.frequency);
    writeU16(registers, 2 * 0x0131, s.voltage);
    writeU32(registers, 2 * 0x0139, s.current);
    writeU32(registers, 2 * 0x0140, s.activePower >>> 0);
    writeU32(registers, 2 * 0x0148, s.reactivePower >>> 0);
    writeU32(registers, 2 * 0x0150, s.apparentPower >>> 0);
    writeU16(registers, 2 * 0x0158, s.powerFactor & 0xffff);
    writeU32(registers, 2 * 0xa000, s.activeEnergy);
    writeU32(registers, 2 * 0xa01e, s.reactiveEnergy);
  }
}

export interface SimSlave {
  readonly meter: SimMeter;
  readonly port: number;
  /** Stops answering without closing connections, as an unplugged meter does. */
  mute: boolean;
  close(): Promise<void>;
}

/** Serves a meter over TCP. @throws S3mpError `socket.in-use`, `socket.failed` */
export async function startSimSlave(
  address: { readonly host: string; readonly port: number },
  meter: SimMeter,
  options: SimSlaveOptions = {},
): Promise<SimSlave> {
  const { baud = 9600, turnaroundMs = 5 } = options;
  const characterMs = baud > 0 ? 11_000 / baud : 0;
  const sockets = new Set<Socket>();
  const slave = { meter, port: address.port, mute: false, close };

  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    const rx = new Uint8Array(MAX_FRAME);
    let length = 0;
    let lastAt = 0;
    socket.on('data', (bytes) => {
      // Silence ends a frame, so a stray byte spoils one request and not all that follow.
      const now = performance.now();
      if (now - lastAt > FRAME_SILENCE_MS) length = 0;
      lastAt = now;
      for (const byte of bytes) {
        if (length === MAX_FRAME) length = 0;
        rx[length++] = byte;
        const wanted = requestLength(rx, 0, length);
        if (wanted === 0 || length < Math.min(wanted, MAX_FRAME)) continue;
        const out = new Uint8Array(MAX_FRAME);
        const size = meter.answer(rx, length, out, Date.now());
        const requestMs = length * characterMs;
        length = 0;
        if (size === 0 || slave.mute) continue;
        const send = () => void (socket.destroyed || socket.write(out.subarray(0, size)));
        const waitMs = requestMs + turnaroundMs + size * characterMs;
        if (waitMs > 0) setTimeout(send, waitMs);
        else send();
      }
    });
  });

  async function close(): Promise<void> {
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  slave.port = await listen(server, address);
  return slave;
}

function listen(server: Server, { host, port }: { host: string; port: number }): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const code = error.code === 'EADDRINUSE' ? 'socket.in-use' : 'socket.failed';
      reject(new S3mpError(code, `simulated energy meter at ${host}:${port}: ${messageOf(error)}`, {}, error));
    });
    server.listen(port, host, () => {
      const address = server.address();
      resolve(typeof address === 'object' && address ? address.port : port);
    });
  });
}
