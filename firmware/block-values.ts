/**
 * The values of an energy meter between its replies and the image: what was read of a block is judged together and only then
 * shown. One damaged reply in 65,536 has a good CRC: from a failure on until the line has proved itself again, a value must
 * be read twice alike. A contradiction must show twice as well. Nothing here allocates while all is well.
 */

import type { Log } from '#hw/log';
import { EnergyRegister } from '#modbus/energy-register';
import type { RtuMaster } from '#modbus/master';
import { Doubt, judge, slackOf } from '#modbus/plausibility';
import type { PlannedRead } from '#modbus/read-plan';
import { QUANTITY_NAMES, type RegisterMap, readRegister } from '#modbus/register-map';
import { type MeasurementImage, QUANTITY_COUNT, Quality, Quantity } from './measurement-image.ts';
import type { Block, Slot } from './read-block.ts';

export interface BlockValuesOptions {
  readonly map: RegisterMap;
  /** Modbus unit address, for the log. */
  readonly unit: number;
  readonly image: MeasurementImage;
  readonly log: Log;
  /** Told when another meter answers in this one's place. */
  readonly onMeterChanged?: (() => void) | undefined;
}

/** Answers at once, in a row, after which a single reading is believed again. */
const TRUST_AFTER = 32;
/** Readings in a row at most, until two are alike: what changes faster stays suspect. */
const READINGS = 4;
/** Pause between two readings of an energy that is not believed yet, ms. */
const CONFIRM_MS = 1_000;
const ENERGY = /Energy/;

export class BlockValues {
  readonly #options: BlockValuesOptions;
  /** Answers at once in a row, up to `TRUST_AFTER`. */
  #proved = TRUST_AFTER;
  /** The read that is done again until it gives the same twice, and how often it was done. */
  #repeated: Slot | undefined;
  #readings = 0;
  readonly #energies: (EnergyRegister | undefined)[];
  readonly #slack: number;
  /** Values of the block under way by quantity, NaN where there is none; when they were read; what speaks against them. */
  readonly #snapshot = new Float64Array(QUANTITY_COUNT).fill(Number.NaN);
  readonly #readAt = new Float64Array(QUANTITY_COUNT);
  readonly #doubts = new Uint8Array(QUANTITY_COUNT);
  /** By quantity, whether a value of the snapshot was not found twice alike on a line that damages replies. */
  readonly #isAlone = new Uint8Array(QUANTITY_COUNT);

  constructor(options: BlockValuesOptions) {
    this.#options = options;
    const { map } = options;
    this.#slack = slackOf(map);
    this.#energies = new Array(QUANTITY_COUNT).fill(undefined);
    for (const { quantity, type, factor } of map.registers) {
      // Floats carry what the meter has; they do not count in steps that are worth to fill.
      const step = type === 'f32' ? 1 : factor;
      if (ENERGY.test(quantity))
        this.#energies[QUANTITY_NAMES.indexOf(quantity)] = new EnergyRegister(step, map.phases);
    }
  }

  /** The active energy, where the meter counts it. */
  get energy(): EnergyRegister | undefined {
    return this.#energies[Quantity.activeEnergy];
  }

  /** Takes what came of a transaction with the meter. @param atOnce  its first request was answered, be it by a refusal */
  prove(atOnce: boolean): void {
    this.#proved = atOnce ? Math.min(this.#proved + 1, TRUST_AFTER) : 0;
  }

