/**
 * The self-test: what is looked at, in which order, and what to do about each failure. `self-test-device.ts` looks at the
 * parts one by one, with the meter stopped; a running meter answers a client from what it knows.
 */

import { closeSync, existsSync, fsyncSync, openSync, readFileSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { SteadyClock } from '#base/crypto';
import { messageOf } from '#base/errors';
import type { ClockReading } from '#dlms/cosem/clock';
import type { Config } from '#hw/config';
import { nodeCrypto } from '#hw/crypto';
import type { Display } from '#hw/display';
import { readCommandVerifier, readKeyFile } from '#hw/dlms-keys';
import { readSecretFile } from '#hw/files';
import { makeFolder } from '#hw/medium';
import { readKeyPair, readPemFile } from '#hw/pki-files';
import type { BytePort } from '#hw/serial/port';
import { Doubt } from '#modbus/plausibility';
import { type MeasurementImage, Quantity } from './measurement-image.ts';

/** Checks in their order, and what to do when one fails. */
export const HINTS = {
  bus: 'check A and B; self-test --scan finds unit, speed and framing',
  registers: 'another register map? set serial.map',
  relay: 'check relay.driver, relay.pin and the wiring; a solid-state relay fails short',
  display: 'check its wiring, display.bus and display.address, or set display.driver = "none"',
  storage: 'make room in state.directory; a worn card turns read-only: replace it',
  clock: 'set the time from the head end, or the time of this machine',
  keys: 'put the key files back, with mode 0600',
  address: 'stop the meter that runs here; scion.address must be one of this machine',
  path: 'is the gateway on and the power line up? there, gateway.js status says what is down',
} as const;
export type CheckName = keyof typeof HINTS;

/** Looks at a part. Returns what was found, in words; throws `Skipped`, or an Error that says what is wrong. */
export type Subject = Readonly<Record<CheckName, () => string | Promise<string>>>;

/** A part that is not there, or cannot be judged. */
export class Skipped extends Error {}

export interface Outcome {
  readonly check: CheckName;
  readonly result: 'PASS' | 'FAIL' | 'SKIP';
  readonly text: string;
  readonly hint?: string;
}

export const CHECK_NAMES = Object.keys(HINTS) as CheckName[];

/** Runs one check. */
export async function runCheck(subject: Subject, check: CheckName): Promise<Outcome> {
  try {
    return { check, result: 'PASS', text: await subject[check]() };
  } catch (error) {
    return failureOf(check, error);
  }
}

function failureOf(check: CheckName, error: unknown): Outcome {
  const text = messageOf(error);
  return error instanceof Skipped
    ? { check, result: 'SKIP', text }
    : { check, result: 'FAIL', text, hint: HINTS[check] };
}

/** One line for people. */
export function outcomeLine({ check, result, text, hint }: Outcome): string {
  return `${result} ${check.padEnd(9)} ${text}${hint ? ` -> ${hint}` : ''}`;
}

/** A result is given again for this long, so that nobody wears out the card by asking. */
const RESULT_LIFE_MS = 60_000;

/** The self-test of a running meter, whose checks do not wait. @returns what gives its result, a line a check */
export function liveSelfTest(subject: Subject, clock: SteadyClock): () => string {
  let result = '';
  let lookedAt = Number.NEGATIVE_INFINITY;
  return () => {
    if (clock() - lookedAt >= RESULT_LIFE_MS) {
      lookedAt = clock();
      result = resultNow(subject);
    }
    return result;
  };
}

function resultNow(subject: Subject): string {
  return CHECK_NAMES.map((check) => {
    try {
      return outcomeLine({ check, result: 'PASS', text: subject[check]() as string });
    } catch (error) {
      return outcomeLine(failureOf(check, error));
    }
  }).join('\n');
}

/** A bus and the driver in use, for people. */
export function busText({ name, driver }: BytePort): string {
  return driver ? `${name} by ${driver}` : name;
}

/** What is shown of the registers: quantity, name, scale, unit. */
const SHOWN: readonly (readonly [quantity: Quantity, name: string, scale: number, unit: string])[] = [
  [Quantity.voltage, 'voltage', 0.01, 'V'],
  [Quantity.current, 'current', 0.001, 'A'],
  [Quantity.frequency, 'frequency', 0.01, 'Hz'],
  [Quantity.activePower, 'power', 1, 'W'],
  [Quantity.powerFactor, 'power factor', 0.001, ''],
  [Quantity.activeEnergy, 'energy', 0.001, 'kWh'],
];

/** What the poll loop has found about the registers. @throws Error that names what cannot be; Skipped without values */
export function judgeRegisters(image: MeasurementImage, nowMs: number): string {
  const shown: string[] = [];
  const outside: string[] = [];
  let doubts = 0;
  for (const [quantity, name, scale, unit] of SHOWN) {
    if (!image.isFresh(quantity, nowMs)) continue;
    const text = `${Math.round(image.value(quantity) * scale * 1000) / 1000} ${unit}`.trim();
    shown.push(text);
    if (image.doubtsOf(quantity) & Doubt.range) outside.push(`${name} of ${text}`);
    doubts |= image.doubtsOf(quantity);
  }
  if (shown.length === 0) throw new Skipped('no fresh values');
  if (outside.length > 0) throw new Error(`${outside.join(', ')} cannot be`);
  if (doubts & (Doubt.contradiction | Doubt.step)) throw new Error(`they contradict each other: ${shown.join(', ')}`);
  return shown.join(', ');
}

export function judgeDisplay({ kind, fault }: Display): string {
  if (kind === 'none') throw new Skipped('no display is configured');
  if (fault !== undefined) throw new Error(`${kind}: ${fault}`);
  return kind;
}

const PROBE_SIZE = 4096;
const LEAST_FREE = 2 ** 21;

/** Writes a file to the card and reads it back. @throws Error */
export function probeStorage(folder: string): string {
  makeFolder(folder);
  const file = join(folder, 'self-test');
  const wanted = nodeCrypto.random(PROBE_SIZE);
  const descriptor = openSync(file, 'w', 0o600);
  try {
    writeSync(descriptor, wanted);
    fsyncSync(descriptor);
    if (!readFileSync(file).equals(wanted)) throw new Error(`${file} reads back other bytes than were written`);
  } finally {
    closeSync(descriptor);
    rmSync(file, { force: true });
  }
  const { bavail, bsize } = statfsSync(folder);
  const megabytes = Math.round((bavail * bsize) / 2 ** 20);
  if (bavail * bsize < LEAST_FREE) throw new Error(`only ${megabytes} MB are free in ${folder}`);
  return `${folder}, ${megabytes} MB free`;
}

export function judgeClock({ epochMs, isSet }: ClockReading): string {
  const text = new Date(epochMs).toISOString();
  if (!isSet) throw new Error(`the time is not set, it shows ${text}`);
  return text;
}

/** Reads the key files of the configuration, or those of an enrolled meter. @throws ConfigError without any key in its text */
export function checkKeys(config: Config): string {
  const found: string[] = [];
  const read = (key: string, name: string, how: (file: string) => unknown) => {
    const file = config.optionalString(key);
    if (file === undefined) return;
    how(file);
    found.push(name);
  };
  read('dlms.key_file', 'client 1', readKeyFile);
  read('dlms.command_key_file', 'commands', (file) =>
    readCommandVerifier(file, config.optionalString('dlms.root_file')),
  );
  read('dlms.password_file', 'client 17', readSecretFile);
  const folder = join(config.string('state.directory'), 'pki');
  const isEnrolled = existsSync(join(folder, 'trust.pem'));
  if (!config.has('dlms.key_file') && isEnrolled) {
    for (const name of ['signing.key', 'agreement.key']) readKeyPair(join(folder, name));
    found.push(`client 1, by ${readPemFile(join(folder, 'trust.pem')).certificates.length} certificates`);
  }
  if (found.length === 0) throw new Skipped('not enrolled yet: headend.js meter add takes the code on the display');
  return `keys for ${found.join(', ')}`;
}
