/**
 * SCION addresses: host addresses (IPv4, IPv6, services) as bytes of the address header, and the texts people write.
 *
 *   1-ff00:0:110,10.0.0.1      [1-ff00:0:110,10.0.0.1]:80      1-ff00:0:110,CS
 *
 * The address header names a host's kind and length in four bits, `T(2) << 2 | L(2)`, length = 4 · (L + 1) bytes.
 */

import { ScionError } from '#base/errors';
import { formatIp, isMappedIpv4, parseIp } from '#scion/ip';
import { formatIsdAs, type IsdAs, parseIsdAs } from '#scion/isd-as';

/** The four-bit kinds of host address. */
export const HostType = { ipv4: 0b0000, ipv6: 0b0011, service: 0b0100 } as const;

/** Service numbers of the data plane; `MULTICAST` is added for all instances. */
export const Service = { discovery: 0x0001, control: 0x0002, wildcard: 0x0010, none: 0xffff } as const;
export const SERVICE_MULTICAST = 0x8000;

/** A host address as the address header holds it. */
export interface HostAddress {
  /** One of `HostType`, or another four-bit value that only transit routers meet. */
  readonly type: number;
  /** 4, 8, 12 or 16 bytes; a service is two bytes and two zeros. */
  readonly bytes: Uint8Array;
}

export interface ScionAddress {
  readonly ia: IsdAs;
  readonly host: HostAddress;
}

export interface ScionEndpoint extends ScionAddress {
  readonly port: number;
}

/** Bytes that a host address of this kind takes. */
export const hostLength = (type: number): number => 4 * ((type & 3) + 1);

/** Copies a host address out of a packet. */
export function readHost(type: number, buf: Uint8Array, at: number): HostAddress {
  return { type, bytes: buf.slice(at, at + hostLength(type)) };
}

export function serviceHost(service: number): HostAddress {
  return { type: HostType.service, bytes: Uint8Array.of(service >> 8, service & 0xff, 0, 0) };
}

/** An IP address as a host; an IPv4-mapped IPv6 address becomes IPv4, as routers drop the mapped form. */
export function ipHost(bytes: Uint8Array): HostAddress {
  if (bytes.length === 16 && isMappedIpv4(bytes, 0)) return { type: HostType.ipv4, bytes: bytes.slice(12) };
  return { type: bytes.length === 4 ? HostType.ipv4 : HostType.ipv6, bytes };
}

/**
 * Parses an IP address or a service name (`CS`, `DS_M`, `Wildcard_A`).
 * @throws ScionError `scion.address`
 */
export function parseHost(text: string): HostAddress {
  const service = parseService(text);
  if (service !== undefined) return serviceHost(service);
  const bytes = parseIp(text);
  if (bytes === undefined) {
    throw new ScionError('scion.address', `${quoted(text)} is not a host: expected an IP address or CS, DS, Wildcard`);
  }
  return ipHost(bytes);
}

const SERVICE_NAMES: readonly (readonly [number, string])[] = [
  [Service.discovery, 'DS'],
  [Service.control, 'CS'],
  [Service.wildcard, 'Wildcard'],
];

function parseService(text: string): number | undefined {
  const match = /^(CS|DS|Wildcard)(_A|_M)?$/.exec(text);
  const base = SERVICE_NAMES.find(([, name]) => name === match?.[1])?.[0];
  if (base === undefined) return undefined;
  return match?.[2] === '_M' ? base | SERVICE_MULTICAST : base;
}

/** Text of a host address: IP address, service name, `<SVC:0x1234>`, or the raw bytes of an unknown kind. */
export function formatHost(host: HostAddress): string {
  const { type, bytes } = host;
  if (type === HostType.ipv4 || type === HostType.ipv6) return formatIp(bytes, 0, bytes.length);
  if (type === HostType.service) {
    const value = (bytes[0]! << 8) | bytes[1]!;
    if (value === Service.none) return 'None';
    const name = SERVICE_NAMES.find(([number]) => number === (value & ~SERVICE_MULTICAST))?.[1];
    if (name === undefined) return `<SVC:0x${value.toString(16).padStart(4, '0')}>`;
    return value & SERVICE_MULTICAST ? `${name}_M` : name;
  }
  return `<type ${type}: ${Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('')}>`;
}

/**
 * Parses `1-ff00:0:110,10.0.0.1`.
 * @throws ScionError `scion.address`
 */
export function parseAddress(text: string): ScionAddress {
  const comma = text.indexOf(',');
  if (comma < 0) throw notAddress(text, 'ISD-AS,host');
  return { ia: parseIsdAs(text.slice(0, comma)), host: parseHost(text.slice(comma + 1)) };
}

/**
 * Parses an address with port: `[1-ff00:0:110,::1]:80`, and the older `1-ff00:0:110,10.0.0.1:80`,
 * `1-ff00:0:110,[::1]:80`.
 * @throws ScionError `scion.address`
 */
export function parseEndpoint(text: string): ScionEndpoint {
  const match = /^(?:\[([^[\]]+)\]|([^[\],]+,[^[\]:]+)|([^[\],]+),\[([^[\]]+)\]):([0-9]{1,5})$/.exec(text);
  const port = match ? Number(match[5]) : Number.NaN;
  if (!match || port > 65535) throw notAddress(text, '[ISD-AS,host]:port');
  const [, bracketed, plain, ia, v6] = match;
  const address = parseAddress(bracketed ?? plain ?? `${ia},${v6}`);
  return { ...address, port };
}

/** `1-ff00:0:110,10.0.0.1` */
export function formatAddress(address: ScionAddress): string {
  return `${formatIsdAs(address.ia)},${formatHost(address.host)}`;
}

/** `[1-ff00:0:110,10.0.0.1]:80` */
export function formatEndpoint(endpoint: ScionEndpoint): string {
  return `[${formatAddress(endpoint)}]:${endpoint.port}`;
}

const quoted = (text: string): string => JSON.stringify(text.slice(0, 80));

function notAddress(text: string, expected: string): ScionError {
  return new ScionError('scion.address', `${quoted(text)} is not a SCION address: expected ${expected}`);
}
