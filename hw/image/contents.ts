/** What goes onto a card: files of the system's root with mode and content, links and folders. */

import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError, messageOf } from '#base/errors';
import type { Processor } from './elf.ts';
import type { NodeArchive } from './node-archive.ts';
import { BUILD_ADDONS, OVERLAY_INIT, setupScript } from './scripts.ts';
import {
  DEVICES,
  type Device,
  JOURNALD_CONF,
  MODULES,
  NODE_UNIT,
  runScript,
  SETUP_UNIT,
  SYSTEM_CONF,
  SYSUSERS,
  serviceUnit,
  UDEV_RULES,
} from './units.ts';

/** One thing of the root; all belong to root:root at first, secrets are given to the service by its setup. */
export type Item =
  | {
      readonly kind: 'file';
      readonly path: string;
      readonly mode: number;
      readonly bytes: Uint8Array;
      /** A key: 0600, never replaced unasked. */
      readonly isSecret?: boolean;
    }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  | { readonly kind: 'folder'; readonly path: string; readonly mode: number };

export interface ContentOptions {
  readonly device: Device;
  readonly version: string;
  /** Folder with the bundles, `dist`. */
  readonly bundles: string;
  /** Text of the device's configuration. */
  readonly config: string;
  readonly node: NodeArchive | 'apt';
  readonly processors: readonly Processor[];
  /** Folder of keys, for /etc/s3mp/keys. */
  readonly keys: string | undefined;
  /** Directory of the gateway's AS, for /etc/scion. */
  readonly asDirectory: string | undefined;
  /** topology.json of the meter's AS. */
  readonly topology: string | undefined;
}

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const text = (content: string) => Uint8Array.from(Buffer.from(content, 'utf8'));
const SYSTEM = '/etc/systemd/system';

/** @throws ConfigError `config.unreadable` */
function load(file: string, hint: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new ConfigError('config.unreadable', `cannot read ${file}: ${messageOf(error)}; ${hint}`, { file }, error);
  }
}

function filesBelow(folder: string, hint: string): string[] {
  if (!existsSync(folder) || !statSync(folder).isDirectory())
    throw new ConfigError('config.unreadable', `${folder} is not a folder; ${hint}`, { folder });
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => statSync(join(folder, name)).isFile())
    .sort();
}

/** serialport's native part for the processors that the card's Node.js may be built for. */
function prebuilds({ bundles, processors }: ContentOptions): Item[] {
  const folder = join(bundles, 'prebuilds');
  const fits = (name: string) =>
    processors.some((processor) =>
      processor === 'arm64'
        ? name.startsWith('linux-arm64/') && !name.includes('musl')
        : name.startsWith('linux-arm/') && name.includes(`.${processor}.`) && !name.includes('musl'),
    );
  return filesBelow(folder, 'run npm run build')
    .filter(fits)
    .map((name) => file(`/opt/s3mp/prebuilds/${name}`, 0o644, load(join(folder, name), 'run npm run build')));
}

const file = (path: string, mode: number, bytes: Uint8Array, isSecret = false): Item => ({
  kind: 'file',
  path,
  mode,
  bytes,
  ...(isSecret ? { isSecret } : {}),
});

/** The certificates and the topology of an AS are public, its keys are not. */
function isSecretOfAs(name: string): boolean {
  return name.startsWith('keys/') || /\.(key|pem\.key)$/.test(name) || /^crypto\/.*\.key$/.test(name);
}

function keyItems(folder: string, to: string, isSecret: (name: string) => boolean): Item[] {
  const names = filesBelow(folder, 'give the folder with the keys');
  if (names.length === 0) throw new ConfigError('config.invalid', `${folder} holds no file`, { folder });
  return names.map((name) => {
    const secret = isSecret(name);
    const bytes = load(join(folder, name), '');
    return file(`${to}/${name}`, secret ? 0o600 : 0o644, bytes, secret);
  });
}

/**
 * The key that firmware images are checked with stays root's: what a firmware may replace must not be what judges the next.
 * @throws ConfigError `config.invalid` for the private half
 */
