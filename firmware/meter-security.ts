/**
 * The meter's keys and counters out of its configuration: the management client's security setup, who may sign commands,
 * and the public client where it is wanted. Keys that a client has transferred lie in the state folder and win over those
 * of the configuration.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { asciiBytes, writeU32 } from '#base/bytes';
import type { VerifyKey } from '#base/crypto';
import { ConfigError, messageOf } from '#base/errors';
import type { CommandPolicy } from '#dlms/cosem/logical-device';
import { ServerSecurity } from '#dlms/security';
import type { CommandAuthority } from '#dlms/signing';
import type { Config } from '#hw/config';
import { openCounterFile } from '#hw/counter-store';
import { nodeCrypto } from '#hw/crypto';
import { readCommandVerifier, readKeyFile, writeKeyFile } from '#hw/dlms-keys';
import type { Log } from '#hw/log';

export interface MeterSecurity {
  /** Without keys or a place for counters there is no management client. */
  readonly security: ServerSecurity | undefined;
  readonly commands: CommandPolicy;
  readonly authority: CommandAuthority | undefined;
  close(): void;
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
 * @throws ConfigError for key files that cannot be used. Counters that cannot be kept are no reason not to measure: the
 *   management client is left out, and the log says why.
 */
export function openMeterSecurity(config: Config, log: Log): MeterSecurity {
  const commands = config.string('dlms.commands') as CommandPolicy;
  const commandFile = config.optionalString('dlms.command_key_file');
  const verifier = commandFile === undefined ? undefined : readCommandVerifier(commandFile);
  const keyFile = config.optionalString('dlms.key_file');
  const none: MeterSecurity = { security: undefined, commands, authority: undefined, close: () => {} };
  if (keyFile === undefined) return none;
  const folder = config.string('state.directory');
  const transferred = join(folder, 'dlms-keys.toml');
  const initial = readKeyFile(keyFile);
  const { keys, policy } = existsSync(transferred) ? readKeyFile(transferred) : initial;
  const serverTitle = meterTitle(config.string('meter.serial'));
  try {
    const counters = openCounterFile(join(folder, 'counters'));
    const security = new ServerSecurity({
      crypto: nodeCrypto,
      counters: counters.book,
      serverTitle,
      suite: initial.suite,
      keys,
      ...(policy === undefined ? {} : { policy }),
      signing: initial.signing,
      clientKey: initial.peer,
      onChange: (next, nextPolicy) => writeKeyFile(transferred, next, { policy: nextPolicy }),
    });
    const authority = verifier && authorityOf(verifier, serverTitle, security);
    return { security, commands, authority, close: () => counters.close() };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    log.error('no invocation counters, the management client is not offered', { error: messageOf(error) });
    return none;
  }
}

function authorityOf(verifier: VerifyKey, title: Uint8Array, { options }: ServerSecurity): CommandAuthority {
  return { keys: [verifier], title, accept: (number) => options.counters.acceptCommand(number) };
}
