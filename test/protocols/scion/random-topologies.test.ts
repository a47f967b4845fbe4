/**
 * Properties of path combination on random topologies with real keys: every path that comes out is carried from source to
 * destination and back by the ASes' border routers, which verify each hop field; shortcuts and peering links included.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type LinkDescription, type TopologyDescription, writeAsFiles } from '#hw/lab/as-files';
import { seededRandom } from '#hw/random';
import { parseHost } from '#scion/address';
import { combinePaths } from '#scion/combinator';
import { deriveHopKey } from '#scion/hop-mac';
import { formatIsdAs, parseIsdAs } from '#scion/isd-as';
import { panFingerprint, type ScionPath } from '#scion/path-metadata';
import { INTERNAL, NO_SIBLING, Router } from '#scion/router';
import { ROUTER_REASON_NAMES, RouterAction } from '#scion/router-types';
import { decodeSegment, firstIa, lastIa } from '#scion/segment';
import { emptySegmentSet, type SegmentSet } from '#scion/segment-requests';
import { interfaceIdsOf, SendingHost } from '#scion/sending-host';
import { parseTopology, type Topology } from '#scion/topology';

const NOW = 1_700_000_000_000;

type Random = () => number;
const pick = <T>(random: Random, list: readonly T[]): T => list[Math.floor(random() * list.length)]!;

/** One to three cores, up to six ASes below them in up to three tiers, some peering links. */
function randomTopology(random: Random): TopologyDescription {
  const cores = 1 + Math.floor(random() * 3);
  const leaves = 2 + Math.floor(random() * 5);
  const names = Array.from({ length: cores + leaves }, (_, i) => `${i < cores && i === 2 ? 2 : 1}-${i + 1}`);
  const used = names.map(() => new Set<number>());
  const links: LinkDescription[] = [];
  const end = (as: number) => {
    let id: number;
    do id = 1 + Math.floor(random() * 60_000);
    while (used[as]!.has(id));
    used[as]!.add(id);
    return { ia: names[as]!, id, local: `127.0.0.1:${1000 + links.length * 2 + as}` };
  };
  const link = (a: number, b: number, role: LinkDescription['role']) => links.push({ a: end(a), b: end(b), role });
  for (let a = 0; a < cores; a++) for (let b = a + 1; b < cores; b++) link(a, b, 'core');
  // Children stay in the ISD of their parents.
  const parents = names.map((_, i) => i).filter((i) => names[i]!.startsWith('1-'));
  for (let child = cores; child < names.length; child++) {
    const above = parents.filter((p) => p < child);
    for (let k = 0; k <= random() * 2; k++) link(pick(random, above), child, 'child');
  }
  for (let k = 0; k < random() * 4; k++) {
    const [a, b] = [cores + Math.floor(random() * leaves), cores + Math.floor(random() * leaves)];
    if (a !== b) link(a, b, 'peer');
  }
  return {
    ases: names.map((ia, i) => ({
      ia,
      core: i < cores,
      internal: `127.0.1.${i + 1}:30042`,
      control: `127.0.2.${i + 1}:1`,
    })),
    links,
  };
}

interface Network {
  readonly routers: Map<bigint, Router>;
  readonly topologies: Map<bigint, Topology>;
  readonly segments: Map<bigint, SegmentSet>;
  /** `ia#id` to the other end. */
  readonly wires: Map<string, { ia: bigint; id: number }>;
}

function buildNetwork(description: TopologyDescription, folder: string): Network {
  const network: Network = { routers: new Map(), topologies: new Map(), segments: new Map(), wires: new Map() };
  for (const [text, directory] of writeAsFiles(description, folder, { now: NOW, maxHops: 6 }).folders) {
    const ia = parseIsdAs(text);
    const topology = parseTopology(JSON.parse(readFileSync(join(directory, 'topology.json'), 'utf8')));
    const master = Buffer.from(readFileSync(join(directory, 'keys', 'master0.key'), 'utf8'), 'base64');
    network.topologies.set(ia, topology);
    network.routers.set(ia, new Router({ topology, router: topology.routers[0]!, hopKey: deriveHopKey(master) }));
    const set = emptySegmentSet();
    for (const name of readdirSync(join(directory, 'segments'))) {
      const segment = decodeSegment(readFileSync(join(directory, 'segments', name)));
      set[name.split('-')[0] as 'up'].push(segment);
    }
    network.segments.set(ia, set);
  }
  for (const { a, b } of description.links) {
    network.wires.set(`${parseIsdAs(a.ia)}#${a.id}`, { ia: parseIsdAs(b.ia), id: b.id });
    network.wires.set(`${parseIsdAs(b.ia)}#${b.id}`, { ia: parseIsdAs(a.ia), id: a.id });
  }
  return network;
}

