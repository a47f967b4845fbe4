/**
 * Requests of a DLMS client that carry values: sent whole or, when they are too long, in blocks (IEC 62056-5-3, SET and
 * ACTION with block transfer).
 */

import { ActionAnswer } from '#dlms/action';
import { ApduTag } from '#dlms/apdu';
import { octetsThatFit, writeOctets } from '#dlms/axdr';
import type { ClientFrames } from '#dlms/client-frames';
import type { Exchange } from '#dlms/exchange';
import { Conformance } from '#dlms/initiate';
import type { ByteReader } from '#dlms/reader';
import { SetAnswer } from '#dlms/set';
import { ByteWriter } from '#dlms/writer';

const NO_BYTES = new Uint8Array(0);

/**
 * Sends a request whole or, when it is too long, in blocks.
 * @param blockChoice  of the request's further blocks
 * @param writeHead  writes tag to references, in the form for blocks or not
 * @param writeValue  writes what follows
 * @returns the answer that ends it
 */
export function* requestInBlocks(
  frames: ClientFrames,
  answerTag: number,
  blockChoice: number,
  writeHead: (w: ByteWriter, inBlocks: boolean) => void,
  writeValue: (w: ByteWriter) => void,
): Exchange<ByteReader> {
  const limit = frames.plainLimit();
  const measured = new ByteWriter(NO_BYTES);
  writeHead(measured, false);
  writeValue(measured);
  if (measured.length <= limit)
    return yield* frames.request(answerTag, (w) => {
      writeHead(w, false);
      writeValue(w);
    });
  const isSet = answerTag === ApduTag.setResponse;
  const { blockTransferWithSet, blockTransferWithAction } = Conformance;
  frames.need(isSet ? blockTransferWithSet : blockTransferWithAction, `a request of ${measured.length} bytes`);
  const value = new ByteWriter(new Uint8Array(measured.length));
  writeValue(value);
  const raw = value.written();
  let at = 0;
  for (let block = 1; ; block++) {
    let isLast = false;
    const answer = yield* frames.request(answerTag, (w) => {
      if (block === 1) writeHead(w, true);
      else
        w.u8(isSet ? ApduTag.setRequest : ApduTag.actionRequest)
          .u8(blockChoice)
          .u8(frames.invoke);
      const part = raw.subarray(at, at + octetsThatFit(limit - w.length - 5));
      at += part.length;
      isLast = at === raw.length;
      writeOctets(w.u8(isLast ? 1 : 0).u32(block), part);
    });
    // Any other answer than "go on" is the end, also before the last block.
    const isMore = answer.buf[answer.at + 1] === (isSet ? SetAnswer.more : ActionAnswer.more);
    if (isLast || !isMore) return answer;
  }
}
