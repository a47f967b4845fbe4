/**
 * `npm run bench [-- NAME…]`: runs the benches, prints a table and writes dist/bench.jsonl. Exit status 1 when a figure
 * with a goal misses it, 2 for an unknown name.
 */

import { join } from 'node:path';
import { bundles } from './bundles.ts';
import { codec } from './codec.ts';
import { delay } from './delay.ts';
import { dlms } from './dlms.ts';
import { failover } from './failover.ts';
import { memory } from './memory.ts';
import { poll } from './poll.ts';
import { Report } from './report.ts';
import { router } from './router.ts';
import { start } from './start.ts';

const BENCHES: Readonly<Record<string, (report: Report) => Promise<void>>> = {
  delay,
  failover,
  memory,
  poll,
  router,
  codec,
  dlms,
  start,
  bundles,
};

async function main(): Promise<number> {
  const names = process.argv.slice(2);
  const unknown = names.find((name) => !Object.hasOwn(BENCHES, name));
  if (unknown !== undefined) {
    console.error(`bench: no bench ${unknown}; there are ${Object.keys(BENCHES).join(', ')}`);
    return 2;
  }
  const report = new Report(join(process.cwd(), 'dist', 'bench.jsonl'));
  console.log(
    `Node ${process.version} for the head end; the meter and the gateway run on the machine's own where it has one`,
  );
  for (const [name, bench] of Object.entries(BENCHES)) {
    if (names.length > 0 && !names.includes(name)) continue;
    await bench(report);
  }
  return report.met ? 0 : 1;
}

void main().then(
  (status) => process.exit(status),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
