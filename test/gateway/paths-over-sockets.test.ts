/**
 * Five ASes on real sockets: our border routers and path services on the files of the lab's tool, lines with delay between
 * them, a head end in 112 and meters in 111. Paths, answers, echo, failover, healing, SCMP.
 *
 * Everything runs in this process, which a busy machine runs late: delays differ by so much that no lateness makes another
 * path the fastest, states are waited for, and limits of time are the software's own, without what the process was late.
 */

import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { S3mpError } from '#base/errors';
import { readAsDirectory } from '#hw/as-directory';
import type { Verb } from '#hw/cli';
import { loadConfig } from '#hw/config';
import { claimLab, type LabAddresses } from '#hw/lab/addresses';
import { type LinkDescription, type TopologyDescription, writeAsFiles } from '#hw/lab/as-files';
import { LinkEmulator, PROFILES } from '#hw/lab/link-emulator';
import { createLog } from '#hw/log';
import { pathClient } from '#hw/path-client';
import { combiningSource } from '#hw/path-source';
import { seededRandom } from '#hw/random';
import { ScionSocket } from '#hw/scion-socket';
import type { HostEndpoint, PeerRef } from '#scion/end-host';
import { SHIM_PORT } from '#scion/host-topology';
import { formatIpPort } from '#scion/ip';
import { parseIsdAs } from '#scion/isd-as';
import type { PathSwitch } from '#scion/path-manager';
import { announcedLatencyMs, type ScionPath } from '#scion/path-metadata';
import { parsePolicy } from '#scion/policy';
import { BorderRouter } from '../../gateway/border-router.ts';
import { GATEWAY_CONFIG } from '../../gateway/config.ts';
import { pingVerb, tracerouteVerb } from '../../gateway/echo-command.ts';
import { type PathService, startPathService } from '../../gateway/path-service.ts';
import { pathsVerb } from '../../gateway/paths-command.ts';
import { Lateness } from '../lateness.ts';
import { FIVE_ASES } from './topologies.ts';

const log = createLog('test', { level: 'error' });
const folder = mkdtempSync(join(tmpdir(), 's3mp-sockets-'));
const emulator = new LinkEmulator(seededRandom(1));
const lateness = new Lateness();
const routers = new Map<string, BorderRouter>();
const services: PathService[] = [];
const hosts: ScionSocket[] = [];
let lab: LabAddresses;
let headend: ScionSocket;
let meter: ScionSocket;
let toMeter: HostEndpoint;

const METER_AS = '1-ff00:0:111';
const HEADEND_AS = '1-ff00:0:112';
const meterIa = parseIsdAs(METER_AS);
const shortName = (ia: string) => Number(ia.slice(-3));
const nameOf = ({ a, b }: LinkDescription) => `${shortName(a.ia)}-${shortName(b.ia)}`;

/**
 * One-way delays other than those of the topology, ms: the round trip over LTE takes 70 ms, over the leased line 152, over
 * the core link and LTE 152 as well.
 */
const DELAY_MS: Readonly<Record<string, number>> = { '110-111': 75, '110-120': 50 };

/** The five ASes with addresses of this lab, every link through the emulator. */
async function describe(): Promise<TopologyDescription> {
  const links = await Promise.all(
    FIVE_ASES.links.map(async (link, i): Promise<LinkDescription> => {
      const latencyMs = DELAY_MS[nameOf(link)] ?? link.latencyMs!;
      const end = (ia: string, id: number) => ({ host: lab.router(shortName(ia)), port: 50_000 + id });
      const [a, b] = [end(link.a.ia, link.a.id), end(link.b.ia, link.b.id)];
      const [nearA, nearB] = [50_000, 50_001].map((port) => ({ host: lab.link(i), port }));
      const profile = { ...PROFILES.none!, delayMs: latencyMs };
      await emulator.add({
        name: nameOf(link),
        a: { listen: nearA!, peer: a },
        b: { listen: nearB!, peer: b },
        profile,
      });
      const text = ({ host, port }: { host: string; port: number }) => formatIpPort(host, port);
      return {
        ...link,
        latencyMs,
        a: { ...link.a, local: text(a), remote: text(nearA!) },
        b: { ...link.b, local: text(b), remote: text(nearB!) },
      };
    }),
  );
  const ases = FIVE_ASES.ases.map((as) => ({
    ...as,
    internal: `${lab.router(shortName(as.ia))}:30042`,
    control: `${lab.controlService(shortName(as.ia))}:30252`,
  }));
  return { ases, links };
}

