/**
 * Turns a register map into the fewest reads: neighbours are joined when the registers between them cost less time on
 * the bus than another request would. A register between costs two characters; a request costs 13, the meter's
 * turnaround and the silence before it. On a line that damages long replies the same registers are read in ever smaller
 * pieces.
 */

import { ModbusError } from '#base/errors';
import type { LineTiming } from '#modbus/line-timing';
import {
  QUANTITY_NAMES,
  type QuantityName,
  type RegisterMap,
  type RegisterSpec,
  type RegisterType,
  wordsOf,
} from '#modbus/register-map';
import { encodeReadRequest, READ_REQUEST_LENGTH, readReplyLength } from '#modbus/rtu';

/** Characters of a request and of what frames its reply. */
const REQUEST_CHARACTERS = 13;

/** Registers between two wanted ones that are still cheaper than a second request. */
export function joinGap({ characterMs, gapMs }: LineTiming, turnaroundMs: number): number {
  return Math.floor((REQUEST_CHARACTERS * characterMs + turnaroundMs + gapMs) / (2 * characterMs));
}

/** At 9600 baud, 8E1, without any turnaround. */
const DEFAULT_GAP = 8;

export interface PlannedValue {
  readonly quantity: QuantityName;
  /** Number of the quantity. */
  readonly index: number;
  readonly type: RegisterType;
  readonly factor: number;
  /** Byte offset behind the first data byte of the reply. */
  readonly offset: number;
}

export interface PlannedRead {
  readonly unit: number;
  readonly functionCode: number;
  readonly start: number;
  readonly count: number;
  readonly everyMs: number;
  /** The request, ready to be sent. */
  readonly frame: Uint8Array;
  readonly replyLength: number;
  readonly values: readonly PlannedValue[];
}

/**
 * Plans the reads of a meter.
 * @param unit  Modbus unit address, 1…247
 * @param gap  registers between two wanted ones that may be read over
 * @throws ModbusError `modbus.map` when registers overlap or one alone exceeds the meter's longest read
 */
export function planReads(map: RegisterMap, unit: number, gap = DEFAULT_GAP): PlannedRead[] {
  const reads: PlannedRead[] = [];
  const rates = [...new Set(map.registers.map((r) => r.everyMs))].sort((a, b) => a - b);
  for (const everyMs of rates) {
    const registers = map.registers.filter((r) => r.everyMs === everyMs).sort((a, b) => a.address - b.address);
    let group: RegisterSpec[] = [];
    for (const register of registers) {
      const last = group.at(-1);
      if (last !== undefined) {
        const between = register.address - (last.address + wordsOf(last.type));
        const length = register.address + wordsOf(register.type) - group[0]!.address;
        if (between < 0) throw invalid(map, register, 'overlaps the register before it');
        if (between > gap || length > map.maxRead) {
          reads.push(read(map, unit, everyMs, group));
          group = [];
        }
      }
      group.push(register);
    }
    if (group.length > 0) reads.push(read(map, unit, everyMs, group));
  }
  return reads;
}

/** The same values, one read each: for a meter that refuses the whole range. */
export function splitRead(read: PlannedRead): PlannedRead[] {
  return read.values.map((_, i) => part(read, i, i + 1));
}

/**
 * The same values in one read, in two, in four … down to one read each: for a line on which shorter replies come through.
 * The last reads differ in length from their neighbours, so that a late reply to one is not taken for that of the next;
 * a register more within a range that the meter answers is the price, or two: Eastron's meters of floats, which lie at even
 * addresses, refuse an odd address or count.
 */
export function levelsOf(read: PlannedRead): PlannedRead[][] {
  const singles: PlannedRead[] = [];
  const isEven = read.count % 2 === 0 && read.values.every(({ offset, type }) => type === 'f32' && offset % 4 === 0);
  for (let i = 0; i < read.values.length; i++) {
    const single = part(read, i, i + 1);
    const isAlike = single.count === singles.at(-1)?.count && single.count < read.count;
    singles.push(isAlike ? part(read, i, i + 1, isEven ? 2 : 1) : single);
  }
  const levels: PlannedRead[][] = [[read]];
  let ranges = [[0, singles.length]] as [number, number][];
  while (ranges.length < singles.length) {
    ranges = ranges.flatMap(([from, to]): [number, number][] => {
      const middle = (from + to + 1) >> 1;
      return to - from > 1
        ? [
            [from, middle],
            [middle, to],
          ]
        : [[from, to]];
    });
    levels.push(ranges.map(([from, to]) => (to - from > 1 ? part(read, from, to) : singles[from]!)));
  }
  return levels;
}

/** Reads values `from` to `to` of a read, and `extra` registers more of its range. */
function part(read: PlannedRead, from: number, to: number, extra = 0): PlannedRead {
  const { unit, functionCode, start, everyMs, values } = read;
  const last = values[to - 1]!;
  const end = last.offset / 2 + wordsOf(last.type);
  const isRoomBehind = end + extra <= read.count;
  const first = values[from]!.offset / 2 - (isRoomBehind ? 0 : extra);
  const count = end - first + (isRoomBehind ? extra : 0);
  const own = values.slice(from, to).map((value) => ({ ...value, offset: value.offset - 2 * first }));
  return plannedRead(unit, functionCode, start + first, count, everyMs, own);
}

/** A read of registers that hold no quantity. */
export function plainRead(unit: number, functionCode: number, start: number, count: number): PlannedRead {
  return plannedRead(unit, functionCode, start, count, 0, []);
}

function read(map: RegisterMap, unit: number, everyMs: number, group: readonly RegisterSpec[]): PlannedRead {
  const first = group[0]!;
  const last = group.at(-1)!;
  const count = last.address + wordsOf(last.type) - first.address;
  if (count > map.maxRead) throw invalid(map, first, `needs ${count} registers, the meter gives ${map.maxRead}`);
  const values = group.map(({ quantity, type, factor, address }) => ({
    quantity,
    index: QUANTITY_NAMES.indexOf(quantity),
    type,
    factor,
    offset: 2 * (address - first.address),
  }));
  return plannedRead(unit, map.functionCode, first.address, count, everyMs, values);
}

function plannedRead(
  unit: number,
  functionCode: number,
  start: number,
  count: number,
  everyMs: number,
  values: readonly PlannedValue[],
): PlannedRead {
  const frame = new Uint8Array(READ_REQUEST_LENGTH);
  encodeReadRequest(frame, 0, unit, functionCode, start, count);
  return { unit, functionCode, start, count, everyMs, frame, replyLength: readReplyLength(count), values };
}

function invalid(map: RegisterMap, register: RegisterSpec, why: string): ModbusError {
  return new ModbusError(
    'modbus.map',
    `${map.name}: ${register.quantity} at 0x${register.address.toString(16)} ${why}`,
  );
}
