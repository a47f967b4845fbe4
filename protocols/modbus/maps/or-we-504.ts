/** ORNO OR-WE-504: a small meter with everything in eleven registers. */

import type { RegisterMap } from '#modbus/register-map';

export const OR_WE_504: RegisterMap = {
  name: 'or-we-504',
  models: ['OR-WE-504'],
  functionCode: 3,
  defaults: { baud: 9600, parity: 'even', unit: 1 },
  maxRead: 11,
  registers: [
    { quantity: 'voltage', address: 0, type: 'u16', factor: 10, everyMs: 0 },
    { quantity: 'current', address: 1, type: 'u16', factor: 100, everyMs: 0 },
    { quantity: 'frequency', address: 2, type: 'u16', factor: 10, everyMs: 0 },
    { quantity: 'activePower', address: 3, type: 'i16', factor: 1, everyMs: 0 },
    { quantity: 'reactivePower', address: 4, type: 'i16', factor: 1, everyMs: 0 },
    { quantity: 'apparentPower', address: 5, type: 'u16', factor: 1, everyMs: 0 },
    { quantity: 'powerFactor', address: 6, type: 'i16', factor: 1, everyMs: 0 },
    { quantity: 'activeEnergy', address: 7, type: 'u32', factor: 1, everyMs: 0 },
    { quantity: 'reactiveEnergy', address: 9, type: 'u32', factor: 1, everyMs: 0 },
  ],
};
