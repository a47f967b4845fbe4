/** Register maps and the reads that are planned from them. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { lineTiming } from '#modbus/line-timing';
import { REGISTER_MAPS, registerMap } from '#modbus/maps/index';
import { OR_WE_504 } from '#modbus/maps/or-we-504';
import { OR_WE_514, OR_WE_515 } from '#modbus/maps/or-we-514';
import { joinGap, levelsOf, planReads, splitRead } from '#modbus/read-plan';
import { QUANTITY_NAMES, type RegisterMap, type RegisterSpec, readRegister, wordsOf } from '#modbus/register-map';

const ranges = (map: RegisterMap) => planReads(map, 1).map(({ start, count }) => [count, start]);

function codeOf(build: () => unknown): string {
  try {
    build();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'none';
}

const at = (address: number, more: Partial<RegisterSpec> = {}): RegisterSpec => ({
  quantity: 'voltage',
  address,
  type: 'u16',
  factor: 1,
  everyMs: 0,
  ...more,
});
const map = (registers: RegisterSpec[], maxRead = 125): RegisterMap => ({ ...OR_WE_514, maxRead, registers });

const Plan = suite('modbus read plan');

Plan('the OR-WE-514 is read in three blocks', () => {
  assert.equal(ranges(OR_WE_514), [
    [41, 0x130],
    [2, 0xa000],
    [2, 0xa01e],
  ]);
});

Plan('the OR-WE-504 needs one read and no code of its own', () => {
  assert.equal(ranges(OR_WE_504), [[11, 0]]);
  assert.is(registerMap('or-we-504'), OR_WE_504);
});

Plan('floats at even addresses are never asked for at odd ones or in odd numbers', () => {
  for (const each of REGISTER_MAPS.filter(({ registers }) => registers.every(({ type }) => type === 'f32'))) {
    for (const read of [8, 16, 40].flatMap((gap) => planReads(each, 1, gap))) {
      const levels = levelsOf(read);
      for (const { start, count } of [...levels.flat(), ...splitRead(read)]) {
        assert.equal([start % 2, count % 2], [0, 0], `${each.name}: ${count} at ${start}`);
      }
      // Neighbours still differ in length, so that a late reply is seen to be one.
      const singles = levels.at(-1)!.map(({ count }) => count);
      assert.not(
        singles.some((count, i) => count === singles[i + 1] && count < read.count),
        String(singles),
      );
    }
  }
});

Plan('a slow meter is worth longer reads', () => {
  const timing = lineTiming(9600, 'even');
  assert.is(joinGap(timing, 0), 8);
  assert.is(joinGap(timing, 20), 16);
  assert.is(joinGap(lineTiming(115_200, 'none'), 0), 16);
  const plan = (gap: number) => planReads(OR_WE_515, 1, gap).map(({ start, count }) => [count, start]);
  assert.equal(plan(8), [
    [41, 0x130],
    [2, 0xa000],
    [8, 0xa002],
    [2, 0xa01e],
  ]);
  assert.equal(plan(20), [
    [41, 0x130],
    [2, 0xa000],
    [30, 0xa002],
  ]);
});

Plan('every map gives its quantities once, from their own bytes', () => {
  const basic = QUANTITY_NAMES.slice(0, 9);
  for (const each of REGISTER_MAPS) {
    const values = planReads(each, 1).flatMap(({ start, values }) =>
      values.map((v) => ({ ...v, address: start + v.offset / 2 })),
    );
    const names = values.map((v) => v.quantity);
    assert.is(new Set(names).size, names.length, each.name);
    for (const name of basic) assert.ok(names.includes(name), `${each.name}: ${name}`);
    for (const { quantity, address } of each.registers) {
      const value = values.find((v) => v.quantity === quantity)!;
      assert.is(value.address, address);
      assert.is(QUANTITY_NAMES[value.index], quantity);
    }
  }
});

Plan('a block falls into smaller and smaller pieces that cover the same values, neighbours of different length', () => {
  for (const each of REGISTER_MAPS) {
    for (const block of planReads(each, 3)) {
      const levels = levelsOf(block);
      assert.is(levels[0]![0], block);
      assert.is(levels.at(-1)!.length, block.values.length);
      for (const reads of levels) {
        const found = reads.flatMap((r) => r.values.map((v) => [v.quantity, r.start + v.offset / 2]));
        assert.equal(
          found,
          block.values.map((v) => [v.quantity, block.start + v.offset / 2]),
        );
        for (const { start, count, unit, functionCode } of reads) {
          assert.ok(
            start >= block.start && start + count <= block.start + block.count,
            'within what the meter answers',
          );
          assert.equal([unit, functionCode], [3, block.functionCode]);
        }
      }
      const singles = levels.at(-1)!;
      for (let i = 1; i < singles.length; i++) assert.is.not(singles[i]!.count, singles[i - 1]!.count, each.name);
    }
  }
});

Plan('a gap of eight registers is read over, one of nine is not', () => {
  assert.equal(ranges(map([at(0), at(9)])), [[10, 0]]);
  assert.equal(ranges(map([at(0), at(10)])), [
    [1, 0],
    [1, 10],
  ]);
});

Plan('registers of different rates are not joined', () => {
  assert.equal(ranges(map([at(0, { everyMs: 1000 }), at(1)])), [
    [1, 1],
    [1, 0],
  ]);
});

Plan('a block ends where the meter refuses to read on', () => {
  const registers = [0, 2, 4, 6].map((address) => at(address, { type: 'u32' }));
  assert.equal(ranges(map(registers, 4)), [
    [4, 0],
    [4, 4],
  ]);
  assert.is(
    codeOf(() => planReads(map(registers, 1), 1)),
    'modbus.map',
  );
});

Plan('overlapping registers and unknown names are errors of the map', () => {
  assert.is(
    codeOf(() => planReads(map([at(0, { type: 'u32' }), at(1)]), 1)),
    'modbus.map',
  );
  assert.is(
    codeOf(() => registerMap('toString')),
    'modbus.map',
  );
});

Plan('a block that is refused falls apart into its values', () => {
  const block = planReads(OR_WE_514, 7)[0]!;
  const singles = splitRead(block);
  assert.equal(
    singles.map(({ start, count, unit, values }) => [start, count, unit, values[0]!.quantity, values[0]!.offset]),
    OR_WE_514.registers.filter((r) => r.address < 0xa000).map((r) => [r.address, wordsOf(r.type), 7, r.quantity, 0]),
  );
});

Plan('registers are big endian, high word first', () => {
  const bytes = Uint8Array.of(0xff, 0xfe, 0x00, 0x01);
  assert.is(readRegister(bytes, 0, 'u16'), 0xfffe);
  assert.is(readRegister(bytes, 0, 'i16'), -2);
  assert.is(readRegister(bytes, 0, 'u32'), 0xfffe_0001);
  assert.is(readRegister(bytes, 0, 'i32'), -131_071);
  assert.is(readRegister(Uint8Array.of(0x43, 0x66, 0x80, 0), 0, 'f32'), 230.5);
});

Plan.run();
