/**
 * Which answer belongs to which request on a datagram transport, where a late duplicate of an earlier answer may arrive
 * after the next request has left. An answer names its request by the swapped access points and the invoke id, and
 * within a block transfer by the block number (IEC 62056-5-3 §7.3).
 */

import { readU32 } from '#base/bytes';
import { ApduTag } from '#dlms/apdu';
import { isWrapperFrame, WRAPPER_SIZE, wrapperDestination, wrapperSource } from '#dlms/wrapper';

const ANSWER_OF: Readonly<Record<number, number>> = {
  [ApduTag.getRequest]: ApduTag.getResponse,
  [ApduTag.setRequest]: ApduTag.setResponse,
  [ApduTag.actionRequest]: ApduTag.actionResponse,
  [ApduTag.aarq]: ApduTag.aare,
  [ApduTag.releaseRequest]: ApduTag.releaseResponse,
};

const GET_NEXT = 2;
const GET_WITH_BLOCK = 2;

/**
 * Whether `answer` can be the answer to `request`, both whole wrapper frames. An exception or a confirmed service error
 * names no request: it is taken for the answer, since only one request is outstanding.
 */
export function isAnswerTo(request: Uint8Array, answer: Uint8Array): boolean {
  if (!isWrapperFrame(answer)) return false;
  if (wrapperSource(answer) !== wrapperDestination(request) || wrapperDestination(answer) !== wrapperSource(request)) {
    return false;
  }
  const tag = answer[WRAPPER_SIZE]!;
  if (tag === ApduTag.exception || tag === ApduTag.confirmedServiceError) return true;
  const requestTag = request[WRAPPER_SIZE]!;
  const expected = ANSWER_OF[requestTag];
  if (expected === undefined) return true;
  if (tag !== expected) return false;
  if (tag === ApduTag.aare || tag === ApduTag.releaseResponse) return true;
  if (answer.length < WRAPPER_SIZE + 3 || answer[WRAPPER_SIZE + 2] !== request[WRAPPER_SIZE + 2]) return false;
  const isNextBlock = requestTag === ApduTag.getRequest && request[WRAPPER_SIZE + 1] === GET_NEXT;
  if (!isNextBlock || answer[WRAPPER_SIZE + 1] !== GET_WITH_BLOCK || answer.length < WRAPPER_SIZE + 9) return true;
  // A block that is an error ends the transfer; its number may be 0.
  if (answer[WRAPPER_SIZE + 8] !== 0) return true;
  return readU32(answer, WRAPPER_SIZE + 4) === readU32(request, WRAPPER_SIZE + 3) + 1;
}
