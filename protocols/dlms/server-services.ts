/**
 * GET, SET and ACTION inside an open association of a server, with block transfer of long GET answers
 * (IEC 62056-5-3 §6.6-6.8). Answers are encoded straight into the outgoing frame; long ones block by block, see pieces.ts.
 *
 * Not here: SET and ACTION in blocks, ACCESS, selective access (no object offers it). They are not negotiated either.
 */

import { DecodeError } from '#base/errors';
import { ActionChoice, encodeActionHeader } from '#dlms/action';
import { ApduTag, Descriptor, INVOKE_CONFIRMED, readSelection, type Selection } from '#dlms/apdu';
import { type Data, decodeData, readLength, sizeOfLength, writeLength } from '#dlms/axdr';
import type { RequestContext } from '#dlms/cosem/logical-device';
import { encodeGetBlockError, encodeGetError, encodePieceBlock, GetChoice } from '#dlms/get';
import { Conformance, MIN_PDU } from '#dlms/initiate';
import { formatObis } from '#dlms/obis';
import { bytesPiece, FIRST_PIECE, joinPieces, type PiecePosition, type Pieces } from '#dlms/pieces';
import type { ByteReader } from '#dlms/reader';
import { ExceptionService, ExceptionState, encodeException, Result } from '#dlms/result';
import type { ServerCore } from '#dlms/server';
import { encodeSetResponse, SetChoice } from '#dlms/set';
import { ByteWriter } from '#dlms/writer';

/** Longest value held for a transfer; a larger one belongs into an attribute that is given in pieces. */
const MAX_SNAPSHOT = 16_384;
/** What stands before a value in a with-list answer. */
const CHOICE_DATA = new Uint8Array(1);
const REFUSED: Pieces = { count: 1, write: () => Result.otherReason };
const TRANSFER_EXPIRY_MS = 60_000;
/** References in one request. */
const MAX_LIST = 32;

/** A long GET answer on its way. */
interface Transfer {
  readonly invoke: number;
  readonly pieces: Pieces;
  /** Number of the block sent last, where it begins and where the next one does. */
  block: number;
  from: PiecePosition;
  next: PiecePosition;
  isLast: boolean;
  usedMs: number;
}

/** One reference of a list with its value or parameter. */
interface Step<Value = Data> {
  readonly classId: number;
  readonly lnAt: number;
  readonly id: number;
  readonly value: Value;
}

export class ServerServices {
  readonly #core: ServerCore;
  readonly #key: string;
  readonly #descriptor = new Descriptor();
  #transfer: Transfer | null = null;

  constructor(core: ServerCore, key: string) {
    this.#core = core;
    this.#key = key;
  }

  /** Forgets a transfer under way. */
  reset(): void {
    this.#transfer = null;
  }

  /** Answers the request APDU at the reader, whose tag is one of the three services. */
  serve(tag: number, r: ByteReader, w: ByteWriter, context: RequestContext, nowMs: number): void {
    const { get, set, action } = Conformance;
    const service = tag === ApduTag.getRequest ? get : tag === ApduTag.setRequest ? set : action;
    const { serviceNotAllowed, serviceUnknown } = ExceptionState;
    if ((context.conformance & service) === 0)
      encodeException(w, serviceNotAllowed, ExceptionService.serviceNotSupported);
    else if (r.remaining < 3) encodeException(w, serviceNotAllowed, ExceptionService.otherReason);
    else if (!isServed(tag, r.buf[r.at + 1]!, context))
      encodeException(w, serviceUnknown, ExceptionService.serviceNotSupported);
    else this.#serve(tag, r, w, context, nowMs);
  }

