/**
 * Modbus RTU master for one bus: a pure state machine, one transaction at a time. It takes received bytes and the time,
 * says when a frame must leave and when to call again, and allocates nothing after construction.
 *
 *   idle -> gap (line quiet for t3.5) -> waiting (first byte, then the frame) -> done -> idle
 *
 * What is a reply among the bytes of the line is found in reply-finder.ts. An RTU reply has no transaction number, so a
 * reply that comes after its time could be taken for the next one's. Two things prevent that: after a timeout the line
 * must stay quiet for a while, and the master remembers which requests never got an answer, so that no other read of the
 * same length and unit is begun while one of theirs may still come (`isDoubtful`).
 */

import type { LineTiming } from '#modbus/line-timing';
import type { PlannedRead } from '#modbus/read-plan';
import { ReplyFinder } from '#modbus/reply-finder';
import { EXCEPTION_FLAG, EXCEPTIONS, READ_REQUEST_LENGTH, ReplyCheck } from '#modbus/rtu';
import { LEARNED_REPLIES, UnitRecord } from '#modbus/unit-record';

export interface MasterOptions {
  readonly timing: LineTiming;
  /** Longest wait for the first byte of a reply, ms. */
  readonly timeoutMs: number;
  /** Further attempts after one without a good reply. */
  readonly retries: number;
  /** Silence before another unit is spoken to, ms; 0 by default. */
  readonly switchMs?: number;
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

/** Bytes of a frame may come in bursts this far apart: USB adapters deliver every 1 to 16 ms. */
const BURST_SLACK_MS = 20;
/** Pause before a device that said busy is asked again. */
const BUSY_PAUSE_MS = 100;
/** A driver that switches direction leaves a byte or two on the line; more is the sign of somebody speaking. */
const GLITCH_BYTES = 2;
/** A first attempt waits this many times as long as the slowest of them, and never less than the shortest wait. */
const PATIENCE = 4;
const SHORTEST_WAIT_MS = 150;

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
  /**
   * Steady ms of the call under way, set by the caller before each call. An engine puts a fractional number that is
   * passed as an argument into an object of its own; an element of this array costs nothing.
   */
  readonly now = new Float64Array(1);
  /** What `findDue` found, in an array for the same reason. */
  readonly due = new Float64Array(1);
  /** By unit: before then an answer to an earlier request may still come. `begin` waits for it; other units need not. */
  readonly freeAt = new Float64Array(256);
  readonly counters = new MasterCounters();
  /** Received bytes; the data words of a good reply start at `dataAt`. Valid until the next `begin`. */
  readonly rx: Uint8Array;
  dataAt = 0;
  /**
   * Steady ms when the request of a good reply was sent: its values are no older. Of the oldest request that it may be
   * the reply to, where earlier ones went unanswered. In an array for the same reason.
   */
  readonly askedAt = new Float64Array(1);
  outcome: Outcome = Outcome.ok;
  exceptionCode = 0;

  readonly #options: MasterOptions;
  #state: State = State.idle;
  #read: PlannedRead | undefined;
  readonly #finder: ReplyFinder;
  /** Time of a request on the line, and of the reply with what drivers add. */
  readonly #requestMs: number;
  #frameMs = 0;
  #retries = 0;
  #attempt = 0;
  /** Requests of this transaction that got neither a reply nor an exception. */
  #unanswered = 0;
  #anyDamaged = false;
  /** Line must be quiet until then before anything is sent. */
  #quietUntil = 0;
  #firstSentAt = 0;
  #sentAt = 0;
  /** When the reply must have begun. A field, since what a method returns may be put into an object of its own. */
  #replyBy = 0;
  #deadline = 0;
  /** A line that is never quiet ends the transaction then. */
  #giveUpAt = 0;
  readonly #units: UnitRecord[] = [];
  /** The unit that was spoken to last. */
  #unit = 0;
  #functionCode = 0;
  /** The last byte that nobody waited for was the address of that unit. */
  #isUnitHeard = false;