async function openHost(ia: string, hostIp: string, acl: string[]): Promise<ScionSocket> {
  const { topology } = readAsDirectory(join(folder, `ASff00_0_${shortName(ia)}`));
  const segments = pathClient({
    ia: topology.ia,
    isCore: topology.core,
    services: topology.controlServices.map((s) => formatIpPort(s.host, s.port)),
    log,
  });
  const source = combiningSource(topology, segments);
  const policy = parsePolicy(acl);
  const socket = await ScionSocket.open({ topology, hostIp, port: 4059, pathSource: source, policy, log });
  hosts.push(socket);
  return socket;
}

const Sockets = suite('paths over sockets');

Sockets.before(async () => {
  lab = await claimLab();
  const files = writeAsFiles(await describe(), folder);
  for (const [ia, directory] of files.folders) {
    const { topology, hopKey } = readAsDirectory(directory);
    routers.set(ia, await BorderRouter.start({ topology, router: topology.routers[0]!, hopKey, log }));
    const { host, port } = topology.controlServices[0]!;
    services.push(await startPathService({ address: formatIpPort(host, port), directory, topology, log }));
  }
  headend = await openHost(HEADEND_AS, lab.headend(112), ['+ 1', '-']);
  meter = await openHost(METER_AS, lab.meter(111, 0), []);
  meter.onDatagram = (payload, peer) => meter.reply(peer, payload.slice().reverse());
  toMeter = meter.local;
});

Sockets.after(async () => {
  await Promise.all(hosts.map((h) => h.close()));
  for (const router of routers.values()) await router.close();
  await Promise.all(services.map((s) => s.close()));
  emulator.close();
  lateness.close();
  lab.release();
  rmSync(folder, { recursive: true, force: true });
});

/** Nothing that a test expects waits for this: it ends the wait for what does not come. */
const LIMIT_MS = 30_000;

/** Sends one request on a path; resolves with who answered, undefined after the limit. */
function exchange(from: ScionSocket, dst: HostEndpoint, path: ScionPath) {
  return new Promise<{ payload: Uint8Array; peer: PeerRef; rttMs: number; lateMs: number } | undefined>((resolve) => {
    const started = from.now();
    const late = lateness.totalMs();
    const timer = setTimeout(() => resolve(undefined), LIMIT_MS);
    from.onDatagram = (payload, peer) => {
      clearTimeout(timer);
      const [rttMs, lateMs] = [from.now() - started, lateness.totalMs() - late];
      resolve({ payload: payload.slice(), peer, rttMs, lateMs });
    };
    from.send(dst, Uint8Array.of(1, 2, 3), path);
  });
}

Sockets(
  'every path, also a forbidden one, carries a request and its answer back, and the routers verify each hop',
  async () => {
    const paths = await headend.paths(meterIa);
    assert.ok(paths.length >= 5, `${paths.length} paths`);
    for (const path of paths) {
      const answer = await exchange(headend, toMeter, path);
      assert.ok(answer, `no answer on ${path.hops}`);
      assert.equal(answer.payload, Uint8Array.of(3, 2, 1));
      assert.is(answer.peer.ia, meterIa);
      assert.is(answer.peer.port, 4059);
      assert.is(headend.pathOf(answer.peer), path.fingerprint);
      const announced = 2 * announcedLatencyMs(path)!;
      assert.ok(
        answer.rttMs > announced - 5 && answer.rttMs - answer.lateMs < announced + 150,
        `${answer.rttMs} ms, of which late ${answer.lateMs}, announced ${announced}`,
      );
    }
    for (const [ia, router] of routers) assert.equal(router.status().reasons, {}, ia);
  },
);

