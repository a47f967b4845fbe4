import { DISPLAY_COLUMNS, DISPLAY_ROWS } from '#base/wrap';

/** The meter's display as lines of text: 21 × 8 characters of 6 × 8 pixels on a 128 × 64 OLED. */
export interface Display {
  readonly kind: string;
  readonly columns: number;
  readonly rows: number;
  /** Shows up to `rows` lines; longer lines are cut at `columns`. Never throws: a missing display is not a fault. */
  show(lines: readonly string[]): void;
  close(): void;
}

export const noDisplay: Display = {
  kind: 'none',
  columns: DISPLAY_COLUMNS,
  rows: DISPLAY_ROWS,
  show: () => {},
  close: () => {},
};
