/**
 * Class 71, Limiter v0: runs a script when the monitored value stays above the active threshold for long enough, another
 * one when it stays below. The emergency threshold holds while an emergency profile of one of our groups is active. As
 * delivered the thresholds are the highest number, which no value exceeds. While the clock is not set nobody knows which of
 * the two holds: the higher one does, since no failure of the time may switch the supply off.
 */

import { Tag, writeOctetString } from '#dlms/axdr';
import type { MeterClock } from '#dlms/cosem/clock';
import type { CosemObject, LogicalDevice } from '#dlms/cosem/logical-device';
import { runScript } from '#dlms/cosem/scripts';
import { array, octets, Setting, type SettingStore, structure, u16, u32 } from '#dlms/cosem/setting';
import { attribute, TableObject } from '#dlms/cosem/table-object';
import { members } from '#dlms/members';
import { parseObis } from '#dlms/obis';

export interface LimiterOptions {
  readonly obis: string;
  readonly store: SettingStore;
  readonly clock: MeterClock;
  /** The register that is watched. */
  readonly monitored: { readonly classId: number; readonly obis: string; readonly attribute: number };
  readonly scriptTable: string;
  readonly overScript: number;
  readonly underScript: number;
  readonly onEvent: (event: 'exceeded' | 'ok' | 'threshold-changed') => void;
}

const NO_LIMIT = 0xffff_ffff;
const NEVER = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x80, 0x00, 0xff);

export class Limiter {
  readonly object: CosemObject;
  readonly #options: LimiterOptions;
  readonly #normal: Setting;
  readonly #emergency: Setting;
  readonly #overS: Setting;
  readonly #underS: Setting;
  readonly #profile: Setting;
  readonly #groups: Setting;
  readonly #actions: Setting;
  /** Undefined: nobody knows, for want of the time. */
  #isEmergency: boolean | undefined = false;
  #isExceeded = false;
  /** Steady ms since when the value is on the other side; undefined while it is not. */
  #since: number | undefined;

  constructor(options: LimiterOptions) {
    const { obis, store, monitored, scriptTable, overScript, underScript } = options;
    this.#options = options;
    const setting = (id: number, example: Parameters<typeof structure>[0], initial = example) =>
      new Setting(store, `${obis}/${id}`, { example, initial }, () => id <= 5 && options.onEvent('threshold-changed'));
    const script = (id: number) => structure(octets(parseObis(scriptTable)), u16(id));
    this.#normal = setting(4, u32(NO_LIMIT));
    this.#emergency = setting(5, u32(NO_LIMIT));
    this.#overS = setting(6, u32(60));
    this.#underS = setting(7, u32(60));
    this.#profile = setting(8, structure(u16(0), octets(NEVER), u32(0)));
    this.#groups = setting(9, array(u16(0)), array());
    this.#actions = setting(11, structure(script(overScript), script(underScript)));
    const monitoredLn = parseObis(monitored.obis);
    const monitoredValue = attribute((w) => {
      w.u8(Tag.structure).u8(3).u8(Tag.longUnsigned).u16(monitored.classId);
      writeOctetString(w, monitoredLn);
      w.u8(Tag.integer).u8(monitored.attribute);
    });
    this.object = new TableObject(71, 0, obis, [
      monitoredValue,
      attribute((w) => w.u8(Tag.doubleLongUnsigned).u32(this.threshold)),
      this.#normal,
      this.#emergency,
      this.#overS,
      this.#underS,
      this.#profile,
      this.#groups,
      attribute((w) => w.u8(Tag.boolean).u8(this.#isEmergency ? 1 : 0)),
      this.#actions,
    ]);
  }

  /** Threshold that holds now, raw. */
  get threshold(): number {
    const [normal, emergency] = [this.#normal.number, this.#emergency.number];
    if (this.#isEmergency === undefined) return Math.max(normal, emergency);
    return this.#isEmergency ? emergency : normal;
  }

  /**
   * Looks at the monitored value, about once a second.
   * @param value  raw; NaN when there is none: neither side is then believed
   * @param steadyMs  steady clock, for the durations
   */
  tick(device: LogicalDevice, value: number, steadyMs: number): void {
    this.#isEmergency = this.#emergencyHolds();
    const isOver = value > this.threshold;
    if (Number.isNaN(value) || isOver === this.#isExceeded) {
      this.#since = undefined;
      return;
    }
    this.#since ??= steadyMs;
    const duration = (isOver ? this.#overS : this.#underS).number * 1000;
    if (steadyMs - this.#since < duration) return;
    this.#since = undefined;
    this.#isExceeded = isOver;
    this.#options.onEvent(isOver ? 'exceeded' : 'ok');
    const actions = this.#actions.value;
    if (actions.type === 'structure') runScript(device, actions.value[isOver ? 0 : 1]!, 'limiter');
  }

  #emergencyHolds(): boolean | undefined {
    const fields = members(this.#profile.value, 'long-unsigned', 'octet-string', 'double-long-unsigned');
    const groups = this.#groups.value;
    if (!fields || groups.type !== 'array') return false;
    const [id, activation, duration] = fields;
    if (!groups.value.some((group) => group.type === 'long-unsigned' && group.value === id)) return false;
    const { clock } = this.#options;
    const from = clock.instantOf(activation);
    if (typeof from !== 'number') return false;
    const { epochMs, isSet } = clock.now();
    if (!isSet) return undefined;
    return epochMs >= from && epochMs < from + duration * 1000;
  }
}
