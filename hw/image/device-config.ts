/** The configuration of a card: the one that it gets when none is given, and what the device's own bundle makes of it. */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, invalidConfig } from '#base/errors';
import { DISPLAY_DRIVERS } from '#hw/display/open';
import { RELAY_DRIVERS } from '#hw/relay/open';
import type { Device } from './units.ts';

type Flags = Readonly<Record<string, string | boolean | undefined>>;

/** Files of a key folder that have a place in the configuration. */
const KEY_FILES: readonly (readonly [file: string, section: string, key: string, folder: string])[] = [
  ['dlms.toml', 'dlms', 'key_file', '/etc/s3mp/keys'],
  ['command.pem', 'dlms', 'command_key_file', '/etc/s3mp/keys'],
  ['root.pem', 'dlms', 'root_file', '/etc/s3mp/keys'],
  ['password.txt', 'dlms', 'password_file', '/etc/s3mp/keys'],
  ['release.pem', 'image', 'release_key_file', '/etc/s3mp'],
];

/** State partition of the card; the unit's sandbox lets nothing else be written for good. */
const STATE = '/var/lib/s3mp';

/** Flags that make a configuration, for a device that gets none. */
const METER_FLAGS = ['serial', 'address', 'relay', 'display'] as const;

const isHardware = (driver: string) => driver !== 'sim';
const DRIVERS = { relay: RELAY_DRIVERS.filter(isHardware), display: DISPLAY_DRIVERS.filter(isHardware) };

function driverOf(flags: Flags, part: 'relay' | 'display', preset: string): string {
  const driver = String(flags[part] ?? preset);
  if (!(DRIVERS[part] as readonly string[]).includes(driver))
    throw new ConfigError('usage.invalid', `--${part} ${driver}: expected one of ${DRIVERS[part].join(', ')}`);
  return driver;
}

/** @throws ConfigError `usage.invalid` for flags that a whole configuration leaves no room for */
export function checkConfigFlags(flags: Flags): void {
  const given = METER_FLAGS.filter((name) => flags[name] !== undefined).map((name) => `--${name}`);
  if (given.length > 0)
    throw new ConfigError(
      'usage.invalid',
      `${given.join(', ')} and --config exclude each other: write it into the file`,
    );
}

/**
 * What differs from the defaults on the reference hardware. The relay is left alone unless the flag names a driver: its
 * wiring has to be checked first.
 * @param flags  `serial`, `address`, `relay`, `display`, `topology`, `keys` of the command line
 * @returns text of the TOML file
 * @throws ConfigError `usage.invalid` naming what is missing
 */
export function deviceConfig(device: Device, flags: Flags): string {
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
    ['relay', [`driver = ${JSON.stringify(driverOf(flags, 'relay', 'none'))}`]],
    ['display', [`driver = ${JSON.stringify(driverOf(flags, 'display', 'auto'))}`]],
    ['scion', ['topology = "/etc/s3mp/topology.json"', `address = ${JSON.stringify(flags.address)}`]],
    ['state', [`directory = "${STATE}"`]],
  ]);
  for (const [file, section, key, folder] of KEY_FILES) {
    if (typeof flags.keys !== 'string' || !existsSync(join(flags.keys, file))) continue;
    sections.set(section, [...(sections.get(section) ?? []), `${key} = "${folder}/${file}"`]);
  }
  const body = [...sections].map(([section, lines]) => `\n[${section}]\n${lines.join('\n')}\n`);
  return head + body.join('');
}

/** Values of a configuration by key, as the device resolves them; those that nobody has set are the defaults. */
export type ResolvedConfig = ReadonlyMap<string, { readonly value: unknown; readonly isDefault: boolean }>;

/**
 * Lets the device's own bundle judge a configuration.
 * @param bundles  folder of the bundles
 * @throws ConfigError `config.invalid`, also for a meter that shares its name or has no address
 */
export function resolveConfig(device: Device, bundles: string, config: string): ResolvedConfig {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-config-'));
  try {
    const file = join(folder, 'device.toml');
    writeFileSync(file, config);
    const words = [join(bundles, `${device}.js`), 'config', 'check', '--json', '--config', file];
    const { status, stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
    if (status !== 0) {
      const said = (/"message":(".*")/.exec(stderr ?? '')?.[1] ?? stderr ?? '').trim().replaceAll(file, 'it');
      throw invalidConfig(`${device}.js does not accept the configuration: ${said}`);
    }
    const lines = stdout.trim().split('\n');
    const resolved: ResolvedConfig = new Map(
      lines.map((line) => {
        const { key, value, source } = JSON.parse(line) as { key: string; value: unknown; source: string };
        return [key, { value, isDefault: source === 'default' }];
      }),
    );
    if (device === 'firmware') checkIdentity(resolved);
    return resolved;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function checkIdentity(resolved: ResolvedConfig): void {
  if (resolved.get('scion.address')?.value === null)
    throw invalidConfig('the configuration has no scion.address, the address of the meter');
  if (resolved.get('meter.serial')?.isDefault !== false)
    throw invalidConfig('the configuration has no meter.serial: meters without it share their name and system title');
  const state = String(resolved.get('state.directory')?.value);
  if (state !== STATE && !state.startsWith(`${STATE}/`))
    throw invalidConfig(`state.directory ${state}: the service keeps what it writes to ${STATE} only`);
}
