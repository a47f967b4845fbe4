/**
 * Directories of three ASes in the official layout, with keys, certificates and configurations, for official services
 * and our gateway side by side:
 *
 *   1-ff00:0:110 core  #1 ─────── #11  1-ff00:0:111  #21 ─────── #1  1-ff00:0:112
 *                      #2 ─ IPv6 ─ #12
 *
 *   127.N.a.1 border router   .2 control service   .3 daemon   .10 host that answers echoes   .20 host of the tools
 *   127.N.111.4 second border router of the middle, when wanted: #11 and #12 stay at the first, #21 goes to it
 *
 * Certificates and TRC are made by the official `scion-pki testcrypto`. All addresses are loopback ones.
 */

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface OfficialAs {
  /** `1-ff00:0:110` */
  readonly ia: string;
  /** Last group of the AS number, also in its addresses. */
  readonly number: number;
  readonly folder: string;
  /** Inner address of the first border router. */
  readonly router: string;
  /** Inner address of the second one, if there is one. */
  readonly sibling: string | undefined;
  readonly control: string;
  readonly daemon: string;
  /** IP address of the host that answers echoes. */
  readonly echoHost: string;
  /** IP address from which tools are run. */
  readonly toolHost: string;
  /** `ip:port` of its official router's metrics. */
  readonly routerMetrics: string;
  /** `ip:port` of its second official router's metrics. */
  readonly siblingMetrics: string;
}

export interface OfficialNetwork {
  readonly folder: string;
  readonly core: OfficialAs;
  readonly middle: OfficialAs;
  readonly leaf: OfficialAs;
  readonly all: readonly OfficialAs[];
}

export interface NetworkOptions {
  readonly folder: string;
  /** Folder with the official programs. */
  readonly bin: string;
  /** Second number of every address, 127.N.x.y. */
  readonly net: number;
  /** Whether the routers watch the links with BFD. */
  readonly bfd: boolean;
  /** Whether the AS in the middle has two routers. */
  readonly sibling: boolean;
  /** Whether this machine has the IPv6 loopback address, which one link then uses. */
  readonly ipv6: boolean;
}

interface End {
  readonly as: number;
  readonly id: number;
}

interface Link {
  readonly parent: End;
  readonly child: End;
  readonly ipv6?: boolean;
}

const LINKS: readonly Link[] = [
  { parent: { as: 110, id: 1 }, child: { as: 111, id: 11 } },
  { parent: { as: 110, id: 2 }, child: { as: 111, id: 12 }, ipv6: true },
  { parent: { as: 111, id: 21 }, child: { as: 112, id: 1 } },
];
/** Interface of the second router of the middle. */
const SIBLING_INTERFACE = 21;
const MTU = 1400;
/** The range that official topologies use. */
export const DISPATCHED_PORTS = '31000-32767';

const isdAs = (number: number) => `1-ff00:0:${number}`;
const fileName = (number: number) => `ff00_0_${number}`;

/**
 * Writes everything below `folder`.
 * @throws Error when the official tool fails
 */
export function writeNetwork(options: NetworkOptions): OfficialNetwork {
  const { folder, bin } = options;
  mkdirSync(folder, { recursive: true });
  const description = join(folder, 'network.topo');
  writeFileSync(description, topoFile());
  execFileSync(join(bin, 'scion-pki'), ['testcrypto', '-t', description, '-o', folder], { stdio: 'pipe' });
  const all = [110, 111, 112].map((number) => writeAs(options, number));
  return { folder, core: all[0]!, middle: all[1]!, leaf: all[2]!, all };
}

function topoFile(): string {
  const core = 'core: true, voting: true, authoritative: true, issuing: true';
  const ases = [110, 111, 112].map((n) => `  "${isdAs(n)}": {${n === 110 ? core : `cert_issuer: ${isdAs(110)}`}}`);
  return `ASes:\n${ases.join('\n')}\n`;
}

function writeAs(options: NetworkOptions, number: number): OfficialAs {
  const folder = join(options.folder, `AS${fileName(number)}`);
  const host = (last: number) => `127.${options.net}.${number}.${last}`;
  const as: OfficialAs = {
    ia: isdAs(number),
    number,
    folder,
    router: `${host(1)}:30042`,
    sibling: options.sibling && number === 111 ? `${host(4)}:30042` : undefined,
    control: `${host(2)}:31252`,
    daemon: `${host(3)}:30255`,
    echoHost: host(10),
    toolHost: host(20),
    routerMetrics: `${host(1)}:30442`,
    siblingMetrics: `${host(4)}:30442`,
  };
  for (const name of ['keys', 'certs', 'db']) mkdirSync(join(folder, name), { recursive: true });
  for (const name of ['master0.key', 'master1.key'])
    writeFileSync(join(folder, 'keys', name), randomBytes(16).toString('base64'), { mode: 0o600 });
  const trcs = join(options.folder, 'trcs');
  for (const name of readdirSync(trcs)) copyFileSync(join(trcs, name), join(folder, 'certs', name));
  writeFileSync(join(folder, 'topology.json'), `${JSON.stringify(topologyJson(options, as), null, 2)}\n`);
  for (const [name, text] of Object.entries(configurations(as))) writeFileSync(join(folder, name), text);
  return as;
}

