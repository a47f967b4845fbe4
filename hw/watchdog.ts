/**
 * The watchdog that restarts a meter which hangs: systemd's (sd_notify over a datagram socket, which Node has none of, so
 * through socat or systemd-notify), or the kernel's /dev/watchdog. Whoever feeds it has looked whether the meter works.
 * The service unit needs NotifyAccess=all, since the datagrams come from a child.
 */

import type { ChildProcess } from 'node:child_process';
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { messageOf } from '#base/errors';
import type { Log } from '#hw/log';
import { spawn } from '#hw/spawn';

export const WATCHDOG_DRIVERS = ['auto', 'none', 'systemd', 'device'] as const;
export type WatchdogDriver = (typeof WATCHDOG_DRIVERS)[number];

export interface Watchdog {
  /** Name of the driver in use, for people. */
  readonly kind: string;
  /** Says that the meter has started. */
  ready(): void;
  /** Says that the meter works; may be called as often as one likes. */
  feed(now: number): void;
  /** Says in words how the meter is. */
  status(text: string): void;
  /** An orderly stop: nothing is restarted. */
  close(): void;
}

export interface WatchdogSettings {
  readonly driver: WatchdogDriver;
  readonly device: string;
}

/** Feedings in the time after which systemd loses its patience. */
const FEEDINGS = 4;
/** The Pi's hardware watchdog waits 15 s. */
const DEVICE_FEED_MS = 3_000;
const NONE: Watchdog = { kind: 'none', ready() {}, feed() {}, status() {}, close() {} };

/** `auto` is systemd's where it started the process, else none: opening the kernel's arms it. */
export function openWatchdog(
  { driver, device }: WatchdogSettings,
  log: Log,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Watchdog {
  const { NOTIFY_SOCKET, WATCHDOG_USEC } = environment;
  if (driver === 'device') return deviceWatchdog(device, log);
  if (driver === 'none' || !NOTIFY_SOCKET) {
    if (driver === 'systemd') log.warn('systemd has not started this process, or not with Type=notify: no watchdog');
    return NONE;
  }
  return systemdWatchdog(NOTIFY_SOCKET, Number(WATCHDOG_USEC ?? 0) / 1000, log);
}

/** @param limitMs  systemd's patience; 0: the unit has no WatchdogSec */
function systemdWatchdog(socket: string, limitMs: number, log: Log): Watchdog {
  // An @ stands for the zero byte of an abstract address.
  const address = socket.startsWith('@') ? `ABSTRACT-SENDTO:${socket.slice(1)}` : `UNIX-SENDTO:${socket}`;
  // One process for all datagrams: systemd must still find the sender of each.
  let relay: ChildProcess | undefined = spawn('socat', ['-u', 'STDIN', address], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  let unsent = '';
  let fedAt = Number.NEGATIVE_INFINITY;

  function send(text: string): void {
    if (relay) {
      unsent += text;
      relay.stdin!.write(`${text}\n`);
    } else notify(text);
  }
  function notify(text: string): void {
    spawn('systemd-notify', text.split('\n'), { stdio: 'ignore' }).on('error', (error) =>
      log.error('systemd is not told how the meter is; install socat', { error: messageOf(error) }),
    );
  }
  relay.stdin!.on('error', () => {});
  relay.on('spawn', () => {
    unsent = '';
  });
  relay.on('error', () => {
    relay = undefined;
    if (unsent !== '') notify(unsent);
  });
  relay.on('exit', () => {
    relay = undefined;
  });
  return {
    kind: 'systemd',
    ready: () => send('READY=1'),
    feed(now) {
      if (limitMs === 0 || now - fedAt < limitMs / FEEDINGS) return;
      fedAt = now;
      send('WATCHDOG=1');
    },
    status: (text) => send(`STATUS=${text.replace(/\n/g, ' ')}`),
    close() {
      send('STOPPING=1');
      relay?.stdin?.end();
    },
  };
}

function deviceWatchdog(device: string, log: Log): Watchdog {
  let descriptor: number;
  try {
    // Without O_CREAT: a file of a mistyped name would be fed in place of the watchdog.
    descriptor = openSync(device, constants.O_WRONLY);
  } catch (error) {
    log.error('the watchdog cannot be used', { error: messageOf(error) });
    return NONE;
  }
  let fedAt = Number.NEGATIVE_INFINITY;
  const write = (text: string) => {
    try {
      writeSync(descriptor, text);
    } catch (error) {
      log.error('the watchdog cannot be fed', { error: messageOf(error) });
    }
  };
  return {
    kind: device,
    ready() {},
    status() {},
    feed(now) {
      if (now - fedAt < DEVICE_FEED_MS) return;
      fedAt = now;
      write('.');
    },
    close() {
      // The letter that disarms it (kernel documentation, watchdog-api, "magic close").
      write('V');
      closeSync(descriptor);
    },
  };
}
