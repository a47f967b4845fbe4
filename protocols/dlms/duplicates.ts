/**
 * Memory of one association on a datagram transport: which requests were carried out a short time ago, so that a datagram
 * that comes twice, at once or late, has its effect once.
 *
 * The latest request is answered again with the very same answer, as its client may still be waiting. An earlier one is
 * dropped: nobody waits for it. Equal bytes mean the same request only for a while: invoke ids come round after 16
 * requests, so what lies further back in time or in number counts as new. An AARQ is answered again during a few seconds;
 * later the same bytes come from a client that has started anew. Late copies of a ciphered handshake, which went over
 * several paths, are dropped like any: they are neither an attack nor a wrong answer to a challenge.
 */

import { equalBytes } from '#base/bytes';

/** Requests after which equal bytes are a new request, below the 16 of the invoke id. */
const MEMORY = 14;
const OPENING_WINDOW_MS = 5000;
const NOTHING = new Uint8Array(0);

interface Kept {
  readonly request: Uint8Array;
  readonly answer: Uint8Array;
  readonly ms: number;
}

interface Trace {
  readonly high: number;
  readonly low: number;
  /** Number of the request in the association; infinite when its bytes never come again, whatever the association. */
  readonly number: number;
  readonly ms: number;
}

export class DuplicateMemory {
  readonly #windowMs: number;
  #opening: Kept | null = null;
  #latest: Kept | null = null;
  /** Of requests with an effect, oldest first. */
  #traces: Trace[] = [];
  #count = 0;

  /** @param windowMs  how long a request is known again */
  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  clear(): void {
    this.#opening = null;
    this.#latest = null;
    this.#traces = this.#traces.filter(({ number }) => number === Number.POSITIVE_INFINITY);
  }

  /**
   * Looks a request up.
   * @returns null for a new one; else the answer to give once more, empty when the datagram is to be dropped
   */
  answerTo(request: Uint8Array, nowMs: number): Uint8Array | null {
    const latest = this.#latest;
    if (latest && nowMs - latest.ms <= this.#windowMs && equalBytes(latest.request, request)) return latest.answer;
    return this.openingAnswer(request, nowMs) ?? (this.isLate(request, nowMs) ? NOTHING : null);
  }

  /** The answer to give once more to an AARQ that comes again, accepted or refused; null for another one. */
  openingAnswer(request: Uint8Array, nowMs: number): Uint8Array | null {
    const opening = this.#opening;
    const isKnown = opening && nowMs - opening.ms <= OPENING_WINDOW_MS && equalBytes(opening.request, request);
    return isKnown ? opening.answer : null;
  }

  /** Whether these bytes were carried out a short time ago. */
  isLate(request: Uint8Array, nowMs: number): boolean {
    const newest = this.#traces.at(-1);
    if (!newest || nowMs - newest.ms > this.#windowMs) return false;
    const { high, low } = hash(request);
    return this.#traces.some(
      (trace) =>
        trace.low === low &&
        trace.high === high &&
        this.#count - trace.number < MEMORY &&
        nowMs - trace.ms <= this.#windowMs,
    );
  }

  /** Counts a request that may run again, like a GET. */
  passed(): void {
    this.#count++;
  }

  /** Keeps a request that must not run again, and its answer. */
  keep(request: Uint8Array, answer: Uint8Array, nowMs: number): void {
    this.trace(request, nowMs);
    this.#latest = { request: request.slice(), answer: answer.slice(), ms: nowMs };
  }

  /**
   * Keeps that a request was carried out, without its answer.
   * @param isUnique  a counter is in it, so that its bytes never come again by themselves
   */
  trace(request: Uint8Array, nowMs: number, isUnique = false): void {
    const number = isUnique ? Number.POSITIVE_INFINITY : ++this.#count;
    if (this.#traces.length === MEMORY) this.#traces.shift();
    this.#traces.push({ ...hash(request), number, ms: nowMs });
  }

  /**
   * Keeps a ciphered request, whatever its service: its counter makes it unique, so it is known for as long as it is the
   * latest, and a replay behind that.
   * @param request  kept, not copied
   * @param isHandshake  whether it opens the association: dropped for a while behind that
   */
  keepUnique(request: Uint8Array, answer: Uint8Array, isHandshake: boolean, nowMs: number): void {
    if (isHandshake) this.trace(request, nowMs, true);
    this.#opening = null;
    this.#latest = { request, answer: answer.slice(), ms: Number.POSITIVE_INFINITY };
  }

  /** Keeps the request that opened the association, or was refused and counted as a failure. */
  keepOpening(request: Uint8Array, answer: Uint8Array, nowMs: number): void {
    this.clear();
    this.#opening = { request: request.slice(), answer: answer.slice(), ms: nowMs };
  }
}

/** 64 bits of FNV-1a in two halves with different primes: enough to tell a handful of requests apart. */
function hash(bytes: Uint8Array): { high: number; low: number } {
  let low = 0x811c9dc5;
  let high = 0x01234567;
  for (let i = 0; i < bytes.length; i++) {
    low = Math.imul(low ^ bytes[i]!, 0x01000193);
    high = Math.imul(high ^ bytes[i]!, 0x85ebca6b);
  }
  return { high, low };
}
