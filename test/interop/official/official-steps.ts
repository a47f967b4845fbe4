/** The steps of an interoperability run, in order. Each throws when what it saw is not what it should be. */

import { request } from 'node:http';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { readAsDirectory } from '#hw/as-directory';
import { DaemonClient } from '#hw/daemon-client';
import { readTopologyFile } from '#hw/files';
import { createLog } from '#hw/log';
import { type ControlProtocol, pathClient } from '#hw/path-client';
import { combiningSource, type PathSource } from '#hw/path-source';
import { ScionSocket } from '#hw/scion-socket';
import { parseEndpoint } from '#scion/address';
import type { PeerRef } from '#scion/end-host';
import { formatIpPort } from '#scion/ip';
import { parseIsdAs } from '#scion/isd-as';
import { routerOf } from '#scion/topology';
import { BorderRouter, type BorderRouterOptions } from '../../../gateway/border-router.ts';
import type { Official } from './main.ts';
import { type OfficialAs, routerNames } from './official-network.ts';

export interface Step {
  readonly name: string;
  /** Whether the step says something about our router, and nothing about an official one in its place. */
  readonly needsOurs?: boolean;
  readonly needsBfd?: boolean;
  /** Whether nothing can work when this step fails. */
  readonly fatal?: boolean;
  run(official: Official): Promise<void>;
}

const log = createLog('official', { level: 'error' });
const PATHS_LIMIT_MS = 40_000;
/** Hop fields of official control services live six hours by default. */
const AFTER_EXPIRY_MS = 7 * 3_600_000;

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Tries again until it holds; the last failure counts. */
async function eventually<T>(limitMs: number, attempt: () => Promise<T>): Promise<T> {
  const until = performance.now() + limitMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > until) throw error;
      await pause(300);
    }
  }
}

const echoHost = (as: OfficialAs) => `${as.ia},${as.echoHost}`;
const daemonArgs = (as: OfficialAs) => ['--sciond', as.daemon, '-l', as.toolHost];
const gatewayDaemonArgs = (as: OfficialAs) => ['--scion-daemon', as.daemon, '--local', as.toolHost];
const gatewayTopologyArgs = (as: OfficialAs) => [
  '--scion-topology',
  join(as.folder, 'topology.json'),
  '--local',
  as.toolHost,
];

const hostOf = (address: string) => address.slice(0, address.lastIndexOf(':'));

const topologyOf = (as: OfficialAs) => readTopologyFile(join(as.folder, 'topology.json'));

function controlSource(as: OfficialAs, protocol: ControlProtocol): PathSource {
  const topology = topologyOf(as);
  const services = topology.controlServices.map(({ host, port }) => formatIpPort(host, port));
  return combiningSource(topology, pathClient({ ia: topology.ia, isCore: topology.core, services, protocol, log }));
}

/** Waits until the daemon of an AS offers `count` living paths, then shows them. */
async function waitForPaths({ scionUntil }: Official, from: OfficialAs, to: OfficialAs, count: number): Promise<void> {
  const client = new DaemonClient({ address: from.daemon, log });
  try {
    await eventually(PATHS_LIMIT_MS, async () => {
      const paths = await client.paths(parseIsdAs(to.ia), { refresh: true });
      assert.is(paths.length, count, `${paths.length} paths from ${from.ia} to ${to.ia}, expected ${count}`);
    });
  } finally {
    client.close();
  }
  const args = ['showpaths', to.ia, ...daemonArgs(from), '--timeout', '2s', '--no-color'];
  await scionUntil(args, 10_000, ({ status, stdout }) => {
    assert.is(status, 0);
    assert.is(stdout.match(/Status: alive/g)?.length, count, 'not every path is alive');
  });
}

const STEP_PATHS: Step = {
  name: 'official control services beacon across the router in the middle',
  fatal: true,
  async run(official) {
    const { core, middle, leaf } = official.network;
    await waitForPaths(official, leaf, core, 2);
    await waitForPaths(official, core, leaf, 2);
    await waitForPaths(official, middle, leaf, 1);
  },
};

const STEP_PING: Step = {
  name: 'scion ping crosses the router in the middle, both ways and over both links',
  async run({ scion, network: { core, middle, leaf } }) {
    const cases: [OfficialAs, OfficialAs, string][] = [
      [leaf, core, '0* 1-ff00:0:111#21,11 0*'],
      [leaf, core, '0* 1-ff00:0:111#21,12 0*'],
      [core, leaf, '0* 1-ff00:0:111#11,21 0*'],
      [core, leaf, '0* 1-ff00:0:111#12,21 0*'],
      [middle, core, ''],
      [leaf, middle, ''],
    ];
    for (const [from, to, sequence] of cases) {
      const path = sequence === '' ? [] : ['--sequence', sequence];
      const args = ['ping', echoHost(to), '-c', '3', '--interval', '200ms', ...daemonArgs(from), ...path];
      const { status, stdout } = await scion(args);
      assert.is(status, 0);
      assert.match(stdout, '3 packets transmitted, 3 received, 0% packet loss');
    }
  },
};

