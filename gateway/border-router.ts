/**
 * The border router on real sockets: an internal socket for the hosts of the AS and its other routers (two where hosts of
 * both IP families live in the AS), and one socket per external link. Each datagram is handled where it lies and sent on
 * from the same buffer.
 *
 *   hosts, siblings  <-UDP->  internal sockets  [ router, BFD ]  one socket per link  <-UDP->  neighbour routers
 *
 * Fairness: every socket has its own queue in the kernel, and the event loop takes at most 32 datagrams from one socket
 * before it turns to the next, so a flooded link fills its own queue and leaves the others their share. Nothing is queued
 * here in between, so nothing can be overtaken or copied.
 */

import type { RemoteInfo } from 'node:dgram';
import { S3mpError } from '#base/errors';
import type { Log } from '#hw/log';
import { UdpSocket } from '#hw/udp';
import type { ErrorBudgetOptions } from '#scion/error-budget';
import type { PortRange } from '#scion/host-topology';
import { formatIp, formatIpPort, type IpPort, parseIp } from '#scion/ip';
import { formatIsdAs } from '#scion/isd-as';
import { INTERNAL, NO_SIBLING, Router, type RouterResult } from '#scion/router';
import type { BfdLink } from '#scion/router-bfd';
import { ROUTER_ACTION_COUNT, ROUTER_REASON_NAMES, RouterAction, type RouterReasonName } from '#scion/router-types';
import { MAX_STUN_RESPONSE, writeStunResponse } from '#scion/stun';
import type { Topology, TopologyInterface, TopologyRouter } from '#scion/topology';
import { BfdRunner, steadyMs } from './bfd-runner.ts';
import {
  bfdReason,
  bfdReport,
  LinkCounters,
  type LinkReport,
  NOT_WATCHED,
  TAKEN_DOWN,
  trafficReport,
} from './link-report.ts';

export interface BorderRouterOptions {
  readonly topology: Topology;
  /** The router of the topology that this one is. */
  readonly router: TopologyRouter;
  /** Hop-field key of the AS, 16 bytes. */
  readonly hopKey: Uint8Array;
  readonly log: Log;
  /** Wall clock, ms. */
  readonly now?: () => number;
  /** Watch links and siblings with BFD, where the topology does not disable it; true when left out. */
  readonly bfd?: boolean;
  /** UDP ports that hosts read themselves; what the topology says when left out. */
  readonly dispatchedPorts?: PortRange;
  readonly errorBudget?: ErrorBudgetOptions;
  /** A second internal socket, for hosts of the other IP family. */
  readonly secondInternal?: IpPort;
}

export interface BorderRouterStatus {
  readonly forwarded: number;
  readonly delivered: number;
  readonly toSiblings: number;
  readonly replied: number;
  readonly dropped: number;
  /** Datagrams on an external link that did not come from its neighbour. */
  readonly strangers: number;
  /** Packets for hosts of an IP family for which there is no internal socket. */
  readonly unreachableFamily: number;
  /** SCMP errors that were not sent because a link caused too many. */
  readonly suppressedErrors: number;
  /** Packets per reason of being dropped or answered, without zeros. */
  readonly reasons: Readonly<Partial<Record<RouterReasonName, number>>>;
}

interface ExternalLink {
  readonly link: TopologyInterface;
  readonly socket: UdpSocket;
  readonly remote: IpPort;
  readonly counters: LinkCounters;
  bfd: BfdLink | undefined;
}

/** Texts of host addresses kept for sending; hosts of one AS are few, forged destinations may be many. */
const MAX_HOST_TEXTS = 4096;

export class BorderRouter {
  readonly router: Router;
  /** Where the hosts reach it, `ip:port`. */
  internalAddress = '';
  /** Of the internal sockets together. */
  readonly internalCounters = new LinkCounters();
  readonly own: TopologyRouter;
  readonly topology: Topology;
  private readonly name: string;
  private readonly log: Log;
  private readonly now: () => number;
  private readonly external = new Map<number, ExternalLink>();
  private internal4: UdpSocket | undefined;
  private internal6: UdpSocket | undefined;
  private readonly bfd: BfdRunner | undefined;
  private readonly siblingBfd: BfdLink[] = [];
  private readonly actions = new Float64Array(ROUTER_ACTION_COUNT);
  private strangers = 0;
  private unreachableFamily = 0;
  private readonly hostTexts = new Map<number, string>();
  private readonly stun = new Uint8Array(MAX_STUN_RESPONSE);

  private constructor(options: BorderRouterOptions) {
    this.router = new Router(options);
    this.own = options.router;
    this.topology = options.topology;
    this.name = options.router.name;
    this.log = options.log;
    this.now = options.now ?? Date.now;
    if (options.bfd !== false) this.bfd = new BfdRunner({ ...options, now: this.now });
  }

