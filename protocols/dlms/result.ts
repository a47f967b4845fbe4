/**
 * Result codes of xDLMS services (IEC 62056-5-3, Data-Access-Result and Action-Result share these numbers) and the
 * exception response that answers what is no valid service at all.
 *
 *   D8 | state | service | expected invocation counter u32, with service 6 only
 */

import type { ErrorCode } from '#base/error-codes';
import { DecodeError } from '#base/errors';
import type { ByteReader } from '#dlms/reader';
import type { ByteWriter } from '#dlms/writer';

export const Result = {
  success: 0,
  hardwareFault: 1,
  temporaryFailure: 2,
  readWriteDenied: 3,
  objectUndefined: 4,
  objectClassInconsistent: 9,
  objectUnavailable: 11,
  typeUnmatched: 12,
  scopeOfAccessViolated: 13,
  dataBlockUnavailable: 14,
  longGetAborted: 15,
  noLongGetInProgress: 16,
  longSetAborted: 17,
  noLongSetInProgress: 18,
  dataBlockNumberInvalid: 19,
  otherReason: 250,
} as const;

/** Result code in words: `read write denied`. */
export function resultText(result: number): string {
  const name = Object.entries(Result).find(([, code]) => code === result)?.[0];
  return name?.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`) ?? `result ${result}`;
}

/** The project's error code for a result that is not success. */
export function errorCodeOf(result: number): ErrorCode {
  switch (result) {
    case Result.readWriteDenied:
    case Result.scopeOfAccessViolated:
      return 'dlms.access-denied';
    case Result.objectUndefined:
    case Result.objectClassInconsistent:
    case Result.objectUnavailable:
      return 'dlms.object-undefined';
    case Result.typeUnmatched:
      return 'dlms.type-unmatched';
    case Result.temporaryFailure:
      return 'dlms.temporarily-unavailable';
    default:
      return 'dlms.refused';
  }
}

/** Whether a request was for what is not there, or not for this client or this protection. */
export function isRefusal(result: number): boolean {
  const code = errorCodeOf(result);
  return code === 'dlms.access-denied' || code === 'dlms.object-undefined';
}

export const ExceptionState = { serviceNotAllowed: 1, serviceUnknown: 2 } as const;

export const ExceptionService = {
  operationNotPossible: 1,
  serviceNotSupported: 2,
  otherReason: 3,
  pduTooLong: 4,
  decipheringError: 5,
  invocationCounterError: 6,
} as const;

export interface ExceptionResponse {
  readonly state: number;
  readonly service: number;
  /** Next invocation counter that the server accepts; with service 6 only. */
  readonly expectedCounter: number | null;
}

export function encodeException(w: ByteWriter, state: number, service: number, expectedCounter = 0): void {
  w.u8(0xd8).u8(state).u8(service);
  if (service === ExceptionService.invocationCounterError) w.u32(expectedCounter);
}

/** @throws DecodeError */
export function decodeException(r: ByteReader): ExceptionResponse {
  r.expect(0xd8, 'exception response');
  const at = r.at;
  const state = r.u8('exception state');
  const service = r.u8('exception service');
  if (state < 1 || state > 2 || service < 1 || service > 6)
    throw new DecodeError('exception response', at, 'known codes');
  const expectedCounter =
    service === ExceptionService.invocationCounterError ? r.u32('expected invocation counter') : null;
  r.expectEnd('exception response');
  return { state, service, expectedCounter };
}
