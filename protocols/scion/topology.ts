/**
 * `topology.json` of an AS as the official tools write it (scionproto private/topology/json), checked and typed.
 * The caller parses the JSON. Unknown keys are ignored, as the official parser does; every error names its key.
 * Leaves out underlay providers other than `udpip`.
 */

import { S3mpError, ScionError } from '#base/errors';
import { type IpPort, parseIpPort } from '#scion/ip';
import { formatIsdAs, type IsdAs, isWildcard, parseIsdAs } from '#scion/isd-as';

/** Role of the neighbour as we see it. */
export const LINK_TYPES = ['core', 'parent', 'child', 'peer'] as const;
export type LinkType = (typeof LINK_TYPES)[number];

/** UDP ports that hosts read themselves; packets to other ports go to the shim on 30041. Empty when min > max. */
export interface PortRange {
  readonly min: number;
  readonly max: number;
}

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

export interface NamedAddress extends IpPort {
  readonly name: string;
}

export interface TopologySig {
  readonly name: string;
  readonly control: IpPort;
  readonly data: IpPort;
  readonly probe: IpPort;
  readonly allowInterfaces: readonly number[];
}

export interface Topology {
  readonly ia: IsdAs;
  /** Text of `ia`. */
  readonly isdAs: string;
  readonly core: boolean;
  /** Longest SCION packet inside the AS, bytes. */
  readonly mtu: number;
  /** undefined when the file does not say: every port then counts as read by its host, as current routers do. */
  readonly dispatchedPorts: PortRange | undefined;
  readonly routers: readonly TopologyRouter[];
  readonly controlServices: readonly NamedAddress[];
  readonly discoveryServices: readonly NamedAddress[];
  readonly hiddenSegmentLookup: readonly NamedAddress[];
  readonly hiddenSegmentRegistration: readonly NamedAddress[];
  readonly sigs: readonly TopologySig[];
}

/** What an end host needs to know of its AS: a part of the topology, or what a daemon tells. */
export interface HostTopology {
  readonly ia: IsdAs;
  /** Text of `ia`. */
  readonly isdAs: string;
  readonly core: boolean;
  /** Longest SCION packet inside the AS, bytes. */
  readonly mtu: number;
  readonly dispatchedPorts: PortRange | undefined;
  readonly routers: readonly { readonly internal: IpPort; readonly interfaces: readonly { readonly id: number }[] }[];
}

/** Port of the shim that hands packets to hosts outside the dispatched range. */
export const SHIM_PORT = 30041;
const SIG_PROBE_PORT = 30856;
export const ALL_PORTS: PortRange = { min: 1, max: 65535 };
const NO_PORTS: PortRange = { min: 1, max: 0 };

/**
 * Checks and types a parsed `topology.json`.
 * @throws ScionError `scion.topology` naming the key and what was expected
 */
