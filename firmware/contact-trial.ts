/**
 * The self-test's trial of the contact: moves it and back through the guard and looks whether the load follows. However the
 * trial ends (a failure, a signal, the end of the process), the contact returns to its commanded position.
 */

import { existsSync } from 'node:fs';
import type { SteadyClock } from '#base/crypto';
import { MeterClock } from '#dlms/cosem/clock';
import type { Trigger } from '#dlms/cosem/disconnect-control';
import type { Config } from '#hw/config';
import { holdFolder } from '#hw/folder-lock';
import { createLog, type Log } from '#hw/log';
import { openRelay } from '#hw/relay/open';
import { EventLogs } from './events.ts';
import { commandedPosition } from './model-control.ts';
import { relaySettings, stateFolder } from './parts.ts';
import { guardRelay, LEAK_W } from './relay-guard.ts';
import { noFolder, Skipped } from './self-test.ts';
import { StateFiles } from './state-files.ts';
import type { WallClock } from './wall-clock.ts';

export interface TrialOptions {
  readonly config: Config;
  readonly clock: SteadyClock;
  readonly wallClock: WallClock;
  /** W through the energy meter; undefined while that is not known. */
  readonly power: () => number | undefined;
  /** Waits until a condition holds. @returns false when it did not in time, or the self-test is to stop */
  readonly until: (condition: () => boolean, limitMs: number) => Promise<boolean>;
  readonly isStopped: () => boolean;
  readonly busWorks: () => boolean;
}

/** The contact and the energy meter take a moment to follow. */
const FOLLOW_LIMIT_MS = 8_000;
const LOAD_LIMIT_MS = 3_000;
const quiet = createLog('self-test', { write: () => {} });

/** @returns what was found @throws Error, or Skipped when the load could not be seen or nothing may move */
export async function tryContact(options: TrialOptions): Promise<string> {
  const { config, clock, wallClock, power, until, isStopped, busWorks } = options;
  const folder = stateFolder(config);
  if (!existsSync(folder)) throw new Skipped(noFolder(folder));
  let fault: unknown;
  const log: Log = {
    ...quiet,
    error: (_, fields) => {
      fault ??= fields?.error;
    },
  };
  const letGo = await holdFolder(folder);
  const files = new StateFiles(folder, quiet);
  const settings = files.settings();
  const commanded = commandedPosition(settings);
  // The commanded state in the settings stays what it is: a power failure during the trial leads back to it as well.
  const contact = await openRelay(relaySettings(config), commanded || undefined, log);
  const home = commanded ?? contact.isConnected();
  const events = new EventLogs({
    clock: new MeterClock({ read: wallClock.read, set: undefined }, settings),
    settings,
    openStore: (...store) => files.profile(...store),
    onAlarm: () => {},
  });
  let position = home;
  let isReturning = false;
  const guard = guardRelay({
    relay: contact,
    log,
    steadyClock: clock,
    dwellMs: 0,
    // The way back is recorded where it can be; it is gone in any case.
    record: (code) => events.record(code) || isReturning,
    onChange: () => {},
  });
  const move = (connected: boolean, trigger: Trigger) =>
    guard.switchRelay(connected, 'self-test at the device', trigger, () => {
      position = connected;
      return true;
    });
  const goHome = () => {
    isReturning = true;
    if (position !== home) move(home, 'restore');
  };
  process.on('exit', goHome);
  let load: number | undefined;
  const isDark = () => Math.abs(power() ?? Number.POSITIVE_INFINITY) <= LEAK_W;
  const name = contact.kind;
  try {
    if (fault !== undefined) throw new Error(String(fault));
    for (const connected of [!home, home]) {
      if (!connected) load = power();
      const moved = move(connected, connected ? 'manual-reconnect' : 'manual-disconnect');
      if (moved === 'not-recorded') throw new Skipped('what the storage cannot record does not move');
      if (moved !== true)
        throw new Error(`${name}: ${fault ?? `does not read back as ${connected ? 'closed' : 'open'}`}`);
      if (connected && !home) await until(() => Math.abs(power() ?? 0) > LEAK_W, LOAD_LIMIT_MS);
      if (!connected && load !== undefined && !(await until(isDark, FOLLOW_LIMIT_MS)) && !isStopped()) {
        load = power();
        if (load !== undefined) throw new Error(`${name}: ${Math.round(load)} W flow while it is open`);
      }
      if (isStopped()) throw new Skipped('stopped');
    }
  } finally {
    process.off('exit', goHome);
    goHome();
    contact.close();
    files.close();
    letGo();
  }
  if (load === undefined) {
    const why = busWorks() ? 'no power is read' : 'the bus does not work';
    throw new Skipped(`${name} opens, closes and reads back; the current was not seen, ${why}`);
  }
  return `${name} opens and closes, ${Math.abs(load) > LEAK_W ? `the load of ${load} W follows` : 'no load to see'}`;
}
