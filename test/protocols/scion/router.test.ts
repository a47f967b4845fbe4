import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, readU16, toHex, writeU16 } from '#base/bytes';
import { type HostAddress, parseAddress, parseHost } from '#scion/address';
import { checksum } from '#scion/checksum';
import { NextHeader, PathType } from '#scion/header';
import { HopMac } from '#scion/hop-mac';
import { encodeUdpPacket, encodeUdpReply, PacketView, ParseFault, parsePacket } from '#scion/packet';
import { decodePath, encodePath, MAX_PATH_LENGTH, type PathRepr } from '#scion/path';
import { INTERNAL, NO_SIBLING, Router } from '#scion/router';
import { ROUTER_REASON_NAMES, RouterAction, RouterReason } from '#scion/router-types';
import {
  decodeScmp,
  encodeScmpPacket,
  MAX_ERROR_PACKET,
  ProblemCode,
  type ScmpMessage,
  UnreachableCode,
} from '#scion/scmp';
import { parseTopology } from '#scion/topology';
import { seeded } from '../../random.ts';
import vectors from '../../vectors/scion-forwarding.json';
import { hopKeyOf, Network, routerFor, topologyOf } from './network.ts';

const NOW = 1_700_001_000_000;
const EXPIRED = 1_700_200_000_000;
const Forwarding = suite('border router');
const payload = new TextEncoder().encode('a reading');
const caseOf = (name: string) => vectors.cases.find((c) => c.case === name)!;
const UP_CORE_DOWN = caseOf('up-core-down');
const PEERING = caseOf('peering shortcut');

interface Wish {
  path?: Uint8Array;
  src?: string;
  dst?: string;
  srcHost?: HostAddress;
  dstHost?: HostAddress;
  payload?: Uint8Array;
}

function packetOf(c: { src: string; dst: string; raw_path_hex: string }, wish: Wish = {}): Uint8Array {
  const out = new Uint8Array(9000);
  const src = parseAddress(`${wish.src ?? c.src},10.0.0.9`);
  const dst = parseAddress(`${wish.dst ?? c.dst},10.0.0.8`);
  const end = encodeUdpPacket(out, 0, {
    src: { ia: src.ia, host: wish.srcHost ?? src.host, port: 31000 },
    dst: { ia: dst.ia, host: wish.dstHost ?? dst.host, port: 4059 },
    path: wish.path ?? fromHex(c.raw_path_hex),
    payload: wish.payload ?? payload,
  });
  return out.slice(0, end);
}

function viewOf(packet: Uint8Array): PacketView {
  const view = new PacketView();
  assert.is(parsePacket(packet, 0, packet.length, view), ParseFault.none);
  return view;
}

function pathHexOf(packet: Uint8Array): string {
  const view = viewOf(packet);
  return toHex(packet, view.pathAt, view.payloadAt);
}

/** The SCMP message of a packet; its checksum must be right. */
function scmpOf(packet: Uint8Array): ScmpMessage {
  const view = viewOf(packet);
  assert.is(view.l4Protocol, NextHeader.scmp);
  assert.is(checksum(packet, 0, view.l4At, view.l4End, NextHeader.scmp), 0);
  return decodeScmp(packet, view.l4At, view.l4End)!;
}

interface TracePoint {
  as: string;
  event: string;
  path_hex: string;
}

/** Checks each state of the path that the independent simulation recorded on the links. */
function followTrace(network: Network, from: string, packet: Uint8Array, trace: TracePoint[]): Uint8Array {
  const steps = network.send(from, packet);
  const sent = trace.filter((t) => t.event.startsWith('sent on interface'));
  assert.is(steps.length, sent.length + 1);
  sent.forEach((point, i) => {
    const step = steps[i]!;
    assert.is(ROUTER_REASON_NAMES[step.reason], 'none');
    assert.is(`${step.isdAs} ${step.egress}`, `${point.as} ${point.event.replace('sent on interface ', '')}`);
    assert.is(pathHexOf(step.packet), point.path_hex);
  });
  const last = steps.at(-1)!;
  assert.is(last.action, RouterAction.deliver);
  assert.is(last.isdAs, trace.at(-1)!.as);
  assert.is(pathHexOf(last.packet), trace.at(-1)!.path_hex);
  return last.packet;
}

