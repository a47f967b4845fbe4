/**
 * Memory of the meter's process under the flags of its service unit: after many unpaced readings and a calm minute,
 * beside an idle bare Node with the same flags in the same run.
 */

import { deviceNode, Lab } from '#hw/lab/lab';
import { METER_NODE_FLAGS } from '#hw/meter-flags';
import { BUNDLES, memoryOf, startScript, stopChild } from './child.ts';
import { connectMeter } from './meter-client.ts';
import type { Report } from './report.ts';

const READINGS = 100_000;
const CALM_S = 60;
const CALM_PER_SECOND = 2;
const RSS_GOAL = 12;
const ANON_GOAL = 7;

export async function memory(report: Report): Promise<void> {
  const idle = 'console.log(1); setInterval(() => {}, 1000)';
  const bareChild = await startScript(deviceNode(), [...METER_NODE_FLAGS, '-e', idle]);
  const lab = await Lab.start({ bundles: BUNDLES, lines: 'none' });
  try {
    const { pid } = lab.process('meter-1');
    const client = await connectMeter(lab, lab.meters[0]!, 'beside');
    const readMany = async (count: number) => {
      for (let i = 0; i < count; i++) await client.connection.read(2_000);
    };
    await readMany(READINGS / 2);
    const half = memoryOf(pid!);
    await readMany(READINGS / 2);
    for (let i = 0; i < CALM_S * CALM_PER_SECOND; i++) {
      await new Promise((resolve) => setTimeout(resolve, 1000 / CALM_PER_SECOND));
      await client.connection.read(2_000);
    }
    const meter = memoryOf(pid!);
    const bare = memoryOf(bareChild.pid!);
    await client.close();

    const figure = (metric: string, value: number, baseline: number, goal: number) => {
      const over = value - baseline;
      const words = `≤ bare + ${goal} MB`;
      report.figure({
        bench: 'memory',
        metric,
        value,
        unit: 'MB',
        baseline,
        ratio: value / baseline,
        goal: words,
        ok: over <= goal,
      });
    };
    figure('meter, resident, after 10⁵ readings and a minute', meter.rss, bare.rss, RSS_GOAL);
    figure('meter, private, after 10⁵ readings and a minute', meter.anon, bare.anon, ANON_GOAL);
    report.figure({
      bench: 'memory',
      metric: 'meter, private, growth over the second 5·10⁴ readings',
      value: meter.anon - half.anon,
      unit: 'MB',
      goal: '≤ 1',
      ok: meter.anon - half.anon <= 1,
    });
  } finally {
    await lab.stop();
    await stopChild(bareChild);
  }
}
