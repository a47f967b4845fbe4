/** The bus of the configuration: which energy meters are on it, and the poll loop that reads them. */

import type { SteadyClock } from '#base/crypto';
import { invalidConfig } from '#base/errors';
import type { Config } from '#hw/config';
import type { Log } from '#hw/log';
import { openBus, type SerialDriver } from '#hw/serial/open';
import { lineTiming } from '#modbus/line-timing';
import { registerMap } from '#modbus/maps/index';
import type { Parity } from '#modbus/register-map';
import type { MeterOnBus } from './bus-meter.ts';
import { MeasurementImage } from './measurement-image.ts';
import { PollLoop } from './poll-loop.ts';

/**
 * The energy meters on the bus, each with an image of its own; the first is the one that this meter is made of.
 * @throws ConfigError `config.invalid`, ModbusError `modbus.map`
 */
export function metersOnBus(config: Config): MeterOnBus[] {
  const first = config.string('serial.map');
  const meters = [{ unit: config.number('serial.unit'), map: registerMap(first), image: new MeasurementImage() }];
  for (const text of config.strings('serial.further')) {
    const parts = /^(\d{1,3})(?::([a-z0-9-]+))?$/.exec(text);
    const unit = Number(parts?.[1]);
    if (!parts || unit < 1 || unit > 247 || meters.some((other) => other.unit === unit)) {
      throw invalidConfig(`serial.further ${text}: expected UNIT or UNIT:MAP, each unit 1 to 247 once`);
    }
    meters.push({ unit, map: registerMap(parts[2] ?? first), image: new MeasurementImage() });
  }
  return meters;
}

/** Opens the bus; reading begins with `start`. @param onMeterChanged  told when another energy meter answers as the first */
export function openPollLoop(
  config: Config,
  meters: readonly MeterOnBus[],
  clock: SteadyClock,
  log: Log,
  onMeterChanged: () => void = () => {},
) {
  const parity = config.string('serial.parity') as Parity;
  const baud = config.number('serial.baud');
  const stopBits = config.number('serial.stop_bits') as 1 | 2;
  const port = openBus(config.string('serial.url'), {
    baud,
    parity,
    stopBits,
    driver: config.string('serial.driver') as SerialDriver,
    log: log.child('bus'),
  });
  const [first, ...further] = meters as [MeterOnBus, ...MeterOnBus[]];
  const loop = new PollLoop({
    ...first,
    further,
    port,
    timing: lineTiming(baud, parity, stopBits),
    timeoutMs: config.number('serial.timeout_ms'),
    cycleMs: config.number('serial.cycle_ms'),
    clock,
    log,
    onMeterChanged: (unit) => {
      if (unit === first.unit) onMeterChanged();
    },
  });
  return {
    port,
    energies: loop.energies,
    start: () => loop.start(),
    stop: () => loop.stop(),
    close: () => port.close(),
    overdueMs: (now: number) => loop.overdueMs(now),
    get healthy() {
      return loop.healthy;
    },
  };
}
