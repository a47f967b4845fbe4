/**
 * Whole packets beside the official packages, both ways: what our encoder writes the official decoders read and write
 * again as the same bytes, and what the official serializer writes ours reads and writes again. All host and path kinds,
 * extension headers with options, UDP and every SCMP message; authenticators (SPAO), EPIC codes, and the quotes of our
 * router's errors.
 *
 * S3MP_ROUNDS=N multiplies the number of cases.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex, writeU16, writeU32 } from '#base/bytes';
import { formatAddress, parseAddress, readHost } from '#scion/address';
import { EpicMac, encodeEpicPrefix } from '#scion/epic';
import {
  decodeExtension,
  type ExtensionOption,
  encodeExtension,
  extensionLength,
  MAX_EXTENSION_LENGTH,
} from '#scion/extensions';
import { encodeHeader, type HeaderSpec, NextHeader, PathType, setPayloadLength } from '#scion/header';
import { encodeOneHop, ONE_HOP_LENGTH } from '#scion/onehop';
import { dstIaAt, encodeUdpPacket, PacketView, ParseFault, parsePacket, srcIaAt } from '#scion/packet';
import { encodePath, MAX_PATH_LENGTH } from '#scion/path';
import { RouterAction } from '#scion/router-types';
import { decodeScmp, encodeScmp, portOfQuote, type ScmpMessage, writeScmpChecksum } from '#scion/scmp';
import { encodeSpaoData, findSpao, SpaoMac, SpaoView } from '#scion/spao';
import { writeUdpChecksum, writeUdpHeader } from '#scion/udp';
import { needs } from '#test/needs';
import { Network } from '../protocols/scion/network.ts';
import { seeded } from '../random.ts';
import vectors from '../vectors/scion-forwarding.json';
import { buildOracle, Oracle } from './go-oracle.ts';

const ROUNDS = Number(process.env.S3MP_ROUNDS ?? 1);

const Wire = suite('packets beside the official packages');
const random = seeded();
const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
const u64 = (bytes: Uint8Array, at: number): bigint => BigInt(`0x${toHex(bytes, at, at + 8)}`);
let oracle: Oracle;

Wire.before(() => {
  oracle = new Oracle();
});
Wire.after(() => oracle.close());

interface GoOption {
  type: number;
  data: string;
  align: [number, number];
}

interface GoScmp {
  type: number;
  code: number;
  identifier: number;
  sequence: number;
  pointer: number;
  mtu: number;
  ia: string;
  interface: number;
  egress: number;
  data: string;
}

/** A packet as the oracle's operations `encode` and `decode` take and give it. */
interface GoPacket {
  traffic_class: number;
  flow_id: number;
  src: string;
  dst: string;
  path_type: number;
  path: string;
  hop_by_hop: GoOption[] | null;
  end_to_end: GoOption[] | null;
  l4: 'udp' | 'scmp' | 'other';
  src_port: number;
  dst_port: number;
  payload: string;
  scmp?: GoScmp;
}

interface GoDecoded extends GoPacket {
  hdr_len: number;
  payload_len: number;
  reencoded: string;
  quote?: { src: string; dst: string; l4: string; port: number; path: string; error?: string };
}

// --- Random packets ----------------------------------------------------------------------------------------------------

const hop = () => ({
  expTime: random.below(256),
  consIngress: random.below(65_536),
  consEgress: random.below(65_536),
  mac: random.bytes(6),
  ingressAlert: random.below(8) === 0,
  egressAlert: random.below(8) === 0,
});

function scionPath(most: number): Uint8Array {
  const segments = Array.from({ length: 1 + random.below(3) }, () => ({
    consDir: random.below(2) === 0,
    peer: random.below(4) === 0,
    segId: random.below(65_536),
    timestamp: random.u32(),
    hops: Array.from({ length: 1 + random.below(most) }, hop),
  }));
  const hops = segments.reduce((sum, s) => sum + s.hops.length, 0);
  const currHf = random.below(hops);
  let before = 0;
  const currInf = segments.findIndex((s) => {
    before += s.hops.length;
    return currHf < before;
  });
  const out = new Uint8Array(MAX_PATH_LENGTH);
  return out.slice(0, encodePath(out, 0, { currInf, currHf, segments }));
}

