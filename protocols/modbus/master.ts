/**
 * Modbus RTU master for one bus: a pure state machine, one transaction at a time. It takes received bytes and the time,
 * says when a frame must leave and when to call again, and allocates nothing after construction.
 *
 *   idle -> gap (line quiet for t3.5) -> waiting (first byte, then the frame) -> done -> idle
 *
 * Frames are found by their expected length, not by silence, which no user-space program can see. An RTU reply has no
 * transaction number, so a reply that comes after its time could be taken for the next one's: after a timeout the line
 * must stay quiet for as long as such a late reply may still come.
 */

import type { PlannedRead } from '#modbus/read-plan';
import { checkReadReply, EXCEPTIONS, MAX_FRAME, READ_REQUEST_LENGTH, ReplyCheck } from '#modbus/rtu';

export interface LineTiming {
  /** Time of one character on the line, ms. */
  readonly characterMs: number;
  /** Silence before a request, ms (t3.5). */
  readonly gapMs: number;
}

/**
 * Timing of a line (Modbus over serial line V1.02 §2.5.1.1): above 19200 baud t3.5 is 1.75 ms.
 * @param parity  even and odd make characters of 11 bits, none makes 10
 */
export function lineTiming(baud: number, parity: 'none' | 'even' | 'odd'): LineTiming {
  const characterMs = ((parity === 'none' ? 10 : 11) * 1000) / baud;
  return { characterMs, gapMs: baud > 19_200 ? 1.75 : 3.5 * characterMs };
}

export interface MasterOptions {
  readonly timing: LineTiming;
  /** Longest wait for the first byte of a reply, ms. */
  readonly timeoutMs: number;
  /** Further attempts after one without a good reply. */
  readonly retries: number;
}

/** What the caller has to do. */
export const Action = {
  /** Nothing before `nextDeadline`. */
  wait: 0,
  /** Send `request`. */
  send: 1,
  /** The transaction is over: see `outcome`. */
  done: 2,
} as const;
export type Action = (typeof Action)[keyof typeof Action];

export const Outcome = { ok: 0, timeout: 1, damaged: 2, exception: 3 } as const;
export type Outcome = (typeof Outcome)[keyof typeof Outcome];

const State = { idle: 0, gap: 1, waiting: 2, done: 3 } as const;
type State = (typeof State)[keyof typeof State];

const RX_SIZE = 2 * MAX_FRAME;
/** Bytes of a frame may come in bursts this far apart: USB adapters deliver every 1 to 16 ms. */
const BURST_SLACK_MS = 20;
/** Pause before a device that said busy is asked again. */
const BUSY_PAUSE_MS = 100;

/** How often each thing happened since the start. */
export class MasterCounters {
  requests = 0;
  replies = 0;
  timeouts = 0;
  damaged = 0;
  exceptions = 0;
  /** Bytes that belonged to no reply: noise, late replies, another unit's traffic. */
  strayBytes = 0;
  echoes = 0;
  failures = 0;
}

export class RtuMaster {
  readonly counters = new MasterCounters();
  /** Received bytes; the data words of a good reply start at `dataAt`. Valid until the next `begin`. */
  readonly rx = new Uint8Array(RX_SIZE);
  dataAt = 0;
  outcome: Outcome = Outcome.ok;
  exceptionCode = 0;

  private readonly options: MasterOptions;
  private state: State = State.idle;
  private read: PlannedRead | undefined;
  private rxLength = 0;
  private attempt = 0;
  private damagedSeen = false;
  /** Line must be quiet until then before anything is sent. */
  private quietUntil = 0;
  private firstSentAt = 0;
  private sentAt = 0;
  private deadline = 0;
  /** A line that is never quiet ends the transaction then. */
  private giveUpAt = 0;

  constructor(options: MasterOptions) {
    this.options = options;
  }

  /** The request to send when `poll` says so. */
  get request(): Uint8Array {
    return this.read!.frame;
  }

  get isIdle(): boolean {
    return this.state === State.idle;
  }

  /** Starts a transaction. Call only when idle. */
  begin(read: PlannedRead, now: number): void {
    this.read = read;
    this.giveUpAt = Math.max(now, this.quietUntil) + (this.options.retries + 2) * this.options.timeoutMs;
    this.attempt = 0;
    this.damagedSeen = false;
    this.state = State.gap;
  }

  /** Ends a finished transaction. */
  end(): void {
    this.state = State.idle;
    this.read = undefined;
  }

  /** Forgets the transaction under way, as after the port was closed. */
  abort(now: number): void {
    this.end();
    this.rxLength = 0;
    this.quietUntil = now + this.options.timing.gapMs;
  }

  /** When to call `poll` again, steady ms; Infinity when only bytes or `begin` can change anything. */
  get nextDeadline(): number {
    if (this.state === State.gap) return Math.min(this.quietUntil, this.giveUpAt);
    return this.state === State.waiting ? this.deadline : Number.POSITIVE_INFINITY;
  }