const STEP_LARGE: Step = {
  name: 'packets of the largest size and EPIC packets cross it too',
  async run({ scion, network: { core, leaf } }) {
    for (const how of ['--max-mtu', '--epic']) {
      const args = ['ping', echoHost(core), '-c', '3', '--interval', '200ms', how, ...daemonArgs(leaf)];
      const { status, stdout } = await scion(args);
      assert.is(status, 0);
      assert.match(stdout, '3 packets transmitted, 3 received, 0% packet loss');
    }
  },
};

const STEP_TRACEROUTE: Step = {
  name: 'scion traceroute names the router in the middle',
  async run({ scion, network: { core, middle, leaf } }) {
    const host = hostOf(middle.router);
    const childHost = hostOf(middle.sibling ?? middle.router);
    const { status, stdout } = await scion(['traceroute', echoHost(core), ...daemonArgs(leaf)]);
    assert.is(status, 0);
    assert.match(stdout, `1 ${middle.ia},${childHost} IfID=21 `);
    assert.match(stdout, `2 ${middle.ia},${host} IfID=1`);
    const back = await scion(['traceroute', echoHost(leaf), ...daemonArgs(core)]);
    assert.is(back.status, 0);
    assert.match(back.stdout, `2 ${middle.ia},${childHost} IfID=21 `);
  },
};

/** Lines of a router's metrics that begin with `name`. */
function metrics(address: string, name: string): Promise<string[]> {
  return new Promise((resolve, reject) => {
    request(`http://${address}/metrics`, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve(text.split('\n').filter((line) => line.startsWith(name))));
    })
      .on('error', reject)
      .end();
  });
}

const STEP_BFD: Step = {
  name: 'BFD is up on every link',
  needsBfd: true,
  async run({ say, gateway, options, network: { core, middle, leaf } }) {
    for (const [as, links] of [
      [core, 2],
      [leaf, 1],
    ] as const) {
      await eventually(10_000, async () => {
        const lines = await metrics(as.routerMetrics, 'router_interface_up{');
        const external = lines.filter((line) => line.includes('neighbor_isd_as="1-ff00:0:111"'));
        assert.is(external.length, links, `metrics of ${as.ia} name ${external.length} links`);
        for (const line of external) assert.match(line, / 1$/, `down: ${line}`);
      });
      for (const line of await metrics(as.routerMetrics, 'router_interface_up{')) say(line);
      const changes = await metrics(as.routerMetrics, 'router_bfd_state_changes_total');
      for (const line of changes) say(line);
    }
    if (options.officialOnly) return;
    const { status, stdout } = await gateway(['status', '--as-directory', middle.folder]);
    assert.is(status, 0);
    assert.not.match(stdout, 'DOWN');
    assert.match(stdout, /all \d links up/);
  },
};

const STEP_DAEMON: Step = {
  name: 'T0: our end host with the official daemon, in each AS',
  async run({ gateway, network: { core, middle, leaf } }) {
    for (const [from, to, ases] of [
      [middle, core, 2],
      [leaf, core, 3],
      [core, leaf, 3],
    ] as const) {
      const paths = await gateway(['paths', to.ia, ...gatewayDaemonArgs(from)]);
      assert.is(paths.status, 0);
      assert.is(paths.stdout.match(/Status: alive/g)?.length, 2);
      assert.match(paths.stdout, `${ases} Hops:`);
      const ping = await gateway(['ping', echoHost(to), '--interval', '200', ...gatewayDaemonArgs(from)]);
      assert.is(ping.status, 0);
      assert.match(ping.stdout, '3 packets transmitted, 3 received, 0% packet loss');
    }
    const traced = await gateway(['traceroute', core.ia, ...gatewayDaemonArgs(leaf)]);
    assert.is(traced.status, 0);
    assert.match(traced.stdout, `1 ${middle.ia},${hostOf(middle.sibling ?? middle.router)} IfID=21 `);
  },
};

const STEP_CONTROL: Step = {
  name: 'T1: our end host with the official control service, no daemon',
  async run({ gateway, network: { core, middle, leaf } }) {
    for (const [from, to] of [
      [middle, core],
      [leaf, core],
      [core, leaf],
    ] as const) {
      const ping = await gateway(['ping', echoHost(to), '--interval', '200', ...gatewayTopologyArgs(from)]);
      assert.is(ping.status, 0);
      assert.match(ping.stdout, '3 packets transmitted, 3 received, 0% packet loss');
    }
    const paths = await gateway(['paths', core.ia, '--extended', ...gatewayTopologyArgs(leaf)]);
    assert.is(paths.status, 0);
  },
};

