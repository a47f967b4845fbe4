/** What a border router forwards and delivers: recorded paths, hosts and ports, siblings of one AS. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex } from '#base/bytes';
import { parseAddress, parseHost } from '#scion/address';
import { checksum } from '#scion/checksum';
import { NextHeader } from '#scion/header';
import { encodeUdpReply } from '#scion/packet';
import { INTERNAL, NO_SIBLING, Router } from '#scion/router';
import { ROUTER_REASON_NAMES, RouterAction, RouterReason } from '#scion/router-types';
import { encodeScmpPacket, type ScmpMessage, UnreachableCode } from '#scion/scmp';
import { parseTopology } from '#scion/topology';
import { seeded } from '../../random.ts';
import vectors from '../../vectors/scion-forwarding.json';
import { hopKeyOf, Network, topologyOf } from './network.ts';
import { caseOf, errorFor, NOW, packetOf, pathHexOf, payload, scmpOf, UP_CORE_DOWN, viewOf } from './router-rig.ts';

const Forwarding = suite('border router');

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
