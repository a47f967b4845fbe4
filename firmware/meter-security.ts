/**
 * The meter's keys and counters out of its configuration: the management client's security setup, and who may sign commands.
 *
 * With a key file (`dlms.key_file`, mode `preshared`) keys stand in it; those that a client has transferred lie in the state
 * folder and win. Without one keys come from certificates (meter-certificates.ts), and until the meter has any, from the
 * one-time code that it shows.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { asciiBytes, writeU32 } from '#base/bytes';
import type { VerifyKey } from '#base/crypto';
import { ConfigError, invalidFile, messageOf, S3mpError } from '#base/errors';
import type { CommandPolicy } from '#dlms/cosem/logical-device';
import { type KeySet, ServerSecurity } from '#dlms/security';
import type { CommandAuthority } from '#dlms/signing';
import type { Config } from '#hw/config';
import { openCounterFile } from '#hw/counter-store';
import { nodeCrypto } from '#hw/crypto';
import { type KeyFile, readCommandVerifier, readKeyFile, writeKeyFile } from '#hw/dlms-keys';
import type { Log } from '#hw/log';
import type { ScionAddress } from '#scion/address';
import type { TrustTime } from '#session/trust';
import { MeterCertificates } from './meter-certificates.ts';
import { stateFolder } from './parts.ts';

export interface MeterSecurity {
  /** Without keys or a place for counters there is no management client. */
  readonly security: ServerSecurity | undefined;
  readonly commands: CommandPolicy;
  readonly authority: CommandAuthority | undefined;
  /** What holds the certificates, where keys do not stand in a file. */
  readonly certificates: MeterCertificates | undefined;
  /** Where keys or counters could not be used: looks again. @returns whether they can be used now, by a start */
  readonly retry?: () => boolean;
  close(): void;
}

/** What certificates name and are judged by. */
export interface MeterPlace {
  readonly address: ScionAddress;
  readonly time: () => TrustTime;
}

/** Characters of a serial number in the logical device name, which pads it with zeros. */
const SERIAL_SIZE = 13;

/**
 * System title: the manufacturer and the serial number as a number below 2³⁹; of a higher one, or one with letters, five
 * bytes of its hash with the top bit set. A signed command names its meter by this title, so no two meters may share one:
 * serial numbers share it that are the same in the logical device name, where leading zeros do not count.
 */
export function meterTitle(serial: string): Uint8Array {
  const title = new Uint8Array(8);
  title.set(asciiBytes('S3M'));
  const padded = serial.padStart(SERIAL_SIZE, '0');
  const number = /^\d{13}$/.test(padded) ? Number(padded) : Number.POSITIVE_INFINITY;
  if (number < 2 ** 39) {
    title[3] = Math.floor(number / 2 ** 32);
    writeU32(title, 4, number % 2 ** 32);
  } else {
    title.set(nodeCrypto.hash('sha256', asciiBytes(padded)).subarray(0, 5), 3);
    title[3]! |= 0x80;
  }
  return title;
}

/**
 * Reads a file that is not needed to measure: one that is missing, broken, or a certificate that has expired costs its own
 * use, also at a start after a power failure.
 * @returns undefined without such a file, and for one that cannot be used, which the log tells
 */
export function usable<T>(file: string | undefined, log: Log, cost: string, read: (file: string) => T): T | undefined {
  try {
    return file === undefined ? undefined : read(file);
  } catch (error) {
    if (!(error instanceof S3mpError)) throw error;
    log.error(cost, { error: messageOf(error) });
    return undefined;
  }
}

/**
 * Keys and counters that cannot be used are no reason not to measure: the management client is left out, the log says why
 * and what to do, and `retry` looks again.
 * @param place  without it a meter that has no key file has no management client
 */
