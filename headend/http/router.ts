/** Routes as data: one table gives the dispatch, the checks of body and query, and the OpenAPI document. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ErrorCode } from '#base/error-codes';
import { S3mpError } from '#base/errors';
import type { Client } from './guard.ts';
import type { Schema } from './schema.ts';
import type { Role } from './tokens.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** Methods whose requests carry a body. */
export const hasBody = (method: Method): boolean => method === 'POST' || method === 'PUT';

export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Members of the path, decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** Checked against the route's schema. */
  readonly body: Readonly<Record<string, unknown>>;
  /** Reads the body of a route with `upload`. @throws S3mpError `request.media-type`, `request.too-large` */
  readonly upload: () => Promise<Uint8Array>;
  readonly client: Client;
}

export interface Reply {
  readonly status: number;
  /** Sent as JSON, or as it is when `type` is given. */
  readonly body?: unknown;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly description: string;
  readonly required?: boolean;
  readonly schema: Schema;
}

export interface Route {
  readonly method: Method;
  /** `/api/v1/meters/{id}` */
  readonly path: string;
  readonly summary: string;
  /** null: nobody needs to say who they are. */
  readonly role: Role | null;
  readonly parameters?: readonly Parameter[];
  /** Schema of the request's body; its examples are requests that the server accepts. */
  readonly body?: Schema;
  /** In place of `body`: a file, which the handler reads when it has judged the request. */
  readonly upload?: { readonly type: string; readonly limit: number; readonly description: string };
  readonly answer: { readonly status: number; readonly type: string; readonly schema: Schema };
  /** Codes beyond those that every route may give. */
  readonly problems?: readonly ErrorCode[];
  /** Whether calls count against the client's rate. */
  readonly limited?: boolean;
  /** @returns nothing when it has taken over the response itself */
  readonly handler: (call: Call) => Reply | undefined | Promise<Reply | undefined>;
}

/** Describes an answer of JSON. */
export const json = (schema: Schema, status = 200): Route['answer'] => ({ status, type: 'application/json', schema });

/** The reply with a body of JSON. */
export const ok = (body: unknown): Reply => ({ status: 200, body });

interface Compiled {
  readonly pattern: RegExp;
  readonly names: readonly string[];
  readonly methods: Map<string, Route>;
}

export class Router {
  readonly routes: readonly Route[];
  private readonly compiled: Compiled[] = [];

  constructor(routes: readonly Route[]) {
    this.routes = routes;
    const byPath = new Map<string, Compiled>();
    for (const route of routes) {
      let entry = byPath.get(route.path);
      if (entry === undefined) {
        entry = { ...compile(route.path), methods: new Map() };
        byPath.set(route.path, entry);
        this.compiled.push(entry);
      }
      entry.methods.set(route.method, route);
    }
  }

  /**
   * Finds the route of a request.
   * @param path  without the query, still percent-encoded
   * @throws S3mpError `request.not-found`, `request.method`
   */
  find(method: string, path: string): { readonly route: Route; readonly params: Record<string, string> } {
    for (const { pattern, names, methods } of this.compiled) {
      const match = pattern.exec(path);
      if (match === null) continue;
      const route = methods.get(method === 'HEAD' ? 'GET' : method);
      if (route === undefined) {
        const allow = [...methods.keys()].join(', ');
        throw new S3mpError('request.method', `${path.slice(0, 80)} supports ${allow}`, { allow });
      }
      return { route, params: Object.fromEntries(names.map((name, i) => [name, decode(match[i + 1]!)])) };
    }
    throw new S3mpError('request.not-found', `nothing at ${JSON.stringify(path.slice(0, 80))}`);
  }
}

function compile(path: string): { pattern: RegExp; names: string[] } {
  const names: string[] = [];
  const source = path
    .split('/')
    .map((part) => {
      const name = /^\{(\w+)\}$/.exec(part)?.[1];
      if (name === undefined) return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
      names.push(name);
      return '([^/]{1,200})';
    })
    .join('/');
  return { pattern: new RegExp(`^${source}$`), names };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new S3mpError('request.not-found', `${JSON.stringify(part.slice(0, 80))} is not valid percent-encoding`);
  }
}