function randomPath(type: number): Uint8Array {
  if (type === PathType.empty) return new Uint8Array(0);
  if (type === PathType.scion) return scionPath(random.below(10) ? 4 : 20);
  if (type === PathType.oneHop) {
    const out = new Uint8Array(ONE_HOP_LENGTH);
    const second = random.below(2) ? { second: hop() } : {};
    encodeOneHop(out, 0, { segId: random.below(65_536), timestamp: random.u32(), first: hop(), ...second });
    return out;
  }
  const prefix = new Uint8Array(16);
  encodeEpicPrefix(prefix, 0, random.u32(), random.u32(), random.bytes(4), random.bytes(4));
  return Uint8Array.of(...prefix, ...scionPath(4));
}

const randomAddress = () =>
  `${pick(['1', '2', '65535'])}-${pick(['ff00:0:110', '64512', '1:0:0', 'ffff:ffff:ffff'])},${pick([
    '10.0.0.1',
    '255.1.2.3',
    '2001:db8::68',
    '::1',
    'CS',
    'DS_M',
    'Wildcard',
  ])}`;

function randomOptions(): GoOption[] | null {
  if (random.below(2)) return null;
  const list: GoOption[] = [];
  for (let k = random.below(4); k > 0; k--) {
    const x = pick([1, 1, 2, 4, 8]);
    const length = random.below(12) ? random.below(30) : random.below(200);
    list.push({ type: 3 + random.below(253), data: toHex(random.bytes(length)), align: [x, random.below(x)] });
  }
  return list;
}

const SCMP_TYPES = [1, 2, 4, 5, 6, 128, 129, 130, 131];

function randomScmp(): GoScmp {
  const type = pick(SCMP_TYPES);
  const only = <T>(types: number[], value: T, none: T): T => (types.includes(type) ? value : none);
  return {
    type,
    code: random.below(256),
    identifier: only([128, 129, 130, 131], random.below(65_536), 0),
    sequence: only([128, 129, 130, 131], random.below(65_536), 0),
    pointer: only([4], random.below(65_536), 0),
    mtu: only([2], random.below(65_536), 0),
    ia: only([5, 6, 130, 131], pick(['1-ff00:0:110', '65535-ffff:ffff:ffff', '2-7']), '0-0'),
    interface: only([5, 6, 130, 131], random.u32(), 0),
    egress: only([6], random.u32(), 0),
    data: toHex(random.bytes(type >= 130 ? 0 : random.below(100))),
  };
}

function randomPacket(): GoPacket {
  const pathType = pick([PathType.empty, PathType.scion, PathType.scion, PathType.oneHop, PathType.epic]);
  const l4 = pick(['udp', 'scmp'] as const);
  const udp = l4 === 'udp';
  return {
    traffic_class: random.below(256),
    flow_id: random.below(1 << 20),
    src: randomAddress(),
    dst: randomAddress(),
    path_type: pathType,
    path: toHex(randomPath(pathType)),
    hop_by_hop: randomOptions(),
    end_to_end: randomOptions(),
    l4,
    src_port: udp ? random.below(65_536) : 0,
    dst_port: udp ? random.below(65_536) : 0,
    payload: udp ? toHex(random.bytes(random.below(200))) : '',
    ...(udp ? {} : { scmp: randomScmp() }),
  };
}

// --- Ours --------------------------------------------------------------------------------------------------------------

const optionsOf = (options: GoOption[]): ExtensionOption[] =>
  options.map(({ type, data, align: [align, alignOffset] }) => ({ type, data: fromHex(data), align, alignOffset }));

function scmpOf(m: GoScmp, parse: (text: string) => bigint): ScmpMessage {
  const { code, identifier, sequence, pointer, mtu } = m;
  const data = fromHex(m.data);
  const [ia, id, egress] = [parse(m.ia), BigInt(m.interface), BigInt(m.egress)];
  switch (m.type) {
    case 1:
      return { type: 1, code, data };
    case 2:
      return { type: 2, code, mtu, data };
    case 4:
      return { type: 4, code, pointer, data };
    case 5:
      return { type: 5, code, ia, interface: id, data };
    case 6:
      return { type: 6, code, ia, ingress: id, egress, data };
    case 128:
    case 129:
      return { type: m.type, code, identifier, sequence, data };
    default:
      return { type: m.type as 130 | 131, code, identifier, sequence, ia, interface: id, data };
  }
}

const iaOf = (text: string): bigint => parseAddress(`${text},CS`).ia;

