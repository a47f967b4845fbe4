/** The poll loop of a meter on a port whose far end is an energy meter, simulated or foreign. */

import { performance } from 'node:perf_hooks';
import * as assert from 'uvu/assert';
import { createLog } from '#hw/log';
import type { BytePort } from '#hw/serial/port';
import { lineTiming } from '#modbus/line-timing';
import { OR_WE_514 } from '#modbus/maps/or-we-514';
import { GUARD_MS } from '#test/guard';
import { MeasurementImage } from '../../firmware/measurement-image.ts';
import { PollLoop, type PollLoopOptions } from '../../firmware/poll-loop.ts';

export const clock = () => performance.now();

export interface PortLoop {
  readonly loop: PollLoop;
  readonly image: MeasurementImage;
  /** Lines of its log. */
  readonly lines: string[];
}

/** A loop over unit 1, an OR-WE-514 at 9600 baud unless `options` say otherwise. */
export function loopOn(port: BytePort, options: Partial<PollLoopOptions> = {}): PortLoop {
  const image = new MeasurementImage();
  const lines: string[] = [];
  const loop = new PollLoop({
    port,
    map: OR_WE_514,
    unit: 1,
    timing: lineTiming(9600, 'even'),
    timeoutMs: 300,
    cycleMs: 0,
    backoffMs: { first: 200, last: 500 },
    image,
    clock,
    log: createLog('poll', { write: (line) => lines.push(line) }),
    ...options,
  });
  return { loop, image, lines };
}

/** Waits for a condition. @param what  said when it does not come */
export async function until(
  what: string | (() => string),
  condition: () => boolean,
  limitMs = GUARD_MS,
): Promise<void> {
  const end = clock() + limitMs;
  while (!condition()) {
    assert.ok(clock() < end, `within ${limitMs} ms: ${typeof what === 'string' ? what : what()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
