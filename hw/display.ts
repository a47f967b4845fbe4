import { DISPLAY_COLUMNS, DISPLAY_ROWS } from '#base/wrap';

/** A row of text; a `big` one is twice as wide and high and takes two rows. */
export type ScreenRow = string | { readonly big: string };

/** The meter's display as rows of text: 21 × 8 characters of 6 × 8 pixels on a 128 × 64 OLED. */
export interface Display {
  /** Driver in use, for people. */
  readonly kind: string;
  readonly columns: number;
  readonly rows: number;
  /** Shows up to `rows` rows; longer ones are cut at `columns`. Never throws: a missing display is not a fault. */
  show(screen: readonly ScreenRow[]): void;
  /** Why nothing is shown; undefined while the display takes what is sent, or is none. */
  readonly fault?: string | undefined;
  /** Resolves when what was shown last has been sent or could not be. */
  settled?(): Promise<void>;
  close(): void;
}

export const noDisplay: Display = {
  kind: 'none',
  columns: DISPLAY_COLUMNS,
  rows: DISPLAY_ROWS,
  show: () => {},
  close: () => {},
};
