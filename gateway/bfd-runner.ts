/**
 * Runs the BFD sessions of a border router: one timer for all, a steady clock, and the state of the links as the outcome.
 *
 * The timer only wakes the judgement, which runs after the sockets were read in the same turn: packets that arrived while
 * the process was busy or suspended count before anyone is declared down.
 */

import { randomInt } from 'node:crypto';
import { type BfdLink, externalBfd, siblingBfd } from '#scion/router-bfd';
import type { Topology, TopologyInterface, TopologyRouter } from '#scion/topology';

export interface BfdRunnerOptions {
  readonly topology: Topology;
  readonly hopKey: Uint8Array;
  /** Wall clock, ms. */
  readonly now: () => number;
}

/** A session in the runner. */
export interface Watched {
  readonly bfd: BfdLink;
  /** Sends the bytes of a BFD packet; they are used again for the next one. */
  send(packet: Uint8Array): void;
  /** The session went up or down. */
  changed(up: boolean): void;
}

interface Entry extends Watched {
  wasUp: boolean;
}

/** Milliseconds that only grow. */
export const steadyMs = (): number => performance.now();

export class BfdRunner {
  private readonly options: BfdRunnerOptions;
  private readonly entries: Entry[] = [];
  private timer: NodeJS.Timeout | undefined;
  private armedForMs = Number.POSITIVE_INFINITY;
  private closed = false;

  constructor(options: BfdRunnerOptions) {
    this.options = options;
  }

  /** Makes the session of an external link. @param localHost  IP address of our socket */
  external(link: TopologyInterface, localHost: string): BfdLink {
    return externalBfd(link, localHost, this.linkOptions());
  }

  sibling(own: TopologyRouter, sibling: TopologyRouter): BfdLink {
    return siblingBfd(own, sibling, this.linkOptions());
  }

  private linkOptions() {
    const { topology, hopKey } = this.options;
    return {
      topology,
      hopKey,
      discriminator: randomInt(1, 2 ** 32),
      nowMs: steadyMs(),
      random: Math.random,
    };
  }

  /** Starts a session; its link is down until it is up. */
  watch(watched: Watched): void {
    this.entries.push({ ...watched, wasUp: false });
    this.arm();
  }

  /** A control packet came by the link of this session. */
  receive(bfd: BfdLink, packet: Uint8Array, at: number, end: number): void {
    bfd.session.receive(packet, at, end, steadyMs());
    this.tell();
    this.arm();
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
  }

  private tell(): void {
    for (const entry of this.entries) {
      const up = entry.bfd.session.isUp;
      if (up === entry.wasUp) continue;
      entry.wasUp = up;
      entry.changed(up);
    }
  }

  private arm(): void {
    let next = Number.POSITIVE_INFINITY;
    for (const { bfd } of this.entries) next = Math.min(next, bfd.session.nextDeadline());
    // A timer that fires too early costs a look; one for each packet received would cost more.
    if (this.closed || next >= this.armedForMs) return;
    clearTimeout(this.timer);
    this.armedForMs = next;
    this.timer = setTimeout(() => setImmediate(() => this.poll()), Math.max(0, next - steadyMs()));
  }

  private poll(): void {
    this.armedForMs = Number.POSITIVE_INFINITY;
    if (this.closed) return;
    const nowMs = steadyMs();
    for (const { bfd, send } of this.entries) {
      if (!bfd.session.poll(nowMs)) continue;
      bfd.write(this.options.now());
      send(bfd.packet);
    }
    this.tell();
    this.arm();
  }
}
