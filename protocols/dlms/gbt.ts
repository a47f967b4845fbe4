/**
 * General block transfer (IEC 62056-5-3 §6.10): carries APDUs of either direction in blocks, several on the way at a time,
 * and sends again from the first one that was lost. One endpoint per association; server and client are alike.
 *
 *   E0 | control | block u16 | acknowledged u16 | length | bytes      control: bit 7 last, bit 6 streaming, 5..0 window
 *
 * A window of W blocks: all but the last have the streaming bit, the last one passes the turn. Block numbers count from 1
 * in each APDU; an answer acknowledges the blocks received without a gap. Nothing sends by itself: who waits in vain sends
 * its last window again.
 */

import { equalBytes } from '#base/bytes';
import { ApduTag } from '#dlms/apdu';
import { octetsThatFit, readOctets, writeOctets } from '#dlms/axdr';
import type { ByteReader } from '#dlms/reader';
import type { ByteWriter } from '#dlms/writer';

const LAST = 0x80;
const STREAMING = 0x40;
export const MAX_GBT_WINDOW = 63;
/** Tag, control and the two block numbers. */
const HEADER = 6;
const MAX_BLOCKS = 0xffff;
const MAX_EMPTY_BLOCKS = 2;
const NOTHING = new Uint8Array(0);

export interface GbtBlock {
  readonly isLast: boolean;
  readonly isStreaming: boolean;
  /** Blocks that the sender of this one takes at a time. */
  readonly window: number;
  readonly number: number;
  /** Highest number that it has received without a gap. */
  readonly acknowledged: number;
  readonly data: Uint8Array;
}

export function encodeGbt(w: ByteWriter, block: GbtBlock): void {
  const { isLast, isStreaming, window, number, acknowledged, data } = block;
  w.u8(ApduTag.generalBlockTransfer).u8((isLast ? LAST : 0) | (isStreaming ? STREAMING : 0) | window);
  writeOctets(w.u16(number).u16(acknowledged), data);
}

/** Reads a block, tag included; `data` is a view. @throws DecodeError */
export function decodeGbt(r: ByteReader): GbtBlock {
  r.expect(ApduTag.generalBlockTransfer, 'general block transfer');
  const control = r.u8('block control');
  const number = r.u16('block number');
  const acknowledged = r.u16('acknowledged block');
  const data = readOctets(r, 'block');
  r.expectEnd('general block transfer');
  const isLast = (control & LAST) !== 0;
  return { isLast, isStreaming: (control & STREAMING) !== 0, window: control & 0x3f, number, acknowledged, data };
}

export interface GbtOptions {
  /** Longest APDU that is put together. */
  readonly maxApdu: number;
  /** Blocks taken at a time. */
  readonly window: number;
  /** Whether blocks may come twice, as datagrams do. */
  readonly repeats: boolean;
  /** Most blocks sent in a row, whatever the peer takes. Default 63. */
  readonly maxTurn?: number;
}

export class GbtEndpoint {
  readonly #options: GbtOptions;
  /** What is being received: its first block, to know it again, and what there is so far. */
  #first: Uint8Array = NOTHING;
  #parts: Uint8Array[] = [];
  #size = 0;
  #received = 0;
  #empty = 0;
  #isComplete = true;
  /** What is being sent, the size of its blocks, and the numbers acknowledged and to be sent next. */
  #apdu: Uint8Array = NOTHING;
  #blockSize = 1;
  #acknowledged = 0;
  #next = 1;
  /** Blocks that may be sent now; 0: it is not our turn. */
  #turn = 0;
  #owesAnswer = false;

  constructor(options: GbtOptions) {
    this.#options = options;
  }

  /** Grows with every block received or acknowledged. */
  get progress(): number {
    return this.#received + this.#acknowledged;
  }

  /** Forgets everything under way. */
  reset(): void {
    this.#first = NOTHING;
    this.#parts = [];
    this.#received = 0;
    this.#isComplete = true;
    this.#apdu = NOTHING;
    this.#next = 1;
    this.#turn = 0;
    this.#owesAnswer = false;
  }

