/**
 * Class 9, Script Table v0: numbered lists of method calls, run by clients (method 1), schedules and the limiter; and
 * class 22, Single Action Schedule v0, which runs one script at given local times. Scripts are fixed: what a meter may do
 * by itself is part of its firmware. A script that a client runs carries the client's authority, else the meter's own.
 */

import { type Data, NULL_DATA, Tag, writeLength, writeOctetString } from '#dlms/axdr';
import { scheduleFits } from '#dlms/cosem/local-time';
import type { CosemObject, LogicalDevice, RequestContext } from '#dlms/cosem/logical-device';
import { array, octets, Setting, type SettingStore, structure, u16 } from '#dlms/cosem/setting';
import { attribute, TableObject } from '#dlms/cosem/table-object';
import { members } from '#dlms/members';
import { parseObis } from '#dlms/obis';
import { Result } from '#dlms/result';

/** One call: execute `method` of an object with the parameter integer 0, or with `parameter`. */
export interface ScriptAction {
  readonly classId: number;
  readonly obis: string;
  readonly method: number;
  readonly parameter?: number;
}

/** Scripts by their number. */
export type Scripts = Readonly<Record<number, readonly ScriptAction[]>>;

const EXECUTE = 2;

export function scriptTable(obis: string, scripts: Scripts): CosemObject {
  const list = Object.entries(scripts).map(([id, actions]) => ({
    id: Number(id),
    actions: actions.map((action) => ({ ...action, ln: parseObis(action.obis) })),
  }));
  const table = attribute((w) => {
    writeLength(w.u8(Tag.array), list.length);
    for (const { id, actions } of list) {
      w.u8(Tag.structure).u8(2).u8(Tag.longUnsigned).u16(id);
      writeLength(w.u8(Tag.array), actions.length);
      for (const { classId, ln, method, parameter = 0 } of actions) {
        w.u8(Tag.structure).u8(5).u8(Tag.enum).u8(EXECUTE).u8(Tag.longUnsigned).u16(classId);
        writeOctetString(w, ln);
        w.u8(Tag.integer).u8(method);
        // The parameter travels as the type that the method takes.
        if (classId === 9) w.u8(Tag.longUnsigned).u16(parameter);
        else w.u8(Tag.integer).u8(parameter);
      }
    }
  });
  const execute = (parameter: Data | null, context: RequestContext): number => {
    if (parameter?.type !== 'long-unsigned') return Result.typeUnmatched;
    const script = list.find(({ id }) => id === parameter.value);
    if (!script) return Result.otherReason;
    for (const { classId, ln, method, parameter: value = 0 } of script.actions) {
      const data: Data = classId === 9 ? u16(value) : { type: 'integer', value };
      const result = context.device.run(ln, method, data, context);
      if (result !== Result.success) return result;
    }
    return Result.success;
  };
  return new TableObject(9, 0, obis, [table], [execute]);
}

/** Runs the script that a value `{ script table, number }` names. @returns a result code */
export function runScript(device: LogicalDevice, script: Data, origin: string): number {
  const fields = members(script, 'octet-string', 'long-unsigned');
  if (!fields) return Result.typeUnmatched;
  const [table, selector] = fields;
  // A script number of 0 does nothing.
  if (selector === 0) return Result.success;
  return device.run(table, 1, u16(selector), device.ownContext(origin));
}

/** The first of each month at midnight. */
export const MONTHLY: Data = array(
  structure(octets(new Uint8Array(4)), octets(Uint8Array.of(0xff, 0xff, 0xff, 1, 0xff))),
);

/** Longest stretch of time that is looked at second by second; a longer one was a clock that was set. */
const CATCH_UP_S = 120;

export class SingleActionSchedule {
  readonly object: CosemObject;
  readonly #script: Setting;
  readonly #times: Setting;
  readonly #origin: string;
  #second: number | undefined;

  /** @param initial  times as delivered, see `MONTHLY` */
  constructor(
    store: SettingStore,
    obis: string,
    script: { readonly table: string; readonly id: number },
    initial = array(),
  ) {
    const time = structure(octets(new Uint8Array(4)), octets(new Uint8Array(5)));
    this.#script = new Setting(store, `${obis}/2`, {
      example: structure(octets(parseObis(script.table)), u16(script.id)),
    });
    this.#times = new Setting(store, `${obis}/4`, { example: array(time), initial });
    this.#origin = `schedule ${obis}`;
    const type = attribute((w) => w.u8(Tag.enum).u8(1));
    this.object = new TableObject(22, 0, obis, [this.#script, type, this.#times]);
  }

  /**
   * Runs the script once when a time of the schedule has come since the last look.
   * @param localMs  local time; undefined when it is not known, then nothing is due
   */
  tick(device: LogicalDevice, localMs: number | undefined): void {
    if (localMs === undefined) {
      this.#second = undefined;
      return;
    }
    const now = Math.floor(localMs / 1000);
    const last = this.#second ?? now - 1;
    this.#second = now;
    if (now <= last || now - last > CATCH_UP_S || this.#times.value.type !== 'array') return;
    for (let second = last + 1; second <= now; second++) {
      if (!this.#times.value.value.some((entry) => isDue(entry, second * 1000))) continue;
      runScript(device, this.#script.value, this.#origin);
      return;
    }
  }
}

function isDue(entry: Data, localMs: number): boolean {
  const [time = NULL_DATA, date = NULL_DATA] = entry.type === 'structure' ? entry.value : [];
  return time.type === 'octet-string' && date.type === 'octet-string' && scheduleFits(time.value, date.value, localMs);
}
