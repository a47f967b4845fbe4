/**
 * ORNO OR-WE-514, also sold as YTL DDS353H: the rows of the vendor's register sheet that hold for one phase, and the
 * OR-WE-515, which has tariffs beside. As delivered they are unit 1 at 9600 8E1.
 * Read the power of the phase (0x140), never the three-phase sums, which these meters do not fill.
 */

import { type RegisterMap, type RegisterRow, registerRows } from '#modbus/register-map';

const ROWS: readonly RegisterRow[] = [
  ['frequency', 0x0130, 1, 'u16'],
  ['voltage', 0x0131, 1, 'u16'],
  ['current', 0x0139, 1, 'u32'],
  ['activePower', 0x0140, 1],
  ['reactivePower', 0x0148, 1],
  ['apparentPower', 0x0150, 1],
  ['powerFactor', 0x0158, 1, 'i16'],
  ['activeEnergy', 0xa000, 10, 'u32'],
  ['reactiveEnergy', 0xa01e, 10, 'u32'],
];

export const OR_WE_514: RegisterMap = {
  name: 'or-we-514',
  phases: 1,
  functionCode: 3,
  maxRead: 41,
  registers: registerRows('i32', 1_000, ROWS),
  identity: { functionCode: 3, address: 0x000b, count: 1, value: 0x00a2 },
};

export const OR_WE_515: RegisterMap = {
  ...OR_WE_514,
  name: 'or-we-515',
  registers: registerRows('i32', 1_000, [
    ...ROWS,
    ['activeEnergyT1', 0xa002, 10, 'u32'],
    ['activeEnergyT2', 0xa004, 10, 'u32'],
    ['activeEnergyT3', 0xa006, 10, 'u32'],
    ['activeEnergyT4', 0xa008, 10, 'u32'],
  ]),
};
