/**
 * Delay of one reading: the twelve registers, time and quality of a meter in one request, from the head end's AS through
 * both gateways, over links without delay. Beside it a bare UDP round trip through as many Node processes.
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

export async function delay(report: Report): Promise<void> {
  const bare = await bareRoundTrips();
  const lab = await Lab.start({ bundles: BUNDLES, lines: 'none' });
  const samples: number[] = [];
  try {
    const client = await connectMeter(lab, lab.meters[0]!, 'headend');
    for (let i = 0; i < WARM_UP + READINGS; i++) {
      const { delayMs } = await client.connection.read(2_000);
      if (i >= WARM_UP) samples.push(delayMs);
    }
    await client.close();
  } finally {
    await lab.stop();
  }
  const figure = (metric: string, p: number) => {
    const [value, baseline] = [percentile(samples, p), percentile(bare, p)];
    report.figure({ bench: 'delay', metric, value, unit: 'ms', baseline, ratio: value / baseline });
  };
  figure('native reading p50, LLS, no ciphering, no SPAO', 0.5);
  figure('native reading p99, LLS, no ciphering, no SPAO', 0.99);
  const why = 'needs HLS-GMAC, ciphering and SPAO, which the meter does not have yet';
  for (const [metric, goal] of [
    ['native reading p50, HLS-GMAC, ciphered, SPAO', '≤ 1.0 ms'],
    ['native reading p99, HLS-GMAC, ciphered, SPAO', '≤ 4 ms'],
  ] as const) {
    report.figure({ bench: 'delay', metric, value: null, unit: 'ms', goal, ok: false, why });
  }
}

/** Round trips through the bare processes: link a, two relays in place of the gateways, link b, an echo. */
async function bareRoundTrips(): Promise<number[]> {
  const addresses = await claimLab();
  const hops = [1, 2, 3].map((n) => `${addresses.link(n)}:50000`);
  const script = join(BENCH_FOLDER, 'bare-udp.js');
  const children = [
    await startScript(deviceNode(), [script, hops[2]!]),
    await startScript(deviceNode(), [script, hops[1]!, hops[2]!]),
    await startScript(deviceNode(), [script, hops[0]!, hops[1]!]),
  ];
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
