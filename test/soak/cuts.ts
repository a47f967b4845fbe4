/** Random cuts of the links in use under continuous reading: none of the readings may be lost. */

import { join } from 'node:path';
import { Lab } from '#hw/lab/lab';
import { seededRandom } from '#hw/random';
import { runCuts } from '../bench/cuts.ts';
import { median, percentile } from '../bench/report.ts';
import type { Soak } from './soak.ts';

export const CUTS = 100;

export const cuts: Soak = async ({ seed, share, say }) => {
  const lab = await Lab.start({ bundles: join(__dirname, '..'), seed });
  try {
    const run = await runCuts(lab, {
      cuts: Math.ceil(CUTS * share),
      stalls: Math.ceil(20 * share),
      random: seededRandom(seed),
      onCut: ({ link, tookMs }, i) => say(`cut ${i + 1} of ${link}: ${tookMs.toFixed(0)} ms`),
    });
    const took = run.cuts.map(({ tookMs }) => tookMs);
    const goalMs = median(run.cuts.map((cut) => cut.goalMs));
    const p95 = percentile(took, 0.95);
    const figures = {
      readings: run.readings,
      lost: run.lost.length,
      p50Ms: median(took),
      p95Ms: p95,
      maxMs: Math.max(...took),
      goalMs,
      srttMs: run.srttMs,
      rtoMs: run.rtoMs,
      stalls: run.stallSwitches.length,
      stallSwitches: run.stallSwitches.map((switches) => switches.map(({ why }) => why).join('+')).join(' '),
    };
    const met = run.lost.length === 0 && p95 <= goalMs && run.stallSwitches.every((switches) => switches.length <= 2);
    if (!met) throw new Error(`a reading was lost, or the goal missed: ${JSON.stringify(figures)}`);
    return { done: took.length, unit: 'cuts', figures };
  } finally {
    await lab.stop();
  }
};
