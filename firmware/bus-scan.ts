/**
 * Looks for energy meters on a bus whose settings nobody knows: at every speed and framing it asks unit after unit for one
 * register. Whatever answers gives itself away, also by refusing. It reads and never writes.
 */

import { ModbusError, messageOf } from '#base/errors';
import type { Config } from '#hw/config';
import { createLog } from '#hw/log';
import { type SerialSettings, settingsText } from '#hw/serial/line';
import { openBus, type SerialDriver } from '#hw/serial/open';
import type { BytePort } from '#hw/serial/port';
import { lineTiming } from '#modbus/line-timing';
import { registerMap } from '#modbus/maps/index';
import { type PlannedRead, plainRead } from '#modbus/read-plan';
import { wordsOf } from '#modbus/register-map';
import { Asker, answerMs, type Fit, fittingMap, pause } from './map-fit.ts';

export interface ScanOptions {
  readonly config: Config;
  readonly units: readonly number[];
  /** Go on after the first setting at which something answers. */
  readonly all: boolean;
  /** Asked again and again: true ends the scan with what was found so far. */
  readonly isStopped: () => boolean;
  readonly onProgress: (text: string) => void;
}

type Setting = Required<SerialSettings>;

export interface Found extends Setting, Fit {
  readonly unit: number;
}

export interface ScanResult {
  readonly found: readonly Found[];
  /** Settings that were not asked, and what asking them takes, ms. */
  readonly left: number;
  readonly leftMs: number;
}

/** Usual settings first: those of the factories are 9600 baud with even parity or none. */
const BAUDS = [9600, 19_200, 4800, 2400, 38_400, 1200, 115_200];
/** Two stop bits last: who is content with one answers before. */
const FRAMINGS = [
  ['even', 1],
  ['none', 1],
  ['odd', 1],
  ['none', 2],
] as const;
const OPEN_LIMIT_MS = 15_000;
/** What opening and closing a port takes, ms. */
const OPEN_MS = 150;
const PROGRESS_MS = 10_000;
/** Silence after an answer, before another unit is spoken to, ms. */
const SWITCH_MS = 100;
const AGAIN = /; trying again.*/;
const quiet = createLog('scan', { write: () => {} });

/** Scans a bus; all meters at one setting are found. @throws ModbusError when the port does not open */
export async function scanBus({ config, units, all, isStopped, onProgress }: ScanOptions): Promise<ScanResult> {
  const url = config.string('serial.url');
  const driver = config.string('serial.driver') as SerialDriver;
  const { functionCode, registers } = registerMap(config.string('serial.map'));
  const { address, type } = registers[0]!;
  const probeOf = (unit: number) => plainRead(unit, functionCode, address, wordsOf(type));
  const settings = BAUDS.flatMap((baud) => FRAMINGS.map(([parity, stopBits]): Setting => ({ baud, parity, stopBits })));
  // A device server has its own setting.
  if (!url.startsWith('/')) settings.length = 1;
  const timingOf = ({ baud, parity, stopBits }: Setting) => lineTiming(baud, parity, stopBits);
  const costMs = (setting: Setting, count = units.length) => {
    const timing = timingOf(setting);
    return (count + 1) * (answerMs(timing, probeOf(1).replyLength) + 2 * timing.gapMs);
  };
  const leftMs = (done: number) => settings.slice(done).reduce((sum, each) => sum + OPEN_MS + costMs(each), 0);
  const asked = units.length > 1 ? `units ${units[0]} to ${units.at(-1)}` : `unit ${units[0]}`;
  onProgress(`${settings.length} settings, ${asked}: ${durationText(leftMs(0))} when nothing answers`);

  const found: Found[] = [];
  let failure: unknown;
  let hasOpened = false;
  let done = 0;
  for (; done < settings.length && (all || found.length === 0) && !isStopped(); done++) {
    const setting = settings[done]!;
    const name = settingsText(setting);
    onProgress(`${done + 1}/${settings.length} ${name}, ${durationText(leftMs(done))} to go`);
    // Who answers with one stop bit also does with two.
    const isKnown = (unit: number) =>
      found.some((other) => other.unit === unit && other.baud === setting.baud && other.parity === setting.parity);
    const port = openBus(url, { ...setting, driver, log: quiet });
    try {
      await opened(port);
      hasOpened = true;
      const asker = new Asker(port, timingOf(setting), isStopped);
      const reads = units.filter((unit) => !isKnown(unit)).map(probeOf);
      const told = (i: number) =>
        onProgress(
          `${name}, unit ${reads[i]!.unit}, ${durationText(costMs(setting, reads.length - i))} at this setting`,
        );
      for (const unit of await answering(asker, reads, told)) {
        onProgress(`${name}, unit ${unit} answers; which register map fits?`);
        found.push({ ...setting, unit, ...(await fittingMap(asker, unit)) });
      }
    } catch (error) {
      // Not every port takes every setting; one that takes none of two is not there.
      if (failure !== undefined && !hasOpened) break;
      failure = error;
      onProgress(messageOf(error).replace(AGAIN, ''));
    } finally {
      await port.close();
    }
    if (isStopped()) break;
  }
  if (failure !== undefined && !hasOpened) throw failure;
  return { found, left: settings.length - done, leftMs: leftMs(done) };
}

/** The units that answer. An answer may come late, during the question to the next unit. */
async function answering(asker: Asker, reads: readonly PlannedRead[], onProgress: (i: number) => void) {
  const units = new Set<number>();
  let saidAt = performance.now();
  for (let i = 0; i < reads.length && !asker.isStopped(); i++) {
    if (performance.now() - saidAt > PROGRESS_MS) {
      saidAt = performance.now();
      onProgress(i);
    }
    const { unit } = reads[i]!;
    const isThere = () => {
      for (const read of reads.slice(0, i + 1)) if (asker.answer(read)) units.add(read.unit);
      return units.has(unit) || undefined;
    };
    if (await asker.ask(reads[i]!, isThere, i + 1 === reads.length ? 2 : 1)) await pause(SWITCH_MS);
  }
  return units;
}

function opened(port: BytePort): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${port.name} does not open`)), OPEN_LIMIT_MS);
    port.onState = (isOpen, error) => {
      clearTimeout(timer);
      if (isOpen) resolve();
      else reject(new ModbusError('modbus.port', messageOf(error).replace(AGAIN, '')));
    };
  });
}

/** `about 40 s`, `about 12 min` */
export const durationText = (ms: number): string =>
  ms < 100_000 ? `about ${Math.ceil(ms / 1000)} s` : `about ${Math.round(ms / 60_000)} min`;