  /**
   * Opens all sockets and starts forwarding.
   * @throws S3mpError `socket.in-use` or `socket.failed`, naming the address; `config.invalid` when both internal
   * addresses are of one IP family
   */
  static async start(options: BorderRouterOptions): Promise<BorderRouter> {
    const started = new BorderRouter(options);
    try {
      started.internalAddress = await started.openInternal(options.router.internal);
      if (options.secondInternal !== undefined) await started.openInternal(options.secondInternal);
      for (const link of options.router.interfaces) await started.openExternal(link);
      started.watchSiblings();
    } catch (error) {
      await started.close();
      throw error;
    }
    return started;
  }

  async close(): Promise<void> {
    this.bfd?.close();
    await this.internal4?.close();
    await this.internal6?.close();
    for (const { socket } of this.external.values()) await socket.close();
  }

  /** Marks an external link as working or not; packets for a link that does not work are answered with an SCMP error. */
  setLinkUp(id: number, up: boolean): void {
    this.router.links.setLinkUp(id, up);
  }

  status(): BorderRouterStatus {
    const { actions, strangers, unreachableFamily } = this;
    const reasons: Partial<Record<RouterReasonName, number>> = {};
    ROUTER_REASON_NAMES.forEach((name, reason) => {
      const count = this.router.counters[reason]!;
      if (count > 0 && name !== 'none') reasons[name] = count;
    });
    return {
      forwarded: actions[RouterAction.forward]!,
      delivered: actions[RouterAction.deliver]!,
      toSiblings: actions[RouterAction.sibling]!,
      replied: actions[RouterAction.reply]!,
      dropped: actions[RouterAction.drop]!,
      strangers,
      unreachableFamily,
      suppressedErrors: this.router.errorBudget.suppressed,
      reasons,
    };
  }

  /** Every external link and sibling with its state and the reason for it. */
  links(): LinkReport[] {
    const { links } = this.router;
    const nowMs = steadyMs();
    const watched = (bfd: BfdLink | undefined, up: boolean) =>
      bfd === undefined
        ? { up, why: up ? NOT_WATCHED : TAKEN_DOWN, forMs: null, bfd: null }
        : {
            up,
            why: bfdReason(bfd.session.info, nowMs),
            forMs: Math.round(nowMs - bfd.session.info.sinceMs),
            bfd: bfdReport(bfd.session.info, nowMs),
          };
    const external = [...this.external.values()].map(
      ({ link, socket, remote, counters, bfd }): LinkReport => ({
        kind: 'external',
        id: link.id,
        neighbour: formatIsdAs(link.neighbour),
        role: link.linkTo,
        local: formatIpPort(socket.host, socket.port),
        remote: formatIpPort(remote.host, remote.port),
        ...watched(bfd, links.isUp(link.id)),
        traffic: trafficReport(counters),
      }),
    );
    const siblings = links.siblings.map(
      ({ name, internal }, i): LinkReport => ({
        kind: 'sibling',
        id: name,
        neighbour: this.topology.isdAs,
        role: '',
        local: this.internalAddress,
        remote: formatIpPort(internal.host, internal.port),
        ...watched(this.siblingBfd[i], links.isSiblingUp(i)),
        traffic: null,
      }),
    );
    return [...external, ...siblings];
  }

  private async openInternal(address: IpPort): Promise<string> {
    const isV6 = address.host.includes(':');
    if ((isV6 ? this.internal6 : this.internal4) !== undefined) {
      const text = formatIpPort(address.host, address.port);
      throw new S3mpError('config.invalid', `second internal address ${text}: expected one of the other IP family`);
    }
    const opened = await UdpSocket.open({
      ...address,
      onDatagram: (datagram, from) => this.fromInside(datagram, from),
      onError: (error) => this.log.warn('internal socket', { error: error.message }),
    });
    if (isV6) this.internal6 = opened;
    else this.internal4 = opened;
    return formatIpPort(opened.host, opened.port);
  }

  private async openExternal(link: TopologyInterface): Promise<void> {
    const { id, local, remote } = link;
    const counters = new LinkCounters();
    const socket = await UdpSocket.open({
      ...local,
      family: remote.host.includes(':') ? 6 : 4,
      onDatagram: (datagram, from) => {
        if (from.port === remote.port && from.address === remote.host) this.fromLink(opened, datagram, from);
        else this.strangers++;
      },
      onError: (error) => this.log.warn('link socket', { interface: id, error: error.message }),
    });
    const opened: ExternalLink = { link, socket, remote, counters, bfd: undefined };
    this.external.set(id, opened);
    if (this.bfd === undefined || link.bfd.disable) return;
    this.setLinkUp(id, false);
    const bfd = this.bfd.external(link, socket.host);
    opened.bfd = bfd;
    this.bfd.watch({
      bfd,
      send: (packet) => {
        counters.sent(packet.length);
        socket.send(packet, remote.host, remote.port);
      },
      changed: (up) => {
        this.setLinkUp(id, up);
        this.tell(bfd, up, { interface: id, neighbour: formatIsdAs(link.neighbour) });
      },
    });
  }

