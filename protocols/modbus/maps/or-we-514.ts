/**
 * ORNO OR-WE-514 and 515, also sold as YTL DDS353H: the rows of the vendor's register sheet that hold for one phase.
 * Read the power of the phase (0x140), never the three-phase sums, which these meters do not fill.
 */

import type { RegisterMap } from '#modbus/register-map';

export const OR_WE_514: RegisterMap = {
  name: 'or-we-514',
  models: ['OR-WE-514', 'OR-WE-515', 'DDS353H'],
  functionCode: 3,
  defaults: { baud: 9600, parity: 'even', unit: 1 },
  maxRead: 41,
  registers: [
    { quantity: 'frequency', address: 0x0130, type: 'u16', factor: 1, everyMs: 0 },
    { quantity: 'voltage', address: 0x0131, type: 'u16', factor: 1, everyMs: 0 },
    { quantity: 'current', address: 0x0139, type: 'u32', factor: 1, everyMs: 0 },
    { quantity: 'activePower', address: 0x0140, type: 'i32', factor: 1, everyMs: 0 },
    { quantity: 'reactivePower', address: 0x0148, type: 'i32', factor: 1, everyMs: 0 },
    { quantity: 'apparentPower', address: 0x0150, type: 'i32', factor: 1, everyMs: 0 },
    { quantity: 'powerFactor', address: 0x0158, type: 'i16', factor: 1, everyMs: 0 },
    { quantity: 'activeEnergy', address: 0xa000, type: 'u32', factor: 10, everyMs: 1000 },
    { quantity: 'reactiveEnergy', address: 0xa01e, type: 'u32', factor: 10, everyMs: 5000 },
  ],
};
