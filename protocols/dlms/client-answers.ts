/**
 * What a DLMS client makes of answers: broken bytes and refusals become `DlmsError`, blocks become one value. Failures of a
 * server that does not keep to the procedure are `dlms.unexpected-answer`.
 */

import { DecodeError, DlmsError } from '#base/errors';
import { type AttributeRef, refText } from '#dlms/apdu';
import type { Data } from '#dlms/axdr';
import { decodeAnyData } from '#dlms/compact-array';
import { GetChoice, type GetResponse, type GetResult, readGetResults } from '#dlms/get';
import { ByteReader } from '#dlms/reader';
import { errorCodeOf, resultText } from '#dlms/result';

/** Longest value that is put together from blocks. */
const MAX_VALUE = 1 << 20;

/** Bytes so far, of a transfer that must come to an end. @throws DlmsError `dlms.unexpected-answer` */
export function checkedSize(size: number, raw: Uint8Array, isLast: boolean): number {
  const sum = size + raw.length;
  if (sum > MAX_VALUE || (raw.length === 0 && !isLast)) throw unexpected('an endless transfer');
  return sum;
}

export function joined(parts: readonly Uint8Array[], size: number): Uint8Array {
  const raw = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    raw.set(part, at);
    at += part.length;
  }
  return raw;
}

export function assemble(
  parts: readonly Uint8Array[],
  size: number,
  invoke: number,
  isList: boolean,
): Exclude<GetResponse, { choice: typeof GetChoice.next }> {
  return decodeAnswer(new ByteReader(joined(parts, size)), (r) => {
    const response = isList
      ? { choice: GetChoice.list, invoke, values: readGetResults(r) }
      : { choice: GetChoice.normal, invoke, value: { data: decodeAnyData(r), result: 0 as const } };
    r.expectEnd('value in blocks');
    return response;
  });
}

/** Runs a decoder; broken bytes of a peer become an answer that was not expected. */
export function decodeAnswer<T>(r: ByteReader, decoder: (r: ByteReader) => T): T {
  try {
    return decoder(r);
  } catch (error) {
    if (error instanceof DecodeError) throw unexpected(error.message, error);
    throw error;
  }
}

export function unexpected(what: string, cause?: unknown): DlmsError {
  return new DlmsError('dlms.unexpected-answer', `the server answered with ${what}`, {}, cause);
}

export function refused(what: string, result: number): DlmsError {
  return new DlmsError(errorCodeOf(result), `${what}: ${resultText(result)}`, { result, object: what });
}

export function dataOf(ref: AttributeRef, { data, result }: GetResult): Data {
  if (data === null) throw refused(refText(ref), result);
  return data;
}

/** The number that a register value is, null for other types. */
export function numberOf(data: Data): number | null {
  if (!('value' in data)) return null;
  return typeof data.value === 'number' ? data.value : typeof data.value === 'bigint' ? Number(data.value) : null;
}