const STEP_AS: Step = {
  name: 'what the daemon tells of its AS is what topology.json says',
  async run({ say, network }) {
    for (const as of network.all) {
      const daemon = new DaemonClient({ address: as.daemon, log });
      const [told, services] = await Promise.all([daemon.topology(), daemon.controlServices()]);
      daemon.close();
      const { ia, core, mtu, dispatchedPorts, routers } = topologyOf(as);
      assert.equal([told.ia, told.core, told.mtu, told.dispatchedPorts], [ia, core, mtu, dispatchedPorts]);
      const shape = (list: typeof told.routers) =>
        list
          .map(
            ({ internal, interfaces }) =>
              `${formatIpPort(internal.host, internal.port)} ${interfaces.map((i) => i.id)}`,
          )
          .sort();
      assert.equal(shape(told.routers), shape(routers));
      assert.equal(services, [as.control]);
      say(
        `${as.ia}: MTU ${mtu}, ports ${dispatchedPorts?.min}-${dispatchedPorts?.max}, control service ${services.join()}`,
      );
    }
  },
};

const STEP_AGREE: Step = {
  name: 'paths that we combine from segments, over Connect and over gRPC, are those of the official daemon',
  async run({ say, network: { core, middle, leaf } }) {
    for (const [from, to] of [
      [leaf, core],
      [core, leaf],
      [middle, core],
      [middle, leaf],
      [leaf, middle],
    ] as const) {
      const dst = parseIsdAs(to.ia);
      // Beacons go on arriving, so the two may be asked just before and just after a new one.
      await eventually(15_000, async () => {
        const daemon = new DaemonClient({ address: from.daemon, log });
        const official = await daemon.paths(dst, { refresh: true });
        daemon.close();
        for (const protocol of ['connect', 'grpc'] as const) {
          const ours = await controlSource(from, protocol).paths(dst);
          assert.ok(ours.length > 0, 'no path');
          assert.equal(ours.map((p) => p.fingerprint).sort(), official.map((p) => p.fingerprint).sort());
          for (const path of ours) {
            const same = official.find((p) => p.fingerprint === path.fingerprint)!;
            assert.equal([path.hops, path.mtu], [same.hops, same.mtu]);
            assert.equal(path.raw, same.raw, 'the bytes of the path');
            assert.is(Math.floor(path.expiryMs / 1000), Math.floor(same.expiryMs / 1000));
          }
        }
        say(`${from.ia} -> ${to.ia}: ${official.length} paths equal in bytes, MTU and expiry`);
      });
    }
  },
};

const STEP_DATAGRAMS: Step = {
  name: 'datagrams between our end hosts through official routers, and scion ping to our end host',
  async run({ scion, say, network: { core, leaf } }) {
    const daemon = new DaemonClient({ address: leaf.daemon, log });
    const client = await ScionSocket.open({
      topology: await daemon.topology(),
      hostIp: leaf.toolHost,
      pathSource: daemon,
      probing: false,
      log,
    });
    const hostIp = core.toolHost;
    const server = await ScionSocket.open({ topology: topologyOf(core), hostIp, log });
    try {
      server.onDatagram = (payload, peer) => server.reply(peer, Uint8Array.from(payload).reverse());
      const dst = parseEndpoint(`[${core.ia},${hostIp}]:${server.local.port}`);
      const paths = await client.paths(dst.ia);
      assert.is(paths.length, 2);
      for (const path of paths) {
        const answer = new Promise<{ payload: string; peer: PeerRef }>((resolve, reject) => {
          const timer = setTimeout(() => reject(new Error(`no answer over ${path.hops}`)), 2000);
          client.onDatagram = (payload, peer) => {
            clearTimeout(timer);
            resolve({ payload: Buffer.from(payload).toString(), peer });
          };
        });
        client.send(dst, Buffer.from('register 1.8.0'), path);
        const { payload, peer } = await answer;
        assert.is(payload, '0.8.1 retsiger');
        assert.is(peer.text, `${core.ia},${hostIp}`);
        say(`"register 1.8.0" came back as "${payload}" over ${path.hops}`);
      }
      const ping = await scion(['ping', `${core.ia},${hostIp}`, '-c', '2', '--interval', '200ms', ...daemonArgs(leaf)]);
      assert.is(ping.status, 0);
      assert.match(ping.stdout, '2 packets transmitted, 2 received');
    } finally {
      await client.close();
      await server.close();
      daemon.close();
    }
  },
};