  /** Takes the values of a reply into the snapshot. @returns false if the same is to be read again to be believed */
  take(block: Block, slot: Slot, { rx, dataAt, askedAt }: RtuMaster): boolean {
    const { values } = slot.read;
    const isRepeated = this.#repeated === slot;
    this.#readings = isRepeated ? this.#readings + 1 : 1;
    const mustAgree = this.#proved < TRUST_AFTER;
    let alone = 0;
    for (let i = 0; i < values.length; i++) {
      const { index, offset, type, factor } = values[i]!;
      const value = Math.round(readRegister(rx, dataAt + offset, type) * factor);
      // A float register of a meter that has no value holds NaN.
      if (!Number.isFinite(value)) continue;
      if (Number.isNaN(this.#snapshot[index]!)) block.fresh++;
      const isAlone = mustAgree && !(isRepeated && this.#snapshot[index] === value) && !this.#isKnown(index, value);
      if (isAlone) alone++;
      this.#isAlone[index] = isAlone ? 1 : 0;
      this.#snapshot[index] = value;
      this.#readAt[index] = askedAt[0]!;
    }
    const isEnough = alone === 0 || this.#readings >= READINGS;
    this.#repeated = isEnough ? undefined : slot;
    return isEnough;
  }

  /** The read failed. What was read once and not found again is forgotten: the value before it stays, not confirmed. */
  drop(block: Block, slot: Slot): void {
    if (this.#repeated !== slot) return;
    this.#repeated = undefined;
    const { read } = slot;
    for (let i = 0; i < read.values.length; i++) {
      const { index } = read.values[i]!;
      if (this.#isAlone[index] === 0 || Number.isNaN(this.#snapshot[index]!)) continue;
      this.#snapshot[index] = Number.NaN;
      block.fresh--;
    }
  }

  /** A pass begins: what was read once in the last one does not count any more. */
  startPass(): void {
    this.#repeated = undefined;
  }

  /** Forgets what was not judged yet. */
  clear(): void {
    this.#snapshot.fill(Number.NaN);
  }

  /** Another meter answers in place of the former one: its energies say nothing about those to come. */
  changeMeter(): void {
    for (const energy of this.#energies) energy?.forget();
    this.#meterChanged();
  }

  /** Judges what was read of a block and puts it into the image. */
  publish(block: Block): void {
    if (block.fresh === 0) return;
    block.fresh = 0;
    const { image, map } = this.#options;
    const snapshot = this.#snapshot;
    const doubts = this.#doubts;
    const readAt = this.#readAt;
    const isAlone = this.#isAlone;
    const isFine = judge(snapshot, doubts, map.phases, this.#slack);
    const isNews = !isFine && !block.isContradicted;
    block.isContradicted = !isFine;
    if (isNews) {
      // The next snapshot tells whether the line or the meter is at fault.
      block.makeDue();
    } else {
      if (!isFine && !block.isWarned) this.#warnOf(block);
      block.isWarned = !isFine;
      image.beginUpdate();
      for (let q = 0; q < QUANTITY_COUNT; q++) {
        if (Number.isNaN(snapshot[q]!)) continue;
        const energy = this.#energies[q];
        if (isAlone[q] !== 0) doubts[q]! |= Doubt.alone;
        const quality = doubts[q] === 0 ? Quality.good : Quality.suspect;
        if (energy !== undefined) this.#count(block, q as Quantity, energy);
        else image.set(q as Quantity, snapshot[q]!, readAt[q]!, quality, doubts[q]);
      }
      if (doubts[Quantity.activePower] === 0) this.#integrate();
      image.endUpdate();
    }
    snapshot.fill(Number.NaN);
  }

  /** Makes the values of a read suspect. @param doubts  bits of `Doubt` */
  doubt({ values }: PlannedRead, doubts: number): void {
    const { image } = this.#options;
    image.beginUpdate();
    for (let i = 0; i < values.length; i++) image.doubt(values[i]!.index as Quantity, doubts);
    image.endUpdate();
  }

  /** Whether the value is the one that was believed last. */
  #isKnown(index: number, value: number): boolean {
    const energy = this.#energies[index];
    if (energy !== undefined) return energy.isLast(value);
    const { image } = this.#options;
    const q = index as Quantity;
    return value === image.value(q) && image.updatedAt(q) > 0 && (image.doubtsOf(q) & ~Doubt.unread) === 0;
  }

  #count(block: Block, quantity: Quantity, energy: EnergyRegister): void {
    const { image } = this.#options;
    const { changes } = energy;
    if (this.#isAlone[quantity] !== 0) {
      image.doubt(quantity, Doubt.alone);
      block.makeDue();
      return;
    }
    const doubts = energy.read(this.#snapshot[quantity]!, this.#readAt[quantity]!);
    if (energy.changes !== changes) this.#meterChanged();
    if (doubts === Doubt.step) {
      image.doubt(quantity, doubts);
      block.makeDue(this.#readAt[quantity]! + CONFIRM_MS);
    } else {
      const quality = doubts === 0 ? Quality.good : Quality.suspect;
      image.set(quantity, Math.floor(energy.value), energy.readAt, quality, doubts);
    }
    if ((doubts & Doubt.alone) !== 0) block.makeDue();
  }

  #integrate(): void {
    const energy = this.#energies[Quantity.activeEnergy];
    const powerW = this.#snapshot[Quantity.activePower]!;
    if (energy === undefined || Number.isNaN(powerW) || Number.isNaN(energy.readAt)) return;
    energy.integrate(
      this.#options.map.countsBothWays ? Math.abs(powerW) : Math.max(powerW, 0),
      this.#readAt[Quantity.activePower]!,
    );
    this.#options.image.adjust(Quantity.activeEnergy, Math.floor(energy.value));
  }

  #meterChanged(): void {
    this.#options.log.warn('another energy meter answers in place of the former one', { unit: this.#options.unit });
    this.#options.onMeterChanged?.();
  }

  #warnOf({ root }: Block): void {
    const suspects = root.values.filter(({ index }) => this.#doubts[index] !== 0).map(({ quantity }) => quantity);
    this.#options.log.warn('values of the energy meter contradict each other', {
      unit: this.#options.unit,
      of: suspects.join(' '),
    });
  }
}
