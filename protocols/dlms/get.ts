/**
 * GET service (IEC 62056-5-3 §7.3.3): the client's requests and the server's answers, block transfer included.
 *
 *   C0 01 invoke descriptor 00                normal        C4 01 invoke 00 data | 01 result
 *   C0 02 invoke block u32                    next block    C4 02 invoke last block u32 (00 L raw | 01 result)
 *   C0 03 invoke count { descriptor 00 }      with list     C4 03 invoke count { 00 data | 01 result }
 *
 * Blocks count from 1 and the client names the block it has just received. Descriptors are followed by 00, or by 01 and a selection.
 */

import { DecodeError } from '#base/errors';
import { ApduTag, type AttributeRef, type Selection, writeDescriptor, writeSelection } from '#dlms/apdu';
import { type Data, octetsThatFit, readLength, readOctets, sizeOfLength, writeLength } from '#dlms/axdr';
import { decodeAnyData } from '#dlms/compact-array';
import { type Filled, fillBlock, type PiecePosition, type Pieces } from '#dlms/pieces';
import type { ByteReader } from '#dlms/reader';
import { Result } from '#dlms/result';
import type { ByteWriter } from '#dlms/writer';

export const GetChoice = { normal: 1, next: 2, list: 3 } as const;

/** One attribute's answer: its value, or the result code that says why there is none. */
export type GetResult = { readonly data: Data; readonly result: 0 } | { readonly data: null; readonly result: number };

export type GetResponse =
  | { readonly choice: typeof GetChoice.normal; readonly invoke: number; readonly value: GetResult }
  | {
      readonly choice: typeof GetChoice.next;
      readonly invoke: number;
      readonly isLast: boolean;
      readonly block: number;
      /** 0, or why the transfer ends here. */
      readonly result: number;
      readonly raw: Uint8Array;
    }
  | { readonly choice: typeof GetChoice.list; readonly invoke: number; readonly values: readonly GetResult[] };

/** @throws DlmsError `encode.out-of-range` for a selection that cannot be encoded */
export function encodeGetRequest(w: ByteWriter, invoke: number, ref: AttributeRef, selection?: Selection): void {
  w.u8(ApduTag.getRequest).u8(GetChoice.normal).u8(invoke);
  writeDescriptor(w, ref.classId, ref.ln, ref.attribute);
  writeSelection(w, selection);
}

export function encodeGetNext(w: ByteWriter, invoke: number, block: number): void {
  w.u8(ApduTag.getRequest).u8(GetChoice.next).u8(invoke).u32(block);
}

export function encodeGetListRequest(w: ByteWriter, invoke: number, refs: readonly AttributeRef[]): void {
  writeLength(w.u8(ApduTag.getRequest).u8(GetChoice.list).u8(invoke), refs.length);
  for (const ref of refs) {
    writeDescriptor(w, ref.classId, ref.ln, ref.attribute);
    w.u8(0);
  }
}

function readGetResult(r: ByteReader): GetResult {
  const at = r.at;
  const choice = r.u8('get result');
  if (choice === 0) return { data: decodeAnyData(r), result: 0 };
  if (choice !== 1) throw new DecodeError('get result', at, '00 or 01');
  return { data: null, result: r.u8('get result') || Result.otherReason };
}

/** Reads `count { 00 data | 01 result }`: a with-list answer, or the blocks of one put together. @throws DecodeError */
export function readGetResults(r: ByteReader): GetResult[] {
  const at = r.at;
  const count = readLength(r, 'result count');
  if (count * 2 > r.remaining) throw new DecodeError('result count', at, `at most ${r.remaining >> 1}`);
  const values: GetResult[] = [];
  for (let i = 0; i < count; i++) values.push(readGetResult(r));
  return values;
}

/** Reads a GET response, tag included. @throws DecodeError */
export function decodeGetResponse(r: ByteReader): GetResponse {
  r.expect(ApduTag.getResponse, 'get response');
  const at = r.at;
  const choice = r.u8('get response choice');
  const invoke = r.u8('invoke id');
  let response: GetResponse;
  if (choice === GetChoice.normal) response = { choice, invoke, value: readGetResult(r) };
  else if (choice === GetChoice.list) response = { choice, invoke, values: readGetResults(r) };
  else if (choice === GetChoice.next) {
    const isLast = r.u8('last block') !== 0;
    const block = r.u32('block number');
    const resultAt = r.at;
    const kind = r.u8('block result');
    if (kind > 1) throw new DecodeError('block result', resultAt, '00 or 01');
    const raw = kind === 0 ? readOctets(r, 'block') : new Uint8Array(0);
    const result = kind === 1 ? r.u8('block result') || Result.otherReason : 0;
    response = { choice, invoke, isLast, block, result, raw };
  } else throw new DecodeError('get response choice', at, '1, 2 or 3');
  r.expectEnd('get response');
  return response;
}

/** Writes a normal answer that is a result code. */
export function encodeGetError(w: ByteWriter, invoke: number, result: number): void {
  w.u8(ApduTag.getResponse).u8(GetChoice.normal).u8(invoke).u8(1).u8(result);
}

/** Writes a block answer that ends the transfer with a result code. */
export function encodeGetBlockError(w: ByteWriter, invoke: number, block: number, result: number): void {
  w.u8(ApduTag.getResponse).u8(GetChoice.next).u8(invoke).u8(1).u32(block).u8(1).u8(result);
}

/** Writes one block. */
export function encodeGetBlock(w: ByteWriter, invoke: number, isLast: boolean, block: number, raw: Uint8Array): void {
  w.u8(ApduTag.getResponse)
    .u8(GetChoice.next)
    .u8(invoke)
    .u8(isLast ? 1 : 0)
    .u32(block)
    .u8(0);
  writeLength(w, raw.length).bytes(raw);
}

/**
 * Writes the block of a GET or ACTION answer that begins at `from`, as long as `maxPdu` allows.
 * @param tag  of the answer; ACTION has no result byte before the length
 * @returns where the next block begins; with a result that is not 0 nothing whole was written
 */
export function encodeBlock(
  w: ByteWriter,
  tag: number,
  invoke: number,
  block: number,
  pieces: Pieces,
  from: PiecePosition,
  maxPdu: number,
): Filled {
  const { buf, at: start } = w;
  const capacity = blockCapacity(maxPdu);
  // Where the raw data begins depends on the size of its length; only a last block can be shorter than the capacity.
  const isGet = tag === ApduTag.getResponse;
  const rawAt = start + (isGet ? 9 : 8) + sizeOfLength(capacity);
  const filled = fillBlock(pieces, from, buf, rawAt, rawAt + capacity);
  w.u8(tag).u8(GetChoice.next).u8(invoke);
  w.u8(filled.isLast ? 1 : 0).u32(block);
  if (isGet) w.u8(0);
  writeLength(w, filled.length);
  if (w.at !== rawAt) buf.copyWithin(w.at, rawAt, rawAt + filled.length);
  w.at += filled.length;
  return filled;
}

/** Bytes of raw data that a block answer of at most `maxPdu` bytes can carry. */
export function blockCapacity(maxPdu: number): number {
  return octetsThatFit(maxPdu - 9);
}
