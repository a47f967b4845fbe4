/**
 * Which register map the answers of an energy meter fit: reads what each map names, and takes the one that gives the most
 * values that can be true together. Reading only, one question at a time.
 */

import type { BytePort } from '#hw/serial/port';
import type { LineTiming } from '#modbus/line-timing';
import { REGISTER_MAPS } from '#modbus/maps/index';
import { judge, slackOf } from '#modbus/plausibility';
import { type PlannedRead, plainRead, planReads, splitRead } from '#modbus/read-plan';
import { type RegisterMap, readRegister } from '#modbus/register-map';
import { checkReadReply, MAX_FRAME, READ_REQUEST_LENGTH, ReplyCheck } from '#modbus/rtu';
import { MeasurementImage, QUANTITY_COUNT, Quality, Quantity } from './measurement-image.ts';
import { judgeRegisters } from './self-test.ts';

/** Meters answer within 90 ms, under load within 300. */
const TURNAROUND_MS = 300;
/** How far the tariffs of an energy in steps of 10 Wh may be from its total, Wh. */
const TARIFF_SLACK_WH = 50;

export const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** How long it may take until the answer to a read is there, ms. */
export const answerMs = ({ characterMs }: LineTiming, replyLength: number): number =>
  TURNAROUND_MS + (READ_REQUEST_LENGTH + replyLength) * characterMs;

/** Asks units on an open port and finds the answers in what comes, wherever they begin. */
export class Asker {
  /** Bytes since the last question. */
  readonly #received = new Uint8Array(2 * MAX_FRAME);
  #length = 0;
  readonly #port: BytePort;
  readonly timing: LineTiming;
  readonly isStopped: () => boolean;

  constructor(port: BytePort, timing: LineTiming, isStopped: () => boolean) {
    this.#port = port;
    this.timing = timing;
    this.isStopped = isStopped;
    port.onData = (bytes, count) => {
      const taken = bytes.subarray(0, Math.min(count, this.#received.length - this.#length));
      this.#received.set(taken, this.#length);
      this.#length += taken.length;
    };
  }

  /**
   * Sends a read and waits until `isDone` says that what came is enough.
   * @returns what it returned, undefined after the time of an answer, `patience` times over
   */
  async ask<T>({ frame, replyLength }: PlannedRead, isDone: () => T | undefined, patience = 1): Promise<T | undefined> {
    await pause(this.timing.gapMs);
    this.#length = 0;
    this.#port.write(frame);
    const end = performance.now() + patience * answerMs(this.timing, replyLength);
    let done: T | undefined;
    do {
      await pause(this.timing.gapMs);
      done = isDone();
    } while (done === undefined && performance.now() < end && !this.isStopped());
    return done;
  }

  /** Where the answer to a read begins, if it is there, and whether it is one with data. */
  answer({ unit, functionCode, count }: PlannedRead): { at: number; isReply: boolean } | undefined {
    for (let at = 0; at < this.#length; at++) {
      const check = checkReadReply(this.#received, at, this.#length, unit, functionCode, count);
      if (check === ReplyCheck.reply || check === ReplyCheck.exception)
        return { at, isReply: check === ReplyCheck.reply };
    }
    return undefined;
  }

  /** The answer's data; undefined when the unit refuses or stays silent twice. */
  async read(read: PlannedRead): Promise<Uint8Array | undefined> {
    for (let attempt = 0; attempt < 2 && !this.isStopped(); attempt++) {
      // Twice the time: a late answer must not be taken for that to the next question.
      const found = await this.ask(read, () => this.answer(read), 2);
      if (found) return found.isReply ? this.#received.slice(found.at + 3) : undefined;
    }
    return undefined;
  }
}

export interface Fit {
  /** Register map whose values can be true; undefined when none fits. */
  readonly map?: string;
  /** Maps that fit as well: none of their registers tells the models apart. */
  readonly alike?: readonly string[];
  /** Type or serial number, as the map has it. */
  readonly identity?: number;
  /** The values by that map, for people. */
  readonly values?: string;
}

/** The best fitting register map of a unit. */
export async function fittingMap(asker: Asker, unit: number): Promise<Fit> {
  // Twice, if need be: a load that is switched between two reads makes true values contradict each other.
  const best = (await bestMap(asker, unit)) ?? (await bestMap(asker, unit));
  if (!best) return {};
  const { map, values, alike } = best;
  const { identity } = map;
  const data = identity && (await asker.read(plainRead(unit, identity.functionCode, identity.address, identity.count)));
  return {
    map: map.name,
    alike,
    values,
    ...(data ? { identity: readRegister(data, 0, identity.count === 1 ? 'u16' : 'u32') } : {}),
  };
}

async function bestMap(asker: Asker, unit: number) {
  let best: { map: RegisterMap; score: number; values: string; alike: string[] } | undefined;
  for (const map of REGISTER_MAPS) {
    if (best && map.registers === best.map.registers) {
      best.alike.push(map.name);
      continue;
    }
    const fit = await tryMap(asker, map, unit);
    if (!fit) continue;
    if (best && fit.score === best.score) best.alike.push(map.name);
    else if (!best || fit.score > best.score) best = { map, ...fit, alike: [] };
  }
  return best;
}

/** @returns how many values are there and not zero; undefined when they cannot be true, or hardly any is there */
async function tryMap(asker: Asker, map: RegisterMap, unit: number) {
  const v = new Float64Array(QUANTITY_COUNT).fill(Number.NaN);
  const doubts = new Uint8Array(QUANTITY_COUNT);
  const reads = planReads(map, unit);
  for (let read = reads.shift(); read; read = reads.shift()) {
    const data = await asker.read(read);
    if (data) {
      for (const { index, offset, type, factor } of read.values) {
        const value = Math.round(readRegister(data, offset, type) * factor);
        if (Number.isFinite(value)) v[index] = value;
      }
      if (!judge(v, doubts, map.phases, slackOf(map))) return undefined;
    } else if (read.values.length > 1) reads.unshift(...splitRead(read));
    // The registers of a map come in the order of what every meter of its kind has.
    else if (Number.isNaN(v[Quantity.voltage]!) && Number.isNaN(v[Quantity.frequency]!)) return undefined;
  }
  const tariffs = v.subarray(Quantity.activeEnergyT1).reduce((sum, value) => sum + value);
  if (!(Math.abs(tariffs - v[Quantity.activeEnergy]!) <= TARIFF_SLACK_WH)) v.fill(Number.NaN, Quantity.activeEnergyT1);
  const image = new MeasurementImage();
  for (let q = 0; q < QUANTITY_COUNT; q++) {
    if (!Number.isNaN(v[q]!)) image.set(q as Quantity, v[q]!, 0, Quality.good);
  }
  // Without them it is not a meter at the mains.
  if (!(v[Quantity.voltage]! > 0 && v[Quantity.frequency]! > 0)) return undefined;
  return { score: v.filter((value) => Math.abs(value) > 0).length, values: judgeRegisters(image, 0) };
}
