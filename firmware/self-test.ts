/**
 * The self-test: what is looked at, in which order, and what to do about each failure. `self-test-device.ts` looks at the
 * parts one by one, with the meter stopped; a running meter answers a client from what it knows.
 */

import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { SteadyClock } from '#base/crypto';
import { messageOf } from '#base/errors';
import { utcText } from '#base/time-text';
import type { ClockReading } from '#dlms/cosem/clock';
import type { Config } from '#hw/config';
import { nodeCrypto } from '#hw/crypto';
import type { Display } from '#hw/display';
import { readCommandVerifier, readKeyFile } from '#hw/dlms-keys';
import { readSecretFile } from '#hw/files';
import { readKeyPair, readPemFile } from '#hw/pki-files';
import type { BytePort } from '#hw/serial/port';
import { Doubt } from '#modbus/plausibility';
import { type MeasurementImage, Quantity } from './measurement-image.ts';
import { stateFolder } from './parts.ts';

const STOP = 'stop the meter first: sudo systemctl stop s3mp-meter';

/** Checks in their order, and what to do for each cause: the first whose pattern is in the text; '' where that says it. */
export const HINTS = {
  bus: [
    [/refuses/, 'self-test --scan finds serial.map'],
    [/answer/, 'is it powered, A and B not swapped? self-test --scan finds unit, speed and framing'],
    [/^tcp/, 'is the device server on? check serial.url'],
    [/does not take/, 'dtoverlay=disable-bt in config.txt, and serial.url = "/dev/ttyAMA0"'],
    [/holds the port/, STOP],
    [/\)$/, ''],
    [/./, 'check serial.url'],
  ],
  registers: [[/./, 'self-test --scan says which serial.map fits']],
  relay: [
    [/meter that runs/, STOP],
    [/belongs/, 'another line of config.txt has relay.pin: take it out'],
    [/EACCES/, 'the user must be in the group gpio'],
    [/flow|while OFF/, 'the contact hangs (solid-state relays fail short), or the load is wired past it'],
    [/read back|follow|moved/, 'check its coil and supply, relay.pin, relay.energised'],
    [/dtoverlay|relay\.chip|driver$/, ''],
    [/./, 'check relay.driver and relay.pin'],
  ],
  display: [
    [/i2c-tools|overlay|addon/, ''],
    [/No such file|ENOENT/, 'dtparam=i2c_arm=on in config.txt and i2c-dev in /etc/modules'],
    [/EACCES|denied/, 'the user must be in the group i2c'],
    [/./, 'check its four wires and display.address (i2cdetect -y 1); without one set display.driver = "none"'],
  ],
  storage: [
    [/ENOSPC|free in/, 'make room in state.directory'],
    [/EACCES/, 'sudo chown -R s3mp: that folder'],
    [/EROFS|EIO|other bytes/, 'is its partition mounted? a worn card turns read-only: replace it'],
    [/./, 'check state.directory'],
  ],
  clock: [
    [/of this machine/, 'set it: timedatectl'],
    [/./, 'with the meter started: headend.js sync-clock METER'],
  ],
  keys: [
    [/chmod/, ''],
    [/EACCES/, 'sudo chown s3mp: that file'],
    [/pki/, 'enrol again: move the folder pki away, headend.js meter add'],
    [/believed/, 'put a certificate that is valid there'],
    [/ENOENT/, 'put it back, or take its key out of the configuration'],
    [/./, 'put the right file there again'],
  ],
  address: [
    [/in use/, STOP],
    [/EACCES/, 'sudo chmod a+r that file; a scion.port below 1024 needs rights'],
    [/json/i, "put topology.json of this meter's AS there, or set scion.topology"],
    [/./, ''],
  ],
  path: [
    [/REFUSED|status/, 'the gateway is on, its path service is not: gateway.js status there'],
    [/no path/, 'gateway.js status there says which link is down'],
    [/./, 'are network cable, gateway and power line well? ping it'],
  ],
} as const satisfies Record<string, readonly (readonly [cause: RegExp, hint: string])[]>;
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
  const text = messageOf(error).replace(/\s+/g, ' ');
  if (error instanceof Skipped) return { check, result: 'SKIP', text };
  const hint = HINTS[check].find(([cause]) => cause.test(text))?.[1];
  return { check, result: 'FAIL', text, ...(hint ? { hint } : {}) };
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

export const noFolder = (folder: string) => `no folder ${folder} yet: the meter makes it when it starts`;

/** Writes a file to the card and reads it back; looks whether the others can be used. @throws Error */
export function probeStorage(folder: string): string {
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
  for (const name of readdirSync(folder)) accessSync(join(folder, name), constants.R_OK | constants.W_OK);
  const { bavail, bsize } = statfsSync(folder);
  const megabytes = Math.round((bavail * bsize) / 2 ** 20);
  if (bavail * bsize < LEAST_FREE) throw new Error(`only ${megabytes} MB are free in ${folder}`);
  return `${folder}, ${megabytes} MB free`;
}

/** @param source  `clock.source` */
export function judgeClock({ epochMs, isSet }: ClockReading, source: string): string {
  const text = utcText(epochMs);
  if (isSet) return text;
  throw new Error(
    source === 'system'
      ? `the time of this machine is before what the meter has seen, ${text}`
      : `the time is not set, it shows ${text}`,
  );
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
  const folder = join(stateFolder(config), 'pki');
  const isEnrolled = existsSync(join(folder, 'trust.pem'));
  if (!config.has('dlms.key_file') && isEnrolled) {
    for (const name of ['signing.key', 'agreement.key']) readKeyPair(join(folder, name));
    found.push(`client 1, by ${readPemFile(join(folder, 'trust.pem')).certificates.length} certificates`);
  }
  if (found.length === 0) throw new Skipped('not enrolled yet: headend.js meter add takes the code on the display');
  return `keys for ${found.join(', ')}`;
}
