/** `npm run flash`: puts a meter or a gateway onto an SD card or into an image of Raspberry Pi OS. */

import { parseArgs } from 'node:util';
import { ConfigError, messageOf } from '#base/errors';
import { reportError } from '#hw/cli';
import { readTextFile } from '#hw/files';
import { nearest } from '#hw/nearest';
import { releaseOf } from './boot-files.ts';
import { type BootVolume, openBootFolder, openBootPartition } from './boot-volume.ts';
import { type CardPlan, filesOnCard, planCard, whyNotInstalled, writeCard } from './card.ts';
import { checkNamedFiles } from './config-files.ts';
import { contentsOf, type Item, sha256 } from './contents.ts';
import { checkConfigFlags, deviceConfig, type ResolvedConfig, resolveConfig } from './device-config.ts';
import {
  addPartition,
  checkImageFile,
  DiskFile,
  type Partition,
  PartitionType,
  placeForPartition,
  readPartitions,
  unusable,
} from './disk-file.ts';
import type { Processor } from './elf.ts';
import { Ext4, hasDebugfs } from './ext4.ts';
import { checkDistributionNode, type NodeArchive, openNodeArchive } from './node-archive.ts';
import { DEVICES, type Device } from './units.ts';

const FLAGS = {
  boot: ['DIR', 'mounted boot partition of Raspberry Pi OS (bootfs)'],
  image: ['FILE', 'image of Raspberry Pi OS (.img), written without root'],
  node: ['FILE|apt', 'Node.js archive for the board, or the one of the distribution'],
  'node-sha256': ['HEX', 'SHA-256 that the archive must have'],
  device: ['NAME', 'firmware (the meter, default) or gateway'],
  board: ['NAME', 'zero (default of the meter), zero2w or 3b+ (default of the gateway)'],
  config: ['FILE', 'configuration of the device; without it one is made from the next five'],
  serial: ['NUMBER', 'serial number of the meter'],
  address: ['IP', 'address of the meter on the power-line LAN'],
  topology: ['FILE', "topology.json of the meter's AS"],
  relay: ['DRIVER', 'what switches the load, once its wiring is checked: auto, sysfs, led, onoff or none (default)'],
  display: [
    'DRIVER',
    'what shows values and the enrolment code: auto (default), i2c, i2ctransfer, framebuffer or none',
  ],
  as: ['DIR', "directory of the gateway's AS: topology.json, keys/, certs/"],
  keys: ['DIR', 'keys of the device, for /etc/s3mp/keys'],
  enrol: ['', 'no keys: the device makes its own and shows a code at the first start'],
  rekey: ['', 'replace keys that are on the card'],
  'state-mb': ['MB', 'size of the state partition that an image gets (256; 0 for none)'],
  'first-boot': ['', 'leave the root of an image alone, install at the first boot'],
  'dry-run': ['', 'say what would change, write nothing'],
  json: ['', 'results as JSON'],
  help: ['', 'show this help'],
} as const satisfies Record<string, readonly [string, string]>;

type Flags = { readonly [name in keyof typeof FLAGS]?: string | boolean };

const BOARDS: Readonly<Record<string, readonly Processor[]>> = {
  zero: ['armv6'],
  zero2w: ['arm64', 'armv7'],
  '3b+': ['arm64', 'armv7'],
};

const usage = (message: string) => new ConfigError('usage.invalid', message);

function parse(argv: readonly string[]): Flags {
  for (const word of argv) {
    const flag = /^--([^=]+)/.exec(word)?.[1];
    if (flag === undefined || Object.hasOwn(FLAGS, flag)) continue;
    const guess = nearest(flag, Object.keys(FLAGS));
    throw usage(`unknown flag --${flag}${guess ? `; did you mean --${guess}?` : ''} (--help lists all)`);
  }
  const options = Object.fromEntries(
    Object.entries(FLAGS).map(([name, [value]]) => [name, { type: value === '' ? 'boolean' : 'string' } as const]),
  );
  try {
    return parseArgs({ args: [...argv], options, strict: true }).values as Flags;
  } catch (error) {
    throw usage(messageOf(error));
  }
}

function help(): string {
  const lines = Object.entries(FLAGS).map(([name, [value, text]]) => `  --${`${name} ${value}`.padEnd(20)} ${text}\n`);
  return `flash ${S3MP_VERSION}: puts a meter or a gateway onto an SD card

usage: npm run flash -- --boot DIR|--image FILE --node FILE|apt [FLAGS]

${lines.join('')}
Running it again changes nothing. No device is ever written: write the system with Raspberry Pi Imager first.
`;
}

/** Whether the system on the card is 64-bit; undefined when its kernels do not tell. */
function isArm64(boot: BootVolume): boolean | undefined {
  const names = new Set(boot.list(''));
  if (names.has('kernel7.img') || names.has('kernel.img')) return false;
  return names.has('kernel8.img') ? true : undefined;
}

