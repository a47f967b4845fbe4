/**
 * Delay of one reading: the twelve registers, time and quality of a meter in one request, from the head end's AS through
 * the gateways of three ASes, over links without delay. Beside it a bare UDP round trip through as many Node processes.
 */

import { createSocket } from 'node:dgram';
import { join } from 'node:path';
import { claimLab } from '#hw/lab/addresses';
import { deviceNode, Lab } from '#hw/lab/lab';
import { BENCH_FOLDER, BUNDLES, startScript, stopChild } from './child.ts';
import { connectMeter } from './meter-client.ts';
import { percentile, type Report } from './report.ts';

const WARM_UP = 500;
const READINGS = 4_000;
/** Bytes of a reading's request and answer packets, about. */
const PAYLOAD = 300;
/** Head end's, utility's or provider's, meter's: each with a gateway on the way. */
const ASES = 3;

export async function delay(report: Report): Promise<void> {
  const bare = await bareRoundTrips();
  const lab = await Lab.start({ bundles: BUNDLES, lines: 'none' });
  const samples = { password: [] as number[], keys: [] as number[] };
  try {
    for (const credential of ['password', 'keys'] as const) {
      const client = await connectMeter(lab, lab.meters[0]!, 'headend', undefined, credential);
      for (let i = 0; i < WARM_UP + READINGS; i++) {
        const { delayMs } = await client.connection.read(2_000);
        if (i >= WARM_UP) samples[credential].push(delayMs);
      }
      await client.close();
    }
  } finally {
    await lab.stop();
  }
  const figure = (credential: keyof typeof samples, what: string, p: number) => {
    const [value, baseline] = [percentile(samples[credential], p), percentile(bare, p)];
    const metric = `native reading p${100 * p}, ${ASES} ASes, ${what}`;
    report.figure({ bench: 'delay', metric, value, unit: 'ms', baseline, ratio: value / baseline });
  };
  for (const p of [0.5, 0.99]) {
    figure('password', 'LLS, no ciphering', p);
    figure('keys', 'HLS-GMAC, ciphered, no SPAO', p);
  }
  const why = 'needs SPAO, which the meter does not have yet';
  for (const [metric, goal] of [
    [`native reading p50, ${ASES} ASes, HLS-GMAC, ciphered, SPAO`, '≤ 1.0 ms'],
    [`native reading p99, ${ASES} ASes, HLS-GMAC, ciphered, SPAO`, '≤ 4 ms'],
  ] as const) {
    report.figure({ bench: 'delay', metric, value: null, unit: 'ms', goal, ok: false, why });
  }
}

/** Round trips through the bare processes: a relay in place of each gateway, and an echo. */
async function bareRoundTrips(): Promise<number[]> {
  const addresses = await claimLab();
  const hops = Array.from({ length: ASES + 1 }, (_, i) => `${addresses.link(i)}:50000`);
  const script = join(BENCH_FOLDER, 'bare-udp.js');
  const children = [await startScript(deviceNode(), [script, hops[ASES]!])];
  for (let i = ASES - 1; i >= 0; i--) children.push(await startScript(deviceNode(), [script, hops[i]!, hops[i + 1]!]));
  const socket = createSocket('udp4');
  const [host, port] = hops[0]!.split(':');
  const payload = Buffer.alloc(PAYLOAD);
  const samples: number[] = [];
  for (let i = 0; i < WARM_UP + READINGS; i++) {
    const sentAt = performance.now();
    await new Promise<void>((resolve) => {
      socket.once('message', () => resolve());
      socket.send(payload, Number(port), host);
    });
    if (i >= WARM_UP) samples.push(performance.now() - sentAt);
  }
  socket.close();
  for (const child of children) await stopChild(child);
  addresses.release();
  return samples;
}
