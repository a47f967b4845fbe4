/**
 * Everything around an emulated board, from the bundles of the field, in a network namespace of its own:
 *
 *   head end 127.59.110.10     1-ff00:0:110 (core)  #1 ===== #41  1-ff00:0:111   tap device ~ USB Ethernet ~ board
 *                              gateway.js                         gateway.js 10.59.0.1                  10.59.0.2
 *
 * The energy meter is pymodbus on a pseudo terminal; the house behind the contact obeys the level of the board's pin.
 */

import { spawnSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeKeyFile } from '#hw/dlms-keys';
import { writeAsFiles } from '#hw/lab/as-files';
import { type DeviceLogLine, LabProcess } from '#hw/lab/process';
import { DARK_HOUSE, HOUSE, registersOf } from '../interop/pymodbus.ts';

export const BOARD_ADDRESS = '10.59.0.2';
export const DLMS_PORT = 4059;
export const TAP = 'tap0';
const HOST_ADDRESS = '10.59.0.1';
const HEADEND_IA = '1-ff00:0:110';
const METER_IA = '1-ff00:0:111';
const SERIAL = '0000000000059';
export const METER_ID = `S3M${SERIAL}`;

/** Registers of the energy meter of a house whose contact is closed or open. */
export const houseRegisters = (connected: boolean) => registersOf(connected ? HOUSE : DARK_HOUSE);

/**
 * Runs the calling bundle again in a namespace where it may make tap devices, without rights outside.
 * @returns its exit status; undefined in the namespace itself
 */
export function enterNamespace(script: string, args: readonly string[] = []): number | undefined {
  if (process.env.S3MP_BOARD_NAMESPACE) return undefined;
  const unshare = [
    '--user',
    '--map-root-user',
    '--net',
    '--',
    process.execPath,
    '--enable-source-maps',
    script,
    ...args,
  ];
  const env = { ...process.env, S3MP_BOARD_NAMESPACE: '1' };
  return spawnSync('unshare', unshare, { stdio: 'inherit', env }).status ?? 1;
}

export const hasNamespaces = (): boolean =>
  spawnSync('unshare', ['--user', '--map-root-user', '--net', 'ip', 'tuntap', 'add', 'dev', TAP, 'mode', 'tap'])
    .status === 0;

function ip(...words: string[]): void {
  const { status, stderr } = spawnSync('ip', words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${words.join(' ')}: ${stderr}`);
}

export interface World {
  /** Folder with the keys of the meter: dlms.toml, command.pem, password.txt. */
  readonly keys: string;
  readonly password: string;
  /** topology.json of the meter's AS. */
  readonly topology: string;
  readonly pageUrl: string;
  stop(): Promise<void>;
}

/**
 * @param folder  for keys and logs
 * @param bundles  folder of gateway.js and headend.js
 */
export async function startWorld(folder: string, bundles: string): Promise<World> {
  ip('link', 'set', 'lo', 'up');
  ip('tuntap', 'add', 'dev', TAP, 'mode', 'tap');
  ip('addr', 'add', `${HOST_ADDRESS}/24`, 'dev', TAP);
  ip('link', 'set', TAP, 'up');

  const link = (ia: string, id: number, net: number) => ({ ia, id, local: `127.59.${net}.1:50000` });
  const description = {
    ases: [
      { ia: HEADEND_IA, core: true, internal: '127.59.110.1:30042', control: '127.59.110.2:30252' },
      { ia: METER_IA, internal: `${HOST_ADDRESS}:30042`, control: `${HOST_ADDRESS}:30252` },
    ],
    links: [{ a: link(HEADEND_IA, 1, 110), b: link(METER_IA, 41, 111), role: 'child' as const }],
  };
  const { folders } = writeAsFiles(description, folder);
  const topology = (ia: string) => join(folders.get(ia)!, 'topology.json');

  const keys = join(folder, 'keys');
  mkdirSync(keys, { mode: 0o700 });
  const keyFile = join(keys, 'dlms.toml');
  const key = () => randomBytes(16);
  writeKeyFile(keyFile, { unicast: key(), authentication: key(), master: key() });
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const commandKey = join(folder, 'command-key.pem');
  writeFileSync(commandKey, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  writeFileSync(join(keys, 'command.pem'), publicKey.export({ type: 'spki', format: 'pem' }), { mode: 0o600 });
  const password = randomBytes(12).toString('base64url');
  writeFileSync(join(keys, 'password.txt'), password, { mode: 0o600 });

  const running: LabProcess[] = [];
  const start = (name: string, script: string, args: readonly string[]): Promise<DeviceLogLine> => {
    const spec = { name, node: process.execPath, nodeFlags: [], script: join(bundles, script), args };
    const child = new LabProcess({ ...spec, logFile: join(folder, `${name}.log`) }, () => {});
    running.push(child);
    return child.start();
  };
  const stop = async () => {
    await Promise.all(running.map((child) => child.stop()));
    for (const child of running) child.close();
  };

  mkdirSync(join(folder, 'headend'), { mode: 0o700 });
  const headend = join(folder, 'headend', 'headend.toml');
  const at = (name: string) => join(folder, 'headend', name);
  writeFileSync(
    headend,
    `[http]\nport = 0\nlab_mode = true\ntoken_file = "${at('token')}"
[store]\nfile = "${at('headend.db')}"
[scion]\ntopology = "${topology(HEADEND_IA)}"\naddress = "127.59.110.10"
[dlms]\nstarts_file = "${at('starts')}"\ncommand_key_file = "${commandKey}"
[fleet]\nsettle_s = 60
[[meters]]\nid = "${METER_ID}"\naddress = "[${METER_IA},${BOARD_ADDRESS}]:${DLMS_PORT}"\nkey_file = "${keyFile}"\n`,
    { mode: 0o600 },
  );
  try {
    await Promise.all(
      [...folders.values()].map((directory, i) => start(`gateway-${i}`, 'gateway.js', ['--as-directory', directory])),
    );
    const ready = await start('headend', 'headend.js', ['serve', '--config', headend]);
    return { keys, password, topology: topology(METER_IA), pageUrl: String(ready.url), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Configuration of the board's meter, with the keys where flash puts them. @param display  its table */
export const firmwareToml = (display: string): string => `
[meter]
serial = "${SERIAL}"
[serial]
url = "/dev/ttyAMA0"
[relay]
driver = "sysfs"
pin = 17
[display]
${display}
[scion]
topology = "/etc/s3mp/topology.json"
address = "${BOARD_ADDRESS}"
[dlms]
tcp_address = "${BOARD_ADDRESS}:${DLMS_PORT}"
key_file = "/etc/s3mp/keys/dlms.toml"
command_key_file = "/etc/s3mp/keys/command.pem"
password_file = "/etc/s3mp/keys/password.txt"
[clock]
source = "system"
[state]
directory = "/var/lib/s3mp"
`;