for (const c of vectors.cases) {
  Forwarding(`${c.case}: every link shows the recorded path, and the reply finds its way back`, () => {
    const network = new Network(NOW);
    const arrived = followTrace(network, c.src, packetOf(c), c.forward_trace);
    const reply = new Uint8Array(arrived.length);
    assert.is(encodeUdpReply(reply, 0, arrived, viewOf(arrived), payload, 0, payload.length), reply.length);
    assert.is(pathHexOf(reply), c.reply_path_hex);
    const back = followTrace(network, c.dst, reply, c.reply_trace);
    assert.equal(back.subarray(viewOf(back).l4At + 8), payload);
  });
}

Forwarding('a packet is delivered to the address and port it names', () => {
  const network = new Network(NOW);
  const packet = packetOf(UP_CORE_DOWN);
  const steps = network.send(UP_CORE_DOWN.src, packet);
  const { result } = network.router(UP_CORE_DOWN.dst);
  assert.is(result.action, RouterAction.deliver);
  assert.is(result.port, 4059);
  assert.equal(
    steps.at(-1)!.packet.subarray(result.hostAt, result.hostAt + result.hostLength),
    Uint8Array.of(10, 0, 0, 8),
  );
  assert.is(network.router(UP_CORE_DOWN.dst).counters[RouterReason.none], 1);
});

/** Sends the packet and returns the SCMP error that reached the sender, having checked that it did. */
function errorFor(network: Network, packet: Uint8Array, reason: number, change?: (p: Uint8Array, to: string) => void) {
  const steps = network.send(UP_CORE_DOWN.src, packet, change);
  const refused = steps.find((s) => s.action === RouterAction.reply);
  assert.ok(refused, `no reply; last ${ROUTER_REASON_NAMES[steps.at(-1)!.reason]}`);
  assert.is(ROUTER_REASON_NAMES[refused.reason], ROUTER_REASON_NAMES[reason]);
  const last = steps.at(-1)!;
  assert.is(last.isdAs, UP_CORE_DOWN.src, `the error was lost at ${last.isdAs}: ${ROUTER_REASON_NAMES[last.reason]}`);
  assert.ok(last.packet.length <= MAX_ERROR_PACKET);
  assert.equal(viewOf(last.packet).dstHostType, 0);
  return { message: scmpOf(last.packet), at: refused.isdAs, step: last };
}

/** Offset of hop `h` in the sample packet. */
const hopOffset = (h: number, numInf = 3): number => 36 + 4 + 8 * numInf + 12 * h;
const infoOffset = (i: number): number => 36 + 4 + 8 * i;

Forwarding('an expired hop is answered from the first router and from each one on the way', () => {
  for (const [h, isdAs] of [
    [0, '1-ff00:0:112'],
    [1, '1-ff00:0:111'],
    [2, '1-ff00:0:110'],
    [3, '1-ff00:0:110'],
    [4, '1-ff00:0:120'],
    [5, '1-ff00:0:120'],
    [6, '1-ff00:0:121'],
    [7, '1-ff00:0:122'],
  ] as const) {
    const network = new Network(NOW);
    // Only the router of that AS lives in a later time.
    const router = network.router(isdAs);
    const process = router.process.bind(router);
    router.process = (buf, length, ingress, sibling) => {
      if (viewOf(buf.slice(0, length)).l4Protocol === NextHeader.scmp)
        return process(buf, length, ingress, sibling, NOW);
      const late = h === 3 || h === 5 ? lateFor(buf, h) : EXPIRED;
      return process(buf, length, ingress, sibling, late);
    };
    const packet = packetOf(UP_CORE_DOWN);
    if (h === 3 || h === 5) packet[hopOffset(h) + 1] = 0;
    const { message, at } = errorFor(network, packet, RouterReason.expired);
    assert.is(at, isdAs);
    assert.equal([message.type, message.code], [4, ProblemCode.pathExpired]);
    assert.is(message.type === 4 && message.pointer, hopOffset(h));
    assert.is(packet.length, message.data.length);
  }
});

/** A time between the shortened life of hop `h` and that of the others. */
function lateFor(buf: Uint8Array, h: number): number {
  const info = infoOffset(h === 3 ? 1 : 2);
  const timestamp = ((buf[info + 4]! << 24) | (buf[info + 5]! << 16) | (buf[info + 6]! << 8) | buf[info + 7]!) >>> 0;
  return timestamp * 1000 + 337_501;
}

Forwarding('expiry is strict: in its last millisecond a hop still counts', () => {
  const router = routerFor('1-ff00:0:112');
  const last = 1_700_000_000_000 + 64 * 337_500;
  for (const [now, reason] of [
    [last, RouterReason.none],
    [last + 1, RouterReason.expired],
  ] as const) {
    const packet = packetOf(UP_CORE_DOWN);
    assert.is(router.process(packet, packet.length, INTERNAL, NO_SIBLING, now).reason, reason);
  }
});

