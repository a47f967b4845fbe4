/**
 * SET service (IEC 62056-5-3 §7.3.4).
 *
 *   C1 01 invoke reference data                                   C5 01 invoke result
 *   C1 02 invoke reference last block L raw     first block       C5 02 invoke block         go on
 *   C1 03 invoke last block L raw               further block     C5 03 invoke result block  the last one is done
 *   C1 04 invoke count { reference } count { data }               C5 05 invoke count { result }
 *   C1 05 invoke count { reference } last block L raw             C5 04 invoke count { result } block
 *
 * A reference is a descriptor and 00, or 01 and a selection. Raw is the data, or `count { data }`, cut anywhere.
 */

import { DecodeError } from '#base/errors';
import { ApduTag, type AttributeRef, writeDescriptor } from '#dlms/apdu';
import { type Data, encodeData, readOctets, writeLength } from '#dlms/axdr';
import type { ByteReader } from '#dlms/reader';
import type { ByteWriter } from '#dlms/writer';

export const SetChoice = { normal: 1, first: 2, block: 3, list: 4, firstList: 5 } as const;

/** Choices of the answers. */
export const SetAnswer = { normal: 1, more: 2, last: 3, lastList: 4, list: 5 } as const;

export interface SetResponse {
  readonly invoke: number;
  /** One result code per attribute that the request named; null when the server waits for the next block. */
  readonly results: Uint8Array | null;
  /** Block that is answered; 0 for a request in one piece. */
  readonly block: number;
}

/** Writes tag to references of a request with one reference or, when there are several, a list. */
export function writeSetReferences(
  w: ByteWriter,
  invoke: number,
  refs: readonly AttributeRef[],
  inBlocks: boolean,
): void {
  const isList = refs.length > 1;
  const { normal, first, list, firstList } = SetChoice;
  w.u8(ApduTag.setRequest).u8(isList ? (inBlocks ? firstList : list) : inBlocks ? first : normal);
  w.u8(invoke);
  if (isList) writeLength(w, refs.length);
  for (const ref of refs) {
    writeDescriptor(w, ref.classId, ref.ln, ref.attribute);
    w.u8(0);
  }
}

/** Writes what comes behind the references: the data, or `count { data }`. @throws DlmsError `encode.out-of-range` */
export function writeValues(w: ByteWriter, values: readonly Data[]): void {
  if (values.length > 1) writeLength(w, values.length);
  for (const value of values) encodeData(w, value);
}

/** @throws DlmsError `encode.out-of-range` */
export function encodeSetRequest(w: ByteWriter, invoke: number, ref: AttributeRef, value: Data): void {
  writeSetReferences(w, invoke, [ref], false);
  encodeData(w, value);
}

export function encodeSetResponse(w: ByteWriter, invoke: number, result: number): void {
  w.u8(ApduTag.setResponse).u8(SetAnswer.normal).u8(invoke).u8(result);
}

/** Reads a SET response, tag included. @throws DecodeError */
export function decodeSetResponse(r: ByteReader): SetResponse {
  r.expect(ApduTag.setResponse, 'set response');
  const at = r.at;
  const choice = r.u8('set response choice');
  const { normal, more, last, lastList, list } = SetAnswer;
  if (choice < normal || choice > list) throw new DecodeError('set response choice', at, '1 to 5');
  const invoke = r.u8('invoke id');
  const results =
    choice === more
      ? null
      : choice === list || choice === lastList
        ? readOctets(r, 'set results')
        : r.view(1, 'set result');
  const block = choice === more || choice === last || choice === lastList ? r.u32('block number') : 0;
  r.expectEnd('set response');
  return { invoke, results, block };
}
