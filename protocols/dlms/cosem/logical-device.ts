/**
 * A COSEM logical device (IEC 62056-6-2): the objects of a meter, who may do what with them, and the order in which a
 * request is checked. Pure: the objects get their values through the ports they were built with.
 *
 * Checks, in this order: the object is visible in this association (4), its class fits (9), the attribute or method
 * exists (4), the association's access right (3), the protection that the right asks for (13), then the object itself.
 */

import { readU48 } from '#base/bytes';
import { DlmsError } from '#base/errors';
import type { Selection } from '#dlms/apdu';
import { type Data, Tag, writeLength, writeOctetString } from '#dlms/axdr';
import { Protection } from '#dlms/cipher';
import { formatObis } from '#dlms/obis';
import { arrayPieces, type Pieces, writePieces } from '#dlms/pieces';
import { Result } from '#dlms/result';
import { ByteWriter } from '#dlms/writer';

/** The association that a request came in by, as objects see it. */
export interface RequestContext {
  /** Column of the access table. */
  readonly role: string;
  readonly clientSap: number;
  readonly serverSap: number;
  readonly mechanism: number;
  /** Negotiated conformance block. */
  readonly conformance: number;
  /** Longest APDUs, from the server's side. */
  readonly maxReceivePdu: number;
  readonly maxSendPdu: number;
  readonly device: LogicalDevice;
  /** Whether the association is in the ciphered application context. */
  readonly isCiphered?: boolean;
  /** Security control byte of the request, 0 in the clear. */
  readonly protection?: number;
  /** Bytes of `maxSendPdu` that ciphering takes, already taken off. */
  readonly overhead?: number;
  /** Whether a command certificate has signed the request. */
  readonly isSigned?: boolean;
  /** Set when the device itself acts, and then who: `limiter`, `schedule 0-0:15.0.1.255`. */
  readonly origin?: string;
}

/** One COSEM object. Attribute 1, the logical name, is answered by the device. */
export interface CosemObject {
  readonly classId: number;
  readonly version: number;
  readonly ln: Uint8Array;
  /** Highest attribute and method numbers of the class version. */
  readonly attributes: number;
  readonly methods: number;
  /** Selectors that attribute 2 takes, for the object list. */
  readonly selectors?: readonly number[];
  /** Writes the value of an attribute ≥ 2. What is written before a result that is not success is dropped. */
  get(attribute: number, w: ByteWriter, context: RequestContext): number;
  /**
   * Opens an attribute that is large or takes selective access (see pieces.ts); `get` is not asked for it then.
   * @returns the value, a result code that refuses the selection, or null for an attribute that is neither
   */
  open?(attribute: number, selection: Selection | null, context: RequestContext): Pieces | number | null;
  /** Takes a new value, whole or not at all. */
  set?(attribute: number, value: Data, context: RequestContext): number;
  /** Runs a method. What it writes, one value or nothing, is its return value; it counts with result 0 only. */
  invoke?(method: number, parameter: Data | null, context: RequestContext, w: ByteWriter): number;
}

/** Rights of one association on one object; index = attribute or method number. */
interface Access {
  readonly canRead: readonly Right[];
  readonly canWrite: readonly Right[];
  readonly canRun: readonly Right[];
}

/** No right, a right, or one that asks for protection of the request. */
const Right = { none: 0, plain: 1, authenticated: 2, command: 3, readying: 4 } as const;
type Right = (typeof Right)[keyof typeof Right];

/** Whether commands, the rights marked `!`, need the signature of a command certificate. */
export type CommandPolicy = 'association' | 'signed';

/**
 * Access rights per role, written `r` (read every attribute), `r3` (read attribute 3), `w2` (write attribute 2), `x1` (run
 * method 1). A role that is not named does not see the object. `+` behind a right asks for an authenticated request, `!` for
 * a signed one where the device takes signed commands only, and a device that is ready for commands; `~` for one that
 * must be signed likewise, but is what makes the device ready.
 */
export type AccessRow = Readonly<Record<string, string>>;

interface Entry {
  readonly object: CosemObject;
  readonly access: ReadonlyMap<string, Access>;
}

const NAME_ATTRIBUTE = 1;
const NO_BYTES = new Uint8Array(0);

const RIGHTS: Readonly<Record<string, Right>> = {
  '+': Right.authenticated,
  '!': Right.command,
  '~': Right.readying,
};

