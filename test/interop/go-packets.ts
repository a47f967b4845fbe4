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
const program = join(root, 'dist', 'interop', 'packets');

/** Builds the program. @returns what is missing, for `needs('go', …)`; undefined when all is well */
export function buildGoPackets(): string | undefined {
  if (!commandWorks('go', 'version')) return 'install Go (go.dev) for the official SCION decoders';
  mkdirSync(join(root, 'dist', 'interop'), { recursive: true });
  const cwd = join(root, 'test', 'interop', 'go');
  const { status, stderr } = spawnSync('go', ['build', '-o', program, './packets'], { cwd, encoding: 'utf8' });
  return status === 0 ? undefined : `go build failed: ${stderr.trim().split('\n').at(-1)}`;
}

/**
 * Decodes every packet of a capture.
 * @param keys  content of `keys/master0.key` by ISD-AS
 */
export function decodeWithGo(pcapFile: string, keys: ReadonlyMap<string, string>): GoPacket[] {
  const flags = [...keys].flatMap(([ia, key]) => ['-key', `${ia}=${key.trim()}`]);
  const text = execFileSync(program, ['-pcap', pcapFile, ...flags], { encoding: 'utf8', maxBuffer: 1 << 28 });
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as GoPacket);
}