Forwarding('a forged hop field is refused by the router whose key it lacks', () => {
  for (const [h, isdAs] of [
    [0, '1-ff00:0:112'],
    [1, '1-ff00:0:111'],
    [2, '1-ff00:0:110'],
    [3, '1-ff00:0:110'],
    [5, '1-ff00:0:120'],
  ] as const) {
    const packet = packetOf(UP_CORE_DOWN);
    packet[hopOffset(h) + 11]! ^= 1;
    const { message, at } = errorFor(new Network(NOW), packet, RouterReason.hopMac);
    assert.is(at, isdAs);
    assert.equal(message.type === 4 && [message.code, message.pointer], [ProblemCode.invalidHopMac, hopOffset(h)]);
  }
});

Forwarding('any changed bit of what the MACs cover stops the packet', () => {
  const covered = (h: number, numInf: number) =>
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map((i) => hopOffset(h, numInf) + i);
  for (const c of vectors.cases) {
    const numHops = decodePath(fromHex(c.raw_path_hex), 0, c.raw_path_hex.length / 2).segments.flatMap(
      (s) => s.hops,
    ).length;
    const numInf = decodePath(fromHex(c.raw_path_hex), 0, c.raw_path_hex.length / 2).segments.length;
    const offsets = Array.from({ length: numHops }, (_, h) => covered(h, numInf)).flat();
    for (let i = 0; i < numInf; i++) for (let b = 2; b < 8; b++) offsets.push(infoOffset(i) + b);
    for (const offset of offsets) {
      const packet = packetOf(c);
      packet[offset]! ^= 0x04;
      const steps = new Network(NOW).send(c.src, packet);
      const delivered = steps.some((s) => s.isdAs === c.dst && s.action === RouterAction.deliver);
      assert.not(delivered, `${c.case}: byte ${offset}`);
    }
  }
});

Forwarding('a link that is down is reported with the AS and the interface', () => {
  const network = new Network(NOW);
  network.router('1-ff00:0:120').links.setLinkUp(22, false);
  const { message, at } = errorFor(network, packetOf(UP_CORE_DOWN), RouterReason.interfaceDown);
  assert.is(at, '1-ff00:0:120');
  assert.is(message.type, 5);
  const down = message as Extract<ScmpMessage, { type: 5 }>;
  assert.is(down.ia, parseAddress('1-ff00:0:120,CS').ia);
  assert.is(down.interface, 22n);
  network.router('1-ff00:0:120').links.setLinkUp(22, true);
  assert.is(network.send(UP_CORE_DOWN.src, packetOf(UP_CORE_DOWN)).at(-1)!.isdAs, UP_CORE_DOWN.dst);
});

Forwarding('errors come back over a peering link too', () => {
  const network = new Network(NOW);
  network.router('1-ff00:0:121').links.setLinkUp(25, false);
  const steps = network.send(PEERING.src, packetOf(PEERING));
  assert.is(steps.at(-1)!.isdAs, PEERING.src);
  assert.is(scmpOf(steps.at(-1)!.packet).type, 5);
});

Forwarding('the wrong size is reported, whichever way it is wrong', () => {
  for (const change of [1, -1, 500]) {
    const packet = packetOf(UP_CORE_DOWN);
    writeU16(packet, 6, readU16(packet, 6) + change);
    const { message } = errorFor(new Network(NOW), packet, RouterReason.payloadLength);
    assert.equal(message.type === 4 && [message.code, message.pointer], [ProblemCode.invalidPacketSize, 0]);
  }
});

Forwarding('forged and misplaced addresses are reported with a pointer to the field', () => {
  const foreign = packetOf(UP_CORE_DOWN, { src: '1-ff00:0:999' });
  const router = routerFor('1-ff00:0:112');
  let result = router.process(foreign, foreign.length, INTERNAL, NO_SIBLING, NOW);
  assert.is(result.reason, RouterReason.sourceAddress);
  let message = scmpOf(router.reply.packet.slice(0, router.reply.length));
  assert.equal(message.type === 4 && [message.code, message.pointer], [ProblemCode.invalidSourceAddress, 20]);

  const home = packetOf(UP_CORE_DOWN, { dst: '1-ff00:0:112' });
  result = router.process(home, home.length, INTERNAL, NO_SIBLING, NOW);
  assert.is(result.reason, RouterReason.destinationAddress);
  message = scmpOf(router.reply.packet.slice(0, router.reply.length));
  assert.equal(message.type === 4 && [message.code, message.pointer], [ProblemCode.invalidDestinationAddress, 12]);

  // From outside: our own AS as source, a destination elsewhere at the last hop, and ours before it.
  const network = new Network(NOW);
  errorFor(network, packetOf(UP_CORE_DOWN, { dst: '1-ff00:0:121' }), RouterReason.destinationAddress);
  errorFor(network, packetOf(UP_CORE_DOWN, { dst: '1-ff00:0:999' }), RouterReason.destinationAddress);
  const steps = network.send(UP_CORE_DOWN.src, packetOf(UP_CORE_DOWN), (packet, to) => {
    if (to === '1-ff00:0:111') packet.set(fromHex('0001ff0000000111'), 20);
  });
  assert.is(steps[1]!.reason, RouterReason.sourceAddress);
});

