/**
 * Gateways in processes of their own: two routers in one AS between two neighbours, BFD on every link and between the
 * siblings, status, metrics, and what a host sees when a router dies.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UdpSocket } from '#hw/udp';
import { parseHost } from '#scion/address';
import { NextHeader } from '#scion/header';
import { parseIsdAs } from '#scion/isd-as';
import { encodeUdpPacket, encodeUdpReply, PacketView, ParseFault, parsePacket } from '#scion/packet';
import { decodeScmp, encodeScmpPacket, type ScmpMessage } from '#scion/scmp';
import { GUARD_MS } from '#test/guard';
import type { GatewayStatus } from '../../gateway/status-server.ts';
import { TwoRouters } from './two-routers.ts';

const bundle = join(__dirname, '..', '..', 'gateway.js');
const Routers = suite<{ network: TwoRouters; routers: Map<string, ChildProcess>; a: Host; b: Host }>(
  'several routers, BFD, status',
);
const METRICS_PORT = 30_900;

class Host {
  readonly socket: UdpSocket;
  readonly arrived: Uint8Array[] = [];
  private waiting: (() => void) | undefined;

  private constructor(socket: UdpSocket) {
    this.socket = socket;
  }
  static async open(host: string): Promise<Host> {
    let opened: Host | undefined;
    const onDatagram = (packet: Uint8Array) => {
      opened!.arrived.push(packet.slice());
      opened!.waiting?.();
    };
    opened = new Host(await UdpSocket.open({ host, port: 0, onDatagram }));
    return opened;
  }

  /** The next packet, undefined after a while without one. */
  async next(waitMs = 300): Promise<Uint8Array | undefined> {
    if (this.arrived.length === 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, waitMs);
        this.waiting = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.arrived.shift();
  }
}

