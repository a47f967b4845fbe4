/**
 * Measurement image: the latest value of every quantity, written by the poll loop, read by everything else. All of it
 * lies in one ArrayBuffer behind a sequence counter that is odd while a set is being written, so a reader that shares
 * the buffer never takes a torn set. Nothing here allocates after construction.
 */

/** Quantities and the unit in which the image holds them, each an exact integer. */
export const Quantity = {
  /** 0.01 V */
  voltage: 0,
  /** 0.001 A */
  current: 1,
  /** 0.01 Hz */
  frequency: 2,
  /** W, negative when exporting */
  activePower: 3,
  /** var, signed */
  reactivePower: 4,
  /** VA */
  apparentPower: 5,
  /** 0.001, signed */
  powerFactor: 6,
  /** Wh */
  activeEnergy: 7,
  /** varh */
  reactiveEnergy: 8,
} as const;
export type Quantity = (typeof Quantity)[keyof typeof Quantity];

export const QUANTITY_COUNT = 9;

/** What the poll loop found about a value; suspect: the meter has failed to answer since. */
export const Quality = { missing: 0, good: 1, suspect: 2 } as const;
export type Quality = (typeof Quality)[keyof typeof Quality];

/** A value older than this is stale: the meter then gives none rather than an old one. */
export const FRESH_LIMIT_MS = 10_000;

export class MeasurementImage {
  readonly buffer: ArrayBuffer;
  private readonly sequence: Uint32Array;
  private readonly values: Float64Array;
  private readonly times: Float64Array;
  private readonly qualities: Uint8Array;

  /** @param buffer  an image made elsewhere (shared memory); a new one when left out */
  constructor(buffer: ArrayBuffer = new ArrayBuffer(8 + QUANTITY_COUNT * 17)) {
    this.buffer = buffer;
    this.sequence = new Uint32Array(buffer, 0, 1);
    this.values = new Float64Array(buffer, 8, QUANTITY_COUNT);
    this.times = new Float64Array(buffer, 8 + QUANTITY_COUNT * 8, QUANTITY_COUNT);
    this.qualities = new Uint8Array(buffer, 8 + QUANTITY_COUNT * 16, QUANTITY_COUNT);
  }

  /** Starts a set of values that belong together; readers keep away until `endUpdate`. */
  beginUpdate(): void {
    this.sequence[0]!++;
  }

  endUpdate(): void {
    this.sequence[0]!++;
  }

  /** @param atMs  steady-clock time of the measurement */
  set(quantity: Quantity, value: number, atMs: number, quality: Quality): void {
    this.values[quantity] = value;
    this.times[quantity] = atMs;
    this.qualities[quantity] = quality;
  }

  /** Marks the last value as not confirmed: the latest attempt to read it failed. Its age stays. */
  doubt(quantity: Quantity): void {
    if (this.qualities[quantity] === Quality.good) this.qualities[quantity] = Quality.suspect;
  }

  /** Even when no set is being written; the same number before and after reading means an untorn set. */
  get sequenceNumber(): number {
    return this.sequence[0]!;
  }

  value(quantity: Quantity): number {
    return this.values[quantity]!;
  }

  /** Steady-clock ms of the last update; 0 before the first. */
  updatedAt(quantity: Quantity): number {
    return this.times[quantity]!;
  }

  /** Quality as found; `missing` also when the value is stale. */
  quality(quantity: Quantity, nowMs: number): Quality {
    return this.isFresh(quantity, nowMs) ? (this.qualities[quantity] as Quality) : Quality.missing;
  }

  isFresh(quantity: Quantity, nowMs: number, limitMs = FRESH_LIMIT_MS): boolean {
    return this.qualities[quantity] !== Quality.missing && nowMs - this.times[quantity]! <= limitMs;
  }
}
