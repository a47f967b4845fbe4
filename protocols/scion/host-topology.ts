/**
 * What an end host takes of its AS's `topology.json`: the AS, its routers and services. The whole file, which a router or a
 * control service needs, is read by topology.ts. Unknown keys are ignored, as the official parser does; every error names
 * its key.
 */

import { S3mpError, ScionError } from '#base/errors';
import { type IpPort, parseIpPort } from '#scion/ip';
import { formatIsdAs, type IsdAs, isWildcard, parseIsdAs } from '#scion/isd-as';

/** UDP ports that hosts read themselves; packets to other ports go to the shim on 30041. Empty when min > max. */
export interface PortRange {
  readonly min: number;
  readonly max: number;
}

export interface NamedAddress extends IpPort {
  readonly name: string;
}

/** What an end host needs to know of its AS: a part of the topology, or what a daemon tells. */
export interface HostTopology {
  readonly ia: IsdAs;
  /** Text of `ia`. */
  readonly isdAs: string;
  readonly core: boolean;
  /** Longest SCION packet inside the AS, bytes. */
  readonly mtu: number;
  /** undefined when the file does not say: every port then counts as read by its host, as current routers do. */
  readonly dispatchedPorts: PortRange | undefined;
  readonly routers: readonly { readonly internal: IpPort; readonly interfaces: readonly { readonly id: number }[] }[];
}

/** A host's topology as the file has it, with the services that it may ask. */
export interface FileTopology extends HostTopology {
  readonly controlServices: readonly NamedAddress[];
}

/** Port of the shim that hands packets to hosts outside the dispatched range. */
export const SHIM_PORT = 30041;
export const ALL_PORTS: PortRange = { min: 1, max: 65535 };
const NO_PORTS: PortRange = { min: 1, max: 0 };

/**
 * Checks and types what a host needs of a parsed `topology.json`.
 * @throws ScionError `scion.topology` naming the key and what was expected
 */
export function parseHostTopology(json: unknown): FileTopology {
  const root = new TopologyNode('', json);
  const ia = root.at('isd_as').isdAs();
  const attributes = root.at('attributes').optionalStrings();
  for (const attribute of attributes) {
    if (!['core', 'authoritative', 'issuing', 'voting'].includes(attribute)) {
      throw root.at('attributes').expected(`core, not ${JSON.stringify(attribute)}`);
    }
  }
  const owner = new Map<number, string>();
  const routers = root
    .at('border_routers')
    .entries()
    .map(([name, node]) => ({
      internal: node.at('internal_addr').ipPort(),
      interfaces: node
        .at('interfaces')
        .entries()
        .map(([id, child]) => ({ id: interfaceId(id, name, child, owner) })),
    }));
  return {
    ia,
    isdAs: formatIsdAs(ia),
    core: attributes.includes('core'),
    mtu: root.at('mtu').integer(1, 65535),
    dispatchedPorts: parsePorts(root.at('dispatched_ports')),
    routers,
    controlServices: parseServices(root.at('control_service')),
  };
}

function interfaceId(text: string, router: string, node: TopologyNode, owner: Map<number, string>): number {
  if (!/^[1-9][0-9]{0,4}$/.test(text) || Number(text) > 65535) throw node.expected('an interface id 1 to 65535');
  const id = Number(text);
  const other = owner.get(id);
  if (other !== undefined) throw node.expected(`an id unique in the AS; ${other} has it too`);
  owner.set(id, router);
  return id;
}

function parsePorts(node: TopologyNode): PortRange | undefined {
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

/** Addresses of the services of one kind. */
export function parseServices(node: TopologyNode): NamedAddress[] {
  return node.entries().map(([name, child]) => ({ name, ...child.at('addr').ipPort() }));
}

/** A JSON value of the file with the key that leads to it, for errors. */
export class TopologyNode {
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

  at(name: string): TopologyNode {
    const object = this.#object();
    const value = Object.hasOwn(object, name) ? object[name] : undefined;
    return new TopologyNode(this.key ? `${this.key}.${name}` : name, value ?? undefined);
  }

  /** Children of an object that may be missing. */
  entries(): [string, TopologyNode][] {
    if (this.value === undefined) return [];
    return Object.keys(this.#object()).map((name) => [name, this.at(name)]);
  }

  list(): TopologyNode[] {
    if (this.value === undefined) return [];
    if (!Array.isArray(this.value)) throw this.expected('a list');
    return this.value.map((v, i) => new TopologyNode(`${this.key}[${i}]`, v));
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

  integer(min: number, max: number): number {
    const { value } = this;
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
    throw this.expected(`an integer from ${min} to ${max}`);
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
