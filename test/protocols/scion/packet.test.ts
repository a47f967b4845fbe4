import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, readU16, toHex, writeU16 } from '#base/bytes';
import { S3mpError } from '#base/errors';
import { parseAddress, parseEndpoint, readHost, type ScionEndpoint } from '#scion/address';
import { checksum } from '#scion/checksum';
import { encodeHeader, NextHeader, PathType, setPayloadLength } from '#scion/header';
import {
  encodeReplyHeader,
  encodeUdpPacket,
  encodeUdpReply,
  isPayloadComplete,
  PacketView,
  ParseFault,
  parsePacket,
  replyHeaderLength,
  type UdpPacketSpec,
  udpPacketLength,
} from '#scion/packet';
import { isUdpChecksumRight, udpDestinationPort, udpEnd, udpSourcePort, writeUdpHeader } from '#scion/udp';
import { type Random, seeded } from '../../random.ts';
import vectors from '../../vectors/scion-packets.json';

const Packets = suite('SCION packets');
const samplePath = fromHex(vectors['scion-path-decode'].inputs.raw_hex);
const longPayload = Uint8Array.from({ length: 1024 }, (_, i) => i);

function sampleSpec(src: string, path: Uint8Array): UdpPacketSpec {
  return {
    trafficClass: 184,
    flowId: 57005,
    dst: { ...parseAddress('1-ff00:0:111,2001:db8::68'), port: 80 },
    src: { ...parseAddress(src), port: 1280 },
    path,
    payload: longPayload,
  };
}

function encoded(spec: UdpPacketSpec): Uint8Array {
  const out = new Uint8Array(udpPacketLength(spec) + 10);
  const end = encodeUdpPacket(out, 5, spec);
  assert.is(end, udpPacketLength(spec) + 5);
  assert.equal(out.subarray(end), new Uint8Array(5));
  return out.subarray(5, end);
}

Packets('UDP packets of the official tests: with path, without, with both extensions', () => {
  const { inputs } = vectors['packet-udp-empty-path'];
  const cases: [string, UdpPacketSpec][] = [
    [vectors['packet-udp-scion-path'].expected.packet_hex, sampleSpec('2-ff00:0:222,10.0.0.100', samplePath)],
    [vectors['packet-udp-empty-path'].expected.packet_hex, sampleSpec(inputs.src, new Uint8Array(0))],
  ];
  for (const [hex, spec] of cases) assert.is(toHex(encoded(spec)), hex);
  const hex = vectors['packet-udp-hbh-e2e'].expected.packet_hex;
  const at = 4 * 0x1d;
  const spec = { ...cases[0]![1], extensions: fromHex(hex).subarray(at, at + 60), firstExtension: NextHeader.hopByHop };
  assert.is(toHex(encoded(spec)), hex);
});

Packets('the same packets are taken apart', () => {
  const view = new PacketView();
  for (const name of ['packet-udp-scion-path', 'packet-udp-empty-path', 'packet-udp-hbh-e2e'] as const) {
    const raw = fromHex(vectors[name].expected.packet_hex);
    assert.is(parsePacket(raw, 0, raw.length, view), ParseFault.none);
    assert.is(view.pathType, name === 'packet-udp-empty-path' ? PathType.empty : PathType.scion);
    assert.is(view.nextHeader, vectors[name].inputs.next_hdr ?? 17);
    assert.is(view.l4Protocol, NextHeader.udp);
    assert.ok(isPayloadComplete(view));
    assert.is(udpSourcePort(raw, view.l4At), 1280);
    assert.is(udpDestinationPort(raw, view.l4At), 80);
    assert.is(udpEnd(raw, view.l4At, view.l4End), raw.length);
    assert.equal(raw.subarray(view.l4At + 8, raw.length), longPayload);
    assert.ok(isUdpChecksumRight(raw, 0, view.l4At, view.l4End));
    assert.equal(readHost(view.dstHostType, raw, view.dstHostAt), parseAddress('1-ff00:0:111,2001:db8::68').host);
    raw[raw.length - 1]! ^= 1;
    assert.not(isUdpChecksumRight(raw, 0, view.l4At, view.l4End));
    writeU16(raw, view.l4At + 6, 0);
    assert.ok(isUdpChecksumRight(raw, 0, view.l4At, view.l4End), 'a datagram without checksum passes');
  }
});

