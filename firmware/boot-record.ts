/**
 * Which firmware starts next: the launcher and the firmware share this record in the state folder. `factory` is the bundle
 * that was flashed; `a` and `b` are slots for images that came over the line.
 *
 * An image that was activated is on trial until the firmware in it has proved itself (it polls the energy meter and serves
 * DLMS). Three starts that end before that, or a proof that fails, and what ran before it runs again.
 */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '#hw/files';
import { compareVersions, type Version } from '#session/firmware-image';

export type Slot = 'factory' | 'a' | 'b';

export interface BootRecord {
  readonly slot: Slot;
  /** What runs again when `slot` fails. */
  readonly previous: Slot;
  /** Starts since the firmware last proved itself. */
  readonly starts: number;
  readonly isProven: boolean;
  /** Newest version that ever proved itself here. */
  readonly highest: Version;
  /** Whether the energy meter answered when `slot` was activated, so that its silence afterwards tells something. */
  readonly wasPolled: boolean;
  /** Firmware has not yet told about this: an activation that held, or a return. */
  readonly news: 'none' | 'activated' | 'fell-back';
}

/** What runs here, as images name it. */
export const MODEL = 's3mp-meter';
export const MAX_STARTS = 3;
const FILE = 'boot.json';

export const FACTORY: BootRecord = {
  slot: 'factory',
  previous: 'factory',
  starts: 0,
  isProven: true,
  highest: [0, 0, 0],
  wasPolled: false,
  news: 'none',
};

export const slotFile = (folder: string, slot: Slot) => join(folder, `slot-${slot}.bin`);

/** The slot that holds nothing that is needed. */
export const freeSlot = ({ slot }: BootRecord): Slot => (slot === 'a' ? 'b' : 'a');

/** Back to what ran before, for good: the image that failed has to be activated anew. */
export function fallBack(record: BootRecord): BootRecord {
  return { ...record, slot: record.previous, previous: 'factory', starts: 0, isProven: true, news: 'fell-back' };
}

/** The record for the start that is about to happen, this start counted. */
export function nextStart(record: BootRecord): BootRecord {
  if (record.slot === 'factory') return record;
  const chosen = record.starts >= MAX_STARTS ? fallBack(record) : record;
  return chosen.slot === 'factory' ? chosen : { ...chosen, starts: chosen.starts + 1 };
}

/** A new image goes on trial. */
export function onTrial(record: BootRecord, slot: Slot, wasPolled: boolean): BootRecord {
  return { ...record, slot, previous: record.slot, starts: 0, isProven: false, wasPolled, news: 'none' };
}

/** The running firmware has proved itself. */
export function proven(record: BootRecord, version: Version): BootRecord {
  const highest = compareVersions(version, record.highest) > 0 ? version : record.highest;
  const news = record.isProven ? record.news : 'activated';
  return { ...record, starts: 0, isProven: true, highest, news };
}

/**
 * A process that ended in order. What has proved itself is not blamed for what surrounds it (an address that is not there
 * yet); one on trial is, unless it was asked to stop.
 */
export function endedInOrder(record: BootRecord, status: number): BootRecord {
  const isBlamed = !record.isProven && status !== 0;
  return isBlamed || record.starts === 0 ? record : { ...record, starts: record.starts - 1 };
}

/** @returns FACTORY without a record, and for one that is broken */
export function readBootRecord(folder: string): BootRecord {
  const file = join(folder, FILE);
  if (!existsSync(file)) return FACTORY;
  try {
    const value = JSON.parse(readFileSync(file, 'utf8')) as BootRecord;
    const isSlot = (slot: unknown) => slot === 'factory' || slot === 'a' || slot === 'b';
    const isVersion =
      Array.isArray(value.highest) && value.highest.length === 3 && value.highest.every(Number.isInteger);
    if (isSlot(value.slot) && isSlot(value.previous) && Number.isInteger(value.starts) && isVersion)
      return { ...FACTORY, ...value };
  } catch {
    // Broken: the next lines say what then.
  }
  return { ...FACTORY, news: 'fell-back' };
}

/** Durable when it returns. @throws ConfigError */
export function writeBootRecord(folder: string, record: BootRecord): void {
  writeFileAtomic(join(folder, FILE), JSON.stringify(record), 0o600);
}
