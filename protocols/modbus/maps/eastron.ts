/**
 * Eastron SDM120, SDM230 and SDM630: floats in input registers, the same addresses in all of them as far as they exist.
 * Energies are those that flow in. The serial number lies in holding registers. As delivered they are unit 1 at 2400 8N1,
 * the SDM630 at 9600 8N1.
 */

import { type RegisterMap, type RegisterRow, registerRows } from '#modbus/register-map';

const COMMON: readonly RegisterRow[] = [
  ['voltage', 0x0000, 100],
  ['current', 0x0006, 1000],
  ['frequency', 0x0046, 100],
  ['activeEnergy', 0x0048, 1000],
  ['reactiveEnergy', 0x004c, 1000],
];

const EASTRON = { functionCode: 4, maxRead: 60, identity: { functionCode: 3, address: 0xfc00, count: 2 } } as const;

const SINGLE_PHASE = {
  ...EASTRON,
  phases: 1,
  registers: registerRows('f32', 1_000, [
    ...COMMON,
    ['activePower', 0x000c, 1],
    ['apparentPower', 0x0012, 1],
    ['reactivePower', 0x0018, 1],
    ['powerFactor', 0x001e, 1000],
  ]),
} as const;

export const SDM120: RegisterMap = { ...SINGLE_PHASE, name: 'sdm120' };

export const SDM230: RegisterMap = { ...SINGLE_PHASE, name: 'sdm230' };

export const SDM630: RegisterMap = {
  ...EASTRON,
  name: 'sdm630',
  phases: 3,
  registers: registerRows('f32', 1_000, [
    ...COMMON,
    ['voltageL2', 0x0002, 100],
    ['voltageL3', 0x0004, 100],
    ['currentL2', 0x0008, 1000],
    ['currentL3', 0x000a, 1000],
    ['activePower', 0x0034, 1],
    ['apparentPower', 0x0038, 1],
    ['reactivePower', 0x003c, 1],
    ['powerFactor', 0x003e, 1000],
  ]),
};