  /** Takes bytes from the line. */
  receive(bytes: Uint8Array, length: number, now: number): void {
    if (this.state !== State.waiting) {
      // Nobody was asked: the line is in use, so the silence starts anew.
      this.counters.strayBytes += length;
      this.quietUntil = Math.max(this.quietUntil, now + this.options.timing.gapMs);
      return;
    }
    for (let i = 0; i < length; i++) {
      if (this.rxLength === RX_SIZE) this.dropFirst(RX_SIZE - MAX_FRAME);
      this.rx[this.rxLength++] = bytes[i]!;
    }
    if (!this.search(now, false)) {
      // A frame that stops growing is over; one that grows may use its whole time.
      const limit = this.sentAt + this.options.timeoutMs + this.frameMs();
      this.deadline = Math.min(limit, now + Math.max(BURST_SLACK_MS, this.options.timing.gapMs));
    }
  }

  /** Advances the machine. After `Action.send` the frame must leave at once. */
  poll(now: number): Action {
    if (this.state === State.gap) {
      if (now < this.quietUntil) return now < this.giveUpAt ? Action.wait : this.babbled(now);
      this.rxLength = 0;
      this.attempt++;
      this.counters.requests++;
      this.sentAt = now;
      if (this.attempt === 1) this.firstSentAt = now;
      this.deadline = now + READ_REQUEST_LENGTH * this.options.timing.characterMs + this.options.timeoutMs;
      this.state = State.waiting;
      return Action.send;
    }
    if (this.state === State.waiting && now >= this.deadline && !this.search(now, true)) this.attemptFailed(now);
    return this.state === State.done ? Action.done : Action.wait;
  }

  /**
   * Looks for the reply anywhere in what was received.
   * @param final  nothing more will come: an incomplete candidate no longer holds back what stands behind it
   */
  private search(now: number, final: boolean): boolean {
    const { rx, rxLength } = this;
    const { unit, functionCode, count, frame } = this.read!;
    let at = 0;
    while (at < rxLength) {
      if (this.isEcho(at, frame)) {
        this.counters.echoes++;
        at += READ_REQUEST_LENGTH;
        continue;
      }
      const check = checkReadReply(rx, at, rxLength, unit, functionCode, count);
      if (check === ReplyCheck.reply) {
        this.counters.strayBytes += at;
        this.succeed(at, now);
        return true;
      }
      if (check === ReplyCheck.exception) {
        this.counters.strayBytes += at;
        this.exception(rx[at + 2]!, now);
        return true;
      }
      if (check === ReplyCheck.short && !final && (rxLength - at >= 3 || rx[at] === unit)) return false;
      if (check === ReplyCheck.badCrc || (check === ReplyCheck.short && rxLength - at > 3)) this.damagedSeen = true;
      at++;
    }
    return false;
  }

  private isEcho(at: number, frame: Uint8Array): boolean {
    if (this.rxLength - at < READ_REQUEST_LENGTH) return false;
    for (let i = 0; i < READ_REQUEST_LENGTH; i++) if (this.rx[at + i] !== frame[i]) return false;
    return true;
  }

  private succeed(at: number, now: number): void {
    this.counters.replies++;
    this.dataAt = at + 3;
    this.outcome = Outcome.ok;
    this.finish(now);
  }

  private exception(code: number, now: number): void {
    this.counters.exceptions++;
    this.exceptionCode = code;
    if (EXCEPTIONS[code]?.retry && this.attempt <= this.options.retries) {
      this.state = State.gap;
      this.quietUntil = now + BUSY_PAUSE_MS;
      return;
    }
    this.outcome = Outcome.exception;
    this.counters.failures++;
    this.finish(now);
  }

  private attemptFailed(now: number): void {
    const damaged = this.damagedSeen || this.rxLength > 0;
    if (damaged) this.counters.damaged++;
    else this.counters.timeouts++;
    this.counters.strayBytes += this.rxLength;
    this.rxLength = 0;
    if (this.attempt <= this.options.retries) {
      this.state = State.gap;
      this.quietUntil = now + this.options.timing.gapMs + this.frameMs();
      return;
    }
    this.outcome = damaged ? Outcome.damaged : Outcome.timeout;
    this.counters.failures++;
    this.finish(now);
  }

  private finish(now: number): void {
    this.state = State.done;
    this.quietUntil = now + this.options.timing.gapMs;
    if (this.attempt > 1) {
      // The good reply may be a late one to an earlier attempt; the last attempt's own then takes as long again.
      const slowest = now - this.firstSentAt;
      this.quietUntil = Math.max(this.quietUntil, this.sentAt + slowest + this.frameMs());
    }
  }

  private babbled(now: number): Action {
    this.counters.damaged++;
    this.counters.failures++;
    this.outcome = Outcome.damaged;
    this.finish(now);
    return Action.done;
  }

  private frameMs(): number {
    return this.read!.replyLength * this.options.timing.characterMs + BURST_SLACK_MS;
  }

  private dropFirst(count: number): void {
    this.counters.strayBytes += count;
    this.rx.copyWithin(0, count, this.rxLength);
    this.rxLength -= count;
  }
}
