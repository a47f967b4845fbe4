/** Sizes of the shipped bundles against their budgets. */

import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { Report } from './report.ts';

const BUDGETS_KB = { firmware: 250, gateway: 400, headend: 600 };

export async function bundles(report: Report): Promise<void> {
  for (const [name, budget] of Object.entries(BUDGETS_KB)) {
    const kilobytes = statSync(join(process.cwd(), 'dist', `${name}.js`)).size / 1000;
    report.figure({
      bench: 'bundles',
      metric: `${name}.js, minified`,
      value: kilobytes,
      unit: 'kB',
      goal: `≤ ${budget}`,
      ok: kilobytes <= budget,
    });
  }
}
