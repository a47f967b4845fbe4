/** ORNO OR-WE-504: a small meter with everything in eleven registers. As delivered it is unit 1 at 9600 8E1. */

import { type RegisterMap, registerRows } from '#modbus/register-map';

export const OR_WE_504: RegisterMap = {
  name: 'or-we-504',
  phases: 1,
  functionCode: 3,
  maxRead: 11,
  registers: registerRows('u16', 0, [
    ['voltage', 0, 10],
    ['current', 1, 100],
    ['frequency', 2, 10],
    ['activePower', 3, 1, 'i16'],
    ['reactivePower', 4, 1, 'i16'],
    ['apparentPower', 5, 1],
    ['powerFactor', 6, 1, 'i16'],
    ['activeEnergy', 7, 1, 'u32'],
    ['reactiveEnergy', 9, 1, 'u32', 0],
  ]),
};
