/** Two border routers of ours and two hosts on real UDP sockets. */

import { networkInterfaces } from 'node:os';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { S3mpError } from '#base/errors';
import { readAsDirectory } from '#hw/as-directory';
import { createLog } from '#hw/log';
import { UdpSocket } from '#hw/udp';
import { parseHost } from '#scion/address';
import { NextHeader } from '#scion/header';
import { parseIp } from '#scion/ip';
import { parseIsdAs } from '#scion/isd-as';
import { encodeUdpPacket, encodeUdpReply, PacketView, ParseFault, parsePacket } from '#scion/packet';
import { incPath } from '#scion/path';
import { decodeScmp, ProblemCode, type ScmpMessage } from '#scion/scmp';
import { readStunResponse, STUN_REQUEST_LENGTH, writeStunRequest } from '#scion/stun';
import type { Topology } from '#scion/topology';
import { GUARD_MS } from '#test/guard';
import { BorderRouter } from '../../gateway/border-router.ts';
import { needs } from '../needs.ts';
import { seeded } from '../random.ts';
import { CORE, LEAF, TwoAses } from './two-ases.ts';

interface Received {
  packet: Uint8Array;
  host: string;
  port: number;
}

/** A host: a socket and what arrived on it. */
class Host {
  readonly socket: UdpSocket;
  private readonly arrived: Received[] = [];
  private waiting: ((received: Received) => void) | undefined;

  constructor(socket: UdpSocket) {
    this.socket = socket;
  }

  static async open(host: string, port = 0): Promise<Host> {
    let opened: Host | undefined;
    const socket = await UdpSocket.open({
      host,
      port,
      onDatagram: (packet, from) =>
        opened?.take({ packet: Uint8Array.from(packet), host: from.address, port: from.port }),
    });
    opened = new Host(socket);
    return opened;
  }

  private take(received: Received): void {
    if (this.waiting === undefined) this.arrived.push(received);
    else this.waiting(received);
    this.waiting = undefined;
  }

  /** The next packet; fails when none comes. */
  next(): Promise<Received> {
    const ready = this.arrived.shift();
    if (ready !== undefined) return Promise.resolve(ready);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no packet arrived')), GUARD_MS);
      this.waiting = (received) => {
        clearTimeout(timer);
        resolve(received);
      };
    });
  }
}

interface World {
  ases: TwoAses;
  core: BorderRouter;
  leaf: BorderRouter;
  a: Host;
  b: Host;
  nowMs: number;
}

const Routers = suite<World>('border routers on UDP sockets');
const log = createLog('test', { level: 'error' });
const reading = new TextEncoder().encode('1.8.0 = 42 kWh');

Routers.before(async (world) => {
  const ases = await TwoAses.create();
  world.ases = ases;
  world.nowMs = Date.now();
  const now = () => world.nowMs;
  const start = (as: typeof CORE | typeof LEAF) => {
    const { topology, hopKey } = readAsDirectory(ases.directory(as));
    return BorderRouter.start({ topology, router: topology.routers[0]!, hopKey, log, now });
  };
  world.core = await start(CORE);
  world.leaf = await start(LEAF);
  world.a = await Host.open(ases.host(CORE));
  world.b = await Host.open(ases.host(LEAF));
});

Routers.after(async (world) => {
  await world.core.close();
  await world.leaf.close();
  await world.a.socket.close();
  await world.b.socket.close();
  world.ases.remove();
});

Routers.before.each((world) => {
  world.nowMs = Date.now();
});

function packetToLeaf({ ases, a, b }: World, path = ases.path()): Uint8Array {
  const out = new Uint8Array(2000);
  const end = encodeUdpPacket(out, 0, {
    src: { ia: parseIsdAs(CORE.isdAs), host: parseHost(a.socket.host), port: a.socket.port },
    dst: { ia: parseIsdAs(LEAF.isdAs), host: parseHost(b.socket.host), port: b.socket.port },
    path,
    payload: reading,
  });
  return out.slice(0, end);
}

function sendFromCore({ ases, a }: World, packet: Uint8Array): void {
  const { host, port } = ases.router(CORE);
  a.socket.send(packet, host, port);
}

function viewOf(packet: Uint8Array): PacketView {
  const view = new PacketView();
  assert.is(parsePacket(packet, 0, packet.length, view), ParseFault.none);
  return view;
}

function scmpOf({ packet }: Received): ScmpMessage {
  const view = viewOf(packet);
  assert.is(view.l4Protocol, NextHeader.scmp);
  return decodeScmp(packet, view.l4At, view.l4End)!;
}

async function roundTrip(world: World): Promise<void> {
  sendFromCore(world, packetToLeaf(world));
  const { packet, host, port } = await world.b.next();
  const view = viewOf(packet);
  assert.equal(packet.subarray(view.l4At + 8, view.l4End), reading);
  const out = new Uint8Array(2000);
  const answer = new TextEncoder().encode('thank you');
  const end = encodeUdpReply(out, 0, packet, view, answer, 0, answer.length);
  world.b.socket.send(out.subarray(0, end), host, port);
  const back = await world.a.next();
  const backView = viewOf(back.packet);
  assert.equal(back.packet.subarray(backView.l4At + 8, backView.l4End), answer);
  assert.equal({ host: back.host, port: back.port }, world.ases.router(CORE));
}

