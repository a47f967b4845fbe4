/**
 * Soak `modbus`: a million cases into whatever of Modbus takes bytes or tables from outside (test/fuzz/modbus-targets.ts): reply
 * and request decoders, the master on broken streams, register maps, configurations, and meters that give any words. No case
 * may take long, and what is kept may not grow.
 */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { TARGETS } from '../fuzz/modbus-targets.ts';
import { type Soak, scaled } from './soak.ts';
import { Watchdog } from './watchdog.ts';

const CASES = 1_000_000;
/** Of the processor, whatever else runs on the machine; a case takes a fraction of a millisecond. */
const SLOWEST_MS = 500;
/** An endless loop is found by the clock. */
const STALL_MS = 60_000;
const NOISE_MB = 16;
const LOOKS = 10;

export const modbus: Soak = async ({ random, seed, share, say }) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const watchdog = new Watchdog(`soak modbus, seed ${seed}`, STALL_MS);
  const figures: Record<string, number | string> = {};
  let done = 0;
  let slowest = { ms: 0, at: '' };
  let growthMb = 0;
  try {
    for (const [name, { share: part, taken, start }] of Object.entries(TARGETS)) {
      const count = scaled((CASES * part) / 100, share);
      const run = start(random);
      const heap: number[] = [];
      let accepted = 0;
      for (let i = 0; i < count; i++) {
        watchdog.feed(++done);
        const started = process.cpuUsage();
        try {
          if (run()) accepted++;
        } catch (error) {
          throw new Error(`${name}, case ${i} of seed ${seed}`, { cause: error });
        }
        const { user, system } = process.cpuUsage(started);
        const ms = (user + system) / 1000;
        if (ms > slowest.ms) slowest = { ms, at: `${name} ${i}` };
        if (ms > SLOWEST_MS) throw new Error(`${name}, case ${i} of seed ${seed}, took ${ms.toFixed(0)} ms`);
        if (i % Math.ceil(count / LOOKS) === 0) {
          collect();
          heap.push(process.memoryUsage().heapUsed / 2 ** 20);
        }
      }
      // The first look is before what a target keeps for all cases.
      growthMb = Math.max(growthMb, ...heap.slice(2).map((mb) => mb - heap[1]!));
      if (growthMb > NOISE_MB) throw new Error(`${name}: memory grew: ${heap.map((mb) => mb.toFixed(1)).join(' ')} MB`);
      if (accepted < taken[0] * count || accepted > taken[1] * count)
        throw new Error(`${name}: ${accepted} of ${count} taken: nothing is tested`);
      figures[name] = accepted;
      if (share === 1) say(`modbus: ${name}, ${count} cases, ${accepted} taken, slowest ${slowest.ms.toFixed(1)} ms`);
    }
  } finally {
    await watchdog.stop();
  }
  figures.slowestCpuMs = Number(slowest.ms.toFixed(1));
  figures.slowestCase = slowest.at;
  figures.growthMb = Number(growthMb.toFixed(1));
  return { done, unit: 'cases', figures };
};
