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
import { EpicMac } from '#scion/epic';
import { encodeExtension, extensionLength, MAX_EXTENSION_LENGTH } from '#scion/extensions';
import { encodeHeader, NextHeader, PathType, setPayloadLength } from '#scion/header';
import { encodeUdpPacket, PacketView, ParseFault, parsePacket } from '#scion/packet';
import { RouterAction } from '#scion/router-types';
import { encodeScmp, portOfQuote, type ScmpMessage, writeScmpChecksum } from '#scion/scmp';
import { encodeSpaoData, findSpao, SpaoMac, SpaoView } from '#scion/spao';
import { needs } from '#test/needs';
import { Network } from '../protocols/scion/network.ts';
import vectors from '../vectors/scion-forwarding.json';
import { buildOracle, Oracle } from './go-oracle.ts';
import {
  content,
  decode,
  encode,
  type GoDecoded,
  type GoOption,
  iaOf,
  optionsOf,
  pick,
  random,
  randomPacket,
  randomPath,
  SCMP_TYPES,
} from './scion-wire-packets.ts';

const ROUNDS = Number(process.env.S3MP_ROUNDS ?? 1);

const Wire = suite('packets beside the official packages');
let oracle: Oracle;

Wire.before(() => {
  oracle = new Oracle();
});
Wire.after(() => oracle.close());

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