Routers('a packet reaches a host in the other AS, and the answer comes back over the reversed path', roundTrip);

Routers('an expired path is answered by the first router', async (world) => {
  const path = world.ases.path({ timestamp: Math.floor(Date.now() / 1000) - 338, expTime: 0 });
  sendFromCore(world, packetToLeaf(world, path));
  const message = scmpOf(await world.a.next());
  assert.equal([message.type, message.code], [4, ProblemCode.pathExpired]);
});

Routers('a forged hop field is answered by the router of the AS whose key it lacks, over the link', async (world) => {
  for (const [hop, pointer] of [
    [0, 48],
    [1, 60],
  ] as const) {
    const path = world.ases.path();
    path[12 + 12 * hop + 11]! ^= 1;
    sendFromCore(world, packetToLeaf(world, path));
    const message = scmpOf(await world.a.next());
    assert.equal(message.type === 4 && [message.code, message.pointer], [ProblemCode.invalidHopMac, pointer]);
  }
});

Routers('a link that is down is reported, and the packets flow again when it is up', async (world) => {
  world.core.setLinkUp(CORE.interface, false);
  sendFromCore(world, packetToLeaf(world));
  const message = scmpOf(await world.a.next()) as Extract<ScmpMessage, { type: 5 }>;
  assert.equal([message.type, message.ia, message.interface], [5, parseIsdAs(CORE.isdAs), BigInt(CORE.interface)]);
  world.core.setLinkUp(CORE.interface, true);
  await roundTrip(world);
});

Routers('garbage, packets from strangers on a link, and closed ports at the far end change nothing', async (world) => {
  const random = seeded();
  const { ases, a, core } = world;
  const good = packetToLeaf(world);
  for (let i = 0; i < 300; i++) {
    const packet = random.below(2) ? random.bytes(random.below(200)) : good.slice();
    // The path stays as broken as the rest: none of these may reach the other host and be mistaken for an answer.
    for (let n = 0; n < 4 && packet.length > 0; n++)
      packet[random.below(Math.min(36, packet.length))] = random.below(256);
    const to = random.below(3) === 0 ? ases.link(CORE) : ases.router(CORE);
    if (packet.length > 12) packet[4] = 0;
    a.socket.send(packet, to.host, to.port);
  }
  const before = core.status();
  const stray = ases.link(CORE);
  a.socket.send(good, stray.host, stray.port);
  const nobody = packetToLeaf(world);
  nobody[viewOf(nobody).l4At + 2] = 0;
  nobody[viewOf(nobody).l4At + 3] = 9;
  sendFromCore(world, nobody);
  await roundTrip(world);
  const after = core.status();
  assert.ok(after.strangers > before.strangers);
  assert.ok(after.dropped > 100, JSON.stringify(after));
  assert.ok(after.reasons['next-header']! > 50);
});

Routers('a packet for a service goes to its address in topology.json', async (world) => {
  const { ases, a } = world;
  const service = await Host.open(ases.addresses.controlService(LEAF.number), 30252);
  const out = new Uint8Array(2000);
  const end = encodeUdpPacket(out, 0, {
    src: { ia: parseIsdAs(CORE.isdAs), host: parseHost(a.socket.host), port: a.socket.port },
    dst: { ia: parseIsdAs(LEAF.isdAs), host: parseHost('CS'), port: 0 },
    path: ases.path(),
    payload: reading,
  });
  sendFromCore(world, out.slice(0, end));
  const { packet } = await service.next();
  await service.socket.close();
  assert.equal(packet.subarray(-reading.length), reading);
});

Routers('an address that is taken is named, and nothing stays open', async (world) => {
  const { topology, hopKey } = readAsDirectory(world.ases.directory(CORE));
  const router = topology.routers[0]!;
  await refusal(
    BorderRouter.start({ topology, router, hopKey, log }),
    'socket.in-use',
    new RegExp(`${router.internal.host}:${router.internal.port} is already in use`),
  );
  // The internal socket opens, the link's does not: afterwards the internal address is free again.
  const internal = { host: world.ases.host(CORE), port: 31999 };
  for (let i = 0; i < 2; i++) {
    await refusal(
      BorderRouter.start({ topology, router: { ...router, internal }, hopKey, log }),
      'socket.in-use',
      /:50000 is already in use/,
    );
  }
  const foreign = { ...router, internal: { host: '192.0.2.77', port: 30042 } };
  await refusal(BorderRouter.start({ topology, router: foreign, hopKey, log }), 'socket.failed', /192\.0\.2\.77:30042/);
});

async function refusal(started: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  const error = await started.then(
    () => undefined,
    (e: unknown) => e,
  );
  assert.instance(error, S3mpError);
  assert.is((error as S3mpError).code, code);
  assert.match((error as S3mpError).message, message);
}

