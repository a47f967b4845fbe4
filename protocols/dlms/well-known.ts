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
  ['0-0:128.2.0.255', 'Self-test'],
  ['0-0:128.4.0.255', 'Refusal of the last image'],
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
  ['1-0:52.7.0.255', 'Voltage L2'],
  ['1-0:72.7.0.255', 'Voltage L3'],
  ['1-0:51.7.0.255', 'Current L2'],
  ['1-0:71.7.0.255', 'Current L3'],
  ['1-0:1.8.1.255', 'Active energy import tariff 1'],
  ['1-0:1.8.2.255', 'Active energy import tariff 2'],
  ['1-0:1.8.3.255', 'Active energy import tariff 3'],
  ['1-0:1.8.4.255', 'Active energy import tariff 4'],
  ['0-0:1.1.0.255', 'Unix time'],
  ['0-0:10.0.1.255', 'Billing scripts'],
  ['0-0:10.0.106.255', 'Disconnect scripts'],
  ['0-0:10.0.108.255', 'Push scripts'],
  ['0-0:15.0.0.255', 'Billing schedule'],
  ['0-0:15.0.1.255', 'Disconnect schedule'],
  ['0-0:15.0.4.255', 'Push schedule'],
  ['0-0:17.0.0.255', 'Limiter'],
  ['0-0:25.0.0.255', 'TCP-UDP setup'],
  ['0-0:25.1.0.255', 'IPv4 setup'],
  ['0-0:25.9.0.255', 'Push at intervals'],
  ['0-1:25.9.0.255', 'Push of alarms'],
  ['0-0:43.0.0.255', 'Security setup'],
  ['0-0:43.1.0.255', 'Invocation counter'],
  ['0-0:44.0.0.255', 'Image transfer'],
  ['0-0:40.0.1.255', 'Association of the public client'],
  ['0-0:40.0.2.255', 'Association with a password'],
  ['0-0:40.0.3.255', 'Association of the management'],
  ['0-0:96.10.2.255', 'Status of the day'],
  ['0-0:97.97.0.255', 'Errors'],
  ['0-0:97.98.0.255', 'Alarms'],
  ['0-0:97.98.10.255', 'Alarm filter'],
  ['0-0:97.98.20.255', 'Alarm descriptor'],
  ['0-0:98.1.0.255', 'Monthly billing'],
  ['1-0:99.1.0.255', 'Load profile'],
  ['1-0:99.1.1.255', 'Power quality profile'],
  ['1-0:99.2.0.255', 'Daily billing'],
  ['0-0:99.98.0.255', 'Standard event log'],
  ['0-0:99.98.1.255', 'Fraud event log'],
  ['0-0:99.98.2.255', 'Disconnector log'],
  ['0-0:99.98.4.255', 'Communication log'],
  ['0-0:99.98.5.255', 'Power quality log'],
  ['0-0:96.11.0.255', 'Last standard event'],
  ['0-0:96.11.1.255', 'Last fraud event'],
  ['0-0:96.11.2.255', 'Last disconnector event'],
  ['0-0:96.11.4.255', 'Last communication event'],
  ['0-0:96.11.5.255', 'Last power quality event'],
  ['1-0:1.4.0.255', 'Average demand'],
  ['1-0:1.6.0.255', 'Maximum demand'],
  ['1-0:32.32.0.255', 'Voltage sags'],
  ['1-0:32.36.0.255', 'Voltage swells'],
  ['0-0:96.7.21.255', 'Power failures'],
  ['1-0:0.9.1.255', 'Local time'],
  ['1-0:0.9.2.255', 'Local date'],
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
  daylightSaving: 0x08,
  /** Within the interval. */
  clockAdjusted: 0x20,
  powerDown: 0x80,
} as const;

/** Event codes of the logs 0-0:99.98.e.255; 200 and above are the manufacturer's own. */
export const EventCode = {
  powerDown: 1,
  powerUp: 2,
  daylightSavingChange: 3,
  clockAdjustedOld: 4,
  clockAdjustedNew: 5,
  clockInvalid: 6,
  errorRegisterCleared: 10,
  alarmRegisterCleared: 11,
  memoryError: 14,
  firmwareReady: 17,
  firmwareActivated: 18,
  associationFailures: 46,
  keyChanged: 47,
  decryptionFailure: 49,
  replay: 50,
  readyForReconnection: 59,
  manualDisconnect: 60,
  manualReconnect: 61,
  remoteDisconnect: 62,
  remoteReconnect: 63,
  localDisconnect: 64,
  limiterExceeded: 65,
  limiterOk: 66,
  thresholdChanged: 67,
  disconnectFailure: 68,
  localReconnect: 69,
  underVoltage: 76,
  overVoltage: 79,
  voltageNormal: 85,
  associationOpened: 200,
  associationClosed: 201,
  associationRejected: 202,
  parametersChanged: 203,
  firmwareTransferStarted: 204,
  firmwareRejected: 205,
  commandRefused: 206,
  requestRefused: 207,
  firmwareFellBack: 208,
  relayRestored: 209,
  energyMeterChanged: 210,
  logCleared: 255,
} as const;

/** Event in words: `remote disconnect`. */
export function eventText(code: number): string {
  const name = Object.entries(EventCode).find(([, each]) => each === code)?.[0];
  return name?.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`) ?? `event ${code}`;
}

/** Class 1, octet-string of 12: when the oldest of the live values given now was measured. */
export const MEASUREMENT_TIME = '0-0:128.0.0.255';
/** Result of the self-test (class 1, octet-string of UTF-8): a line for each check, as the meter prints it. */
export const SELF_TEST = '0-0:128.2.0.255';
/** Class 1, octet-string of UTF-8: why the last firmware image was refused; empty when it was not. */
export const IMAGE_REFUSAL = '0-0:128.4.0.255';
/** Class 1, octet-string: name and version of the firmware that runs, `s3mp-firmware 0.1.0`. */
export const FIRMWARE_ID = '1-0:0.2.0.255';
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
  ['1-0:52.7.0.255'],
  ['1-0:72.7.0.255'],
  ['1-0:51.7.0.255'],
  ['1-0:71.7.0.255'],
  ['1-0:1.8.1.255'],
  ['1-0:1.8.2.255'],
  ['1-0:1.8.3.255'],
  ['1-0:1.8.4.255'],
];

/** Mask of the register's bit in the suspect mask; 0 for objects that are not measured. */
export function suspectBit(obis: string): number {
  const index = SUSPECT_ORDER.findIndex((registers) => registers.includes(obis));
  return index < 0 ? 0 : 1 << index;
}
