/**
 * Event codes, the logs they go to and the alarms they raise. A log is a profile of clock and code
 * (0-0:99.98.e.255 with 0-0:96.11.e.255); the newest code is also the value of its Data object.
 *
 * Codes follow the lists of DLMS companion profiles for residential meters; 200 and above are the manufacturer's own.
 */

import { readU32 } from '#base/bytes';
import { type Data, Tag } from '#dlms/axdr';
import type { MeterClock } from '#dlms/cosem/clock';
import { DataObject } from '#dlms/cosem/data';
import type { CosemObject } from '#dlms/cosem/logical-device';
import { ProfileGeneric, profileLayout, profileRowSize, SPARE_ROWS } from '#dlms/cosem/profile';
import type { ProfileStore } from '#dlms/cosem/profile-store';
import { Setting, type SettingStore, u32 } from '#dlms/cosem/setting';
import { attribute, TableObject } from '#dlms/cosem/table-object';
import { Result } from '#dlms/result';
import { EventCode } from '#dlms/well-known';
import type { ByteWriter } from '#dlms/writer';

export type LogName = 'standard' | 'fraud' | 'disconnector' | 'communication' | 'quality';

/** Value group E of each log and its code object, and how many events it keeps. */
export const EVENT_LOGS: Readonly<Record<LogName, { readonly e: number; readonly entries: number }>> = {
  standard: { e: 0, entries: 256 },
  fraud: { e: 1, entries: 128 },
  disconnector: { e: 2, entries: 128 },
  communication: { e: 4, entries: 256 },
  quality: { e: 5, entries: 128 },
};

/** Logs that strangers or a bad mains can fill: their events are gathered, so that nobody wears the storage out. */
const CHATTY: readonly LogName[] = ['communication', 'quality'];

/** Place of the code in a row: behind time, deviation, clock status and tag. */
const CODE_AT = 8;

/** Bits of the alarm and error registers, by the event that sets them. */
export const ALARMS: Readonly<Record<number, number>> = {
  [EventCode.clockInvalid]: 1 << 0,
  [EventCode.associationFailures]: 1 << 1,
  [EventCode.decryptionFailure]: 1 << 2,
  [EventCode.replay]: 1 << 3,
  [EventCode.disconnectFailure]: 1 << 4,
  [EventCode.limiterExceeded]: 1 << 5,
  [EventCode.memoryError]: 1 << 6,
};
/** Alarms that are faults of the meter itself. */
const ERRORS = (1 << 0) | (1 << 4) | (1 << 6);

function logOf(code: number): LogName {
  if (code === EventCode.commandRefused || code === EventCode.energyMeterChanged) return 'fraud';
  if (code >= EventCode.associationOpened && code <= EventCode.associationRejected) return 'communication';
  if (code === EventCode.requestRefused) return 'communication';
  if (code >= 76 && code <= 90) return 'quality';
  if ((code >= 59 && code <= 75) || code === EventCode.relayRestored) return 'disconnector';
  return code >= 40 && code <= 58 ? 'fraud' : 'standard';
}

export interface EventOptions {
  readonly clock: MeterClock;
  readonly settings: SettingStore;
  readonly openStore: (name: string, rowSize: number, rows: number, layout: string) => ProfileStore;
  /** Told of alarms that are new and pass the filter. */
  readonly onAlarm: (bits: number) => void;
}

export class EventLogs {
  readonly #clock: MeterClock;
  readonly #onAlarm: (bits: number) => void;
  readonly #logs = new Map<
    LogName,
    {
      readonly profile: ProfileGeneric;
      readonly code: CosemObject;
      readonly store: ProfileStore;
      last: number;
    }
  >();
  readonly #errors: Setting;
  readonly #alarms: Setting;
  readonly #filter: Setting;
  #descriptor = 0;

