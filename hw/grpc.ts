/**
 * gRPC unary calls over cleartext HTTP/2 with prior knowledge, as SCION daemons and control services serve them inside an
 * AS. One connection per server, opened at the first call and opened anew after it was lost; it never keeps the process
 * alive. Not here: streaming, compression, TLS, metadata.
 *
 *   POST /package.Service/Method     application/grpc, te: trailers
 *   body   | 0 | length (4) | message |         answer alike, then trailers grpc-status, grpc-message
 */

import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import { formatIpPort, parseIpPort } from '#scion/ip';

export const GrpcStatus = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
} as const;

const PREFIX_LENGTH = 5;
const ANSWER_LIMIT = 4 * 1024 * 1024;

/** A call that failed: the server's status, or one that this side gives a broken connection or answer. */
export class GrpcError extends Error {
  override name = 'GrpcError';
  readonly status: number;
  /** Whether the server itself answered with this status. */
  readonly answered: boolean;

  constructor(status: number, message: string, answered = false, cause?: unknown) {
    super(message, { cause });
    this.status = status;
    this.answered = answered;
  }
}

export interface GrpcClientOptions {
  /** `ip:port` */
  readonly address: string;
  /** Limit for one call, connection included, ms. */
  readonly timeoutMs?: number;
}

export class GrpcClient {
  private readonly url: string;
  private readonly timeoutMs: number;
  private session: ClientHttp2Session | undefined;
  /** Why connections broke. */
  private readonly failures = new WeakMap<ClientHttp2Session, Error>();

  /** @throws ScionError `scion.address` for an address that is not `ip:port` */
  constructor({ address, timeoutMs = 3000 }: GrpcClientOptions) {
    const { host, port } = parseIpPort(address);
    this.url = `http://${formatIpPort(host, port)}`;
    this.timeoutMs = timeoutMs;
  }

  /**
   * One call.
   * @param method  `/package.Service/Method`
   * @throws GrpcError
   */
  unary(method: string, message: Uint8Array, timeoutMs = this.timeoutMs): Promise<Uint8Array> {
    const session = this.connected();
    return new Promise((resolve, reject) => {
      let stream: ClientHttp2Stream | undefined;
      const timer = setTimeout(() => {
        settle(() => reject(new GrpcError(GrpcStatus.deadlineExceeded, `no answer within ${timeoutMs} ms`)));
        stream?.close(constants.NGHTTP2_CANCEL);
        // Perhaps the server is gone without a word: the next call connects anew.
        if (session.connecting) session.destroy();
      }, timeoutMs);
      let settled = false;
      const settle = (how: () => void) => {
        if (settled) return;
        settled = true;
        clearTimeout(timer);
        how();
      };
      try {
        stream = session.request({
          ':method': 'POST',
          ':path': method,
          'content-type': 'application/grpc',
          te: 'trailers',
          'grpc-timeout': `${timeoutMs}m`,
        });
      } catch (error) {
        settle(() => reject(new GrpcError(GrpcStatus.unavailable, (error as Error).message, false, error)));
        return;
      }
      readAnswer(stream).then(
        (answer) => settle(() => resolve(answer)),
        // A connection that fails closes its streams without telling why, and tells itself in the same turn.
        (error: GrpcError) =>
          setImmediate(() =>
            settle(() => {
              const lost = this.failures.get(session);
              const told = error.answered || lost === undefined;
              reject(told ? error : new GrpcError(GrpcStatus.unavailable, lost.message, false, lost));
            }),
          ),
      );
      stream.end(frame(message));
    });
  }

  close(): void {
    this.session?.destroy();
    this.session = undefined;
  }

  private connected(): ClientHttp2Session {
    if (this.session !== undefined && !this.session.closed && !this.session.destroyed) return this.session;
    const session = connect(this.url);
    session.on('error', (error) => {
      this.failures.set(session, error);
      session.destroy();
    });
    session.on('goaway', () => session.close());
    session.unref();
    this.session = session;
    return session;
  }
}

function frame(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(PREFIX_LENGTH + message.length);
  new DataView(bytes.buffer).setUint32(1, message.length);
  bytes.set(message, PREFIX_LENGTH);
  return bytes;
}

type Headers = Readonly<Record<string, string | string[] | number | undefined>>;

function readAnswer(stream: ClientHttp2Stream): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    let head: Headers = {};
    let trailers: Headers = {};
    const chunks: Buffer[] = [];
    let length = 0;
    let failure: GrpcError | undefined;
    stream.on('response', (headers) => {
      head = headers as Headers;
    });
    stream.on('trailers', (headers) => {
      trailers = headers as Headers;
    });
    stream.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= ANSWER_LIMIT) chunks.push(chunk);
      else {
        failure ??= new GrpcError(GrpcStatus.resourceExhausted, `answer exceeds ${ANSWER_LIMIT} bytes`);
        stream.close(constants.NGHTTP2_CANCEL);
      }
    });
    stream.on('error', (error) => {
      failure ??= new GrpcError(GrpcStatus.unavailable, error.message, false, error);
    });
    stream.on('close', () => {
      try {
        if (failure !== undefined) throw failure;
        checkStatus(head, trailers, stream.rstCode);
        resolve(unframe(Buffer.concat(chunks)));
      } catch (error) {
        reject(error);
      }
    });
  });
}

/** @throws GrpcError unless the call ended with status 0 */
function checkStatus(head: Headers, trailers: Headers, resetCode: number | undefined): void {
  // A failure may come as trailers only, which arrive as the first headers.
  const status = trailers['grpc-status'] ?? head['grpc-status'];
  if (status !== undefined) {
    const number = Number(status);
    if (number === GrpcStatus.ok) return;
    const text = trailers['grpc-message'] ?? head['grpc-message'];
    throw new GrpcError(number, messageText(text) || `gRPC status ${number}`, true);
  }
  const http = head[':status'];
  if (http === undefined) throw new GrpcError(GrpcStatus.unavailable, 'the connection ended before an answer');
  if (http !== 200) throw new GrpcError(GrpcStatus.unknown, `HTTP status ${String(http)}`);
  if (!String(head['content-type'] ?? '').startsWith('application/grpc'))
    throw new GrpcError(GrpcStatus.unknown, `answer of type ${String(head['content-type'] ?? 'none')}`);
  throw new GrpcError(GrpcStatus.unavailable, `the answer ended without a status (reset code ${resetCode ?? 0})`);
}

/** `grpc-message` is percent-encoded UTF-8. */
function messageText(text: Headers[string]): string {
  const encoded = String(text ?? '').slice(0, 1000);
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}

/** @throws GrpcError unless the body is one whole uncompressed message */
function unframe(body: Buffer): Uint8Array {
  if (body.length < PREFIX_LENGTH) throw new GrpcError(GrpcStatus.internal, 'the answer holds no message');
  if (body[0] !== 0) throw new GrpcError(GrpcStatus.internal, 'the answer is compressed');
  const length = body.readUInt32BE(1);
  if (length !== body.length - PREFIX_LENGTH)
    throw new GrpcError(GrpcStatus.internal, `message of ${length} bytes in a body of ${body.length}`);
  return new Uint8Array(body.buffer, body.byteOffset + PREFIX_LENGTH, length);
}
