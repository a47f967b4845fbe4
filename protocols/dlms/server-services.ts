/**
 * GET, SET and ACTION inside an open association of a server (IEC 62056-5-3 §6.6-6.8): which forms are served, and SET and
 * ACTION with their lists and blocks. GET and answers in blocks are in server-get.ts. ACCESS is not served.
 */

import { DecodeError, decoded } from '#base/errors';
import { ActionAnswer, ActionChoice, encodeActionHeader, encodeActionResponse } from '#dlms/action';
import { ApduTag, Descriptor, INVOKE_CONFIRMED, readSelection } from '#dlms/apdu';
import { type Data, decodeData, readLength, writeLength } from '#dlms/axdr';
import type { RequestContext } from '#dlms/cosem/logical-device';
import { GetChoice } from '#dlms/get';
import { Conformance } from '#dlms/initiate';
import { LongRequest } from '#dlms/long-request';
import { formatObis } from '#dlms/obis';
import { bytesPiece } from '#dlms/pieces';
import { ByteReader } from '#dlms/reader';
import { ExceptionService, ExceptionState, encodeException, Result } from '#dlms/result';
import type { ServerCore } from '#dlms/server';
import { MAX_LIST, ServerGet } from '#dlms/server-get';
import { encodeSetResponse, SetAnswer, SetChoice } from '#dlms/set';
import { ByteWriter } from '#dlms/writer';

/** One reference of a list with its value or parameter. */
interface Step<Value = Data> {
  readonly classId: number;
  readonly lnAt: number;
  readonly id: number;
  readonly value: Value;
}

/** Answers of methods, until it is known whether they fit a frame; one for all associations, as nothing stays in it. */
const scratch = new ByteWriter(new Uint8Array(2048));

export class ServerServices {
  readonly #core: ServerCore;
  readonly #key: string;
  readonly #descriptor = new Descriptor();
  readonly #get: ServerGet;
  readonly #long = new LongRequest();

  constructor(core: ServerCore, key: string) {
    this.#core = core;
    this.#key = key;
    this.#get = new ServerGet((...refused) => this.#report('get', ...refused));
  }

