/** Opens the bus that a configuration names. */

import { ConfigError } from '#base/errors';
import type { BytePort } from '#hw/serial/port';
import { openSerialPort, type SerialSettings } from '#hw/serial/serialport';
import { openTcpPort } from '#hw/serial/tcp';

/**
 * @param url  `/dev/ttyUSB0`, or `tcp://HOST:PORT` for raw RTU over TCP
 * @throws ConfigError `config.invalid` when it is neither
 */
export function openBus(url: string, settings: SerialSettings): BytePort {
  if (url.startsWith('/')) return openSerialPort(url, settings);
  const tcp = /^tcp:\/\/(\[[^\]]+\]|[^:/]+):(\d{1,5})$/.exec(url);
  const port = Number(tcp?.[2]);
  if (!tcp || port < 1 || port > 65_535) {
    throw new ConfigError('config.invalid', `serial.url ${url}: expected /dev/… or tcp://HOST:PORT`, { url });
  }
  return openTcpPort(tcp[1]!.replace(/^\[|\]$/g, ''), port);
}
