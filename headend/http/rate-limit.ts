/** Token buckets per client in bounded memory: a stranger with many addresses pushes out the oldest buckets, no more. */

import type { SteadyClock } from '#base/crypto';
import { S3mpError } from '#base/errors';

export interface RateOptions {
  readonly perSecond: number;
  readonly burst: number;
  readonly clients?: number;
}

const CLIENTS = 1024;

export class RateLimit {
  private readonly options: RateOptions;
  private readonly now: SteadyClock;
  /** In order of last use. */
  private readonly buckets = new Map<string, { level: number; at: number }>();

  constructor(options: RateOptions, now: SteadyClock) {
    this.options = options;
    this.now = now;
  }

  get size(): number {
    return this.buckets.size;
  }

  /** Takes one from the client's bucket. @throws S3mpError `rate.limited` */
  take(client: string): void {
    const { perSecond, burst, clients = CLIENTS } = this.options;
    const now = this.now();
    const bucket = this.buckets.get(client) ?? { level: burst, at: now };
    this.buckets.delete(client);
    if (this.buckets.size >= clients) this.buckets.delete(this.buckets.keys().next().value!);
    const level = Math.min(burst, bucket.level + ((now - bucket.at) * perSecond) / 1000);
    this.buckets.set(client, { level: level >= 1 ? level - 1 : level, at: now });
    if (level < 1) throw new S3mpError('rate.limited', `more than ${perSecond} readings or commands a second`);
  }
}
