/**
 * A client's operations over datagrams that get lost, come twice and overtake each other, in virtual time: the rules of
 * repetition are those of a real driver (the very same bytes after a timeout, only an answer that fits is taken).
 */

import { S3mpError } from '#base/errors';
import type { Exchange } from '#dlms/exchange';
import { isAnswerTo } from '#dlms/match';
import type { ServerSession } from '#dlms/server';
import type { Random } from '#test/random';

/** Whether a datagram answers a request, see match.ts. */
export type Matcher = (request: Uint8Array, answer: Uint8Array) => boolean;

interface Datagram {
  readonly atMs: number;
  readonly toServer: boolean;
  /** Counts what was sent; copies share it. */
  readonly number: number;
  readonly bytes: Uint8Array;
}

export interface LossyOptions {
  /** Each in percent. */
  readonly loss: number;
  readonly duplicates: number;
  /** A datagram takes between these two, ms. */
  readonly fastestMs?: number;
  readonly slowestMs?: number;
  readonly timeoutMs?: number;
  readonly attempts?: number;
}

export class LossyNetwork {
  nowMs = 0;
  sent = 0;
  lost = 0;
  /** Datagrams that arrived after one that was sent later. */
  overtaken = 0;
  doubled = 0;
  readonly #session: () => ServerSession;
  readonly #random: Random;
  readonly #options: Required<LossyOptions>;
  /** Kept in order of arrival. */
  readonly #flying: Datagram[] = [];
  readonly #out = new Uint8Array(4096);
  /** Highest number that has arrived, to the client and to the server. */
  readonly #arrived = [0, 0];
  #number = 0;

  constructor(session: () => ServerSession, random: Random, options: LossyOptions) {
    this.#session = session;
    this.#random = random;
    this.#options = { fastestMs: 5, slowestMs: 120, timeoutMs: 200, attempts: 5, ...options };
  }

  /**
   * Runs an operation.
   * @param takes  what the client takes for the answer; a client with keys says so itself
   * @throws S3mpError `meter.unreachable` when no attempt is answered: its effect is unknown
   */
  run<T>(operation: Exchange<T>, takes: Matcher = isAnswerTo): T {
    let step = operation.next();
    while (!step.done) {
      let answer: Uint8Array;
      try {
        answer = this.#exchange(step.value.slice(), takes);
      } catch (error) {
        step = operation.throw(error);
        continue;
      }
      step = operation.next(answer);
    }
    return step.value;
  }

  /** Lets time pass and late datagrams arrive. */
  wait(ms: number): void {
    const until = this.nowMs + ms;
    while (this.#step(until)) {
      // Answers that come now are for nobody.
    }
    this.nowMs = until;
  }

  #exchange(request: Uint8Array, takes: Matcher): Uint8Array {
    for (let attempt = 0; attempt < this.#options.attempts; attempt++) {
      this.#send(request, true);
      const until = this.nowMs + this.#options.timeoutMs * 2 ** attempt;
      for (;;) {
        const datagram = this.#step(until);
        if (!datagram) break;
        if (!datagram.toServer && takes(request, datagram.bytes)) return datagram.bytes;
      }
      this.nowMs = until;
    }
    throw new S3mpError('meter.unreachable', 'no answer');
  }

  /** Delivers the next datagram that arrives before `until`. */
  #step(until: number): Datagram | undefined {
    const next = this.#flying[0];
    if (!next || next.atMs > until) return undefined;
    this.#flying.shift();
    this.nowMs = Math.max(this.nowMs, next.atMs);
    const direction = next.toServer ? 1 : 0;
    if (next.number < this.#arrived[direction]!) this.overtaken++;
    this.#arrived[direction] = Math.max(this.#arrived[direction]!, next.number);
    if (next.toServer) {
      const length = this.#session().receive(next.bytes.slice(), this.#out, this.nowMs);
      if (length > 0) this.#send(this.#out.slice(0, length), false);
    }
    return next;
  }

  #send(bytes: Uint8Array, toServer: boolean): void {
    const { loss, duplicates, fastestMs, slowestMs } = this.#options;
    const copies = this.#random.below(100) < duplicates ? 2 : 1;
    this.doubled += copies - 1;
    const number = ++this.#number;
    for (let i = 0; i < copies; i++) {
      this.sent++;
      if (this.#random.below(100) < loss) {
        this.lost++;
        continue;
      }
      const atMs = this.nowMs + fastestMs + this.#random.below(slowestMs - fastestMs);
      let at = this.#flying.length;
      while (at > 0 && this.#flying[at - 1]!.atMs > atMs) at--;
      this.#flying.splice(at, 0, { atMs, toServer, number, bytes });
    }
  }
}
