/**
 * The meter's display on a canvas: 128×64 pixels, 21×8 characters of 6×8. Shows the message that the meter holds as it was
 * read back, or what is being typed, which is marked as a draft in words and by its frame.
 */

import { GLYPH_HEIGHT, GLYPH_WIDTH, glyphRow } from '#base/font';
import { wrapText } from '#base/wrap';
import { setAttribute } from './dom.ts';

const WIDTH = 128;
const HEIGHT = 64;
/** Canvas pixels a display pixel; the style sheet shows the canvas at this very size, so that pixels stay sharp. */
const SCALE = 2;

export class OledView {
  private readonly canvas: HTMLCanvasElement;

  constructor(canvas: HTMLCanvasElement) {
    this.canvas = canvas;
    canvas.width = WIDTH * SCALE;
    canvas.height = HEIGHT * SCALE;
  }

  /** @param text  null: it is not known what the display holds */
  show(text: string | null, draft: boolean): void {
    setAttribute(this.canvas, 'data-text', text);
    setAttribute(this.canvas, 'data-draft', draft);
    const what = draft ? 'Draft on the display' : 'The display shows';
    setAttribute(this.canvas, 'aria-label', text === null ? 'Display: not read yet' : `${what}: ${text || 'nothing'}`);
    const context = this.canvas.getContext('2d')!;
    context.fillStyle = '#05080a';
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.fillStyle = draft ? '#8a949c' : '#bfe9ff';
    wrapText(text ?? '').forEach((line, row) => void this.drawLine(context, line, row));
  }

  private drawLine(context: CanvasRenderingContext2D, line: string, row: number): void {
    [...line].forEach((character, column) => {
      for (let y = 0; y < GLYPH_HEIGHT; y++) {
        const bits = glyphRow(character, y);
        for (let x = 0; x < GLYPH_WIDTH; x++) {
          if (((bits >> (GLYPH_WIDTH - 1 - x)) & 1) === 0) continue;
          context.fillRect((column * 6 + 1 + x) * SCALE, (row * 8 + y) * SCALE, SCALE, SCALE);
        }
      }
    });
  }
}
