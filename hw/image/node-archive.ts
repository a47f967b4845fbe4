/** The Node.js that goes onto the card: an archive that is looked into before it is believed, or the distribution's. */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { ConfigError, messageOf } from '#base/errors';
import { type Processor, type ProgramFile, readProgramFile, unfitReason } from './elf.ts';

export interface NodeArchive {
  readonly version: string;
  /** `bin/node`, unpacked. */
  readonly program: Uint8Array;
  readonly licence: Uint8Array | undefined;
  readonly facts: ProgramFile;
  /** SHA-256 of the archive, hexadecimal. */
  readonly sha256: string;
}

/** Oldest Node.js that the bundles run on; 22 is the last line built for ARMv6. */
const OLDEST = { major: 20, minor: 19 } as const;

function unfit(message: string, context: Readonly<Record<string, string>> = {}): ConfigError {
  return new ConfigError('node.unfit', message, context);
}

const HINT: Readonly<Record<Processor, string>> = {
  armv6: 'take node-v22.*-linux-armv6l.tar.xz of the unofficial builds',
  armv7: 'take node-v22.*-linux-armv7l.tar.xz',
  arm64: 'take node-v22.*-linux-arm64.tar.xz',
};

/**
 * Opens an archive and checks that its program runs on one of the processors.
 * @param processors  in the order of preference; the first names the hint
 * @param expected  SHA-256 that the archive must have
 * @throws ConfigError `node.unfit` saying what does not fit and what to take
 */
export function openNodeArchive(file: string, processors: readonly Processor[], expected?: string): NodeArchive {
  const hint = HINT[processors[0]!];
  let packed: Uint8Array;
  try {
    packed = readFileSync(file);
  } catch (error) {
    throw unfit(`cannot read ${file}: ${messageOf(error)}; ${hint}, or give --node apt`, { file });
  }
  const sha256 = createHash('sha256').update(packed).digest('hex');
  if (expected !== undefined && expected.toLowerCase() !== sha256)
    throw unfit(`${file} has SHA-256 ${sha256}, --node-sha256 says ${expected}: load it again`, { file });
  const folder = mkdtempSync(join(tmpdir(), 's3mp-node-'));
  try {
    const members = tar(file, '-tf').split('\n');
    const find = (end: string) =>
      members.find((m) => /^(\.\/)?[^/]+\//.test(m) && m.replace(/^\.\//, '').endsWith(end));
    const program = find('/bin/node');
    if (!program) throw unfit(`${basename(file)} holds no bin/node; ${hint}`, { file });
    const licence = find('/LICENSE');
    const header = find('/include/node/node_version.h');
    const wanted = [program, ...(licence ? [licence] : []), ...(header ? [header] : [])];
    tar(file, '-xf', '-C', folder, ...wanted);
    const bytes = readFileSync(join(folder, program));
    const version = header
      ? versionOfHeader(readFileSync(join(folder, header), 'utf8'))
      : /node-v(\d+\.\d+\.\d+)/.exec(program)?.[1];
    if (version === undefined) throw unfit(`${basename(file)} does not say which Node.js it holds; ${hint}`, { file });
    const [major = 0, minor = 0] = version.split('.').map(Number);
    if (major < OLDEST.major || (major === OLDEST.major && minor < OLDEST.minor))
      throw unfit(`${basename(file)} holds Node.js ${version}, the bundle needs 20.19 or newer; ${hint}`, { file });
    const facts = programOf(bytes, file, hint);
    const reasons = processors.map((processor) => unfitReason(facts, processor));
    if (reasons.every((reason) => reason !== undefined))
      throw unfit(`${basename(file)} does not run on this board: ${reasons[0]}; ${hint}`, { file });
    return {
      version,
      program: bytes,
      licence: licence ? readFileSync(join(folder, licence)) : undefined,
      facts,
      sha256,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function programOf(bytes: Uint8Array, file: string, hint: string): ProgramFile {
  try {
    return readProgramFile(bytes);
  } catch (error) {
    throw unfit(`bin/node of ${basename(file)}: ${messageOf(error)}; ${hint}`, { file });
  }
}

function tar(file: string, mode: '-tf' | '-xf', ...more: string[]): string {
  try {
    return execFileSync('tar', [mode, file, ...more], {
      encoding: 'utf8',
      maxBuffer: 16 << 20,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  } catch (error) {
    const { code, stderr } = error as { code?: string; stderr?: string };
    if (code === 'ENOENT') throw unfit('the program tar is missing: install tar and xz-utils');
    const said = (stderr ?? '').trim().split('\n')[0] ?? '';
    const isXz = /xz.*(not found|cannot exec|No such file)/i.test(stderr ?? '');
    throw unfit(isXz ? 'the program xz is missing: install xz-utils' : `cannot unpack ${file}: ${said}`, { file });
  }
}

function versionOfHeader(text: string): string | undefined {
  const part = (name: string) => new RegExp(`^#define NODE_${name}_VERSION (\\d+)`, 'm').exec(text)?.[1];
  const parts = ['MAJOR', 'MINOR', 'PATCH'].map(part);
  return parts.every((p) => p !== undefined) ? parts.join('.') : undefined;
}

/** Debian releases below Raspberry Pi OS, and whether the Node.js in their archive is new enough. */
const RELEASES: Readonly<Record<string, { readonly node: string; readonly fits: boolean }>> = {
  bullseye: { node: '12.22', fits: false },
  bookworm: { node: '18.20', fits: false },
  trixie: { node: '20.19', fits: true },
};

/**
 * Judges `--node apt`.
 * @param release  code name of the card's release, undefined when it is not known
 * @throws ConfigError `node.unfit` when the release's own Node.js is too old
 */
export function checkDistributionNode(release: string | undefined, processor: Processor): void {
  const known = release === undefined ? undefined : RELEASES[release];
  if (!known || known.fits) return;
  throw unfit(
    `--node apt: ${release} has Node.js ${known.node}, the bundle needs 20.19 or newer: use a trixie image (20.19), or ${HINT[processor]} with --node FILE`,
    { release: release! },
  );
}
