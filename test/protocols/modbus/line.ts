/** A serial line in virtual time: runs an RTU master against a script that answers its requests. */

import { type LineTiming, lineTiming } from '#modbus/line-timing';
import { OR_WE_514 } from '#modbus/maps/or-we-514';
import { Action, type Outcome, RtuMaster } from '#modbus/master';
import { type PlannedRead, planReads } from '#modbus/read-plan';
import { encodeReadRequest, readReplyLength } from '#modbus/rtu';

export const TIMEOUT_MS = 600;
export const RETRIES = 2;

/** The three reads of an OR-WE-514: 41 registers of values, active energy, reactive energy. */
export const [VALUES, ACTIVE_ENERGY, REACTIVE_ENERGY] = planReads(OR_WE_514, 1) as [
  PlannedRead,
  PlannedRead,
  PlannedRead,
];

/** A read of a register range without any values, for scripts. */
export function rangeRead(start: number, count: number, unit = 1): PlannedRead {
  const frame = new Uint8Array(8);
  encodeReadRequest(frame, 0, unit, 3, start, count);
  return { unit, functionCode: 3, start, count, everyMs: 0, frame, replyLength: readReplyLength(count), values: [] };
}

export interface Sent {
  readonly at: number;
  readonly frame: Uint8Array;
}

/** Answers a request: `say(bytes, afterMs)` puts bytes on the line that long after the request began. */
export type Script = (attempt: number, sent: Sent, say: (bytes: Uint8Array, afterMs: number) => void) => void;

export class Line {
  now = 1000;
  readonly master: RtuMaster;
  readonly sent: Sent[] = [];
  /** All bytes from the far end. */
  readonly heard: number[] = [];
  private queue: { at: number; bytes: Uint8Array }[] = [];
  private readonly limitMs: number;

  constructor(timing: LineTiming = lineTiming(9600, 'even'), timeoutMs = TIMEOUT_MS, retries = RETRIES) {
    this.master = new RtuMaster({ timing, timeoutMs, retries });
    this.limitMs = 20 * (timeoutMs + 300 * timing.characterMs) + 10_000;
  }

  /** Puts bytes on the line at a time, whether or not anybody asked. */
  say(bytes: Uint8Array, at: number): void {
    let i = this.queue.length;
    while (i > 0 && this.queue[i - 1]!.at > at) i--;
    this.queue.splice(i, 0, { at, bytes });
  }

  /** Runs one transaction to its end; fails when the machine gets stuck. */
  transact(read: PlannedRead, script: Script, retries?: number): Outcome {
    const { master } = this;
    const startedAt = this.now;
    let attempt = 0;
    master.now[0] = this.now;
    master.begin(read, retries);
    for (;;) {
      master.now[0] = this.now;
      const action = master.poll();
      if (action === Action.done) break;
      if (action === Action.send) {
        const sent = { at: this.now, frame: master.request.slice() };
        this.sent.push(sent);
        script(++attempt, sent, (bytes, afterMs) => this.say(bytes, sent.at + afterMs));
      }
      if (action === Action.wait && !(master.nextDeadline > this.now)) throw new Error('no deadline lies ahead');
      this.advanceTo(Math.min(master.nextDeadline, this.queue[0]?.at ?? Number.POSITIVE_INFINITY));
      if (this.now - startedAt > this.limitMs) throw new Error(`no end after ${this.limitMs} ms`);
    }
    const { outcome } = master;
    master.end();
    return outcome;
  }

  /** Lets time pass without a transaction. */
  idle(ms: number): void {
    const until = this.now + ms;
    while (this.queue[0] !== undefined && this.queue[0].at <= until) this.advanceTo(this.queue[0].at);
    this.now = until;
  }

  private advanceTo(at: number): void {
    this.now = Math.max(this.now, at);
    while (this.queue[0] !== undefined && this.queue[0].at <= this.now) {
      const { bytes } = this.queue.shift()!;
      for (const byte of bytes) this.heard.push(byte);
      // The port hands out its buffer, longer than what was received and used again at once.
      const buffer = new Uint8Array(bytes.length + 3).fill(0xee);
      buffer.set(bytes);
      this.master.now[0] = this.now;
      this.master.receive(buffer, bytes.length);
      buffer.fill(0xdd);
    }
  }
}