/** Processors that programs on this card may be built for. @throws ConfigError `card.unusable` */
function processorsOf(board: string, boot: BootVolume): readonly Processor[] {
  const all = BOARDS[board]!;
  const wide = isArm64(boot);
  if (wide === undefined) return all;
  if (board === 'zero' && wide) throw unusable('the image is 64-bit, which a Pi Zero cannot run: take the 32-bit one');
  return board === 'zero' ? all : wide ? ['arm64'] : ['armv7'];
}

interface Target {
  readonly boot: BootVolume;
  readonly root: Ext4 | undefined;
  readonly disk: DiskFile | undefined;
  /** Partition that the image shall get. */
  readonly state: Partition | undefined;
  readonly notes: readonly string[];
  close(): void;
}

function openTarget(flags: Flags): Target {
  if (typeof flags.boot === 'string')
    return {
      boot: openBootFolder(flags.boot),
      root: undefined,
      disk: undefined,
      state: undefined,
      notes: ['an image (--image) also gets a partition for the state and with it a read-only root'],
      close: () => {},
    };
  const image = flags.image as string;
  checkImageFile(image);
  const disk = new DiskFile(image, flags['dry-run'] ? 'r' : 'r+');
  const notes: string[] = [];
  let root: Ext4 | undefined;
  try {
    const partitions = readPartitions(disk);
    const boot = openBootPartition(disk, partitions);
    const linux = partitions.find(({ type }) => type === PartitionType.linux);
    if (!linux) notes.push('the image has no Linux partition: everything waits on the boot partition');
    else if (flags['first-boot']) notes.push('the files wait on the boot partition for the first boot');
    else if (!hasDebugfs())
      notes.push('debugfs is missing (package e2fsprogs): the files wait on the boot partition for the first boot');
    else {
      root = new Ext4(image, linux.offset);
      root.check();
    }
    const size = stateSize(flags);
    const hasMore = linux && partitions.some(({ number }) => number > linux.number);
    const state = linux && size > 0 && !hasMore ? placeForPartition(partitions, size) : undefined;
    const close = () => {
      root?.close();
      disk.close();
    };
    return { boot, root, disk, state, notes, close };
  } catch (error) {
    root?.close();
    disk.close();
    throw error;
  }
}

function stateSize(flags: Flags): number {
  const text = (flags['state-mb'] as string | undefined) ?? '256';
  const mb = Number(text);
  if (!Number.isInteger(mb) || mb < 0 || (mb > 0 && mb < 16) || mb > 65_536)
    throw usage(`--state-mb ${text}: expected 0, or 16…65536`);
  return mb << 20;
}

/** Where the files of a place of the card come from. */
function sourcesOf({ topology, keys, as }: Flags): (readonly [place: string, source: string | undefined])[] {
  const text = (flag: string | boolean | undefined) => (typeof flag === 'string' ? flag : undefined);
  return [
    ['/etc/s3mp/topology.json', text(topology)],
    ['/etc/s3mp/', text(keys)],
    ['/etc/scion/', text(as)],
  ];
}

/** What a meter cannot do for want of a part, so that nobody learns it behind the first command. */
function partNotes(config: ResolvedConfig): string[] {
  const isMissing = (part: string) => config.get(`${part}.driver`)?.value === 'none';
  const needsCode = config.get('dlms.key_file')?.value === null && config.get('enrolment.enabled')?.value === true;
  return [
    ...(isMissing('relay')
      ? [
          'NO RELAY: this meter switches nothing. When its wiring is checked: --relay auto, or driver = "auto" in [relay]',
        ]
      : []),
    ...(isMissing('display') && needsCode
      ? ['NO DISPLAY: the enrolment code is seen only on the device, by firmware.js enrol']
      : []),
  ];
}

const AT_NEXT_START =
  'at its next start the board installs what waits in s3mp/ of the boot partition, and starts once more';

function nodeOf(flags: Flags, processors: readonly Processor[], release: string | undefined): NodeArchive | 'apt' {
  const { node } = flags;
  if (typeof node !== 'string') throw usage('--node is missing: give the archive of a Node.js for the board, or apt');
  if (node !== 'apt') return openNodeArchive(node, processors, flags['node-sha256'] as string | undefined);
  checkDistributionNode(release, processors[0]!);
  return 'apt';
}

/** Native parts of the bundle by the Node.js that loads them. */
function prebuildsFor(node: NodeArchive | 'apt', processors: readonly Processor[]): readonly Processor[] {
  if (node === 'apt') return processors;
  if (node.facts.machine === 'arm64') return ['arm64'];
  return processors.includes('armv6') || /^v6/.test(node.facts.cpu ?? '') ? ['armv6'] : ['armv7'];
}

