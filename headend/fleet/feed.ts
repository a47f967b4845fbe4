/** What happens in the fleet, as it happens: the one place that the stream of the API, the log and tests listen to. */

import type { CommandBody, EventBody, MeterStateBody, PathBody, ReadingBody } from '../http/wire.ts';

export type FeedItem =
  | { readonly topic: 'reading'; readonly meter: string; readonly data: ReadingBody }
  | { readonly topic: 'state'; readonly meter: string; readonly data: MeterStateBody }
  | { readonly topic: 'command'; readonly meter: string; readonly data: CommandBody }
  | { readonly topic: 'path'; readonly meter: string; readonly data: { meter: string; path: PathBody | null } }
  | { readonly topic: 'event'; readonly meter: string | null; readonly data: EventBody };

export type Topic = FeedItem['topic'];
export const TOPICS = ['reading', 'state', 'event', 'command', 'path'] as const satisfies readonly Topic[];

export class Feed {
  private readonly listeners = new Set<(item: FeedItem) => void>();

  /** @returns ends the subscription */
  subscribe(listener: (item: FeedItem) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  publish(item: FeedItem): void {
    for (const listener of this.listeners) listener(item);
  }
}