function encode(packet: GoPacket): Uint8Array {
  const out = new Uint8Array(6000);
  const header: HeaderSpec = {
    trafficClass: packet.traffic_class,
    flowId: packet.flow_id,
    src: parseAddress(packet.src),
    dst: parseAddress(packet.dst),
    pathType: packet.path_type,
    path: fromHex(packet.path),
  };
  const l4 = packet.l4 === 'udp' ? NextHeader.udp : NextHeader.scmp;
  const afterHbh = packet.end_to_end ? NextHeader.endToEnd : l4;
  const payloadAt = encodeHeader(out, 0, header, packet.hop_by_hop ? NextHeader.hopByHop : afterHbh);
  let at = payloadAt;
  if (packet.hop_by_hop) at = encodeExtension(out, at, afterHbh, optionsOf(packet.hop_by_hop));
  if (packet.end_to_end) at = encodeExtension(out, at, l4, optionsOf(packet.end_to_end));
  let end: number;
  if (packet.scmp) end = encodeScmp(out, at, scmpOf(packet.scmp, iaOf));
  else {
    const payload = fromHex(packet.payload);
    end = writeUdpHeader(out, at, packet.src_port, packet.dst_port, payload.length) + payload.length;
    out.set(payload, end - payload.length);
  }
  setPayloadLength(out, 0, end - payloadAt);
  if (packet.scmp) writeScmpChecksum(out, 0, at, end);
  else writeUdpChecksum(out, 0, at, end);
  return out.slice(0, end);
}

/** Our decoding in the oracle's words, without alignments, which are not in the packet. */
function decode(raw: Uint8Array): GoPacket {
  const view = new PacketView();
  assert.is(parsePacket(raw, 0, raw.length, view), ParseFault.none, toHex(raw));
  const word = Number.parseInt(toHex(raw, 0, 4), 16);
  const address = (type: number, at: number, ia: number) =>
    formatAddress({ ia: u64(raw, ia), host: readHost(type, raw, at) });
  const options = (at: number) =>
    at === 0
      ? null
      : decodeExtension(raw, at, raw.length).options.map(
          ({ type, data }): GoOption => ({ type, data: toHex(data), align: [0, 0] }),
        );
  const packet: GoPacket = {
    traffic_class: word >>> 20,
    flow_id: word & 0xfffff,
    src: address(view.srcHostType, view.srcHostAt, srcIaAt(view)),
    dst: address(view.dstHostType, view.dstHostAt, dstIaAt(view)),
    path_type: view.pathType,
    path: toHex(raw, view.pathAt, view.payloadAt),
    hop_by_hop: options(view.hopByHopAt),
    end_to_end: options(view.endToEndAt),
    l4: view.l4Protocol === NextHeader.udp ? 'udp' : 'scmp',
    src_port: 0,
    dst_port: 0,
    payload: '',
  };
  if (packet.l4 === 'udp') {
    packet.src_port = (raw[view.l4At]! << 8) | raw[view.l4At + 1]!;
    packet.dst_port = (raw[view.l4At + 2]! << 8) | raw[view.l4At + 3]!;
    packet.payload = toHex(raw, view.l4At + 8, view.l4End);
    return packet;
  }
  const m = decodeScmp(raw, view.l4At, view.l4End)!;
  const ia = 'ia' in m ? formatAddress({ ia: m.ia, host: readHost(4, new Uint8Array(4), 0) }).split(',')[0]! : '0-0';
  packet.scmp = {
    type: m.type,
    code: m.code,
    identifier: 'identifier' in m ? m.identifier : 0,
    sequence: 'sequence' in m ? m.sequence : 0,
    pointer: 'pointer' in m ? m.pointer : 0,
    mtu: 'mtu' in m ? m.mtu : 0,
    ia,
    interface: 'interface' in m ? Number(m.interface) : 'ingress' in m ? Number(m.ingress) : 0,
    egress: 'egress' in m ? Number(m.egress) : 0,
    data: toHex(m.data),
  };
  return packet;
}

const unaligned = (options: GoOption[] | null) =>
  options?.map(({ type, data }): GoOption => ({ type, data, align: [0, 0] })) ?? null;
const content = (packet: GoPacket): GoPacket => ({
  ...packet,
  hop_by_hop: unaligned(packet.hop_by_hop),
  end_to_end: unaligned(packet.end_to_end),
});

