/**
 * A COSEM value that clients set and that survives a restart: thresholds, schedules, destinations. Its shape is given by
 * an example, which is also its first value: a written value must have the same types all the way down, the elements of
 * an array the type of the example's first element, an octet-string of fixed length that length.
 */

import { decoded } from '#base/errors';
import { type Data, decodeData, encodeData } from '#dlms/axdr';
import type { Attribute } from '#dlms/cosem/table-object';
import { ByteReader } from '#dlms/reader';
import { Result } from '#dlms/result';
import { ByteWriter } from '#dlms/writer';

/** Keeps encoded values by key over a restart. */
export interface SettingStore {
  get(key: string): Uint8Array | undefined;
  /** @returns false, with nothing changed, when the value could not be stored */
  set(key: string, value: Uint8Array): boolean;
  /** Takes a value of the device's own, which is stored within a minute. */
  keep(key: string, value: Uint8Array): void;
}

export interface SettingShape {
  readonly example: Data;
  /** First value; the example by default. */
  readonly initial?: Data;
  /** What the types do not say. */
  readonly isValid?: (value: Data) => boolean;
  /** Lengths of octet-strings are free. */
  readonly freeLengths?: boolean;
}

/** A copy of a value in bytes of its own. */
export function encodeValue(value: Data): Uint8Array {
  const measured = new ByteWriter(new Uint8Array(0));
  encodeData(measured, value);
  const bytes = new Uint8Array(measured.length);
  encodeData(new ByteWriter(bytes), value);
  return bytes;
}

/** Whether `value` has the shape of `example`. */
export function hasShape(value: Data, example: Data, freeLengths = false): boolean {
  if (value.type !== example.type) return false;
  if (value.type === 'structure' && example.type === 'structure')
    return (
      value.value.length === example.value.length &&
      value.value.every((member, i) => hasShape(member, example.value[i]!, freeLengths))
    );
  if (value.type === 'array' && example.type === 'array')
    return value.value.every((element) => hasShape(element, example.value[0] ?? element, freeLengths));
  if (value.type === 'octet-string' && example.type === 'octet-string')
    return freeLengths || value.value.length === example.value.length;
  return true;
}

export class Setting implements Attribute {
  readonly #key: string;
  readonly #shape: SettingShape;
  readonly #store: SettingStore;
  readonly #onChange: () => void;
  #value: Data;

  /** @param key  unique in the store, such as `0-0:17.0.0.255/4` */
  constructor(store: SettingStore, key: string, shape: SettingShape, onChange: () => void = () => {}) {
    this.#store = store;
    this.#key = key;
    this.#shape = shape;
    this.#onChange = onChange;
    this.#value = this.#stored() ?? shape.initial ?? shape.example;
  }

  get value(): Data {
    return this.#value;
  }

  /** The value's number, 0 when it is none. */
  get number(): number {
    const data = this.#value;
    return 'value' in data && typeof data.value === 'number' ? data.value : 0;
  }

  readonly read = (w: ByteWriter): number => {
    encodeData(w, this.#value);
    return Result.success;
  };

  /** Takes a value, stores it, then tells. A value that cannot be stored is refused. */
  readonly write = (value: Data): number => {
    if (!this.#fits(value)) return Result.typeUnmatched;
    if (this.#shape.isValid?.(value) === false) return Result.otherReason;
    const bytes = encodeValue(value);
    if (!this.#store.set(this.#key, bytes)) return Result.temporaryFailure;
    // Decoded anew: what came in is a view of a message.
    this.#value = decodeData(new ByteReader(bytes));
    this.#onChange();
    return Result.success;
  };

  /** Takes a value of the device's own, such as a counter's, which stands whether or not it can be stored. */
  keep(value: Data): void {
    this.#value = value;
    this.#store.keep(this.#key, encodeValue(value));
  }

  #fits(value: Data): boolean {
    return hasShape(value, this.#shape.example, this.#shape.freeLengths);
  }

  #stored(): Data | undefined {
    const bytes = this.#store.get(this.#key);
    if (!bytes) return undefined;
    const value = decoded(() => decodeData(new ByteReader(bytes)));
    return value && this.#fits(value) && this.#shape.isValid?.(value) !== false ? value : undefined;
  }
}

// Short forms for tables of examples and defaults.

export const u8 = (value = 0): Data => ({ type: 'unsigned', value });
export const u16 = (value = 0): Data => ({ type: 'long-unsigned', value });
export const u32 = (value = 0): Data => ({ type: 'double-long-unsigned', value });
export const i8 = (value = 0): Data => ({ type: 'integer', value });
export const i16 = (value = 0): Data => ({ type: 'long', value });
export const bool = (value = false): Data => ({ type: 'boolean', value });
export const enumeration = (value = 0): Data => ({ type: 'enum', value });
export const octets = (value: Uint8Array): Data => ({ type: 'octet-string', value });
export const structure = (...value: Data[]): Data => ({ type: 'structure', value });
export const array = (...value: Data[]): Data => ({ type: 'array', value });
