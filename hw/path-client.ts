/**
 * Asks the control service of the own AS for path segments: Connect unary over HTTP/1.1, one connection a request, each
 * with a limit of time and size. A service that does not speak it (official releases before v0.14 do not) is asked by
 * gRPC over cleartext HTTP/2, which all official ones speak. Several control services are tried in order.
 */

import { request as httpRequest } from 'node:http';
import { messageOf, ScionError } from '#base/errors';
import { GrpcClient, GrpcError } from '#hw/grpc';
import type { Log } from '#hw/log';
import type { SegmentSource } from '#hw/path-source';
import { formatIpPort, parseIpPort } from '#scion/ip';
import {
  decodeSegmentsResponse,
  emptySegmentSet,
  encodeSegmentsRequest,
  mergeSegments,
  requestsOfHost,
  SEGMENTS_METHOD,
  type SegmentSet,
  type SegmentsRequest,
} from '#scion/segment-requests';

const ANSWER_LIMIT = 4 * 1024 * 1024;
const PROTO = 'application/proto';

/** How to speak to a control service: `auto` tries Connect first and remembers a service that needs gRPC. */
export type ControlProtocol = 'auto' | 'connect' | 'grpc';

export interface PathClientOptions {
  readonly ia: bigint;
  readonly isCore: boolean;
  /** `ip:port` of the control services, in order of preference. */
  readonly services: readonly string[];
  /** Limit for one request, ms. */
  readonly timeoutMs?: number;
  readonly protocol?: ControlProtocol;
  readonly log: Log;
}

/** The control service refused the request: an answer, and not worth asking another one. */
class Refused extends Error {}
/** The service answers, but not in Connect. */
class OtherProtocol extends Error {}

/** Sends one request. @throws Refused; any other Error when there is no answer */
type Ask = (request: SegmentsRequest) => Promise<SegmentSet>;

/**
 * Sends one request to one control service.
 * @throws ScionError `scion.path-service` when it does not answer or answers with an error
 */
export async function fetchSegments(
  service: string,
  request: SegmentsRequest,
  { timeoutMs = 3000, protocol = 'auto', log }: Pick<PathClientOptions, 'timeoutMs' | 'protocol' | 'log'>,
): Promise<SegmentSet> {
  try {
    return await askerOf(service, protocol, timeoutMs, log)(request);
  } catch (error) {
    throw serviceError(service, error);
  }
}

/** Source of segments for a host: every useful class of request at once, refused ones count as empty. */
export function pathClient(options: PathClientOptions): SegmentSource {
  const { ia, isCore, services, timeoutMs = 3000, protocol = 'auto', log } = options;
  const askers = services.map((service) => ({ service, ask: askerOf(service, protocol, timeoutMs, log) }));
  return {
    async segments(dst) {
      if (askers.length === 0)
        throw new ScionError('scion.path-service', 'topology.json names no control_service: add its address');
      let last: unknown;
      for (const { service, ask } of askers) {
        try {
          const answers = await Promise.all(requestsOfHost(ia, isCore, dst).map((r) => emptyWhenRefused(ask, r)));
          const set = emptySegmentSet();
          for (const answer of answers) mergeSegments(set, answer);
          return set;
        } catch (error) {
          last = serviceError(service, error);
          log.warn('path service does not answer', { service, error: messageOf(error) });
        }
      }
      throw last;
    },
  };
}

async function emptyWhenRefused(ask: Ask, request: SegmentsRequest): Promise<SegmentSet> {
  try {
    return await ask(request);
  } catch (error) {
    if (error instanceof Refused) return emptySegmentSet();
    throw error;
  }
}

function askerOf(service: string, protocol: ControlProtocol, timeoutMs: number, log: Log): Ask {
  const byConnect: Ask = (request) => fetchOnce(service, request, timeoutMs, log);
  const grpc = new GrpcClient({ address: service, timeoutMs });
  const byGrpc: Ask = (request) => fetchByGrpc(grpc, request, log);
  if (protocol !== 'auto') return protocol === 'grpc' ? byGrpc : byConnect;
  let needsGrpc = false;
  return async (request) => {
    if (needsGrpc) return byGrpc(request);
    try {
      return await byConnect(request);
    } catch (error) {
      if (!(error instanceof OtherProtocol)) throw error;
      const answer = await byGrpc(request);
      needsGrpc = true;
      return answer;
    }
  };
}