  #serve(tag: number, r: ByteReader, w: ByteWriter, context: RequestContext, nowMs: number): void {
    const start = w.at;
    r.take(1, 'tag');
    const choice = r.u8('choice');
    const invoke = r.u8('invoke id');
    try {
      if (tag === ApduTag.getRequest) this.#get(choice, invoke, r, w, context, nowMs);
      else if (tag === ApduTag.setRequest) this.#set(choice, invoke, r, w, context);
      else this.#action(choice, invoke, r, w, context);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      w.at = start;
      encodeException(w, ExceptionState.serviceNotAllowed, ExceptionService.otherReason);
    }
    // An unconfirmed request is carried out and not answered.
    if ((invoke & INVOKE_CONFIRMED) === 0) w.at = start;
  }

  // GET

  #get(choice: number, invoke: number, r: ByteReader, w: ByteWriter, context: RequestContext, nowMs: number): void {
    if (choice !== GetChoice.next) this.#transfer = null;
    if (choice === GetChoice.normal) this.#getNormal(invoke, r, w, context, nowMs);
    else if (choice === GetChoice.list) this.#getList(invoke, r, w, context, nowMs);
    else this.#getNext(invoke, r, w, context, nowMs);
  }

  #getNormal(invoke: number, r: ByteReader, w: ByteWriter, context: RequestContext, nowMs: number): void {
    const start = w.at;
    const descriptor = this.#descriptor.read(r);
    const selection = readSelection(r);
    w.u8(ApduTag.getResponse).u8(GetChoice.normal).u8(invoke).u8(0);
    const valueAt = w.at;
    const result = r.remaining > 0 ? Result.otherReason : readAttribute(r.buf, descriptor, selection, w, context);
    if (result !== Result.success) {
      w.at = start;
      encodeGetError(w, invoke, result);
      return;
    }
    if (fits(w, start, context)) return;
    const size = w.at - valueAt;
    w.at = start;
    // An ordinary value is written a second time within the same call, so it is the one that was measured.
    const pieces =
      context.device.open(context, r.buf, descriptor.lnAt, descriptor.id, selection) ??
      snapshot(size, (inner) => readAttribute(r.buf, descriptor, selection, inner, context));
    this.#startTransfer(invoke, pieces, w, context, nowMs);
  }

  #getList(invoke: number, r: ByteReader, w: ByteWriter, context: RequestContext, nowMs: number): void {
    const start = w.at;
    const countAt = r.at;
    // A first pass over the request alone: a broken one must not be half answered.
    const count = skipReferences(r);
    const refuseAll = count > MAX_LIST || r.remaining > 0;
    r.at = countAt;
    readLength(r, 'list');
    const listAt = r.at;
    writeLength(w.u8(ApduTag.getResponse).u8(GetChoice.list).u8(invoke), count);
    for (let i = 0; i < count; i++) this.#getListed(r, w, context, refuseAll);
    if (fits(w, start, context)) return;
    r.at = listAt;
    const parts = [snapshot(sizeOfLength(count), (inner) => writeLength(inner, count))];
    for (let i = 0; i < count; i++) {
      const at = r.at;
      w.at = start;
      const large = this.#getListed(r, w, context, refuseAll);
      if (large) parts.push(bytesPiece(CHOICE_DATA), large);
      else {
        r.at = at;
        parts.push(snapshot(w.at - start, (inner) => this.#getListed(r, inner, context, refuseAll)));
      }
    }
    w.at = start;
    this.#startTransfer(invoke, joinPieces(parts), w, context, nowMs);
  }

  /** Writes `00 data` or `01 result` for the reference at the reader. @returns the value in pieces if it is a large one */
  #getListed(r: ByteReader, w: ByteWriter, context: RequestContext, isRefused: boolean): Pieces | null {
    const descriptor = this.#descriptor.read(r);
    const selection = readSelection(r);
    const at = w.at;
    w.u8(0);
    const result = isRefused ? Result.otherReason : readAttribute(r.buf, descriptor, selection, w, context);
    if (result === Result.success)
      return context.device.open(context, r.buf, descriptor.lnAt, descriptor.id, selection);
    w.at = at;
    w.u8(1).u8(result);
    return null;
  }

  /** Answers with a value that is too long for one APDU: in blocks, the first of them now. */
  #startTransfer(invoke: number, pieces: Pieces, w: ByteWriter, context: RequestContext, nowMs: number): void {
    if ((context.conformance & Conformance.blockTransferWithGet) === 0) {
      encodeGetError(w, invoke, Result.otherReason);
      return;
    }
    this.#transfer = { invoke, pieces, block: 1, from: FIRST_PIECE, next: FIRST_PIECE, isLast: false, usedMs: nowMs };
    this.#sendBlock(this.#transfer, w, context);
  }

  /** Writes the block that begins at `from`; a value that cannot be continued ends the transfer. */
  #sendBlock(transfer: Transfer, w: ByteWriter, context: RequestContext): void {
    const start = w.at;
    const room = Math.min(context.maxSendPdu, w.end - start);
    if (room < MIN_PDU) {
      // Less than any client may ask for: the caller's buffer is too small, and half an answer is none.
      w.at = w.end + 1;
      return;
    }
    const { result, next, isLast } = encodePieceBlock(
      w,
      transfer.invoke,
      transfer.block,
      transfer.pieces,
      transfer.from,
      room,
    );
    transfer.next = next;
    transfer.isLast = isLast;
    if (result === Result.success) return;
    this.#transfer = null;
    w.at = start;
    encodeGetBlockError(w, transfer.invoke, transfer.block, result);
  }

  /** The client names the block it has: the last one to get the next, the one before when an answer was lost. */
  #getNext(invoke: number, r: ByteReader, w: ByteWriter, context: RequestContext, nowMs: number): void {
    const block = r.u32('block number');
    r.expectEnd('get request');
    if (this.#transfer && nowMs - this.#transfer.usedMs > TRANSFER_EXPIRY_MS) this.#transfer = null;
    const transfer = this.#transfer;
    const isMine = transfer !== null && ((transfer.invoke ^ invoke) & 0x0f) === 0;
    if (isMine && block > 0 && block === transfer.block - 1) this.#sendBlock(transfer, w, context);
    else if (isMine && block === transfer.block && !transfer.isLast) {
      transfer.block++;
      transfer.from = transfer.next;
      this.#sendBlock(transfer, w, context);
    } else {
      const isOver = transfer === null || (isMine && block === transfer.block);
      this.#transfer = null;
      if (isOver) encodeGetBlockError(w, invoke, 0, Result.noLongGetInProgress);
      else encodeGetBlockError(w, invoke, block, Result.dataBlockNumberInvalid);
      return;
    }
    transfer.usedMs = nowMs;
  }

  // SET and ACTION

  #set(choice: number, invoke: number, r: ByteReader, w: ByteWriter, context: RequestContext): void {
    if (choice === SetChoice.normal) {
      const { classId, lnAt, id } = this.#descriptor.read(r);
      const selection = readSelection(r);
      const value = lastValue(r);
      const result =
        typeof value === 'number'
          ? value
          : selection
            ? Result.typeUnmatched
            : context.device.set(context, classId, r.buf, lnAt, id, value);
      encodeSetResponse(w, invoke, this.#report('set', r.buf, lnAt, id, result, context));
      return;
    }
    const steps = this.#readSteps(r, true);
    writeLength(w.u8(ApduTag.setResponse).u8(SetChoice.listResponse).u8(invoke), steps.length);
    for (const { classId, lnAt, id, value } of steps) {
      const result = context.device.set(context, classId, r.buf, lnAt, id, value);
      w.u8(this.#report('set', r.buf, lnAt, id, result, context));
    }
  }

  #action(choice: number, invoke: number, r: ByteReader, w: ByteWriter, context: RequestContext): void {
    if (choice === ActionChoice.normal) {
      const { classId, lnAt, id } = this.#descriptor.read(r);
      const hasParameter = r.u8('parameter') !== 0;
      const parameter = hasParameter ? lastValue(r) : r.remaining === 0 ? null : Result.otherReason;
      encodeActionHeader(w, invoke);
      this.#invoke({ classId, lnAt, id, value: parameter }, r.buf, w, context);
      return;
    }
    const steps = this.#readSteps(r, false);
    writeLength(w.u8(ApduTag.actionResponse).u8(ActionChoice.list).u8(invoke), steps.length);
    for (const step of steps) this.#invoke(step, r.buf, w, context);
  }

  /** Runs a method and writes `result (00 | 01 00 data)`. A parameter that is a number says why it cannot run. */
  #invoke(
    { classId, lnAt, id, value }: Step<Data | number | null>,
    buf: Uint8Array,
    w: ByteWriter,
    context: RequestContext,
  ): void {
    const at = w.at;
    const dataAt = w.u8(0).u8(1).u8(0).at;
    const result = typeof value === 'number' ? value : context.device.invoke(context, classId, buf, lnAt, id, value, w);
    w.patch(at, this.#report('action', buf, lnAt, id, result, context));
    if (result === Result.success && w.at > dataAt) return;
    w.at = at + 1;
    w.u8(0);
  }

  /** Reads `count { descriptor } count { data }` whole before any of it is carried out. @throws DecodeError */
  #readSteps(r: ByteReader, hasSelection: boolean): Step[] {
    const count = readLength(r, 'list');
    if (count > MAX_LIST) throw new DecodeError('list', r.at, `at most ${MAX_LIST} references`);
    const places: Omit<Step, 'value'>[] = [];
    for (let i = 0; i < count; i++) {
      const { classId, lnAt, id } = this.#descriptor.read(r);
      if (hasSelection && readSelection(r)) throw new DecodeError('list', r.at, 'no selective access');
      places.push({ classId, lnAt, id });
    }
    const valuesAt = r.at;
    if (readLength(r, 'values') !== count) throw new DecodeError('values', valuesAt, `${count} values`);
    const steps = places.map((place) => ({ ...place, value: decodeData(r) }));
    r.expectEnd('request');
    return steps;
  }

  #report(
    kind: 'set' | 'action',
    buf: Uint8Array,
    lnAt: number,
    id: number,
    result: number,
    { clientSap }: RequestContext,
  ): number {
    this.#core.emit({ kind, key: this.#key, clientSap, obis: formatObis(buf, lnAt), id, result });
    return result;
  }
}

