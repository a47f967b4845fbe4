/**
 * The control service of an AS as its hosts see it: path segments over HTTP.
 *
 *   POST /proto.control_plane.v1.SegmentLookupService/Segments      application/proto, Connect unary
 *
 * Segments come from `segments/{up,core,down}-….seg` in the AS directory and are read again when that folder changes
 * (files are replaced by renaming). Answers follow the forwarding resolver of official control services. Which ASes are
 * core is learned from the segments. Errors are Connect JSON. Not here: gRPC, trust material, fetching from other ASes.
 */

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { messageOf, S3mpError } from '#base/errors';
import type { Log } from '#hw/log';
import { SegmentStore } from '#hw/segment-store';
import { formatIpPort, type IpPort, parseIpPort } from '#scion/ip';
import { formatIsdAs } from '#scion/isd-as';
import {
  decodeSegmentsRequest,
  encodeSegmentsResponse,
  SEGMENTS_METHOD,
  type SegmentsRequest,
} from '#scion/segment-requests';
import type { Topology } from '#scion/topology';

export interface PathServiceOptions {
  /** `ip:port` as in `control_service` of topology.json; port 0 takes a free one. */
  readonly address: string;
  /** AS directory with `segments/`. */
  readonly directory: string;
  readonly topology: Pick<Topology, 'ia' | 'core'>;
  readonly log: Log;
  /** Unix ms. */
  readonly now?: () => number;
}

export interface PathService {
  /** `ip:port` that it listens on. */
  readonly address: string;
  close(): Promise<void>;
}

const BODY_LIMIT = 64 * 1024;
const PROTO = 'application/proto';

/**
 * Starts the service.
 * @throws S3mpError `socket.in-use` when the address is taken, `socket.failed` otherwise
 */
export function startPathService(options: PathServiceOptions): Promise<PathService> {
  const { directory, topology, log } = options;
  const store = new SegmentStore({ folder: join(directory, 'segments'), topology, log });
  const server = createServer((request, response) => {
    request.on('error', () => response.destroy());
    handle(store, options, request, response).catch((error) => {
      options.log.warn('request failed', { error: messageOf(error) });
      fail(response, 500, 'internal', 'internal error');
    });
  });
  server.headersTimeout = 5_000;
  server.requestTimeout = 5_000;
  server.keepAliveTimeout = 5_000;
  server.maxConnections = 256;
  server.on('clientError', (_, socket) => socket.destroy());
  const wanted = parseIpPort(options.address);
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, options.address)));
    server.listen({ host: wanted.host, port: wanted.port, exclusive: true }, () => {
      server.on('error', (error) => options.log.warn('path service', { error: messageOf(error) }));
      const { port } = server.address() as AddressInfo;
      resolve({ address: textOf({ host: wanted.host, port }), close: () => closeServer(server) });
    });
  });
}

const textOf = ({ host, port }: IpPort): string => formatIpPort(host, port);

function listenError(error: NodeJS.ErrnoException, address: string): S3mpError {
  const inUse = error.code === 'EADDRINUSE';
  return new S3mpError(
    inUse ? 'socket.in-use' : 'socket.failed',
    inUse
      ? `path service: ${address} is already in use`
      : `path service: cannot listen on ${address}: ${error.message}`,
    { address },
    error,
  );
}

function closeServer(server: ReturnType<typeof createServer>): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

// --- HTTP --------------------------------------------------------------------------------------------------------------

async function handle(
  store: SegmentStore,
  { log, now = Date.now }: PathServiceOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.url !== SEGMENTS_METHOD) return fail(response, 404, 'unimplemented', 'no such method');
  if (request.method !== 'POST') {
    response.setHeader('allow', 'POST');
    return fail(response, 405, 'unimplemented', 'expected POST');
  }
  const type = (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();
  if (type !== PROTO || (request.headers['content-encoding'] ?? 'identity') !== 'identity') {
    response.setHeader('accept-post', PROTO);
    return fail(response, 415, 'invalid_argument', `expected content-type ${PROTO} without content-encoding`);
  }
  const body = await readBody(request);
  if (body === undefined) return fail(response, 413, 'resource_exhausted', `request body exceeds ${BODY_LIMIT} bytes`);
  let asked: SegmentsRequest;
  try {
    asked = decodeSegmentsRequest(body);
  } catch (error) {
    return fail(response, 400, 'invalid_argument', messageOf(error));
  }
  const answer = store.answer(asked, now());
  const words = `${formatIsdAs(asked.src)} ${formatIsdAs(asked.dst)}`;
  if (typeof answer === 'string') {
    log.debug('request refused', { request: words, why: answer });
    return fail(response, 400, 'invalid_argument', `invalid request ${words}: ${answer}`);
  }
  const bytes = encodeSegmentsResponse(answer);
  response.writeHead(200, { 'content-type': PROTO, 'content-length': bytes.length });
  response.end(bytes);
}

function fail(response: ServerResponse, status: number, code: string, message: string): void {
  if (response.headersSent || response.destroyed) return void response.destroy();
  // A body that nobody will read must not hold the connection.
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(JSON.stringify({ code, message }));
}

/** @returns undefined when the body is too large */
async function readBody(request: IncomingMessage): Promise<Uint8Array | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > BODY_LIMIT) return undefined;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > BODY_LIMIT) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
