/**
 * Slows down guessing of passwords, per remote address: after some failures an address has to wait, longer each time
 * (the formula of class 124, communication port protection). Never global: that would let anyone lock everyone out.
 */

export interface LockoutOptions {
  /** Failures that cost nothing. */
  readonly allowedFailures: number;
  readonly initialMs: number;
  readonly steepness: number;
  readonly maxMs: number;
  /** Addresses remembered; the one that failed longest ago is forgotten first. */
  readonly capacity: number;
}

export const DEFAULT_LOCKOUT: LockoutOptions = {
  allowedFailures: 3,
  initialMs: 1000,
  steepness: 2,
  maxMs: 300_000,
  capacity: 256,
};

interface Record {
  failures: number;
  untilMs: number;
}

export class Lockout {
  readonly #options: LockoutOptions;
  /** In order of the last failure: a Map keeps the order of insertion. */
  readonly #records = new Map<string, Record>();

  constructor(options: LockoutOptions = DEFAULT_LOCKOUT) {
    this.#options = options;
  }

  isLocked(source: string, nowMs: number): boolean {
    const record = this.#records.get(source);
    return record !== undefined && nowMs < record.untilMs;
  }

  /** @returns failures of this address so far */
  failed(source: string, nowMs: number): number {
    const { allowedFailures, initialMs, steepness, maxMs, capacity } = this.#options;
    const record = this.#records.get(source) ?? { failures: 0, untilMs: 0 };
    this.#records.delete(source);
    if (this.#records.size >= capacity) this.#records.delete(this.#records.keys().next().value!);
    this.#records.set(source, record);
    record.failures++;
    const beyond = record.failures - allowedFailures;
    if (beyond > 0) record.untilMs = nowMs + Math.min(maxMs, initialMs * steepness ** (beyond - 1));
    return record.failures;
  }

  succeeded(source: string): void {
    this.#records.delete(source);
  }
}
