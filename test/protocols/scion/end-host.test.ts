/** The end host on bytes: who is answered and how, what is ignored, which SCMP errors are believed; mutations. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex, writeU16 } from '#base/bytes';
import { seededRandom } from '#hw/random';
import { parseHost } from '#scion/address';
import { combinePaths } from '#scion/combinator';
import { EndHost, type HostEndpoint } from '#scion/end-host';
import { parseIsdAs } from '#scion/isd-as';
import { reversePath } from '#scion/path';
import { panFingerprint } from '#scion/path-metadata';
import { encodeScmpPacket, type ScmpMessage } from '#scion/scmp';
import { buildSegment } from '#scion/segment-builder';
import { cameBackOn, interfaceIdsOf, QUOTE_LIFE_MS, SendingHost } from '#scion/sending-host';
import { parseTopology } from '#scion/topology';
import vectors from '../../vectors/scion-combinator-macs.json';

const local = parseIsdAs('1-ff00:0:112');
const core = parseIsdAs('1-ff00:0:110');
const key = (n: number) => new Uint8Array(16).fill(n);

const topology = parseTopology({
  isd_as: '1-ff00:0:112',
  mtu: 1472,
  dispatched_ports: '31000-32767',
  border_routers: {
    br1: {
      internal_addr: '10.0.0.1:30042',
      interfaces: {
        13: {
          underlay: { local: '192.0.2.1:50000', remote: '192.0.2.2:50000' },
          isd_as: '1-ff00:0:110',
          link_to: 'parent',
          mtu: 1472,
        },
      },
    },
  },
  control_service: {},
});

const up = buildSegment(1_700_000_000, 0x1001, [
  { ia: core, key: key(1), ingress: 0, egress: 1, mtu: 1472, ingressMtu: 0, expTime: 255 },
  { ia: local, key: key(2), ingress: 13, egress: 0, mtu: 1472, ingressMtu: 1400, expTime: 255 },
]);
const path = combinePaths(local, core, { up: [up], core: [], down: [] })[0]!;

const makeHost = () => new SendingHost({ topology, host: parseHost('10.0.0.10'), port: 31_000 });
const remote: HostEndpoint = { ia: core, host: parseHost('10.1.0.9'), port: 4059 };
const router = { host: '10.0.0.1', port: 30_042 };

function datagramTo(host: SendingHost, from: HostEndpoint, raw: Uint8Array, payload: Uint8Array): Uint8Array {
  const far = new SendingHost({ topology: { ...topology, ia: from.ia }, host: from.host, port: from.port });
  const packet = new Uint8Array(far.datagramLength(host.local, raw, payload));
  far.writeDatagram(packet, 0, host.local, raw, payload, 0);
  return packet;
}

/** The path as its receiver sees it after the last hop. */
function arrived(raw: Uint8Array): Uint8Array {
  const back = raw.slice();
  back[0] = 1;
  return back;
}

const Host = suite('end host');

Host(
  'next hops: the router that owns the first interface, the host itself inside the AS, its shim port outside the range',
  () => {
    const host = makeHost();
    assert.equal(host.nextHop(remote, path), router);
    const empty = { ...path, raw: new Uint8Array(0), interfaces: [] };
    assert.equal(host.nextHop({ ...remote, ia: local, port: 31_500 }, empty), { host: '10.1.0.9', port: 31_500 });
    assert.equal(host.nextHop({ ...remote, ia: local }, empty), { host: '10.1.0.9', port: 30_041 });
    assert.throws(() => host.nextHop(remote, { ...path, interfaces: [{ ia: local, id: 99 }] }), /interface 99/);
    assert.is(host.maxPayload(remote, path), path.mtu - 12 - 24 - path.raw.length - 8);
  },
);

Host('a datagram gives its payload and a peer whose path is the reversed one', () => {
  const host = makeHost();
  const back = new Uint8Array(path.raw.length);
  reversePath(arrived(path.raw), 0, back, 0);
  const packet = datagramTo(host, remote, arrived(back), Uint8Array.of(1, 2, 3));
  const received = host.receive(packet, router, 0);
  assert.is(received.kind, 'datagram');
  if (received.kind !== 'datagram') return;
  assert.equal(received.payload, Uint8Array.of(1, 2, 3));
  assert.is(received.peer.text, '1-ff00:0:110,10.1.0.9');
  assert.equal(received.peer.nextHop, router);
  assert.equal(toHex(received.peer.path), toHex(path.raw));
  assert.ok(cameBackOn(received.peer, path));
  assert.not(cameBackOn(received.peer, { ...path, interfaces: [{ ia: local, id: 14 }, path.interfaces[1]!] }));
  const again = host.receive(packet, router, 0);
  assert.is(again.kind === 'datagram' && again.peer, received.peer);
});

const peerOf = (host: SendingHost, packet: Uint8Array, from = router) => {
  const received = host.receive(packet, from, 0);
  return received.kind === 'datagram' ? received.peer : assert.unreachable(JSON.stringify(received));
};

