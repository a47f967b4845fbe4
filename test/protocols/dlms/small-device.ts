/** A logical device for tests of services: values of any size, a large attribute in pieces, a method that answers. */

import { asciiBytes } from '#base/bytes';
import type { Selection } from '#dlms/apdu';
import { managementAssociation, passwordAssociation } from '#dlms/association';
import { type Data, decodeData, encodeData, Tag } from '#dlms/axdr';
import { DlmsClient } from '#dlms/client';
import { type CosemObject, LogicalDevice } from '#dlms/cosem/logical-device';
import { exchangeSync } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import { arrayPieces, type Pieces } from '#dlms/pieces';
import { ByteReader } from '#dlms/reader';
import { Result } from '#dlms/result';
import type { ServerSecurity } from '#dlms/security';
import { DlmsServer, type ServerEvent, type ServerSession } from '#dlms/server';
import { ByteWriter } from '#dlms/writer';

export const PASSWORD = asciiBytes('blocks');
export const ROWS_LN = parseObis('1-0:99.1.0.255');
const NOTE_LN = parseObis('0-0:96.13.0.255');
const SECOND_LN = parseObis('0-0:96.13.1.255');
export const NOTE = { classId: 1, ln: NOTE_LN, attribute: 2 };
export const SECOND_NOTE = { classId: 1, ln: SECOND_LN, attribute: 2 };
export const ROWS = { classId: 7, ln: ROWS_LN, attribute: 2 };
/** What the last method of the note got. */
export const APPENDED = { classId: 1, ln: NOTE_LN, attribute: 3 };
/** Methods of the note: 1 appends its parameter to `log`, 2 also gives it back. */
export const APPEND = { classId: 1, ln: NOTE_LN, method: 1 };
export const ECHO = { classId: 1, ln: NOTE_LN, method: 2 };

function copy(value: Data): Data {
  const size = new ByteWriter(new Uint8Array(0));
  encodeData(size, value);
  const w = new ByteWriter(new Uint8Array(size.length));
  encodeData(w, value);
  return decodeData(new ByteReader(w.written()));
}

/** Class 1 with an attribute and two methods that it does not have in the standard. */
export class Note implements CosemObject {
  readonly classId = 1;
  readonly version = 0;
  readonly attributes = 3;
  readonly methods = 2;
  readonly ln: Uint8Array;
  value: Data = { type: 'null-data' };
  /** Parameter of the last method. */
  appended: Data = { type: 'null-data' };
  /** Values set and parameters of methods, in the order in which they were carried out. */
  readonly log: Data[] = [];

  constructor(ln: Uint8Array) {
    this.ln = ln;
  }

  get(attribute: number, w: ByteWriter): number {
    encodeData(w, attribute === 3 ? this.appended : this.value);
    return Result.success;
  }

  set(_attribute: number, value: Data): number {
    if (value.type === 'boolean') return Result.typeUnmatched;
    this.value = copy(value);
    this.log.push(this.value);
    return Result.success;
  }

  invoke(method: number, parameter: Data | null, _context: unknown, w: ByteWriter): number {
    const kept = copy(parameter ?? { type: 'null-data' });
    this.log.push(kept);
    this.appended = kept;
    if (method === 2) encodeData(w, kept);
    return Result.success;
  }
}

/** Rows `{ number u32, 12 octets }`, of which a ring holds the last `capacity`. */
export class Rows implements CosemObject {
  readonly classId = 7;
  readonly version = 1;
  readonly attributes = 8;
  readonly methods = 2;
  readonly ln = ROWS_LN;
  captured: number;
  readonly capacity: number;
  /** How many rows were written to answer, repetitions included. */
  written = 0;

  constructor(captured: number, capacity = captured) {
    this.captured = captured;
    this.capacity = capacity;
  }

  open(attribute: number, selection: Selection | null): Pieces | number | null {
    if (attribute !== 2) return null;
    let first = Math.max(0, this.captured - this.capacity);
    let last = this.captured - 1;
    if (selection) {
      const { selector, parameter } = selection;
      if (selector !== 2 || parameter.type !== 'structure') return Result.typeUnmatched;
      const [from, to] = parameter.value;
      if (from?.type !== 'double-long-unsigned' || to?.type !== 'double-long-unsigned') return Result.typeUnmatched;
      if (to.value > 0) last = Math.min(last, first + to.value - 1);
      first += from.value - 1;
    }
    return arrayPieces(Math.max(0, last - first + 1), (index, w) => this.#writeRow(first + index, w));
  }

  #writeRow(row: number, w: ByteWriter): number {
    if (row < this.captured - this.capacity) return Result.longGetAborted;
    this.written++;
    w.u8(Tag.structure).u8(2).u8(Tag.doubleLongUnsigned).u32(row);
    w.u8(Tag.octetString).u8(12).bytes(new Uint8Array(12).fill(row));
    return Result.success;
  }

  get(_attribute: number, w: ByteWriter): number {
    w.u8(Tag.nullData);
    return Result.success;
  }
}

export interface SmallMeter {
  readonly server: DlmsServer;
  readonly note: Note;
  readonly second: Note;
  readonly rows: Rows;
  readonly events: ServerEvent[];
}

export interface SmallMeterOptions {
  readonly rows?: number;
  readonly capacity?: number;
  readonly maxPdu?: number;
  /** Adds the management client. */
  readonly security?: ServerSecurity;
}

export function smallMeter(options: SmallMeterOptions = {}): SmallMeter {
  const { rows: count = 10, capacity = count, maxPdu = 1024, security } = options;
  const note = new Note(NOTE_LN);
  const second = new Note(SECOND_LN);
  const rows = new Rows(count, capacity);
  const access = { password: 'r w2 x1 x2', management: 'r w2 x1 x2' };
  const device = new LogicalDevice(asciiBytes('S3MPTEST00000001'), 1)
    .add(note, access)
    .add(second, access)
    .add(rows, { password: 'r', management: 'r' });
  const events: ServerEvent[] = [];
  const server = new DlmsServer(device, {
    associations: [passwordAssociation(PASSWORD), ...(security ? [managementAssociation(security)] : [])],
    maxDatagramPdu: maxPdu,
    maxStreamPdu: maxPdu,
    onEvent: (event) => events.push(event),
  });
  return { server, note, second, rows, events };
}

/** A client that is associated, and how it reaches the session. */
export function connect(
  session: ServerSession,
  options: { maxPdu?: number; conformance?: number } = {},
): { client: DlmsClient; send: (frame: Uint8Array) => Uint8Array } {
  const out = new Uint8Array(4096);
  let nowMs = 1000;
  const send = (frame: Uint8Array) => out.slice(0, session.receive(frame, out, nowMs++));
  const client = new DlmsClient({ clientSap: 17, password: PASSWORD, ...options });
  exchangeSync(client.associate(), send);
  return { client, send };
}

export function octets(size: number, seed = 0): Data {
  return { type: 'octet-string', value: Uint8Array.from({ length: size }, (_, i) => (i + seed) & 0xff) };
}
