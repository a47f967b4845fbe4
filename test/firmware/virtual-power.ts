/** One time of power of the meter in virtual time: real poll loop, clock, energy record and storage, on a simulated disk. */

import { createLog } from '#hw/log';
import type { SimMeter } from '#hw/sim/or-we-514';
import { lineTiming } from '#modbus/line-timing';
import { OR_WE_514 } from '#modbus/maps/or-we-514';
import { EnergyRecord } from '../../firmware/energy-record.ts';
import { MeasurementImage } from '../../firmware/measurement-image.ts';
import { PollLoop } from '../../firmware/poll-loop.ts';
import { StateFiles } from '../../firmware/state-files.ts';
import { WallClock } from '../../firmware/wall-clock.ts';
import type { SimDisk } from '../hw/sim-disk.ts';
import { VirtualBus } from './virtual-bus.ts';

/** When the firmware of these tests was built. */
export const BUILD = Date.UTC(2027, 0, 1);

/**
 * @param boot  number of the boot of the machine
 * @param machineMs  steady ms of the machine, which outlives the process
 * @param steadyMs  steady ms of the process
 */
export function virtualPower(
  disk: SimDisk,
  sim: SimMeter,
  boot: number,
  machineMs: () => number,
  steadyMs: () => number,
) {
  const log = createLog('test', { level: 'error', write: () => {} });
  const files = new StateFiles('/state', log, disk);
  const settings = files.settings();
  const clock = new WallClock({
    source: 'bound',
    buildMs: BUILD,
    settings,
    steadyClock: machineMs,
    bootId: new Uint8Array(16).fill(boot),
    systemClock: () => 0,
  });
  const image = new MeasurementImage();
  const bus = new VirtualBus(sim);
  const loop = new PollLoop({
    port: bus,
    map: OR_WE_514,
    unit: 1,
    timing: lineTiming(9600, 'even'),
    timeoutMs: 600,
    cycleMs: 1000,
    image,
    clock: steadyMs,
    log,
  });
  loop.time[0] = steadyMs();
  const record = new EnergyRecord(settings, loop.energies);
  files.beforeSave = () => record.keep();
  return { files, settings, clock, image, bus, loop, record };
}
