/** A gRPC server over cleartext HTTP/2 for tests: it answers with what the test scripted, well or badly. */

import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';

export interface Call {
  readonly method: string;
  readonly message: Uint8Array;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly stream: ServerHttp2Stream;
}

/** Answers a call: bytes are the message, an object is a status, undefined means that the handler saw to it. */
export type Handler = (call: Call) => Uint8Array | { status: number; message: string } | undefined;

export class GrpcServer {
  readonly calls: string[] = [];
  private readonly server: Http2Server;
  private readonly sessions = new Set<ServerHttp2Session>();

  static async start(handler: Handler, port = 0): Promise<GrpcServer> {
    const started = new GrpcServer(handler);
    await new Promise<void>((resolve, reject) => {
      started.server.once('error', reject);
      started.server.listen(port, '127.0.0.1', () => resolve());
    });
    return started;
  }

  private constructor(handler: Handler) {
    this.server = createServer();
    this.server.on('session', (session) => {
      this.sessions.add(session);
      session.on('close', () => this.sessions.delete(session));
      session.on('error', () => {});
    });
    this.server.on('stream', (stream, headers) => {
      const chunks: Buffer[] = [];
      stream.on('error', () => {});
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const method = String(headers[':path']);
        this.calls.push(method);
        const body = Buffer.concat(chunks);
        const answer = handler({ method, message: new Uint8Array(body.subarray(5)), headers, stream });
        if (answer instanceof Uint8Array) respond(stream, framed(answer));
        else if (answer !== undefined) refuse(stream, answer.status, answer.message);
      });
    });
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get connections(): number {
    return this.sessions.size;
  }

  close(): Promise<void> {
    for (const session of this.sessions) session.destroy();
    return new Promise((resolve) => this.server.close(() => resolve()));
  }
}

export function framed(message: Uint8Array, flag = 0): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** Sends a body and, as trailers, a status. */
export function respond(stream: ServerHttp2Stream, body: Uint8Array, status = 0): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': String(status) }));
  stream.end(body);
}

/** A failure as trailers only. */
export function refuse(stream: ServerHttp2Stream, status: number, message: string): void {
  stream.respond(
    {
      ':status': 200,
      'content-type': 'application/grpc',
      'grpc-status': String(status),
      'grpc-message': encodeURIComponent(message),
    },
    { endStream: true },
  );
}