  constructor(options: MasterOptions) {
    this.#options = options;
    this.#finder = new ReplyFinder(this.counters);
    this.rx = this.#finder.rx;
    this.#requestMs = READ_REQUEST_LENGTH * options.timing.characterMs;
  }

  /** The request to send when `poll` says so. */
  get request(): Uint8Array {
    return this.#read!.frame;
  }

  get isIdle(): boolean {
    return this.#state === State.idle;
  }

  /** Whether a request is out and its reply may still come in time. */
  get isWaiting(): boolean {
    return this.#state === State.waiting;
  }

  /** Whether a late reply to another request would look like the reply to this read. */
  isDoubtful(read: PlannedRead): boolean {
    return this.#peer(read.unit).isDoubtful(read, this.now);
  }

  /** Whether the last reply, or exception, was to the first request of its transaction. */
  get atOnce(): boolean {
    return this.#attempt === 1;
  }

  /** Whether the transaction's request could be sent at all: the line was quiet once. */
  get wasSent(): boolean {
    return this.#attempt > 0;
  }

  /** How long a unit takes before it answers, ms, on average; undefined while too little is known. */
  turnaroundMs(unit: number): number | undefined {
    const peer = this.#peer(unit);
    return peer.inTime >= LEARNED_REPLIES ? peer.turnaroundMs : undefined;
  }

  /** Whether every request to the unit so far has got its answer, so that an answer can only be that of the present one. */
  get owesNothing(): boolean {
    return this.#unanswered === 0 && !this.#peer(this.#unit).owesAny;
  }

