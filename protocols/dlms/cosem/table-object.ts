/**
 * A COSEM object put together from its attributes and methods: most classes are nothing else. What an attribute needs of
 * the class's rules lies in its own read and write functions; an attribute without a write function is read only.
 */

import type { Data } from '#dlms/axdr';
import type { ValueSetter, ValueWriter } from '#dlms/cosem/data';
import type { CosemObject, RequestContext } from '#dlms/cosem/logical-device';
import { parseObis } from '#dlms/obis';
import { Result } from '#dlms/result';
import type { ByteWriter } from '#dlms/writer';

export interface Attribute {
  readonly read: ValueWriter;
  readonly write?: ValueSetter | undefined;
}

/** Runs a method; returns a result code. What it writes is its return value. */
export type MethodRunner = (parameter: Data | null, context: RequestContext, w: ByteWriter) => number;

export class TableObject implements CosemObject {
  readonly classId: number;
  readonly version: number;
  readonly attributes: number;
  readonly methods: number;
  readonly ln: Uint8Array;
  readonly #attributes: readonly Attribute[];
  readonly #methods: readonly MethodRunner[];

  /**
   * @param attributes  attribute 2 first
   * @param methods  method 1 first
   */
  constructor(
    classId: number,
    version: number,
    obis: string,
    attributes: readonly Attribute[],
    methods: readonly MethodRunner[] = [],
  ) {
    this.classId = classId;
    this.version = version;
    this.ln = parseObis(obis);
    this.attributes = attributes.length + 1;
    this.methods = methods.length;
    this.#attributes = attributes;
    this.#methods = methods;
  }

  get(attribute: number, w: ByteWriter, context: RequestContext): number {
    return this.#attributes[attribute - 2]?.read(w, context) ?? Result.objectUndefined;
  }

  set(attribute: number, value: Data, context: RequestContext): number {
    const write = this.#attributes[attribute - 2]?.write;
    return write ? write(value, context) : Result.readWriteDenied;
  }

  invoke(method: number, parameter: Data | null, context: RequestContext, w: ByteWriter): number {
    return this.#methods[method - 1]?.(parameter, context, w) ?? Result.readWriteDenied;
  }
}

/** A method that the class has and this object does not offer. */
export const NO_METHOD: MethodRunner = () => Result.readWriteDenied;

/** An attribute made of a function that writes and cannot fail. */
export function attribute(write: (w: ByteWriter) => unknown): Attribute {
  return {
    read: (w) => {
      write(w);
      return Result.success;
    },
  };
}
