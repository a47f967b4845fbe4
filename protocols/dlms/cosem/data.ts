/**
 * Class 1, Data v0: one value of any type. The value comes from and goes to the functions it was built with.
 */

import type { Data } from '#dlms/axdr';
import type { CosemObject, RequestContext } from '#dlms/cosem/logical-device';
import { parseObis } from '#dlms/obis';
import { Result } from '#dlms/result';
import type { ByteWriter } from '#dlms/writer';

/** Writes a value with its tag, or says why there is none. */
export type ValueWriter = (w: ByteWriter, context: RequestContext) => number;

/** Checks and stores a value; returns a result code. */
export type ValueSetter = (value: Data, context: RequestContext) => number;

export class DataObject implements CosemObject {
  readonly classId = 1;
  readonly version = 0;
  readonly attributes = 2;
  readonly methods = 0;
  readonly ln: Uint8Array;
  readonly #read: ValueWriter;
  readonly #write: ValueSetter | undefined;

  constructor(obis: string, read: ValueWriter, write?: ValueSetter) {
    this.ln = parseObis(obis);
    this.#read = read;
    this.#write = write;
  }

  get(_attribute: number, w: ByteWriter, context: RequestContext): number {
    return this.#read(w, context);
  }

  set(_attribute: number, value: Data, context: RequestContext): number {
    return this.#write ? this.#write(value, context) : Result.readWriteDenied;
  }
}
