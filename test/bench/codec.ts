/**
 * The SCION codec: time and allocation of one operation on a usual packet (three segments of eight hops, IPv4 hosts, 100
 * bytes of payload). Encoding and decoding beside the copy of as many bytes, MACs beside AES blocks of node:crypto.
 */

import { createCipheriv } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { fromHex } from '#base/bytes';
import { parseHost } from '#scion/address';
import { NextHeader } from '#scion/header';
import { HopMac } from '#scion/hop-mac';
import { parseIsdAs } from '#scion/isd-as';
import { encodeUdpPacket, encodeUdpReply, PacketView, parsePacket } from '#scion/packet';
import { SPAO_EXTENSION_LENGTH, SpaoMac, SpaoVerdict, writeSpaoExtension } from '#scion/spao';
import vectors from '../vectors/scion-forwarding.json';
import { median, type Report } from './report.ts';

const OPERATIONS = 200_000;
const ROUNDS = 5;
const KEY = fromHex('000102030405060708090a0b0c0d0e0f');

interface Cost {
  readonly ns: number;
  readonly bytes: number;
}

export async function codec(report: Report): Promise<void> {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  const cost = (operation: () => unknown): Cost => measure(gc, operation);

  const packet = new Uint8Array(1500);
  const spec = specOf();
  const length = encodeUdpPacket(packet, 0, spec);
  const view = new PacketView();
  parsePacket(packet, 0, length, view);
  const out = new Uint8Array(1500);
  const copied = cost(() => out.set(packet.subarray(0, length)));
  const flat = (metric: string, operation: () => unknown) => {
    const { ns, bytes } = cost(operation);
    figure(report, metric, ns, copied.ns);
    allocation(report, metric, bytes);
  };
  flat('encode a UDP packet, checksum included', () => encodeUdpPacket(out, 0, spec));
  flat('decode a packet to its view', () => parsePacket(packet, 0, length, view));
  const { l4At, l4End } = view;
  flat('encode the reply, path reversed', () => encodeUdpReply(out, 0, packet, view, packet, l4At + 8, l4End));

  const mac = new HopMac(KEY);
  const kept = createCipheriv('aes-128-ecb', KEY, null).setAutoPadding(false);
  const block = new Uint8Array(16);
  const native = cost(() => kept.update(block));
  const hop = cost(() => mac.compute(out, 0, 1, 1_700_000_000, 63, 1, 2));
  figure(report, 'MAC of a hop field, beside a block of node:crypto', hop.ns, native.ns);
  allocation(report, 'MAC of a hop field', hop.bytes);

  const extensions = new Uint8Array(SPAO_EXTENSION_LENGTH);
  writeSpaoExtension(extensions, 0, NextHeader.udp, 0x20001, 1);
  const signed = new Uint8Array(1500);
  const end = encodeUdpPacket(signed, 0, { ...spec, extensions });
  const signedView = new PacketView();
  parsePacket(signed, 0, end, signedView);
  const spao = new SpaoMac(KEY);
  const sign = cost(() => spao.sign(signed, signedView));
  figure(report, 'SPAO: authenticate a packet', sign.ns, undefined);
  allocation(report, 'SPAO: authenticate a packet', sign.bytes);
  if (spao.verify(signed, signedView) !== SpaoVerdict.valid) throw new Error('the authenticator is wrong');
  const verify = cost(() => spao.verify(signed, signedView));
  figure(report, 'SPAO: verify a packet', verify.ns, undefined);
  allocation(report, 'SPAO: verify a packet', verify.bytes);
}

function specOf() {
  const [c] = vectors.cases;
  return {
    src: { ia: parseIsdAs(c!.src), host: parseHost('10.0.0.1'), port: 31000 },
    dst: { ia: parseIsdAs(c!.dst), host: parseHost('10.0.0.2'), port: 31000 },
    path: fromHex(c!.raw_path_hex),
    payload: new Uint8Array(100).fill(0x55),
  };
}

function figure(report: Report, metric: string, ns: number, baseline: number | undefined): void {
  const beside = baseline === undefined ? {} : { baseline, ratio: ns / baseline };
  report.figure({ bench: 'codec', metric, value: ns, unit: 'ns', ...beside });
}

function allocation(report: Report, metric: string, bytes: number): void {
  report.figure({
    bench: 'codec',
    metric: `${metric}: allocated`,
    value: bytes,
    unit: 'B',
    goal: '< 1',
    ok: bytes < 1,
  });
}

function measure(gc: () => void, operation: () => unknown): Cost {
  for (let i = 0; i < OPERATIONS; i++) operation();
  const costs: Cost[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    gc();
    const heap = process.memoryUsage().heapUsed;
    const started = performance.now();
    for (let i = 0; i < OPERATIONS; i++) operation();
    const ns = ((performance.now() - started) * 1e6) / OPERATIONS;
    costs.push({ ns, bytes: Math.max(0, process.memoryUsage().heapUsed - heap) / OPERATIONS });
  }
  return { ns: median(costs.map((c) => c.ns)), bytes: median(costs.map((c) => c.bytes)) };
}
