/**
 * SSD1306 and SH1106 on I2C (Solomon Systech SSD1306 data sheet, 8.1.5 and 10; Sino Wealth SH1106), as bytes of transfers.
 *
 *   initialise:  00 | command*                             00: only commands follow
 *   a run:       80 B0+page  80 column low  80 10+column high  40 | data*      80: one command and another control byte
 *
 * Both are driven in page mode, which is the only one that the SH1106 has.
 */

import { PAGE_HEIGHT } from '#hw/display/bitmap';

export const CONTROLLERS = ['ssd1306', 'sh1106'] as const;
export type Controller = (typeof CONTROLLERS)[number];

export const PANEL_WIDTH = 128;
const RUN_HEADER = 7;
/** Longest transfer: the header of a run and a whole page. */
export const MAX_TRANSFER = RUN_HEADER + PANEL_WIDTH;

/** Transfer that sets the controller up and turns the panel on. @param height  64 or 32 */
export function initialTransfer(controller: Controller, height: number): Uint8Array {
  const isLow = height === 32;
  return Uint8Array.of(
    0x00,
    0xae, // panel off
    ...[0xd5, 0x80], // clock
    ...[0xa8, height - 1], // rows
    ...[0xd3, 0x00, 0x40], // no offset, first row on top
    ...(controller === 'sh1106' ? [0xad, 0x8b] : [0x8d, 0x14, 0x20, 0x02]), // charge pump, page mode
    ...[0xa1, 0xc8], // seen with the connector on top
    ...[0xda, isLow ? 0x02 : 0x12], // how the rows are wired
    ...[0x81, 0x7f], // contrast
    ...[0xd9, 0xf1, 0xdb, 0x40], // precharge, deselect level
    ...[0xa4, 0xa6], // show the memory, not inverted
    0x2e, // no scrolling
  );
}

/** Transfer that turns the panel on, once its memory holds a picture. */
export const PANEL_ON = Uint8Array.of(0x00, 0xaf);

/**
 * Writes the transfer of columns `from` to `to` (exclusive) of one page.
 * @param out  at least `MAX_TRANSFER` bytes
 * @returns its length
 */
export function encodeRun(
  controller: Controller,
  bytes: Uint8Array,
  page: number,
  from: number,
  to: number,
  out: Uint8Array,
): number {
  // An SH1106 has 132 columns; the panel shows those from 2 on.
  const column = from + (controller === 'sh1106' ? 2 : 0);
  out.set([0x80, 0xb0 | page, 0x80, column & 15, 0x80, 0x10 | (column >> 4), 0x40]);
  out.set(bytes.subarray(page * PANEL_WIDTH + from, page * PANEL_WIDTH + to), RUN_HEADER);
  return RUN_HEADER + to - from;
}

/** Pages of a panel. */
export const pagesOf = (height: number): number => height / PAGE_HEIGHT;