Host('answers go over a SCION path without alert flags, also to EPIC and one-hop packets', () => {
  const host = makeHost();
  const back = new Uint8Array(path.raw.length);
  reversePath(arrived(path.raw), 0, back, 0);
  const alerting = arrived(back);
  alerting[12] = 3;
  alerting[24] = 1;
  assert.is(toHex(peerOf(host, datagramTo(host, remote, alerting, Uint8Array.of(1)))!.path), toHex(path.raw));
  const epic = datagramTo(host, remote, Uint8Array.of(...new Uint8Array(16), ...arrived(back)), Uint8Array.of(1));
  epic[8] = 3;
  assert.is(toHex(peerOf(host, epic)!.path), toHex(path.raw));
  const oneHop = fromHex('0100980f67e29ac0003f000000078a3b821609cc003f000d000021f68a5a838e');
  const beacon = datagramTo(host, remote, oneHop, Uint8Array.of(1));
  beacon[8] = 2;
  assert.is(
    toHex(peerOf(host, beacon)!.path),
    '000020000000980f67e29ac0003f000d000021f68a5a838e003f000000078a3b821609cc',
  );
  oneHop.fill(0, 20);
  const incomplete = datagramTo(host, remote, oneHop, Uint8Array.of(1));
  incomplete[8] = 2;
  assert.is(host.receive(incomplete, router, 0).kind, 'ignored');
});

Host('what a shim of this host hands over is answered through the router of its path', () => {
  const host = makeHost();
  const back = new Uint8Array(path.raw.length);
  reversePath(arrived(path.raw), 0, back, 0);
  const packet = datagramTo(host, remote, arrived(back), Uint8Array.of(1));
  assert.equal(peerOf(host, packet, { host: '127.0.0.1', port: 30_041 })!.nextHop, router);
  assert.equal(peerOf(host, packet, { host: '10.0.0.10', port: 30_041 })!.nextHop, router);
  const elsewhere = { host: '10.0.0.11', port: 30_041 };
  assert.equal(peerOf(host, packet, elsewhere)!.nextHop, elsewhere);
  const near = datagramTo(host, { ...remote, ia: local }, new Uint8Array(0), Uint8Array.of(1));
  const shim = { host: '10.0.0.10', port: 30_041 };
  assert.equal(peerOf(host, near, shim)!.nextHop, { host: '10.1.0.9', port: 30_041 });
  const inRange = datagramTo(host, { ...remote, ia: local, port: 31_007 }, new Uint8Array(0), Uint8Array.of(1));
  assert.equal(peerOf(host, inRange, shim)!.nextHop, { host: '10.1.0.9', port: 31_007 });
});

Host('a service of the own AS is no place to send to', () => {
  const empty = { ...path, raw: new Uint8Array(0), interfaces: [] };
  assert.throws(() => makeHost().nextHop({ ia: local, host: parseHost('CS'), port: 0 }, empty), /own AS/);
});

Host('what is not for this host and port, or damaged, is ignored in silence', () => {
  const host = makeHost();
  const why = (packet: Uint8Array) => {
    const received = host.receive(packet, router, 0);
    return received.kind === 'ignored' ? received.why : received.kind;
  };
  const good = datagramTo(host, remote, arrived(path.raw), Uint8Array.of(1, 2, 3));
  const changed = (at: number, value: number) => {
    const packet = good.slice();
    packet[at] = value;
    return packet;
  };
  const udp = good.length - 11;
  assert.is(why(good), 'datagram');
  assert.is(why(good.subarray(0, 30)), 'malformed');
  assert.is(why(changed(19, 0x13)), 'other destination');
  assert.is(why(changed(31, 11)), 'other destination');
  assert.is(why(changed(udp + 3, 0)), 'other port');
  assert.is(why(changed(good.length - 1, 9)), 'checksum');
  assert.is(why(good.subarray(0, good.length - 1)), 'payload length');
  const unsummed = good.slice();
  writeU16(unsummed, udp + 6, 0);
  assert.is(why(unsummed), 'datagram');
  assert.is(why(datagramTo(host, remote, new Uint8Array(0), Uint8Array.of(1))), 'path');
  // Routers deliver at the end of a path only; one from elsewhere has no way back.
  assert.is(why(datagramTo(host, remote, path.raw, Uint8Array.of(1))), 'path');
  const outside = arrived(path.raw);
  outside[0] = 0xc1;
  assert.is(why(datagramTo(host, remote, outside, Uint8Array.of(1))), 'path');
  assert.is(why(datagramTo(host, { ...remote, ia: local }, new Uint8Array(0), Uint8Array.of(1))), 'datagram');
});

