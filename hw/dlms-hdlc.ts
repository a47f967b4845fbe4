/**
 * DLMS over HDLC on a byte stream: a serial port, or TCP as serial device servers and some head ends use it. The link's
 * state machines are in protocols/dlms/hdlc-*.ts; here are ports and timers.
 */

import { DlmsError, S3mpError } from '#base/errors';
import { type HdlcFrame, HdlcStream, MAX_INFO } from '#dlms/hdlc';
import { HdlcClientLink, type HdlcClientOptions, type HdlcOperation } from '#dlms/hdlc-client';
import { HdlcServerLink } from '#dlms/hdlc-server';
import type { DlmsServer } from '#dlms/server';
import type { BytePort } from '#hw/serial/port';

/** A server's end of one stream. */
export interface HdlcServerStream {
  /** Whether a frame has begun and not ended. */
  readonly isPartial: boolean;
  push(chunk: Uint8Array): void;
  /** Forgets a frame that did not come to its end. */
  resetFrame(): void;
  /** Ends the link when nothing came for long. */
  expire(): void;
  close(): void;
}

/**
 * Serves one stream.
 * @param key  names the session, such as the connection
 * @param source  whom failed passwords count against
 * @param send  takes each frame; it must copy what it keeps
 */
export function serveHdlc(
  server: DlmsServer,
  key: string,
  source: string,
  now: () => number,
  send: (frame: Uint8Array) => void,
  physicalAddress?: number,
): HdlcServerStream {
  const link = new HdlcServerLink({
    maxPdu: server.maxPdu('stream'),
    serverSap: server.core.device.sap,
    ...(physicalAddress === undefined ? {} : { physicalAddress }),
    open: () => server.session(key, { transport: 'stream', source, isPolled: true }, now()),
    send,
  });
  const stream = new HdlcStream(link.maxInfo);
  return {
    get isPartial() {
      return stream.isPartial;
    },
    push: (chunk) => stream.push(chunk, (frame) => link.receive(frame, now())),
    resetFrame: () => stream.reset(),
    expire: () => link.expire(now()),
    close: () => link.close(),
  };
}

/** A pause of this length inside a frame ends it. Far more than the 25 ms of the standard: USB adapters deliver late. */
const INTER_OCTET_MS = 200;
const EXPIRY_CHECK_MS = 10_000;

/**
 * Serves DLMS clients on a serial port.
 * @param physicalAddress  own address on a line with several meters
 * @returns ends the service; the port stays open
 */
export function serveDlmsOverSerial(port: BytePort, server: DlmsServer, physicalAddress?: number): () => void {
  let pause: NodeJS.Timeout | undefined;
  const now = () => performance.now();
  const send = (frame: Uint8Array) => port.write(frame.slice());
  const hdlc = serveHdlc(server, port.name, port.name, now, send, physicalAddress);
  const expiry = setInterval(() => hdlc.expire(), EXPIRY_CHECK_MS);
  expiry.unref();
  port.onData = (bytes, length) => {
    clearTimeout(pause);
    hdlc.push(bytes.subarray(0, length));
    if (hdlc.isPartial) pause = setTimeout(() => hdlc.resetFrame(), INTER_OCTET_MS);
  };
  return () => {
    clearInterval(expiry);
    clearTimeout(pause);
    port.onData = () => {};
    hdlc.close();
  };
}

/** What a client needs of a port or a socket. */
export interface HdlcLine {
  write(bytes: Uint8Array): void;
  onData: (bytes: Uint8Array, length: number) => void;
}

/** A client's end of one line: exchanges wrapper frames, as every other channel does. */
export class HdlcChannel {
  readonly #line: HdlcLine;
  readonly #link: HdlcClientLink;
  readonly #timeoutMs: number;
  readonly #inbox: HdlcFrame[] = [];
  #wake: (() => void) | undefined;
  #isBusy = false;

  /** @param timeoutMs  for each frame before it is sent again; default 2 s */
  constructor(line: HdlcLine, options: HdlcClientOptions, timeoutMs = 2000) {
    this.#line = line;
    this.#link = new HdlcClientLink(options);
    this.#timeoutMs = timeoutMs;
    const stream = new HdlcStream(MAX_INFO);
    line.onData = (bytes, length) =>
      stream.push(bytes.subarray(0, length), (frame) => {
        this.#inbox.push(keep(frame));
        this.#wake?.();
      });
  }

  /** @throws S3mpError `meter.unreachable`, DlmsError `dlms.association-rejected` */
  connect(): Promise<void> {
    return this.#run(this.#link.connect());
  }

  /** @param frame  a wrapper frame @returns the answer's wrapper frame @throws S3mpError `meter.unreachable` */
  exchange(frame: Uint8Array): Promise<Uint8Array> {
    return this.#run(this.#link.exchange(frame));
  }

  async disconnect(): Promise<void> {
    try {
      await this.#run(this.#link.disconnect());
    } catch (error) {
      // Silence ends a link as well as an answer does.
      if (!(error instanceof S3mpError) || error instanceof DlmsError) throw error;
    }
  }

  async #run<T>(operation: HdlcOperation<T>): Promise<T> {
    if (this.#isBusy) throw new S3mpError('meter.busy', 'a request is under way on this line');
    this.#isBusy = true;
    this.#inbox.length = 0;
    try {
      let step = operation.next();
      while (!step.done) {
        if (step.value.length > 0) this.#line.write(step.value.slice());
        step = operation.next(await this.#nextFrame());
      }
      return step.value;
    } finally {
      this.#isBusy = false;
    }
  }

  async #nextFrame(): Promise<HdlcFrame | null> {
    if (this.#inbox.length === 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, this.#timeoutMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
    }
    return this.#inbox.shift() ?? null;
  }
}

function keep(frame: HdlcFrame): HdlcFrame {
  const { destination, source, info } = frame;
  return {
    ...frame,
    info: Uint8Array.prototype.slice.call(info),
    destination: { ...destination, bytes: Uint8Array.prototype.slice.call(destination.bytes) },
    source: { ...source, bytes: Uint8Array.prototype.slice.call(source.bytes) },
  };
}