Wire(
  'random packets: ours read and written again officially, official ones read and written again by ours',
  async () => {
    const seen = new Map<string, number>();
    for (let i = 0; i < 2000 * ROUNDS; i++) {
      const packet = randomPacket();
      const what = JSON.stringify(packet);
      const mine = toHex(encode(packet));
      const theirs = await oracle.ask<string>('encode', packet);
      assert.is(mine, theirs, what);
      const { hdr_len, payload_len, reencoded, quote, ...read } = await oracle.ask<GoDecoded>('decode', { raw: mine });
      assert.is(reencoded, mine, what);
      assert.is(4 * hdr_len + payload_len, mine.length / 2, what);
      const { scmp } = read;
      assert.equal({ ...read, ...(scmp ? { scmp } : {}) }, content(packet), what);
      assert.equal(decode(fromHex(theirs)), content(packet), what);
      const kind = `${packet.path_type} ${packet.scmp?.type ?? 'udp'}`;
      seen.set(kind, (seen.get(kind) ?? 0) + 1);
    }
    assert.is(seen.size, 4 * (1 + SCMP_TYPES.length), [...seen.keys()].join());
  },
);

Wire('extension headers up to their largest, padded alike', async () => {
  for (let i = 0; i < 500 * ROUNDS; i++) {
    const options: GoOption[] = [];
    for (let k = random.below(8); k > 0; k--) {
      const x = pick([1, 2, 3, 4, 5, 8, 16, 63]);
      options.push({
        type: 2 + random.below(254),
        data: toHex(random.bytes(random.below(3) ? random.below(20) : random.below(256))),
        align: [x, random.below(x)],
      });
    }
    if (extensionLength(optionsOf(options)) > MAX_EXTENSION_LENGTH) continue;
    const args = { kind: pick(['hop_by_hop', 'end_to_end']), next_hdr: 17, options };
    const out = new Uint8Array(MAX_EXTENSION_LENGTH);
    const end = encodeExtension(out, 0, 17, optionsOf(options));
    assert.is(toHex(out, 0, end), await oracle.ask<string>('options', args), JSON.stringify(args));
  }
});

Wire('authenticators: the same tag for every path type, SPI and traffic class', async () => {
  const view = new PacketView();
  const spao = new SpaoView();
  for (let i = 0; i < 800 * ROUNDS; i++) {
    const packet = randomPacket();
    const key = random.bytes(16);
    const type = random.below(4);
    const spi = [1 + random.below(0xffff), 0x10000 + 1, 0x20000 + random.below(0x1f_ffff - 0x20000), random.u32() || 1];
    const timestamp = random.below(2 ** 16) * 2 ** 32 + random.u32();
    const data = new Uint8Array(28);
    encodeSpaoData(data, 0, spi[type]!, 0, timestamp, new Uint8Array(16));
    const option: GoOption = { type: 2, data: toHex(data), align: [4, 2] };
    const others = packet.end_to_end ?? [];
    packet.end_to_end = random.below(2) ? [option, ...others] : [...others, option];
    const raw = encode(packet);
    const what = `${JSON.stringify(packet)}, key ${toHex(key)}`;
    assert.is(parsePacket(raw, 0, raw.length, view), ParseFault.none);
    assert.ok(new SpaoMac(key).sign(raw, view), what);
    assert.ok(findSpao(raw, view, spao));
    const theirs = await oracle.ask<{ tag: string; option: string }>('spao', {
      key: toHex(key),
      spi: spi[type]!,
      algorithm: 0,
      timestamp,
      packet: toHex(raw),
    });
    assert.is(toHex(raw, spao.tagAt, spao.tagAt + 16), theirs.tag, what);
    assert.is(toHex(raw, spao.at, spao.tagAt + 16), theirs.option, what);
  }
});

Wire('EPIC codes', async () => {
  const view = new PacketView();
  const mac = new EpicMac();
  for (let i = 0; i < 300 * ROUNDS; i++) {
    const packet = { ...randomPacket(), path_type: PathType.epic, path: toHex(randomPath(PathType.epic)) };
    const raw = encode(packet);
    parsePacket(raw, 0, raw.length, view);
    const auth = random.bytes(16);
    const code = new Uint8Array(4);
    mac.write(raw, view, auth, 0, code, 0);
    const theirs = await oracle.ask<string>('epic', { packet: toHex(raw), auth: toHex(auth) });
    assert.is(toHex(code), theirs, toHex(raw));
  }
});

// --- Errors of our routers ---------------------------------------------------------------------------------------------

