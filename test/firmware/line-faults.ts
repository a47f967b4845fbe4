/** What a bad serial line does to bytes, and what a meter behind it may be said to have measured. */

import type { Random } from '#test/random';
import { type MeasurementImage, Quality, Quantity } from '../../firmware/measurement-image.ts';
import { type MeterValues, plausibleValues, type Registers, registersOf } from '../interop/pymodbus.ts';

export interface Faults {
  /** Bytes of 1000 that arrive changed. */
  damaged: number;
  /** Chunks of 1000 that have stray bytes before them. */
  stray: number;
  echo: boolean;
  /** The meter takes this much longer, ms; Infinity: it does not answer. */
  hangMs: number;
  /** The values stay as they are. */
  steady: boolean;
}

export const noFaults = (): Faults => ({ damaged: 0, stray: 0, echo: false, hangMs: 0, steady: false });

/** Between two counts of an energy register, 10 Wh: 18 kW, which a meter can carry. */
const COUNT_MS = 2_000;

/** Those of a meter with one phase and one tariff. */
export const QUANTITIES = Object.values(Quantity).slice(0, 9);

/** Bytes as they arrive. */
export function spoil(bytes: Uint8Array, { damaged, stray }: Faults, random: Random): Uint8Array {
  const before = random.below(1000) < stray ? random.bytes(1 + random.below(3)) : [];
  const changed = bytes.map((byte) => (random.below(1000) < damaged ? random.below(256) : byte));
  return Uint8Array.from([...before, ...changed]);
}

/** The values of an energy meter over time, random but possible, its energies growing; and what was ever in its registers. */
export class MeterHistory {
  private activeEnergy = 197_936;
  private reactiveEnergy = 102_348;
  private countedAt = 0;
  private readonly random: Random;
  /** By quantity: when each of its former values was in the registers for the last time. */
  private readonly former = QUANTITIES.map(() => new Map<number, number>());
  /** Values that may be in the registers. */
  private present: number[][] = [];

  constructor(random: Random) {
    this.random = random;
  }

  /** The registers of other values, which may be in force from now on; those before them as well, until `settle`. */
  next(now: number): Registers {
    if (now >= this.countedAt + COUNT_MS) {
      this.countedAt = now;
      this.activeEnergy += this.random.below(2);
      this.reactiveEnergy += this.random.below(2);
    }
    const { activeEnergy, reactiveEnergy } = this;
    const values = { ...plausibleValues(this.random), activeEnergy, reactiveEnergy };
    this.present.push(inImage(values));
    return registersOf(values);
  }

  /** Only the latest values are in force. */
  settle(now: number): void {
    for (const values of this.present.splice(0, this.present.length - 1)) {
      values.forEach((value, q) => {
        this.former[q]!.set(value, now);
      });
    }
  }

  /** Quantities whose value is given unmarked and was never in the registers, or only before the time it is said to be of. */
  wrong(image: MeasurementImage, now: number): string[] {
    return QUANTITIES.filter((q) => {
      if (image.quality(q, now) !== Quality.good) return false;
      const value = given(image, q);
      if (this.present.some((values) => values[q] === value)) return false;
      const lastAt = this.former[q]!.get(value);
      return lastAt === undefined || lastAt < image.updatedAt(q);
    }).map((q) => {
      const lastAt = this.former[q]!.get(given(image, q)) ?? 'never';
      return `${Object.keys(Quantity)[q]} ${given(image, q)} of ${image.updatedAt(q)}, in the registers until ${lastAt}`;
    });
  }
}

/** A value as the register has it: between its counts the active energy is integrated. */
function given(image: MeasurementImage, q: Quantity): number {
  const value = image.value(q);
  return q === Quantity.activeEnergy ? value - (value % 10) : value;
}

function inImage(v: MeterValues): number[] {
  const live = [v.voltage, v.current, v.frequency, v.activePower, v.reactivePower, v.apparentPower, v.powerFactor];
  return [...live, 10 * v.activeEnergy, 10 * v.reactiveEnergy];
}
