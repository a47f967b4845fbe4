/** The register maps by the names that configurations use. */

import { ModbusError } from '#base/errors';
import { OR_WE_504 } from '#modbus/maps/or-we-504';
import { OR_WE_514 } from '#modbus/maps/or-we-514';
import type { RegisterMap } from '#modbus/register-map';

export const REGISTER_MAPS: Readonly<Record<string, RegisterMap>> = {
  [OR_WE_514.name]: OR_WE_514,
  [OR_WE_504.name]: OR_WE_504,
};

/** @throws ModbusError `modbus.map` for an unknown name */
export function registerMap(name: string): RegisterMap {
  const map = Object.hasOwn(REGISTER_MAPS, name) ? REGISTER_MAPS[name] : undefined;
  if (!map) {
    throw new ModbusError('modbus.map', `no register map ${name}; there are ${Object.keys(REGISTER_MAPS).join(', ')}`);
  }
  return map;
}
