/** The ACTION service of a DLMS client: one method or several in a request, and return values that come in blocks. */

import {
  ActionChoice,
  type ActionResult,
  decodeActionBlocks,
  decodeActionResponse,
  encodeActionNext,
  writeActionReferences,
} from '#dlms/action';
import { ApduTag, type MethodRef } from '#dlms/apdu';
import { type Data, encodeData, NULL_DATA } from '#dlms/axdr';
import { checkedSize, decodeAnswer, joined, unexpected } from '#dlms/client-answers';
import { requestInBlocks } from '#dlms/client-blocks';
import type { ClientFrames } from '#dlms/client-frames';
import type { Exchange } from '#dlms/exchange';
import { ByteReader } from '#dlms/reader';
import { writeValues } from '#dlms/set';

export interface MethodCall {
  readonly ref: MethodRef;
  readonly parameter: Data | null;
}

/** What stands for the answer to no call. */
export const NO_RESULT: ActionResult = { result: 0, data: null };

/**
 * Runs methods in one request.
 * @returns one result per method, in their order; a refused one does not stop the others
 */
export function* runMethods(frames: ClientFrames, entries: readonly MethodCall[]): Exchange<readonly ActionResult[]> {
  frames.nextInvokeId();
  const refs = entries.map(({ ref }) => ref);
  const isList = refs.length > 1;
  const [{ parameter = null } = {}] = entries;
  let apdu = yield* requestInBlocks(
    frames,
    ApduTag.actionResponse,
    ActionChoice.block,
    (w, inBlocks) => {
      writeActionReferences(w, frames.invoke, refs, inBlocks);
      if (!isList && !inBlocks) w.u8(parameter ? 1 : 0);
    },
    (w) => {
      if (isList)
        writeValues(
          w,
          entries.map((entry) => entry.parameter ?? NULL_DATA),
        );
      else if (parameter) encodeData(w, parameter);
    },
  );
  const parts: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const response = decodeAnswer(apdu, decodeActionResponse);
    frames.checkInvoke(response.invoke);
    if (response.kind === 'results') {
      if (response.results.length !== refs.length) throw unexpected(`${response.results.length} results`);
      return response.results;
    }
    if (response.kind === 'more' || response.block !== parts.length + 1) throw unexpected(`block ${response.block}`);
    parts.push(response.raw);
    size = checkedSize(size, response.raw, response.isLast);
    if (response.isLast)
      return decodeAnswer(new ByteReader(joined(parts, size)), (r) => decodeActionBlocks(r.buf, isList));
    const { block } = response;
    apdu = yield* frames.request(ApduTag.actionResponse, (w) => encodeActionNext(w, frames.invoke, block));
  }
}
