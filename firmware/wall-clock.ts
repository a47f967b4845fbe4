/**
 * The meter's wall clock. A Pi Zero has none: after a power failure the time begins at a bound, the latest of the build and
 * the trusted time stored last, and counts as not set until somebody who is trusted sets it. Between two settings it runs
 * on the kernel's steady clock, also over a restart of the process.
 *
 * Whoever knows a time offers it with the trust that it has:
 *
 *   person     a client with the right to set the clock, or someone at the device: taken
 *   service    an authenticated source; one alone takes the time forward by a day at most, and by another one a month, in however
 *              many steps and over power failures; what is beyond needs a second source that agrees
 *   host       the system's clock, whatever sets it (NTP): taken with `clock.source = "system"` only
 *
 * Nobody takes the time back below the bound, but for a correction of at most an hour: what has expired stays expired, since
 * certificates are judged by `latestMs`.
 */

import { readFileSync } from 'node:fs';
import { equalBytes, readU48, writeU48 } from '#base/bytes';
import type { SteadyClock, WallClock as SystemClock } from '#base/crypto';
import type { ClockReading } from '#dlms/cosem/clock';
import type { SettingStore } from '#dlms/cosem/setting';
import type { Log } from '#hw/log';

export type Trust = 'person' | 'service' | 'host';

export interface WallClockOptions {
  /** The host's clock is the time (laboratories), or nothing but the bound is. */
  readonly source: 'system' | 'bound';
  /** Time of the build, ms since the epoch. */
  readonly buildMs: number;
  readonly settings: SettingStore;
  /** Steady ms since the power came, over restarts of the process. */
  readonly steadyClock: SteadyClock;
  /** Tells one time of power from another; 16 bytes. */
  readonly bootId: Uint8Array;
  readonly systemClock: SystemClock;
  readonly log?: Log | undefined;
}

const KEY = 'time';
const SET_AT = 6;
const STEADY_AT = 7;
const BOOT_AT = 13;
const BOOT_ID_SIZE = 16;
const ALLOWANCE_AT = BOOT_AT + BOOT_ID_SIZE;
const RECORD_SIZE = ALLOWANCE_AT + 6;
const LATEST_TIME = Date.UTC(2100, 0, 1);
const STORE_EVERY_MS = 900_000;
/** How far below the latest trusted time a correction may go. */
const CORRECTION_MS = 3_600_000;
/** By how much a service alone takes the time forward; after that by a thirtieth of the time for which the meter has run. */
const SURE_JUMP_MS = 86_400_000;
const REGAIN = 1 / 30;
/** Two sources that differ by less agree. */
const AGREEMENT_MS = 60_000;

export class WallClock {
  readonly #options: WallClockOptions;
  /** Latest trusted time, ms. */
  #bound: number;
  #base: number;
  #baseSteady: number;
  #isSet = false;
  #storedQuarter = Number.NaN;
  /** By how much a service alone may take the time forward, ms, at this steady time. */
  #allowance: number;
  #allowedAt: number;
  /** A jump that waits for a second source: what it would make of the time, as a difference from the steady clock. */
  #candidate: { readonly source: string; readonly offset: number } | undefined;
  /** With the host's clock: what clients have added to it. */
  #hostOffset = 0;

  constructor(options: WallClockOptions) {
    this.#options = options;
    const { buildMs, settings, steadyClock, bootId } = options;
    const stored = settings.get(KEY);
    // Older firmware stores no allowance: there is none, then.
    const record = stored && stored.length >= ALLOWANCE_AT ? stored : undefined;
    const last = record ? Math.min(readU48(record, 0), LATEST_TIME - 1) : 0;
    this.#bound = Math.max(buildMs, last);
    this.#base = this.#bound;
    this.#baseSteady = this.#allowedAt = steadyClock();
    this.#allowance = record ? Math.min(readU48(record, ALLOWANCE_AT), SURE_JUMP_MS) : SURE_JUMP_MS;
    if (!record || !equalBytes(record.subarray(BOOT_AT, ALLOWANCE_AT), bootId)) return;
    // The power has not failed: the steady clock has measured what has passed.
    const passed = this.#baseSteady - readU48(record, STEADY_AT);
    if (passed < -CORRECTION_MS) return;
    this.#base = Math.max(buildMs, last + passed);
    this.#isSet = record[SET_AT] === 1;
  }