  private watchSiblings(): void {
    if (this.bfd === undefined) return;
    const { links } = this.router;
    links.siblings.forEach((sibling, i) => {
      const { host, port } = sibling.internal;
      links.setSiblingUp(i, false);
      const bfd = this.bfd!.sibling(this.own, sibling);
      this.siblingBfd.push(bfd);
      this.bfd!.watch({
        bfd,
        send: (packet) => this.sendInside(packet, host, port),
        changed: (up) => {
          links.setSiblingUp(i, up);
          this.tell(bfd, up, { sibling: sibling.name });
        },
      });
    });
  }

  private tell(bfd: BfdLink, up: boolean, fields: Readonly<Record<string, string | number>>): void {
    if (up) this.log.info('link up', { router: this.name, ...fields });
    else this.log.warn('link down', { router: this.name, ...fields, why: bfdReason(bfd.session.info, steadyMs()) });
  }

  private fromInside(datagram: Uint8Array, from: RemoteInfo): void {
    const { siblings } = this.router.links;
    let sibling = NO_SIBLING;
    for (let i = 0; i < siblings.length; i++) {
      const { host, port } = siblings[i]!.internal;
      if (from.port === port && from.address === host) sibling = i;
    }
    this.internalCounters.received(datagram.length);
    const result = this.router.process(datagram, datagram.length, INTERNAL, sibling, this.now());
    this.internalCounters.reasons[result.reason]!++;
    this.carryOut(result, datagram, undefined, from);
  }

  private fromLink(link: ExternalLink, datagram: Uint8Array, from: RemoteInfo): void {
    link.counters.received(datagram.length);
    const result = this.router.process(datagram, datagram.length, link.link.id, NO_SIBLING, this.now());
    link.counters.reasons[result.reason]!++;
    this.carryOut(result, datagram, link, from);
  }

  /** @param ingress  undefined for a packet from inside */
  private carryOut(
    result: RouterResult,
    packet: Uint8Array,
    ingress: ExternalLink | undefined,
    from: RemoteInfo,
  ): void {
    const { action, reason } = result;
    this.actions[action]!++;
    if (reason !== 0 && this.log.debugging) {
      this.log.debug('packet refused', {
        router: this.name,
        reason: ROUTER_REASON_NAMES[reason],
        interface: ingress?.link.id ?? 0,
        from: formatIpPort(from.address, from.port),
      });
    }
    switch (action) {
      case RouterAction.forward:
        this.sendOut(this.external.get(result.egress)!, packet);
        break;
      case RouterAction.deliver: {
        const host = result.service?.host ?? this.hostText(packet, result.hostAt, result.hostLength);
        this.sendInside(packet, host, result.port);
        break;
      }
      case RouterAction.sibling: {
        const { host, port } = this.router.links.siblings[result.sibling]!.internal;
        this.sendInside(packet, host, port);
        break;
      }
      case RouterAction.reply: {
        // The reply buffer is used again for the next packet, perhaps before the system has taken this one.
        const copy = this.router.reply.packet.slice(0, this.router.reply.length);
        if (ingress !== undefined) this.sendOut(ingress, copy);
        else if (from.port > 0) this.sendInside(copy, from.address, from.port);
        break;
      }
      case RouterAction.bfd: {
        const bfd = ingress === undefined ? this.siblingBfd[result.sibling] : ingress.bfd;
        if (bfd !== undefined) this.bfd!.receive(bfd, packet, result.bfdAt, result.bfdEnd);
        break;
      }
      case RouterAction.stun:
        this.answerStun(packet, from);
        break;
    }
  }

  private answerStun(request: Uint8Array, from: RemoteInfo): void {
    // A zone is of no use to anyone else.
    const host = parseIp(from.address.split('%')[0]!);
    if (host === undefined || from.port === 0) return;
    const end = writeStunResponse(this.stun, 0, request, 0, host, from.port);
    this.sendInside(this.stun.slice(0, end), from.address, from.port);
  }

  private sendOut({ counters, socket, remote }: ExternalLink, packet: Uint8Array): void {
    counters.sent(packet.length);
    socket.send(packet, remote.host, remote.port);
  }

  /** Sends from the internal socket of the host's IP family. */
  private sendInside(packet: Uint8Array, host: string, port: number): void {
    const socket = host.includes(':') ? this.internal6 : this.internal4;
    if (socket === undefined) {
      this.unreachableFamily++;
      return;
    }
    this.internalCounters.sent(packet.length);
    socket.send(packet, host, port);
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