Sockets('echo answers on every path, through port 30041 of the meter', async () => {
  for (const path of await headend.paths(meterIa)) {
    const { rttMs, packetBytes } = await headend.ping({ ia: meterIa, host: toMeter.host }, path, {
      size: 100,
      timeoutMs: LIMIT_MS,
    });
    assert.ok(rttMs !== undefined && rttMs > 2 * announcedLatencyMs(path)! - 5, `${path.hops}: ${rttMs} ms`);
    assert.is(packetBytes, 12 + 24 + path.raw.length + 8 + 100);
  }
  assert.ok(meter.counters.echoesAnswered >= 5);
});

Sockets('hosts of one AS talk without a router, with the empty path', async () => {
  const other = await openHost(METER_AS, lab.meter(111, 1), []);
  const [path] = await other.paths(meterIa);
  assert.is(path!.raw.length, 0);
  const before = routers.get(METER_AS)!.status().forwarded;
  const answer = await exchange(other, toMeter, path!);
  assert.equal(answer?.payload, Uint8Array.of(3, 2, 1));
  assert.is(answer?.peer.path.length, 0);
  assert.is(other.pathOf(answer!.peer), '');
  const { rttMs } = await other.ping({ ia: meterIa, host: toMeter.host }, path!, { timeoutMs: LIMIT_MS });
  assert.is.not(rttMs, undefined);
  assert.is(routers.get(METER_AS)!.status().forwarded, before);
});

Sockets('a datagram too long for the path is refused before it vanishes', async () => {
  const [path] = await headend.paths(meterIa);
  const most = headend.maxPayload(toMeter, path!);
  assert.is(most, 1472 - 12 - 24 - path!.raw.length - 8);
  headend.send(toMeter, new Uint8Array(most), path!);
  try {
    headend.send(toMeter, new Uint8Array(most + 1), path!);
    assert.unreachable('sent');
  } catch (error) {
    assert.is((error as S3mpError).code, 'encode.out-of-range');
  }
});

/** A timeout in which the process's lateness does not count: what lies in the socket unread is not unanswered. */
class ProcessTimer {
  private readonly started = headend.now() - lateness.totalMs();
  private readonly ms: number;
  private readonly expire: () => void;
  private timer: NodeJS.Timeout;

  constructor(ms: number, expire: () => void) {
    this.ms = ms;
    this.expire = expire;
    this.timer = setTimeout(() => this.check(), ms);
  }

  clear(): void {
    clearTimeout(this.timer);
  }

  private check(): void {
    const rest = this.ms - (headend.now() - lateness.totalMs() - this.started);
    if (rest <= 0) this.expire();
    else this.timer = setTimeout(() => this.check(), rest);
  }
}

/** Ten requests a second with retransmission on the path that the manager gives, as the head end's channel does. */
class Reader {
  /** From the request to its answer, without what this process was late, ms. */
  readonly latencies: number[] = [];
  unanswered = 0;
  private readonly open = new Map<number, (peer: PeerRef) => void>();
  private next = 0;

  constructor() {
    headend.onDatagram = (payload, peer) => this.open.get(payload[3]! * 256 + payload[2]!)?.(peer);
  }

  /** Reads until it is as wanted, and until every request has its answer. */
  async until(isWanted: () => boolean): Promise<void> {
    const end = headend.now() + LIMIT_MS;
    const requests: Promise<void>[] = [];
    do {
      requests.push(this.request(this.next++ & 0xffff));
      await new Promise((resolve) => setTimeout(resolve, 100));
    } while (!isWanted() && headend.now() < end);
    await Promise.all(requests);
    assert.ok(isWanted(), `on ${chosenHops()} after ${LIMIT_MS} ms`);
  }

