/** From the start of the meter's bundle to its first DLMS answer over SCION, beside a bare Node that prints a line. */

import { spawn } from 'node:child_process';
import { DlmsClient } from '#dlms/client';
import { Sap } from '#dlms/wrapper';
import { deviceNode, Lab } from '#hw/lab/lab';
import { METER_NODE_FLAGS } from '#hw/meter-flags';
import { parseEndpoint } from '#scion/address';
import { BUNDLES, startScript, stopChild } from './child.ts';
import { connectMeter } from './meter-client.ts';
import { median, type Report } from './report.ts';

const ROUNDS = 9;
const GOAL_MS = 250;
const ASK_EVERY_MS = 3;

export async function start(report: Report): Promise<void> {
  const lab = await Lab.start({ bundles: BUNDLES, lines: 'none' });
  const [meterMs, bareMs]: [number[], number[]] = [[], []];
  try {
    const process = lab.process('meter-1');
    await process.stop();
    const { socket } = await connectMeter(lab, lab.meters[0]!, 'beside');
    const meter = parseEndpoint(lab.meters[0]!.address);
    const [path] = await socket.paths(meter.ia);
    const request = new DlmsClient({ clientSap: Sap.passwordClient }).associate().next().value as Uint8Array;

    // Interleaved, so that a drift of the machine meets both.
    for (let round = 0; round < ROUNDS; round++) {
      const bareAt = performance.now();
      const bare = await startScript(deviceNode(), [
        ...METER_NODE_FLAGS,
        '-e',
        'console.log(1); setInterval(() => {}, 1000)',
      ]);
      bareMs.push(performance.now() - bareAt);
      await stopChild(bare);

      const { node, nodeFlags, script, args } = process.spec;
      const startedAt = performance.now();
      const child = spawn(node, [...nodeFlags, script, ...args], { stdio: 'ignore' });
      const ask = setInterval(() => socket.send(meter, request, path!), ASK_EVERY_MS);
      await new Promise<void>((resolve) => {
        socket.onDatagram = () => resolve();
      });
      meterMs.push(performance.now() - startedAt);
      clearInterval(ask);
      socket.onDatagram = () => {};
      await stopChild(child);
    }
    await socket.close();
  } finally {
    await lab.stop();
  }
  const [value, baseline] = [median(meterMs), median(bareMs)];
  report.figure({
    bench: 'start',
    metric: 'meter bundle to first answer',
    value,
    unit: 'ms',
    baseline,
    ratio: value / baseline,
    goal: `≤ ${GOAL_MS}`,
    ok: value <= GOAL_MS,
  });
}
