/**
 * What the meter's display shows: the status (SCION address, power, energy, output), and while the utility has left a
 * message, in turns with it, the message on the whole display.
 */

import { wrapText } from '#base/wrap';
import { type MeasurementImage, Quantity } from './measurement-image.ts';

export interface ScreenInput {
  readonly ia: string;
  readonly host: string;
  readonly image: MeasurementImage;
  readonly connected: boolean;
  readonly message: string;
  /** Steady ms at which the message was written. */
  readonly messageAt: number;
  /** Steady ms. */
  readonly now: number;
  readonly columns: number;
  readonly rows: number;
}

/** A message is shown at once and then for this long in each turn. */
const MESSAGE_MS = 6_000;
const TURN_MS = 10_000;

export function screenLines(input: ScreenInput): string[] {
  const { message, messageAt, now, columns, rows } = input;
  const showsMessage = message !== '' && (now - messageAt) % TURN_MS < MESSAGE_MS;
  return showsMessage ? wrapText(message, columns, rows) : statusLines(input);
}

function statusLines({ ia, host, image, now, connected, columns }: ScreenInput): string[] {
  const number = (quantity: Quantity, scale: number, digits: number, unit: string) =>
    image.isFresh(quantity, now) ? `${(image.value(quantity) * scale).toFixed(digits)} ${unit}` : `--- ${unit}`;
  const power = number(Quantity.activePower, 1, 0, 'W');
  const voltage = number(Quantity.voltage, 0.01, 1, 'V');
  return [
    ia,
    host,
    '',
    power + voltage.padStart(columns - power.length),
    number(Quantity.activeEnergy, 0.001, 2, 'kWh'),
    '',
    connected ? 'output ON' : 'output OFF',
  ];
}