Forwarding('hosts that no router can answer or reach', () => {
  const mapped = { type: 0b0011, bytes: fromHex('00000000000000000000ffff0a000009') };
  const sources: [HostAddress, number, number][] = [
    [mapped, RouterReason.sourceHost, RouterAction.reply],
    [{ type: 0b1000, bytes: new Uint8Array(4) }, RouterReason.sourceHost, RouterAction.reply],
    [{ type: 0b0111, bytes: new Uint8Array(16) }, RouterReason.sourceHost, RouterAction.reply],
  ];
  const first = routerFor('1-ff00:0:112');
  for (const [srcHost, reason, action] of sources) {
    const packet = packetOf(UP_CORE_DOWN, { srcHost });
    const result = first.process(packet, packet.length, INTERNAL, NO_SIBLING, NOW);
    assert.equal([result.reason, result.action], [reason, action]);
  }
  for (const dstHost of [mapped, parseHost('0.0.0.0'), parseHost('::'), { type: 0b1000, bytes: new Uint8Array(4) }]) {
    const { message, at } = errorFor(
      new Network(NOW),
      packetOf(UP_CORE_DOWN, { dstHost }),
      RouterReason.destinationHost,
    );
    assert.is(at, UP_CORE_DOWN.dst);
    assert.equal(message.type === 4 && [message.code, message.pointer], [ProblemCode.invalidDestinationAddress, 0]);
  }
});

Forwarding('the router does not deliver packets to its own socket', () => {
  const topology = { ...topologyOf(UP_CORE_DOWN.dst) };
  (topology.border_routers as { br: { internal_addr: string } }).br.internal_addr = '10.0.0.8:4059';
  const network = new Network(NOW);
  const parsed = parseTopology(topology);
  network.routers.set(
    UP_CORE_DOWN.dst,
    new Router({ topology: parsed, router: parsed.routers[0]!, hopKey: hopKeyOf(UP_CORE_DOWN.dst) }),
  );
  const last = network.send(UP_CORE_DOWN.src, packetOf(UP_CORE_DOWN)).at(-1)!;
  assert.equal([last.action, last.reason], [RouterAction.drop, RouterReason.destinationHost]);
});

Forwarding('services: an instance in turn, the multicast form alike, and an error when there is none', () => {
  const services = { control_service: { a: { addr: '10.0.0.2:30252' }, b: { addr: '10.0.0.3:30253' } } };
  const network = new Network(NOW, services);
  const seen = new Set<string>();
  for (const name of ['CS', 'CS', 'CS_M', 'CS_M']) {
    const steps = network.send(UP_CORE_DOWN.src, packetOf(UP_CORE_DOWN, { dstHost: parseHost(name) }));
    assert.is(steps.at(-1)!.action, RouterAction.deliver);
    const { service, port } = network.router(UP_CORE_DOWN.dst).result;
    seen.add(`${service!.host}:${port}`);
  }
  assert.equal([...seen].sort(), ['10.0.0.2:30252', '10.0.0.3:30253']);
  for (const name of ['DS', 'Wildcard']) {
    const packet = packetOf(UP_CORE_DOWN, { dstHost: parseHost(name) });
    const { message } = errorFor(network, packet, RouterReason.noService);
    assert.equal([message.type, message.code], [1, UnreachableCode.noRoute]);
  }
});

