/**
 * The border router on real sockets: one internal socket for the hosts of the AS and its other routers, one per external
 * link. Each datagram is handled where it lies and sent on from the same buffer.
 *
 *   hosts, siblings  <-UDP->  internal socket  [ router ]  one socket per link  <-UDP->  neighbour routers
 */

import type { RemoteInfo } from 'node:dgram';
import type { Log } from '#hw/log';
import { UdpSocket } from '#hw/udp';
import { formatIp, formatIpPort, type IpPort } from '#scion/ip';
import { INTERNAL, NO_SIBLING, Router, type RouterResult } from '#scion/router';
import { ROUTER_REASON_NAMES, RouterAction, type RouterReasonName } from '#scion/router-types';
import type { Topology, TopologyInterface, TopologyRouter } from '#scion/topology';

export interface BorderRouterOptions {
  readonly topology: Topology;
  /** The router of the topology that this one is. */
  readonly router: TopologyRouter;
  /** Hop-field key of the AS, 16 bytes. */
  readonly hopKey: Uint8Array;
  readonly log: Log;
  /** Wall clock, ms. */
  readonly now?: () => number;
}

export interface BorderRouterStatus {
  readonly forwarded: number;
  readonly delivered: number;
  readonly toSiblings: number;
  readonly replied: number;
  readonly dropped: number;
  /** Datagrams on an external link that did not come from its neighbour. */
  readonly strangers: number;
  /** Packets per reason of being dropped or answered, without zeros. */
  readonly reasons: Readonly<Partial<Record<RouterReasonName, number>>>;
}

interface ExternalLink {
  readonly socket: UdpSocket;
  readonly remote: IpPort;
}

/** Texts of host addresses kept for sending; hosts of one AS are few, forged destinations may be many. */
const MAX_HOST_TEXTS = 4096;

export class BorderRouter {
  readonly router: Router;
  /** Where the hosts reach it, `ip:port`. */
  internalAddress = '';
  private readonly name: string;
  private readonly log: Log;
  private readonly now: () => number;
  private readonly external = new Map<number, ExternalLink>();
  private internal: UdpSocket | undefined;
  private readonly actions = new Float64Array(5);
  private strangers = 0;
  private readonly hostTexts = new Map<number, string>();

  private constructor(options: BorderRouterOptions) {
    this.router = new Router(options);
    this.name = options.router.name;
    this.log = options.log;
    this.now = options.now ?? Date.now;
  }

  /**
   * Opens all sockets and starts forwarding.
   * @throws S3mpError `socket.in-use` or `socket.failed`, naming the address
   */
  static async start(options: BorderRouterOptions): Promise<BorderRouter> {
    const started = new BorderRouter(options);
    try {
      await started.openInternal(options.router);
      for (const link of options.router.interfaces) await started.openExternal(link);
    } catch (error) {
      await started.close();
      throw error;
    }
    return started;
  }

  async close(): Promise<void> {
    await this.internal?.close();
    for (const { socket } of this.external.values()) await socket.close();
  }

  /** Marks an external link as working or not; packets for a link that does not work are answered with an SCMP error. */
  setLinkUp(id: number, up: boolean): void {
    this.router.links.setLinkUp(id, up);
  }

  status(): BorderRouterStatus {
    const reasons: Partial<Record<RouterReasonName, number>> = {};
    ROUTER_REASON_NAMES.forEach((name, reason) => {
      const count = this.router.counters[reason]!;
      if (count > 0 && name !== 'none') reasons[name] = count;
    });
    const { actions, strangers } = this;
    return {
      forwarded: actions[RouterAction.forward]!,
      delivered: actions[RouterAction.deliver]!,
      toSiblings: actions[RouterAction.sibling]!,
      replied: actions[RouterAction.reply]!,
      dropped: actions[RouterAction.drop]!,
      strangers,
      reasons,
    };
  }

  private async openInternal({ internal }: TopologyRouter): Promise<void> {
    this.internal = await UdpSocket.open({
      ...internal,
      onDatagram: (datagram, from) => this.fromInside(datagram, from),
      onError: (error) => this.log.warn('internal socket', { error: error.message }),
    });
    this.internalAddress = formatIpPort(this.internal.host, this.internal.port);
  }

  private async openExternal({ id, local, remote }: TopologyInterface): Promise<void> {
    const socket = await UdpSocket.open({
      ...local,
      family: remote.host.includes(':') ? 6 : 4,
      onDatagram: (datagram, from) => {
        if (from.port === remote.port && from.address === remote.host) this.fromLink(id, datagram, from);
        else this.strangers++;
      },
      onError: (error) => this.log.warn('link socket', { interface: id, error: error.message }),
    });
    this.external.set(id, { socket, remote });
  }

  private fromInside(datagram: Uint8Array, from: RemoteInfo): void {
    const { siblings } = this.router.links;
    let sibling = NO_SIBLING;
    for (let i = 0; i < siblings.length; i++) {
      const { host, port } = siblings[i]!.internal;
      if (from.port === port && from.address === host) sibling = i;
    }
    const result = this.router.process(datagram, datagram.length, INTERNAL, sibling, this.now());
    this.carryOut(result, datagram, INTERNAL, from);
  }

  private fromLink(id: number, datagram: Uint8Array, from: RemoteInfo): void {
    const result = this.router.process(datagram, datagram.length, id, NO_SIBLING, this.now());
    this.carryOut(result, datagram, id, from);
  }

  private carryOut(result: RouterResult, packet: Uint8Array, ingress: number, from: RemoteInfo): void {
    const { action, reason } = result;
    this.actions[action]!++;
    if (reason !== 0 && this.log.debugging) {
      this.log.debug('packet refused', {
        router: this.name,
        reason: ROUTER_REASON_NAMES[reason],
        interface: ingress,
        from: formatIpPort(from.address, from.port),
      });
    }
    switch (action) {
      case RouterAction.forward: {
        const { socket, remote } = this.external.get(result.egress)!;
        socket.send(packet, remote.host, remote.port);
        break;
      }
      case RouterAction.deliver: {
        const host = result.service?.host ?? this.hostText(packet, result.hostAt, result.hostLength);
        this.internal!.send(packet, host, result.port);
        break;
      }
      case RouterAction.sibling: {
        const { host, port } = this.router.links.siblings[result.sibling]!.internal;
        this.internal!.send(packet, host, port);
        break;
      }
      case RouterAction.reply:
        this.sendReply(ingress, from);
        break;
    }
  }

  private sendReply(ingress: number, from: RemoteInfo): void {
    // The reply buffer is used again for the next packet, perhaps before the system has taken this one.
    const { packet, length } = this.router.reply;
    const copy = packet.slice(0, length);
    if (ingress === INTERNAL) {
      if (from.port > 0) this.internal!.send(copy, from.address, from.port);
      return;
    }
    const { socket, remote } = this.external.get(ingress)!;
    socket.send(copy, remote.host, remote.port);
  }

  private hostText(packet: Uint8Array, at: number, length: number): string {
    if (length !== 4) return formatIp(packet, at, length);
    const key = (packet[at]! << 24) | (packet[at + 1]! << 16) | (packet[at + 2]! << 8) | packet[at + 3]!;
    const known = this.hostTexts.get(key);
    if (known !== undefined) return known;
    if (this.hostTexts.size >= MAX_HOST_TEXTS) this.hostTexts.clear();
    const text = formatIp(packet, at, length);
    this.hostTexts.set(key, text);
    return text;
  }
}
