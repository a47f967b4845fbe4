/**
 * Turns a register map into the fewest reads: neighbours are joined when the registers between them cost less time on
 * the bus than another request would. A register between costs two characters; a request costs 13 and a silence of 3.5.
 */

import { ModbusError } from '#base/errors';
import {
  type QuantityName,
  type RegisterMap,
  type RegisterSpec,
  type RegisterType,
  wordsOf,
} from '#modbus/register-map';
import { encodeReadRequest, READ_REQUEST_LENGTH, readReplyLength } from '#modbus/rtu';

/** Registers between two wanted ones that are still cheaper than a second request, without any turnaround time. */
const MAX_GAP = 8;

export interface PlannedValue {
  readonly quantity: QuantityName;
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
 * @throws ModbusError `modbus.map` when registers overlap or one alone exceeds the meter's longest read
 */
export function planReads(map: RegisterMap, unit: number): PlannedRead[] {
  const reads: PlannedRead[] = [];
  const rates = [...new Set(map.registers.map((r) => r.everyMs))].sort((a, b) => a - b);
  for (const everyMs of rates) {
    const registers = map.registers.filter((r) => r.everyMs === everyMs).sort((a, b) => a.address - b.address);
    let group: RegisterSpec[] = [];
    for (const register of registers) {
      const last = group.at(-1);
      if (last !== undefined) {
        const gap = register.address - (last.address + wordsOf(last.type));
        const length = register.address + wordsOf(register.type) - group[0]!.address;
        if (gap < 0) throw invalid(map, register, 'overlaps the register before it');
        if (gap > MAX_GAP || length > map.maxRead) {
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
  const { unit, functionCode, start, everyMs } = read;
  return read.values.map((value) =>
    plannedRead(unit, functionCode, start + value.offset / 2, wordsOf(value.type), everyMs, [{ ...value, offset: 0 }]),
  );
}

function read(map: RegisterMap, unit: number, everyMs: number, group: readonly RegisterSpec[]): PlannedRead {
  const first = group[0]!;
  const last = group.at(-1)!;
  const count = last.address + wordsOf(last.type) - first.address;
  if (count > map.maxRead) throw invalid(map, first, `needs ${count} registers, the meter gives ${map.maxRead}`);
  const values = group.map(({ quantity, type, factor, address }) => ({
    quantity,
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
