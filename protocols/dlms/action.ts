/**
 * ACTION service (IEC 62056-5-3 §7.3.5).
 *
 *   C3 01 invoke method (00 | 01 data)                            C7 01 invoke result return
 *   C3 02 invoke block                          next block of an answer
 *   C3 03 invoke count { method } count { data }                  C7 03 invoke count { result return }
 *   C3 04 invoke method last block L raw        first block       C7 04 invoke block            go on
 *   C3 05 invoke count { method } last block L raw
 *   C3 06 invoke last block L raw               further block     C7 02 invoke last block L raw  answer in blocks
 *
 * A return is 00, 01 00 data, or 01 01 result. Raw of a request is the data or `count { data }`; raw of an answer is
 * written as `result return` or `count { result return }` and also read as `00 data` and as data alone, which others send.
 */

import { DecodeError } from '#base/errors';
import { ApduTag, type MethodRef, writeDescriptor } from '#dlms/apdu';
import { type Data, encodeData, readLength, readOctets, writeLength } from '#dlms/axdr';
import { decodeAnyData } from '#dlms/compact-array';
import { ByteReader } from '#dlms/reader';
import type { ByteWriter } from '#dlms/writer';

export const ActionChoice = { normal: 1, next: 2, list: 3, first: 4, firstList: 5, block: 6 } as const;

/** Choices of the answers. */
export const ActionAnswer = { normal: 1, block: 2, list: 3, more: 4 } as const;

export interface ActionResult {
  /** Action-Result; a failed return parameter counts as the action's result. */
  readonly result: number;
  readonly data: Data | null;
}

export type ActionResponse =
  | { readonly kind: 'results'; readonly invoke: number; readonly results: readonly ActionResult[] }
  | { readonly kind: 'more'; readonly invoke: number; readonly block: number }
  | {
      readonly kind: 'block';
      readonly invoke: number;
      readonly block: number;
      readonly isLast: boolean;
      readonly raw: Uint8Array;
    };

/** Writes tag to references of a request with one method or, when there are several, a list. */
export function writeActionReferences(
  w: ByteWriter,
  invoke: number,
  refs: readonly MethodRef[],
  inBlocks: boolean,
): void {
  const isList = refs.length > 1;
  const { normal, first, list, firstList } = ActionChoice;
  w.u8(ApduTag.actionRequest).u8(isList ? (inBlocks ? firstList : list) : inBlocks ? first : normal);
  w.u8(invoke);
  if (isList) writeLength(w, refs.length);
  for (const ref of refs) writeDescriptor(w, ref.classId, ref.ln, ref.method);
}

/** @throws DlmsError `encode.out-of-range` */
export function encodeActionRequest(w: ByteWriter, invoke: number, ref: MethodRef, parameter: Data | null): void {
  writeActionReferences(w, invoke, [ref], false);
  if (parameter) encodeData(w.u8(1), parameter);
  else w.u8(0);
}

/** Asks for the block of an answer behind the one that was received. */
export function encodeActionNext(w: ByteWriter, invoke: number, block: number): void {
  w.u8(ApduTag.actionRequest).u8(ActionChoice.next).u8(invoke).u32(block);
}

/** Writes what comes before the result of a normal answer. */
export function encodeActionHeader(w: ByteWriter, invoke: number): void {
  w.u8(ApduTag.actionResponse).u8(ActionAnswer.normal).u8(invoke);
}

/** Writes an answer without return value. */
export function encodeActionResponse(w: ByteWriter, invoke: number, result: number): void {
  encodeActionHeader(w, invoke);
  w.u8(result).u8(0);
}

function readActionResult(r: ByteReader): ActionResult {
  let result = r.u8('action result');
  let data: Data | null = null;
  const at = r.at;
  const option = r.u8('return parameter');
  if (option > 1) throw new DecodeError('return parameter', at, '00 or 01');
  if (option === 1) {
    const kind = r.u8('return parameter');
    if (kind === 0) data = decodeAnyData(r);
    else if (kind === 1) result ||= r.u8('return parameter result');
    else throw new DecodeError('return parameter', at + 1, '00 or 01');
  }
  return { result, data };
}

function readActionResults(r: ByteReader): ActionResult[] {
  const at = r.at;
  const count = readLength(r, 'result count');
  if (count * 2 > r.remaining) throw new DecodeError('result count', at, `at most ${r.remaining >> 1}`);
  const results: ActionResult[] = [];
  for (let i = 0; i < count; i++) results.push(readActionResult(r));
  return results;
}

/** Reads an ACTION response, tag included. @throws DecodeError */
export function decodeActionResponse(r: ByteReader): ActionResponse {
  r.expect(ApduTag.actionResponse, 'action response');
  const at = r.at;
  const choice = r.u8('action response choice');
  const invoke = r.u8('invoke id');
  let response: ActionResponse;
  if (choice === ActionAnswer.normal) response = { kind: 'results', invoke, results: [readActionResult(r)] };
  else if (choice === ActionAnswer.list) response = { kind: 'results', invoke, results: readActionResults(r) };
  else if (choice === ActionAnswer.more) response = { kind: 'more', invoke, block: r.u32('block number') };
  else if (choice === ActionAnswer.block) {
    const isLast = r.u8('last block') !== 0;
    response = { kind: 'block', invoke, isLast, block: r.u32('block number'), raw: readOctets(r, 'block') };
  } else throw new DecodeError('action response choice', at, '1 to 4');
  r.expectEnd('action response');
  return response;
}

/**
 * Reads an answer that came in blocks, put together.
 * @throws DecodeError when it is in none of the forms that are known
 */
export function decodeActionBlocks(raw: Uint8Array, isList: boolean): readonly ActionResult[] {
  const forms: readonly ((r: ByteReader) => readonly ActionResult[])[] = isList
    ? [readActionResults]
    : [
        (r) => [readActionResult(r)],
        (r) => {
          r.expect(0, 'action result');
          return [{ result: 0, data: decodeAnyData(r) }];
        },
        (r) => [{ result: 0, data: decodeAnyData(r) }],
      ];
  let failure: unknown;
  for (const read of forms) {
    try {
      const r = new ByteReader(raw);
      const results = read(r);
      r.expectEnd('action answer');
      return results;
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}
