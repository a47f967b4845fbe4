/**
 * Asks the control service of the own AS for path segments: Connect unary over HTTP/1.1, one connection a request, each
 * with a limit of time and size. Several control services are tried in order.
 */

import { request as httpRequest } from 'node:http';
import { messageOf, ScionError } from '#base/errors';
import type { Log } from '#hw/log';
import { formatIpPort, parseIpPort } from '#scion/ip';
import {
  decodeSegmentsResponse,
  emptySegmentSet,
  encodeSegmentsRequest,
  requestsOfHost,
  SEGMENTS_METHOD,
  type SegmentSet,
  type SegmentsRequest,
} from '#scion/segment-requests';

const ANSWER_LIMIT = 4 * 1024 * 1024;
const PROTO = 'application/proto';

/** Where a host gets the segments for a destination. */
export interface PathSource {
  /** @throws ScionError `scion.path-service` when nobody answers */
  segments(dst: bigint): Promise<SegmentSet>;
}

export interface PathClientOptions {
  readonly ia: bigint;
  readonly isCore: boolean;
  /** `ip:port` of the control services, in order of preference. */
  readonly services: readonly string[];
  /** Limit for one request, ms. */
  readonly timeoutMs?: number;
  readonly log: Log;
}

/** The control service refused the request: an answer, and not worth asking another one. */
class Refused extends Error {}

/**
 * Sends one request to one control service.
 * @throws ScionError `scion.path-service` when it does not answer or answers with an error
 */
export async function fetchSegments(
  service: string,
  request: SegmentsRequest,
  { timeoutMs = 3000, log }: { timeoutMs?: number; log: Log },
): Promise<SegmentSet> {
  try {
    return await fetchOnce(service, request, timeoutMs, log);
  } catch (error) {
    throw serviceError(service, error);
  }
}

/** Source of segments for a host: every useful class of request at once, refused ones count as empty. */
export function pathClient(options: PathClientOptions): PathSource {
  const { ia, isCore, services, timeoutMs = 3000, log } = options;
  return {
    async segments(dst) {
      if (services.length === 0)
        throw new ScionError('scion.path-service', 'topology.json names no control_service: add its address');
      let last: unknown;
      for (const service of services) {
        try {
          const requests = requestsOfHost(ia, isCore, dst);
          const answers = await Promise.all(requests.map((r) => fetchOrEmpty(service, r, timeoutMs, log)));
          return merge(answers);
        } catch (error) {
          last = serviceError(service, error);
          log.warn('path service does not answer', { service, error: messageOf(error) });
        }
      }
      throw last;
    },
  };
}

async function fetchOrEmpty(service: string, request: SegmentsRequest, timeoutMs: number, log: Log) {
  try {
    return await fetchOnce(service, request, timeoutMs, log);
  } catch (error) {
    if (error instanceof Refused) return emptySegmentSet();
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

function merge(answers: readonly SegmentSet[]): SegmentSet {
  const set = emptySegmentSet();
  for (const answer of answers) {
    set.up.push(...answer.up);
    set.core.push(...answer.core);
    set.down.push(...answer.down);
  }
  return set;
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
    call.on('error', reject);
    call.end(body);
  });
}

function readAnswer(status: number, type: string | undefined, body: Buffer, log: Log): SegmentSet {
  if (status === 200 && type?.startsWith(PROTO))
    return decodeSegmentsResponse(body, (error) => log.warn('segment ignored', { error: error.message }));
  if (status === 200) throw new Error(`answer of type ${type ?? 'none'}, expected ${PROTO}`);
  const message = connectMessage(body) ?? `HTTP ${status}`;
  // The service understood and declined; official ones say so in words, with status 500. All else is its own trouble.
  if (status === 400 || /invalid request|TRC not found/.test(message)) throw new Refused(message);
  throw new Error(message);
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
