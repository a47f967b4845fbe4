/**
 * Objects that both ends know by name: the quantities of a single-phase meter for people, and the meaning of S3MP's own
 * objects (value group C = 128 is the manufacturer's range of IEC 62056-6-1).
 */

/** Short English names of electrical quantities, by canonical OBIS text. */
const NAMES = new Map<string, string>([
  ['0-0:1.0.0.255', 'Clock'],
  ['0-0:40.0.0.255', 'Current association'],
  ['0-0:41.0.0.255', 'SAP assignment'],
  ['0-0:42.0.0.255', 'Logical device name'],
  ['0-0:96.1.0.255', 'Serial number'],
  ['0-0:96.1.1.255', 'Equipment identifier'],
  ['0-0:96.1.2.255', 'Energy meter module'],
  ['0-0:96.3.10.255', 'Disconnect control'],
  ['0-0:96.4.0.255', 'Relay output'],
  ['0-0:96.10.1.255', 'Status'],
  ['0-0:96.13.0.255', 'Consumer message'],
  ['0-0:128.0.0.255', 'Time of measurement'],
  ['0-0:128.0.1.255', 'Suspect quantities'],
  ['1-0:0.2.0.255', 'Firmware'],
  ['1-0:1.7.0.255', 'Active power import'],
  ['1-0:2.7.0.255', 'Active power export'],
  ['1-0:3.7.0.255', 'Reactive power import'],
  ['1-0:4.7.0.255', 'Reactive power export'],
  ['1-0:9.7.0.255', 'Apparent power'],
  ['1-0:13.7.0.255', 'Power factor'],
  ['1-0:14.7.0.255', 'Frequency'],
  ['1-0:16.7.0.255', 'Net active power'],
  ['1-0:31.7.0.255', 'Current'],
  ['1-0:32.7.0.255', 'Voltage'],
  ['1-0:1.8.0.255', 'Active energy import'],
  ['1-0:3.8.0.255', 'Reactive energy import'],
]);

/** Name of an object for people, or its OBIS text when it has none here. */
export function obisName(obis: string): string {
  return NAMES.get(obis) ?? obis;
}

/** Bits of the AMR status register 0-0:96.10.1.255. */
export const AmrStatus = {
  criticalError: 0x01,
  clockInvalid: 0x02,
  /** At least one measured value is missing, stale or suspect. */
  dataInvalid: 0x04,
} as const;

/** Class 1, octet-string of 12: when the oldest of the live values given now was measured. */
export const MEASUREMENT_TIME = '0-0:128.0.0.255';
/** Class 1, u32: one bit per quantity whose value is given but suspect; see `suspectBit`. */
export const SUSPECT_QUANTITIES = '0-0:128.0.1.255';

/** Quantities in the order of their bits in the suspect mask, each with the registers that are made of it. */
const SUSPECT_ORDER: readonly (readonly string[])[] = [
  ['1-0:32.7.0.255'],
  ['1-0:31.7.0.255'],
  ['1-0:14.7.0.255'],
  ['1-0:1.7.0.255', '1-0:2.7.0.255', '1-0:16.7.0.255'],
  ['1-0:3.7.0.255', '1-0:4.7.0.255'],
  ['1-0:9.7.0.255'],
  ['1-0:13.7.0.255'],
  ['1-0:1.8.0.255'],
  ['1-0:3.8.0.255'],
];

/** Mask of the register's bit in the suspect mask; 0 for objects that are not measured. */
export function suspectBit(obis: string): number {
  const index = SUSPECT_ORDER.findIndex((registers) => registers.includes(obis));
  return index < 0 ? 0 : 1 << index;
}
