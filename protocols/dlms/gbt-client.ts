/**
 * General block transfer on a client's side: wraps an operation so that its APDUs travel in blocks, one at a time, over any
 * driver of exchanges. Opening and ending the association stay outside, as the transfer belongs to an open one.
 */

import { DecodeError, DlmsError } from '#base/errors';
import { ApduTag } from '#dlms/apdu';
import type { Exchange } from '#dlms/exchange';
import { decodeGbt, GbtEndpoint } from '#dlms/gbt';
import { ByteReader } from '#dlms/reader';
import { encodeWrapperHeader, isWrapperFrame, WRAPPER_SIZE, wrapperDestination, wrapperSource } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';

const MAX_APDU = 0x1_0000;
/** Exchanges in a row that bring nothing new. */
const MAX_IDLE = 8;

/**
 * Runs an operation of a client that has negotiated general block transfer.
 * @param maxPdu  longest APDU that the server accepts
 * @throws DlmsError `dlms.unexpected-answer` when the server does not keep to the procedure
 */
export function* inBlocks<T>(operation: Exchange<T>, maxPdu: number): Exchange<T> {
  let step = operation.next();
  while (!step.done) {
    const request = step.value;
    const tag = request[WRAPPER_SIZE];
    const isOutside = tag === ApduTag.aarq || tag === ApduTag.releaseRequest;
    let answer: Uint8Array;
    try {
      answer = isOutside ? yield request : yield* carry(request, maxPdu);
    } catch (error) {
      step = operation.throw(error);
      continue;
    }
    step = operation.next(answer);
  }
  return step.value;
}

function* carry(request: Uint8Array, maxPdu: number): Exchange<Uint8Array> {
  const endpoint = new GbtEndpoint({ maxApdu: MAX_APDU, window: 1, repeats: true, maxTurn: 1 });
  const frame = new Uint8Array(WRAPPER_SIZE + maxPdu);
  const [client, server] = [wrapperSource(request), wrapperDestination(request)];
  endpoint.expectAnswer();
  endpoint.send(request.slice(WRAPPER_SIZE), maxPdu, 1);
  let idle = 0;
  for (let last = endpoint.progress; idle < MAX_IDLE; ) {
    const w = new ByteWriter(frame, WRAPPER_SIZE);
    if (!endpoint.next(w)) {
      // The answer said nothing new: what is waiting for an answer goes out again.
      endpoint.repeat(1);
      endpoint.next(w);
    }
    encodeWrapperHeader(frame, 0, client, server, w.length);
    const answer = yield frame.subarray(0, w.at);
    if (!isWrapperFrame(answer) || answer[WRAPPER_SIZE] !== ApduTag.generalBlockTransfer) return answer.slice();
    const apdu = receive(endpoint, answer);
    if (apdu) {
      const whole = new Uint8Array(WRAPPER_SIZE + apdu.length);
      encodeWrapperHeader(whole, 0, wrapperSource(answer), wrapperDestination(answer), apdu.length);
      whole.set(apdu, WRAPPER_SIZE);
      return whole;
    }
    idle = endpoint.progress === last ? idle + 1 : 0;
    last = endpoint.progress;
  }
  throw new DlmsError('dlms.unexpected-answer', `the server answered ${MAX_IDLE} blocks without going on`);
}

function receive(endpoint: GbtEndpoint, frame: Uint8Array): Uint8Array | null {
  try {
    return endpoint.receive(decodeGbt(new ByteReader(frame, WRAPPER_SIZE)));
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw new DlmsError('dlms.unexpected-answer', `the server answered with ${error.message}`, {}, error);
  }
}
