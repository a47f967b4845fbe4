/**
 * The control service of an AS as its hosts see it: path segments over HTTP.
 *
 *   POST /proto.control_plane.v1.SegmentLookupService/Segments      application/proto, Connect unary
 *
 * Segments come from `segments/{up,core,down}-….seg` in the AS directory and are read again when that folder changes
 * (files are replaced by renaming). Answers follow the forwarding resolver of official control services. Which ASes are
 * core is learned from the segments. Errors are Connect JSON. Not here: gRPC, trust material, fetching from other ASes.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { messageOf, S3mpError } from '#base/errors';
import type { Log } from '#hw/log';
import { formatIpPort, type IpPort, parseIpPort } from '#scion/ip';
import { asOf, formatIsdAs, isdOf } from '#scion/isd-as';
import { decodeSegment, firstIa, lastIa, type PathSegment, type SegmentType, segmentExpiryMs } from '#scion/segment';
import {
  decodeSegmentsRequest,
  emptySegmentSet,
  encodeSegmentsResponse,
  SEGMENTS_METHOD,
  type SegmentSet,
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
/** A folder changed this shortly before a scan may change again without a new time stamp. */
const SAME_TICK_MS = 50;

/**
 * Starts the service.
 * @throws S3mpError `socket.in-use` when the address is taken, `socket.failed` otherwise
 */
export function startPathService(options: PathServiceOptions): Promise<PathService> {
  const store = new SegmentStore(options);
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

// --- Segments ----------------------------------------------------------------------------------------------------------

type Matcher = (ia: bigint) => boolean;

/** The segments of the directory and what may be asked of them. */
export class SegmentStore {
  private readonly folder: string;
  private readonly own: Pick<Topology, 'ia' | 'core'>;
  private readonly log: Log;
  private segments: SegmentSet = emptySegmentSet();
  private core = new Set<bigint>();
  private changedMs = Number.NaN;

  constructor({ directory, topology, log }: Pick<PathServiceOptions, 'directory' | 'topology' | 'log'>) {
    this.folder = join(directory, 'segments');
    this.own = topology;
    this.log = log;
  }

  /** Segments for a request, or in words why it cannot be asked. */
  answer(request: SegmentsRequest, now: number): SegmentSet | string {
    this.refresh();
    const type = this.classify(request);
    if (typeof type !== 'string') return type.why;
    const { src, dst } = request;
    const [first, last] = type === 'down' ? [src, dst] : [dst, src];
    const matchesFirst = this.matcher(first);
    const matchesLast = this.matcher(last);
    const set = emptySegmentSet();
    for (const segment of this.segments[type]) {
      if (segmentExpiryMs(segment) <= now) continue;
      if (matchesFirst(firstIa(segment)) && matchesLast(lastIa(segment))) set[type].push(segment);
    }
    return set;
  }

  private classify({ src, dst }: SegmentsRequest): SegmentType | { why: string } {
    const ownIsd = isdOf(this.own.ia);
    if (isdOf(src) === 0 || isdOf(dst) === 0) return { why: 'the ISD must not be 0' };
    if (dst === this.own.ia) return { why: 'the destination is the local AS' };
    const fromCore = asOf(src) === 0n || this.core.has(src);
    const toCore = asOf(dst) === 0n || this.core.has(dst);
    if (fromCore && toCore) return isdOf(src) === ownIsd ? 'core' : { why: 'core segments begin in the local ISD' };
    if (fromCore) return isdOf(src) === isdOf(dst) ? 'down' : { why: 'down segments stay in one ISD' };
    if (!toCore) return { why: 'between two ASes that are not core' };
    if (src !== this.own.ia) return { why: 'up segments begin in the local AS' };
    return isdOf(dst) === ownIsd ? 'up' : { why: 'up segments stay in the local ISD' };
  }

  /** A wildcard stands for every core AS of its ISD. */
  private matcher(ia: bigint): Matcher {
    if (asOf(ia) !== 0n) return (other) => other === ia;
    return (other) => isdOf(other) === isdOf(ia) && this.core.has(other);
  }

  private refresh(): void {
    let changedMs: number;
    try {
      changedMs = statSync(this.folder).mtimeMs;
    } catch {
      this.segments = emptySegmentSet();
      this.core = new Set(this.own.core ? [this.own.ia] : []);
      this.log.warn('no segments folder', { folder: this.folder });
      return;
    }
    if (changedMs === this.changedMs) return;
    this.segments = this.readFolder();
    this.core = coreAses(this.segments, this.own);
    this.changedMs = Date.now() - changedMs < SAME_TICK_MS ? Number.NaN : changedMs;
  }

  private readFolder(): SegmentSet {
    const set = emptySegmentSet();
    for (const name of readdirSync(this.folder).sort()) {
      const type = /^(up|core|down)-.*\.seg$/.exec(name)?.[1] as SegmentType | undefined;
      if (type === undefined) continue;
      try {
        const segment = decodeSegment(readFileSync(join(this.folder, name)));
        if (this.belongs(type, segment)) set[type].push(segment);
        else this.log.warn('up segment of another AS', { file: name });
      } catch (error) {
        this.log.warn('segment file ignored', { file: name, error: messageOf(error) });
      }
    }
    return set;
  }

  private belongs(type: SegmentType, segment: PathSegment): boolean {
    return type !== 'up' || lastIa(segment) === this.own.ia;
  }
}

/** Core are the origins of all segments, both ends of core segments, and perhaps the own AS. */
function coreAses(segments: SegmentSet, own: Pick<Topology, 'ia' | 'core'>): Set<bigint> {
  const core = new Set<bigint>(own.core ? [own.ia] : []);
  for (const type of ['up', 'core', 'down'] as const) {
    for (const segment of segments[type]) {
      core.add(firstIa(segment));
      if (type === 'core') core.add(lastIa(segment));
    }
  }
  return core;
}
