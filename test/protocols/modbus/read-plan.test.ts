/** Register maps and the reads that are planned from them. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { registerMap } from '#modbus/maps/index';
import { OR_WE_504 } from '#modbus/maps/or-we-504';
import { OR_WE_514 } from '#modbus/maps/or-we-514';
import { planReads, splitRead } from '#modbus/read-plan';
import { QUANTITY_UNITS, type RegisterMap, type RegisterSpec, readRegister, wordsOf } from '#modbus/register-map';

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

Plan('every map gives every quantity once, from its own bytes', () => {
  for (const each of [OR_WE_504, OR_WE_514]) {
    const values = planReads(each, 1).flatMap(({ start, values }) =>
      values.map((v) => ({ ...v, address: start + v.offset / 2 })),
    );
    assert.equal(values.map((v) => v.quantity).sort(), Object.keys(QUANTITY_UNITS).sort());
    for (const { quantity, address } of each.registers) {
      assert.is(values.find((v) => v.quantity === quantity)?.address, address);
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
