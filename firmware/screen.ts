/** What the meter's display shows: its SCION address, power, energy, state of the output, and the utility's message. */

import { type MeasurementImage, Quantity } from './measurement-image.ts';

export interface ScreenInput {
  readonly ia: string;
  readonly host: string;
  readonly image: MeasurementImage;
  readonly connected: boolean;
  readonly message: string;
  /** Steady ms. */
  readonly now: number;
  readonly columns: number;
  readonly rows: number;
}

const STATUS_ROWS = 5;
/** A message longer than its rows moves on by one row this often. */
const SCROLL_MS = 2_000;

/** Lines for the display; the message takes what the status leaves, and scrolls when it is longer. */
export function screenLines(input: ScreenInput): string[] {
  const { ia, host, image, now, connected, message, columns, rows } = input;
  const number = (quantity: Quantity, scale: number, digits: number, unit: string) =>
    image.isFresh(quantity, now) ? `${(image.value(quantity) * scale).toFixed(digits)} ${unit}` : `--- ${unit}`;
  const power = number(Quantity.activePower, 1, 0, 'W');
  const voltage = number(Quantity.voltage, 0.01, 1, 'V');
  const lines = [
    ia,
    host,
    power + voltage.padStart(columns - power.length),
    number(Quantity.activeEnergy, 0.001, 2, 'kWh'),
    connected ? 'output ON' : 'output OFF',
  ];
  const text = wrap(message, columns);
  const room = rows - STATUS_ROWS;
  const first = text.length > room ? Math.floor(now / SCROLL_MS) % text.length : 0;
  return [...lines, ...text.slice(first, first + room)];
}

/** Breaks a text at blanks into lines of at most `columns` characters; longer words are cut. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split(/\r?\n/)) {
    let line = '';
    for (const word of paragraph.split(/\s+/).filter(Boolean)) {
      let rest = [...word];
      if (line !== '' && [...line].length + 1 + rest.length <= columns) {
        line += ` ${word}`;
        continue;
      }
      if (line !== '') lines.push(line);
      while (rest.length > columns) {
        lines.push(rest.slice(0, columns).join(''));
        rest = rest.slice(columns);
      }
      line = rest.join('');
    }
    if (line !== '') lines.push(line);
  }
  return lines;
}
