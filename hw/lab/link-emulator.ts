/**
 * Link emulator: stands between two UDP sockets and behaves like a line. Each link has two directions, each a FIFO with
 * delay, jitter, loss, rate and a bounded queue; a later packet never overtakes an earlier one. Losses come singly and in
 * bursts (Gilbert-Elliott: a good and a bad state, each packet may change it). A cut link swallows everything, also what is
 * still under way; a stalled one holds everything back for a while and loses nothing. All of it can be changed while
 * traffic flows, and a link can write a pcap.
 *
 *     border router A  <-UDP->  [ side a | queue a>b, queue b>a | side b ]  <-UDP->  border router B
 */

import { createSocket, type Socket } from 'node:dgram';
import { closeSync, openSync, writeSync } from 'node:fs';
import { ConfigError, S3mpError } from '#base/errors';
import { PCAP_HEADER_LENGTH, pcapHeader, pcapRecord, pcapRecordLength } from '#hw/lab/pcap';

export interface LineProfile {
  /** One-way delay, ms. */
  readonly delayMs: number;
  /** Added to the delay, uniform in [0, jitterMs]. */
  readonly jitterMs: number;
  /** Probability that a packet is lost, 0…1. */
  readonly loss: number;
  /** Bits per second; 0 is unlimited. */
  readonly rate: number;
  /** Probability that a packet begins a burst of losses, 0…1. */
  readonly burst: number;
  /** Mean length of a burst, packets. */
  readonly burstLength: number;
  /** Probability that a packet within a burst is lost. */
  readonly burstLoss: number;
}

/** A line without delay and loss. */
const WIRE: LineProfile = { delayMs: 0, jitterMs: 0, loss: 0, rate: 0, burst: 0, burstLength: 10, burstLoss: 1 };

/** Named lines. Figures: leased line and LTE of the lab's topology; a typical house's power line (HomePlug AV). */
export const PROFILES: Readonly<Record<string, LineProfile>> = {
  none: WIRE,
  leased: { ...WIRE, delayMs: 35, jitterMs: 0.5, rate: 10_000_000 },
  lte: { ...WIRE, delayMs: 25, jitterMs: 5, loss: 0.001, rate: 20_000_000 },
  powerline: { ...WIRE, delayMs: 3, jitterMs: 3, loss: 0.001, rate: 40_000_000, burst: 0.002, burstLength: 8 },
};

export interface UdpAddress {
  readonly host: string;
  readonly port: number;
}

export interface LinkSpec {
  readonly name: string;
  /** The emulator's own socket towards each end, and that end's socket. */
  readonly a: { readonly listen: UdpAddress; readonly peer: UdpAddress };
  readonly b: { readonly listen: UdpAddress; readonly peer: UdpAddress };
  readonly profile: LineProfile;
}

export interface DirectionCounters {
  received: number;
  forwarded: number;
  lost: number;
  swallowedByCut: number;
  overflowed: number;
  bytes: number;
}

export interface LinkStatus {
  readonly name: string;
  readonly cut: boolean;
  /** Time that a stall still lasts, ms. */
  readonly stalledMs: number;
  readonly profile: LineProfile;
  readonly ab: Readonly<DirectionCounters>;
  readonly ba: Readonly<DirectionCounters>;
}

const QUEUE_LIMIT = 512;

/** One direction: a FIFO of packets with their departure times. */
class Direction {
  readonly counters: DirectionCounters = {
    received: 0,
    forwarded: 0,
    lost: 0,
    swallowedByCut: 0,
    overflowed: 0,
    bytes: 0,
  };
  private readonly queue: { packet: Uint8Array; at: number }[] = [];
  private timer: NodeJS.Timeout | undefined;
  private lastDeparture = 0;
  private lineFreeAt = 0;
  private inBurst = false;
  private readonly link: Link;
  private readonly send: (packet: Uint8Array) => void;

  constructor(link: Link, send: (packet: Uint8Array) => void) {
    this.link = link;
    this.send = send;
  }

