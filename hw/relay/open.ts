/**
 * Opens the relay that a configuration names. A relay that cannot be opened does not stop the meter: the contact stays as
 * it is, and each later command tries again.
 */

import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf, S3mpError } from '#base/errors';
import type { Log } from '#hw/log';
import { noRelay, type Relay } from '#hw/relay';
import { ledFolder, ledOutput } from '#hw/relay/led';
import { onoffOutput } from '#hw/relay/onoff';
import type { OutputLine } from '#hw/relay/output';
import { sysfsOutput } from '#hw/relay/sysfs';
import { openSimRelay } from '#hw/sim/relay';

export const RELAY_DRIVERS = ['none', 'sim', 'auto', 'sysfs', 'led', 'onoff'] as const;
export type RelayDriver = (typeof RELAY_DRIVERS)[number];

export interface RelaySettings {
  readonly driver: RelayDriver;
  /** Folder of the twin, for `sim`. */
  readonly path?: string | undefined;
  /** BCM number of the pin, for `sysfs` and `onoff`. */
  readonly pin: number;
  /** Label of the GPIO chip, where it is none of the Pi's. */
  readonly chip?: string | undefined;
  /** Name of the LED, for `led`. */
  readonly led: string;
  /** What a high output does. A low one does the opposite, and so does a machine without power. */
  readonly energised: 'disconnects' | 'connects';
  /** Where sysfs is mounted: /sys. */
  readonly root?: string;
}

/** udev needs a moment to give an exported line to its group. */
const CLAIM_TRIES = 40;
const CLAIM_PAUSE_MS = 50;
/** These have pull-up resistors from power-on until they are set. */
const PULLED_UP_PINS = 9;

/**
 * @param commanded  position that the contact was last commanded to; unknown: as it is
 */
export async function openRelay(settings: RelaySettings, commanded: boolean | undefined, log: Log): Promise<Relay> {
  const { driver, path, energised, pin } = settings;
  if (driver === 'none') return noRelay;
  if (driver === 'sim') return openSimRelay(path!);
  const highConnects = energised === 'connects';
  const first = commanded === undefined ? undefined : commanded === highConnects;
  let line: OutputLine | undefined;
  try {
    line = await findOutput(settings);
    if (!(line.name.startsWith('LED') || pin >= PULLED_UP_PINS))
      log.warn('this pin is pulled up until the meter starts; pins 9 to 27 are not', { pin });
    await claim(line, first);
  } catch (error) {
    log.error('the relay cannot be used, its contact stays as it is', { error: messageOf(error) });
    return outputRelay(line, false, settings);
  }
  const relay = outputRelay(line, true, settings);
  log.info('relay', { output: line.name, connected: relay.isConnected() });
  return relay;
}

/** @throws Error, or a promise of it: onoff comes later */
function findOutput({ driver, root = '/sys', pin, chip, led }: RelaySettings): OutputLine | Promise<OutputLine> {
  if (driver === 'led' || (driver === 'auto' && existsSync(ledFolder(root, led)))) return ledOutput(root, led, pin);
  return driver === 'onoff' ? onoffOutput(root, pin, chip) : sysfsOutput(root, pin, chip);
}

async function claim(line: OutputLine, high: boolean | undefined): Promise<void> {
  for (let left = CLAIM_TRIES; ; left--) {
    try {
      line.claim(high);
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EBUSY')
        throw new Error(`${line.name} belongs to another driver of the kernel: ${messageOf(error)}`);
      if (left === 0 || (code !== 'EACCES' && code !== 'ENOENT')) throw error;
    }
    await sleep(CLAIM_PAUSE_MS);
  }
}

/** @param isClaimed  otherwise it is found and claimed at the next command */
function outputRelay(found: OutputLine | undefined, isClaimed: boolean, settings: RelaySettings): Relay {
  const { driver, energised } = settings;
  const highConnects = energised === 'connects';
  let line = found;
  let seen = !highConnects;

  /** The line, which the kernel may have by now. */
  function findNow(): OutputLine {
    const next = line ?? findOutput(settings);
    if (!(next instanceof Promise)) return next;
    // What comes later serves the command after this one.
    next.then(
      (late) => {
        line = late;
      },
      () => {},
    );
    throw new Error('not open yet, try again');
  }

  return {
    get kind() {
      return line?.name ?? driver;
    },
    set(connected) {
      const high = connected === highConnects;
      try {
        line = findNow();
        if (!isClaimed) line.claim(high);
        isClaimed = true;
        line.write(high);
      } catch (error) {
        throw new S3mpError('relay.failed', `relay ${line?.name ?? driver}: ${messageOf(error)}`, {}, error);
      }
    },
    isConnected() {
      try {
        if (isClaimed) seen = line!.read() === highConnects;
      } catch {
        // What was read last is the best there is.
      }
      return seen;
    },
    close: () => {},
  };
}