export function openMeterSecurity(config: Config, log: Log, place?: MeterPlace): MeterSecurity {
  const commands = config.string('dlms.commands') as CommandPolicy;
  const commandFile = config.optionalString('dlms.command_key_file');
  const rootFile = config.optionalString('dlms.root_file');
  const time = place?.time ?? (() => ({ nowS: Math.floor(Date.now() / 1000), isLowerBound: false }));
  const verifier = usable(commandFile, log, 'no command key, what it has to sign is refused', (file) =>
    readCommandVerifier(file, rootFile, time),
  );
  const keyFile = config.optionalString('dlms.key_file');
  const none: MeterSecurity = {
    security: undefined,
    commands,
    authority: undefined,
    certificates: undefined,
    close: () => {},
  };
  const isCertified = keyFile === undefined && place !== undefined && config.boolean('enrolment.enabled');
  if (keyFile === undefined && !isCertified) return none;
  const folder = stateFolder(config);
  const serverTitle = meterTitle(config.string('meter.serial'));
  const base = { crypto: nodeCrypto, serverTitle };
  const openAll = (): MeterSecurity => {
    const initial = keyFile === undefined ? undefined : readKeyFile(keyFile);
    const transferred = join(folder, 'dlms-keys.toml');
    const preshared = initial && presharedOptions(initial, transferred);
    const certificates = isCertified ? new MeterCertificates({ folder, title: serverTitle, ...place, log }) : undefined;
    const file = join(folder, 'counters');
    if (!existsSync(file) && (certificates?.isEnrolled || (preshared && existsSync(transferred))))
      throw invalidFile(file, 'it is gone: counters that begin anew would repeat nonces');
    const counters = openCounterFile(file);
    const certified = certificates && {
      keys: nobodysKeys(),
      keysOf: certificates.keysOf,
      mayGuess: certificates.mayGuess,
    };
    const security = new ServerSecurity({ ...base, counters: counters.book, ...(preshared ?? certified!) });
    if (certificates) certificates.onChange = () => security.renew();
    const keys = [...(verifier ? [verifier] : []), ...(certificates ? [commandKeyOf(certificates)] : [])];
    const authority = keys.length > 0 ? authorityOf(keys, serverTitle, security) : undefined;
    return { security, commands, authority, certificates, close: () => counters.close() };
  };
  try {
    return openAll();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    // What is broken stays broken; a storage that fails may come back.
    const anew = isCertified
      ? `remove ${folder}/pki and ${folder}/counters, start it, and enrol it with headend.js meter replace`
      : `put new keys into ${keyFile} and the head end's file, remove ${folder}/counters and dlms-keys.toml, start it`;
    const remedy = error.code === 'config.invalid' ? `mend the file, or stop the meter, ${anew}` : 'tried again';
    log.error('no keys or no invocation counters, the management client is not offered', {
      error: messageOf(error),
      remedy,
    });
    return { ...none, retry: () => works(openAll) };
  }
}

function works(open: () => MeterSecurity): boolean {
  try {
    open().close();
    return true;
  } catch (error) {
    if (error instanceof ConfigError) return false;
    throw error;
  }
}

/** Options of a security setup with the keys of a file, or those that were transferred since. */
function presharedOptions(initial: KeyFile, transferred: string) {
  const { keys, policy } = existsSync(transferred) ? readKeyFile(transferred) : initial;
  return {
    suite: initial.suite,
    keys,
    ...(policy === undefined ? {} : { policy }),
    signing: initial.signing,
    clientKey: initial.peer,
    onChange: (next: KeySet, nextPolicy: number) => writeKeyFile(transferred, next, { policy: nextPolicy }),
  };
}

/** Keys under which nothing opens: every client's own are derived. */
function nobodysKeys(): KeySet {
  const key = () => nodeCrypto.random(16);
  return { unicast: key(), authentication: key(), master: key() };
}

const commandKeyOf = (certificates: MeterCertificates): VerifyKey => ({
  verify: (message, signature) => certificates.verifyCommand(message, signature),
});

function authorityOf(keys: readonly VerifyKey[], title: Uint8Array, { options }: ServerSecurity): CommandAuthority {
  return { keys, title, accept: (number) => options.counters.acceptCommand(number) };
}