Forwarding('ports: of the datagram, of the reply, of the quoted packet, or of the shim', () => {
  const ia = 0n;
  const data = new Uint8Array(0);
  const quoted = packetOf(UP_CORE_DOWN);
  const port = (message: ScmpMessage | undefined, dispatched?: string) => {
    const network = new Network(NOW, dispatched === undefined ? {} : { dispatched_ports: dispatched });
    let packet = packetOf(UP_CORE_DOWN);
    if (message !== undefined) {
      const out = new Uint8Array(2000);
      const [src, dst] = [parseAddress('1-ff00:0:112,10.0.0.9'), parseAddress('1-ff00:0:122,10.0.0.8')];
      const end = encodeScmpPacket(out, 0, { src, dst, path: fromHex(UP_CORE_DOWN.raw_path_hex) }, message);
      packet = out.slice(0, end);
    }
    const last = network.send(UP_CORE_DOWN.src, packet).at(-1)!;
    if (last.action === RouterAction.deliver) return last.port;
    assert.is(last.reason, RouterReason.upperLayer);
    return 0;
  };
  assert.is(port(undefined), 4059);
  assert.is(port(undefined, 'all'), 4059);
  assert.is(port(undefined, '31000-32767'), 30041);
  assert.is(port(undefined, '-'), 30041);
  assert.is(port({ type: 128, code: 0, identifier: 7, sequence: 1, data }), 30041);
  assert.is(port({ type: 129, code: 0, identifier: 31007, sequence: 1, data }, '31000-32767'), 31007);
  assert.is(port({ type: 129, code: 0, identifier: 7, sequence: 1, data }), 7);
  assert.is(port({ type: 129, code: 0, identifier: 0, sequence: 1, data }), 0);
  assert.is(port({ type: 130, code: 0, identifier: 7, sequence: 1, ia, interface: 0n, data }), 30041);
  assert.is(port({ type: 131, code: 0, identifier: 8, sequence: 1, ia, interface: 0n, data }), 8);
  assert.is(port({ type: 4, code: 0, pointer: 0, data: quoted }), 31000);
  assert.is(port({ type: 4, code: 0, pointer: 0, data: quoted.subarray(0, 40) }), 0);
  assert.is(port({ type: 99 as 1, code: 0, data }), 0);
});

Forwarding('an unknown egress interface and a link type that may not follow', () => {
  // A key holder can make such hop fields; the checks stand behind the MAC.
  const craft = (isdAs: string, ingress: number, hops: [number, number][], consDir: boolean) => {
    const mac = new HopMac(hopKeyOf(isdAs));
    const out = new Uint8Array(MAX_PATH_LENGTH);
    const path: PathRepr = {
      currInf: 0,
      currHf: 1,
      segments: [
        {
          consDir,
          peer: false,
          segId: 7,
          timestamp: 1_700_000_900,
          hops: hops.map(([consIngress, consEgress]) => {
            const bytes = new Uint8Array(6);
            mac.compute(bytes, 0, 7, 1_700_000_900, 63, consIngress, consEgress);
            return { expTime: 63, consIngress, consEgress, mac: bytes };
          }),
        },
      ],
    };
    const end = encodePath(out, 0, path);
    const packet = packetOf(UP_CORE_DOWN, { path: out.subarray(0, end) });
    if (!consDir) {
      // The ingress update will take the MAC back out of the accumulator.
      const at = hopOffset(1, 1);
      packet[infoOffset(0) + 2]! ^= packet[at + 6]!;
      packet[infoOffset(0) + 3]! ^= packet[at + 7]!;
    }
    const router = routerFor(isdAs);
    const { reason } = router.process(packet, packet.length, ingress, NO_SIBLING, NOW);
    const message =
      reason === RouterReason.none ? undefined : scmpOf(router.reply.packet.slice(0, router.reply.length));
    return { reason, code: message?.code };
  };
  const end: [number, number] = [1, 0];
  assert.equal(craft('1-ff00:0:111', 11, [[0, 9], [11, 99], end], true), {
    reason: RouterReason.egressInterface,
    code: 50,
  });
  assert.equal(craft('1-ff00:0:111', 11, [[0, 9], [99, 11], end], false), {
    reason: RouterReason.egressInterface,
    code: 49,
  });
  assert.equal(craft('1-ff00:0:111', 11, [[0, 9], [11, 0], end], true), {
    reason: RouterReason.egressInterface,
    code: 50,
  });
  assert.equal(craft('1-ff00:0:111', 11, [[0, 9], [11, 12], end], true), {
    reason: RouterReason.none,
    code: undefined,
  });
  assert.equal(craft('1-ff00:0:111', 12, [[0, 9], [11, 12], end], false), {
    reason: RouterReason.none,
    code: undefined,
  });
  // child to child, parent to peer, parent to parent within a segment
  assert.equal(craft('1-ff00:0:111', 12, [[0, 9], [12, 15], end], true), {
    reason: RouterReason.invalidPath,
    code: 48,
  });
  assert.equal(craft('1-ff00:0:111', 11, [[0, 9], [11, 14], end], true), {
    reason: RouterReason.invalidPath,
    code: 48,
  });
  assert.equal(craft('1-ff00:0:111', 11, [[0, 9], [11, 11], end], true), {
    reason: RouterReason.invalidPath,
    code: 48,
  });
});

