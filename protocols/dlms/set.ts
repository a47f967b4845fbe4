/**
 * SET service (IEC 62056-5-3 §7.3.4), normal and with list; long values in blocks are not part of it.
 *
 *   C1 01 invoke descriptor 00 data                               C5 01 invoke result
 *   C1 04 invoke count { descriptor 00 } count { data }           C5 05 invoke count { result }
 */

import { DecodeError } from '#base/errors';
import { ApduTag, type AttributeRef, writeDescriptor } from '#dlms/apdu';
import { type Data, encodeData, readOctets } from '#dlms/axdr';
import type { ByteReader } from '#dlms/reader';
import type { ByteWriter } from '#dlms/writer';

export const SetChoice = { normal: 1, list: 4, listResponse: 5 } as const;

export interface SetResponse {
  readonly invoke: number;
  /** One result code per attribute that the request named. */
  readonly results: Uint8Array;
}

/** @throws DlmsError `encode.out-of-range` */
export function encodeSetRequest(w: ByteWriter, invoke: number, ref: AttributeRef, value: Data): void {
  w.u8(ApduTag.setRequest).u8(SetChoice.normal).u8(invoke);
  writeDescriptor(w, ref.classId, ref.ln, ref.attribute);
  encodeData(w.u8(0), value);
}

export function encodeSetResponse(w: ByteWriter, invoke: number, result: number): void {
  w.u8(ApduTag.setResponse).u8(SetChoice.normal).u8(invoke).u8(result);
}

/** Reads a SET response, tag included. @throws DecodeError */
export function decodeSetResponse(r: ByteReader): SetResponse {
  r.expect(ApduTag.setResponse, 'set response');
  const at = r.at;
  const choice = r.u8('set response choice');
  const invoke = r.u8('invoke id');
  if (choice !== SetChoice.normal && choice !== SetChoice.listResponse)
    throw new DecodeError('set response choice', at, '1 or 5');
  const results = choice === SetChoice.normal ? r.view(1, 'set result') : readOctets(r, 'set results');
  r.expectEnd('set response');
  return { invoke, results };
}