/** A packet of a vector's path, spoilt in one of the ways that make routers answer with an error. */
function spoilt(c: (typeof vectors.cases)[number], net: Network): Uint8Array {
  const path = fromHex(c.raw_path_hex);
  const infos = 1 + (path[2]! & 0x0f || path[3]! & 0xc0 ? 1 : 0) + (path[3]! & 0x3f ? 1 : 0);
  const hops = (path.length - 4 - 8 * infos) / 12;
  const victim = 4 + 8 * infos + 12 * random.below(hops);
  const out = new Uint8Array(4000);
  let dst = c.dst;
  switch (random.below(7)) {
    case 0:
      path[victim + 6 + random.below(6)]! ^= 1 + random.below(255);
      break;
    case 1:
      path[victim + 1] = 0;
      writeU32(path, 8, 1_000_000_000);
      break;
    case 2:
      writeU16(path, victim + 2 + 2 * random.below(2), random.below(65_536));
      break;
    case 3:
      dst = pick(['1-ff00:0:110', '1-ff00:0:999', '1-ff00:0:120']);
      break;
    case 4:
      for (const router of net.routers.values())
        for (const id of [1, 2, 11, 12, 13, 15, 21, 22, 25]) if (random.below(3) === 0) setDown(router, id);
      break;
    default:
      path[victim] = 1 + random.below(2);
  }
  const spec = {
    trafficClass: random.below(256),
    flowId: 1 + random.below(0xfffff),
    src: { ...parseAddress(`${c.src},${pick(['10.0.0.1', '2001:db8::1'])}`), port: 1 + random.below(65_535) },
    dst: { ...parseAddress(`${dst},${pick(['10.0.0.2', '2001:db8::2', 'CS'])}`), port: random.below(65_536) },
    path,
  };
  if (random.below(2)) {
    const payload = random.bytes(pick([0, 3, 100, 1000, 1232, 1400]));
    return out.slice(0, encodeUdpPacket(out, 0, { ...spec, payload }));
  }
  const type = pick([128, 130] as const);
  const identifier = random.below(65_536);
  const message: ScmpMessage =
    type === 128
      ? { type, code: 0, identifier, sequence: 7, data: random.bytes(random.below(1300)) }
      : { type, code: 0, identifier, sequence: 7, ia: 0n, interface: 0n, data: new Uint8Array() };
  const scmp = encodeHeader(out, 0, spec, NextHeader.scmp);
  const end = encodeScmp(out, scmp, message);
  setPayloadLength(out, 0, end - scmp);
  writeScmpChecksum(out, 0, scmp, end);
  return out.slice(0, end);
}

function setDown(router: ReturnType<Network['router']>, id: number): void {
  try {
    router.links.setLinkUp(id, false);
  } catch {
    // Not an interface of this router.
  }
}

Wire('errors of our routers, with what they quote', async () => {
  const types = new Map<string, number>();
  const view = new PacketView();
  const quoted = new PacketView();
  for (let i = 0; i < 600 * ROUNDS; i++) {
    const c = pick(vectors.cases);
    const net = new Network(1_700_001_000_000);
    const sent = spoilt(c, net);
    const steps = net.send(c.src, sent);
    const reply = steps.find((step) => step.action === RouterAction.reply);
    if (reply === undefined) continue;
    // As the router made it, and as it comes home.
    for (const { packet } of [reply, steps.at(-1)!]) {
      const raw = toHex(packet);
      const theirs = await oracle.ask<GoDecoded>('decode', { raw });
      assert.is(theirs.reencoded, raw);
      assert.is(theirs.dst, formatAddress({ ia: iaOf(c.src), host: sourceOf(sent) }));
      assert.is(theirs.l4, 'scmp');
      assert.is(parsePacket(packet, 0, packet.length, view), ParseFault.none);
      const mine = decode(packet).scmp!;
      assert.equal(theirs.scmp, mine);
      types.set(`${mine.type}/${mine.code}`, (types.get(`${mine.type}/${mine.code}`) ?? 0) + 1);
      if (mine.type >= 128) continue;
      assert.ok(packet.length <= 1232 && (packet.length === 1232 || mine.data.length / 2 === sent.length));
      const quote = fromHex(mine.data);
      assert.is(parsePacket(quote, 0, quote.length, quoted), ParseFault.none);
      assert.is(theirs.quote!.src, theirs.dst);
      assert.is(theirs.quote!.path, toHex(quote, quoted.pathAt, quoted.payloadAt));
      assert.is(theirs.quote!.port, portOfQuote(quote, 0, quote.length, new PacketView()));
    }
  }
  console.log(JSON.stringify(Object.fromEntries(types)));
  for (const type of ['4/51', '4/52', '5/0', '131/0']) assert.ok(types.has(type), type);
});

function sourceOf(packet: Uint8Array) {
  const view = new PacketView();
  parsePacket(packet, 0, packet.length, view);
  return readHost(view.srcHostType, packet, view.srcHostAt);
}

const obstacle = buildOracle();
if (needs('go', obstacle === undefined, obstacle ?? '')) Wire.run();
