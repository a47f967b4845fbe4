/** Twin of the display: what it shows stands in `display.txt` of its folder, one line a row. */

import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DISPLAY_COLUMNS, DISPLAY_ROWS } from '#base/wrap';
import type { Display } from '#hw/display';

export function openSimDisplay(folder: string): Display {
  mkdirSync(folder, { recursive: true });
  const file = displayTextFile(folder);
  let shown: string | undefined;
  return {
    kind: 'sim',
    columns: DISPLAY_COLUMNS,
    rows: DISPLAY_ROWS,
    show(lines) {
      const text = `${lines
        .slice(0, DISPLAY_ROWS)
        .map((line) => [...line.replace(/\p{Cc}/gu, ' ')].slice(0, DISPLAY_COLUMNS).join(''))
        .join('\n')}\n`;
      if (text === shown) return;
      try {
        writeFileSync(`${file}.new`, text);
        renameSync(`${file}.new`, file);
        shown = text;
      } catch {
        // A full disk must not stop the meter; the next change tries again.
      }
    },
    close: () => {},
  };
}

export function displayTextFile(folder: string): string {
  return join(folder, 'display.txt');
}
