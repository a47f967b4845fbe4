/**
 * Finds the reply to a read among the bytes that come after its request: noise, late replies, other units' traffic and the
 * echo of the request may stand around it. A frame is found by its expected length and its CRC, not by silence, which no
 * user-space program can see. Nothing is allocated after construction.
 */

import type { PlannedRead } from '#modbus/read-plan';
import { checkReadReply, EXCEPTION_LENGTH, MAX_FRAME, READ_REQUEST_LENGTH, ReplyCheck } from '#modbus/rtu';

const RX_SIZE = 2 * MAX_FRAME;
/** Transactions after a reply of the right form with a wrong CRC: no late reply is one. */
const NOISE_MEMORY = 32;

/** What a search adds to the counts of its master. */
export interface FoundBytes {
  /** Bytes that belonged to no reply. */
  strayBytes: number;
  echoes: number;
}

export class ReplyFinder {
  /** Received bytes, those that may belong to a reply. */
  readonly rx = new Uint8Array(RX_SIZE);
  /** How many bytes are in `rx`. */
  held = 0;
  /** Where the answer that `search` has found begins. */
  at = 0;
  /** Bytes since the request that were neither echo nor reply. */
  stray = 0;
  /** The beginning of a reply has been seen, whole or damaged. */
  begun = false;
  /** Transactions for which the line counts as one that damages what passes. */
  noise = 0;
  /** Bytes since the request. */
  #received = 0;
  #read: PlannedRead | undefined;
  readonly #counters: FoundBytes;

  constructor(counters: FoundBytes) {
    this.#counters = counters;
  }

  /** Forgets what came before a request that leaves now. */
  begin(read: PlannedRead): void {
    this.#read = read;
    this.held = 0;
    this.#received = 0;
    this.stray = 0;
    this.begun = false;
  }

  /** Takes as many of `bytes[at, length)` as there is room for. @returns offset of the first that is left */
  take(bytes: Uint8Array, at: number, length: number): number {
    const end = Math.min(length, at + RX_SIZE - this.held);
    this.#received += end - at;
    while (at < end) this.rx[this.held++] = bytes[at++]!;
    return end;
  }

  /** Whether as many bytes came as the reply has: it was among them and cannot be recognized any more. */
  get hasPassed(): boolean {
    return this.#received >= this.#read!.replyLength + (this.#counters.echoes > 0 ? READ_REQUEST_LENGTH : 0);
  }

  /**
   * Looks for the reply in what was received; drops what cannot be part of it.
   * @param final  nothing more will come: an incomplete candidate no longer holds back what stands behind it
   * @returns `reply` or `exception`, which begins `at`; `short` for none
   */
  search(final: boolean): ReplyCheck {
    const { rx, held } = this;
    const { unit, functionCode, count, frame, replyLength } = this.#read!;
    let at = 0;
    while (at < held) {
      const echoed = this.#echoLength(at, frame);
      if (echoed === READ_REQUEST_LENGTH) {
        this.#counters.echoes++;
        at += READ_REQUEST_LENGTH;
        continue;
      }
      const check = checkReadReply(rx, at, held, unit, functionCode, count);
      if (check === ReplyCheck.reply || check === ReplyCheck.exception) {
        this.#counters.strayBytes += held - at - (check === ReplyCheck.reply ? replyLength : EXCEPTION_LENGTH);
        this.at = at;
        return check;
      }
      if (check === ReplyCheck.badCrc) this.noise = NOISE_MEMORY;
      this.begun ||= check === ReplyCheck.badCrc || (check === ReplyCheck.short && held - at >= 3);
      if (!final && (check === ReplyCheck.short || at + echoed === held)) break;
      this.#counters.strayBytes++;
      this.stray++;
      at++;
    }
    if (at > 0) {
      rx.copyWithin(0, at, held);
      this.held -= at;
    }
    return ReplyCheck.short;
  }

  /** How many bytes from `at` on are those of the request. */
  #echoLength(at: number, frame: Uint8Array): number {
    const most = Math.min(READ_REQUEST_LENGTH, this.held - at);
    let same = 0;
    while (same < most && this.rx[at + same] === frame[same]) same++;
    return same;
  }
}
