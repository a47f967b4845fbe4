/**
 * What the meter's display shows: the status (SCION address, power, energy, output, what is wrong), and in turns with it
 * a notice on the whole display: the utility's message, or the enrolment code while the meter waits for its keys. A value
 * that is suspect has a question mark in front of its unit.
 */

import { wrapText } from '#base/wrap';
import { ControlState } from '#dlms/cosem/disconnect-control';
import type { ScreenRow } from '#hw/display';
import { type MeasurementImage, Quality, Quantity } from './measurement-image.ts';

export interface ScreenInput {
  readonly ia: string;
  readonly host: string;
  readonly image: MeasurementImage;
  readonly connected: boolean;
  readonly state: ControlState;
  readonly message: string;
  /** Steady ms at which the message was written. */
  readonly messageAt: number;
  /** Groups with dashes between them; empty when the meter is enrolled. */
  readonly enrolmentCode: string;
  /** What is wrong, the worst first, each short enough for a row. */
  readonly faults: readonly string[];
  /** Steady ms. */
  readonly now: number;
  readonly columns: number;
  readonly rows: number;
}

/** A notice is shown at once and then for this long in each turn. */
const NOTICE_MS = 6_000;
const TURN_MS = 10_000;
/** A display of four rows shows the address in every other turn of this length. */
const HALF_TURN_MS = 5_000;
const FULL_ROWS = 8;

export function screenRows(input: ScreenInput): ScreenRow[] {
  const { message, messageAt, enrolmentCode, now, columns, rows } = input;
  const isNotice = (now - messageAt) % TURN_MS < NOTICE_MS;
  if (isNotice && enrolmentCode !== '') return enrolmentRows(input);
  if (isNotice && message !== '') return wrapText(message, columns, rows);
  return statusRows(input);
}

function enrolmentRows({ enrolmentCode, rows, columns, ia, host }: ScreenInput): ScreenRow[] {
  const groups = enrolmentCode.split('-');
  const code = [{ big: groups.slice(0, 2).join(' ') }, { big: groups.slice(2).join(' ') }];
  const address = [ia, ...wrapText(host, columns)];
  return rows < FULL_ROWS ? code : ['ENROLMENT CODE', ...(address.length > 2 ? [] : ['']), ...code, ...address];
}

function statusRows({ ia, host, image, now, connected, state, faults, columns, rows }: ScreenInput): ScreenRow[] {
  const number = (quantity: Quantity, scale: number, digits: number, unit: string) => {
    const quality = image.quality(quantity, now);
    if (quality === Quality.missing) return `--- ${unit}`;
    return (image.value(quantity) * scale).toFixed(digits) + (quality === Quality.suspect ? '?' : ' ') + unit;
  };
  const energy = number(Quantity.activeEnergy, 0.001, 2, 'kWh');
  const values = [
    { big: number(Quantity.activePower, 1, 0, 'W') },
    energy + number(Quantity.voltage, 0.01, 1, 'V').padStart(columns - energy.length),
  ];
  const isReady = state === ControlState.readyForReconnection;
  const output = connected ? 'output ON' : isReady ? 'OFF, may reconnect' : 'output OFF';
  const warnings = faults.map((fault) => `! ${fault}`);
  // An IPv6 address takes two rows.
  const address = [ia, ...wrapText(host, columns)];
  if (rows >= FULL_ROWS) return [...address, ...values, output, ...warnings];
  const isFirst = Math.floor(now / HALF_TURN_MS) % 2 === 0;
  return isFirst ? [...values, warnings[0] ?? output] : [...address, output, ...warnings];
}
