/** How far something is, on stderr: one line that is drawn anew on a terminal, a line every ten seconds elsewhere. */

const REDRAW_MS = 100;
const LINE_MS = 10_000;

export interface ProgressOutput {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

export class ProgressLine {
  readonly #out: ProgressOutput;
  readonly #now: () => number;
  #shownAt = Number.NEGATIVE_INFINITY;
  #shown = '';
  #begin: { readonly at: number; readonly done: number } | undefined;

  constructor(out: ProgressOutput = process.stderr, now: () => number = () => performance.now()) {
    this.#out = out;
    this.#now = now;
  }

  /** @param unit  what is counted, `blocks` @param note  what else there is to say */
  show(done: number, total: number, unit: string, note: string | null): void {
    const at = this.#now();
    this.#begin ??= { at, done };
    const rate = ((done - this.#begin.done) * 1000) / Math.max(1, at - this.#begin.at);
    const left = rate > 0 && note === null ? `, ${rate.toFixed(0)}/s, ${Math.ceil((total - done) / rate)} s left` : '';
    this.line(`${done} of ${total} ${unit}${left}${note === null ? '' : `; ${note}`}`);
  }

  /** A line that replaces the one before; not oftener than people can read it. */
  line(text: string): void {
    const at = this.#now();
    const isTerminal = this.#out.isTTY === true;
    if (text === this.#shown || at - this.#shownAt < (isTerminal ? REDRAW_MS : LINE_MS)) return;
    this.#shownAt = at;
    this.#shown = text;
    this.#out.write(isTerminal ? `\r\x1b[K${text}` : `${text}\n`);
  }

  /** Ends the line that is being redrawn. */
  end(): void {
    if (this.#out.isTTY === true && this.#shown !== '') this.#out.write('\r\x1b[K');
    this.#shown = '';
    this.#shownAt = Number.NEGATIVE_INFINITY;
    this.#begin = undefined;
  }
}
