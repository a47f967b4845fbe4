/**
 * GET inside an open association of a server, and the block transfer of long answers of GET and ACTION
 * (IEC 62056-5-3 §6.6, §6.8). Answers are encoded straight into the outgoing frame; long ones block by block, see pieces.ts.
 */

import { encodeActionResponse } from '#dlms/action';
import { ApduTag, Descriptor, readSelection, type Selection } from '#dlms/apdu';
import { readLength, sizeOfLength, writeLength } from '#dlms/axdr';
import type { RequestContext } from '#dlms/cosem/logical-device';
import { encodeBlock, encodeGetBlockError, encodeGetError, GetChoice } from '#dlms/get';
import { Conformance, MIN_PDU } from '#dlms/initiate';
import { bytesPiece, FIRST_PIECE, joinPieces, type PiecePosition, type Pieces } from '#dlms/pieces';
import type { ByteReader } from '#dlms/reader';
import { isRefusal, Result } from '#dlms/result';
import { ByteWriter } from '#dlms/writer';

/** Longest value held for a transfer; a larger one belongs into an attribute that is given in pieces. */
const MAX_SNAPSHOT = 16_384;
const TRANSFER_EXPIRY_MS = 60_000;
/** References in one request. */
export const MAX_LIST = 32;
/** What stands before a value in a with-list answer. */
const CHOICE_DATA = new Uint8Array(1);
const REFUSED: Pieces = { count: 1, write: () => Result.otherReason };

/** A long answer on its way. */
interface Transfer {
  /** Tag of the answer. */
  readonly tag: number;
  readonly invoke: number;
  readonly pieces: Pieces;
  /** Number of the block sent last, where it begins and where the next one does. */
  block: number;
  from: PiecePosition;
  next: PiecePosition;
  isLast: boolean;
  usedMs: number;
}

/** Told of what a client asked for and may not have. */
type OnRefusal = (buf: Uint8Array, lnAt: number, id: number, result: number, context: RequestContext) => void;

export class ServerGet {
  readonly #descriptor = new Descriptor();
  readonly #onRefusal: OnRefusal;
  #transfer: Transfer | null = null;

  constructor(onRefusal: OnRefusal) {
    this.#onRefusal = onRefusal;
  }

  /** Forgets a transfer under way. */
  reset(): void {
    this.#transfer = null;
  }

  serve(choice: number, invoke: number, r: ByteReader, w: ByteWriter, context: RequestContext, nowMs: number): void {
    if (choice !== GetChoice.next) this.#transfer = null;
    if (choice === GetChoice.normal) this.#getNormal(invoke, r, w, context, nowMs);
    else if (choice === GetChoice.list) this.#getList(invoke, r, w, context, nowMs);
    else this.next(ApduTag.getResponse, invoke, r, w, context, nowMs);
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
      if (isRefusal(result)) this.#onRefusal(r.buf, descriptor.lnAt, descriptor.id, result, context);
      return;
    }
    if (fits(w, start, context)) return;
    const size = w.at - valueAt;
    w.at = start;
    // An ordinary value is written a second time within the same call, so it is the one that was measured.
    const pieces =
      context.device.open(context, r.buf, descriptor.lnAt, descriptor.id, selection) ??
      snapshot(size, (inner) => readAttribute(r.buf, descriptor, selection, inner, context));
    this.start(ApduTag.getResponse, invoke, pieces, w, context, nowMs);
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
    this.start(ApduTag.getResponse, invoke, joinPieces(parts), w, context, nowMs);
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
    if (isRefusal(result)) this.#onRefusal(r.buf, descriptor.lnAt, descriptor.id, result, context);
    return null;
  }

  /** Answers with what is too long for one APDU: in blocks, the first of them now. */
  start(tag: number, invoke: number, pieces: Pieces, w: ByteWriter, context: RequestContext, nowMs: number): void {
    const { blockTransferWithGet, blockTransferWithAction } = Conformance;
    const needed = tag === ApduTag.getResponse ? blockTransferWithGet : blockTransferWithAction;
    if ((context.conformance & needed) === 0) {
      encodeRefusal(w, tag, invoke, Result.otherReason);
      return;
    }
    const position = { from: FIRST_PIECE, next: FIRST_PIECE };
    this.#transfer = { tag, invoke, pieces, block: 1, ...position, isLast: false, usedMs: nowMs };
    this.#sendBlock(this.#transfer, w, context);
  }

  /** Writes the block that begins at `from`; a value that cannot be continued ends the transfer. */
  #sendBlock(transfer: Transfer, w: ByteWriter, context: RequestContext): void {
    const { tag, invoke, block, pieces, from } = transfer;
    const start = w.at;
    const room = Math.min(context.maxSendPdu, w.end - start);
    if (room < MIN_PDU) {
      // Less than any client may ask for: the caller's buffer is too small, and half an answer is none.
      w.at = w.end + 1;
      return;
    }
    const { result, next, isLast } = encodeBlock(w, tag, invoke, block, pieces, from, room);
    transfer.next = next;
    transfer.isLast = isLast;
    if (result === Result.success) return;
    this.#transfer = null;
    w.at = start;
    encodeBlockRefusal(w, tag, invoke, block, result);
  }

  /** The client names the block it has: the last one to get the next, the one before when an answer was lost. */
  next(tag: number, invoke: number, r: ByteReader, w: ByteWriter, context: RequestContext, nowMs: number): void {
    const block = r.u32('block number');
    r.expectEnd('next block');
    if (this.#transfer && nowMs - this.#transfer.usedMs > TRANSFER_EXPIRY_MS) this.#transfer = null;
    const transfer = this.#transfer;
    const isMine = transfer !== null && transfer.tag === tag && ((transfer.invoke ^ invoke) & 0x0f) === 0;
    if (isMine && block === transfer.block && !transfer.isLast) {
      transfer.block++;
      transfer.from = transfer.next;
    } else if (!isMine || block === 0 || block !== transfer.block - 1) {
      const isOver = transfer === null || (isMine && block === transfer.block);
      this.#transfer = null;
      if (isOver) encodeBlockRefusal(w, tag, invoke, 0, Result.noLongGetInProgress);
      else encodeBlockRefusal(w, tag, invoke, block, Result.dataBlockNumberInvalid);
      return;
    }
    transfer.usedMs = nowMs;
    this.#sendBlock(transfer, w, context);
  }
}

function encodeRefusal(w: ByteWriter, tag: number, invoke: number, result: number): void {
  if (tag === ApduTag.getResponse) encodeGetError(w, invoke, result);
  else encodeActionResponse(w, invoke, result);
}

function encodeBlockRefusal(w: ByteWriter, tag: number, invoke: number, block: number, result: number): void {
  if (tag === ApduTag.getResponse) encodeGetBlockError(w, invoke, block, result);
  else encodeActionResponse(w, invoke, result);
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

/** Whether what was written since `start` is an answer in one APDU. */
export function fits(w: ByteWriter, start: number, { maxSendPdu }: RequestContext): boolean {
  return w.at - start <= maxSendPdu && !w.overflowed;
}

/** Holds `size` bytes, so that the value does not change between blocks; too many make a value that is refused. */
export function snapshot(size: number, write: (w: ByteWriter) => unknown): Pieces {
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