  /** Forgets transfers under way. */
  reset(): void {
    this.#get.reset();
    this.#long.reset();
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
      if (tag === ApduTag.getRequest) this.#get.serve(choice, invoke, r, w, context, nowMs);
      else if (tag === ApduTag.actionRequest && choice === ActionChoice.next)
        this.#get.next(ApduTag.actionResponse, invoke, r, w, context, nowMs);
      else if (isBlock(tag, choice)) this.#block(tag, choice, invoke, r, w, context, nowMs);
      else {
        this.#long.reset();
        if (tag === ApduTag.setRequest) this.#set(choice, invoke, r, w, context);
        else this.#action(choice, invoke, r, w, context, nowMs);
      }
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      w.at = start;
      encodeException(w, ExceptionState.serviceNotAllowed, ExceptionService.otherReason);
    }
    // An unconfirmed request is carried out and not answered.
    if ((invoke & INVOKE_CONFIRMED) === 0) w.at = start;
  }

  // SET and ACTION

  #block(
    tag: number,
    choice: number,
    invoke: number,
    r: ByteReader,
    w: ByteWriter,
    context: RequestContext,
    nowMs: number,
  ): void {
    const isSet = tag === ApduTag.setRequest;
    const start = w.at;
    const outcome = this.#long.receive(tag, choice, invoke, r, r.at - 3, nowMs);
    const { block } = outcome;
    if (outcome.kind === 'more') {
      if (isSet) w.u8(ApduTag.setResponse).u8(SetAnswer.more).u8(invoke).u32(block);
      else w.u8(ApduTag.actionResponse).u8(ActionAnswer.more).u8(invoke).u32(block);
    } else if (outcome.kind === 'refused') {
      if (isSet) w.u8(ApduTag.setResponse).u8(SetAnswer.last).u8(invoke).u8(outcome.result).u32(block);
      else encodeActionResponse(w, invoke, outcome.result);
    } else {
      const { request } = outcome;
      const whole = new ByteReader(request, 3);
      if (!isSet) this.#action(request[1]!, invoke, whole, w, context, nowMs);
      else {
        this.#set(request[1]!, invoke, whole, w, context);
        // The same results, in the form that closes a transfer.
        w.patch(start + 1, request[1] === SetChoice.list ? SetAnswer.lastList : SetAnswer.last);
        w.u32(block);
      }
    }
  }

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
    writeLength(w.u8(ApduTag.setResponse).u8(SetAnswer.list).u8(invoke), steps.length);
    for (const { classId, lnAt, id, value } of steps) {
      const result = context.device.set(context, classId, r.buf, lnAt, id, value);
      w.u8(this.#report('set', r.buf, lnAt, id, result, context));
    }
  }

  #action(choice: number, invoke: number, r: ByteReader, w: ByteWriter, context: RequestContext, nowMs: number): void {
    // Not straight into the frame: an answer that needs blocks cannot be written twice, a method runs once.
    const answer = scratch.reset(scratch.buf, 0, scratch.buf.length);
    this.#runActions(choice, invoke, r, answer, context);
    const apdu = answer.written();
    if (answer.overflowed) encodeActionResponse(w, invoke, Result.otherReason);
    else if (apdu.length <= Math.min(context.maxSendPdu, w.end - w.at)) w.bytes(apdu);
    else this.#get.start(ApduTag.actionResponse, invoke, bytesPiece(apdu.slice(3)), w, context, nowMs);
  }

  #runActions(choice: number, invoke: number, r: ByteReader, w: ByteWriter, context: RequestContext): void {
    if (choice === ActionChoice.normal) {
      const { classId, lnAt, id } = this.#descriptor.read(r);
      const hasParameter = r.u8('parameter') !== 0;
      const parameter = hasParameter ? lastValue(r) : r.remaining === 0 ? null : Result.otherReason;
      encodeActionHeader(w, invoke);
      this.#invoke({ classId, lnAt, id, value: parameter }, r.buf, w, context);
      return;
    }
    const steps = this.#readSteps(r, false);
    writeLength(w.u8(ApduTag.actionResponse).u8(ActionAnswer.list).u8(invoke), steps.length);
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
    kind: 'get' | 'set' | 'action',
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

const { blockTransferWithGet, blockTransferWithSet, blockTransferWithAction, multipleReferences } = Conformance;

/** Conformance bits that each choice of a service needs; undefined for choices that are none. */
const NEEDS: Readonly<Record<number, Readonly<Record<number, number>>>> = {
  [ApduTag.getRequest]: {
    [GetChoice.normal]: 0,
    [GetChoice.next]: blockTransferWithGet,
    [GetChoice.list]: multipleReferences,
  },
  [ApduTag.setRequest]: {
    [SetChoice.normal]: 0,
    [SetChoice.first]: blockTransferWithSet,
    [SetChoice.block]: blockTransferWithSet,
    [SetChoice.list]: multipleReferences,
    [SetChoice.firstList]: multipleReferences | blockTransferWithSet,
  },
  [ApduTag.actionRequest]: {
    [ActionChoice.normal]: 0,
    [ActionChoice.next]: blockTransferWithAction,
    [ActionChoice.list]: multipleReferences,
    [ActionChoice.first]: blockTransferWithAction,
    [ActionChoice.firstList]: multipleReferences | blockTransferWithAction,
    [ActionChoice.block]: blockTransferWithAction,
  },
};

/** Whether this form of the service exists here and was negotiated. */
function isServed(tag: number, choice: number, { conformance }: RequestContext): boolean {
  const needed = NEEDS[tag]?.[choice];
  return needed !== undefined && (conformance & needed) === needed;
}

function isBlock(tag: number, choice: number): boolean {
  if (tag === ApduTag.setRequest)
    return choice === SetChoice.first || choice === SetChoice.firstList || choice === SetChoice.block;
  return choice === ActionChoice.first || choice === ActionChoice.firstList || choice === ActionChoice.block;
}

/** The value that ends a request; a broken one is a wrong type, bytes behind it are refused. */
function lastValue(r: ByteReader): Data | number {
  const value = decoded(() => decodeData(r));
  if (!value) return Result.typeUnmatched;
  return r.remaining === 0 ? value : Result.otherReason;
}