function topologyJson({ net, bfd, ipv6 }: NetworkOptions, as: OfficialAs): object {
  const interfaces: Record<string, object> = {};
  const siblingInterfaces: Record<string, object> = {};
  LINKS.forEach(({ parent, child, ipv6: wanted }, index) => {
    // There is one IPv6 loopback address, so the port tells the ends and the networks apart.
    const addresses =
      wanted && ipv6
        ? [`[::1]:${20_000 + 10 * net}`, `[::1]:${20_001 + 10 * net}`]
        : [`127.${net}.1.${index + 1}:50000`, `127.${net}.2.${index + 1}:50000`];
    for (const [end, far, link_to, [local, remote]] of [
      [parent, child, 'child', addresses],
      [child, parent, 'parent', addresses.toReversed()],
    ] as const) {
      if (end.as !== as.number) continue;
      const owner = as.sibling !== undefined && end.id === SIBLING_INTERFACE ? siblingInterfaces : interfaces;
      owner[end.id] = {
        underlay: { local, remote },
        isd_as: isdAs(far.as),
        link_to,
        mtu: MTU,
        ...(bfd ? {} : { bfd: { disable: true } }),
      };
    }
  });
  const name = fileName(as.number);
  return {
    isd_as: as.ia,
    mtu: MTU,
    attributes: as.number === 110 ? ['core'] : [],
    dispatched_ports: DISPATCHED_PORTS,
    border_routers: {
      [`br1-${name}-1`]: { internal_addr: as.router, interfaces },
      ...(as.sibling === undefined
        ? {}
        : { [`br1-${name}-2`]: { internal_addr: as.sibling, interfaces: siblingInterfaces } }),
    },
    control_service: { [`cs1-${name}-1`]: { addr: as.control } },
    discovery_service: { [`cs1-${name}-1`]: { addr: as.control } },
  };
}

/** Names of the first and the second border router of an AS. */
export const routerNames = (as: OfficialAs): readonly [string, string] => [
  `br1-${fileName(as.number)}-1`,
  `br1-${fileName(as.number)}-2`,
];

/** Names of the configuration files, as the official generator names them. */
export const configurationOf = {
  router: (as: OfficialAs) => join(as.folder, `${routerNames(as)[0]}.toml`),
  sibling: (as: OfficialAs) => join(as.folder, `${routerNames(as)[1]}.toml`),
  control: (as: OfficialAs) => join(as.folder, `cs1-${fileName(as.number)}-1.toml`),
  daemon: (as: OfficialAs) => join(as.folder, 'sd.toml'),
  dispatcher: (as: OfficialAs) => join(as.folder, 'disp.toml'),
};

function configurations(as: OfficialAs): Record<string, string> {
  const name = fileName(as.number);
  const db = (key: string, file: string) => `[${key}]\nconnection = "${join(as.folder, 'db', file)}"\n`;
  const general = (id: string) =>
    `[general]\nid = "${id}"\nconfig_dir = "${as.folder}"\n[log.console]\nlevel = "info"\n`;
  return {
    [`br1-${name}-1.toml`]: `${general(`br1-${name}-1`)}[metrics]\nprometheus = "${as.routerMetrics}"\n`,
    [`br1-${name}-2.toml`]: `${general(`br1-${name}-2`)}[metrics]\nprometheus = "${as.siblingMetrics}"\n`,
    [`cs1-${name}-1.toml`]:
      general(`cs1-${name}-1`) +
      db('beacon_db', 'cs.beacon.db') +
      db('trust_db', 'cs.trust.db') +
      db('path_db', 'cs.path.db') +
      '[beaconing]\norigination_interval = "1s"\npropagation_interval = "1s"\nregistration_interval = "1s"\nepic = true\n' +
      // Answers are asked anew soon, so that a test does not wait for the default of five minutes.
      '[path]\nquery_interval = "2s"\n',
    'sd.toml':
      general('sd') +
      db('trust_db', 'sd.trust.db') +
      db('path_db', 'sd.path.db') +
      `[sd]\naddress = "${as.daemon}"\nquery_interval = "2s"\n`,
    'disp.toml': `[dispatcher]\nid = "disp"\nunderlay_addr = "${as.echoHost}"\n[log.console]\nlevel = "info"\n`,
  };
}