function releaseKey(item: Item): Item {
  if (item.kind !== 'file' || item.path !== '/etc/s3mp/keys/release.pem') return item;
  if (!/-----BEGIN PUBLIC KEY-----/.test(Buffer.from(item.bytes).toString('latin1')))
    throw new ConfigError(
      'config.invalid',
      'release.pem is no public key: give the .pub file of npm run image -- keygen',
    );
  return file('/etc/s3mp/release.pem', 0o644, item.bytes);
}

/** Everything in the order of its paths, the manifest last. @throws ConfigError for sources that are missing */
export function contentsOf(options: ContentOptions): Item[] {
  const { device, bundles, node, version } = options;
  const { service, config } = DEVICES[device];
  const built = 'run npm run build';
  const links = ['s3mp-setup', service, ...(node === 'apt' ? ['s3mp-node'] : [])].map(
    (unit): Item => ({
      kind: 'link',
      path: `${SYSTEM}/multi-user.target.wants/${unit}.service`,
      target: `${SYSTEM}/${unit}.service`,
    }),
  );
  const bundle = (name: string) => file(`/opt/s3mp/${name}`, 0o644, load(join(bundles, name), built));
  const items: Item[] = [
    bundle(`${device}.js`),
    ...(device === 'firmware' ? [bundle('launcher.js'), ...prebuilds(options)] : []),
    ...(node === 'apt'
      ? [file(`${SYSTEM}/s3mp-node.service`, 0o644, text(NODE_UNIT))]
      : [file('/opt/s3mp/bin/node', 0o755, node.program)]),
    ...(node !== 'apt' && node.licence ? [file('/opt/s3mp/LICENSE.node', 0o644, node.licence)] : []),
    file('/opt/s3mp/bin/run', 0o755, text(runScript(device))),
    file('/opt/s3mp/bin/setup', 0o755, text(setupScript(device, node === 'apt'))),
    file('/opt/s3mp/bin/overlay-init', 0o755, text(OVERLAY_INIT)),
    file(config, 0o644, text(options.config)),
    file(`${SYSTEM}/${service}.service`, 0o644, text(serviceUnit(device))),
    file(`${SYSTEM}/s3mp-setup.service`, 0o644, text(SETUP_UNIT)),
    ...links,
    // The swap file of older releases; newer ones swap to RAM.
    { kind: 'link', path: `${SYSTEM}/dphys-swapfile.service`, target: '/dev/null' },
    file('/etc/systemd/system.conf.d/s3mp.conf', 0o644, text(SYSTEM_CONF)),
    file('/etc/systemd/journald.conf.d/s3mp.conf', 0o644, text(JOURNALD_CONF)),
    file('/etc/sysusers.d/s3mp.conf', 0o644, text(SYSUSERS)),
    ...(device === 'firmware'
      ? [
          file('/opt/s3mp/bin/s3mp-build-addons', 0o755, text(BUILD_ADDONS)),
          file('/etc/udev/rules.d/60-s3mp.rules', 0o644, text(UDEV_RULES)),
          file('/etc/modules-load.d/s3mp.conf', 0o644, text(MODULES)),
        ]
      : []),
    ...(options.topology
      ? [file('/etc/s3mp/topology.json', 0o644, load(options.topology, "give the AS's topology.json"))]
      : []),
    ...(options.keys
      ? [
          { kind: 'folder', path: '/etc/s3mp/keys', mode: 0o700 } as const,
          ...keyItems(options.keys, '/etc/s3mp/keys', () => true).map(releaseKey),
        ]
      : []),
    ...(options.asDirectory ? keyItems(options.asDirectory, '/etc/scion', isSecretOfAs) : []),
  ];
  items.sort((a, b) => (a.path < b.path ? -1 : 1));
  return [...items, file('/etc/s3mp/manifest.json', 0o644, text(manifestOf(device, version, node, items)))];
}

function manifestOf(device: Device, version: string, node: NodeArchive | 'apt', items: readonly Item[]): string {
  const files = items.flatMap((item) =>
    // A hash of a key would let its guesses be checked.
    item.kind === 'file' && !item.isSecret
      ? [[item.path, { mode: item.mode.toString(8).padStart(4, '0'), sha256: sha256(item.bytes) }]]
      : [],
  );
  const nodeText = node === 'apt' ? 'apt' : node.version;
  return `${JSON.stringify({ device, version, node: nodeText, files: Object.fromEntries(files) }, null, 2)}\n`;
}
