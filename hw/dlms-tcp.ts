/**
 * DLMS over TCP: the server's listener, and client channels for tools and tests. A connection carries the wrapper
 * (IEC 62056-4-7) or HDLC, which its first byte tells: 00 or 7E. Nothing is shared between connections: each has its own
 * stream buffer, session and timers.
 */

import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { S3mpError } from '#base/errors';
import { FLAG } from '#dlms/hdlc';
import type { HdlcClientOptions } from '#dlms/hdlc-client';
import type { DlmsServer, ServerSession } from '#dlms/server';
import { WRAPPER_PORT, WRAPPER_SIZE, WrapperStream } from '#dlms/wrapper';
import { receiveInPlace } from '#hw/accepted-socket';
import { HdlcChannel, type HdlcLine, serveHdlc } from '#hw/dlms-hdlc';

export interface DlmsTcpOptions {
  readonly server: DlmsServer;
  readonly host: string;
  /** Default 4059; 0 lets the system choose. */
  readonly port?: number;
  /** Connections at a time; further ones are closed at once. Default 8. */
  readonly maxConnections?: number;
  /** A connection without traffic for this long is closed; 0 never. Default 180 s. */
  readonly idleMs?: number;
  /** A frame that has begun must be whole after this time. Default 10 s. */
  readonly partialMs?: number;
  /** Steady clock in ms, for tests. */
  readonly now?: () => number;
  /** One line about a connection that was closed for a reason. */
  readonly log?: (text: string) => void;
}

export interface DlmsTcpListener {
  readonly address: string;
  readonly port: number;
  readonly connections: number;
  close(): Promise<void>;
}

/**
 * Listens for DLMS clients.
 * @throws S3mpError `socket.in-use` when the address is taken, `socket.failed` otherwise
 */
export async function listenDlmsTcp(options: DlmsTcpOptions): Promise<DlmsTcpListener> {
  const { host, port = WRAPPER_PORT, maxConnections = 8 } = options;
  const open = new Set<Socket>();
  let count = 0;
  const listener = createServer({ pauseOnConnect: true }, (accepted) => {
    if (open.size >= maxConnections) {
      options.log?.(`${maxConnections} connections are open, one more was closed`);
      accepted.destroy();
      return;
    }
    const socket = serve(accepted, `tcp#${++count} ${accepted.remoteAddress}:${accepted.remotePort}`, options);
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    listener.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)));
    listener.listen(port, host, resolve);
  });
  listener.on('error', (error) => options.log?.(`listener: ${error.message}`));
  const bound = listener.address() as AddressInfo;
  return {
    address: bound.address,
    port: bound.port,
    get connections() {
      return open.size;
    },
    close: async () => {
      const closing = [listener, ...open].map((each) => new Promise((resolve) => each.once('close', resolve)));
      listener.close();
      for (const socket of open) socket.destroy();
      await Promise.all(closing);
    },
  };
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): S3mpError {
  const where = `${host}:${port}`;
  if (error.code === 'EADDRINUSE')
    return new S3mpError(
      'socket.in-use',
      `TCP ${where} is in use: stop the other program or set another port`,
      { where },
      error,
    );
  return new S3mpError('socket.failed', `cannot listen on TCP ${where}: ${error.message}`, { where }, error);
}

/** What cuts a connection's bytes into frames and answers them. */
interface Framing {
  readonly isPartial: boolean;
  push(chunk: Uint8Array): void;
  close(): void;
}

function serve(accepted: Socket, key: string, options: DlmsTcpOptions): Socket {
  const { server, idleMs = 180_000, partialMs = 10_000, now = () => performance.now() } = options;
  const maxPdu = server.maxPdu('stream');
  const source = accepted.remoteAddress ?? key;
  const mostWaiting = 16 * (WRAPPER_SIZE + maxPdu);
  let framing: Framing | undefined;
  let partialTimer: NodeJS.Timeout | undefined;

  const drop = (why: string) => {
    options.log?.(`${key} closed: ${why}`);
    socket.destroy();
  };

  const stopPartialTimer = () => {
    clearTimeout(partialTimer);
    partialTimer = undefined;
  };

  const wrapper = (): Framing => {
    const stream = new WrapperStream(maxPdu);
    let out = Buffer.allocUnsafeSlow(WRAPPER_SIZE + maxPdu);
    /** The answer in `out`; kept, since the next one is often as long. */
    let answer = out;
    let session: ServerSession | undefined;
    const send = (length: number) => {
      if (answer.length !== length || answer.buffer !== out.buffer) answer = out.subarray(0, length);
      socket.write(answer);
      // What the system did not take at once stays with the socket, and its buffer too.
      if (socket.writableLength > 0) out = Buffer.allocUnsafeSlow(WRAPPER_SIZE + maxPdu);
    };
    const onFrame = (frame: Uint8Array): boolean => {
      // Each frame has its own time, also when the next one begins in the same segment.
      stopPartialTimer();
      session ??= server.session(key, { transport: 'stream', source }, now());
      if (!session) {
        drop('all sessions are taken');
        return false;
      }
      let length = session.receive(frame, out, now());
      for (; length > 0; length = session.next(out)) send(length);
      return !socket.destroyed;
    };
    return {
      push: (chunk) => {
        stream.push(chunk, onFrame);
        if (stream.fault)
          drop(stream.fault === 'version' ? 'not a DLMS wrapper' : `an APDU longer than ${maxPdu} bytes`);
      },
      get isPartial() {
        return stream.isPartial;
      },
      close: () => session?.close(),
    };
  };

  const hdlc = (): Framing =>
    serveHdlc(server, key, source, now, (frame) => {
      stopPartialTimer();
      socket.write(Uint8Array.prototype.slice.call(frame));
    });

  const onBytes = (chunk: Uint8Array) => {
    framing ??= chunk[0] === FLAG ? hdlc() : wrapper();
    framing.push(chunk);
    // A client that sends and never reads would fill the memory with answers.
    if (!socket.destroyed && socket.writableLength > mostWaiting) drop('answers are not taken');
    if (framing.isPartial && !socket.destroyed) {
      partialTimer ??= setTimeout(() => drop(`a frame was not whole after ${partialMs} ms`), partialMs);
    }
  };

  const socket = receiveInPlace(accepted, WRAPPER_SIZE + maxPdu, onBytes);
  socket.setNoDelay(true);
  if (idleMs > 0) socket.setTimeout(idleMs, () => drop(`idle for ${idleMs} ms`));
  socket.on('error', () => socket.destroy());
  socket.once('close', () => {
    stopPartialTimer();
    framing?.close();
  });
  return socket;
}

