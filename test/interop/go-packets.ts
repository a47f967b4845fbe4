/**
 * The official SCION decoders as a function: builds `go/packets` once and runs it over a capture. The program's own
 * comment says what the fields mean.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { commandWorks } from '#test/needs';

export interface GoHop {
  exp_time: number;
  cons_ingress: number;
  cons_egress: number;
  mac: string;
  ingress_alert: boolean;
  egress_alert: boolean;
  /** The AS whose key the MAC fits; '' for none. */
  as: string;
  verified: boolean;
}

export interface GoPacket {
  number: number;
  /** Set when the packet could not be decoded; the other fields then end where it happened. */
  error?: string;
  underlay_src: string;
  underlay_dst: string;
  traffic_class: number;
  flow_id: number;
  hdr_len: number;
  payload_len: number;
  src_ia: string;
  dst_ia: string;
  src_host: string;
  dst_host: string;
  curr_inf: number;
  curr_hf: number;
  seg_len?: number[];
  infos?: { cons_dir: boolean; peer: boolean; seg_id: number; timestamp: number }[];
  hops?: GoHop[];
  l4: string;
  src_port: number;
  dst_port: number;
  scmp_type: number;
  scmp_code: number;
  pointer: number;
  down_ia?: string;
  down_interface: number;
  identifier: number;
  sequence: number;
  /** Hexadecimal. */
  payload: string;
  checksum_ok: boolean;
  /** Every hop-field MAC of the path verified. */
  macs_ok: boolean;
}

const root = join(__dirname, '..', '..', '..');

/** Path of a program of `go/` once it is built. */
export const goProgram = (name: string): string => join(root, 'dist', 'interop', name);

/** Builds a program of `go/`. @returns what is missing, for `needs('go', …)`; undefined when all is well */
export function buildGo(name: string): string | undefined {
  if (!commandWorks('go', 'version')) return 'install Go (go.dev) for the official SCION packages';
  mkdirSync(join(root, 'dist', 'interop'), { recursive: true });
  const cwd = join(root, 'test', 'interop', 'go');
  // The toolchain that is there, not one from the network; a proxy that hangs must not stop the tests.
  const env = { ...process.env, GOTOOLCHAIN: 'local' };
  const run = spawnSync('go', ['build', '-o', goProgram(name), `./${name}`], {
    cwd,
    env,
    encoding: 'utf8',
    timeout: 100_000,
  });
  if (run.status === 0) return undefined;
  return `go build failed: ${run.error?.message ?? run.stderr.trim().split('\n').at(-1)}`;
}

export const buildGoPackets = (): string | undefined => buildGo('packets');

/**
 * Decodes every packet of a capture.
 * @param keys  content of `keys/master0.key` by ISD-AS
 */
export function decodeWithGo(pcapFile: string, keys: ReadonlyMap<string, string>): GoPacket[] {
  const flags = [...keys].flatMap(([ia, key]) => ['-key', `${ia}=${key.trim()}`]);
  const text = execFileSync(goProgram('packets'), ['-pcap', pcapFile, ...flags], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as GoPacket);
}
