/**
 * The meter's COSEM objects as data: what is published, in which type, scaler and unit, and who may do what with it.
 * OBIS codes as in IEC 62056-6-1; value group C = 128 is the manufacturer's own range.
 *
 * Access columns are the roles of the associations (client 16 `public`, 17 `password`, 1 `management`); an empty cell
 * hides the object. `r` reads, `w2` writes attribute 2, `x1` runs method 1; `!` marks what can switch the supply or replace
 * the firmware and so needs a signature where commands are signed, as does the time (`~`), by which commands are judged.
 */

import type { AccessRow } from '#dlms/cosem/logical-device';
import type { RegisterType } from '#dlms/cosem/register';
import { Unit } from '#dlms/units';
import { FIRMWARE_ID, IMAGE_REFUSAL, MEASUREMENT_TIME, SELF_TEST, SUSPECT_QUANTITIES } from '#dlms/well-known';
import { Quantity } from './measurement-image.ts';

/** The same rights for a password (client 17, for laboratories) and for the management (client 1). */
const both = (rights: string): AccessRow => ({ password: rights, management: rights });
/** Everyone reads, also without authentication. */
const OPEN: AccessRow = { public: 'r', ...both('r') };
const READ = both('r');
const ASSOCIATION = 'r2 r3 r4 r5 r6 r8 r9 r10 r11';

/** An object by its logical name, and who may do what with it. */
interface MeterObject {
  readonly obis: string;
  readonly access: AccessRow;
}
const object = (obis: string, access: AccessRow): MeterObject => ({ obis, access });

/** Objects that are not registers, by the part of the model that makes them. */
export const OBJECTS = {
  logicalDeviceName: object('0-0:42.0.0.255', { ...OPEN, enrolment: 'r' }),
  clock: object('0-0:1.0.0.255', { public: 'r', ...both('r w2~ w3 w5 w6 w7 w8 x1! x2! x3! x6!') }),
  unixClock: object('0-0:1.1.0.255', READ),
  localTime: object('1-0:0.9.1.255', READ),
  localDate: object('1-0:0.9.2.255', READ),
  /** Attribute 7, the secret, has no right at all. */
  association: object('0-0:40.0.0.255', {
    public: ASSOCIATION,
    password: ASSOCIATION,
    management: `${ASSOCIATION} x1`,
  }),
  sapAssignment: object('0-0:41.0.0.255', OPEN),
  serialNumber: object('0-0:96.1.0.255', READ),
  equipmentId: object('0-0:96.1.1.255', READ),
  moduleSerial: object('0-0:96.1.2.255', READ),
  firmwareId: object(FIRMWARE_ID, READ),
  /** With keys only, as the next one. Not for everyone else: a policy that is seen is a policy that is probed. */
  securitySetup: object('0-0:43.0.0.255', { management: 'r x1 x2' }),
  /** In its place where keys come from certificates; the role `enrolment` is that of whoever knows the one-time code. */
  certificateSetup: object('0-0:43.0.0.255', { management: 'r x5 x6', enrolment: 'r x4 x5 x6' }),
  revocationLists: object('0-0:128.3.0.255', { management: 'r', enrolment: 'r' }),
  revocationInbox: object('0-0:128.3.1.255', { management: 'w2', enrolment: 'w2' }),
  /** Where a client of any head end looks before it associates with keys. */
  invocationCounter: object('0-0:43.1.0.255', { public: 'r', management: 'r' }),
  tcpUdpSetup: object('0-0:25.0.0.255', READ),
  ipv4Setup: object('0-0:25.1.0.255', READ),
  imageTransfer: object('0-0:44.0.0.255', both('r w5 x1 x2 x3 x4!')),
  imageRefusal: object(IMAGE_REFUSAL, READ),
  disconnectControl: object('0-0:96.3.10.255', both('r w4! x1! x2!')),
  relayOutput: object('0-0:96.4.0.255', READ),
  limiter: object('0-0:17.0.0.255', both('r w4! w5! w6! w7! w8! w9! w11!')),
  billingScripts: object('0-0:10.0.1.255', both('r x1')),
  disconnectScripts: object('0-0:10.0.106.255', both('r x1!')),
  pushScripts: object('0-0:10.0.108.255', both('r x1')),
  billingSchedule: object('0-0:15.0.0.255', both('r w2! w4')),
  disconnectSchedule: object('0-0:15.0.1.255', both('r w2! w4!')),
  pushSchedule: object('0-0:15.0.4.255', both('r w2! w4')),
  pushInterval: object('0-0:25.9.0.255', both('r w2 w3 w5 w6 w7 x1')),
  pushAlarm: object('0-1:25.9.0.255', both('r w2 w3 w5 w6 w7 x1')),
  status: object('0-0:96.10.1.255', READ),
  dayStatus: object('0-0:96.10.2.255', READ),
  measurementTime: object(MEASUREMENT_TIME, READ),
  suspectQuantities: object(SUSPECT_QUANTITIES, READ),
  selfTest: object(SELF_TEST, READ),
  consumerMessage: object('0-0:96.13.0.255', both('r w2')),
  demand: object('1-0:1.4.0.255', both('r x1 x2')),
  maximumDemand: object('1-0:1.6.0.255', both('r x1')),
  voltageSags: object('1-0:32.32.0.255', READ),
  voltageSwells: object('1-0:32.36.0.255', READ),
  powerFailures: object('0-0:96.7.21.255', READ),
} as const satisfies Record<string, MeterObject>;