Forwarding('segments may be switched between core and child and between children only', () => {
  const mac = new HopMac(hopKeyOf('1-ff00:0:111'));
  const outcome = (ingress: number, egress: number, from: number) => {
    const hop = (consIngress: number, consEgress: number) => {
      const bytes = new Uint8Array(6);
      mac.compute(bytes, 0, 7, 1_700_000_900, 63, consIngress, consEgress);
      return { expTime: 63, consIngress, consEgress, mac: bytes };
    };
    const segment = (consDir: boolean, hops: ReturnType<typeof hop>[]) => ({
      consDir,
      peer: false,
      segId: 7,
      timestamp: 1_700_000_900,
      hops,
    });
    const path: PathRepr = {
      currInf: 0,
      currHf: from === INTERNAL ? 0 : 1,
      segments: [
        from === INTERNAL
          ? segment(true, [hop(0, ingress), hop(ingress, 0)])
          : segment(true, [hop(0, 9), hop(ingress, 0)]),
        segment(true, [hop(0, egress), hop(1, 0)]),
      ],
    };
    const out = new Uint8Array(MAX_PATH_LENGTH);
    const packet = packetOf(UP_CORE_DOWN, { path: out.subarray(0, encodePath(out, 0, path)) });
    return routerFor('1-ff00:0:111').process(packet, packet.length, from, NO_SIBLING, NOW).reason;
  };
  assert.is(outcome(12, 15, 12), RouterReason.none);
  assert.is(outcome(11, 12, 11), RouterReason.segmentChange);
  assert.is(outcome(12, 11, 12), RouterReason.segmentChange);
  assert.is(outcome(12, 14, 12), RouterReason.segmentChange);
  assert.is(outcome(14, 12, 14), RouterReason.segmentChange);
});

Forwarding('paths that cannot be genuine are dropped without an answer', () => {
  const network = new Network(NOW);
  const outcome = (change: (p: Uint8Array) => void, packet = packetOf(UP_CORE_DOWN)) => {
    change(packet);
    const { action, reason } = network.send(UP_CORE_DOWN.src, packet)[0]!;
    assert.is(action, RouterAction.drop);
    return reason;
  };
  assert.is(
    outcome((p) => (p[36] = 0x08)),
    RouterReason.position,
  );
  assert.is(
    outcome((p) => (p[36] = 0x40)),
    RouterReason.position,
  );
  assert.is(
    outcome((p) => (p[infoOffset(0)] = 2)),
    RouterReason.peeringShape,
  );
  // A segment of one hop: lengths 3, 2, 3 become 3, 1, 4.
  assert.is(
    outcome((p) => p.set([0x00, 0x30, 0x44], 37)),
    RouterReason.position,
  );
  assert.is(
    outcome((p) => (p[36] = 0x01)),
    RouterReason.transitFromInside,
  );
  assert.is(
    outcome((p) => (p[8] = PathType.oneHop)),
    RouterReason.oneHopPath,
  );
  assert.is(
    outcome(() => {}, packetOf(UP_CORE_DOWN, { path: new Uint8Array(0) })),
    RouterReason.emptyPath,
  );
  assert.is(
    outcome((p) => (p[8] = 9)),
    RouterReason.pathType,
  );
  assert.is(
    outcome((p) => (p[38] = 0)),
    RouterReason.path,
  );
  assert.is(
    outcome((p) => (p[5] = 255)),
    RouterReason.headerLength,
  );
  assert.is(
    outcome((p) => (p[4] = 99)),
    RouterReason.nextHeader,
  );
  assert.is(
    outcome(() => {}, new Uint8Array(27)),
    RouterReason.tooShort,
  );
  const extension = (p: Uint8Array) => {
    p[4] = 200;
    p[p[5]! * 4] = 200;
    p[p[5]! * 4 + 1] = 0;
  };
  assert.is(outcome(extension), RouterReason.extension);
});

Forwarding('a packet from a link that is not where its hop comes from is refused', () => {
  const router = routerFor('1-ff00:0:111');
  const packet = new Network(NOW).send(UP_CORE_DOWN.src, packetOf(UP_CORE_DOWN))[0]!.packet;
  const result = router.process(packet, packet.length, 15, NO_SIBLING, NOW);
  assert.is(result.reason, RouterReason.ingressInterface);
  assert.is(scmpOf(router.reply.packet.slice(0, router.reply.length)).code, ProblemCode.unknownConsEgress);
  // On the first hop there is no way back by a link: no answer either.
  const fresh = packetOf(UP_CORE_DOWN);
  const alone = router.process(fresh, fresh.length, 15, NO_SIBLING, NOW);
  assert.equal([alone.action, alone.reason], [RouterAction.drop, RouterReason.ingressInterface]);
});