  private async request(number: number): Promise<void> {
    const manager = headend.manager(meterIa);
    const started = headend.now();
    const late = lateness.totalMs();
    for (let attempt = 0; attempt < 6; attempt++) {
      const path = manager.select(headend.now());
      const sentAt = headend.now();
      const peer = await new Promise<PeerRef | undefined>((resolve) => {
        const timer = new ProcessTimer(manager.rtoMs(path.fingerprint), () => resolve(undefined));
        this.open.set(number, (from) => {
          timer.clear();
          resolve(from);
        });
        // The meter reverses the bytes: the number comes back in bytes 2 and 3.
        headend.send(toMeter, Uint8Array.of(number >> 8, number & 255, attempt, 0), path);
      });
      const now = headend.now();
      if (peer !== undefined) {
        manager.onAnswered(headend.pathOf(peer)!, now - sentAt, now);
        this.open.delete(number);
        this.latencies.push(now - started - (lateness.totalMs() - late));
        return;
      }
      manager.onSilence(path.fingerprint, now, sentAt);
    }
    this.unanswered++;
  }
}

const chosenHops = () => headend.manager(meterIa).select(headend.now()).hops;
const LTE = '1-ff00:0:112 2>23 1-ff00:0:120 21>2 1-ff00:0:111';
const LEASED = '1-ff00:0:112 1>11 1-ff00:0:110 12>1 1-ff00:0:111';

/** The line that is cut, as the hops name it. */
const CUT_LINK = '1-ff00:0:120 21>2 1-ff00:0:111';

/**
 * Reads until traffic is on the preferred path: a busy machine may have made it leave for a moment, and it moves to a faster
 * one every ten seconds only.
 */
const settled = (reader: Reader) => reader.until(() => chosenHops() === LTE);

Sockets('a cut line: traffic moves to the other line, no reading is lost, and it returns after healing', async () => {
  const reader = new Reader();
  await settled(reader);
  reader.latencies.length = 0;
  emulator.cut('120-111');
  try {
    // Which of the living paths it is depends on how busy the machine is.
    const report = () => headend.manager(meterIa).report(headend.now());
    await reader.until(() => report().every((r) => !(r.chosen && r.hops.includes(CUT_LINK))));
    assert.is(reader.unanswered, 0);
    const worst = Math.max(...reader.latencies);
    assert.ok(worst < 1000, `worst answer after ${worst} ms`);
    assert.is(report().find((r) => r.hops === LTE)!.state === 'alive', false);
    assert.ok(report().some((r) => r.forbidden?.includes('2-ff00:0:210')));
  } finally {
    emulator.heal('120-111');
  }
  await settled(reader);
  assert.is(reader.unanswered, 0);
});

Sockets('a router that knows its link is down says so, and traffic moves before any timeout', async () => {
  const reader = new Reader();
  await settled(reader);
  const believed = headend.counters.scmpBelieved;
  const left = headend.manager(meterIa).select(headend.now()).fingerprint;
  const switches: PathSwitch[] = [];
  headend.onSwitch = (_, change) => switches.push(change);
  routers.get('1-ff00:0:120')!.setLinkUp(21, false);
  try {
    await reader.until(() => headend.counters.scmpBelieved > believed && !chosenHops().includes(CUT_LINK));
    assert.is(reader.unanswered, 0);
    assert.is(switches.find(({ from }) => from === left)?.why, 'hint');
  } finally {
    headend.onSwitch = () => {};
    routers.get('1-ff00:0:120')!.setLinkUp(21, true);
  }
});