export function parseTopology(json: unknown): Topology {
  const root = new Node('', json);
  const ia = root.at('isd_as').isdAs();
  const attributes = root.at('attributes').optionalStrings();
  for (const attribute of attributes) {
    if (!['core', 'authoritative', 'issuing', 'voting'].includes(attribute)) {
      throw root.at('attributes').expected(`core, not ${JSON.stringify(attribute)}`);
    }
  }
  const core = attributes.includes('core');
  const routers = root
    .at('border_routers')
    .entries()
    .map(([name, node]) => parseRouter(name, node, core));
  checkUniqueInterfaces(routers);
  return {
    ia,
    isdAs: formatIsdAs(ia),
    core,
    mtu: root.at('mtu').integer(1, 65535),
    dispatchedPorts: parsePorts(root.at('dispatched_ports')),
    routers,
    controlServices: parseServices(root.at('control_service')),
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

function parseRouter(name: string, node: Node, core: boolean): TopologyRouter {
  const interfaces = node
    .at('interfaces')
    .entries()
    .map(([id, child]) => parseInterface(id, child, core));
  return { name, internal: node.at('internal_addr').ipPort(), interfaces };
}

function parseInterface(idText: string, node: Node, core: boolean): TopologyInterface {
  if (!/^[1-9][0-9]{0,4}$/.test(idText) || Number(idText) > 65535) throw node.expected('an interface id 1 to 65535');
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

function checkUniqueInterfaces(routers: readonly TopologyRouter[]): void {
  const owner = new Map<number, string>();
  for (const { name, interfaces } of routers) {
    for (const { id } of interfaces) {
      const other = owner.get(id);
      if (other !== undefined) {
        throw new ScionError(
          'scion.topology',
          `border_routers.${name}.interfaces.${id}: expected an id unique in the AS; ${other} has it too`,
        );
      }
      owner.set(id, name);
    }
  }
}

function parseBfd(node: Node): BfdSettings {
  if (node.value === undefined) return { disable: false };
  const detectMult = node.at('detect_mult');
  const tx = node.at('desired_min_tx_interval');
  const rx = node.at('required_min_rx_interval');
  return {
    disable: node.at('disable').optionalBoolean() ?? false,
    ...(detectMult.value === undefined ? {} : { detectMult: detectMult.integer(1, 255) }),
    ...(tx.value === undefined ? {} : { desiredMinTxMs: tx.durationMs() }),
    ...(rx.value === undefined ? {} : { requiredMinRxMs: rx.durationMs() }),
  };
}

function parsePorts(node: Node): PortRange | undefined {
  const text = node.optionalString();
  if (text === undefined) return undefined;
  if (text === '' || text === '-') return NO_PORTS;
  if (text.toLowerCase() === 'all') return ALL_PORTS;
  const match = /^([0-9]{1,5})-([0-9]{1,5})$/.exec(text);
  const [min, max] = [Number(match?.[1]), Number(match?.[2])];
  if (!(min >= 1 && min <= max && max <= 65535))
    throw node.expected('"min-max" with 1 ≤ min ≤ max ≤ 65535, "all" or "-"');
  return { min, max };
}

function parseServices(node: Node): NamedAddress[] {
  return node.entries().map(([name, child]) => ({ name, ...child.at('addr').ipPort() }));
}

function parseSig(name: string, node: Node): TopologySig {
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

/** A JSON value with the key that leads to it, for errors. */
class Node {
  readonly key: string;
  readonly value: unknown;

  constructor(key: string, value: unknown) {
    this.key = key;
    this.value = value;
  }

  expected(what: string): ScionError {
    return new ScionError('scion.topology', `${this.key || 'topology'}: expected ${what}`, { key: this.key });
  }

  #object(): Readonly<Record<string, unknown>> {
    const { value } = this;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw this.expected('an object');
    return value as Record<string, unknown>;
  }

  at(name: string): Node {
    const object = this.#object();
    const value = Object.hasOwn(object, name) ? object[name] : undefined;
    return new Node(this.key ? `${this.key}.${name}` : name, value ?? undefined);
  }

  /** Children of an object that may be missing. */
  entries(): [string, Node][] {
    if (this.value === undefined) return [];
    return Object.keys(this.#object()).map((name) => [name, this.at(name)]);
  }

  list(): Node[] {
    if (this.value === undefined) return [];
    if (!Array.isArray(this.value)) throw this.expected('a list');
    return this.value.map((v, i) => new Node(`${this.key}[${i}]`, v));
  }

  string(): string {
    if (typeof this.value !== 'string') throw this.expected('a text');
    return this.value;
  }

  optionalString(): string | undefined {
    return this.value === undefined ? undefined : this.string();
  }

  optionalStrings(): string[] {
    return this.list().map((child) => child.string());
  }

  optionalBoolean(): boolean | undefined {
    if (this.value === undefined || typeof this.value === 'boolean') return this.value;
    throw this.expected('true or false');
  }

  integer(min: number, max: number): number {
    const { value } = this;
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
    throw this.expected(`an integer from ${min} to ${max}`);
  }

  /** One number and one unit, as `200ms`. */
  durationMs(): number {
    const match = /^([0-9]{1,12})(y|w|d|h|m|s|ms|us|µs|ns)$/.exec(this.string());
    if (!match) throw this.expected('a duration such as "200ms"');
    return Number(match[1]) * DURATION_UNITS_MS[match[2]!]!;
  }

  ipPort(allowNoHost = false): IpPort {
    const text = this.string();
    try {
      return parseIpPort(text, allowNoHost);
    } catch (error) {
      if (error instanceof S3mpError) throw this.expected('"ip:port" or "[ipv6]:port"');
      throw error;
    }
  }

  isdAs(): IsdAs {
    const text = this.string();
    try {
      const ia = parseIsdAs(text);
      if (!isWildcard(ia)) return ia;
    } catch (error) {
      if (!(error instanceof S3mpError)) throw error;
    }
    throw this.expected('an ISD-AS such as "1-ff00:0:110", without a 0 part');
  }
}
