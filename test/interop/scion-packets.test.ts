/**
 * Packets made by our encoder and our routers, read by the official decoders: `go/packets` prints what it sees, and that
 * must be what we put in, with every checksum and every hop-field MAC verified from the master keys.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex } from '#base/bytes';
import { PCAP_HEADER_LENGTH, pcapHeader, pcapRecord, pcapRecordLength } from '#hw/lab/pcap';
import { parseAddress, parseEndpoint } from '#scion/address';
import { deriveHopKey, HopMac } from '#scion/hop-mac';
import { encodeUdpPacket, encodeUdpReply, PacketView, parsePacket } from '#scion/packet';
import { decodePath, encodePath, MAX_PATH_LENGTH, type PathRepr } from '#scion/path';
import { Router } from '#scion/router';
import { RouterAction } from '#scion/router-types';
import { encodeScmpPacket, type ScmpMessage } from '#scion/scmp';
import { parseTopology } from '#scion/topology';
import { needs } from '#test/needs';
import { ASES, Network, topologyOf } from '../protocols/scion/network.ts';
import { seeded } from '../random.ts';
import vectors from '../vectors/scion-forwarding.json';
import { compareWithGo } from './compare-packets.ts';
import { buildGoPackets, decodeWithGo, type GoPacket } from './go-packets.ts';

const Interop = suite('packets read by the official SCION decoders');
const NOW = 1_700_001_000_000;
const random = seeded();

/** The vectors' network with master secrets instead of hop keys, so that the key derivation is part of the test. */
const masters = new Map(ASES.map((isdAs) => [isdAs, random.bytes(16)]));
const macOf = (isdAs: string) => new HopMac(deriveHopKey(masters.get(isdAs)!));

function network(): Network {
  const made = new Network(NOW);
  for (const isdAs of ASES) {
    const topology = parseTopology(topologyOf(isdAs));
    const hopKey = deriveHopKey(masters.get(isdAs)!);
    made.routers.set(isdAs, new Router({ topology, router: topology.routers[0]!, hopKey }));
  }
  return made;
}

/** ASes of the hops of a case, in the order of travel: each hop belongs to the AS of its interfaces. */
function asesOfHops(c: (typeof vectors.cases)[number], path: PathRepr): string[] {
  const owner = new Map(c.interfaces.map((text) => [Number(text.split('#')[1]), text.split('#')[0]!]));
  return path.segments.flatMap((s) => s.hops.map((h) => owner.get(h.consIngress) ?? owner.get(h.consEgress)!));
}

/** The path of a case with its MACs and accumulators made anew from the master secrets. */
function remade(c: (typeof vectors.cases)[number]): Uint8Array {
  const raw = fromHex(c.raw_path_hex);
  const path = decodePath(raw, 0, raw.length);
  const ases = asesOfHops(c, path);
  let h = 0;
  const segments = path.segments.map((segment, s) => {
    const hops = segment.hops.map((hop) => ({ ...hop, mac: new Uint8Array(6), as: ases[h++]! }));
    const built = segment.consDir ? hops : [...hops].reverse();
    let beta = random.below(65536);
    const betas = new Map<object, number>();
    const xor = (mac: Uint8Array) => (mac[0]! << 8) | mac[1]!;
    for (const hop of built) {
      // The hop at a peering link is made with the accumulator of its child and is no part of the chain.
      const atPeering = segment.peer && hop === (s === 0 ? hops.at(-1) : hops[0]);
      betas.set(hop, beta);
      macOf(hop.as).compute(hop.mac, 0, beta, segment.timestamp, hop.expTime, hop.consIngress, hop.consEgress);
      if (!atPeering) beta ^= xor(hop.mac);
    }
    return { ...segment, hops, segId: betas.get(hops[0]!)! };
  });
  const out = new Uint8Array(MAX_PATH_LENGTH);
  return out.slice(0, encodePath(out, 0, { currInf: 0, currHf: 0, segments }));
}

class Capture {
  readonly packets: Uint8Array[] = [];
  private readonly records: Uint8Array[] = [];

  add(packet: Uint8Array): void {
    const record = new Uint8Array(pcapRecordLength(packet.length));
    const end = pcapRecord(record, 0, 1_700_001_000_123_456, A, B, packet);
    assert.is(end, record.length);
    this.records.push(record);
    this.packets.push(packet.slice());
  }

