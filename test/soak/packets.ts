/**
 * Soak `packets`: ten million packets through `gateway.js` over real sockets; its memory stays flat. The first fifth fills
 * the heap and the compiler's caches, then no sample may lie above the first ones by more than the noise of a collector.
 */

import { gatewayTarget, RouterLoad } from '../bench/router-load.ts';
import { TwoAses } from '../gateway/two-ases.ts';
import { type Soak, scaled } from './soak.ts';

const PACKETS = 10_000_000;
const SAMPLES = 20;
const FLOWS = 4;
/** A young generation more or less, and some heap that the collector has not given back. */
const NOISE_MB = 16;

export const packets: Soak = async ({ share, say }) => {
  const count = scaled(PACKETS, share);
  const ases = await TwoAses.create();
  try {
    const load = await RouterLoad.start(ases, gatewayTarget(ases), FLOWS);
    try {
      const samples: number[] = [];
      for (let i = 0; i < SAMPLES; i++) {
        await load.run(Math.ceil(count / SAMPLES));
        samples.push(load.residentMb());
        if (share === 1) say(`packets: ${((i + 1) * 100) / SAMPLES} %, ${samples.at(-1)!.toFixed(1)} MB resident`);
      }
      const settled = samples.slice(SAMPLES / 5);
      const half = settled.length / 2;
      const early = Math.max(...settled.slice(0, half));
      const late = Math.max(...settled.slice(half));
      if (late > early + NOISE_MB) throw new Error(`memory grew: ${samples.map((s) => s.toFixed(1)).join(' ')} MB`);
      const figures = { earlyMb: Number(early.toFixed(1)), lateMb: Number(late.toFixed(1)) };
      return { done: count, unit: 'packets forwarded', figures };
    } finally {
      await load.stop();
    }
  } finally {
    ases.remove();
  }
};