  /** Whether this block begins an APDU that is not the one being received. */
  begins({ number, data }: GbtBlock): boolean {
    if (number !== 1 || data.length === 0) return false;
    return !equalBytes(this.#first, data) || (this.#isComplete && !this.#options.repeats);
  }

  /**
   * Takes a block.
   * @returns the APDU that it makes whole, else null; `next` says what to send
   */
  receive(block: GbtBlock): Uint8Array | null {
    const { number, acknowledged, data, isLast, isStreaming, window } = block;
    if (number === 0) {
      this.reset();
      return null;
    }
    if (this.begins(block)) {
      this.reset();
      this.#first = data.slice();
      this.#isComplete = false;
      this.#size = 0;
      this.#received = 0;
      this.#empty = 0;
    }
    if (this.#apdu.length > 0 && acknowledged >= this.#acknowledged && acknowledged < this.#next) {
      this.#acknowledged = acknowledged;
      this.#next = acknowledged + 1;
    } else if (data.length > 0) this.#next = this.#acknowledged + 1;
    const whole = this.#collect(block);
    if (!isStreaming || isLast) {
      // An empty block acknowledges; answering it by an empty one would go on for ever.
      this.#owesAnswer = data.length > 0;
      this.#turn = Math.min(window, this.#options.maxTurn ?? MAX_GBT_WINDOW);
      if (window === 0) this.reset();
    }
    return whole;
  }

  #collect({ number, data, isLast }: GbtBlock): Uint8Array | null {
    if (this.#isComplete || number !== this.#received + 1 || (data.length === 0 && !isLast)) return null;
    this.#empty += data.length === 0 ? 1 : 0;
    if (this.#size + data.length > this.#options.maxApdu || this.#empty > MAX_EMPTY_BLOCKS || number === MAX_BLOCKS) {
      this.reset();
      return null;
    }
    this.#received = number;
    this.#parts.push(data.slice());
    this.#size += data.length;
    if (!isLast) return null;
    this.#isComplete = true;
    const whole = new Uint8Array(this.#size);
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    this.#parts = [];
    return whole;
  }

  /**
   * Gives the APDU to send; `next` cuts it.
   * @param apdu  kept until it is acknowledged
   * @param maxPdu  longest block, header included
   * @param turn  how many blocks the peer takes before it says something; by default what it said last
   */
  send(apdu: Uint8Array, maxPdu: number, turn = this.#turn): void {
    this.#apdu = apdu;
    this.#blockSize = Math.max(1, octetsThatFit(maxPdu - HEADER));
    this.#acknowledged = 0;
    this.#next = 1;
    this.#turn = Math.min(turn, this.#options.maxTurn ?? MAX_GBT_WINDOW);
  }

  /** Forgets what was received last, so that the answer to a new APDU is not taken for its repetition. */
  expectAnswer(): void {
    this.#first = NOTHING;
    this.#isComplete = false;
    this.#parts = [];
    this.#size = 0;
    this.#received = 0;
    this.#empty = 0;
  }

  /** Sends again what was not acknowledged: the peer is silent. @param turn  see `send` */
  repeat(turn: number): void {
    this.#next = this.#acknowledged + 1;
    this.#turn = turn;
    this.#owesAnswer = true;
  }

  /** Writes the next block that may leave now. @returns whether there was one */
  next(w: ByteWriter): boolean {
    if (this.#turn === 0) return false;
    const from = (this.#next - 1) * this.#blockSize;
    const base = { window: this.#options.window, number: this.#next, acknowledged: this.#received };
    if (from < this.#apdu.length) {
      const data = this.#apdu.subarray(from, from + this.#blockSize);
      const isLast = from + data.length === this.#apdu.length;
      const isStreaming = !isLast && this.#turn > 1;
      encodeGbt(w, { ...base, isLast, isStreaming, data });
      this.#next++;
      this.#turn = isStreaming ? this.#turn - 1 : 0;
      return true;
    }
    this.#turn = 0;
    if (!this.#owesAnswer) return false;
    // Nothing more to say only when there was something to answer, and no answer.
    encodeGbt(w, { ...base, isLast: this.#isComplete && this.#received > 0, isStreaming: false, data: NOTHING });
    return true;
  }
}
