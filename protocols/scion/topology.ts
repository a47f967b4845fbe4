/**
 * `topology.json` of an AS as the official tools write it (scionproto private/topology/json), checked and typed.
 * The caller parses the JSON. Unknown keys are ignored, as the official parser does; every error names its key.
 * Leaves out underlay providers other than `udpip`.
 */

import { ScionError } from '#base/errors';
import {
  type FileTopology,
  type NamedAddress,
  parseHostTopology,
  parseServices,
  TopologyNode,
} from '#scion/host-topology';
import type { IpPort } from '#scion/ip';
import type { IsdAs } from '#scion/isd-as';

/** Role of the neighbour as we see it. */
export const LINK_TYPES = ['core', 'parent', 'child', 'peer'] as const;
export type LinkType = (typeof LINK_TYPES)[number];

/** Bidirectional forwarding detection of one link; what is left out comes from the router's defaults. */
export interface BfdSettings {
  readonly disable: boolean;
  readonly detectMult?: number;
  readonly desiredMinTxMs?: number;
  readonly requiredMinRxMs?: number;
}

export interface TopologyInterface {
  /** 1…65535, unique in the AS. */
  readonly id: number;
  /** Our socket of the link; host '' is the unspecified address. */
  readonly local: IpPort;
  readonly remote: IpPort;
  readonly neighbour: IsdAs;
  readonly linkTo: LinkType;
  /** Longest SCION packet on the link, bytes. */
  readonly mtu: number;
  /** The neighbour's number of this link; known for peer links only. */
  readonly remoteInterfaceId: number | undefined;
  readonly bfd: BfdSettings;
}

export interface TopologyRouter {
  readonly name: string;
  /** Where hosts of the AS send packets for other ASes, and how sibling routers know each other. */
  readonly internal: IpPort;
  readonly interfaces: readonly TopologyInterface[];
}

export interface TopologySig {
  readonly name: string;
  readonly control: IpPort;
  readonly data: IpPort;
  readonly probe: IpPort;
  readonly allowInterfaces: readonly number[];
}

export interface Topology extends FileTopology {
  readonly routers: readonly TopologyRouter[];
  readonly discoveryServices: readonly NamedAddress[];
  readonly hiddenSegmentLookup: readonly NamedAddress[];
  readonly hiddenSegmentRegistration: readonly NamedAddress[];
  readonly sigs: readonly TopologySig[];
}

const SIG_PROBE_PORT = 30856;

/**
 * Checks and types a parsed `topology.json`.
 * @throws ScionError `scion.topology` naming the key and what was expected
 */
export function parseTopology(json: unknown): Topology {
  const host = parseHostTopology(json);
  const root = new TopologyNode('', json);
  return {
    ...host,
    routers: root
      .at('border_routers')
      .entries()
      .map(([name, node]) => parseRouter(name, node, host.core)),
    discoveryServices: parseServices(root.at('discovery_service')),
    hiddenSegmentLookup: parseServices(root.at('hidden_segment_lookup_service')),
    hiddenSegmentRegistration: parseServices(root.at('hidden_segment_registration_service')),
    sigs: root
      .at('sigs')
      .entries()
      .map(([name, node]) => parseSig(name, node)),
  };
}

/**
 * The router that this process runs.
 * @param name  undefined takes the only one
 * @throws ScionError `scion.topology` when there is no such router, or several and no name
 */
export function routerOf(topology: Topology, name?: string): TopologyRouter {
  const names = topology.routers.map((r) => r.name).join(', ') || 'none';
  const router =
    name === undefined
      ? topology.routers.length === 1
        ? topology.routers[0]
        : undefined
      : topology.routers.find((r) => r.name === name);
  if (router !== undefined) return router;
  const wish = name === undefined ? 'say which border router to run' : `no border router ${name}`;
  throw new ScionError('scion.topology', `${wish}; AS ${topology.isdAs} has: ${names}`);
}

function parseRouter(name: string, node: TopologyNode, core: boolean): TopologyRouter {
  const interfaces = node
    .at('interfaces')
    .entries()
    .map(([id, child]) => parseInterface(id, child, core));
  return { name, internal: node.at('internal_addr').ipPort(), interfaces };
}

function parseInterface(idText: string, node: TopologyNode, core: boolean): TopologyInterface {
  const linkTo = node.at('link_to').string().toLowerCase() as LinkType;
  const allowed = core ? ['core', 'child', 'peer'] : ['parent', 'child', 'peer'];
  if (!allowed.includes(linkTo)) {
    throw node.at('link_to').expected(`${allowed.join(', ')} in a ${core ? 'core' : 'non-core'} AS`);
  }
  const underlay = node.at('underlay');
  const provider = underlay.at('provider').optionalString() ?? '';
  if (provider !== '' && provider !== 'udpip') throw underlay.at('provider').expected('udpip');
  const remoteId = node.at('remote_interface_id');
  return {
    id: Number(idText),
    local: underlay.at('local').ipPort(true),
    remote: underlay.at('remote').ipPort(),
    neighbour: node.at('isd_as').isdAs(),
    linkTo,
    mtu: node.at('mtu').integer(1, 65535),
    remoteInterfaceId: linkTo === 'peer' ? remoteId.integer(1, 65535) : undefined,
    bfd: parseBfd(node.at('bfd')),
  };
}

function parseBfd(node: TopologyNode): BfdSettings {
  if (node.value === undefined) return { disable: false };
  const detectMult = node.at('detect_mult');
  const tx = node.at('desired_min_tx_interval');
  const rx = node.at('required_min_rx_interval');
  return {
    disable: optionalBoolean(node.at('disable')) ?? false,
    ...(detectMult.value === undefined ? {} : { detectMult: detectMult.integer(1, 255) }),
    ...(tx.value === undefined ? {} : { desiredMinTxMs: durationMs(tx) }),
    ...(rx.value === undefined ? {} : { requiredMinRxMs: durationMs(rx) }),
  };
}

function parseSig(name: string, node: TopologyNode): TopologySig {
  const control = node.at('ctrl_addr').ipPort();
  const probe = node.at('probe_addr');
  return {
    name,
    control,
    data: node.at('data_addr').ipPort(),
    probe: probe.value === undefined ? { host: control.host, port: SIG_PROBE_PORT } : probe.ipPort(),
    allowInterfaces: node
      .at('allow_interfaces')
      .list()
      .map((child) => child.integer(1, 65535)),
  };
}

const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  y: 365 * 86_400_000,
  w: 7 * 86_400_000,
  d: 86_400_000,
  h: 3_600_000,
  m: 60_000,
  s: 1000,
  ms: 1,
  us: 1e-3,
  µs: 1e-3,
  ns: 1e-6,
};

function optionalBoolean(node: TopologyNode): boolean | undefined {
  if (node.value === undefined || typeof node.value === 'boolean') return node.value;
  throw node.expected('true or false');
}

/** One number and one unit, as `200ms`. */
function durationMs(node: TopologyNode): number {
  const match = /^([0-9]{1,12})(y|w|d|h|m|s|ms|us|µs|ns)$/.exec(node.string());
  if (!match) throw node.expected('a duration such as "200ms"');
  return Number(match[1]) * DURATION_UNITS_MS[match[2]!]!;
}