Packets('checksum of a datagram with an odd length', () => {
  const { inputs, expected } = vectors['udp-checksum-odd-length'];
  const udp = fromHex(inputs.udp_hex_checksum_zero);
  const out = new Uint8Array(200);
  const header = { dst: parseAddress(inputs.dst), src: parseAddress(inputs.src), path: new Uint8Array(0) };
  const at = encodeHeader(out, 0, header, NextHeader.udp);
  out.set(udp, at);
  const value = checksum(out, 0, at, at + udp.length, NextHeader.udp);
  assert.is(value.toString(16), expected.checksum_hex);
});

Packets('a BFD packet on the empty path is recognised', () => {
  const { expected } = vectors['packet-bfd-empty-path'];
  const raw = fromHex(expected.packet_hex);
  const view = new PacketView();
  assert.is(parsePacket(raw, 0, raw.length, view), ParseFault.none);
  assert.is(view.l4Protocol, NextHeader.bfd);
  assert.is(toHex(raw, view.l4At, view.l4End), expected.bfd_hex);
});

Packets('a captured request and its reply: our reply to the request is the one the official host sent', () => {
  const { inputs, expected } = vectors['recorded-ping-pong'];
  const request = fromHex(expected.server_e2e_ping_hex);
  const view = new PacketView();
  assert.is(parsePacket(request, 0, request.length, view), ParseFault.none);
  assert.is(Buffer.from(request.subarray(view.l4At + 8)).toString(), inputs.payload);
  const payload = Buffer.from(`..${inputs.payload}`);
  const out = new Uint8Array(300);
  const end = encodeUdpReply(out, 100, request, view, payload, 2, payload.length);
  // The sender of the capture left the checksum of the request in place; ports only change places, so it still fits.
  assert.is(toHex(out, 100, end), expected.server_e2e_pong_hex);

  for (const hex of Object.values(expected)) {
    const raw = fromHex(hex);
    assert.is(parsePacket(raw, 0, raw.length, view), ParseFault.none);
    assert.ok(isUdpChecksumRight(raw, 0, view.l4At, view.l4End));
    const spec: UdpPacketSpec = {
      dst: { ...endpointAt(raw, 12, view.dstHostType, view.dstHostAt), port: readU16(raw, view.l4At + 2) },
      src: { ...endpointAt(raw, 20, view.srcHostType, view.srcHostAt), port: readU16(raw, view.l4At) },
      path: raw.subarray(view.pathAt, view.payloadAt),
      payload: raw.subarray(view.l4At + 8, view.l4End),
    };
    assert.is(toHex(encoded(spec)), hex);
  }
});

function endpointAt(raw: Uint8Array, iaAt: number, type: number, hostAt: number): ScionEndpoint {
  return { ia: BigInt(`0x${toHex(raw, iaAt, iaAt + 8)}`), host: readHost(type, raw, hostAt), port: 0 };
}

Packets('one-hop and EPIC packets are recognised by their type', () => {
  const view = new PacketView();
  const spec = sampleSpec('2-ff00:0:222,10.0.0.100', samplePath);
  const oneHop = fromHex(vectors['onehop-processing'].expected.on_link_hex);
  assert.is(oneHop.length, 32);
  let raw = encoded({ ...spec, path: oneHop, pathType: PathType.oneHop });
  assert.is(parsePacket(raw, 0, raw.length, view), ParseFault.none);
  assert.is(view.pathType, PathType.oneHop);
  assert.is(view.metaAt, 0);
  assert.is(encodeReplyHeader(new Uint8Array(200), 0, raw, view, NextHeader.udp), -1);

  const epic = new Uint8Array(16 + samplePath.length);
  epic.set(samplePath, 16);
  raw = encoded({ ...spec, path: epic, pathType: PathType.epic });
  assert.is(parsePacket(raw, 0, raw.length, view), ParseFault.none);
  assert.is(view.metaAt, view.pathAt + 16);
  const reply = new Uint8Array(300);
  const at = encodeReplyHeader(reply, 0, raw, view, NextHeader.udp);
  assert.is(at, replyHeaderLength(raw, view));
  assert.is(reply[8], PathType.scion);

  raw = encoded({ ...spec, pathType: PathType.colibri });
  assert.is(parsePacket(raw, 0, raw.length, view), ParseFault.pathType);
});