export interface DlmsTcpChannel {
  /**
   * Sends one wrapper frame and waits for the next one.
   * @throws S3mpError `meter.unreachable` on silence or a lost connection
   */
  exchange(frame: Uint8Array): Promise<Uint8Array>;
  close(): void;
}

const unreachableAt = (where: string) => (why: string, cause?: unknown) =>
  new S3mpError('meter.unreachable', `${where}: ${why}`, { where }, cause);

async function connectTcp(host: string, port: number, timeoutMs: number): Promise<Socket> {
  const unreachable = unreachableAt(`${host}:${port}`);
  const socket = connect({ host, port });
  await new Promise<void>((resolve, reject) => {
    socket.setTimeout(timeoutMs, () => {
      socket.destroy();
      reject(unreachable(`no connection after ${timeoutMs} ms`));
    });
    socket.once('error', (error) => reject(unreachable(error.message, error)));
    socket.once('connect', () => {
      socket.setTimeout(0);
      resolve();
    });
  });
  socket.setNoDelay(true);
  return socket;
}

/**
 * Connects a client channel that speaks HDLC inside TCP, and its link.
 * @param timeoutMs  for connecting and for each frame before it is sent again; default 5 s
 * @throws S3mpError `meter.unreachable`, DlmsError `dlms.association-rejected`
 */
export async function connectHdlcTcp(
  host: string,
  port: number,
  options: HdlcClientOptions,
  timeoutMs = 5000,
): Promise<DlmsTcpChannel> {
  const socket = await connectTcp(host, port, timeoutMs);
  const line: HdlcLine = { write: (bytes) => socket.write(bytes), onData: () => {} };
  socket.on('data', (chunk) => line.onData(chunk, chunk.length));
  // The frames that do not come any more tell; without a listener the error would end the process.
  socket.on('error', () => socket.destroy());
  const channel = new HdlcChannel(line, options, timeoutMs);
  try {
    await channel.connect();
  } catch (error) {
    socket.destroy();
    throw error;
  }
  return { exchange: (frame) => channel.exchange(frame), close: () => socket.destroy() };
}

/**
 * Connects a client channel for the wrapper.
 * @param timeoutMs  for connecting and for each answer; default 5 s
 * @throws S3mpError `meter.unreachable`
 */
export async function connectDlmsTcp(host: string, port: number, timeoutMs = 5000): Promise<DlmsTcpChannel> {
  const where = `${host}:${port}`;
  const unreachable = unreachableAt(where);
  const socket = await connectTcp(host, port, timeoutMs);
  const stream = new WrapperStream(0xffff);
  let waiting: { resolve: (frame: Uint8Array) => void; reject: (error: S3mpError) => void } | undefined;
  const fail = (error: S3mpError) => {
    waiting?.reject(error);
    waiting = undefined;
  };
  socket.on('data', (chunk) => {
    stream.push(chunk, (frame) => {
      waiting?.resolve(Uint8Array.prototype.slice.call(frame));
      waiting = undefined;
      return true;
    });
    if (stream.fault) socket.destroy();
  });
  socket.on('error', (error) => fail(unreachable(error.message, error)));
  socket.on('close', () => fail(unreachable('the connection was closed')));
  return {
    exchange: (frame) =>
      new Promise((resolve, reject) => {
        if (socket.destroyed) return reject(unreachable('the connection is closed'));
        if (waiting) return reject(new S3mpError('meter.busy', `${where}: a request is under way`, { where }));
        const timer = setTimeout(() => {
          socket.destroy();
          fail(unreachable(`no answer after ${timeoutMs} ms`));
        }, timeoutMs);
        waiting = {
          resolve: (answer) => {
            clearTimeout(timer);
            resolve(answer);
          },
          reject: (error) => {
            clearTimeout(timer);
            reject(error);
          },
        };
        socket.write(frame.slice());
      }),
    close: () => socket.destroy(),
  };
}
