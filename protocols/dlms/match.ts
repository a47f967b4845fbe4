/**
 * Which answer belongs to which request on a datagram transport, where a late duplicate of an earlier answer may arrive
 * after the next request has left. An answer names its request by the swapped access points and the invoke id, and
 * within a block transfer by the block number (IEC 62056-5-3 §7.3).
 */

import { readU16, readU32 } from '#base/bytes';
import { ActionAnswer, ActionChoice } from '#dlms/action';
import { ApduTag } from '#dlms/apdu';
import { GetChoice } from '#dlms/get';
import { SetAnswer, SetChoice } from '#dlms/set';
import { isWrapperFrame, WRAPPER_SIZE, wrapperDestination, wrapperSource } from '#dlms/wrapper';

const ANSWER_OF: Readonly<Record<number, number>> = {
  [ApduTag.getRequest]: ApduTag.getResponse,
  [ApduTag.setRequest]: ApduTag.setResponse,
  [ApduTag.actionRequest]: ApduTag.actionResponse,
  [ApduTag.aarq]: ApduTag.aare,
  [ApduTag.releaseRequest]: ApduTag.releaseResponse,
  [ApduTag.generalBlockTransfer]: ApduTag.generalBlockTransfer,
};

/**
 * Number of the block that this request sends or has received, 0 for a request without blocks. The number behind it is
 * what an answer in blocks has; an acknowledgement has the number itself.
 */
function requestBlock(request: Uint8Array): number {
  const choice = request[WRAPPER_SIZE + 1]!;
  switch (request[WRAPPER_SIZE]) {
    case ApduTag.getRequest:
      return choice === GetChoice.next ? readU32(request, WRAPPER_SIZE + 3) : 0;
    case ApduTag.setRequest:
      if (choice === SetChoice.block) return readU32(request, WRAPPER_SIZE + 4);
      return choice === SetChoice.first || choice === SetChoice.firstList ? 1 : 0;
    case ApduTag.actionRequest:
      if (choice === ActionChoice.block) return readU32(request, WRAPPER_SIZE + 4);
      if (choice === ActionChoice.next) return readU32(request, WRAPPER_SIZE + 3);
      return choice === ActionChoice.first || choice === ActionChoice.firstList ? 1 : 0;
    default:
      return 0;
  }
}

/** Whether an answer in blocks, or of a block, has the number that the request makes expect. */
function fitsBlock(block: number, answer: Uint8Array): boolean {
  const at = WRAPPER_SIZE;
  const has = (offset: number, number: number) =>
    answer.length < at + offset + 4 || readU32(answer, at + offset) === number;
  const choice = answer[at + 1]!;
  switch (answer[at]) {
    case ApduTag.getResponse:
      // A block that is an error ends the transfer; its number may be 0.
      return choice !== GetChoice.next || (answer[at + 8] ?? 1) !== 0 || has(4, block + 1);
    case ApduTag.setResponse:
      return choice === SetAnswer.more ? has(3, block) : choice === SetAnswer.last ? has(4, block) : true;
    case ApduTag.actionResponse:
      return choice === ActionAnswer.more ? has(3, block) : choice !== ActionAnswer.block || has(4, block + 1);
    default:
      return true;
  }
}

/**
 * Whether a block of general block transfer answers another one, with one block on the way at a time: it acknowledges the
 * block sent, or is the one behind the block that was acknowledged.
 */
function fitsTransfer(request: Uint8Array, answer: Uint8Array): boolean {
  const at = WRAPPER_SIZE;
  if (request.length < at + 7 || answer.length < at + 7) return false;
  const isAcknowledgement = request.length === at + 7;
  if (isAcknowledgement) return readU16(answer, at + 2) === readU16(request, at + 4) + 1;
  if (readU16(answer, at + 4) !== readU16(request, at + 2)) return false;
  // Where both begin, a plain APDU in them is matched like any other.
  const expected = ANSWER_OF[request[at + 7]!];
  const isFirst = readU16(request, at + 2) === 1 && readU16(answer, at + 2) === 1 && answer.length > at + 9;
  const hasShortLengths = request[at + 6]! < 0x80 && answer[at + 6]! < 0x80;
  if (!isFirst || !hasShortLengths || expected === undefined || answer[at + 7] === ApduTag.exception) return true;
  return answer[at + 7] === expected && answer[at + 9] === request[at + 9];
}

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
  if (tag === ApduTag.generalBlockTransfer) return fitsTransfer(request, answer);
  if (tag === ApduTag.aare || tag === ApduTag.releaseResponse) return true;
  if (answer.length < WRAPPER_SIZE + 3 || answer[WRAPPER_SIZE + 2] !== request[WRAPPER_SIZE + 2]) return false;
  const block = requestBlock(request);
  return block === 0 || fitsBlock(block, answer);
}
