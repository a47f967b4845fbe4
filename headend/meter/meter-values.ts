/** The objects of a meter that the head end works with, and their values as they stand in answers. */

import { decodeUtf8 } from '#base/utf8';
import { CLOCK } from '#dlms/cosem/clock';
import { IMAGE_TRANSFER } from '#dlms/cosem/image-transfer';
import { ClockStatus, decodeDateTime } from '#dlms/date-time';
import type { GetResult } from '#dlms/get';
import { parseObis } from '#dlms/obis';
import type { ReadRow } from '#dlms/profile-reader';
import {
  AmrStatus,
  FIRMWARE_ID,
  IMAGE_REFUSAL,
  MEASUREMENT_TIME,
  SELF_TEST,
  SUSPECT_QUANTITIES,
} from '#dlms/well-known';
import type { MeasuredQuality } from '../meter-connection.ts';

/** Registers of one reading, in the order that people read them. */
export const READING_REGISTERS: readonly string[] = [
  '1-0:16.7.0.255',
  '1-0:1.7.0.255',
  '1-0:2.7.0.255',
  '1-0:32.7.0.255',
  '1-0:31.7.0.255',
  '1-0:14.7.0.255',
  '1-0:13.7.0.255',
  '1-0:3.7.0.255',
  '1-0:4.7.0.255',
  '1-0:9.7.0.255',
  '1-0:1.8.0.255',
  '1-0:3.8.0.255',
];

const dataObject = (obis: string) => ({ classId: 1, ln: parseObis(obis), attribute: 2 });
export const CLOCKED = [dataObject(MEASUREMENT_TIME), dataObject(SUSPECT_QUANTITIES)];
export const MESSAGE = dataObject('0-0:96.13.0.255');
export const SELF_TEST_RESULT = dataObject(SELF_TEST);
export const CLOCK_TIME = { classId: 8, ln: parseObis(CLOCK), attribute: 2 };
const imageAttribute = (attribute: number) => ({ classId: 18, ln: parseObis(IMAGE_TRANSFER), attribute });
export const FIRMWARE = [dataObject(FIRMWARE_ID), imageAttribute(5), imageAttribute(6), dataObject(IMAGE_REFUSAL)];
const DISCONNECT_CONTROL = { classId: 70, ln: parseObis('0-0:96.3.10.255') };
export const OUTPUT_STATE = { ...DISCONNECT_CONTROL, attribute: 2 };
export const CONTROL_STATE = { ...DISCONNECT_CONTROL, attribute: 3 };
export const REMOTE_DISCONNECT = { ...DISCONNECT_CONTROL, method: 1 };
export const REMOTE_RECONNECT = { ...DISCONNECT_CONTROL, method: 2 };
/** Status of the rows of load profile and daily billing. */
export const ROW_STATUS: readonly string[] = ['0-0:96.10.1.255', '0-0:96.10.2.255'];
export const CONTROL_STATES = ['disconnected', 'connected', 'ready for reconnection'] as const;

/** Quality of a row of a profile. @param status  the AMR status in it */
export function qualityOf({ values, clockStatus }: ReadRow, status: number): MeasuredQuality {
  if (values.some((value) => value === null)) return 'missing';
  const isTimeDoubtful = clockStatus !== 0xff && (clockStatus & (ClockStatus.invalid | ClockStatus.doubtful)) !== 0;
  const doubts = AmrStatus.criticalError | AmrStatus.clockInvalid | AmrStatus.dataInvalid;
  return isTimeDoubtful || (status & doubts) !== 0 ? 'suspect' : 'good';
}

/** Number in an attribute, null when there is none. */
export function numberIn(result: GetResult | undefined): number | null {
  const data = result?.data;
  return data && 'value' in data && typeof data.value === 'number' ? data.value : null;
}

/** Text in an attribute, empty when there is none. */
export function textIn(result: GetResult | undefined): string {
  return result?.data?.type === 'octet-string' ? (decodeUtf8(result.data.value) ?? '') : '';
}

/** Time in a date-time attribute; null when there is none or the meter's clock is not to be trusted. */
export function timeIn(result: GetResult | undefined): number | null {
  if (result?.data?.type !== 'octet-string') return null;
  const time = decodeDateTime(result.data.value);
  const doubtful = ClockStatus.invalid | ClockStatus.doubtful;
  if (time === undefined || (time.status !== 0xff && (time.status & doubtful) !== 0)) return null;
  return time.epochMs;
}
