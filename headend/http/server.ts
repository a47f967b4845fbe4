/**
 * The head end's HTTP server: origin, route, token, body, handler, in this order; no framework. Everything that a client
 * can make grow has a bound: header and body size, time for a request, streams, rate.
 */

import page from 'embedded:page';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { VerifyKey } from '#base/crypto';
import { messageOf, S3mpError } from '#base/errors';
import type { Log } from '#hw/log';
import type { Fleet } from '../fleet/fleet.ts';
import { label } from '../fleet/metrics.ts';
import { type Client, Guard } from './guard.ts';
import type { Reload } from './meter-routes.ts';
import { buildPage, type PageParts } from './page-shell.ts';
import { problemOf, RequestError, sendProblem } from './problem.ts';
import { RateLimit, type RateOptions } from './rate-limit.ts';
import { hasBody, type Reply, type Route, Router } from './router.ts';
import { buildRoutes } from './routes.ts';
import { checkSchema } from './schema.ts';
import { StreamHub, type StreamOptions } from './stream.ts';
import type { StoredToken } from './tokens.ts';

export interface HttpServerOptions {
  readonly fleet: Fleet;
  /** Follows the inventory of enrolled meters; without it there is none. */
  readonly reload?: Reload;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Meters are simulated: on loopback a disconnect needs no token. */
  readonly labMode?: boolean;
  /** Release key of firmware images. */
  readonly releaseKey?: VerifyKey | undefined;
  readonly tokens?: readonly StoredToken[];
  /** Host names besides localhost and addresses. */
  readonly allowedHosts?: readonly string[];
  /** PEM key and certificate chain; without them the server speaks plain HTTP. */
  readonly tls?: { readonly key: string; readonly cert: string };
  readonly log?: Log;
  /** Readings and commands per client. */
  readonly rate?: RateOptions;
  readonly stream?: Partial<StreamOptions>;
  readonly version?: string;
  /** The page, when it is not the built-in one. */
  readonly page?: PageParts;
}

export interface HttpServer {
  /** Address of the page, with a slash at the end. */
  readonly url: string;
  close(): Promise<void>;
}

const BODY_LIMIT = 64 * 1024;
const UPLOADS = 4;
const RATE: RateOptions = { perSecond: 20, burst: 40 };
const HEADERS = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'x-frame-options': 'DENY',
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
} as const;

/**
 * Starts the server.
 * @throws S3mpError `socket.in-use` when the port is taken, `socket.failed`, `config.invalid`
 */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { fleet, host, port, tls, labMode = false, tokens = [], allowedHosts = [] } = options;
  const guard = new Guard({ host, allowedHosts, tokens });
  if (!guard.loopback && tokens.length === 0) {
    throw new S3mpError('config.invalid', `serving on ${host} needs at least one token`);
  }
  const streams = new StreamHub(fleet.feed, fleet.leases, options.stream);
  fleet.metrics.gauge('s3mp_http_streams', 'Open event streams', () => [['', streams.size]]);
  const version = options.version ?? S3MP_VERSION;
  const routes = buildRoutes({
    fleet,
    reload: options.reload,
    streams,
    page: buildPage(options.page ?? page),
    version,
    labMode,
    releaseKey: options.releaseKey,
  });
  const rate = new RateLimit(options.rate ?? RATE, () => performance.now());
  const dispatch = new Dispatcher(new Router(routes), guard, rate, options.log);
  const count = fleet.metrics.counter('s3mp_http_requests_total', 'Requests by status');

  const listener: RequestListener = (request, response) => {
    response.on('finish', () => count(label('status', String(response.statusCode))));
    void dispatch.handle(request, response);
  };
  const limits = { maxHeaderSize: 16_384, headersTimeout: 10_000, requestTimeout: 30_000, keepAliveTimeout: 10_000 };
  const server = tls === undefined ? createServer(limits, listener) : createTlsServer({ ...limits, ...tls }, listener);
  server.maxConnections = 1024;
  server.on('clientError', (_error, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
  });
  try {
    await listen(server, host, port);
  } catch (error) {
    streams.close();
    throw error;
  }

  let closing: Promise<void> | undefined;
  return {
    url: `${tls === undefined ? 'http' : 'https'}://${urlHost(host)}:${(server.address() as AddressInfo).port}/`,
    close: () => {
      closing ??= new Promise((resolve) => {
        streams.close();
        server.close(() => resolve());
        server.closeAllConnections();
      });
      return closing;
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') {
        const hint = 'another program serves there; choose another port';
        reject(new S3mpError('socket.in-use', `${host}:${port} is in use: ${hint}`, { host, port }, error));
      } else reject(new S3mpError('socket.failed', `${host}:${port}: ${error.message}`, { host, port }, error));
    });
    server.listen(port, host, resolve);
  });
}

function urlHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}

class Dispatcher {
  private readonly router: Router;
  private readonly guard: Guard;
  private readonly rate: RateLimit;
  private readonly log: Log | undefined;
  private readonly uploads = new Uploads();

  constructor(router: Router, guard: Guard, rate: RateLimit, log: Log | undefined) {
    this.router = router;
    this.guard = guard;
    this.rate = rate;
    this.log = log;
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    try {
      const reply = await this.answer(request, response);
      if (reply !== undefined) send(response, reply);
    } catch (error) {
      this.fail(request, response, error);
    }
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<Reply | undefined> {
    this.guard.checkOrigin(request);
    const [path = '/', search = ''] = splitOnce(request.url ?? '/', '?');
    const { route, params } = this.router.find(request.method ?? '', path);
    const client = this.admit(request, route);
    if (route.limited) this.rate.take(client.key);
    const body = hasBody(route.method) && !route.upload ? await readJson(request, response) : {};
    if (route.body !== undefined) checkSchema(body, route.body);
    const query = new URLSearchParams(search);
    const upload = () => this.uploads.read(request, response, route);
    return route.handler({ request, response, params, query, body: body as Record<string, unknown>, upload, client });
  }

  private admit(request: IncomingMessage, route: Route): Client {
    if (route.role === null) return { actor: 'anyone', role: 'viewer', hasToken: false, key: 'anyone' };
    const client = this.guard.identify(request);
    this.guard.require(client, route.role);
    return client;
  }

  private fail(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    if (problemOf(error).code === 'internal') {
      this.log?.error('request failed', { method: request.method, error: messageOf(error) });
    }
    if (response.headersSent) response.destroy();
    else sendProblem(response, error);
  }
}

function send(response: ServerResponse, reply: Reply): void {
  const { status, body, type, headers = {} } = reply;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  if (body === undefined) {
    response.writeHead(status);
    response.end();
    return;
  }
  const bytes =
    body instanceof Uint8Array ? body : Buffer.from(type === undefined ? JSON.stringify(body) : String(body));
  response.writeHead(status, { 'content-type': type ?? 'application/json', 'content-length': String(bytes.length) });
  response.end(bytes);
}

/**
 * The JSON body of a write. The content type is demanded even of an empty one: a foreign page cannot send it without the
 * browser asking first.
 */
async function readJson(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
  checkType(request, 'application/json');
  const bytes = await readBody(request, response, BODY_LIMIT);
  if (bytes.length === 0) return {};
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new RequestError('the body is not valid JSON', '');
  }
}

function checkType(request: IncomingMessage, wanted: string): void {
  const type = (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();
  if (type !== wanted) throw new S3mpError('request.media-type', `send the body with content-type: ${wanted}`);
}

/** Files that clients send, at most so many at the same time. */
class Uploads {
  private underWay = 0;

  async read(request: IncomingMessage, response: ServerResponse, { upload }: Route): Promise<Uint8Array> {
    if (!upload) throw new S3mpError('internal', 'the route takes no file');
    checkType(request, upload.type);
    if (this.underWay >= UPLOADS) throw new S3mpError('rate.limited', `${UPLOADS} files are being sent already`);
    this.underWay++;
    try {
      return await readBody(request, response, upload.limit);
    } finally {
      this.underWay--;
    }
  }
}

/** @throws S3mpError `request.too-large`, as soon as that is known */
async function readBody(request: IncomingMessage, response: ServerResponse, limit: number): Promise<Buffer> {
  try {
    return await collectBody(request, limit);
  } catch (error) {
    response.setHeader('connection', 'close');
    throw error;
  }
}

/** Listens for events instead of iterating: leaving a loop over a request closes its socket before the answer is out. */
function collectBody(request: IncomingMessage, limit: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const tooLarge = () => {
      request.off('data', take);
      request.pause();
      reject(new S3mpError('request.too-large', `the body has more than ${limit} bytes`));
    };
    const take = (chunk: Buffer) => {
      size += chunk.length;
      if (size > limit) tooLarge();
      else chunks.push(chunk);
    };
    if (Number(request.headers['content-length'] ?? 0) > limit) tooLarge();
    else {
      request.on('data', take);
      request.on('end', () => resolve(Buffer.concat(chunks)));
      request.on('close', () => reject(new RequestError('the request ended early')));
    }
  });
}

function splitOnce(text: string, at: string): [string, string?] {
  const index = text.indexOf(at);
  return index < 0 ? [text] : [text.slice(0, index), text.slice(index + 1)];
}