  readonly read = (): ClockReading => {
    const { source, steadyClock, systemClock } = this.#options;
    if (source === 'system') {
      const epochMs = systemClock() + this.#hostOffset;
      if (epochMs >= this.#bound - CORRECTION_MS) return { epochMs, isSet: true };
    }
    return { epochMs: this.#base + steadyClock() - this.#baseSteady, isSet: this.#isSet && source === 'bound' };
  };

  /** The later of the present and the bound: a correction takes it back by a quarter of an hour at most, what is not stored. */
  get latestMs(): number {
    return Math.max(this.#bound, this.read().epochMs);
  }

  /**
   * Offers a time.
   * @param name  tells the sources of one trust apart
   * @returns whether the clock has it now
   */
  offer(epochMs: number, trust: Trust, name: string = trust): boolean {
    const { source, steadyClock, systemClock, log } = this.#options;
    if (trust === 'host' || !(epochMs >= this.#bound - CORRECTION_MS && epochMs < LATEST_TIME)) return false;
    const steadyMs = steadyClock();
    let allowance = SURE_JUMP_MS;
    if (trust === 'service') {
      const aheadMs = epochMs - this.read().epochMs;
      const left = this.#regained(steadyMs) - Math.max(0, aheadMs);
      const offset = epochMs - steadyMs;
      const other = this.#candidate;
      if (left >= 0) allowance = left;
      else if (!other || other.source === name || Math.abs(other.offset - offset) >= AGREEMENT_MS) {
        this.#candidate = { source: name, offset };
        log?.warn('needs a second service or a person', {
          source: name,
          ahead_s: aheadMs / 1000,
        });
        return false;
      }
    }
    this.#allowance = allowance;
    this.#allowedAt = steadyMs;
    this.#candidate = undefined;
    this.#base = epochMs;
    this.#baseSteady = steadyMs;
    this.#isSet = true;
    if (source === 'system') this.#hostOffset = epochMs - systemClock();
    this.#store();
    return true;
  }

  /** Stores the bound when a quarter of an hour has passed; call it about once a second, behind the captures. */
  tick(): void {
    const { epochMs, isSet } = this.read();
    const quarter = Math.floor(epochMs / STORE_EVERY_MS);
    if (!isSet || quarter === this.#storedQuarter) return;
    this.#storedQuarter = quarter;
    this.#store();
  }

  /** What a service alone is allowed at a steady time, ms. */
  #regained(steadyMs: number): number {
    return Math.min(SURE_JUMP_MS, this.#allowance + REGAIN * (steadyMs - this.#allowedAt));
  }

  #store(): void {
    const { settings, steadyClock, bootId } = this.#options;
    const { epochMs } = this.read();
    this.#bound = Math.max(this.#bound, Math.floor(epochMs));
    const record = new Uint8Array(RECORD_SIZE);
    // The bound never goes back; after a correction the steady clock has less to add.
    writeU48(record, 0, this.#bound);
    record[SET_AT] = 1;
    writeU48(record, STEADY_AT, Math.max(0, Math.floor(steadyClock() + this.#bound - epochMs)));
    record.set(bootId, BOOT_AT);
    writeU48(record, ALLOWANCE_AT, Math.floor(this.#regained(steadyClock())));
    if (!settings.set(KEY, record)) settings.keep(KEY, record);
  }
}

/** Identity of this time of power, from the kernel; random where there is none, so that nothing is carried over. */
export function readBootId(random: (length: number) => Uint8Array): Uint8Array {
  try {
    const text = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1');
    return Uint8Array.from(Buffer.from(text.replace(/[^0-9a-f]/g, ''), 'hex')).slice(0, BOOT_ID_SIZE);
  } catch {
    return random(BOOT_ID_SIZE);
  }
}

/** Steady ms since the power came. */
export const steadySinceBoot: SteadyClock = () => {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
};
