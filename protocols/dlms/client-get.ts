/** The GET service of a DLMS client: one attribute, lists as long as the server takes them, answers that come in blocks. */

import { ApduTag, type AttributeRef, type Selection } from '#dlms/apdu';
import { assemble, checkedSize, decodeAnswer, refused, unexpected } from '#dlms/client-answers';
import type { ClientFrames } from '#dlms/client-frames';
import type { Exchange } from '#dlms/exchange';
import {
  decodeGetResponse,
  encodeGetListRequest,
  encodeGetNext,
  encodeGetRequest,
  GetChoice,
  type GetResponse,
  type GetResult,
} from '#dlms/get';
import { Conformance } from '#dlms/initiate';
import type { ByteWriter } from '#dlms/writer';

/** References asked for in one request; servers of ours take 32. */
export const LIST_SIZE = 32;
/** A reference with its access selection takes 10 bytes of a request that begins with 4. */
const REFERENCE_SIZE = 10;

/** Reads one attribute, or the part of it that is selected. */
export function* getAttribute(frames: ClientFrames, ref: AttributeRef, selection?: Selection): Exchange<GetResult> {
  frames.nextInvokeId();
  const answer = yield* getAnswer(frames, (w) => encodeGetRequest(w, frames.invoke, ref, selection));
  if (answer.choice === GetChoice.normal) return answer.value;
  throw unexpected('a list answer to a single reference');
}

/**
 * Reads several attributes, in as few requests as the server allows.
 * @returns one result per reference, in their order; a refused one does not fail the others
 */
export function* getAttributes(frames: ClientFrames, refs: readonly AttributeRef[]): Exchange<GetResult[]> {
  const results: GetResult[] = [];
  if ((frames.conformance & Conformance.multipleReferences) === 0) {
    for (const ref of refs) results.push(yield* getAttribute(frames, ref));
    return results;
  }
  const room = frames.serverMaxPdu === 0 ? LIST_SIZE : Math.floor((frames.serverMaxPdu - 4) / REFERENCE_SIZE);
  const size = Math.max(1, Math.min(LIST_SIZE, room));
  for (let at = 0; at < refs.length; at += size) {
    const part = refs.slice(at, at + size);
    frames.nextInvokeId();
    const answer = yield* getAnswer(frames, (w) => encodeGetListRequest(w, frames.invoke, part));
    const values =
      answer.choice === GetChoice.list ? answer.values : answer.choice === GetChoice.normal ? [answer.value] : null;
    if (values?.length !== part.length) {
      const result = values?.[0]?.result ?? 0;
      if (result !== 0) throw refused('list', result);
      throw unexpected(`${values?.length} results for ${part.length} references`);
    }
    results.push(...values);
  }
  return results;
}

/** Sends a GET and collects blocks until the answer is whole: a block answer never comes out of here. */
function* getAnswer(
  frames: ClientFrames,
  write: (w: ByteWriter) => void,
): Exchange<Exclude<GetResponse, { choice: typeof GetChoice.next }>> {
  let expectedBlock = 1;
  let isList = false;
  let apdu = yield* frames.request(ApduTag.getResponse, (w) => {
    write(w);
    isList = w.buf[w.start + 1] === GetChoice.list;
  });
  const parts: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const response = decodeAnswer(apdu, decodeGetResponse);
    frames.checkInvoke(response.invoke);
    if (response.choice !== GetChoice.next) return response;
    if (response.result !== 0)
      return { choice: GetChoice.normal, invoke: response.invoke, value: { data: null, result: response.result } };
    if (response.block !== expectedBlock) throw unexpected(`block ${response.block} instead of ${expectedBlock}`);
    parts.push(response.raw);
    size = checkedSize(size, response.raw, response.isLast);
    if (response.isLast) return assemble(parts, size, response.invoke, isList);
    expectedBlock++;
    const { block } = response;
    apdu = yield* frames.request(ApduTag.getResponse, (w) => encodeGetNext(w, frames.invoke, block));
  }
}