function parseAccess(text: string, object: CosemObject): Access {
  const canRead = new Array<Right>(object.attributes + 1).fill(Right.none);
  const canWrite = new Array<Right>(object.attributes + 1).fill(Right.none);
  const canRun = new Array<Right>(object.methods + 1).fill(Right.none);
  canRead[NAME_ATTRIBUTE] = Right.plain;
  for (const word of text.split(' ').filter(Boolean)) {
    const [, kind, digits, mark] = /^([rwx])(\d*)([+!~]?)$/.exec(word) ?? [];
    const right = RIGHTS[mark ?? ''] ?? Right.plain;
    const list = kind === 'r' ? canRead : kind === 'w' ? canWrite : kind === 'x' ? canRun : undefined;
    const id = Number(digits);
    if (!list || (digits === '' && kind !== 'r') || id >= list.length)
      throw new DlmsError('internal', `access right "${word}" does not fit ${formatObis(object.ln)}`);
    if (digits === '') list.fill(right, 1);
    else list[id] = right;
  }
  return { canRead, canWrite, canRun };
}

export class LogicalDevice {
  /** Logical device name, 16 octets: manufacturer's three letters and a serial number. */
  readonly name: Uint8Array;
  readonly sap: number;
  readonly commands: CommandPolicy;
  readonly #takesCommands: () => boolean;
  readonly #entries = new Map<number, Entry>();

  /** @param takesCommands  whether the device is in a state to be commanded, such as knowing the time */
  constructor(
    name: Uint8Array,
    sap: number,
    commands: CommandPolicy = 'association',
    takesCommands: () => boolean = () => true,
  ) {
    this.name = name;
    this.sap = sap;
    this.commands = commands;
    this.#takesCommands = takesCommands;
  }

  /** Judges a right: missing (3), or asking for more protection than the request has (13). */
  #judge(right: Right | undefined, context: RequestContext): number {
    if (!right) return Result.readWriteDenied;
    const needsSignature = right >= Right.command && this.commands === 'signed';
    if (needsSignature && !context.isSigned) return Result.scopeOfAccessViolated;
    if (right === Right.command && !this.#takesCommands()) return Result.temporaryFailure;
    const needsTag = right === Right.authenticated;
    if (needsTag && ((context.protection ?? 0) & Protection.authenticated) === 0) return Result.scopeOfAccessViolated;
    return Result.success;
  }

  /**
   * Adds an object.
   * @throws DlmsError `internal` when its logical name is taken or a right names no attribute or method of it
   */
  add(object: CosemObject, access: AccessRow): this {
    const key = readU48(object.ln, 0);
    if (this.#entries.has(key)) throw new DlmsError('internal', `${formatObis(object.ln)} is in the object list twice`);
    const rights = new Map(Object.entries(access).map(([role, text]) => [role, parseAccess(text, object)]));
    this.#entries.set(key, { object, access: rights });
    return this;
  }

  /** The object of a logical name, whoever may see it; for the device's own use and for tests. */
  find(ln: Uint8Array): CosemObject | undefined {
    return this.#entries.get(readU48(ln, 0))?.object;
  }

  /** Every object in the order of the list. */
  *objects(): Generator<CosemObject> {
    for (const { object } of this.#entries.values()) yield object;
  }

  /** The device's own requests: scripts, schedules, the limiter, pushes. Rights are for associations. */
  ownContext(origin: string): RequestContext {
    return {
      role: '',
      clientSap: 0,
      serverSap: this.sap,
      mechanism: 0,
      conformance: 0,
      maxReceivePdu: 0,
      maxSendPdu: 0,
      device: this,
      origin,
    };
  }

  /** Runs a method, for a client that was allowed to or on the device's own account. @returns a result code */
  run(ln: Uint8Array, method: number, parameter: Data | null, context: RequestContext): number {
    const object = this.find(ln);
    if (!object?.invoke || method < 1 || method > object.methods) return Result.objectUndefined;
    return object.invoke(method, parameter, context, new ByteWriter(NO_BYTES));
  }

  /** Writes a whole attribute on the device's own account. @returns a result code */
  ownValue(ln: Uint8Array, attribute: number, w: ByteWriter, origin: string): number {
    const object = this.find(ln);
    if (!object || attribute < 1 || attribute > object.attributes) return Result.objectUndefined;
    return this.#getOne(object, attribute, null, w, this.ownContext(origin));
  }

  /** Writes an attribute's value. Attribute 0 stands for the structure of all that may be read. */
  get(
    context: RequestContext,
    classId: number,
    buf: Uint8Array,
    lnAt: number,
    attribute: number,
    selection: Selection | null,
    w: ByteWriter,
  ): number {
    const entry = this.#entries.get(readU48(buf, lnAt));
    const access = entry?.access.get(context.role);
    if (!entry || !access) return Result.objectUndefined;
    if (entry.object.classId !== classId) return Result.objectClassInconsistent;
    if (attribute === 0) return selection ? Result.typeUnmatched : this.#getAll(entry.object, access, w, context);
    if (attribute < 0 || attribute > entry.object.attributes) return Result.objectUndefined;
    const refusal = this.#judge(access.canRead[attribute], context);
    if (refusal !== Result.success) return refusal;
    return this.#getOne(entry.object, attribute, selection, w, context);
  }

  #getOne(
    object: CosemObject,
    attribute: number,
    selection: Selection | null,
    w: ByteWriter,
    context: RequestContext,
  ): number {
    const large = object.open?.(attribute, selection, context) ?? null;
    if (large !== null) return typeof large === 'number' ? large : writePieces(large, w);
    if (selection) return Result.typeUnmatched;
    if (attribute !== NAME_ATTRIBUTE) return object.get(attribute, w, context);
    writeOctetString(w, object.ln);
    return Result.success;
  }

  /** The value of an attribute that `get` has given to this client, in pieces; null when it is not a large one. */
  open(
    context: RequestContext,
    buf: Uint8Array,
    lnAt: number,
    attribute: number,
    selection: Selection | null,
  ): Pieces | null {
    const pieces = this.#entries.get(readU48(buf, lnAt))?.object.open?.(attribute, selection, context);
    return typeof pieces === 'object' ? pieces : null;
  }

  #getAll(object: CosemObject, access: Access, w: ByteWriter, context: RequestContext): number {
    let count = 0;
    const isReadable = (id: number) => this.#judge(access.canRead[id], context) === Result.success;
    for (let id = 1; id <= object.attributes; id++) if (isReadable(id)) count++;
    writeLength(w.u8(Tag.structure), count);
    for (let id = 1; id <= object.attributes; id++) {
      if (!isReadable(id)) continue;
      const result = this.#getOne(object, id, null, w, context);
      if (result !== Result.success) return result;
    }
    return Result.success;
  }