Forwarding('no error is sent about an error, nor to a source that is not one host', () => {
  const out = new Uint8Array(2000);
  const header = {
    src: parseAddress('1-ff00:0:112,10.0.0.9'),
    dst: parseAddress('1-ff00:0:122,10.0.0.8'),
    path: fromHex(UP_CORE_DOWN.raw_path_hex),
  };
  const end = encodeScmpPacket(out, 0, header, { type: 1, code: 0, data: packetOf(UP_CORE_DOWN) });
  const router = routerFor('1-ff00:0:112');
  let result = router.process(out, end, INTERNAL, NO_SIBLING, EXPIRED);
  assert.equal([result.action, result.reason], [RouterAction.drop, RouterReason.expired]);
  for (const host of ['224.0.0.1', '255.255.255.255', '0.0.0.0', 'ff02::1', '::', 'CS_M']) {
    const packet = packetOf(UP_CORE_DOWN, { srcHost: parseHost(host) });
    result = router.process(packet, packet.length, INTERNAL, NO_SIBLING, EXPIRED);
    assert.equal([result.action, result.reason], [RouterAction.drop, RouterReason.expired], host);
  }
  for (const host of ['10.0.0.9', '2001:db8::9', 'CS']) {
    const packet = packetOf(UP_CORE_DOWN, { srcHost: parseHost(host) });
    result = router.process(packet, packet.length, INTERNAL, NO_SIBLING, EXPIRED);
    assert.is(result.action, RouterAction.reply, host);
  }
});

Forwarding('a long packet is quoted up to 1232 bytes', () => {
  const router = routerFor('1-ff00:0:112');
  const packet = packetOf(UP_CORE_DOWN, { payload: new Uint8Array(3000).fill(7) });
  router.process(packet, packet.length, INTERNAL, NO_SIBLING, EXPIRED);
  assert.is(router.reply.length, MAX_ERROR_PACKET);
  const message = scmpOf(router.reply.packet.slice(0, router.reply.length));
  assert.equal(message.data, packet.subarray(0, message.data.length));
});

Forwarding('traceroute: every interface on the way answers with its AS and number', () => {
  const seen: string[] = [];
  const probes: [number, number][] = [
    [0, 2],
    [1, 1],
    [1, 2],
    [2, 1],
    [3, 2],
    [4, 1],
    [5, 1],
    [6, 2],
    [6, 1],
    [7, 2],
  ];
  for (const [h, bit] of probes) {
    const network = new Network(NOW);
    const out = new Uint8Array(2000);
    const header = {
      src: parseAddress('1-ff00:0:112,10.0.0.9'),
      dst: parseAddress('1-ff00:0:122,10.0.0.8'),
      path: fromHex(UP_CORE_DOWN.raw_path_hex),
    };
    const request: ScmpMessage = {
      type: 130,
      code: 0,
      identifier: 31000,
      sequence: h,
      ia: 0n,
      interface: 0n,
      data: new Uint8Array(0),
    };
    const end = encodeScmpPacket(out, 0, header, request);
    out[hopOffset(h)] = bit;
    const steps = network.send(UP_CORE_DOWN.src, out.slice(0, end));
    const last = steps.at(-1)!;
    assert.is(last.isdAs, UP_CORE_DOWN.src);
    if (steps.length > 1) assert.equal([last.action, last.port], [RouterAction.deliver, 31000]);
    const reply = scmpOf(last.packet) as Extract<ScmpMessage, { type: 130 | 131 }>;
    assert.equal([reply.type, reply.identifier, reply.sequence], [131, 31000, h]);
    seen.push(`${reply.ia.toString(16).slice(-3)}#${reply.interface}`);
  }
  assert.equal(seen, [
    '112#13',
    '111#12',
    '111#11',
    '110#1',
    '110#2',
    '120#21',
    '120#22',
    '121#23',
    '121#25',
    '122#26',
  ]);
});

Forwarding('an alert on a packet that is no traceroute is cleared, and the packet travels on', () => {
  const packet = packetOf(UP_CORE_DOWN);
  packet[hopOffset(1)] = 3;
  const last = new Network(NOW).send(UP_CORE_DOWN.src, packet).at(-1)!;
  assert.equal([last.isdAs, last.action], [UP_CORE_DOWN.dst, RouterAction.deliver]);
  assert.is(last.packet[hopOffset(1)], 0);
});