Host('an echo request is answered with its own data, and the reply is for the asker', () => {
  const host = new EndHost({ topology, host: parseHost('10.0.0.10'), port: 31_000 });
  const asker = new SendingHost({ topology: { ...topology, ia: core }, host: remote.host, port: remote.port });
  const data = Uint8Array.of(9, 8, 7, 6, 5, 4, 3, 2);
  const request = new Uint8Array(asker.datagramLength(host.local, path.raw, data));
  const end = asker.writeEcho(request, 0, host.local, arrived(path.raw), 77, data, 0);
  assert.is(end, request.length);
  assert.is(host.receive(request, router, 0).kind, 'echo-request');
  const reply = new Uint8Array(host.echoReplyLength(request));
  assert.is(host.writeEchoReply(reply, 0, request), reply.length);
  assert.is(host.receive(reply, router, 0).kind, 'ignored', 'who only answers');
  const answer = asker.receive(reply, router, 0);
  assert.equal(answer, { kind: 'echo-reply', src: local, sequence: 77, data });
});

function scmpAbout(host: SendingHost, quote: Uint8Array, id = 1n): Uint8Array {
  const message: ScmpMessage = { type: 5, code: 0, ia: core, interface: id, data: quote };
  const out = new Uint8Array(1500);
  const src = { ia: core, host: parseHost('10.1.0.1') };
  return out.slice(0, encodeScmpPacket(out, 0, { dst: host.local, src, path: arrived(path.raw) }, message));
}

Host('an SCMP error is believed only when it quotes a datagram sent within the last two seconds', () => {
  const host = makeHost();
  const payload = fromHex('00010203040506070809');
  const sent = new Uint8Array(host.datagramLength(remote, path.raw, payload));
  host.writeDatagram(sent, 0, remote, path.raw, payload, 1000);
  // A router quotes the packet with its own changes to position and accumulator.
  const quote = arrived(sent);
  quote[0] = sent[0]!;
  quote[36] = 1;
  quote[42] = 0xaa;
  const error = scmpAbout(host, quote);
  assert.equal(host.receive(error, router, 1500), { kind: 'interface-down', ia: core, id: 1, dst: core });
  assert.is(host.receive(error, router, 1000 + QUOTE_LIFE_MS + 1).kind, 'ignored');
  const forged = quote.slice();
  forged[forged.length - 1]! ^= 1;
  assert.is(host.receive(scmpAbout(host, forged), router, 1500).kind, 'ignored');
  assert.is(makeHost().receive(error, router, 1500).kind, 'ignored');
  // About an interface that the packet was not to cross, or a packet of another host.
  assert.is(host.receive(scmpAbout(host, quote, 7n), router, 1500).kind, 'ignored');
  assert.is(host.receive(scmpAbout(host, quote, 0n), router, 1500).kind, 'ignored');
  const foreign = quote.slice();
  foreign[35]! ^= 1;
  assert.is(host.receive(scmpAbout(host, foreign), router, 1500).kind, 'ignored');
  assert.is(host.receive(scmpAbout(host, new Uint8Array(0)), router, 1500).kind, 'ignored');
});

for (const vector of vectors.cases) {
  Host(`interface ids of the raw path equal its interface list: ${vector.case}`, () => {
    const ids = vector.interfaces.map((text) => text.split('#')[1]).join(' ');
    assert.is(interfaceIdsOf(fromHex(vector.raw_path_hex)), ids);
    const reversed = vector.interfaces
      .map((text) => text.split('#')[1])
      .reverse()
      .join(' ');
    assert.is(interfaceIdsOf(fromHex(vector.reply_path_hex)), reversed);
  });
}

Host('interface ids of a combined path are its PAN fingerprint', () => {
  assert.is(interfaceIdsOf(path.raw), panFingerprint(path.interfaces));
  assert.is(interfaceIdsOf(new Uint8Array(0)), '');
});

Host('mutated packets never throw, nor do the answers to those that pass', () => {
  const seed = Number(process.env.S3MP_SEED ?? Date.now() % 1e9);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const host = makeHost();
  const payload = Uint8Array.from({ length: 40 }, (_, i) => i);
  const datagram = datagramTo(host, remote, arrived(path.raw), payload);
  const sent = new Uint8Array(host.datagramLength(remote, path.raw, payload));
  host.writeDatagram(sent, 0, remote, path.raw, payload, 0);
  const sources = [datagram, scmpAbout(host, sent), scmpAbout(host, datagram)];
  const kinds = new Map<string, number>();
  for (let i = 0; i < 30_000; i++) {
    const source = sources[i % sources.length]!;
    const packet = source.slice(0, random() < 0.2 ? Math.floor(random() * source.length) : source.length);
    for (let k = 0; k <= random() * 3 && packet.length > 0; k++)
      packet[Math.floor(random() * packet.length)]! ^= 1 << Math.floor(random() * 8);
    const received = host.receive(packet, router, 100);
    kinds.set(received.kind, (kinds.get(received.kind) ?? 0) + 1);
    if (received.kind === 'datagram') {
      const reply = new Uint8Array(host.datagramLength(received.peer, received.peer.path, payload));
      host.writeDatagram(reply, 0, received.peer, received.peer.path, payload, 100);
    } else if (received.kind === 'echo-request') {
      host.writeEchoReply(new Uint8Array(host.echoReplyLength(packet)), 0, packet);
    }
  }
  assert.ok((kinds.get('ignored') ?? 0) > 1000 && (kinds.get('datagram') ?? 0) > 100, JSON.stringify([...kinds]));
});

Host.run();
