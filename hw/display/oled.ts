/**
 * A display on a panel: draws screens, and sends what changed, a page at a time so that everything else has its turn in
 * between. A panel that is missing is tried again every 30 s.
 */

import { messageOf } from '#base/errors';
import type { Display, ScreenRow } from '#hw/display';
import { Bitmap, CELL_HEIGHT, CELL_WIDTH } from '#hw/display/bitmap';
import type { Panel } from '#hw/display/panel';
import { PANEL_WIDTH, pagesOf } from '#hw/display/ssd1306';
import type { Log } from '#hw/log';

export interface OledOptions {
  readonly panel: Panel;
  /** 64 or 32 pixels. */
  readonly height: number;
  readonly log?: Log | undefined;
  readonly clock?: () => number;
  /** Called when the panel holds another picture than before. */
  readonly onShown?: () => void;
}

export const RETRY_MS = 30_000;
/** The picture moves by a pixel this often, so that no pixel of it burns in. */
const SHIFT_MS = 60_000;
const COLUMNS = Math.floor(PANEL_WIDTH / CELL_WIDTH);
const SPARE = PANEL_WIDTH - COLUMNS * CELL_WIDTH + 1;

export function openOled({ panel, height, log, clock = () => performance.now(), onShown }: OledOptions): Display {
  const wanted = new Bitmap(PANEL_WIDTH, height);
  const sent = new Uint8Array(wanted.bytes.length);
  let isReady = false;
  let triedAt = Number.NEGATIVE_INFINITY;
  let fault: string | undefined;
  let pump: Promise<void> | undefined;
  let isClosed = false;

  /** Sends until the panel holds the picture, which may change meanwhile. */
  async function send(): Promise<void> {
    let isNew = false;
    try {
      if (!isReady) {
        triedAt = clock();
        await panel.begin();
        // Its memory holds noise.
        for (let i = 0; i < sent.length; i++) sent[i] = ~wanted.bytes[i]!;
        isReady = true;
      }
      for (let page = 0; page < pagesOf(height) && !isClosed; ) {
        const base = page * PANEL_WIDTH;
        let from = 0;
        let to = PANEL_WIDTH;
        while (from < to && sent[base + from] === wanted.bytes[base + from]) from++;
        while (to > from && sent[base + to - 1] === wanted.bytes[base + to - 1]) to--;
        if (from === to) {
          page++;
          continue;
        }
        isNew = true;
        sent.set(wanted.bytes.subarray(base + from, base + to), base + from);
        await panel.send(sent, page, from, to);
      }
      if (!isClosed) await panel.finish();
      if (fault !== undefined) log?.info('the display is back', { display: panel.name });
      fault = undefined;
      if (isNew) onShown?.();
    } catch (error) {
      isReady = false;
      if (fault === undefined) log?.warn('no display', { display: panel.name, error: messageOf(error) });
      fault = messageOf(error);
    }
  }

  return {
    kind: panel.name,
    columns: COLUMNS,
    rows: height / CELL_HEIGHT,
    get fault() {
      return fault;
    },
    show(screen: readonly ScreenRow[]) {
      if (isClosed) return;
      wanted.draw(screen, Math.floor(clock() / SHIFT_MS) % SPARE);
      if (pump || (!isReady && clock() - triedAt < RETRY_MS)) return;
      pump = send().finally(() => {
        pump = undefined;
      });
    },
    async settled() {
      await pump;
    },
    close() {
      isClosed = true;
      void Promise.resolve(pump)
        .then(() => panel.close())
        .catch(() => {});
    },
  };
}
