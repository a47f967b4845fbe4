/**
 * What the benches print: a table on stdout and one JSON line a figure in dist/bench.jsonl. A figure with a goal is met
 * or missed; one that could not be measured under the goal's conditions is missed, with the reason.
 */

import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

export interface Figure {
  readonly bench: string;
  readonly metric: string;
  /** null: not measured, see `why`. */
  readonly value: number | null;
  readonly unit: string;
  /** The peer or bare measurement of the same run, in the same unit. */
  readonly baseline?: number;
  /** value : baseline */
  readonly ratio?: number;
  /** The goal in words, `≤ 250`. */
  readonly goal?: string;
  readonly ok?: boolean;
  readonly why?: string;
}

export class Report {
  readonly figures: Figure[] = [];
  private readonly file: string;

  constructor(file: string) {
    this.file = file;
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, '');
  }

  figure(figure: Figure): void {
    this.figures.push(figure);
    const { bench, metric, value, unit, baseline, ratio, goal, ok, why } = figure;
    const line = {
      bench,
      metric,
      value,
      unit,
      baseline: baseline ?? null,
      ratio: ratio ?? null,
      goal: goal ?? null,
      ok: ok ?? null,
    };
    appendFileSync(this.file, `${JSON.stringify(why === undefined ? line : { ...line, why })}\n`);
    const cells = [
      bench.padEnd(9),
      metric.padEnd(52),
      `${show(value)} ${unit}`.padStart(18),
      baseline === undefined ? ''.padStart(14) : `beside ${show(baseline)}`.padStart(14),
      ratio === undefined ? ''.padStart(8) : `× ${ratio.toFixed(2)}`.padStart(8),
      goal === undefined ? '' : `goal ${goal}  ${ok ? 'ok' : 'MISSED'}`,
    ];
    console.log(`${cells.join(' ').trimEnd()}${why ? `  (${why})` : ''}`);
  }

  /** Whether every figure with a goal meets it. */
  get met(): boolean {
    return this.figures.every((f) => f.goal === undefined || f.ok === true);
  }
}

function show(value: number | null): string {
  if (value === null) return '–';
  const size = Math.abs(value);
  return size >= 1000
    ? Math.round(value).toLocaleString('en')
    : size >= 100
      ? value.toFixed(0)
      : size >= 1
        ? value.toFixed(2)
        : value.toFixed(3);
}

/** The value below which the share `p` (0…1) of the sorted samples lies. */
export function percentile(samples: readonly number[], p: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN;
}

export const median = (samples: readonly number[]): number => percentile(samples, 0.5);