async function fetchByGrpc(grpc: GrpcClient, request: SegmentsRequest, log: Log): Promise<SegmentSet> {
  try {
    return decodeAnswer(await grpc.unary(SEGMENTS_METHOD, encodeSegmentsRequest(request)), log);
  } catch (error) {
    if (error instanceof GrpcError && error.answered && isRefusal(error.message)) throw new Refused(error.message);
    throw error;
  }
}

function serviceError(service: string, cause: unknown): ScionError {
  if (cause instanceof ScionError) return cause;
  const what = cause instanceof Refused ? 'refused the request' : 'does not answer';
  const help =
    cause instanceof Refused ? '' : '; is the gateway of this AS running, and control_service right in topology.json?';
  return new ScionError(
    'scion.path-service',
    `path service ${service} ${what}: ${messageOf(cause)}${help}`,
    { service },
    cause,
  );
}

function fetchOnce(service: string, request: SegmentsRequest, timeoutMs: number, log: Log): Promise<SegmentSet> {
  const { host, port } = parseIpPort(service);
  const body = encodeSegmentsRequest(request);
  return new Promise((resolve, reject) => {
    const call = httpRequest(
      {
        host,
        port,
        method: 'POST',
        path: SEGMENTS_METHOD,
        agent: false,
        headers: { host: formatIpPort(host, port), 'content-type': PROTO, 'content-length': body.length },
      },
      (response) => {
        const chunks: Buffer[] = [];
        let length = 0;
        response.on('error', reject);
        response.on('data', (chunk: Buffer) => {
          length += chunk.length;
          if (length > ANSWER_LIMIT) call.destroy(new Error(`answer exceeds ${ANSWER_LIMIT} bytes`));
          else chunks.push(chunk);
        });
        response.on('end', () => {
          try {
            resolve(readAnswer(response.statusCode ?? 0, response.headers['content-type'], Buffer.concat(chunks), log));
          } catch (error) {
            reject(error);
          }
        });
      },
    );
    // The socket's own timeout watches idleness only; this one limits the whole exchange.
    const timer = setTimeout(() => call.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    call.on('close', () => clearTimeout(timer));
    // A server that speaks HTTP/2 only answers with its own frames, which are no HTTP/1.1.
    call.on('error', (error: NodeJS.ErrnoException) =>
      reject(error.code?.startsWith('HPE_') ? new OtherProtocol(error.message, { cause: error }) : error),
    );
    call.end(body);
  });
}

function readAnswer(status: number, type: string | undefined, body: Buffer, log: Log): SegmentSet {
  if (status === 200 && type?.startsWith(PROTO)) return decodeAnswer(body, log);
  if (status === 200) throw new OtherProtocol(`answer of type ${type ?? 'none'}, expected ${PROTO}`);
  const message = connectMessage(body);
  // The service understood and declined; official ones say so in words, with status 500. All else is its own trouble.
  if (message !== undefined && (status === 400 || isRefusal(message))) throw new Refused(message);
  // Not a word of Connect: another kind of server, or one that speaks gRPC only.
  if (message === undefined && (status === 404 || status === 415)) throw new OtherProtocol(`HTTP ${status}`);
  throw new Error(message ?? `HTTP ${status}`);
}

const isRefusal = (message: string): boolean => /invalid request|TRC not found/.test(message);

function decodeAnswer(body: Uint8Array, log: Log): SegmentSet {
  return decodeSegmentsResponse(body, (error) => log.warn('segment ignored', { error: error.message }));
}

/** `message` of a Connect error body. */
function connectMessage(body: Buffer): string | undefined {
  try {
    const { message } = JSON.parse(body.toString('utf8')) as { message?: unknown };
    return typeof message === 'string' ? message.slice(0, 200) : undefined;
  } catch {
    return undefined;
  }
}
