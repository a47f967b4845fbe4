/**
 * `npm run soak [-- NAME…] [--seed N] [--share S]`: the long seeded runs. Prints a line each and writes dist/soak.jsonl.
 * Exit status 1 when one finds a fault, 2 for an unknown name.
 */

import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { seeded } from '../random.ts';
import { cuts } from './cuts.ts';
import { days } from './days.ts';
import { dlms } from './dlms.ts';
import { identity } from './identity.ts';
import { beKilled, kills } from './kills.ts';
import { lossy } from './lossy.ts';
import { modbus } from './modbus.ts';
import { mutations } from './mutations.ts';
import { noise } from './noise.ts';
import { packets } from './packets.ts';
import { restarts } from './restarts.ts';
import type { Soak } from './soak.ts';

const SOAKS: Readonly<Record<string, Soak>> = {
  identity,
  mutations,
  packets,
  cuts,
  lossy,
  dlms,
  modbus,
  kills,
  restarts,
  days,
  noise,
};

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    options: { seed: { type: 'string' }, share: { type: 'string' } },
    allowPositionals: true,
  });
  const unknown = positionals.find((name) => !Object.hasOwn(SOAKS, name));
  const share = Number(values.share ?? 1);
  if (unknown !== undefined || !(share > 0 && share <= 1)) {
    console.error(`soak: ${unknown ?? `--share ${values.share}`}; there are ${Object.keys(SOAKS).join(', ')}`);
    return 2;
  }
  const file = join(process.cwd(), 'dist', 'soak.jsonl');
  mkdirSync(join(process.cwd(), 'dist'), { recursive: true });
  writeFileSync(file, '');
  let failed = 0;
  for (const [soak, run] of Object.entries(SOAKS)) {
    if (positionals.length > 0 && !positionals.includes(soak)) continue;
    const seed = Number(values.seed ?? process.env.S3MP_SEED ?? Date.now() % 0x1_0000_0000);
    const started = performance.now();
    const seconds = () => Number(((performance.now() - started) / 1000).toFixed(1));
    let line: Record<string, unknown>;
    try {
      const { done, unit, figures } = await run({
        random: seeded(seed),
        seed,
        share,
        say: (text) => console.log(text),
      });
      line = { soak, seed, done, unit, seconds: seconds(), ok: true, ...figures };
    } catch (error) {
      failed++;
      console.error(error);
      line = { soak, seed, seconds: seconds(), ok: false, why: error instanceof Error ? error.message : String(error) };
    }
    appendFileSync(file, `${JSON.stringify(line)}\n`);
    console.log(
      Object.entries(line)
        .map(([key, value]) => `${key}=${value}`)
        .join(' '),
    );
  }
  return failed === 0 ? 0 : 1;
}

if (process.env.S3MP_KILL_FOLDER !== undefined) beKilled();

void main().then(
  (status) => process.exit(status),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
