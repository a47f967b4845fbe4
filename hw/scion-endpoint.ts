/**
 * A SCION UDP socket for one host that answers: datagrams to its port with replies on the reversed path, and echo requests.
 * Who also sends first, over paths that it looks up and chooses, needs `ScionSocket`.
 *
 *   const socket = await ScionEndpoint.open({ topology, hostIp: '10.0.0.1', port: 4059, log });
 *   socket.onDatagram = (payload, peer) => socket.reply(peer, answerTo(payload));
 *
 * One UDP port serves SCION and underlay. Echo requests arrive on port 30041, which is bound when it is free.
 */

import { randomInt } from 'node:crypto';
import type { RemoteInfo, Socket } from 'node:dgram';
import { messageOf, S3mpError } from '#base/errors';
import type { Log } from '#hw/log';
import { bindUdp } from '#hw/udp';
import { formatHost, parseHost } from '#scion/address';
import { EndHost, type HostEndpoint, type PeerRef } from '#scion/end-host';
import { type HostTopology, type PortRange, SHIM_PORT } from '#scion/host-topology';
import type { IpPort } from '#scion/ip';

export interface EndpointOptions {
  readonly topology: HostTopology;
  /** Address of this host in the AS, as routers reach it. */
  readonly hostIp: string;
  /** 0 or left out takes a free one that the AS dispatches. */
  readonly port?: number;
  /** Whether to serve echo requests on port 30041 of this address; on by default. */
  readonly shim?: boolean;
  readonly log: Log;
  /** Steady ms. */
  readonly now?: () => number;
}

/** Figures of a socket, counted since it was opened. */
export interface EndpointCounters {
  sent: number;
  received: number;
  ignored: number;
  echoesAnswered: number;
  sendErrors: number;
}

/** The UDP sockets of an endpoint. */
export interface BoundSockets {
  readonly socket: Socket;
  readonly shim: Socket | undefined;
}

/** Lower ports need rights. */
const FIRST_USER_PORT = 1024;
const PORT_TRIES = 32;

type Received = ReturnType<EndHost['receive']>;

export class ScionEndpoint {
  /** Called for each datagram to this port. The payload is valid during the call only, the peer beyond it. */
  onDatagram: (payload: Uint8Array, peer: PeerRef) => void = () => {};
  readonly counters: EndpointCounters = { sent: 0, received: 0, ignored: 0, echoesAnswered: 0, sendErrors: 0 };
  /** Steady clock of this socket, ms. */
  readonly now: () => number;
  protected readonly host: EndHost;
  protected readonly log: Log;
  protected closed = false;
  readonly #socket: Socket;
  readonly #shim: Socket | undefined;

  /**
   * Opens a socket on `hostIp:port`.
   * @throws S3mpError `socket.in-use`, `socket.failed`; ScionError `scion.address` when `hostIp` is no IP address
   */
  static async open(options: EndpointOptions): Promise<ScionEndpoint> {
    return new ScionEndpoint(options, await bindEndpoint(options));
  }

  protected constructor(options: EndpointOptions, { socket, shim }: BoundSockets, Host = EndHost) {
    this.#socket = socket;
    this.#shim = shim;
    this.log = options.log;
    this.now = options.now ?? (() => performance.now());
    const { port } = socket.address();
    this.host = new Host({ topology: options.topology, host: parseHost(options.hostIp), port });
    for (const each of this.#sockets) {
      // As a plain Uint8Array: `slice` of a Buffer would not copy.
      each.on('message', ({ buffer, byteOffset, length }, from) =>
        this.#receive(each, new Uint8Array(buffer, byteOffset, length), from),
      );
      each.on('error', (error) => this.log.warn('socket error', { error: error.message }));
    }
  }

  get #sockets(): Socket[] {
    return this.#shim === undefined ? [this.#socket] : [this.#socket, this.#shim];
  }

  /** This host as others address it. */
  get local(): HostEndpoint {
    return this.host.local;
  }

  /** Text of this host, `127.0.0.1`. */
  get hostText(): string {
    return formatHost(this.local.host);
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.all(this.#sockets.map((s) => new Promise<void>((resolve) => s.close(() => resolve())))).then(
      () => {},
    );
  }

  /** Answers a peer on the reversed path its datagram came on. */
  reply(peer: PeerRef, payload: Uint8Array): void {
    const packet = Buffer.allocUnsafe(this.host.datagramLength(peer, peer.path, payload));
    this.host.writeDatagram(packet, 0, peer, peer.path, payload, this.now());
    this.transmit(packet, peer.nextHop);
  }

  protected transmit(packet: Uint8Array, to: IpPort): void {
    if (this.closed) return;
    this.counters.sent++;
    this.#socket.send(packet, 0, packet.length, to.port, to.host, (error) => {
      if (error === null || this.closed) return;
      this.counters.sendErrors++;
      this.log.debug('not sent', { to: `${to.host}:${to.port}`, error: error.message });
    });
  }

  #receive(socket: Socket, packet: Uint8Array, from: RemoteInfo): void {
    this.counters.received++;
    const now = this.now();
    const received = this.host.receive(packet, { host: from.address, port: from.port }, now);
    if (received.kind === 'datagram') {
      try {
        this.onDatagram(received.payload, received.peer);
      } catch (error) {
        this.log.error('datagram handler failed', { error: messageOf(error) });
      }
    } else if (received.kind === 'echo-request') this.#answerEcho(socket, packet, from);
    else this.receiveOther(received, now);
  }

  /** Takes what answers something that this host has sent; an endpoint that only answers has sent nothing. */
  protected receiveOther(_received: Received, _now: number): void {
    this.counters.ignored++;
  }

  #answerEcho(socket: Socket, packet: Uint8Array, from: RemoteInfo): void {
    const out = Buffer.allocUnsafe(this.host.echoReplyLength(packet));
    if (this.host.writeEchoReply(out, 0, packet) < 0) return;
    this.counters.echoesAnswered++;
    socket.send(out, from.port, from.address, () => {});
  }
}

/** Opens the UDP sockets of an endpoint. @throws S3mpError `socket.in-use`, `socket.failed`; ScionError `scion.address` */
export async function bindEndpoint(options: EndpointOptions): Promise<BoundSockets> {
  parseHost(options.hostIp);
  const { hostIp, port = 0, topology } = options;
  const socket = await bindDispatched(hostIp, port, topology.dispatchedPorts).catch((error: S3mpError) => {
    if ((error.cause as NodeJS.ErrnoException)?.code === 'EADDRNOTAVAIL')
      error.message += '; scion.address must be one of its own (ip -br address), and the network up';
    throw error;
  });
  if (options.shim === false || socket.address().port === SHIM_PORT) return { socket, shim: undefined };
  try {
    return { socket, shim: await bindUdp(options.hostIp, SHIM_PORT) };
  } catch (error) {
    options.log.info('echo requests are left to another program', { why: messageOf(error) });
    return { socket, shim: undefined };
  }
}

/** Takes the port, or with 0 a free one to which the routers of the AS deliver; other ports get nothing from outside. */
export async function bindDispatched(host: string, port: number, range: PortRange | undefined): Promise<Socket> {
  if (port !== 0 || range === undefined || range.min > range.max) return bindUdp(host, port);
  const from = Math.max(range.min, FIRST_USER_PORT);
  if (from > range.max) return bindUdp(host, port);
  for (let tries = 1; ; tries++) {
    try {
      return await bindUdp(host, randomInt(from, range.max + 1));
    } catch (error) {
      if (tries === PORT_TRIES || !(error instanceof S3mpError && error.code === 'socket.in-use')) throw error;
    }
  }
}
