/** A real server on a free port over a scripted meter, and a client that sends exactly what it is told. */

import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { GUARD_MS } from '#test/guard';
import { Fleet } from '../../../headend/fleet/fleet.ts';
import { type HttpServer, type HttpServerOptions, startHttpServer } from '../../../headend/http/server.ts';
import { openSqliteStore } from '../../../headend/store/sqlite.ts';
import { ScriptedMeter } from '../scripted-meter.ts';

export interface HttpRig {
  readonly meter: ScriptedMeter;
  readonly fleet: Fleet;
  readonly server: HttpServer;
  readonly port: number;
  close(): Promise<void>;
}

/** @param options  `meters` is how many there are: m1, m2, … */
export async function httpRig(options: Partial<HttpServerOptions> & { meters?: number } = {}): Promise<HttpRig> {
  const meter = new ScriptedMeter();
  const store = openSqliteStore({ file: ':memory:' });
  const meters = Array.from({ length: options.meters ?? 1 }, (_, i) => ({
    config: { id: `m${i + 1}`, name: `Household ${i + 1}`, address: '1-ff00:0:111,127.0.0.1' },
    connection: i === 0 ? meter : new ScriptedMeter(),
  }));
  const fleet = new Fleet({ store, meters, idleIntervalMs: 0 });
  await fleet.start();
  const server = await startHttpServer({ fleet, host: '127.0.0.1', port: 0, labMode: true, ...options });
  return {
    meter,
    fleet,
    server,
    port: Number(new URL(server.url).port),
    close: async () => {
      await server.close();
      await fleet.stop();
      await store.close();
    },
  };
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** Parsed body, undefined when it is not JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of all shapes
  readonly json: any;
}

export interface Ask {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  /** Text as it is, anything else as JSON with its content type. */
  readonly body?: unknown;
}

export function open(port: number, { method = 'GET', path, headers = {}, body }: Ask): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const isJson = body !== undefined && typeof body !== 'string';
    const all = { ...(isJson ? { 'content-type': 'application/json' } : {}), ...headers };
    const request = httpRequest({ host: '127.0.0.1', port, method, path, headers: all, agent: false }, resolve);
    request.on('error', reject);
    request.end(isJson ? JSON.stringify(body) : (body as string | undefined));
  });
}

export async function ask(port: number, question: Ask): Promise<Answer> {
  const response = await open(port, question);
  let text = '';
  response.setEncoding('utf8');
  for await (const chunk of response) text += chunk;
  const { statusCode: status = 0, headers } = response;
  const isJson = /json/.test(headers['content-type'] ?? '') && text !== '';
  return { status, headers, text, json: isJson ? JSON.parse(text) : undefined };
}

export interface StreamEvent {
  readonly id: string | undefined;
  readonly event: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of all shapes
  readonly data: any;
}

/** An open event stream that collects what comes. */
export class TestStream {
  readonly events: StreamEvent[] = [];
  private readonly response: IncomingMessage;
  private wake: () => void = () => {};
  private text = '';

  private constructor(response: IncomingMessage) {
    this.response = response;
    response.setEncoding('utf8');
    response.on('data', (chunk) => this.take(chunk));
    response.on('error', () => {});
  }

  static async open(port: number, query = '', lastEventId?: string): Promise<TestStream> {
    const headers = lastEventId === undefined ? {} : { 'last-event-id': lastEventId };
    return new TestStream(await open(port, { path: `/api/v1/stream${query}`, headers }));
  }

  /** Waits for an event that fits; fails after a while. */
  async until(fits: (event: StreamEvent) => boolean, what: string): Promise<StreamEvent> {
    const end = Date.now() + GUARD_MS;
    for (;;) {
      const found = this.events.find(fits);
      if (found !== undefined) return found;
      if (Date.now() > end) throw new Error(`no ${what} among ${this.events.map((e) => e.event).join(' ')}`);
      await new Promise<void>((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, 200).unref();
      });
    }
  }

  untilEvent(name: string): Promise<StreamEvent> {
    return this.until((event) => event.event === name, name);
  }

  close(): void {
    this.response.destroy();
  }

  private take(chunk: string): void {
    this.text += chunk;
    const blocks = this.text.split('\n\n');
    this.text = blocks.pop()!;
    for (const block of blocks) {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1];
      const event = field('event');
      if (event !== undefined) this.events.push({ id: field('id'), event, data: JSON.parse(field('data')!) });
    }
    this.wake();
  }
}