const STEP_INTERFACE_DOWN: Step = {
  name: 'with the neighbour gone, the router in the middle says so, and official and our tools understand it',
  needsBfd: true,
  async run(official) {
    const { scion, gateway, service, network, options, say } = official;
    const { core, middle, leaf } = network;
    say('the router of 1-ff00:0:110 is killed');
    await service('110-router').stop('SIGKILL');
    try {
      // Three times 200 ms without a BFD packet.
      await pause(1500);
      const ping = await scion([
        ...['ping', echoHost(core), '-c', '2', '--interval', '200ms', ...daemonArgs(leaf)],
        ...['--sequence', '0* 1-ff00:0:111#21,11 0*'],
      ]);
      assert.is(ping.status, 1);
      assert.match(ping.stderr, /external interface is down.*interface=11/s);
      assert.match(ping.stderr, 'isd_as=1-ff00:0:111');
      const ours = await gateway(['paths', core.ia, ...gatewayDaemonArgs(leaf)]);
      assert.is(ours.status, 3);
      assert.match(ours.stdout, 'external interface down: isd_as=1-ff00:0:111 interface=11');
      if (!options.officialOnly) {
        const told = await gateway(['status', '--as-directory', middle.folder]);
        assert.match(told.stdout, /2 of 3 links down: #11, #12/);
      }
    } finally {
      service('110-router').start();
    }
    say('the router of 1-ff00:0:110 is back');
    await waitForPaths(official, leaf, core, 2);
  },
};

/** Puts a router of ours, changed in one thing, in the place of the running one while `check` runs. */
async function withChangedRouter(
  official: Official,
  change: Partial<Pick<BorderRouterOptions, 'now' | 'hopKey'>>,
  check: () => Promise<void>,
): Promise<void> {
  const { service, network, say } = official;
  const { core, middle, leaf } = network;
  await service('111-router').stop();
  const { topology, hopKey } = readAsDirectory(middle.folder);
  const router = routerOf(topology, routerNames(middle)[0]);
  const changed = await BorderRouter.start({ topology, router, hopKey, log, ...change });
  try {
    await check();
  } finally {
    await changed.close();
    service('111-router').start();
  }
  say('gateway.js is back');
  await waitForPaths(official, leaf, core, 2);
}

/** Both tools ping across the router; the official one names the kind of error, ours says it in words. */
async function expectProblem(official: Official, words: string): Promise<void> {
  const { scionUntil, gateway, network } = official;
  const { core, leaf } = network;
  const args = ['ping', echoHost(core), '-c', '2', '--interval', '200ms', ...daemonArgs(leaf)];
  await scionUntil(args, 10_000, ({ status, stderr }) => {
    assert.is(status, 1);
    assert.is(stderr.match(/SCMPParameterProblem/g)?.length, 2);
  });
  const ours = await gateway(['ping', echoHost(core), '--count', '1', ...gatewayDaemonArgs(leaf)]);
  assert.is(ours.status, 3);
  assert.match(ours.stdout, `ERROR: parameter problem: ${words}`);
}

const STEP_EXPIRED: Step = {
  name: 'an expired path: the clock of our router is seven hours ahead',
  needsOurs: true,
  run: (official) =>
    withChangedRouter(official, { now: () => Date.now() + AFTER_EXPIRY_MS }, () =>
      expectProblem(official, 'path expired'),
    ),
};

const STEP_WRONG_KEY: Step = {
  name: 'a forged path: our router has another key than the one that made the hop fields',
  needsOurs: true,
  run: (official) =>
    withChangedRouter(official, { hopKey: new Uint8Array(16).fill(7) }, () =>
      expectProblem(official, 'invalid hop mac'),
    ),
};

const STEP_NO_DAEMON: Step = {
  name: 'a daemon that is gone is a clear error, and the control service still serves',
  async run({ gateway, service, network: { core, leaf } }) {
    await service('112-daemon').stop();
    try {
      const gone = await gateway(['paths', core.ia, ...gatewayDaemonArgs(leaf)]);
      assert.is(gone.status, 3);
      assert.match(gone.stderr, 'scion.daemon');
      const { status } = await gateway(['paths', core.ia, ...gatewayTopologyArgs(leaf)]);
      assert.is(status, 0);
    } finally {
      service('112-daemon').start();
    }
  },
};

export const STEPS: readonly Step[] = [
  STEP_PATHS,
  STEP_PING,
  STEP_LARGE,
  STEP_TRACEROUTE,
  STEP_BFD,
  STEP_DAEMON,
  STEP_CONTROL,
  STEP_AS,
  STEP_AGREE,
  STEP_DATAGRAMS,
  STEP_INTERFACE_DOWN,
  STEP_EXPIRED,
  STEP_WRONG_KEY,
  STEP_NO_DAEMON,
];