/** Calls until the answer pleases; fails in the end with the last one. */
async function until<T>(ask: () => Promise<T> | T, pleases: (answer: T) => boolean): Promise<T> {
  const end = Date.now() + GUARD_MS;
  for (;;) {
    const answer = await ask();
    if (pleases(answer)) return answer;
    if (Date.now() > end) throw new Error(`still ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

Routers.before(async (world) => {
  assert.ok(existsSync(bundle), 'build the bundles first: node build.mjs');
  world.network = await TwoRouters.create();
  world.routers = new Map();
  for (const name of ['110/br', '111/upper', '111/lower', '112/br']) start(world, name);
  world.a = await Host.open(world.network.addresses.headend(110));
  world.b = await Host.open(world.network.addresses.headend(112));
});

Routers.after(async ({ network, routers, a, b }) => {
  for (const child of routers.values()) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'close');
  }
  await a?.socket.close();
  await b?.socket.close();
  network.remove();
});

function start({ network, routers }: { network: TwoRouters; routers: Map<string, ChildProcess> }, name: string): void {
  const [as = '', router = ''] = name.split('/');
  const args = [bundle, '--as-directory', network.directory(Number(as)), '--router-name', router];
  if (name === '110/br') args.push('--metrics-address', `${network.addresses.router(110)}:${METRICS_PORT}`);
  routers.set(name, spawn(process.execPath, args, { stdio: 'ignore' }));
}

async function stop(routers: Map<string, ChildProcess>, name: string): Promise<void> {
  const child = routers.get(name)!;
  child.kill('SIGKILL');
  await once(child, 'close');
}

const status = (network: TwoRouters, as: number, ...args: string[]) =>
  spawnSync(process.execPath, [bundle, 'status', '--as-directory', network.directory(as), ...args], {
    encoding: 'utf8',
    timeout: GUARD_MS,
  });

function statuses(network: TwoRouters, as: number): GatewayStatus[] {
  const { stdout } = status(network, as, '--json');
  return stdout
    .trim()
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as GatewayStatus);
}

const allUp = (all: GatewayStatus[], routers: number) =>
  all.length === routers && all.every((s) => s.links.every((l) => l.up));

function viewOf(packet: Uint8Array): PacketView {
  const view = new PacketView();
  assert.is(parsePacket(packet, 0, packet.length, view), ParseFault.none);
  return view;
}

function send({ network, a, b }: { network: TwoRouters; a: Host; b: Host }): void {
  const out = new Uint8Array(500);
  const endpoint = (ia: string, { socket }: Host) => ({
    ia: parseIsdAs(ia),
    host: parseHost(socket.host),
    port: socket.port,
  });
  const end = encodeUdpPacket(out, 0, {
    src: endpoint('1-ff00:0:110', a),
    dst: endpoint('1-ff00:0:112', b),
    path: network.path(),
    payload: new Uint8Array(20),
  });
  a.socket.send(out.slice(0, end), network.addresses.router(110), 30042);
}

Routers('BFD brings up every link and both siblings, and status says so', async ({ network }) => {
  await until(
    () => statuses(network, 110),
    (all) => allUp(all, 1),
  );
  // A side may still wait for what the other has seen already.
  await until(
    () => statuses(network, 112),
    (all) => allUp(all, 1),
  );
  const middle = await until(
    () => statuses(network, 111),
    (all) => allUp(all, 2),
  );
  assert.equal(
    middle.map((s) => s.links.map((l) => [l.kind, l.id])),
    [
      [
        ['external', 41],
        ['sibling', 'lower'],
      ],
      [
        ['external', 42],
        ['sibling', 'upper'],
      ],
    ],
  );
  const { stdout, status: exit } = await until(
    () => status(network, 111, '--router-name', 'upper'),
    ({ stdout }) => stdout.includes('all 2 links up'),
  );
  assert.is(exit, 0);
  assert.match(stdout, /1-ff00:0:111 router upper/);
  assert.match(stdout, /all 2 links up/);
  assert.match(stdout, /#41 +up +to parent 1-ff00:0:110 .*BFD up for/);
});

/** Sends until something that fits comes back: a busy machine may have taken a link down for a moment. */
const answered = async (send: () => void, host: Host, fits: (packet: Uint8Array) => boolean): Promise<Uint8Array> =>
  (await until(
    () => {
      send();
      return host.next(1000);
    },
    (packet) => packet !== undefined && fits(packet),
  ))!;
const isUdp = (packet: Uint8Array) => viewOf(packet).l4Protocol === NextHeader.udp;

Routers('a packet crosses the AS by both of its routers, and so does the answer', async (world) => {
  const packet = await answered(() => send(world), world.b, isUdp);
  const out = new Uint8Array(500);
  const end = encodeUdpReply(out, 0, packet, viewOf(packet), new Uint8Array(3), 0, 3);
  const reply = () => world.b.socket.send(out.slice(0, end), world.network.addresses.router(112), 30042);
  await answered(reply, world.a, isUdp);
});

type TracerouteMessage = Extract<ScmpMessage, { type: 130 | 131 }>;

Routers('traceroute meets both routers of the AS in between', async ({ network, a, b }) => {
  const seen: string[] = [];
  for (const [sequence, flag] of [2, 1].entries()) {
    const hop = 1;
    const out = new Uint8Array(500);
    const path = network.path();
    path[12 + 12 * hop] = flag;
    const header = {
      src: { ia: parseIsdAs('1-ff00:0:110'), host: parseHost(a.socket.host) },
      dst: { ia: parseIsdAs('1-ff00:0:112'), host: parseHost(b.socket.host) },
      path,
    };
    const request = { type: 130, code: 0, identifier: a.socket.port, sequence, ia: 0n, interface: 0n } as const;
    const end = encodeScmpPacket(out, 0, header, { ...request, data: new Uint8Array(0) });
    const ask = () => a.socket.send(out.slice(0, end), network.addresses.router(110), 30042);
    const messageOf = (packet: Uint8Array) => {
      const view = viewOf(packet);
      const isScmp = view.l4Protocol === NextHeader.scmp;
      return (isScmp ? decodeScmp(packet, view.l4At, view.l4End) : undefined) as TracerouteMessage | undefined;
    };
    const isReply = (packet: Uint8Array) => {
      const message = messageOf(packet);
      return message?.type === 131 && message.sequence === sequence;
    };
    const message = messageOf(await answered(ask, a, isReply))!;
    seen.push(`${message.ia.toString(16).slice(-3)}#${message.interface}`);
  }
  assert.equal(seen, ['111#41', '111#42']);
});

