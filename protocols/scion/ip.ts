/**
 * IP addresses as bytes and text, without a platform module: dotted IPv4, IPv6 (RFC 4291 in, RFC 5952 out), and
 * `ip:port`. IPv6 zones are refused: they never appear in SCION.
 */

import { ScionError } from '#base/errors';

/** An underlay socket address. `host` is an IP address in canonical text. */
export interface IpPort {
  readonly host: string;
  readonly port: number;
}

/** @returns 4 or 16 bytes, undefined when the text is no IP address */
export function parseIp(text: string): Uint8Array | undefined {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text);
}

function parseIpv4(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (let i = 0; i < 4; i++) {
    const part = parts[i]!;
    // A leading zero is ambiguous (octal in some tools) and refused, as Go does.
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined;
    bytes[i] = Number(part);
  }
  return bytes;
}

function parseIpv6(text: string): Uint8Array | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = groupsOf(halves[0]!);
  const tail = halves.length === 2 ? groupsOf(halves[1]!) : [];
  if (head === undefined || tail === undefined) return undefined;
  // A dotted tail belongs at the very end.
  if (halves.length === 2 && halves[0]!.includes('.')) return undefined;
  const count = head.length + tail.length;
  if (halves.length === 1 ? count !== 8 : count > 7) return undefined;
  const bytes = new Uint8Array(16);
  head.forEach((group, i) => {
    bytes[2 * i] = group >> 8;
    bytes[2 * i + 1] = group;
  });
  tail.forEach((group, i) => {
    const at = 16 - 2 * (tail.length - i);
    bytes[at] = group >> 8;
    bytes[at + 1] = group;
  });
  return bytes;
}

/** 16-bit groups of one side of `::`; a dotted IPv4 address may stand for the last two. */
function groupsOf(text: string): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i]!;
    if (i === parts.length - 1 && part.includes('.')) {
      const v4 = parseIpv4(part);
      if (v4 === undefined) return undefined;
      groups.push((v4[0]! << 8) | v4[1]!, (v4[2]! << 8) | v4[3]!);
    } else {
      if (!/^[0-9a-f]{1,4}$/i.test(part)) return undefined;
      groups.push(Number.parseInt(part, 16));
    }
  }
  return groups;
}

/** Text of the `length` (4 or 16) bytes at `at`. */
export function formatIp(buf: Uint8Array, at: number, length: number): string {
  if (length === 4) return `${buf[at]}.${buf[at + 1]}.${buf[at + 2]}.${buf[at + 3]}`;
  if (isMappedIpv4(buf, at)) return `::ffff:${formatIp(buf, at + 12, 4)}`;
  const groups = Array.from({ length: 8 }, (_, i) => (buf[at + 2 * i]! << 8) | buf[at + 2 * i + 1]!);
  const gap = longestZeroRun(groups);
  const hex = (from: number, to: number) =>
    groups
      .slice(from, to)
      .map((g) => g.toString(16))
      .join(':');
  return gap === undefined ? hex(0, 8) : `${hex(0, gap.from)}::${hex(gap.to, 8)}`;
}

/** First of the longest runs of at least two zero groups. */
function longestZeroRun(groups: readonly number[]): { from: number; to: number } | undefined {
  let best: { from: number; to: number } | undefined;
  for (let from = 0; from < 8; from++) {
    let to = from;
    while (to < 8 && groups[to] === 0) to++;
    if (to - from >= 2 && (best === undefined || to - from > best.to - best.from)) best = { from, to };
    from = Math.max(from, to);
  }
  return best;
}

/** Whether 16 bytes are an IPv4-mapped IPv6 address, ::ffff:a.b.c.d. */
export function isMappedIpv4(buf: Uint8Array, at: number): boolean {
  for (let i = 0; i < 10; i++) if (buf[at + i] !== 0) return false;
  return buf[at + 10] === 0xff && buf[at + 11] === 0xff;
}

/** Whether all bytes are 0 (`0.0.0.0`, `::`). */
export function isUnspecifiedIp(buf: Uint8Array, at: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (buf[at + i] !== 0) return false;
  return true;
}

/**
 * Parses `10.0.0.1:80`, `[2001:db8::1]:80`, and `:80` where the unspecified address is allowed (host '').
 * @throws ScionError `scion.address`
 */
export function parseIpPort(text: string, allowNoHost = false): IpPort {
  const match = /^(?:\[([^[\]]*)\]|([^[\]:]*)):([0-9]{1,5})$/.exec(text);
  const port = match ? Number(match[3]) : Number.NaN;
  if (!match || port > 65535) throw notIpPort(text);
  const hostText = match[1] ?? match[2]!;
  if (hostText === '' && match[1] === undefined && allowNoHost) return { host: '', port };
  const bytes = parseIp(hostText);
  if (bytes === undefined || (match[1] !== undefined) !== (bytes.length === 16)) throw notIpPort(text);
  return { host: formatIp(bytes, 0, bytes.length), port };
}

/** `10.0.0.1:80` or `[::1]:80`. */
export function formatIpPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function notIpPort(text: string): ScionError {
  return new ScionError('scion.address', `${JSON.stringify(text.slice(0, 80))}: expected IP:port, [IPv6]:port`);
}
