/**
 * Pixels of a small display in the order of its controller: a page is eight rows, a byte is eight pixels of a column, bit
 * 0 on top. Text is drawn in the cells of `#base/font`; large text is the same font, doubled with its edges smoothed.
 */

import { GLYPH_HEIGHT, GLYPH_WIDTH, glyphRow } from '#base/font';
import type { ScreenRow } from '#hw/display';

export const CELL_WIDTH = 6;
export const CELL_HEIGHT = 8;
export const PAGE_HEIGHT = 8;

export class Bitmap {
  readonly width: number;
  readonly height: number;
  readonly bytes: Uint8Array;

  constructor(width: number, height: number) {
    this.width = width;
    this.height = height;
    this.bytes = new Uint8Array((width * height) / PAGE_HEIGHT);
  }

  setPixel(x: number, y: number): void {
    if (x < this.width && y < this.height) this.bytes[(y >> 3) * this.width + x]! |= 1 << (y & 7);
  }

  isSet(x: number, y: number): boolean {
    return (this.bytes[(y >> 3) * this.width + x]! & (1 << (y & 7))) !== 0;
  }

  /** Draws a screen over what was there. @param left  pixels that stay free on the left */
  draw(screen: readonly ScreenRow[], left: number): void {
    this.bytes.fill(0);
    let row = 0;
    for (const line of screen) {
      const isBig = typeof line !== 'string';
      let x = left;
      for (const character of isBig ? line.big : line) {
        if (x + (isBig ? 2 : 1) * GLYPH_WIDTH > this.width) break;
        if (character > ' ') this.#character(character, x, row * CELL_HEIGHT, isBig);
        // A large blank of half the width leaves room for ten characters with one between them.
        x += isBig && character !== ' ' ? 2 * CELL_WIDTH : CELL_WIDTH;
      }
      row += isBig ? 2 : 1;
    }
  }

  #character(character: string, x: number, y: number, isBig: boolean): void {
    const bit = (column: number, row: number) =>
      column >= 0 && column < GLYPH_WIDTH && row >= 0 && row < GLYPH_HEIGHT
        ? (glyphRow(character, row) >> (GLYPH_WIDTH - 1 - column)) & 1
        : 0;
    for (let row = 0; row < GLYPH_HEIGHT; row++) {
      for (let column = 0; column < GLYPH_WIDTH; column++) {
        if (!isBig) {
          if (bit(column, row)) this.setPixel(x + column, y + row);
          continue;
        }
        // Scale2x: a quarter takes the colour of the two neighbours at its corner where they agree and the others differ.
        const [up, right, down, left] = [
          bit(column, row - 1),
          bit(column + 1, row),
          bit(column, row + 1),
          bit(column - 1, row),
        ];
        const own = bit(column, row);
        const quarter = (a: number, b: number, c: number, d: number) => (a === b && a !== c && b !== d ? a : own);
        const quarters = [
          quarter(left, up, down, right),
          quarter(up, right, left, down),
          quarter(down, left, right, up),
          quarter(right, down, up, left),
        ];
        quarters.forEach((set, i) => {
          if (set) this.setPixel(x + 2 * column + (i & 1), y + 2 * row + (i >> 1));
        });
      }
    }
  }
}
