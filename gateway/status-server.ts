/**
 * What a running gateway says about itself over HTTP, read-only: `/status` as JSON and `/metrics` for Prometheus.
 *
 * It listens on an abstract Unix socket named after the AS directory and the router, so `gateway.js status` finds it
 * without configuration and no file is left behind; and on a TCP address where `metrics.address` gives one.
 */

import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { createServer, get, type Server } from 'node:http';
import { messageOf, S3mpError } from '#base/errors';
import { METRICS_CONTENT_TYPE, metricsText } from '#base/metrics';
import { formatIpPort, type IpPort } from '#scion/ip';
import type { BorderRouter, BorderRouterStatus } from './border-router.ts';
import type { LinkReport } from './link-report.ts';
import { routerMetrics } from './router-metrics.ts';

export interface GatewayStatus {
  readonly as: string;
  readonly router: string;
  readonly internal: string;
  readonly uptimeMs: number;
  readonly links: readonly LinkReport[];
  readonly packets: BorderRouterStatus;
}

export interface StatusServer {
  /** `ip:port` of the TCP address, '' without one. */
  readonly address: string;
  close(): Promise<void>;
}

/** Path of the abstract socket of one router of one AS directory. */
export function statusSocket(directory: string, router: string): string {
  let folder = directory;
  try {
    folder = realpathSync(directory);
  } catch {
    // A folder that is not there has no gateway: nobody will answer.
  }
  const name = createHash('sha256').update(`${folder}\n${router}`).digest('hex').slice(0, 32);
  return `\0s3mp-gateway-${name}`;
}

export interface StatusServerOptions {
  readonly router: BorderRouter;
  readonly directory: string;
  /** Also over TCP. */
  readonly address?: IpPort | undefined;
}

/** @throws S3mpError `socket.in-use`, `socket.failed` for the TCP address */
export async function startStatusServer({ router, directory, address }: StatusServerOptions): Promise<StatusServer> {
  const startedMs = performance.now();
  const pages: Readonly<Record<string, () => [type: string, body: string]>> = {
    '/metrics': () => [METRICS_CONTENT_TYPE, metricsText(routerMetrics(router))],
    '/status': () => ['application/json', `${JSON.stringify(statusOf(router, performance.now() - startedMs))}\n`],
  };
  const servers: Server[] = [];
  const listen = async (where: IpPort | string) => {
    const server = createServer({ requestTimeout: 5000, headersTimeout: 5000 }, (request, response) => {
      const page = request.method === 'GET' ? pages[(request.url ?? '').split('?')[0]!] : undefined;
      const [type, body] = page?.() ?? ['text/plain', 'GET /metrics or /status\n'];
      response.writeHead(page ? 200 : 404, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
    });
    server.maxConnections = 32;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(listenError(where, error)));
      if (typeof where === 'string') server.listen(where, () => resolve());
      else server.listen({ ...where, exclusive: true }, () => resolve());
    });
    servers.push(server);
  };
  const close = async () => {
    for (const server of servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  };
  try {
    await listen(statusSocket(directory, router.own.name));
    if (address !== undefined) await listen(address);
  } catch (error) {
    await close();
    throw error;
  }
  const bound = address === undefined ? undefined : servers.at(-1)!.address();
  const text = typeof bound === 'object' && bound !== null ? formatIpPort(bound.address, bound.port) : '';
  return { address: text, close };
}

function statusOf(router: BorderRouter, uptimeMs: number): GatewayStatus {
  return {
    as: router.topology.isdAs,
    router: router.own.name,
    internal: router.internalAddress,
    uptimeMs: Math.round(uptimeMs),
    links: router.links(),
    packets: router.status(),
  };
}

function listenError(where: IpPort | string, error: unknown): S3mpError {
  const code = (error as NodeJS.ErrnoException).code;
  const name =
    typeof where === 'string' ? 'status socket of this router' : `address ${formatIpPort(where.host, where.port)}`;
  if (code === 'EADDRINUSE') return new S3mpError('socket.in-use', `${name} is already in use`, {}, error);
  return new S3mpError('socket.failed', `cannot open ${name}: ${messageOf(error)}`, {}, error);
}

const TIMEOUT_MS = 3000;

/** Asks a running gateway. @returns undefined when none runs there */
export function askStatus(socketPath: string): Promise<GatewayStatus | undefined> {
  return new Promise((resolve, reject) => {
    const request = get({ socketPath, path: '/status', agent: false, timeout: TIMEOUT_MS }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => (text += chunk));
      response.on('error', reject);
      response.on('end', () => {
        try {
          resolve(JSON.parse(text) as GatewayStatus);
        } catch (error) {
          reject(new S3mpError('internal', `the gateway answered something else: ${messageOf(error)}`, {}, error));
        }
      });
    });
    request.on('timeout', () => request.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    request.on('error', (error) => {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ECONNREFUSED' || code === 'ENOENT') resolve(undefined);
      else reject(new S3mpError('gateway.not-running', `the gateway does not answer: ${error.message}`, {}, error));
    });
  });
}