/** Entries 0-0:40.0.e.255 beside the current association. */
export const ASSOCIATION_ENTRY_ACCESS = both(ASSOCIATION);
export const LOG_ACCESS = both('r x1');
export const LOG_CODE_ACCESS = READ;
/** Registers of errors and alarms and the filter take writes, the descriptor does not. */
export const ALARM_ACCESS = both('r w2');
export const ALARM_DESCRIPTOR_ACCESS = READ;

export interface ProfileRow {
  readonly obis: string;
  /** Seconds; 0 captures by script only. */
  readonly period: number;
  readonly entries: number;
  /** Columns behind the clock: class, object, attribute. */
  readonly columns: readonly (readonly [classId: number, obis: string, attribute: number])[];
}

const TEN_YEARS_OF_QUARTERS = 350_640;

const ENERGIES: ProfileRow['columns'] = [
  [3, '1-0:1.8.0.255', 2],
  [3, '1-0:3.8.0.255', 2],
];

/** Profiles (class 7), without the event logs: ten years of quarters, days and months; ninety days of power quality. */
export const PROFILES: readonly ProfileRow[] = [
  {
    obis: '1-0:99.1.0.255',
    period: 900,
    entries: TEN_YEARS_OF_QUARTERS,
    columns: [[1, '0-0:96.10.1.255', 2], ...ENERGIES],
  },
  {
    obis: '1-0:99.1.1.255',
    period: 600,
    entries: 12_960,
    columns: [
      [3, '1-0:32.7.0.255', 2],
      [3, '1-0:31.7.0.255', 2],
      [3, '1-0:1.7.0.255', 2],
      [3, '1-0:2.7.0.255', 2],
      [3, '1-0:14.7.0.255', 2],
      [3, '1-0:13.7.0.255', 2],
    ],
  },
  {
    obis: '1-0:99.2.0.255',
    period: 86_400,
    entries: 3653,
    columns: [[1, '0-0:96.10.2.255', 2], ...ENERGIES],
  },
  {
    obis: '0-0:98.1.0.255',
    period: 0,
    entries: 120,
    columns: [...ENERGIES, [4, '1-0:1.6.0.255', 2]],
  },
];
/** Method 2 captures a row, which only the profile without a period is for. */
export const PROFILE_ACCESS = both('r x1');
export const BILLING_ACCESS = both('r x1 x2');

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

/** Registers of the further phases and of the tariffs, where the energy meter has them. */
export const EXTRA_REGISTERS: readonly RegisterRow[] = [
  row('1-0:52.7.0.255', 'u16', -2, Unit.volt, Quantity.voltageL2),
  row('1-0:72.7.0.255', 'u16', -2, Unit.volt, Quantity.voltageL3),
  row('1-0:51.7.0.255', 'u32', -3, Unit.ampere, Quantity.currentL2),
  row('1-0:71.7.0.255', 'u32', -3, Unit.ampere, Quantity.currentL3),
  row('1-0:1.8.1.255', 'u32', 0, Unit.wattHour, Quantity.activeEnergyT1),
  row('1-0:1.8.2.255', 'u32', 0, Unit.wattHour, Quantity.activeEnergyT2),
  row('1-0:1.8.3.255', 'u32', 0, Unit.wattHour, Quantity.activeEnergyT3),
  row('1-0:1.8.4.255', 'u32', 0, Unit.wattHour, Quantity.activeEnergyT4),
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
export const HIGHEST_CONTROL_MODE = 6;

/** Highest and lowest voltage, in the image's 0.01 V, that is no event: 230 V ± 10 %. */
export const VOLTAGE_BAND = { low: 20_700, high: 25_300, hysteresis: 230 } as const;

/** Bytes of UTF-8 that a consumer message may have. */
export const MAX_MESSAGE = 1024;