/** Whether this form of the service exists here and was negotiated. */
function isServed(tag: number, choice: number, { conformance }: RequestContext): boolean {
  const hasLists = (conformance & Conformance.multipleReferences) !== 0;
  const hasBlocks = (conformance & Conformance.blockTransferWithGet) !== 0;
  if (tag === ApduTag.getRequest)
    return (
      choice === GetChoice.normal || (choice === GetChoice.next && hasBlocks) || (choice === GetChoice.list && hasLists)
    );
  if (tag === ApduTag.setRequest) return choice === SetChoice.normal || (choice === SetChoice.list && hasLists);
  return choice === ActionChoice.normal || (choice === ActionChoice.list && hasLists);
}

function readAttribute(
  buf: Uint8Array,
  { classId, lnAt, id }: Descriptor,
  selection: Selection | null,
  w: ByteWriter,
  context: RequestContext,
): number {
  if (id === 0 && (context.conformance & Conformance.attribute0WithGet) === 0) return Result.objectUndefined;
  return context.device.get(context, classId, buf, lnAt, id, selection, w);
}

function fits(w: ByteWriter, start: number, { maxSendPdu }: RequestContext): boolean {
  return w.at - start <= maxSendPdu && !w.overflowed;
}

/** Holds `size` bytes, so that the value does not change between blocks; too many make a value that is refused. */
function snapshot(size: number, write: (w: ByteWriter) => unknown): Pieces {
  if (size > MAX_SNAPSHOT) return REFUSED;
  const w = new ByteWriter(new Uint8Array(size));
  write(w);
  return bytesPiece(w.written());
}

/** Moves over `count { descriptor selection }`. @returns the count @throws DecodeError */
function skipReferences(r: ByteReader): number {
  const count = readLength(r, 'list');
  for (let i = 0; i < count; i++) {
    r.take(9, 'reference');
    readSelection(r);
  }
  return count;
}

/** The value that ends a request; a broken one is a wrong type, bytes behind it are refused. */
function lastValue(r: ByteReader): Data | number {
  try {
    const value = decodeData(r);
    return r.remaining === 0 ? value : Result.otherReason;
  } catch (error) {
    if (error instanceof DecodeError) return Result.typeUnmatched;
    throw error;
  }
}
