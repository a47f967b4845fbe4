/** Opens the bus that a configuration names, with the driver that it names or that can be loaded. */

import { invalidConfig, messageOf } from '#base/errors';
import type { Log } from '#hw/log';
import { keepOpen, type OpenLine, type SerialSettings } from '#hw/serial/line';
import type { BytePort } from '#hw/serial/port';
import { DriverMissing, openNativeLine } from '#hw/serial/serialport';
import { openTcpPort } from '#hw/serial/tcp';
import { openTtyLine } from '#hw/serial/tty';

export interface BusSettings extends SerialSettings {
  /** `auto`, the default, takes `tty` where serialport's native part cannot be loaded. */
  readonly driver?: SerialDriver;
  readonly log?: Log;
}

export const SERIAL_DRIVERS = ['auto', 'serialport', 'tty'] as const;
export type SerialDriver = (typeof SERIAL_DRIVERS)[number];

/** What a bus is named by, in words. */
export const BUS_URL = '/dev/… or tcp://HOST:PORT';

/**
 * @param url  `/dev/ttyUSB0`, or `tcp://HOST:PORT` for raw RTU over TCP
 * @throws ConfigError `config.invalid` when it is neither
 */
export function openBus(url: string, settings: BusSettings): BytePort {
  if (url.startsWith('/')) return keepOpen(url, settings, lineOpener(settings));
  const place = tcpPlace(url);
  if (!place) throw invalidConfig(`serial.url ${url}: expected ${BUS_URL}`, { url });
  return openTcpPort(place.host, place.port);
}

/** Whether a configuration can name a bus so. */
export const isBusUrl = (url: string): boolean => url.startsWith('/') || tcpPlace(url) !== undefined;

function tcpPlace(url: string): { host: string; port: number } | undefined {
  const parts = /^tcp:\/\/(\[[^\]]+\]|[^:/]+):(\d{1,5})$/.exec(url);
  const port = Number(parts?.[2]);
  return parts && port >= 1 && port <= 65_535 ? { host: parts[1]!.replace(/^\[|\]$/g, ''), port } : undefined;
}

function lineOpener({ driver = 'auto', log }: BusSettings): OpenLine {
  if (driver === 'tty') return openTtyLine;
  if (driver === 'serialport') return openNativeLine;
  let choice: OpenLine = async (path, line) => {
    try {
      return await openNativeLine(path, line);
    } catch (error) {
      if (!(error instanceof DriverMissing)) throw error;
      log?.warn('the bus runs without the native serial driver, by stty', { reason: messageOf(error) });
      choice = openTtyLine;
      return openTtyLine(path, line);
    }
  };
  return (path, line) => choice(path, line);
}