/** A router of the core AS on IPv4 inside, and on IPv6 inside and on its link. */
function mixedTopology({ ases }: World): Topology {
  const { topology } = readAsDirectory(ases.directory(CORE));
  const [router] = topology.routers;
  const [link] = router!.interfaces;
  const interfaces = [{ ...link!, local: { host: '::1', port: 50_771 }, remote: { host: '::1', port: 50_772 } }];
  const internal = { host: ases.host(CORE), port: 30_771 };
  return { ...topology, routers: [{ ...router!, internal, interfaces }] };
}

const hasIpv6 = Object.values(networkInterfaces()).some((all) => all?.some((a) => a.address === '::1'));

if (needs('ipv6', hasIpv6, 'the loopback interface has no ::1')) {
  Routers('hosts of both IP families behind one router, and an IPv6 link', async (world) => {
    const topology = mixedTopology(world);
    const { hopKey } = readAsDirectory(world.ases.directory(CORE));
    const secondInternal = { host: '::1', port: 30_772 };
    const mixed = await BorderRouter.start({ topology, router: topology.routers[0]!, hopKey, log, secondInternal });
    const neighbour = await Host.open('::1', 50_772);
    const six = await Host.open('::1');
    try {
      const packetFrom = (host: Host): Uint8Array => {
        const out = new Uint8Array(2000);
        const end = encodeUdpPacket(out, 0, {
          src: { ia: parseIsdAs(CORE.isdAs), host: parseHost(host.socket.host), port: host.socket.port },
          dst: { ia: parseIsdAs(LEAF.isdAs), host: parseHost('fd00::8'), port: 4059 },
          path: world.ases.path(),
          payload: reading,
        });
        return out.slice(0, end);
      };
      for (const [host, to] of [
        [world.a, topology.routers[0]!.internal],
        [six, secondInternal],
      ] as const) {
        host.socket.send(packetFrom(host), to.host, to.port);
        const { packet } = await neighbour.next();
        neighbour.socket.send(answerTo(packet), '::1', 50_771);
        const back = await host.next();
        assert.equal([back.host, back.port], [to.host, to.port], 'the answer comes from the socket of its family');
        assert.is(viewOf(back.packet).l4Protocol, NextHeader.udp);
      }
      assert.is(mixed.status().unreachableFamily, 0);
      // An error about a packet of an IPv6 host goes back to it.
      const expired = packetFrom(six);
      expired.set(world.ases.path({ timestamp: 1_000_000_000 }), viewOf(expired).pathAt);
      six.socket.send(expired, secondInternal.host, secondInternal.port);
      const message = scmpOf(await six.next());
      assert.equal([message.type, message.code], [4, ProblemCode.pathExpired]);
    } finally {
      await mixed.close();
      await neighbour.socket.close();
      await six.socket.close();
    }
    await refusal(
      BorderRouter.start({ ...optionsOf(topology, hopKey), secondInternal: { host: '127.0.0.1', port: 30_773 } }),
      'config.invalid',
      /other IP family/,
    );
    // Without a second socket the packet is counted, not lost without a trace.
    const alone = await BorderRouter.start({ ...optionsOf(topology, hopKey) });
    const far = await Host.open('::1', 50_772);
    const host = await Host.open('::1');
    const out = new Uint8Array(2000);
    const path = world.ases.path();
    const forward = encodeUdpPacket(out, 0, {
      src: { ia: parseIsdAs(CORE.isdAs), host: parseHost('::1'), port: host.socket.port },
      dst: { ia: parseIsdAs(LEAF.isdAs), host: parseHost('fd00::8'), port: 4059 },
      path,
      payload: reading,
    });
    world.a.socket.send(out.slice(0, forward), topology.routers[0]!.internal.host, 30_771);
    const { packet } = await far.next();
    far.socket.send(answerTo(packet), '::1', 50_771);
    const deadline = Date.now() + GUARD_MS;
    while (alone.status().unreachableFamily === 0 && Date.now() < deadline) await new Promise(setImmediate);
    assert.is(alone.status().unreachableFamily, 1);
    await alone.close();
    await far.socket.close();
    await host.socket.close();
  });
}

/** The answer of a host behind the neighbour as the neighbour's router sends it: on to the next hop. */
function answerTo(packet: Uint8Array): Uint8Array {
  const out = new Uint8Array(2000);
  const end = encodeUdpReply(out, 0, packet, viewOf(packet), reading, 0, reading.length);
  incPath(out, viewOf(out.subarray(0, end)).metaAt);
  return out.slice(0, end);
}

const optionsOf = (topology: Topology, hopKey: Uint8Array) => ({ topology, router: topology.routers[0]!, hopKey, log });

Routers('a host behind NAT learns its underlay address', async ({ ases, a }) => {
  const request = new Uint8Array(STUN_REQUEST_LENGTH);
  const id = Uint8Array.from({ length: 12 }, (_, i) => i);
  writeStunRequest(request, 0, id);
  const { host, port } = ases.router(CORE);
  a.socket.send(request, host, port);
  const { packet } = await a.next();
  const mapped = readStunResponse(packet, 0, packet.length, id);
  assert.equal(mapped, { host: parseIp(a.socket.host), port: a.socket.port });
});

Routers.run();
