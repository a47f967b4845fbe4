/**
 * Puts a SET or ACTION request together that comes in blocks (IEC 62056-5-3 §7.3.4, §7.3.5), server side: blocks count
 * from 1, each is acknowledged, nothing is carried out before the last one. What comes out is the equal request in one
 * APDU, so the services know only one form.
 *
 *   C1 02 | C1 05 | C3 04 | C3 05   first block: references, then the block below
 *   C1 03 | C3 06                   further blocks: last u8, block u32, length, bytes
 *
 * The value is bounded, and so are empty blocks. A block that comes twice is acknowledged twice and counts once.
 */

import { equalBytes } from '#base/bytes';
import { DecodeError } from '#base/errors';
import { ActionChoice } from '#dlms/action';
import { ApduTag, readSelection } from '#dlms/apdu';
import { readLength, readOctets } from '#dlms/axdr';
import type { ByteReader } from '#dlms/reader';
import { Result } from '#dlms/result';
import { SetChoice } from '#dlms/set';

/** Longest value of a request in blocks. */
const MAX_VALUE = 4096;
const MAX_EMPTY_BLOCKS = 2;
const EXPIRY_MS = 60_000;

/** `more`: acknowledge this block. `whole`: carry `request` out. Otherwise a result code that ends the transfer. */
export type BlockOutcome =
  | { readonly kind: 'more'; readonly block: number }
  | { readonly kind: 'whole'; readonly block: number; readonly request: Uint8Array }
  | { readonly kind: 'refused'; readonly block: number; readonly result: number };

interface Running {
  readonly tag: number;
  readonly invoke: number;
  /** The first block's APDU, to know it again. */
  readonly first: Uint8Array;
  readonly buffer: Uint8Array;
  readonly valueAt: number;
  filled: number;
  block: number;
  emptyBlocks: number;
  usedMs: number;
}

const NORMAL_OF: ReadonlyMap<number, number> = new Map([
  [(ApduTag.setRequest << 8) | SetChoice.first, SetChoice.normal],
  [(ApduTag.setRequest << 8) | SetChoice.firstList, SetChoice.list],
  [(ApduTag.actionRequest << 8) | ActionChoice.first, ActionChoice.normal],
  [(ApduTag.actionRequest << 8) | ActionChoice.firstList, ActionChoice.list],
]);

export class LongRequest {
  #running: Running | null = null;

  reset(): void {
    this.#running = null;
  }

  /**
   * Takes one block.
   * @param r  behind tag, choice and invoke id of the request, which begins at `start`
   * @throws DecodeError for an APDU that is no block
   */
  receive(tag: number, choice: number, invoke: number, r: ByteReader, start: number, nowMs: number): BlockOutcome {
    if (this.#running && nowMs - this.#running.usedMs > EXPIRY_MS) this.#running = null;
    const normal = NORMAL_OF.get((tag << 8) | choice);
    const refsAt = r.at;
    if (normal !== undefined) skipReferences(r, tag, normal);
    const refsEnd = r.at;
    const isLast = r.u8('last block') !== 0;
    const block = r.u32('block number');
    const raw = readOctets(r, 'block');
    r.expectEnd('block');
    let running = this.#running;
    if (normal !== undefined && !(running && equalBytes(running.first, r.buf.subarray(start, r.end)))) {
      running = begin(tag, normal, invoke, r.buf.slice(start, r.end), refsAt - start, refsEnd - start, nowMs);
      this.#running = running;
    }
    if (!running || running.tag !== tag || ((running.invoke ^ invoke) & 0x0f) !== 0) {
      this.#running = null;
      return { kind: 'refused', block, result: tag === ApduTag.setRequest ? NO_LONG_SET : NO_LONG_ACTION };
    }
    running.usedMs = nowMs;
    // The last block ends the transfer here, so a number that was seen is never the last one.
    if (block > 0 && block <= running.block) return { kind: 'more', block };
    if (block !== running.block + 1) return this.#refuse(block, Result.dataBlockNumberInvalid);
    if (raw.length === 0 && ++running.emptyBlocks > MAX_EMPTY_BLOCKS) return this.#refuse(block, aborted(tag));
    if (running.filled + raw.length > running.valueAt + MAX_VALUE) return this.#refuse(block, aborted(tag));
    running.block = block;
    running.buffer.set(raw, running.filled);
    running.filled += raw.length;
    if (!isLast) return { kind: 'more', block };
    this.#running = null;
    return { kind: 'whole', block, request: running.buffer.subarray(0, running.filled) };
  }

  #refuse(block: number, result: number): BlockOutcome {
    this.#running = null;
    return { kind: 'refused', block, result };
  }
}

const NO_LONG_SET = Result.noLongSetInProgress;
const NO_LONG_ACTION = Result.noLongGetInProgress;

/** Long-set-aborted, or long-action-aborted, which has another number. */
function aborted(tag: number): number {
  return tag === ApduTag.setRequest ? Result.longSetAborted : Result.longGetAborted;
}

function skipReferences(r: ByteReader, tag: number, normal: number): void {
  const isSet = tag === ApduTag.setRequest;
  const isList = normal === (isSet ? SetChoice.list : ActionChoice.list);
  const at = r.at;
  const count = isList ? readLength(r, 'list') : 1;
  if (count * 9 > r.remaining) throw new DecodeError('list', at, `at most ${Math.floor(r.remaining / 9)} references`);
  for (let i = 0; i < count; i++) {
    r.take(9, 'reference');
    if (isSet) readSelection(r);
  }
}

function begin(
  tag: number,
  normal: number,
  invoke: number,
  first: Uint8Array,
  refsAt: number,
  refsEnd: number,
  usedMs: number,
): Running {
  // A single method has a byte before its parameter that says that there is one.
  const hasOption = tag === ApduTag.actionRequest && normal === ActionChoice.normal;
  const refs = first.subarray(refsAt, refsEnd);
  const valueAt = 3 + refs.length + (hasOption ? 1 : 0);
  const buffer = new Uint8Array(valueAt + MAX_VALUE);
  buffer[0] = tag;
  buffer[1] = normal;
  buffer[2] = invoke;
  buffer.set(refs, 3);
  if (hasOption) buffer[valueAt - 1] = 1;
  return { tag, invoke, first, buffer, valueAt, filled: valueAt, block: 0, emptyBlocks: 0, usedMs };
}