/** Carries a packet from the source AS to where a router delivers it. @returns the interfaces it crossed */
function carry(network: Network, packet: Uint8Array, src: bigint, dst: bigint): string {
  let at = src;
  let ingress = INTERNAL;
  const crossed: number[] = [];
  for (let hops = 0; hops < 70; hops++) {
    const router = network.routers.get(at)!;
    const result = router.process(packet, packet.length, ingress, NO_SIBLING, NOW + 1000);
    const where = `${formatIsdAs(at)} after ${crossed.join(' ')}: ${ROUTER_REASON_NAMES[result.reason]}`;
    if (result.action === RouterAction.deliver) {
      assert.is(at, dst, where);
      return crossed.join(' ');
    }
    assert.is(result.action, RouterAction.forward, where);
    const far = network.wires.get(`${at}#${result.egress}`)!;
    crossed.push(result.egress, far.id);
    at = far.ia;
    ingress = far.id;
  }
  return assert.unreachable('a loop') as never;
}

function checkPath(network: Network, path: ScionPath): void {
  const host = (ia: bigint) =>
    new SendingHost({ topology: network.topologies.get(ia)!, host: parseHost('127.0.0.1'), port: 4000 });
  const [source, destination] = [host(path.src), host(path.dst)];
  const ids = panFingerprint(path.interfaces);
  assert.is(interfaceIdsOf(path.raw), ids);
  const payload = Uint8Array.of(1, 2, 3);
  const packet = new Uint8Array(source.datagramLength(destination.local, path.raw, payload));
  source.writeDatagram(packet, 0, destination.local, path.raw, payload, 0);
  assert.is(carry(network, packet, path.src, path.dst), ids);
  const received = destination.receive(packet, { host: '127.0.0.1', port: 1 }, 0);
  assert.is(received.kind, 'datagram');
  if (received.kind !== 'datagram') return;
  const { peer } = received;
  const reply = new Uint8Array(destination.datagramLength(peer, peer.path, payload));
  destination.writeDatagram(reply, 0, peer, peer.path, payload, 0);
  carry(network, reply, path.dst, path.src);
  const back = source.receive(reply, { host: '127.0.0.1', port: 1 }, 0);
  assert.is(back.kind === 'datagram' && interfaceIdsOf(back.peer.path), ids);
  // The answer's reversed path is the original one, accumulators included, so it can be used again.
  assert.equal(back.kind === 'datagram' && back.peer.path, path.raw);
}

const Random = suite('random topologies');

Random('every combined path is carried there and back, whatever the topology', () => {
  const seed = Number(process.env.S3MP_SEED ?? Date.now() % 1e9);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  let checked = 0;
  let peering = 0;
  let shortcuts = 0;
  for (let round = 0; round < 40; round++) {
    const folder = mkdtempSync(join(tmpdir(), 's3mp-random-'));
    try {
      const network = buildNetwork(randomTopology(random), folder);
      const ases = [...network.routers.keys()];
      for (let pair = 0; pair < 6; pair++) {
        const [src, dst] = [pick(random, ases), pick(random, ases)];
        if (src === dst) continue;
        const { up, core, down } = network.segments.get(src)!;
        const paths = combinePaths(src, dst, { up, core, down: down.filter((s) => lastIa(s) === dst) });
        assert.is(new Set(paths.map((p) => p.fingerprint)).size, paths.length);
        for (const path of paths.slice(0, 30)) {
          checkPath(network, path);
          checked++;
          if (path.raw[4]! & 2) peering++;
          else if (!path.interfaces.some(({ ia }) => up.some((s) => firstIa(s) === ia))) shortcuts++;
        }
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  console.log(`${checked} paths, ${peering} over peering links, ${shortcuts} without a core AS`);
  assert.ok(checked > 100 && peering > 3 && shortcuts > 3);
});

Random.run();
