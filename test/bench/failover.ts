/**
 * Failover at ten readings a second without SCMP and without BFD: from the first datagram that a cut swallows to the next
 * answered reading, beside the goal of the same run; and stalls of 200 ms, which must not move traffic to and fro.
 */

import { Lab } from '#hw/lab/lab';
import { seededRandom } from '#hw/random';
import { BUNDLES } from './child.ts';
import { runCuts } from './cuts.ts';
import { median, percentile, type Report } from './report.ts';

const SEED = 7;
const CUTS = 30;
const STALLS = 5;

export async function failover(report: Report): Promise<void> {
  const lab = await Lab.start({ bundles: BUNDLES, seed: SEED });
  try {
    const run = await runCuts(lab, { cuts: CUTS, stalls: STALLS, random: seededRandom(SEED) });
    const took = run.cuts.map(({ tookMs }) => tookMs);
    const goalMs = median(run.cuts.map((cut) => cut.goalMs));
    const p95 = percentile(took, 0.95);
    const figure = (metric: string, value: number) => report.figure({ bench: 'failover', metric, value, unit: 'ms' });
    figure(`cut to next reading p50, ${CUTS} cuts, 10 reads/s`, median(took));
    report.figure({
      bench: 'failover',
      metric: 'cut to next reading p95',
      value: p95,
      unit: 'ms',
      goal: `≤ ${goalMs.toFixed(0)} (100 + RTO ${run.rtoMs.toFixed(0)} + 2 RTT ${run.srttMs.toFixed(0)} + 50)`,
      ok: p95 <= goalMs,
    });
    figure('cut to next reading, slowest', Math.max(...took));
    report.figure({
      bench: 'failover',
      metric: `readings lost of ${run.readings}`,
      value: run.lost.length,
      unit: '',
      goal: '0',
      ok: run.lost.length === 0,
    });
    const most = Math.max(...run.stallSwitches.map((switches) => switches.length));
    report.figure({
      bench: 'failover',
      metric: `path switches for a 200 ms stall, most of ${STALLS}`,
      value: most,
      unit: '',
      goal: '≤ 2, once out and once back',
      ok: most <= 2,
    });
  } finally {
    await lab.stop();
  }
}
