/**
 * ORNO OR-WE-516 and 517: three phases, floats in kW and kWh. Energies are those that flow in (forward). As delivered they
 * are unit 1 at 9600 8E1.
 */

import { type RegisterMap, registerRows } from '#modbus/register-map';

export const OR_WE_516: RegisterMap = {
  name: 'or-we-516',
  phases: 3,
  functionCode: 3,
  maxRead: 60,
  registers: registerRows('f32', 1_000, [
    ['voltage', 0x000e, 100],
    ['voltageL2', 0x0010, 100],
    ['voltageL3', 0x0012, 100],
    ['frequency', 0x0014, 100],
    ['current', 0x0016, 1000],
    ['currentL2', 0x0018, 1000],
    ['currentL3', 0x001a, 1000],
    ['activePower', 0x001c, 1000],
    ['reactivePower', 0x0024, 1000],
    ['apparentPower', 0x002c, 1000],
    ['powerFactor', 0x0034, 1000],
    ['activeEnergy', 0x0108, 1000],
    ['reactiveEnergy', 0x0120, 1000],
  ]),
  identity: { functionCode: 3, address: 0x0000, count: 2 },
};