  constructor({ clock, settings, openStore, onAlarm }: EventOptions) {
    this.#clock = clock;
    this.#onAlarm = onAlarm;
    for (const [name, { e, entries }] of Object.entries(EVENT_LOGS) as [LogName, (typeof EVENT_LOGS)[LogName]][]) {
      const codeObis = `0-0:96.11.${e}.255`;
      const log = { last: 0 };
      const read = (w: ByteWriter): number => {
        w.u8(Tag.unsigned).u8(log.last);
        return Result.success;
      };
      const columns = [{ classId: 1, obis: codeObis, attribute: 2, size: 2, read }];
      const store = openStore(`log-${name}`, profileRowSize(columns), entries + SPARE_ROWS, profileLayout(columns));
      const profile: ProfileGeneric = new ProfileGeneric({
        obis: `0-0:99.98.${e}.255`,
        clock,
        columns,
        period: 0,
        entries,
        store,
        onReset: () => this.#append(name, EventCode.logCleared, clock.now().epochMs),
      });
      this.#logs.set(name, Object.assign(log, { profile, store, code: new DataObject(codeObis, read) }));
    }
    const bits = (obis: string, first: number) => new Setting(settings, `${obis}/2`, { example: u32(first) });
    this.#errors = bits('0-0:97.97.0.255', 0);
    this.#alarms = bits('0-0:97.98.0.255', 0);
    this.#filter = bits('0-0:97.98.10.255', 0xffff_ffff);
  }

  /**
   * The events of a log that are younger than `limitMs`.
   * @returns code and age of each, ms, rounded down to the second; what a clock that is behind calls future has age 0
   */
  *recent(name: LogName, limitMs: number): Generator<[code: number, ageMs: number]> {
    const { store } = this.#logs.get(name)!;
    const { epochMs } = this.#clock.now();
    for (let row = store.first; row < store.next; row++) {
      const bytes = store.read(row);
      const ageMs = bytes ? Math.max(0, epochMs - readU32(bytes, 0) * 1000 - 1000) : limitMs;
      if (ageMs < limitMs) yield [bytes![CODE_AT]!, ageMs];
    }
  }

  /** Log and code objects, in the order of `EVENT_LOGS`. */
  logObjects(): CosemObject[] {
    return [...this.#logs.values()].flatMap(({ profile, code }) => [profile, code]);
  }

  /** Error register, alarm register, alarm filter, alarm descriptor. */
  registerObjects(): CosemObject[] {
    const clearing = (obis: string, register: Setting, code: number) =>
      new TableObject(1, 0, obis, [{ read: register.read, write: (value) => this.#clear(register, value, code) }]);
    return [
      clearing('0-0:97.97.0.255', this.#errors, EventCode.errorRegisterCleared),
      clearing('0-0:97.98.0.255', this.#alarms, EventCode.alarmRegisterCleared),
      new TableObject(1, 0, '0-0:97.98.10.255', [this.#filter]),
      new TableObject(1, 0, '0-0:97.98.20.255', [attribute((w) => w.u8(Tag.doubleLongUnsigned).u32(this.#descriptor))]),
    ];
  }

  /**
   * Records an event.
   * @param epochMs  when it happened; now by default
   * @returns whether it is stored; an event of a chatty log may be stored up to a minute later
   */
  record(code: number, epochMs = this.#clock.now().epochMs): boolean {
    const isStored = this.#append(logOf(code), code, epochMs);
    const bit = ALARMS[code] ?? 0;
    if (bit === 0) return isStored;
    if ((bit & ERRORS) !== 0) raise(this.#errors, bit);
    const isNew = raise(this.#alarms, bit);
    if (!isNew || (this.#filter.number & bit) === 0) return isStored;
    this.#descriptor = (this.#descriptor | bit) >>> 0;
    this.#onAlarm(bit);
    return isStored;
  }

  #append(name: LogName, code: number, epochMs: number): boolean {
    const log = this.#logs.get(name)!;
    log.last = code;
    return log.profile.capture(epochMs, !CHATTY.includes(name));
  }

  /** A client writes the register back with the bits gone that it has seen; it cannot set any. */
  #clear(register: Setting, value: Data, code: number): number {
    if (value.type !== 'double-long-unsigned') return Result.typeUnmatched;
    const kept = (register.number & value.value) >>> 0;
    if (kept === register.number) return Result.success;
    if (register === this.#alarms) this.#descriptor = (this.#descriptor & kept) >>> 0;
    const result = register.write(u32(kept));
    this.record(code);
    return result;
  }
}

/** Sets a bit of a register. @returns whether it was not set before */
function raise(register: Setting, bit: number): boolean {
  if ((register.number & bit) !== 0) return false;
  register.keep(u32((register.number | bit) >>> 0));
  return true;
}
