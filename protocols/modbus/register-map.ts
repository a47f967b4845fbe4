/**
 * Register maps of energy meters as data: adding a meter needs no code. A register feeds one quantity; `factor` turns
 * its raw value into the quantity's unit.
 */

import { readI16, readI32, readU16, readU32 } from '#base/bytes';

/** Quantities and the unit of their value: each an exact integer for meters with scaled integers. */
export const QUANTITY_UNITS = {
  voltage: '0.01 V',
  current: '0.001 A',
  frequency: '0.01 Hz',
  activePower: 'W',
  reactivePower: 'var',
  apparentPower: 'VA',
  powerFactor: '0.001',
  activeEnergy: 'Wh',
  reactiveEnergy: 'varh',
} as const;
export type QuantityName = keyof typeof QUANTITY_UNITS;

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

export interface RegisterMap {
  /** Name in configurations. */
  readonly name: string;
  readonly models: readonly string[];
  /** 3 holding or 4 input registers. */
  readonly functionCode: 3 | 4;
  readonly defaults: { readonly baud: number; readonly parity: 'none' | 'even' | 'odd'; readonly unit: number };
  /** Most registers that the meter is known to answer in one read. */
  readonly maxRead: number;
  readonly registers: readonly RegisterSpec[];
}

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