  accept(packet: Uint8Array): void {
    const { counters, link } = this;
    counters.received++;
    counters.bytes += packet.length;
    if (link.cut) {
      counters.swallowedByCut++;
      link.lostSince ??= performance.now();
      return;
    }
    const { delayMs, jitterMs, rate } = link.profile;
    if (this.isLost()) {
      counters.lost++;
      return;
    }
    const now = performance.now();
    if (delayMs === 0 && jitterMs === 0 && rate === 0 && this.queue.length === 0 && now >= link.stalledUntil) {
      this.depart(packet);
      return;
    }
    if (this.queue.length >= QUEUE_LIMIT) {
      counters.overflowed++;
      return;
    }
    const sentAt = Math.max(now, this.lineFreeAt) + (rate > 0 ? (packet.length * 8000) / rate : 0);
    this.lineFreeAt = sentAt;
    const at = Math.max(this.lastDeparture, sentAt + delayMs + (jitterMs > 0 ? link.random() * jitterMs : 0));
    this.lastDeparture = at;
    this.queue.push({ packet, at });
    this.timer ??= setTimeout(this.drain, this.waitMs(now));
  }

  /** Loss of one packet: alone, or by the state of the burst. */
  private isLost(): boolean {
    const { link } = this;
    const { loss, burst, burstLength, burstLoss } = link.profile;
    if (burst === 0) this.inBurst = false;
    else this.inBurst = this.inBurst ? link.random() >= 1 / Math.max(1, burstLength) : link.random() < burst;
    if (this.inBurst && link.random() < burstLoss) return true;
    return loss > 0 && link.random() < loss;
  }

  /** Until the first packet may leave. */
  private waitMs(now: number): number {
    return Math.max(0, Math.max(this.queue[0]!.at, this.link.stalledUntil) - now);
  }

  private readonly drain = (): void => {
    this.timer = undefined;
    const now = performance.now();
    const isStalled = this.link.stalledUntil > now;
    // Timers fire on whole milliseconds: what is due within half of one leaves now, so the mean delay is right.
    while (!isStalled && this.queue.length > 0 && this.queue[0]!.at <= now + 0.5)
      this.depart(this.queue.shift()!.packet);
    if (this.queue.length > 0) this.timer = setTimeout(this.drain, this.waitMs(now));
  };

  private depart(packet: Uint8Array): void {
    this.counters.forwarded++;
    this.send(packet);
  }

  /** Drops what is under way. */
  swallow(): void {
    if (this.queue.length > 0) this.link.lostSince ??= performance.now();
    this.counters.swallowedByCut += this.queue.length;
    this.queue.length = 0;
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}

class Link {
  readonly spec: LinkSpec;
  readonly random: () => number;
  profile: LineProfile;
  cut = false;
  /** When the present or last cut swallowed its first packet, steady ms. */
  lostSince: number | undefined;
  /** Nothing leaves before this time of the steady clock. */
  stalledUntil = 0;
  readonly ab: Direction;
  readonly ba: Direction;
  private pcap: number | undefined;
  private readonly sockets: { a: Socket; b: Socket };

  constructor(spec: LinkSpec, sockets: { a: Socket; b: Socket }, random: () => number) {
    this.spec = spec;
    this.profile = spec.profile;
    this.random = random;
    this.sockets = sockets;
    this.ab = new Direction(this, (p) => this.deliver(p, sockets.b, spec.a.peer, spec.b.peer));
    this.ba = new Direction(this, (p) => this.deliver(p, sockets.a, spec.b.peer, spec.a.peer));
    sockets.a.on('message', (packet, from) => this.arrived(packet, from, spec.a.peer, this.ab));
    sockets.b.on('message', (packet, from) => this.arrived(packet, from, spec.b.peer, this.ba));
  }

  private arrived(packet: Uint8Array, from: { address: string; port: number }, end: UdpAddress, to: Direction): void {
    if (from.port === end.port && from.address === end.host) to.accept(packet);
  }

