/**
 * Measurement image: the latest value of every quantity, written by the poll loop, read by everything else. All of it
 * lies in one ArrayBuffer behind a sequence counter that is odd while a set is being written, so a reader that shares
 * the buffer never takes a torn set. Nothing here allocates after construction.
 */

import { Doubt } from '#modbus/plausibility';
import type { Quantity } from '#modbus/register-map';

export { Quantity } from '#modbus/register-map';

export const QUANTITY_COUNT = 17;

/** What the poll loop found about a value; suspect: not confirmed, or contradicted, see `Doubt`. */
export const Quality = { missing: 0, good: 1, suspect: 2 } as const;
export type Quality = (typeof Quality)[keyof typeof Quality];

/** A value older than this is stale: the meter then gives none rather than an old one. */
export const FRESH_LIMIT_MS = 10_000;

/** Buffer: the sequence counter in 8 bytes; then per quantity value and time, 8 bytes each, quality and doubts, 1 each. */
const IMAGE_SIZE = 8 + QUANTITY_COUNT * 18;

export class MeasurementImage {
  readonly buffer: ArrayBuffer;
  readonly #sequence: Uint32Array;
  readonly #values: Float64Array;
  readonly #times: Float64Array;
  readonly #qualities: Uint8Array;
  readonly #doubts: Uint8Array;

  /** @param buffer  an image made elsewhere (shared memory); a new one when left out */
  constructor(buffer: ArrayBuffer = new ArrayBuffer(IMAGE_SIZE)) {
    this.buffer = buffer;
    this.#sequence = new Uint32Array(buffer, 0, 1);
    this.#values = new Float64Array(buffer, 8, QUANTITY_COUNT);
    this.#times = new Float64Array(buffer, 8 + QUANTITY_COUNT * 8, QUANTITY_COUNT);
    this.#qualities = new Uint8Array(buffer, 8 + QUANTITY_COUNT * 16, QUANTITY_COUNT);
    this.#doubts = new Uint8Array(buffer, 8 + QUANTITY_COUNT * 17, QUANTITY_COUNT);
  }

  /** Starts a set of values that belong together; readers keep away until `endUpdate`. */
  beginUpdate(): void {
    this.#sequence[0]!++;
  }

  endUpdate(): void {
    this.#sequence[0]!++;
  }

  /**
   * @param atMs  steady-clock time of the measurement
   * @param doubts  bits of `Doubt`, why it is suspect
   */
  set(quantity: Quantity, value: number, atMs: number, quality: Quality, doubts = 0): void {
    this.#values[quantity] = value;
    this.#times[quantity] = atMs;
    this.#qualities[quantity] = quality;
    this.#doubts[quantity] = doubts;
  }

  /** Replaces the value only: it follows from what was measured beside it. */
  adjust(quantity: Quantity, value: number): void {
    this.#values[quantity] = value;
  }

  /** Makes the last value suspect, if there is one; its age stays. @param doubts  bits of `Doubt` */
  doubt(quantity: Quantity, doubts: number = Doubt.unread): void {
    if (this.#qualities[quantity] === Quality.missing) return;
    this.#qualities[quantity] = Quality.suspect;
    this.#doubts[quantity]! |= doubts;
  }

  /** Why the value is suspect, bits of `Doubt`; 0 for one that is good or was never read. */
  doubtsOf(quantity: Quantity): number {
    return this.#doubts[quantity]!;
  }

  /** Even when no set is being written; the same number before and after reading means an untorn set. */
  get sequenceNumber(): number {
    return this.#sequence[0]!;
  }

  value(quantity: Quantity): number {
    return this.#values[quantity]!;
  }

  /** Steady-clock ms of the last update; 0 before the first. */
  updatedAt(quantity: Quantity): number {
    return this.#times[quantity]!;
  }

  /** Quality as found; `missing` also when the value is stale. */
  quality(quantity: Quantity, nowMs: number): Quality {
    return this.isFresh(quantity, nowMs) ? (this.#qualities[quantity] as Quality) : Quality.missing;
  }

  isFresh(quantity: Quantity, nowMs: number, limitMs = FRESH_LIMIT_MS): boolean {
    return this.#qualities[quantity] !== Quality.missing && nowMs - this.#times[quantity]! <= limitMs;
  }
}
