/**
 * GET, SET and ACTION inside an open association of a server, with block transfer of long GET answers
 * (IEC 62056-5-3 §6.6-6.8). Answers are encoded straight into the outgoing frame; only what does not fit is copied.
 *
 * Not here: SET and ACTION in blocks, ACCESS, selective access (no object offers it). They are not negotiated either.
 */

import { DecodeError } from '#base/errors';
import { ActionChoice, encodeActionResponse } from '#dlms/action';
import { ApduTag, Descriptor, INVOKE_CONFIRMED, readSelection } from '#dlms/apdu';
import { type Data, decodeData, readLength, writeLength } from '#dlms/axdr';
import type { RequestContext } from '#dlms/cosem/logical-device';
import { blockCapacity, encodeGetBlock, encodeGetBlockError, encodeGetError, GetChoice } from '#dlms/get';
import { Conformance } from '#dlms/initiate';
import { formatObis } from '#dlms/obis';
import type { ByteReader } from '#dlms/reader';
import { ExceptionService, ExceptionState, encodeException, Result } from '#dlms/result';
import type { ServerCore } from '#dlms/server';
import { encodeSetResponse, SetChoice } from '#dlms/set';
import { ByteWriter } from '#dlms/writer';

/** Longest value that is given in blocks; held as a snapshot, so that it does not change between blocks. */
const MAX_TRANSFER = 16_384;
const TRANSFER_EXPIRY_MS = 60_000;
/** References in one request. */
const MAX_LIST = 32;

/** A long GET answer on its way. */
interface Transfer {
  readonly invoke: number;
  readonly raw: Uint8Array;
  /** Number of the block sent last, and where it begins and ends in `raw`. */
  block: number;
  from: number;
  to: number;
  usedMs: number;
}

/** One reference of a list with its value or parameter. */
interface Step {
  readonly classId: number;
  readonly lnAt: number;
  readonly id: number;
  readonly value: Data;
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
    const isSelected = readSelection(r);
    w.u8(ApduTag.getResponse).u8(GetChoice.normal).u8(invoke).u8(0);
    const valueAt = w.at;
    const result = r.remaining > 0 ? Result.otherReason : readAttribute(r.buf, descriptor, isSelected, w, context);
    if (result !== Result.success) {
      w.at = start;
      encodeGetError(w, invoke, result);
      return;
    }
    if (w.at - start <= context.maxSendPdu && !w.overflowed) return;
    const size = w.at - valueAt;
    w.at = start;
    this.#startTransfer(invoke, size, w, context, nowMs, (inner) => {
      readAttribute(r.buf, descriptor, isSelected, inner, context);
    });
  }

  #getList(invoke: number, r: ByteReader, w: ByteWriter, context: RequestContext, nowMs: number): void {
    const start = w.at;
    const listAt = r.at;
    // A first pass over the request alone: a broken one must not be half answered.
    const refuseAll = skipReferences(r) > MAX_LIST || r.remaining > 0;
    w.u8(ApduTag.getResponse).u8(GetChoice.list).u8(invoke);
    const resultsAt = w.at;
    r.at = listAt;
    this.#readList(r, w, context, refuseAll);
    if (w.at - start <= context.maxSendPdu && !w.overflowed) return;
    const size = w.at - resultsAt;
    w.at = start;
    this.#startTransfer(invoke, size, w, context, nowMs, (inner) => {
      r.at = listAt;
      this.#readList(r, inner, context, refuseAll);
    });
  }

  /** Writes `count { 00 data | 01 result }` for the references at the reader. */
  #readList(r: ByteReader, w: ByteWriter, context: RequestContext, refuseAll: boolean): void {
    const count = readLength(r, 'list');
    writeLength(w, count);
    for (let i = 0; i < count; i++) {
      const descriptor = this.#descriptor.read(r);
      const isSelected = readSelection(r);
      const at = w.at;
      w.u8(0);
      const result = refuseAll ? Result.otherReason : readAttribute(r.buf, descriptor, isSelected, w, context);
      if (result === Result.success) continue;
      w.at = at;
      w.u8(1).u8(result);
    }
  }

  /** Answers with `size` bytes that are too long for one APDU: in blocks, the first of them now. */
  #startTransfer(
    invoke: number,
    size: number,
    w: ByteWriter,
    context: RequestContext,
    nowMs: number,
    write: (w: ByteWriter) => void,
  ): void {
    const hasBlocks = (context.conformance & Conformance.blockTransferWithGet) !== 0;
    if (!hasBlocks || size > MAX_TRANSFER) {
      encodeGetError(w, invoke, Result.otherReason);
      return;
    }
    // The value is written a second time within the same call, so it is the one that was measured.
    const snapshot = new ByteWriter(new Uint8Array(size));
    write(snapshot);
    const transfer = { invoke, raw: snapshot.written(), block: 0, from: 0, to: 0, usedMs: nowMs };
    this.#transfer = transfer;
    advance(transfer, context);
    sendBlock(transfer, w);
  }

  /** The client names the block it has: the last one to get the next, the one before when an answer was lost. */
  #getNext(invoke: number, r: ByteReader, w: ByteWriter, context: RequestContext, nowMs: number): void {
    const block = r.u32('block number');
    r.expectEnd('get request');
    if (this.#transfer && nowMs - this.#transfer.usedMs > TRANSFER_EXPIRY_MS) this.#transfer = null;
    const transfer = this.#transfer;
    const isMine = transfer !== null && ((transfer.invoke ^ invoke) & 0x0f) === 0;
    if (isMine && block > 0 && block === transfer.block - 1) sendBlock(transfer, w);
    else if (isMine && block === transfer.block && transfer.to < transfer.raw.length) {
      advance(transfer, context);
      sendBlock(transfer, w);
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
      const isSelected = readSelection(r);
      const value = lastValue(r);
      const result =
        typeof value === 'number'
          ? value
          : isSelected
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
      const result =
        typeof parameter === 'number' ? parameter : context.device.invoke(context, classId, r.buf, lnAt, id, parameter);
      encodeActionResponse(w, invoke, this.#report('action', r.buf, lnAt, id, result, context));
      return;
    }
    const steps = this.#readSteps(r, false);
    writeLength(w.u8(ApduTag.actionResponse).u8(ActionChoice.list).u8(invoke), steps.length);
    for (const { classId, lnAt, id, value } of steps) {
      const result = context.device.invoke(context, classId, r.buf, lnAt, id, value);
      w.u8(this.#report('action', r.buf, lnAt, id, result, context)).u8(0);
    }
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
  isSelected: boolean,
  w: ByteWriter,
  context: RequestContext,
): number {
  if (id === 0 && (context.conformance & Conformance.attribute0WithGet) === 0) return Result.objectUndefined;
  const result = context.device.get(context, classId, buf, lnAt, id, w);
  // No attribute here takes a selection; the rights are judged first so that it tells nothing about hidden objects.
  return result === Result.success && isSelected ? Result.typeUnmatched : result;
}

function advance(transfer: Transfer, context: RequestContext): void {
  transfer.block++;
  transfer.from = transfer.to;
  transfer.to = Math.min(transfer.raw.length, transfer.from + blockCapacity(context.maxSendPdu));
}

function sendBlock({ invoke, raw, from, to, block }: Transfer, w: ByteWriter): void {
  encodeGetBlock(w, invoke, to === raw.length, block, raw.subarray(from, to));
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