function describeNode(node: NodeArchive | 'apt'): string {
  if (node === 'apt') return 'Node.js of the distribution, installed at the first start (needs the network once)';
  const { machine, cpu, fpu, isHardFloat } = node.facts;
  const abi = machine !== 'arm' ? machine : `ARM${cpu}, ${fpu}, ${isHardFloat ? 'hard' : 'soft'} float`;
  const warning = machine === 'arm' && !isHardFloat ? '; Raspberry Pi OS needs hard float, Debian armel has soft' : '';
  return `Node.js ${node.version} (${abi}${warning}), archive SHA-256 ${node.sha256}`;
}

function report(plan: CardPlan, target: Target, items: readonly Item[], isDry: boolean, json: boolean): void {
  const place = target.root ? 'root' : 'boot';
  const lines = [
    ...(target.state ? [{ place: 'table', path: `partition ${target.state.number}`, bytes: target.state.size }] : []),
    ...plan.boot.map(({ path, bytes }) => ({ place: 'boot', path, bytes: bytes.length, sha256: sha256(bytes) })),
    ...plan.root.map((item) => ({
      place: 'root',
      path: item.path,
      ...(item.kind === 'file' ? { bytes: item.bytes.length } : {}),
      ...(item.kind === 'file' && !item.isSecret ? { sha256: sha256(item.bytes) } : {}),
    })),
  ];
  const summary = { changed: lines.length, files: items.length, place, firstBoot: plan.firstBoot, dryRun: isDry };
  if (json) {
    for (const line of lines) process.stdout.write(`${JSON.stringify(line)}\n`);
    process.stdout.write(`${JSON.stringify(summary)}\n`);
    return;
  }
  for (const { place: where, path, bytes, sha256: hash } of lines as { [key: string]: string | number }[])
    process.stdout.write(
      `${String(where).padEnd(5)} ${hash ?? ''.padEnd(64)} ${String(bytes ?? '').padStart(10)} ${path}\n`,
    );
  const verb = isDry ? 'would change' : 'changed and read back';
  const end = lines.length === 0 ? 'everything is in place, nothing changed' : `${lines.length} ${verb}`;
  process.stdout.write(`${end} (${items.length} files for the root)\n`);
}

function flash(argv: readonly string[]): void {
  const flags = parse(argv);
  if (flags.help) {
    process.stdout.write(help());
    return;
  }
  if ((flags.boot === undefined) === (flags.image === undefined))
    throw usage('give the card: --boot DIR (its mounted boot partition) or --image FILE');
  const device = (flags.device ?? 'firmware') as Device;
  if (!Object.hasOwn(DEVICES, device)) throw usage(`--device ${device}: expected firmware or gateway`);
  const board = (flags.board ?? (device === 'firmware' ? 'zero' : '3b+')) as string;
  if (!Object.hasOwn(BOARDS, board)) throw usage(`--board ${board}: expected ${Object.keys(BOARDS).join(', ')}`);
  if (flags.keys !== undefined && flags.enrol) throw usage('--keys and --enrol exclude each other');
  const target = openTarget(flags);
  try {
    const { boot, root } = target;
    const names = new Set(boot.list('').map((name) => name.toLowerCase()));
    const issue = boot.read('issue.txt');
    const release = releaseOf(issue && Buffer.from(issue).toString('utf8'), names.has('user-data'));
    const processors = processorsOf(board, boot);
    if (flags.config !== undefined) checkConfigFlags(flags);
    const config = typeof flags.config === 'string' ? readTextFile(flags.config) : deviceConfig(device, flags);
    const resolved = resolveConfig(device, __dirname, config);
    const node = nodeOf(flags, processors, release);
    const items = contentsOf({
      device,
      version: S3MP_VERSION,
      bundles: __dirname,
      config,
      node,
      processors: prebuildsFor(node, processors),
      keys: flags.keys as string | undefined,
      asDirectory: flags.as as string | undefined,
      topology: flags.topology as string | undefined,
    });
    const named = checkNamedFiles({
      device,
      config: resolved,
      items,
      isThere: (paths) => filesOnCard({ boot, root }, paths),
      sources: sourcesOf(flags),
    });
    const failure = whyNotInstalled(boot);
    const options = { device, boot, root, items, release, rekey: flags.rekey === true };
    const plan = planCard(options);
    const isDry = flags['dry-run'] === true;
    if (!isDry) {
      if (target.state && target.disk) addPartition(target.disk, target.state);
      writeCard(options, plan);
      target.disk?.sync();
    }
    const notes = [
      describeNode(node),
      ...(failure === undefined ? [] : [`the board did not install what was flashed before: ${failure}`]),
      ...(device === 'firmware' ? partNotes(resolved) : []),
      ...named,
      ...target.notes,
      ...(plan.firstBoot === 'none' || plan.boot.length === 0 ? [] : [AT_NEXT_START]),
    ];
    for (const note of notes) process.stderr.write(`flash: ${note}\n`);
    report(plan, target, items, isDry, flags.json === true);
  } finally {
    target.close();
  }
}

try {
  flash(process.argv.slice(2));
} catch (error) {
  process.exitCode = reportError('flash', error, process.argv.includes('--json'));
}
