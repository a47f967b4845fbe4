/**
 * The energies that were given, over a restart. Between two counts of the register a value is integrated and ahead of it, so
 * a start from the register alone would take back up to a count. The record is written only with what is stored anyway (the
 * time every quarter of an hour), and as the last thing of an orderly end, where it is exact. After any other end the value
 * is held where it cannot have been below (protocols/modbus/energy-register.ts).
 *
 *   for each energy meter on the bus: register u32, Wh | exact 1 bit | held 1 bit | ahead of the register 14 bits, Wh
 */

import { readU16, readU32, writeU16, writeU32 } from '#base/bytes';
import type { SettingStore } from '#dlms/cosem/setting';
import type { EnergyRegister } from '#modbus/energy-register';

const KEY = 'wh';
const SIZE = 6;
const EXACT = 0x8000;
const HELD = 0x4000;
const AHEAD = 0x3fff;

export class EnergyRecord {
  readonly #settings: SettingStore;
  readonly #energies: readonly (EnergyRegister | undefined)[];

  /**
   * Restores what is kept; before the first poll.
   * @param energies  active energy of each meter on the bus
   */
  constructor(settings: SettingStore, energies: readonly (EnergyRegister | undefined)[]) {
    this.#settings = settings;
    this.#energies = energies;
    const kept = settings.get(KEY) ?? new Uint8Array(0);
    const flagsAt = energies.map((_, i) => i * SIZE + 4).filter((at) => at + 2 <= kept.length);
    const inexact = kept.slice();
    for (const at of flagsAt) inexact[at]! &= ~(EXACT >>> 8);
    // What is exact now will not be after the next poll: a kill must not find it. A storage that fails keeps nothing exact.
    const wasExact = flagsAt.some((at) => inexact[at] !== kept[at]) && settings.set(KEY, inexact);
    for (const [i, at] of flagsAt.entries()) {
      const flags = readU16(kept, at);
      const ahead = wasExact && (flags & EXACT) !== 0 ? flags & AHEAD : undefined;
      energies[i]?.restore(readU32(kept, at - 4), ahead, (flags & HELD) !== 0);
    }
    // The first life of a meter may end as any other.
    if (flagsAt.length < energies.length) settings.set(KEY, this.#encode(false));
  }

  /** Puts what is given now into what is stored next. @param isExact  nothing is read any more */
  keep(isExact = false): void {
    this.#settings.keep(KEY, this.#encode(isExact));
  }

  #encode(isExact: boolean): Uint8Array {
    const record = new Uint8Array(this.#energies.length * SIZE);
    for (const [i, energy] of this.#energies.entries()) {
      if (!energy) continue;
      const { register, ahead, isHeld } = energy.kept;
      const flags = (isExact && ahead !== undefined ? EXACT : 0) | (isHeld ? HELD : 0) | (ahead ?? 0);
      writeU16(record, writeU32(record, i * SIZE, register), flags);
    }
    return record;
  }
}