/** Runs a verb of the gateway in an AS directory and returns what it printed; it waits for answers until the limit. */
async function runVerb(verb: Verb, ia: string, dst: string, own: Record<string, string | boolean>, json = false) {
  const flags = { timeout: String(LIMIT_MS), ...own };
  const config = loadConfig(GATEWAY_CONFIG, {
    file: undefined,
    environment: {},
    flags: { 'as-directory': join(folder, `ASff00_0_${shortName(ia)}`) },
  });
  const lines: string[] = [];
  const context = {
    config,
    flags,
    positionals: [dst],
    json,
    log,
    out: (text: string) => lines.push(...text.split('\n')),
  };
  const status = await verb.run(context);
  return { status, lines };
}

Sockets('`paths` prints what people of the scion tool know, and as JSON', async () => {
  const { status, lines } = await runVerb(pathsVerb, HEADEND_AS, `${METER_AS},${lab.meter(111, 0)}`, {});
  assert.is(status, 0);
  assert.is(lines[0], `Available paths to ${METER_AS}`);
  assert.is(lines[1], '3 Hops:');
  const lineOf = (hops: string) => lines.find((line) => line.includes(`[${hops}]`))!;
  const nextHop = `${lab.router(112)}:30042`;
  for (const hops of [LTE, LEASED])
    assert.match(lineOf(hops), new RegExp(` MTU: 1472 NextHop: ${nextHop} Status: alive LocalIP: 127\\.`));
  const { lines: jsonLines } = await runVerb(pathsVerb, HEADEND_AS, METER_AS, {}, true);
  const shown = JSON.parse(jsonLines[0]!);
  assert.is(shown.local_isd_as, HEADEND_AS);
  const [path] = shown.paths;
  assert.match(path.fingerprint, /^[0-9a-f]{16}$/);
  assert.equal(Object.keys(path), [
    'fingerprint',
    'hops',
    'sequence',
    'next_hop',
    'expiry',
    'mtu',
    'latency',
    'status',
    'local_ip',
  ]);
  assert.is(path.status, 'alive');
  const unasked = await runVerb(pathsVerb, HEADEND_AS, METER_AS, { 'no-probe': true });
  assert.is(unasked.status, 0);
  assert.not.ok(unasked.lines.some((line) => line.includes('Status')));
});

Sockets('`traceroute` names every router on the path with its interface', async () => {
  const { status, lines } = await runVerb(tracerouteVerb, HEADEND_AS, METER_AS, { sequence: '0* 1-ff00:0:120 0*' });
  assert.is(status, 0, lines.join('\n'));
  const routers = lines.filter((line) => /^\d /.test(line)).map((line) => line.split(' ').slice(1, 3).join(' '));
  const [, , onto, through] = routers;
  assert.is(routers.length, 4);
  assert.match(routers[0]!, `${HEADEND_AS},${lab.router(112)} IfID=`);
  assert.match(onto!, `1-ff00:0:120,${lab.router(120)} IfID=`);
  assert.match(through!, `${METER_AS},${lab.router(111)} IfID=`);
  for (const line of lines.filter((l) => /^\d /.test(l))) assert.match(line, /( \d+\.\d{3}ms){3}$/);
});

Sockets('`ping` reaches the meter, and one that is not there is a failure', async () => {
  const flags = { count: '2', interval: '10' };
  const { status, lines } = await runVerb(pingVerb, HEADEND_AS, `${METER_AS},${lab.meter(111, 0)}`, flags);
  assert.is(status, 0);
  assert.ok(
    lines.some((line) => /scmp_seq=1 time=\d+\.\d{3}ms$/.test(line)),
    lines.join('\n'),
  );
  assert.ok(lines.some((line) => line.startsWith('2 packets transmitted, 2 received, 0% packet loss')));
  const nobody = await runVerb(pingVerb, HEADEND_AS, `${METER_AS},${lab.meter(111, 9)}`, {
    count: '1',
    timeout: '200',
  });
  assert.is(nobody.status, 3);
  assert.ok(nobody.lines.some((line) => line.includes('100% packet loss')));
});

