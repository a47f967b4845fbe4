/**
 * Class 3, Register v0: a number with scaler and unit. Attribute 2 is the raw integer, attribute 3 the constant pair
 * `{ scaler i8, unit enum }`: value = raw · 10^scaler. Method 1 (reset) exists in the class and nobody has the right to it.
 */

import { DlmsError } from '#base/errors';
import { Tag } from '#dlms/axdr';
import type { CosemObject } from '#dlms/cosem/logical-device';
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

export class RegisterObject implements CosemObject {
  readonly classId = 3;
  readonly version = 0;
  readonly attributes = 3;
  readonly methods = 1;
  readonly ln: Uint8Array;
  readonly #type: RawType;
  readonly #scaler: number;
  readonly #unit: number;
  readonly #read: RawReader;

  constructor(obis: string, type: RegisterType, scaler: number, unit: number, read: RawReader) {
    if (scaler < -128 || scaler > 127) throw new DlmsError('encode.out-of-range', `scaler ${scaler} of ${obis}`);
    this.ln = parseObis(obis);
    this.#type = RAW_TYPES[type];
    this.#scaler = scaler;
    this.#unit = unit;
    this.#read = read;
  }

  get(attribute: number, w: ByteWriter): number {
    if (attribute === 3) {
      w.u8(Tag.structure).u8(2).u8(Tag.integer);
      w.u8(this.#scaler & 0xff)
        .u8(Tag.enum)
        .u8(this.#unit);
      return Result.success;
    }
    const raw = this.#read();
    const { tag, size, low, high } = this.#type;
    // NaN fails this comparison as well; a clamped or zero value would look measured.
    if (!(raw >= low && raw <= high)) return Result.temporaryFailure;
    w.u8(tag);
    if (size === 2) w.u16(raw & 0xffff);
    else w.u32(raw);
    return Result.success;
  }
}
