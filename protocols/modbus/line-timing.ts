/** How long things take on a serial line: a character, and the silence that separates frames. */

import type { Parity } from '#modbus/register-map';

export interface LineTiming {
  /** Time of one character on the line, ms. */
  readonly characterMs: number;
  /** Silence before a request, ms (t3.5). */
  readonly gapMs: number;
}

/**
 * Timing of a line (Modbus over serial line V1.02 §2.5.1.1): above 19200 baud t3.5 is 1.75 ms.
 * @param parity  even and odd add a bit to the start bit, eight of data, and the stop bits
 */
export function lineTiming(baud: number, parity: Parity, stopBits = 1): LineTiming {
  const characterMs = (((parity === 'none' ? 9 : 10) + stopBits) * 1000) / baud;
  return { characterMs, gapMs: baud > 19_200 ? 1.75 : 3.5 * characterMs };
}