Packets('every fault has its packet', () => {
  const view = new PacketView();
  const raw = () => encoded(sampleSpec('2-ff00:0:222,10.0.0.100', samplePath));
  const fault = (change: (p: Uint8Array) => void, end?: number) => {
    const packet = raw();
    change(packet);
    return parsePacket(packet, 0, end ?? packet.length, view);
  };
  assert.is(
    fault(() => {}),
    ParseFault.none,
  );
  assert.is(
    fault(() => {}, 27),
    ParseFault.tooShort,
  );
  assert.is(
    fault(() => {}, 115),
    ParseFault.headerLength,
  );
  assert.is(
    fault((p) => (p[4] = 1)),
    ParseFault.nextHeader,
  );
  assert.is(
    fault((p) => (p[5] = 3)),
    ParseFault.headerLength,
  );
  assert.is(
    fault((p) => (p[5] = 12)),
    ParseFault.path,
  );
  assert.is(
    fault((p) => (p[8] = 0)),
    ParseFault.path,
  );
  assert.is(
    fault((p) => (p[8] = 9)),
    ParseFault.pathType,
  );
  assert.is(
    fault((p) => (p[4] = 200)),
    ParseFault.none,
  );
  // Hop-by-hop again, hop-by-hop after end-to-end, and an extension longer than the packet.
  for (const [first, next, length] of [
    [200, 200, 0],
    [201, 200, 0],
    [201, 201, 0],
    [200, 17, 255],
  ]) {
    const extend = (p: Uint8Array) => {
      p[4] = first!;
      p[116] = next!;
      p[117] = length!;
      p[120] = 17;
      p[121] = 0;
    };
    assert.is(fault(extend, 200), ParseFault.extension);
  }
});

Packets('a header that does not fit its length field is not written', () => {
  for (const length of [964, 30]) {
    assert.throws(
      () => encoded(sampleSpec('2-ff00:0:222,::1', new Uint8Array(length))),
      (e: unknown) => e instanceof S3mpError && e.code === 'encode.out-of-range',
    );
  }
});

Packets('the first word keeps traffic class and flow', () => {
  for (const [trafficClass, flowId, hex] of [
    [0xff, 0xfffff, '0fffffff'],
    [0, 1, '00000001'],
    [0x80, 0x12345, '08012345'],
  ] as const) {
    const raw = encoded({ ...sampleSpec('2-ff00:0:222,::1', samplePath), trafficClass, flowId });
    assert.is(toHex(raw, 0, 4), hex);
  }
});

Packets('a UDP length that does not fit is sent as 0 and read as the rest', () => {
  const out = new Uint8Array(8);
  writeUdpHeader(out, 0, 1, 2, 65528);
  assert.is(toHex(out), '0001000200000000');
  assert.is(udpEnd(out, 0, 70_000), 70_000);
  writeUdpHeader(out, 0, 1, 2, 4);
  assert.is(udpEnd(out, 0, 12), 12);
  assert.is(udpEnd(out, 0, 11), -1);
  assert.is(udpEnd(out, 0, 7), -1);
  out[5] = 7;
  assert.is(udpEnd(out, 0, 12), -1);
});