/** AS 111 with its interfaces spread over two routers: 11 here, 12 at the sibling. */
function siblings(): { upper: Router; lower: Router } {
  const json = topologyOf('1-ff00:0:111');
  const { interfaces } = (json.border_routers as { br: { interfaces: Record<string, unknown> } }).br;
  const { 12: lower, ...rest } = interfaces;
  json.border_routers = {
    upper: { internal_addr: '10.0.0.1:30042', interfaces: rest },
    lower: { internal_addr: '10.0.0.2:30042', interfaces: { 12: lower } },
  };
  const topology = parseTopology(json);
  const make = (name: string) =>
    new Router({ topology, router: topology.routers.find((r) => r.name === name)!, hopKey: hopKeyOf('1-ff00:0:111') });
  return { upper: make('upper'), lower: make('lower') };
}

Forwarding('two routers of one AS: the accumulator is updated once, and only the right sibling is believed', () => {
  const { upper, lower } = siblings();
  const network = new Network(NOW);
  const arriving = network.send(UP_CORE_DOWN.src, packetOf(UP_CORE_DOWN));
  const packet = arriving[0]!.packet.slice();
  let result = lower.process(packet, packet.length, 12, NO_SIBLING, NOW);
  assert.is(result.action, RouterAction.sibling);
  assert.is(lower.links.siblings[result.sibling]!.name, 'upper');

  const stray = packet.slice();
  result = upper.process(stray, stray.length, INTERNAL, NO_SIBLING, NOW);
  assert.equal([result.action, result.reason], [RouterAction.drop, RouterReason.transitFromInside]);
  result = upper.process(packet, packet.length, INTERNAL, 0, NOW);
  assert.equal([result.action, result.egress], [RouterAction.forward, 11]);
  assert.equal(packet, arriving[1]!.packet);

  lower.links.setSiblingUp(0, false);
  const again = arriving[0]!.packet.slice();
  result = lower.process(again, again.length, 12, NO_SIBLING, NOW);
  assert.equal([result.action, result.reason], [RouterAction.reply, RouterReason.siblingDown]);
  const down = scmpOf(lower.reply.packet.slice(0, lower.reply.length)) as Extract<ScmpMessage, { type: 6 }>;
  assert.equal([down.type, down.ingress, down.egress], [6, 12n, 11n]);
});

Forwarding('a segment switched at one router continues at its sibling', () => {
  const { upper, lower } = siblings();
  const c = caseOf('shortcut at common AS');
  const network = new Network(NOW);
  const steps = network.send(c.src, packetOf(c));
  const packet = steps[0]!.packet.slice();
  assert.is(lower.process(packet, packet.length, 12, NO_SIBLING, NOW).action, RouterAction.sibling);
  const result = upper.process(packet, packet.length, INTERNAL, 0, NOW);
  assert.equal([result.action, result.egress], [RouterAction.forward, 15]);
  assert.equal(packet, steps[1]!.packet);
});

Forwarding('mutated packets: no throw, no read beyond the end, no delivery of what the MACs forbid', () => {
  const random = seeded();
  const network = new Network(NOW);
  const reasons = new Set<number>();
  const bases = vectors.cases.map((c) => ({ c, steps: network.send(c.src, packetOf(c)) }));
  for (let i = 0; i < 40_000; i++) {
    const { c, steps } = bases[random.below(bases.length)]!;
    const k = random.below(steps.length);
    const source = k === 0 ? packetOf(c) : steps[k - 1]!.packet;
    const ingress = k === 0 ? INTERNAL : network.far(steps[k - 1]!.isdAs, steps[k - 1]!.egress).id;
    const packet = source.slice(0, random.below(8) === 0 ? random.below(source.length) : source.length);
    for (let n = random.below(3); n >= 0 && packet.length > 0; n--) {
      const at = random.below(random.below(2) ? Math.min(48, packet.length) : packet.length);
      packet[at] = random.below(2) ? random.below(256) : packet[at]! ^ (1 << random.below(8));
    }
    const router = network.router(steps[k]!.isdAs);
    const result = router.process(packet, packet.length, ingress, NO_SIBLING, NOW);
    reasons.add(result.reason);
    if (result.action === RouterAction.reply) {
      const reply = router.reply.packet.slice(0, router.reply.length);
      assert.is(checksum(reply, 0, viewOf(reply).l4At, reply.length, NextHeader.scmp), 0);
    }
  }
  assert.ok(reasons.size > 15, `only ${reasons.size} reasons met`);
});

Forwarding.run();
