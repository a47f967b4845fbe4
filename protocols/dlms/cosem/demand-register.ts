/**
 * Class 5, Demand Register v0, with one period (block demand): the mean of a power over each period that is aligned to the
 * clock. And class 4, Extended Register v0: a value with the time at which it came about, here the largest demand.
 */

import { Tag } from '#dlms/axdr';
import type { MeterClock } from '#dlms/cosem/clock';
import type { CosemObject } from '#dlms/cosem/logical-device';
import { type RegisterType, rawWriter, scalerUnitWriter } from '#dlms/cosem/register';
import { attribute, TableObject } from '#dlms/cosem/table-object';
import { Result } from '#dlms/result';

export interface DemandOptions {
  /** Class 5, and class 4 for its maximum. */
  readonly obis: string;
  readonly maximumObis: string;
  readonly clock: MeterClock;
  readonly type: RegisterType;
  readonly scaler: number;
  readonly unit: number;
  /** Seconds. */
  readonly period: number;
}

export class Demand {
  readonly register: CosemObject;
  readonly maximum: CosemObject;
  readonly #options: DemandOptions;
  #sum = 0;
  #count = 0;
  #interval: number | undefined;
  #last = Number.NaN;
  #lastMs = 0;
  #max = Number.NaN;
  #maxMs = 0;

  constructor(options: DemandOptions) {
    this.#options = options;
    const { obis, maximumObis, clock, type, scaler, unit, period } = options;
    const scalerUnit = { read: scalerUnitWriter(scaler, unit) };
    const status = attribute((w) => w.u8(Tag.unsigned).u8(0));
    const periodMs = period * 1000;
    const forget = () => {
      this.#sum = 0;
      this.#count = 0;
      this.#last = Number.NaN;
      return Result.success;
    };
    this.register = new TableObject(
      5,
      0,
      obis,
      [
        { read: rawWriter(type, () => Math.round(this.#sum / this.#count)) },
        { read: rawWriter(type, () => this.#last) },
        scalerUnit,
        status,
        attribute((w) => clock.write(w, this.#lastMs)),
        attribute((w) => clock.write(w, (this.#interval ?? 0) * periodMs)),
        attribute((w) => w.u8(Tag.doubleLongUnsigned).u32(period)),
        attribute((w) => w.u8(Tag.longUnsigned).u16(1)),
      ],
      [forget, () => this.#close(clock.now().epochMs)],
    );
    this.maximum = new TableObject(
      4,
      0,
      maximumObis,
      [{ read: rawWriter(type, () => this.#max) }, scalerUnit, status, attribute((w) => clock.write(w, this.#maxMs))],
      [() => this.resetMaximum()],
    );
  }

  /** Adds a sample. @param value  raw, NaN when there is none now */
  sample(value: number, epochMs: number): void {
    const interval = Math.floor(epochMs / 1000 / this.#options.period);
    this.#interval ??= interval;
    if (interval !== this.#interval) {
      this.#close(interval * this.#options.period * 1000);
      this.#interval = interval;
    }
    if (Number.isNaN(value)) return;
    this.#sum += value;
    this.#count++;
  }

  resetMaximum(): number {
    this.#max = Number.NaN;
    return Result.success;
  }

  #close(epochMs: number): number {
    if (this.#count > 0) {
      this.#last = Math.round(this.#sum / this.#count);
      this.#lastMs = epochMs;
      if (!(this.#last <= this.#max)) {
        this.#max = this.#last;
        this.#maxMs = epochMs;
      }
    }
    this.#sum = 0;
    this.#count = 0;
    return Result.success;
  }
}
