/** The configuration that a card gets when none is given: what differs from the defaults on the reference hardware. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '#base/errors';
import type { Device } from './units.ts';

/** Files of a key folder that have a place in the configuration. */
const KEY_FILES: readonly (readonly [file: string, section: string, key: string, folder: string])[] = [
  ['dlms.toml', 'dlms', 'key_file', '/etc/s3mp/keys'],
  ['command.pem', 'dlms', 'command_key_file', '/etc/s3mp/keys'],
  ['root.pem', 'dlms', 'root_file', '/etc/s3mp/keys'],
  ['password.txt', 'dlms', 'password_file', '/etc/s3mp/keys'],
  ['release.pem', 'image', 'release_key_file', '/etc/s3mp'],
];

/**
 * @param flags  `serial`, `address`, `topology`, `keys` of the command line
 * @returns text of the TOML file
 * @throws ConfigError `usage.invalid` naming what is missing
 */
export function deviceConfig(device: Device, flags: Readonly<Record<string, string | boolean | undefined>>): string {
  const head = `# Configuration of this ${device === 'firmware' ? 'meter' : 'gateway'}; docs/configuration.md has every key.\n`;
  if (device === 'gateway') {
    if (flags.as === undefined)
      throw new ConfigError('usage.invalid', "give --as DIR (the gateway's AS directory) or --config FILE");
    return `${head}\n[as]\ndirectory = "/etc/scion"\n`;
  }
  const missing = ['serial', 'address', 'topology'].filter((name) => flags[name] === undefined);
  if (missing.length > 0)
    throw new ConfigError(
      'usage.invalid',
      `give ${missing.map((name) => `--${name}`).join(', ')}, or --config FILE with a whole configuration`,
    );
  const sections = new Map<string, string[]>([
    ['meter', [`serial = ${JSON.stringify(flags.serial)}`]],
    ['scion', ['topology = "/etc/s3mp/topology.json"', `address = ${JSON.stringify(flags.address)}`]],
    ['state', ['directory = "/var/lib/s3mp"']],
  ]);
  for (const [file, section, key, folder] of KEY_FILES) {
    if (typeof flags.keys !== 'string' || !existsSync(join(flags.keys, file))) continue;
    sections.set(section, [...(sections.get(section) ?? []), `${key} = "${folder}/${file}"`]);
  }
  const body = [...sections].map(([section, lines]) => `\n[${section}]\n${lines.join('\n')}\n`);
  return head + body.join('');
}
