/** The register maps by the names that configurations use. */

import { ModbusError } from '#base/errors';
import { SDM120, SDM230, SDM630 } from '#modbus/maps/eastron';
import { OR_WE_504 } from '#modbus/maps/or-we-504';
import { OR_WE_514, OR_WE_515 } from '#modbus/maps/or-we-514';
import { OR_WE_516 } from '#modbus/maps/or-we-516';
import type { RegisterMap } from '#modbus/register-map';

export const REGISTER_MAPS: readonly RegisterMap[] = [
  OR_WE_514,
  OR_WE_515,
  OR_WE_504,
  OR_WE_516,
  SDM120,
  SDM230,
  SDM630,
];

/** @throws ModbusError `modbus.map` for an unknown name */
export function registerMap(name: string): RegisterMap {
  const map = REGISTER_MAPS.find((each) => each.name === name);
  if (!map) {
    throw new ModbusError(
      'modbus.map',
      `no register map ${name}; there are ${REGISTER_MAPS.map((m) => m.name).join(', ')}`,
    );
  }
  return map;
}
