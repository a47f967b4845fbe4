/**
 * Live subscriptions. Each viewer of a meter holds a lease; a meter is read at the shortest interval that any of its
 * leases asks for, however many there are. A lease that is tied to an open event stream lives as long as the stream and a
 * moment longer (a reconnecting page shall not stop the readings); any other must be renewed.
 */

import { randomUUID } from 'node:crypto';
import { S3mpError } from '#base/errors';
import type { FleetClock } from './clock.ts';

export const LEASE_MS = 15_000;
/** How long a lease outlives its stream. */
export const STREAM_GRACE_MS = 4_000;
const LEASES_PER_METER = 256;

export interface Lease {
  readonly id: string;
  readonly meter: string;
  readonly intervalMs: number;
  readonly stream: string | null;
  /** Steady time; Infinity while its stream is open. */
  readonly expiresAt: number;
}

export interface LeaseRequest {
  readonly meter: string;
  readonly intervalMs: number;
  /** Renews this lease if it still exists. */
  readonly lease?: string;
  /** Open event stream that keeps the lease. */
  readonly stream?: string;
}

export class Leases {
  private readonly clock: FleetClock;
  private readonly changed: (meter: string) => void;
  private readonly leases = new Map<string, Lease>();
  private readonly byMeter = new Map<string, Set<string>>();
  private readonly streams = new Set<string>();

  /** @param changed  called when the leases of a meter have changed */
  constructor(clock: FleetClock, changed: (meter: string) => void) {
    this.clock = clock;
    this.changed = changed;
  }

  /** @throws S3mpError `rate.limited` when the meter has too many leases */
  acquire(request: LeaseRequest): Lease {
    const { meter, intervalMs } = request;
    const known = request.lease === undefined ? undefined : this.leases.get(request.lease);
    const ids = this.byMeter.get(meter) ?? new Set<string>();
    if (known?.meter !== meter && ids.size >= LEASES_PER_METER) {
      throw new S3mpError('rate.limited', `${meter} has ${LEASES_PER_METER} live subscriptions already`);
    }
    const stream = request.stream !== undefined && this.streams.has(request.stream) ? request.stream : null;
    const lease: Lease = {
      id: known?.meter === meter ? known.id : `lease-${randomUUID()}`,
      meter,
      intervalMs,
      stream,
      expiresAt: stream === null ? this.clock.steady() + LEASE_MS : Number.POSITIVE_INFINITY,
    };
    this.leases.set(lease.id, lease);
    this.byMeter.set(meter, ids.add(lease.id));
    this.changed(meter);
    return lease;
  }

  /** @returns whether there was such a lease */
  end(meter: string, id: string): boolean {
    const lease = this.leases.get(id);
    if (lease?.meter !== meter) return false;
    this.remove(lease);
    this.changed(meter);
    return true;
  }

  streamOpened(stream: string): void {
    this.streams.add(stream);
  }

  streamClosed(stream: string): void {
    this.streams.delete(stream);
    const expiresAt = this.clock.steady() + STREAM_GRACE_MS;
    for (const lease of this.leases.values()) {
      if (lease.stream === stream) this.leases.set(lease.id, { ...lease, stream: null, expiresAt });
    }
  }

  /** Ends what has expired. */
  expire(): void {
    const now = this.clock.steady();
    const meters = new Set<string>();
    for (const lease of this.leases.values()) {
      if (lease.expiresAt > now) continue;
      this.remove(lease);
      meters.add(lease.meter);
    }
    for (const meter of meters) this.changed(meter);
  }

  /** Shortest interval asked for, null without a lease. */
  intervalOf(meter: string): number | null {
    let shortest: number | null = null;
    for (const id of this.byMeter.get(meter) ?? []) {
      const { intervalMs } = this.leases.get(id)!;
      if (shortest === null || intervalMs < shortest) shortest = intervalMs;
    }
    return shortest;
  }

  /**
   * When a lease ends if nothing renews it.
   * @param wallMs  the wall clock now
   * @returns ms since the epoch
   */
  expiryOf(lease: Lease, wallMs: number): number {
    return wallMs + Math.min(LEASE_MS, lease.expiresAt - this.clock.steady());
  }

  viewersOf(meter: string): number {
    return this.byMeter.get(meter)?.size ?? 0;
  }

  private remove(lease: Lease): void {
    this.leases.delete(lease.id);
    const ids = this.byMeter.get(lease.meter);
    ids?.delete(lease.id);
    if (ids?.size === 0) this.byMeter.delete(lease.meter);
  }
}
