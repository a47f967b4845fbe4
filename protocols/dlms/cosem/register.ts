/**
 * Class 3, Register v0: a number with scaler and unit. Attribute 2 is the raw integer, attribute 3 the constant pair
 * `{ scaler i8, unit enum }`: value = raw · 10^scaler. Method 1 (reset) exists in the class and nobody has the right to it.
 */

import { DlmsError } from '#base/errors';
import { Tag } from '#dlms/axdr';
import type { ValueWriter } from '#dlms/cosem/data';
import type { CosemObject, RequestContext } from '#dlms/cosem/logical-device';
import { parseObis } from '#dlms/obis';
import { Result } from '#dlms/result';
import type { ByteWriter } from '#dlms/writer';

interface RawType {
  readonly tag: number;
  readonly size: 2 | 4;
  readonly low: number;
  readonly high: number;
}

/** Integer types that registers here use. */
export const RAW_TYPES = {
  u16: { tag: Tag.longUnsigned, size: 2, low: 0, high: 0xffff },
  i16: { tag: Tag.long, size: 2, low: -0x8000, high: 0x7fff },
  u32: { tag: Tag.doubleLongUnsigned, size: 4, low: 0, high: 0xffff_ffff },
  i32: { tag: Tag.doubleLong, size: 4, low: -0x8000_0000, high: 0x7fff_ffff },
} as const satisfies Record<string, RawType>;

export type RegisterType = keyof typeof RAW_TYPES;

/** Current raw value, or NaN when there is none that may be given. */
export type RawReader = () => number;

/** Writes the raw value, or refuses when there is none or it does not fit: a clamped or zero value would look measured. */
export function rawWriter(type: RegisterType, read: RawReader): ValueWriter {
  const { tag, size, low, high } = RAW_TYPES[type];
  return (w) => {
    const raw = read();
    // NaN fails this comparison as well.
    if (!(raw >= low && raw <= high)) return Result.temporaryFailure;
    w.u8(tag);
    if (size === 2) w.u16(raw & 0xffff);
    else w.u32(raw);
    return Result.success;
  };
}

/** Writes the pair `{ scaler, unit }`. */
export function scalerUnitWriter(scaler: number, unit: number): ValueWriter {
  return (w) => {
    w.u8(Tag.structure)
      .u8(2)
      .u8(Tag.integer)
      .u8(scaler & 0xff)
      .u8(Tag.enum)
      .u8(unit);
    return Result.success;
  };
}

export class RegisterObject implements CosemObject {
  readonly classId = 3;
  readonly version = 0;
  readonly attributes = 3;
  readonly methods = 1;
  readonly ln: Uint8Array;
  readonly #value: ValueWriter;
  readonly #scalerUnit: ValueWriter;

  constructor(obis: string, type: RegisterType, scaler: number, unit: number, read: RawReader) {
    if (scaler < -128 || scaler > 127) throw new DlmsError('encode.out-of-range', `scaler ${scaler} of ${obis}`);
    this.ln = parseObis(obis);
    this.#value = rawWriter(type, read);
    this.#scalerUnit = scalerUnitWriter(scaler, unit);
  }

  get(attribute: number, w: ByteWriter, context: RequestContext): number {
    return attribute === 3 ? this.#scalerUnit(w, context) : this.#value(w, context);
  }
}
