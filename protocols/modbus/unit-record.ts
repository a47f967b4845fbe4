/**
 * What a Modbus master remembers of a unit: how long it takes to answer, and which requests it never answered. An RTU reply
 * has no transaction number, so a late one to such a request looks like the reply to another read of the same length.
 */

import type { PlannedRead } from '#modbus/read-plan';
import { MAX_READ } from '#modbus/rtu';

/** Nothing comes later than this after its request. */
const LATEST_REPLY_MS = 3_000;
/** Replies in time, one after the other, that tell how long a unit takes. */
export const LEARNED_REPLIES = 32;
/** Stands for unanswered requests of one length to several places. */
const SEVERAL = new Uint8Array(0);

/** Times are steady ms; those of every call come in arrays for the reason that RtuMaster gives. */
export class UnitRecord {
  /** Time between the end of a request and the beginning of its reply, ms: on average, and at most of late. */
  turnaroundMs = 0;
  slowestMs = 0;
  /** When it was asked the last time. */
  sentAt = 0;
  /** Replies in time since one came late. */
  inTime = 0;
  /** By register count: the request of that length that was never answered, if any. */
  readonly #owed: (Uint8Array | undefined)[] = new Array(MAX_READ + 1).fill(undefined);
  /** By register count: when it was sent for the first and for the last time. */
  readonly #since = new Float64Array(MAX_READ + 1);
  readonly #until = new Float64Array(MAX_READ + 1);

  /** Whether a request was never answered, of any length. */
  get owesAny(): boolean {
    const owed = this.#owed;
    for (let i = 0; i < owed.length; i++) if (owed[i] !== undefined) return true;
    return false;
  }

  /** Whether a late reply to another request would look like the reply to this read. */
  isDoubtful({ count, frame }: PlannedRead, now: Float64Array): boolean {
    const owed = this.#owed[count];
    return owed !== undefined && owed !== frame && now[0]! < this.sentAt + LATEST_REPLY_MS;
  }

  /**
   * Forgets what a read of this length is waiting for.
   * @returns when nothing late can come any more: requests are answered one after the other, so the last one counts
   */
  waitOut(count: number): number {
    this.#owed[count] = undefined;
    return this.sentAt + LATEST_REPLY_MS;
  }

  /** Lowers `askedAt` to the oldest request that the reply to this read may belong to. */
  trace({ count, frame }: PlannedRead, now: Float64Array, askedAt: Float64Array): void {
    const earliest = now[0]! - LATEST_REPLY_MS;
    if (this.#owed[count] !== frame || this.#until[count]! < earliest) return;
    askedAt[0] = Math.max(this.#since[count]!, earliest);
  }

  /** Takes a request that got no answer. @param firstSentAt  its first attempt @param sentAt  its last one */
  owe({ count, frame }: PlannedRead, now: Float64Array, firstSentAt: number, sentAt: number): void {
    const owed = this.#owed[count];
    if (owed === undefined || this.#until[count]! < now[0]! - LATEST_REPLY_MS) this.#since[count] = firstSentAt;
    this.#until[count] = sentAt;
    this.#owed[count] = owed === undefined || owed === frame ? frame : SEVERAL;
  }

  /**
   * A unit answers in the order of the requests: with a good reply, nothing older is to come. Only when a request of the
   * very same kind went unanswered before, this reply may have been that one's.
   */
  forgive({ count }: PlannedRead): void {
    const owed = this.#owed;
    for (let i = 0; i < owed.length; i++) if (i !== count) owed[i] = undefined;
  }
}