  /**
   * Starts a transaction. Call only when idle. A doubtful read waits until nothing late can come any more.
   * @param retries  instead of those of the options
   */
  begin(read: PlannedRead, retries = this.#options.retries): void {
    const now = this.now[0]!;
    if (this.isDoubtful(read)) {
      this.#quietUntil = Math.max(this.#quietUntil, this.#peer(read.unit).waitOut(read.count));
    }
    if (read.unit !== this.#unit) {
      if (this.#unit !== 0) this.#quietUntil = Math.max(this.#quietUntil, now + (this.#options.switchMs ?? 0));
      this.#unit = read.unit;
    }
    this.#quietUntil = Math.max(this.#quietUntil, this.freeAt[read.unit]!);
    this.#read = read;
    this.#functionCode = read.functionCode;
    this.#retries = retries;
    this.#frameMs = read.replyLength * this.#options.timing.characterMs + BURST_SLACK_MS;
    const attemptMs = this.#requestMs + this.#options.timeoutMs + this.#frameMs;
    const pauseMs = Math.max(BUSY_PAUSE_MS, this.#options.timing.gapMs + this.#frameMs);
    const longest = (retries + 1) * (attemptMs + pauseMs) + this.#options.timeoutMs;
    this.#giveUpAt = Math.max(now, this.#quietUntil) + longest;
    this.#attempt = 0;
    this.#unanswered = 0;
    this.#anyDamaged = false;
    if (this.#finder.noise > 0) this.#finder.noise--;
    this.#state = State.gap;
  }

  /** Ends a finished transaction. */
  end(): void {
    this.#state = State.idle;
    this.#read = undefined;
  }

  /** Forgets the transaction under way, as after the port was closed. */
  abort(): void {
    if (this.#read && this.#unanswered > 0) {
      this.#peer(this.#unit).owe(this.#read, this.now, this.#firstSentAt, this.#sentAt);
    }
    this.#unanswered = 0;
    this.end();
    this.#quietUntil = this.now[0]! + this.#options.timing.gapMs;
  }

  /** When to call `poll` again, steady ms; Infinity when only bytes or `begin` can change anything. */
  get nextDeadline(): number {
    this.findDue();
    return this.due[0]!;
  }

  /** Leaves `nextDeadline` in `due`. */
  findDue(): void {
    const isWaiting = this.#state === State.waiting;
    const isInGap = this.#state === State.gap;
    this.due[0] = isWaiting
      ? this.#deadline
      : isInGap
        ? Math.min(this.#quietUntil, this.#giveUpAt)
        : Number.POSITIVE_INFINITY;
  }

  /** Takes `length` bytes from the line. */
  receive(bytes: Uint8Array, length: number): void {
    let at = 0;
    while (at < length && this.#state === State.waiting) {
      at = this.#finder.take(bytes, at, length);
      if (!this.#search(false)) this.#extendDeadline();
    }
    if (at === length) return;
    // Nobody was asked, or the answer is complete: the line is in use, so the silence starts anew.
    this.counters.strayBytes += length - at;
    while (at < length) this.#suspectLate(bytes[at++]!);
    this.#quietUntil = Math.max(this.#quietUntil, this.now[0]! + this.#options.timing.gapMs);
  }

  /** The beginning of a late reply tells that the unit is not as quick as it seemed. */
  #suspectLate(byte: number): void {
    const isHeader = this.#isUnitHeard && (byte & ~EXCEPTION_FLAG) === this.#functionCode;
    this.#isUnitHeard = byte === this.#unit;
    if (isHeader) this.#peer(this.#unit).inTime = 0;
  }

  /** Advances the machine. After `Action.send` the frame must leave at once. */
  poll(): Action {
    const now = this.now[0]!;
    if (this.#state === State.gap) {
      if (now >= this.#quietUntil) {
        this.#beginAttempt();
        return Action.send;
      }
      if (now >= this.#giveUpAt) this.#babbled();
    } else if (this.#state === State.waiting && now >= this.#deadline && !this.#search(true)) {
      this.#attemptFailed();
    }
    return this.#state === State.done ? Action.done : Action.wait;
  }

  #beginAttempt(): void {
    const now = this.now[0]!;
    this.#finder.begin(this.#read!);
    this.#attempt++;
    this.#unanswered++;
    this.counters.requests++;
    this.#sentAt = now;
    this.#peer(this.#unit).sentAt = now;
    if (this.#attempt === 1) this.#firstSentAt = now;
    this.#setReplyBy();
    this.#deadline = this.#replyBy;
    this.#state = State.waiting;
  }

  #peer(unit: number): UnitRecord {
    const known = this.#units[unit];
    if (known !== undefined) return known;
    const made = new UnitRecord();
    this.#units[unit] = made;
    return made;
  }

  /** A unit that is known to be quick gets its whole time in the last attempt only, on a noisy line not even there. */
  #setReplyBy(): void {
    const { inTime, slowestMs } = this.#peer(this.#unit);
    const { timeoutMs } = this.#options;
    const isHasty = inTime >= LEARNED_REPLIES && (this.#attempt <= this.#retries || this.#finder.noise > 0);
    const usual = Math.max(SHORTEST_WAIT_MS, PATIENCE * slowestMs);
    this.#replyBy = this.#sentAt + this.#requestMs + (isHasty && usual < timeoutMs ? usual : timeoutMs);
  }

  /**
   * Once a reply has begun, a pause ends the attempt; noise before it leaves the reply its whole time. Bytes never
   * extend an attempt by more than the time of one frame.
   */
  #extendDeadline(): void {
    const now = this.now[0]!;
    const replyBy = this.#replyBy;
    const pauseAt = now + Math.max(BURST_SLACK_MS, this.#options.timing.gapMs);
    const finder = this.#finder;
    const isEnding = finder.begun || finder.hasPassed;
    const wanted = isEnding ? pauseAt : finder.held > 0 ? Math.max(replyBy, pauseAt) : replyBy;
    this.#deadline = Math.min(wanted, replyBy + this.#frameMs);
  }

  /** @param final  nothing more will come @returns whether the attempt has its answer */
  #search(final: boolean): boolean {
    const check = this.#finder.search(final);
    if (check === ReplyCheck.reply) this.#succeed();
    else if (check === ReplyCheck.exception) this.#exception();
    return check < ReplyCheck.short;
  }

  #succeed(): void {
    this.counters.replies++;
    this.#unanswered--;
    this.#learn();
    this.dataAt = this.#finder.at + 3;
    this.outcome = Outcome.ok;
    this.askedAt[0] = this.#unanswered > 0 ? this.#firstSentAt : this.#sentAt;
    const peer = this.#peer(this.#unit);
    peer.trace(this.#read!, this.now, this.askedAt);
    peer.forgive(this.#read!);
    this.#finish();
  }

  #learn(): void {
    const peer = this.#peer(this.#unit);
    // Otherwise it may have been the reply to an earlier attempt.
    if (this.#unanswered > 0) return;
    const tookMs =
      this.now[0]! - this.#sentAt - this.#requestMs - this.#read!.replyLength * this.#options.timing.characterMs;
    const turnaroundMs = tookMs > 0 ? tookMs : 0;
    peer.turnaroundMs += (turnaroundMs - peer.turnaroundMs) / (peer.inTime < 8 ? peer.inTime + 1 : 8);
    peer.slowestMs = Math.max(turnaroundMs, 0.995 * peer.slowestMs);
    if (peer.inTime < LEARNED_REPLIES) peer.inTime++;
  }

  #exception(): void {
    const code = this.rx[this.#finder.at + 2]!;
    this.counters.exceptions++;
    // An exception does not tell which registers it is about: it may be a late one.
    if (!this.#peer(this.#unit).owesAny) this.#unanswered--;
    this.exceptionCode = code;
    if (EXCEPTIONS[code]?.retry && this.#attempt <= this.#retries) {
      this.#state = State.gap;
      this.#quietUntil = this.now[0]! + BUSY_PAUSE_MS;
      return;
    }
    this.outcome = Outcome.exception;
    this.counters.failures++;
    this.#finish();
  }

  #attemptFailed(): void {
    const now = this.now[0]!;
    const finder = this.#finder;
    const damaged = finder.begun || finder.stray > GLITCH_BYTES;
    if (damaged) this.counters.damaged++;
    else this.counters.timeouts++;
    this.#anyDamaged ||= damaged;
    const hasPassed = finder.hasPassed;
    // It was the reply, by its header and length: nothing is to come.
    if (hasPassed && finder.begun) this.#unanswered--;
    if (this.#attempt <= this.#retries) {
      this.#state = State.gap;
      this.#quietUntil = now + this.#options.timing.gapMs + (hasPassed ? 0 : this.#frameMs);
      return;
    }
    this.outcome = this.#anyDamaged ? Outcome.damaged : Outcome.timeout;
    this.counters.failures++;
    this.#finish();
  }

  #finish(): void {
    const now = this.now[0]!;
    this.#state = State.done;
    this.#quietUntil = now + this.#options.timing.gapMs;
    if (this.#unanswered === 0) return;
    // On a line that damages what passes, a quick unit that is silent did not understand: nothing is to come.
    if (this.#finder.noise > 0 && this.#peer(this.#unit).inTime >= LEARNED_REPLIES) {
      if (this.outcome !== Outcome.ok) this.#quietUntil += this.#frameMs;
      return;
    }
    this.#peer(this.#unit).owe(this.#read!, this.now, this.#firstSentAt, this.#sentAt);
    // A good reply may have been a late one to an earlier attempt; the last attempt's own then takes as long again.
    const slowest = now - this.#firstSentAt;
    this.freeAt[this.#unit] = this.#sentAt + slowest + this.#frameMs;
  }

  #babbled(): void {
    this.counters.damaged++;
    this.counters.failures++;
    this.outcome = Outcome.damaged;
    this.#finish();
  }
}