  set(context: RequestContext, classId: number, buf: Uint8Array, lnAt: number, attribute: number, value: Data): number {
    const entry = this.#entries.get(readU48(buf, lnAt));
    const access = entry?.access.get(context.role);
    if (!entry || !access) return Result.objectUndefined;
    const { object } = entry;
    if (object.classId !== classId) return Result.objectClassInconsistent;
    if (attribute < 1 || attribute > object.attributes) return Result.objectUndefined;
    const refusal = object.set ? this.#judge(access.canWrite[attribute], context) : Result.readWriteDenied;
    if (refusal !== Result.success || !object.set) return refusal;
    return object.set(attribute, value, context);
  }

  invoke(
    context: RequestContext,
    classId: number,
    buf: Uint8Array,
    lnAt: number,
    method: number,
    parameter: Data | null,
    w: ByteWriter,
  ): number {
    const entry = this.#entries.get(readU48(buf, lnAt));
    const access = entry?.access.get(context.role);
    if (!entry || !access) return Result.objectUndefined;
    const { object } = entry;
    if (object.classId !== classId) return Result.objectClassInconsistent;
    if (method < 1 || method > object.methods) return Result.objectUndefined;
    const refusal = object.invoke ? this.#judge(access.canRun[method], context) : Result.readWriteDenied;
    if (refusal !== Result.success || !object.invoke) return refusal;
    return object.invoke(method, parameter, context, w);
  }

  /**
   * The object list of a role (class 15, attribute 2, version 2): an array of
   * `{ class, version, logical name, { { { attribute, mode, selectors } }, { { method, mode } } } }`.
   */
  objectList(role: string): Pieces {
    const visible = [...this.#entries.values()].filter(({ access }) => access.has(role));
    return arrayPieces(visible.length, (index, w) => {
      const { object, access } = visible[index]!;
      writeListElement(object, access.get(role)!, w);
      return Result.success;
    });
  }
}

function writeListElement(object: CosemObject, rights: Access, w: ByteWriter): void {
  w.u8(Tag.structure).u8(4);
  w.u8(Tag.longUnsigned).u16(object.classId);
  w.u8(Tag.unsigned).u8(object.version);
  writeOctetString(w, object.ln);
  w.u8(Tag.structure).u8(2);
  writeLength(w.u8(Tag.array), object.attributes);
  for (let id = 1; id <= object.attributes; id++) {
    const read = rights.canRead[id]!;
    const write = rights.canWrite[id]!;
    // Modes 4…6 are 1…3 with authentication, which is all that version 2 can say of protection.
    const mode = (read ? 1 : 0) | (write ? 2 : 0);
    const isProtected = read > Right.plain || write === Right.authenticated;
    w.u8(Tag.structure).u8(3).u8(Tag.integer).u8(id).u8(Tag.enum);
    w.u8(isProtected ? mode + 3 : mode);
    const selectors = (id === 2 && object.selectors) || [];
    if (selectors.length === 0) w.u8(Tag.nullData);
    else w.u8(Tag.array).u8(selectors.length);
    for (const selector of selectors) w.u8(Tag.integer).u8(selector);
  }
  writeLength(w.u8(Tag.array), object.methods);
  for (let id = 1; id <= object.methods; id++) {
    w.u8(Tag.structure)
      .u8(2)
      .u8(Tag.integer)
      .u8(id)
      .u8(Tag.enum)
      .u8(rights.canRun[id] === Right.authenticated ? 2 : rights.canRun[id] ? 1 : 0);
  }
}
