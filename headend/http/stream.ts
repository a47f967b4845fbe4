/**
 * The event stream (server-sent events). Events, commands and path changes have an id and are never dropped: a client that
 * comes back with Last-Event-ID gets what it missed out of a bounded ring, or `reset` when the ring no longer has it.
 * Readings and states are worth their newest value only: a client that reads slowly gets just that. A client that stops
 * reading altogether is cut off.
 *
 *   event: reading          id: 9f3a1c-1042          `id` is epoch and sequence number; the epoch changes with each start
 *   data: {…}               event: command
 *                           data: {…}
 */

import { randomBytes, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { S3mpError } from '#base/errors';
import type { Feed, FeedItem, Topic } from '../fleet/feed.ts';
import type { Leases } from '../fleet/leases.ts';

export interface StreamOptions {
  readonly heartbeatMs: number;
  /** Items kept for clients that come back. */
  readonly ring: number;
  readonly maxStreams: number;
  /** Unsent bytes at which a client is cut off. */
  readonly maxUnsentBytes: number;
}

export const STREAM_OPTIONS: StreamOptions = {
  heartbeatMs: 10_000,
  ring: 1024,
  maxStreams: 256,
  maxUnsentBytes: 512 * 1024,
};

export interface StreamFilter {
  /** null for all. */
  readonly meters: ReadonlySet<string> | null;
  readonly topics: ReadonlySet<Topic>;
}

interface Kept {
  readonly sequence: number;
  readonly item: FeedItem;
}

interface Viewer {
  readonly id: string;
  readonly response: ServerResponse;
  readonly filter: StreamFilter;
  /** Newest reading and state of each meter that wait for a slow client. */
  readonly held: Map<string, string>;
}

export class StreamHub {
  private readonly leases: Leases;
  private readonly options: StreamOptions;
  private readonly epoch = randomBytes(4).toString('hex');
  private readonly viewers = new Set<Viewer>();
  private readonly ring: Kept[] = [];
  private readonly unsubscribe: () => void;
  private readonly heartbeat: NodeJS.Timeout;
  private sequence = 0;

  constructor(feed: Feed, leases: Leases, options: Partial<StreamOptions> = {}) {
    this.leases = leases;
    this.options = { ...STREAM_OPTIONS, ...options };
    this.unsubscribe = feed.subscribe((item) => this.take(item));
    this.heartbeat = setInterval(() => this.beat(), this.options.heartbeatMs).unref();
  }

  get size(): number {
    return this.viewers.size;
  }

  /** Answers a request with a stream. @throws S3mpError `rate.limited` when there are too many */
  open(request: IncomingMessage, response: ServerResponse, filter: StreamFilter): void {
    if (this.viewers.size >= this.options.maxStreams) {
      throw new S3mpError('rate.limited', `${this.viewers.size} event streams are open already`);
    }
    const viewer: Viewer = { id: `stream-${randomUUID()}`, response, filter, held: new Map() };
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    });
    request.socket.setNoDelay(true);
    const missed = this.missedSince(request.headers['last-event-id']);
    response.write('retry: 2000\n\n');
    // Without an id: a client cut off before its missed events arrive must still ask for them.
    response.write(frame('hello', { stream: viewer.id, at: new Date().toISOString() }));
    if (missed === 'reset') response.write(frame('reset', {}, this.idOf(this.sequence)));
    else {
      for (const { sequence, item } of missed) {
        if (wants(filter, item)) response.write(frame(item.topic, item.data, this.idOf(sequence)));
      }
    }
    this.viewers.add(viewer);
    this.leases.streamOpened(viewer.id);
    response.on('drain', () => this.release(viewer));
    response.on('close', () => {
      this.viewers.delete(viewer);
      this.leases.streamClosed(viewer.id);
    });
  }

  close(): void {
    clearInterval(this.heartbeat);
    this.unsubscribe();
    for (const { response } of this.viewers) response.end();
  }

  private take(item: FeedItem): void {
    if (item.topic === 'reading' || item.topic === 'state') {
      const text = frame(item.topic, item.data);
      for (const viewer of this.viewers) if (wants(viewer.filter, item)) this.offer(viewer, item, text);
      return;
    }
    this.sequence++;
    this.ring.push({ sequence: this.sequence, item });
    if (this.ring.length > this.options.ring) this.ring.shift();
    const text = frame(item.topic, item.data, this.idOf(this.sequence));
    for (const viewer of this.viewers) if (wants(viewer.filter, item)) this.insist(viewer, text);
  }

  /** Sends now, or keeps as the newest until the client has read what is under way. */
  private offer(viewer: Viewer, item: FeedItem, text: string): void {
    if (viewer.response.writableNeedDrain) viewer.held.set(`${item.topic} ${item.meter}`, text);
    else viewer.response.write(text);
  }

  private insist(viewer: Viewer, text: string): void {
    if (viewer.response.writableLength > this.options.maxUnsentBytes) viewer.response.destroy();
    else viewer.response.write(text);
  }

  private release(viewer: Viewer): void {
    for (const [key, text] of viewer.held) {
      if (viewer.response.writableNeedDrain) return;
      viewer.held.delete(key);
      viewer.response.write(text);
    }
  }

  /** The id of a heartbeat tells a client that filters much how far it has come. */
  private beat(): void {
    const text = frame('heartbeat', { at: new Date().toISOString() }, this.idOf(this.sequence));
    for (const viewer of this.viewers) this.insist(viewer, text);
  }

  private missedSince(header: string | string[] | undefined): readonly Kept[] | 'reset' {
    if (header === undefined) return [];
    const [epoch, number = ''] = String(header).split('-');
    const last = /^\d{1,15}$/.test(number) ? Number(number) : Number.NaN;
    const oldest = this.sequence - this.ring.length;
    if (epoch !== this.epoch || !(last >= oldest && last <= this.sequence)) return 'reset';
    return this.ring.slice(this.ring.length - (this.sequence - last));
  }

  private idOf(sequence: number): string {
    return `${this.epoch}-${sequence}`;
  }
}

function wants(filter: StreamFilter, item: FeedItem): boolean {
  if (!filter.topics.has(item.topic)) return false;
  return filter.meters === null || item.meter === null || filter.meters.has(item.meter);
}

function frame(event: string, data: unknown, id?: string): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}