  private deliver(packet: Uint8Array, socket: Socket, source: UdpAddress, destination: UdpAddress): void {
    if (this.pcap !== undefined) {
      const record = new Uint8Array(pcapRecordLength(packet.length));
      pcapRecord(record, 0, Date.now() * 1000, source, destination, packet);
      writeSync(this.pcap, record);
    }
    socket.send(packet, destination.port, destination.host, ignoreSendError);
  }

  setCut(cut: boolean): void {
    if (cut && !this.cut) this.lostSince = undefined;
    this.cut = cut;
    if (cut) {
      this.ab.swallow();
      this.ba.swallow();
    }
  }

  /** Starts a pcap of what the link delivers, with the ends' addresses; `undefined` stops it. */
  capture(file: string | undefined): void {
    if (this.pcap !== undefined) closeSync(this.pcap);
    this.pcap = undefined;
    if (file === undefined) return;
    this.pcap = openSync(file, 'w');
    const header = new Uint8Array(PCAP_HEADER_LENGTH);
    pcapHeader(header, 0);
    writeSync(this.pcap, header);
  }

  close(): void {
    this.setCut(true);
    this.capture(undefined);
    this.sockets.a.close();
    this.sockets.b.close();
  }
}

/** A far end that is not running answers with ICMP; a line does not care. */
function ignoreSendError(): void {}

export class LinkEmulator {
  private readonly links = new Map<string, Link>();
  private readonly random: () => number;

  /** @param random  uniform in [0, 1); seeded by the caller for repeatable loss and jitter */
  constructor(random: () => number) {
    this.random = random;
  }

  async add(spec: LinkSpec): Promise<void> {
    const a = await bind(spec.a.listen, spec.name);
    const b = await bind(spec.b.listen, spec.name);
    this.links.set(spec.name, new Link(spec, { a, b }, this.random));
  }

  get names(): string[] {
    return [...this.links.keys()];
  }

  private link(name: string): Link {
    const link = this.links.get(name);
    if (!link) throw new ConfigError('usage.invalid', `no link ${name}; links: ${this.names.join(', ')}`, { name });
    return link;
  }

  cut(name: string): void {
    this.link(name).setCut(true);
  }

  /** When the last cut of a link swallowed its first packet, by performance.now(); undefined while none was. */
  lostSince(name: string): number | undefined {
    return this.link(name).lostSince;
  }

  heal(name: string): void {
    this.link(name).setCut(false);
  }

  /** Holds back everything for a time, as a power line does that retrains; it arrives afterwards. */
  stall(name: string, ms: number): void {
    const link = this.link(name);
    link.stalledUntil = Math.max(link.stalledUntil, performance.now() + ms);
  }

  /** Changes the line; what is already under way keeps its departure time. */
  change(name: string, profile: Partial<LineProfile>): void {
    const link = this.link(name);
    link.profile = { ...link.profile, ...profile };
  }

  capture(name: string, file: string | undefined): void {
    this.link(name).capture(file);
  }

  status(): LinkStatus[] {
    return [...this.links.values()].map((l) => ({
      name: l.spec.name,
      cut: l.cut,
      stalledMs: Math.max(0, Math.round(l.stalledUntil - performance.now())),
      profile: l.profile,
      ab: { ...l.ab.counters },
      ba: { ...l.ba.counters },
    }));
  }

  close(): void {
    for (const link of this.links.values()) link.close();
    this.links.clear();
  }
}

function bind(address: UdpAddress, link: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 20, sendBufferSize: 1 << 20 });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      const code = error.code === 'EADDRINUSE' ? 'socket.in-use' : 'socket.failed';
      reject(
        new S3mpError(code, `link ${link}: cannot bind ${address.host}:${address.port}: ${error.message}`, {}, error),
      );
    });
    socket.bind(address.port, address.host, () => {
      socket.removeAllListeners('error');
      socket.on('error', ignoreSendError);
      resolve(socket);
    });
  });
}
