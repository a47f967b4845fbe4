/**
 * Who may talk to the API at all. A page of a foreign site must not reach it, neither by posting across sites nor by giving
 * its own name the address of this machine (DNS rebinding); so the Host and Origin are judged before anything else, also on
 * loopback. Then the token.
 */

import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { S3mpError } from '#base/errors';
import { findToken, type Role, roleAllows, type StoredToken } from './tokens.ts';

export interface Client {
  /** Name in the audit: that of the token, or `local`. */
  readonly actor: string;
  readonly role: Role;
  /** Whether a token was shown. */
  readonly hasToken: boolean;
  /** Key of the rate limit. */
  readonly key: string;
}

export interface GuardOptions {
  /** Address that the server listens on. */
  readonly host: string;
  readonly allowedHosts: readonly string[];
  readonly tokens: readonly StoredToken[];
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

export class Guard {
  private readonly options: GuardOptions;
  readonly loopback: boolean;

  constructor(options: GuardOptions) {
    this.options = options;
    this.loopback = isLoopback(options.host);
  }

  /** @throws S3mpError `request.origin` */
  checkOrigin(request: IncomingMessage): void {
    const host = hostName(request.headers.host ?? '');
    if (!this.allowsHost(host)) {
      throw new S3mpError('request.origin', `the host name ${JSON.stringify(host.slice(0, 80))} is not one of ours`);
    }
    const { origin } = request.headers;
    // A link from elsewhere may open the page; a foreign page may not fetch or post.
    const crossSite =
      request.headers['sec-fetch-site'] === 'cross-site' && request.headers['sec-fetch-mode'] !== 'navigate';
    // A page of ours has the very host and port that it asks for; a page of another port is another program's.
    const foreign = origin !== undefined && !sameHost(origin, request.headers.host ?? '');
    if (foreign || crossSite) {
      const from = JSON.stringify((origin ?? 'another site').slice(0, 80));
      throw new S3mpError('request.origin', `requests from ${from} are refused`);
    }
  }

  /**
   * Who is asking. On loopback everybody is the local operator, anywhere else a token is needed.
   * @throws S3mpError `auth.required`, `auth.denied`
   */
  identify(request: IncomingMessage): Client {
    const address = request.socket.remoteAddress ?? 'unknown';
    const header = request.headers.authorization;
    if (header !== undefined) {
      const token = /^Bearer ([\x21-\x7e]{1,256})$/i.exec(header)?.[1];
      const stored = token === undefined ? undefined : findToken(this.options.tokens, token);
      if (stored === undefined) throw new S3mpError('auth.required', 'the token is not valid');
      return { actor: stored.name, role: stored.role, hasToken: true, key: `token ${stored.name}` };
    }
    if (!this.loopback) throw new S3mpError('auth.required', 'this head end asks for a token');
    return { actor: 'local', role: 'operator', hasToken: false, key: address };
  }

  /** @throws S3mpError `auth.denied` */
  require(client: Client, role: Role): void {
    if (!roleAllows(client.role, role)) {
      throw new S3mpError('auth.denied', `${client.actor} is ${client.role}, this needs ${role}`);
    }
  }

  private allowsHost(host: string): boolean {
    if (host === 'localhost' || this.options.allowedHosts.includes(host)) return true;
    // An address cannot be rebound; but on loopback only loopback addresses lead here.
    return isIP(host) !== 0 && (!this.loopback || isLoopback(host));
  }
}

/** Name or address of a Host header, without port and brackets, in lower case. */
export function hostName(header: string): string {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:]*))(?::\d{1,5})?$/i.exec(header.trim());
  return (match?.[1] ?? match?.[2] ?? '').toLowerCase();
}

function sameHost(origin: string, host: string): boolean {
  try {
    const { protocol, host: from } = new URL(origin);
    return /^https?:$/.test(protocol) && from === host.toLowerCase();
  } catch {
    return false;
  }
}