Sockets("a router's word that a link is down shows in all three tools", async () => {
  const { topology } = readAsDirectory(join(folder, 'ASff00_0_110'));
  const router = routers.get('1-ff00:0:110')!;
  const { id } = topology.routers[0]!.interfaces.find(({ neighbour }) => neighbour === meterIa)!;
  const sequence = '0* 1-ff00:0:110 1-ff00:0:111';
  router.setLinkUp(id, false);
  try {
    const words = `external interface down: isd_as=1-ff00:0:110 interface=${id}`;
    const paths = await runVerb(pathsVerb, HEADEND_AS, METER_AS, { sequence });
    assert.is(paths.status, 3);
    assert.ok(paths.lines.every((line) => !line.startsWith('[') || line.endsWith(`Info: ${words}`)));
    const ping = await runVerb(pingVerb, HEADEND_AS, `${METER_AS},${lab.meter(111, 0)}`, { sequence, count: '1' });
    assert.is(ping.status, 3);
    assert.ok(ping.lines.includes(`ERROR: ${words}`), ping.lines.join('\n'));
    // The routers on this side of the cut still answer.
    const traced = await runVerb(tracerouteVerb, HEADEND_AS, METER_AS, { sequence });
    assert.is(traced.status, 5);
    assert.ok(traced.lines.includes(`ERROR: ${words}`), traced.lines.join('\n'));
  } finally {
    router.setLinkUp(id, true);
  }
  const { status } = await runVerb(pathsVerb, HEADEND_AS, METER_AS, { sequence });
  assert.is(status, 0);
});

Sockets('ping as JSON holds what the official tool prints', async () => {
  const flags = { count: '2', interval: '10', size: '100' };
  const { lines } = await runVerb(pingVerb, HEADEND_AS, `${METER_AS},${lab.meter(111, 0)}`, flags, true);
  assert.is(lines.length, 1);
  const shown = JSON.parse(lines[0]!);
  assert.equal(Object.keys(shown), ['path', 'payload_size', 'scion_packet_size', 'replies', 'statistics']);
  assert.is(shown.replies.length, 2);
  assert.is(shown.replies[1].scmp_seq, 1);
  assert.is(shown.replies[0].scion_packet_size, shown.scion_packet_size);
  assert.equal([shown.statistics.sent, shown.statistics.received, shown.statistics.packet_loss], [2, 2, 0]);
});

Sockets('without a conforming path nothing is sent', async () => {
  const strict = await openHost(HEADEND_AS, `127.${lab.lab}.112.11`, ['- 1-ff00:0:110', '- 1-ff00:0:120', '+']);
  await strict.paths(meterIa);
  try {
    strict.manager(meterIa).select(strict.now());
    assert.unreachable('a path was given out');
  } catch (error) {
    assert.is((error as S3mpError).code, 'path.none-conforming');
  }
});

Sockets('garbage at every port leaves everything running', async () => {
  const seed = Number(process.env.S3MP_SEED ?? Date.now() % 1e9);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const socket = createSocket('udp4');
  const targets: [string, number][] = [
    [lab.headend(112), 4059],
    [lab.headend(112), SHIM_PORT],
    [lab.meter(111, 0), 4059],
    [lab.meter(111, 0), SHIM_PORT],
    [lab.router(111), 30042],
  ];
  for (let i = 0; i < 500; i++) {
    const bytes = Uint8Array.from({ length: Math.floor(random() * 200) }, () => Math.floor(random() * 256));
    const [host, port] = targets[i % targets.length]!;
    await new Promise((resolve) => socket.send(bytes, port, host, resolve));
  }
  socket.close();
  const [path] = await headend.paths(meterIa);
  assert.ok(await exchange(headend, toMeter, path!));
});

Sockets.run();
