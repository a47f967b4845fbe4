/**
 * The meter's COSEM objects as data: what is published, in which type, scaler and unit, and who may do what with it.
 * OBIS codes as in IEC 62056-6-1; value group C = 128 is the manufacturer's own range.
 *
 * Access columns are the roles of the associations (client 16 `public`, client 17 `password`); an empty cell hides the
 * object. `r` reads, `w2` writes attribute 2, `x1` runs method 1.
 */

import type { AccessRow } from '#dlms/cosem/logical-device';
import type { RegisterType } from '#dlms/cosem/register';
import { Unit } from '#dlms/units';
import { MEASUREMENT_TIME, SUSPECT_QUANTITIES } from '#dlms/well-known';
import { Quantity } from './measurement-image.ts';

/** Everyone reads, also without authentication. */
const OPEN: AccessRow = { public: 'r', password: 'r' };
const READ: AccessRow = { password: 'r' };

/** Objects that are not registers, by the part of meter-model.ts that makes them. */
export const OBJECTS = {
  logicalDeviceName: { obis: '0-0:42.0.0.255', access: OPEN },
  clock: { obis: '0-0:1.0.0.255', access: OPEN },
  /** Attribute 7, the secret, has no right at all. */
  association: {
    obis: '0-0:40.0.0.255',
    access: { public: 'r2 r3 r4 r5 r6 r8 r9 r10 r11', password: 'r2 r3 r4 r5 r6 r8 r9 r10 r11' },
  },
  sapAssignment: { obis: '0-0:41.0.0.255', access: OPEN },
  serialNumber: { obis: '0-0:96.1.0.255', access: READ },
  equipmentId: { obis: '0-0:96.1.1.255', access: READ },
  moduleSerial: { obis: '0-0:96.1.2.255', access: READ },
  firmwareId: { obis: '1-0:0.2.0.255', access: READ },
  disconnectControl: { obis: '0-0:96.3.10.255', access: { password: 'r x1 x2' } },
  relayOutput: { obis: '0-0:96.4.0.255', access: READ },
  status: { obis: '0-0:96.10.1.255', access: READ },
  measurementTime: { obis: MEASUREMENT_TIME, access: READ },
  suspectQuantities: { obis: SUSPECT_QUANTITIES, access: READ },
  consumerMessage: { obis: '0-0:96.13.0.255', access: { password: 'r w2' } },
} as const satisfies Record<string, { obis: string; access: AccessRow }>;

/** Which part of a signed quantity a register gives. */
export type Part = 'value' | 'positive' | 'negative';

export interface RegisterRow {
  readonly obis: string;
  readonly type: RegisterType;
  /** The image holds every quantity in this power of ten of the unit, so nothing is rounded. */
  readonly scaler: number;
  readonly unit: number;
  readonly quantity: Quantity;
  readonly part: Part;
}

const row = (
  obis: string,
  type: RegisterType,
  scaler: number,
  unit: number,
  quantity: Quantity,
  part: Part = 'value',
): RegisterRow => ({ obis, type, scaler, unit, quantity, part });

/** Measured registers (class 3), readable with a password. */
export const REGISTERS: readonly RegisterRow[] = [
  row('1-0:1.8.0.255', 'u32', 0, Unit.wattHour, Quantity.activeEnergy),
  row('1-0:3.8.0.255', 'u32', 0, Unit.voltAmpereReactiveHour, Quantity.reactiveEnergy),
  row('1-0:32.7.0.255', 'u16', -2, Unit.volt, Quantity.voltage),
  row('1-0:31.7.0.255', 'u32', -3, Unit.ampere, Quantity.current),
  row('1-0:14.7.0.255', 'u16', -2, Unit.hertz, Quantity.frequency),
  row('1-0:1.7.0.255', 'u32', 0, Unit.watt, Quantity.activePower, 'positive'),
  row('1-0:2.7.0.255', 'u32', 0, Unit.watt, Quantity.activePower, 'negative'),
  row('1-0:16.7.0.255', 'i32', 0, Unit.watt, Quantity.activePower),
  row('1-0:3.7.0.255', 'u32', 0, Unit.voltAmpereReactive, Quantity.reactivePower, 'positive'),
  row('1-0:4.7.0.255', 'u32', 0, Unit.voltAmpereReactive, Quantity.reactivePower, 'negative'),
  row('1-0:9.7.0.255', 'u32', 0, Unit.voltAmpere, Quantity.apparentPower),
  row('1-0:13.7.0.255', 'i16', -3, Unit.count, Quantity.powerFactor),
];

export const REGISTER_ACCESS: AccessRow = READ;

/** Quantities whose oldest measurement is the time of measurement: all but the energies, which are polled rarely. */
export const LIVE_QUANTITIES: readonly Quantity[] = [
  Quantity.voltage,
  Quantity.current,
  Quantity.frequency,
  Quantity.activePower,
  Quantity.reactivePower,
  Quantity.apparentPower,
  Quantity.powerFactor,
];

/** Remote disconnect and direct remote reconnect, local disconnect by a limiter. */
export const CONTROL_MODE = 4;

/** Bytes of UTF-8 that a consumer message may have. */
export const MAX_MESSAGE = 1024;