  /** Runs the official decoders over what was captured. */
  decoded(): GoPacket[] {
    const folder = mkdtempSync(join(tmpdir(), 's3mp-pcap-'));
    try {
      const header = new Uint8Array(PCAP_HEADER_LENGTH);
      pcapHeader(header, 0);
      const file = join(folder, 'packets.pcap');
      writeFileSync(file, Buffer.concat([header, ...this.records]));
      const keys = [...masters].map(([ia, key]) => [ia, Buffer.from(key).toString('base64')] as const);
      return decodeWithGo(file, new Map(keys));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
}

const A = { host: '127.16.110.1', port: 50000 };
const B = { host: '127.16.111.1', port: 50001 };

function udpPacket(
  c: { src: string; dst: string },
  path: Uint8Array,
  payload = random.bytes(random.below(200)),
): Uint8Array {
  const out = new Uint8Array(3000);
  const host = () => (random.below(2) ? '10.1.2.3' : '2001:db8::7');
  const end = encodeUdpPacket(out, 0, {
    trafficClass: random.below(256),
    flowId: 1 + random.below(0xfffff),
    src: parseEndpoint(`[${c.src},${host()}]:31000`),
    dst: parseEndpoint(`[${c.dst},${host()}]:4059`),
    path,
    payload,
  });
  return out.slice(0, end);
}

Interop('datagrams on every link of every path, there and back', () => {
  const capture = new Capture();
  for (const c of vectors.cases) {
    const net = network();
    const packet = udpPacket(c, remade(c));
    const there = net.send(c.src, packet);
    assert.is(there.at(-1)!.isdAs, c.dst);
    assert.is(there.at(-1)!.action, RouterAction.deliver);
    const arrived = there.at(-1)!.packet;
    const view = new PacketView();
    parsePacket(arrived, 0, arrived.length, view);
    const reply = new Uint8Array(3000);
    const payload = random.bytes(77);
    const end = encodeUdpReply(reply, 0, arrived, view, payload, 0, payload.length);
    const back = net.send(c.dst, reply.slice(0, end));
    assert.is(back.at(-1)!.isdAs, c.src);
    for (const step of [...there.slice(0, -1), ...back.slice(0, -1)]) capture.add(step.packet);
  }
  const seen = capture.decoded();
  assert.is(seen.length, capture.packets.length);
  for (const [i, theirs] of seen.entries()) {
    assert.equal([theirs.underlay_src, theirs.underlay_dst], ['127.16.110.1:50000', '127.16.111.1:50001']);
    compareWithGo(capture.packets[i]!, theirs);
  }
  const ases = new Set(seen.flatMap((p) => p.hops!.map((h) => h.as)));
  assert.is(ases.size, ASES.length);
});

Interop('SCMP errors and traceroute replies of our routers, and echo', () => {
  const capture = new Capture();
  const c = vectors.cases[0]!;
  const path = remade(c);
  const net = network();
  const errorsOf = (packet: Uint8Array) => {
    for (const step of net.send(c.src, packet)) if (step.egress !== 0) capture.add(step.packet);
  };
  net.router('1-ff00:0:120').links.setLinkUp(22, false);
  errorsOf(udpPacket(c, path, random.bytes(1300)));
  net.router('1-ff00:0:120').links.setLinkUp(22, true);
  const header = { src: parseAddress(`${c.src},10.0.0.1`), dst: parseAddress(`${c.dst},CS`), path };
  const out = new Uint8Array(3000);
  const echo: ScmpMessage = { type: 128, code: 0, identifier: 31000, sequence: 5, data: random.bytes(20) };
  errorsOf(out.slice(0, encodeScmpPacket(out, 0, header, echo)));
  const trace: ScmpMessage = {
    type: 130,
    code: 0,
    identifier: 9,
    sequence: 5,
    ia: 0n,
    interface: 0n,
    data: new Uint8Array(),
  };
  const end = encodeScmpPacket(out, 0, header, trace);
  const pathAt = 36;
  out[pathAt + 4 + 24 + 12 * 3] = 2;
  errorsOf(out.slice(0, end));
  errorsOf(udpPacket({ ...c, dst: '1-ff00:0:120' }, path));
  const seen = capture.decoded();
  for (const [i, theirs] of seen.entries()) compareWithGo(capture.packets[i]!, theirs);
  const types = new Set(seen.filter((p) => p.l4 === 'scmp').map((p) => p.scmp_type));
  assert.equal(
    [...types].sort((a, b) => a - b),
    [4, 5, 128, 130, 131],
  );
});

/** A packet whose hop `h` was forged. */
function udpPacketWith(c: { src: string; dst: string }, path: Uint8Array, h: number): Uint8Array {
  const forged = path.slice();
  forged[28 + 12 * h + 8]! ^= 1;
  return udpPacket(c, forged);
}

Interop('the official decoders refuse what our router refuses: a changed MAC, a wrong checksum', () => {
  const capture = new Capture();
  const c = vectors.cases[0]!;
  const steps = network().send(c.src, udpPacket(c, remade(c), random.bytes(50)));
  const good = steps[0]!.packet;
  const view = new PacketView();
  parsePacket(good, 0, good.length, view);
  const forged = good.slice();
  forged[view.pathAt + 28 + 12 * 4 + 8]! ^= 1;
  const damaged = good.slice();
  damaged[damaged.length - 1]! ^= 1;
  for (const packet of [good, forged, damaged]) capture.add(packet);
  const seen = capture.decoded();
  assert.equal(
    seen.map((p) => [p.macs_ok, p.checksum_ok]),
    [
      [true, true],
      [false, true],
      [true, false],
    ],
  );
  assert.equal(seen[1]!.hops!.map((h) => h.verified).indexOf(false), 4);
  const refused = network()
    .send(c.src, udpPacketWith(c, remade(c), 4))
    .find((step) => step.action === RouterAction.reply);
  assert.is(refused?.isdAs, '1-ff00:0:120');
});

const obstacle = buildGoPackets();
if (needs('go', obstacle === undefined, obstacle ?? '')) Interop.run();
