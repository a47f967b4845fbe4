/**
 * The live graph of the power: the last five minutes in arrays of fixed size, drawn by uPlot. Missing values and pauses in
 * the readings are gaps in the line; nothing is drawn where nothing was measured.
 */

import uPlot from 'uplot';
import { setAttribute, styleValue } from './dom.ts';

const WINDOW_S = 300;
const CAPACITY = 1500;
const TICKS_S = [5, 10, 15, 30, 60, 120, 300];

export class PowerGraph {
  private readonly host: HTMLElement;
  private readonly times: number[] = new Array<number>(CAPACITY).fill(0);
  private readonly powers: (number | null)[] = new Array<number | null>(CAPACITY).fill(null);
  private length = 0;
  private points = 0;
  private plot: uPlot | undefined;
  private frame = 0;
  /** Seconds between two readings above which there is a gap. */
  private gapS = 4;
  private serverOffsetMs = 0;

  constructor(host: HTMLElement) {
    this.host = host;
    new ResizeObserver(() => this.resize()).observe(host);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.rebuild());
    document.addEventListener('visibilitychange', () => this.redraw());
    this.rebuild();
  }

  /** Time of the newest point in ms, 0 without one. */
  get newestMs(): number {
    return this.length === 0 ? 0 : this.times[this.length - 1]! * 1000;
  }

  clear(): void {
    this.length = 0;
    this.points = 0;
    this.redraw();
  }

  setInterval(intervalMs: number): void {
    this.gapS = Math.max(4, (2.5 * intervalMs) / 1000);
  }

  /** How far the head end's clock is ahead of the browser's: the right edge of the graph is the head end's now. */
  setServerTime(iso: string): void {
    this.serverOffsetMs = Date.parse(iso) - Date.now();
  }

  /** Adds a value, ms since the epoch; one that is not newer than the newest is a repeat. */
  add(atMs: number, powerW: number | null): void {
    const at = atMs / 1000;
    const newest = this.length === 0 ? Number.NEGATIVE_INFINITY : this.times[this.length - 1]!;
    if (at <= newest) return;
    if (at - newest > this.gapS && this.length > 0) this.push(newest + 0.001, null);
    this.push(at, powerW);
    this.redraw();
  }

  redraw(): void {
    if (document.hidden || this.frame !== 0) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  private push(at: number, power: number | null): void {
    if (this.length === CAPACITY) this.drop(CAPACITY / 5);
    this.times[this.length] = at;
    this.powers[this.length] = power;
    this.length++;
    if (power !== null) this.points++;
  }

  private drop(count: number): void {
    this.times.copyWithin(0, count, this.length);
    this.powers.copyWithin(0, count, this.length);
    this.length -= count;
  }

  private draw(): void {
    const now = (Date.now() + this.serverOffsetMs) / 1000;
    let old = 0;
    // One point beyond the left edge stays, so that the line reaches the edge.
    while (old + 1 < this.length && this.times[old + 1]! < now - WINDOW_S) old++;
    if (old > 0) this.drop(old);
    const times = this.times.slice(0, this.length);
    const powers = this.powers.slice(0, this.length);
    this.points = powers.reduce<number>((n, p) => (p === null ? n : n + 1), 0);
    setAttribute(this.host, 'data-points', String(this.points));
    setAttribute(this.host, 'aria-label', this.description(powers));
    this.plot?.batch(() => {
      this.plot!.setData([times, powers], false);
      this.plot!.setScale('x', { min: now - WINDOW_S, max: now });
    });
  }

  private description(powers: readonly (number | null)[]): string {
    const known = powers.filter((p) => p !== null);
    if (known.length === 0) return 'Power, last five minutes: no data';
    return `Power, last five minutes: ${Math.min(...known)} to ${Math.max(...known)} watts, ${known.length} values`;
  }

  private rebuild(): void {
    this.plot?.destroy();
    const line = styleValue('--accent');
    const axis: uPlot.Axis = {
      stroke: styleValue('--muted'),
      font: '12px system-ui, sans-serif',
      grid: { stroke: styleValue('--line'), width: 1 },
      ticks: { show: false },
    };
    const two = (n: number) => String(n).padStart(2, '0');
    const clock = (s: number) => {
      const at = new Date(s * 1000);
      return `${two(at.getHours())}:${two(at.getMinutes())}${at.getSeconds() ? `:${two(at.getSeconds())}` : ''}`;
    };
    this.plot = new uPlot(
      {
        width: Math.max(200, this.host.clientWidth),
        height: Math.max(140, this.host.clientHeight),
        legend: { show: false },
        cursor: { drag: { x: false, y: false } },
        scales: { x: { time: true, auto: false }, y: { range: (_plot, low, high) => powerRange(low, high) } },
        axes: [
          { ...axis, size: 32, values: (_plot, splits) => splits.map(clock), space: 70, incrs: TICKS_S },
          { ...axis, size: 56, values: (_plot, splits) => splits.map((w) => `${w} W`) },
        ],
        series: [
          {},
          {
            stroke: line,
            width: 2,
            fill: styleValue('--accent-soft'),
            spanGaps: false,
            points: { size: 4, fill: line },
          },
        ],
      },
      [[], []],
      this.host,
    );
    this.redraw();
  }

  private resize(): void {
    const { clientWidth: width, clientHeight: height } = this.host;
    if (width > 0 && height > 0) this.plot?.setSize({ width, height });
  }
}

/** Zero is always on the scale, with room above the line; never less than 100 W high, so noise does not look like load. */
function powerRange(low: number | null, high: number | null): [number, number] {
  const least = Math.min(0, low ?? 0);
  const most = Math.max(0, high ?? 0);
  const room = Math.max(100, most - least) * 0.12;
  return [least < 0 ? least - room : 0, Math.max(100, most + room)];
}