/** Sends until an SCMP error comes back. */
async function nextError(world: { network: TwoRouters; a: Host; b: Host }): Promise<ScmpMessage> {
  const packet = await until(
    () => {
      send(world);
      return world.a.next();
    },
    (answer) => answer !== undefined && viewOf(answer).l4Protocol === NextHeader.scmp,
  );
  const view = viewOf(packet!);
  return decodeScmp(packet!, view.l4At, view.l4End)!;
}

Routers('a sibling that dies is reported as lost connectivity, and comes back', async (world) => {
  const { network, routers } = world;
  await stop(routers, '111/lower');
  const error = (await nextError(world)) as Extract<ScmpMessage, { type: 6 }>;
  assert.equal([error.type, error.ia, error.ingress, error.egress], [6, parseIsdAs('1-ff00:0:111'), 41n, 42n]);
  const { stdout } = status(network, 111);
  assert.match(stdout, /1 of 2 links down: lower/);
  assert.match(stdout, /lower +DOWN .*: no BFD packet for \d+ (ms|s)/);
  start(world, '111/lower');
  await until(
    () => statuses(network, 111),
    (all) => allUp(all, 2),
  );
});

Routers('a neighbour that dies is reported as an interface that is down, with the reason in words', async (world) => {
  const { network, routers } = world;
  await stop(routers, '112/br');
  const error = (await nextError(world)) as Extract<ScmpMessage, { type: 5 }>;
  assert.equal([error.type, error.ia, error.interface], [5, parseIsdAs('1-ff00:0:111'), 42n]);
  const { stdout, status: exit } = status(network, 111, '--router-name', 'lower');
  assert.is(exit, 0);
  assert.match(stdout, /1 of 2 links down: #42/);
  assert.match(stdout, /#42 +DOWN to child 1-ff00:0:112 .*: no BFD packet for \d+ (ms|s)/);
  const gone = status(network, 112);
  assert.is(gone.status, 3);
  assert.match(gone.stderr, /no gateway of 1-ff00:0:112 runs on this host/);
  start(world, '112/br');
  await until(
    () => statuses(network, 111),
    (all) => allUp(all, 2),
  );
  await until(
    () => statuses(network, 112),
    (all) => allUp(all, 1),
  );
  while ((await world.b.next(50)) !== undefined);
  await answered(() => send(world), world.b, isUdp);
});

Routers('metrics per interface are there for Prometheus', async ({ network }) => {
  const url = `http://${network.addresses.router(110)}:${METRICS_PORT}`;
  const response = await fetch(`${url}/metrics`);
  assert.match(response.headers.get('content-type')!, /text\/plain; version=0\.0\.4/);
  const text = await response.text();
  const labels = 'interface="1",isd_as="1-ff00:0:110",neighbor_isd_as="1-ff00:0:111"';
  const value = (name: string) => {
    const line = text.split('\n').find((l) => l.startsWith(`s3mp_router_${name}{${labels}}`));
    return Number(line?.split(' ').at(-1));
  };
  assert.is(value('interface_up'), 1);
  assert.ok(value('output_pkts_total') > 5 && value('input_pkts_total') > 5);
  assert.ok(value('input_bytes_total') > 60 * value('input_pkts_total'));
  assert.ok(value('bfd_received_packets_total') > 5);
  for (const line of text.trim().split('\n')) {
    assert.match(line, /^(# (HELP|TYPE) s3mp_router_\w+ .+|s3mp_router_\w+\{(\w+="[^"]*",?)+\} \d+(\.\d+)?)$/);
  }
  assert.is((await fetch(`${url}/`)).status, 404);
  assert.is((await fetch(`${url}/metrics`, { method: 'POST' })).status, 404);
});

Routers.run();