function randomSpec(random: Random): UdpPacketSpec {
  const endpoint = (): ScionEndpoint => ({
    ia: (BigInt(random.u32()) << 32n) | BigInt(random.u32()),
    host: parseEndpoint(random.below(2) ? '[1-1,10.1.2.3]:1' : '[1-1,2001:db8::5]:1').host,
    port: random.below(65536),
  });
  return {
    trafficClass: random.below(256),
    flowId: random.below(1 << 20),
    dst: endpoint(),
    src: endpoint(),
    path: random.below(3) === 0 ? new Uint8Array(0) : samplePath,
    payload: random.bytes(random.below(40)),
  };
}

Packets('random packets are read as they were written, and two replies make the first packet again', () => {
  const random = seeded();
  const view = new PacketView();
  for (let i = 0; i < 3000; i++) {
    const spec = randomSpec(random);
    const raw = encoded(spec);
    assert.is(parsePacket(raw, 0, raw.length, view), ParseFault.none);
    assert.ok(isPayloadComplete(view) && isUdpChecksumRight(raw, 0, view.l4At, view.l4End));
    assert.equal(endpointAt(raw, 12, view.dstHostType, view.dstHostAt), { ...spec.dst, port: 0 });
    assert.equal(endpointAt(raw, 20, view.srcHostType, view.srcHostAt), { ...spec.src, port: 0 });
    assert.equal(raw.subarray(view.pathAt, view.payloadAt), spec.path);
    const reply = new Uint8Array(raw.length);
    assert.is(encodeUdpReply(reply, 0, raw, view, spec.payload, 0, spec.payload.length), raw.length);
    assert.is(parsePacket(reply, 0, reply.length, view), ParseFault.none);
    const again = new Uint8Array(raw.length);
    encodeUdpReply(again, 0, reply, view, spec.payload, 0, spec.payload.length);
    assert.equal(again, raw);
  }
});

Packets('mutated packets neither throw nor are read beyond their end', () => {
  const random = seeded();
  const view = new PacketView();
  const bases = [
    'packet-udp-scion-path',
    'packet-udp-empty-path',
    'packet-udp-hbh-e2e',
    'packet-bfd-empty-path',
  ] as const;
  const raws = bases.map((name) => fromHex(vectors[name].expected.packet_hex).subarray(0, 240));
  let accepted = 0;
  for (let i = 0; i < 60_000; i++) {
    const base = raws[random.below(raws.length)]!;
    // The copy ends where the packet ends: a read beyond gives undefined, which the checks below would not survive.
    const raw = base.slice(0, random.below(4) ? base.length : random.below(base.length));
    for (let n = random.below(4); n >= 0 && raw.length > 0; n--) {
      const at = random.below(random.below(2) ? Math.min(12, raw.length) : raw.length);
      raw[at] = random.below(2) ? random.below(256) : raw[at]! ^ (1 << random.below(8));
    }
    const fault = parsePacket(raw, 0, raw.length, view);
    assert.ok(fault >= 0 && fault <= 6);
    if (fault !== ParseFault.none) continue;
    accepted++;
    const offsets = [view.dstHostAt, view.srcHostAt, view.pathAt, view.payloadAt, view.l4At, view.l4End];
    assert.equal(
      offsets,
      [...offsets].sort((a, b) => a - b),
    );
    assert.ok(view.l4At <= raw.length && view.l4End <= raw.length);
    const reply = new Uint8Array(replyHeaderLength(raw, view));
    const at = encodeReplyHeader(reply, 0, raw, view, NextHeader.udp);
    assert.ok(at === -1 || at === reply.length);
  }
  assert.ok(accepted > 5000, `only ${accepted} packets accepted`);
});

Packets('the payload length of the header is compared, not trusted', () => {
  const raw = encoded(sampleSpec('2-ff00:0:222,::1', samplePath));
  const view = new PacketView();
  setPayloadLength(raw, 0, 5);
  assert.is(parsePacket(raw, 0, raw.length, view), ParseFault.none);
  assert.not(isPayloadComplete(view));
  assert.is(view.l4End, view.l4At + 5);
  setPayloadLength(raw, 0, 60_000);
  parsePacket(raw, 0, raw.length, view);
  assert.is(view.l4End, raw.length);
});

Packets.run();
