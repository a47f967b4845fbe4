/**
 * Twin of the display: the display's own driver on a simulated panel. What it shows stands in its folder, as text
 * (`display.txt`, one line a row) and as the panel's pixels (`display.png`). A file `absent` there is a panel that does
 * not answer.
 */

import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { invalidConfig, messageOf } from '#base/errors';
import type { Display } from '#hw/display';
import { openOled } from '#hw/display/oled';
import { ssd1306Panel } from '#hw/display/panel';
import type { Controller } from '#hw/display/ssd1306';
import type { Log } from '#hw/log';
import { makeFolder } from '#hw/medium';
import { encodePng } from '#hw/sim/png';
import { SimSsd1306 } from '#hw/sim/ssd1306';

const SCALE = 4;

export interface SimDisplayOptions {
  readonly controller?: Controller;
  readonly height?: number;
  readonly log?: Log;
}

export function openSimDisplay(
  folder: string,
  { controller = 'ssd1306', height = 64, log }: SimDisplayOptions = {},
): Display {
  try {
    makeFolder(folder);
  } catch (error) {
    throw invalidConfig(`display.path ${folder}: ${messageOf(error)}`, { folder }, error);
  }
  const chip = new SimSsd1306(controller, height);
  const write = async (transfer: Uint8Array) => {
    if (existsSync(join(folder, 'absent'))) throw new Error('nothing answers at this address (simulated)');
    chip.write(transfer);
  };
  const device = async () => ({ name: 'sim', write, close: async () => {} });
  const oled = openOled({
    panel: ssd1306Panel('sim', device, controller, height),
    height,
    log,
    onShown: () => void put(folder, 'display.png', encodePng(chip.picture, SCALE)),
  });
  const { columns, rows } = oled;
  let shown: string | undefined;
  return {
    kind: 'sim',
    columns,
    rows,
    get fault() {
      return oled.fault;
    },
    show(screen) {
      const lines = screen.flatMap((row) => (typeof row === 'string' ? [row] : [row.big, '']));
      const text = `${lines
        .slice(0, rows)
        .map((line) => [...line.replace(/\p{Cc}/gu, ' ')].slice(0, columns).join(''))
        .join('\n')}\n`;
      if (text !== shown && put(folder, 'display.txt', text)) shown = text;
      oled.show(screen);
    },
    settled: () => oled.settled!(),
    close: () => oled.close(),
  };
}

/** A full disk must not stop the meter; the next change tries again. @returns whether it is written */
function put(folder: string, name: string, content: string | Uint8Array): boolean {
  const file = join(folder, name);
  try {
    writeFileSync(`${file}.new`, content);
    renameSync(`${file}.new`, file);
    return true;
  } catch {
    return false;
  }
}

export function displayTextFile(folder: string): string {
  return join(folder, 'display.txt');
}
