/**
 * ACTION service (IEC 62056-5-3 §7.3.5), normal and with list; parameters and answers in blocks are not part of it.
 *
 *   C3 01 invoke descriptor (00 | 01 data)                        C7 01 invoke result (00 | 01 00 data | 01 01 result)
 *   C3 03 invoke count { descriptor } count { data }              C7 03 invoke count { result 00 }
 */

import { DecodeError } from '#base/errors';
import { ApduTag, type MethodRef, writeDescriptor } from '#dlms/apdu';
import { type Data, decodeData, encodeData } from '#dlms/axdr';
import type { ByteReader } from '#dlms/reader';
import type { ByteWriter } from '#dlms/writer';

export const ActionChoice = { normal: 1, list: 3 } as const;

export interface ActionResponse {
  readonly invoke: number;
  /** Action-Result; a failed return parameter counts as the action's result. */
  readonly result: number;
  readonly data: Data | null;
}

/** @throws DlmsError `encode.out-of-range` */
export function encodeActionRequest(w: ByteWriter, invoke: number, ref: MethodRef, parameter: Data | null): void {
  w.u8(ApduTag.actionRequest).u8(ActionChoice.normal).u8(invoke);
  writeDescriptor(w, ref.classId, ref.ln, ref.method);
  if (parameter) encodeData(w.u8(1), parameter);
  else w.u8(0);
}

/** Writes what comes before the result of a normal answer. */
export function encodeActionHeader(w: ByteWriter, invoke: number): void {
  w.u8(ApduTag.actionResponse).u8(ActionChoice.normal).u8(invoke);
}

/** Writes an answer without return value. */
export function encodeActionResponse(w: ByteWriter, invoke: number, result: number): void {
  w.u8(ApduTag.actionResponse).u8(ActionChoice.normal).u8(invoke).u8(result).u8(0);
}

/** Reads a normal ACTION response, tag included. @throws DecodeError */
export function decodeActionResponse(r: ByteReader): ActionResponse {
  r.expect(ApduTag.actionResponse, 'action response');
  r.expect(ActionChoice.normal, 'action response choice');
  const invoke = r.u8('invoke id');
  let result = r.u8('action result');
  let data: Data | null = null;
  const at = r.at;
  const option = r.u8('return parameter');
  if (option > 1) throw new DecodeError('return parameter', at, '00 or 01');
  if (option === 1) {
    const kind = r.u8('return parameter');
    if (kind === 0) data = decodeData(r);
    else if (kind === 1) result ||= r.u8('return parameter result');
    else throw new DecodeError('return parameter', at + 1, '00 or 01');
  }
  r.expectEnd('action response');
  return { invoke, result, data };
}
