/**
 * Looks for energy meters on a bus whose settings nobody knows: at every speed and framing it asks unit after unit for one
 * register. Whatever answers gives itself away, also by refusing. It reads and never writes.
 */

import type { Config } from '#hw/config';
import { createLog } from '#hw/log';
import { openBus, type SerialDriver } from '#hw/serial/open';
import type { BytePort } from '#hw/serial/port';
import { REGISTER_MAPS } from '#modbus/maps/index';
import { lineTiming } from '#modbus/master';
import type { Parity } from '#modbus/register-map';
import {
  checkReadReply,
  encodeReadRequest,
  FunctionCode,
  MAX_FRAME,
  READ_REQUEST_LENGTH,
  ReplyCheck,
} from '#modbus/rtu';
import { metersOnBus, openPollLoop } from './bus.ts';
import { judgeRegisters } from './self-test.ts';

export interface ScanOptions {
  /** The configuration with other values of some flags. */
  readonly configWith: (flags: Readonly<Record<string, string>>) => Config;
  readonly units: readonly number[];
  readonly onProgress: (text: string) => void;
}

export interface Found {
  readonly baud: number;
  readonly parity: Parity;
  readonly unit: number;
  /** Register map whose values can be true; undefined when none fits. */
  readonly map: string | undefined;
  /** The values by that map. */
  readonly values: string;
}

/** Usual settings first: those of the factories are 9600 baud with even parity or none. */
const BAUDS = [9600, 19_200, 4800, 2400, 38_400, 1200, 115_200];
const PARITIES: readonly Parity[] = ['even', 'none', 'odd'];
const PROBE_REGISTER = 0x0130;
/** Meters answer within 90 ms, under load within 300. */
const TURNAROUND_MS = 300;
const OPEN_LIMIT_MS = 15_000;
const MAP_LIMIT_MS = 4_000;
const quiet = createLog('scan', { write: () => {} });

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Scans until a setting is found at which something answers. @throws ModbusError when the port does not open */
export async function scanBus({ configWith, units, onProgress }: ScanOptions): Promise<Found[]> {
  const isTcp = !configWith({}).string('serial.url').startsWith('/');
  for (const baud of isTcp ? [9600] : BAUDS) {
    for (const parity of isTcp ? (['even'] as const) : PARITIES) {
      const setting = { 'serial-baud': String(baud), 'serial-parity': parity };
      onProgress(`${baud} baud, ${parity} parity, units ${units[0]} to ${units.at(-1)}`);
      const answering = await unitsAt(configWith(setting), baud, parity, units);
      if (answering.length === 0) continue;
      const found: Found[] = [];
      for (const unit of answering) {
        onProgress(`unit ${unit} answers; which register map fits?`);
        const fit = await fittingMap((flags) => configWith({ ...setting, 'serial-unit': String(unit), ...flags }));
        found.push({ baud, parity, unit, ...fit });
      }
      return found;
    }
  }
  return [];
}

async function unitsAt(config: Config, baud: number, parity: Parity, units: readonly number[]): Promise<number[]> {
  const driver = config.string('serial.driver') as SerialDriver;
  const port = openBus(config.string('serial.url'), { baud, parity, driver, log: quiet });
  const received = new Uint8Array(2 * MAX_FRAME);
  let length = 0;
  port.onData = (bytes, count) => {
    const taken = bytes.subarray(0, Math.min(count, received.length - length));
    received.set(taken, length);
    length += taken.length;
  };
  try {
    await opened(port);
    const { characterMs, gapMs } = lineTiming(baud, parity);
    const waitMs = TURNAROUND_MS + 2 * READ_REQUEST_LENGTH * characterMs;
    const answering: number[] = [];
    for (const unit of units) {
      const request = new Uint8Array(READ_REQUEST_LENGTH);
      encodeReadRequest(request, 0, unit, FunctionCode.readHolding, PROBE_REGISTER, 1);
      length = 0;
      port.write(request);
      for (const end = performance.now() + waitMs; performance.now() < end; await pause(5)) {
        if (!holdsAnswer(received, length, unit)) continue;
        answering.push(unit);
        break;
      }
      await pause(gapMs);
    }
    return answering;
  } finally {
    await port.close();
  }
}

function opened(port: BytePort): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${port.name} does not open`)), OPEN_LIMIT_MS);
    port.onState = (isOpen, error) => {
      clearTimeout(timer);
      if (isOpen) resolve();
      else reject(error);
    };
  });
}

/** Whether an answer of the unit is among the first bytes, wherever it begins. */
function holdsAnswer(bytes: Uint8Array, length: number, unit: number): boolean {
  for (let at = 0; at < length; at++) {
    const check = checkReadReply(bytes, at, length, unit, FunctionCode.readHolding, 1);
    if (check === ReplyCheck.reply || check === ReplyCheck.exception) return true;
  }
  return false;
}

/** Tries the register maps one after the other until values come that can be true together. */
async function fittingMap(configWith: ScanOptions['configWith']): Promise<Pick<Found, 'map' | 'values'>> {
  for (const { name } of REGISTER_MAPS) {
    const config = configWith({ 'serial-map': name });
    const meters = metersOnBus(config);
    const clock = () => performance.now();
    let isRefused = false;
    const refused = () => {
      isRefused = true;
    };
    const log = { ...quiet, warn: refused, child: () => quiet };
    const loop = openPollLoop(config, meters, clock, log);
    loop.start();
    try {
      for (const end = clock() + MAP_LIMIT_MS; !loop.healthy && !isRefused && clock() < end; ) await pause(10);
      if (loop.healthy) return { map: name, values: judgeRegisters(meters[0]!.image, clock()) };
    } catch {
      // Values that cannot be true: it is another map.
    } finally {
      loop.stop();
      await loop.close();
    }
  }
  return { map: undefined, values: '' };
}
