/** The SET service of a DLMS client: one attribute or several in a request, in blocks when the values are long. */

import { ApduTag, type AttributeRef } from '#dlms/apdu';
import type { Data } from '#dlms/axdr';
import { decodeAnswer, unexpected } from '#dlms/client-answers';
import { requestInBlocks } from '#dlms/client-blocks';
import type { ClientFrames } from '#dlms/client-frames';
import type { Exchange } from '#dlms/exchange';
import { decodeSetResponse, SetChoice, writeSetReferences, writeValues } from '#dlms/set';

export interface AttributeValue {
  readonly ref: AttributeRef;
  readonly value: Data;
}

/**
 * Writes attributes in one request.
 * @returns one result code per attribute, in their order
 */
export function* setAttributes(frames: ClientFrames, entries: readonly AttributeValue[]): Exchange<Uint8Array> {
  frames.nextInvokeId();
  const refs = entries.map(({ ref }) => ref);
  const answer = yield* requestInBlocks(
    frames,
    ApduTag.setResponse,
    SetChoice.block,
    (w, inBlocks) => writeSetReferences(w, frames.invoke, refs, inBlocks),
    (w) =>
      writeValues(
        w,
        entries.map(({ value }) => value),
      ),
  );
  const { invoke, results } = decodeAnswer(answer, decodeSetResponse);
  frames.checkInvoke(invoke);
  // A list may be refused as a whole, by one code for all of it.
  if (results?.length === 1 && entries.length > 1 && results[0] !== 0)
    return new Uint8Array(entries.length).fill(results[0]!);
  if (results?.length !== entries.length)
    throw unexpected(`${results?.length} results for ${entries.length} attributes`);
  return results;
}
