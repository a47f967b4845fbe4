/**
 * Register maps of energy meters as data: adding a meter needs no code. A register feeds one quantity; `factor` turns
 * its raw value into the quantity's unit.
 */

import { readI16, readI32, readU16, readU32 } from '#base/bytes';

/** Quantities by number, with the unit of their value: an exact integer for meters with scaled integers. */
export const Quantity = {
  /** 0.01 V */
  voltage: 0,
  /** 0.001 A */
  current: 1,
  /** 0.01 Hz */
  frequency: 2,
  /** W, negative when exporting */
  activePower: 3,
  /** var, signed */
  reactivePower: 4,
  /** VA */
  apparentPower: 5,
  /** 0.001, signed */
  powerFactor: 6,
  /** Wh */
  activeEnergy: 7,
  /** varh */
  reactiveEnergy: 8,
  /** 0.01 V and 0.001 A of the further phases; never set where there is one phase only */
  voltageL2: 9,
  voltageL3: 10,
  currentL2: 11,
  currentL3: 12,
  /** Wh by tariff; never set where the energy meter has none */
  activeEnergyT1: 13,
  activeEnergyT2: 14,
  activeEnergyT3: 15,
  activeEnergyT4: 16,
} as const;
export type Quantity = (typeof Quantity)[keyof typeof Quantity];
export type QuantityName = keyof typeof Quantity;

/** Quantities in the order of their numbers. */
export const QUANTITY_NAMES = Object.keys(Quantity) as readonly QuantityName[];

/** Word order is high word first, as every meter in the maps has it. */
export type RegisterType = 'u16' | 'i16' | 'u32' | 'i32' | 'f32';

export interface RegisterSpec {
  readonly quantity: QuantityName;
  /** Zero-based address on the wire. */
  readonly address: number;
  readonly type: RegisterType;
  /** Quantity value = raw × factor. */
  readonly factor: number;
  /** Shortest time between two reads, ms; 0 reads it in every cycle. */
  readonly everyMs: number;
}

export type Parity = 'none' | 'even' | 'odd';

/** Registers that stay the same as long as the meter does: type or serial number. */
export interface IdentityRegisters {
  readonly functionCode: 3 | 4;
  readonly address: number;
  readonly count: number;
  /** What they hold in every meter of the model; without it they only tell one meter from another. */
  readonly value?: number;
}

export interface RegisterMap {
  /** Name in configurations. */
  readonly name: string;
  readonly phases: 1 | 3;
  /** 3 holding or 4 input registers. */
  readonly functionCode: 3 | 4;
  /** Most registers that the meter is known to answer in one read. */
  readonly maxRead: number;
  readonly registers: readonly RegisterSpec[];
  readonly identity?: IdentityRegisters;
  /** The energy registers also count what flows back. */
  readonly countsBothWays?: boolean;
}

/** A row of a map: quantity, address, factor, and the rest where it is not the default of the table. */
export type RegisterRow = readonly [
  quantity: QuantityName,
  address: number,
  factor: number,
  type?: RegisterType,
  everyMs?: number,
];

/**
 * Registers from rows.
 * @param type  of the rows that name none
 * @param energyMs  time between two reads of active energy; other energies are read every 5 s
 */
export function registerRows(type: RegisterType, energyMs: number, rows: readonly RegisterRow[]): RegisterSpec[] {
  return rows.map(([quantity, address, factor, ownType, everyMs]) => ({
    quantity,
    address,
    factor,
    type: ownType ?? type,
    everyMs: everyMs ?? (quantity === 'activeEnergy' ? energyMs : /Energy/.test(quantity) ? OTHER_ENERGY_MS : 0),
  }));
}

/** Half of the age at which a value is no longer given. */
const OTHER_ENERGY_MS = 5_000;

export const wordsOf = (type: RegisterType): number => (type === 'u16' || type === 'i16' ? 1 : 2);

const floatBytes = new DataView(new ArrayBuffer(4));

/** Raw value of a register at a byte offset. */
export function readRegister(buf: Uint8Array, at: number, type: RegisterType): number {
  switch (type) {
    case 'u16':
      return readU16(buf, at);
    case 'i16':
      return readI16(buf, at);
    case 'u32':
      return readU32(buf, at);
    case 'i32':
      return readI32(buf, at);
    case 'f32':
      floatBytes.setUint32(0, readU32(buf, at));
      return floatBytes.getFloat32(0);
  }
}
