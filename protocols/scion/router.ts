/**
 * Border router as a state machine without I/O (draft-dekater-scion-dataplane §4, scionproto router/dataplane.go): takes
 * one packet in a buffer, changes it in place and says what to do with it. Nothing is allocated per packet; the result
 * object, the counters and the buffer for SCMP replies are reused.
 *
 * The steps are those of the official router, with two differences: the accumulator is brought up to date before the
 * first check, so that an SCMP error about any of them finds its way back, and a packet with a router alert that is no
 * traceroute request travels on. BFD and STUN packets are recognised; sessions and sockets belong to the caller.
 */

import { readU32, writeU16, writeU64 } from '#base/bytes';
import { HostType, SERVICE_MULTICAST, Service } from '#scion/address';
import { EPIC_LHVF_AT, EPIC_PHVF_AT, EpicMac, epicSentUs, isEpicFresh } from '#scion/epic';
import { DEFAULT_ERROR_BUDGET, ErrorBudget, type ErrorBudgetOptions } from '#scion/error-budget';
import { NextHeader, PathType } from '#scion/header';
import { HopMac } from '#scion/hop-mac';
import type { NamedAddress, PortRange } from '#scion/host-topology';
import {
  consEgressOf,
  egressAlertBit,
  expTimeOf,
  hopExpiryMs,
  hopMacAt,
  ingressAlertBit,
  isConsDir,
  isPeer,
  segIdOf,
  timestampOf,
  travelEgress,
  travelIngress,
  updateSegId,
} from '#scion/info-hop';
import { isMappedIpv4, isUnspecifiedIp, parseIp } from '#scion/ip';
import { deliveryPort } from '#scion/local-delivery';
import { firstHopAt, secondHopAt } from '#scion/onehop';
import { dstIaAt, equalsIsdAs, isPayloadComplete, PacketView, ParseFault, parsePacket, srcIaAt } from '#scion/packet';
import {
  checkPosition,
  currHfOf,
  currInfOf,
  hopAt,
  incPath,
  infOf,
  infoAt,
  isFirstHop,
  isFirstHopAfterXover,
  isLastHop,
  isPeeringHop,
  isPeeringShape,
  isPenultimateHop,
  isXover,
  metaWord,
  numInfOf,
  segLenOf,
} from '#scion/path';
import { LinkKind, mayPass, maySwitchSegment, RouterLinks } from '#scion/router-links';
import { isUniqueSource, leave, RouterReply } from '#scion/router-reply';
import { ROUTER_REASON_NAMES, RouterAction, RouterReason } from '#scion/router-types';
import { isScmpErrorPacket, ProblemCode, ScmpType, TRACEROUTE_LENGTH, UnreachableCode } from '#scion/scmp';
import { isStunRequest } from '#scion/stun';
import type { Topology, TopologyRouter } from '#scion/topology';

/** What to do with a packet; reused, valid until the next call of `process`. */
export class RouterResult {
  /** One of `RouterAction`. */
  action: number = RouterAction.drop;
  /** One of `RouterReason`: why it was dropped or answered. */
  reason: number = RouterReason.none;
  /** `forward`: external interface. */
  egress = 0;
  /** `sibling`: index into `router.links.siblings`. */
  sibling = 0;
  /** `deliver` to an IP address: where its 4 or 16 bytes lie in the packet. */
  hostAt = 0;
  hostLength = 0;
  /** `bfd`: where the control packet lies. */
  bfdAt = 0;
  bfdEnd = 0;
  /** `deliver`: underlay UDP port. */
  port = 0;
  /** `deliver` to a service: its address; undefined for an IP address. */
  service: NamedAddress | undefined = undefined;
}

export interface RouterOptions {
  readonly topology: Topology;
  /** The router of the topology that this one is. */
  readonly router: TopologyRouter;
  /** Hop-field key of the AS, 16 bytes (`deriveHopKey`). */
  readonly hopKey: Uint8Array;
  /** UDP ports that hosts read themselves; what the topology says when left out. */
  readonly dispatchedPorts?: PortRange;
  readonly errorBudget?: ErrorBudgetOptions;
}

/** Ingress of packets that come from inside the AS. */
export const INTERNAL = 0;
/** `sibling` of packets that come from a host. */
export const NO_SIBLING = -1;

/** Continue with the next step. */
const GO_ON = -1;

export class Router {
  readonly links: RouterLinks;
  readonly result = new RouterResult();
  /** Packets per `RouterReason`; index 0 counts those that went their way. */
  readonly counters = new Float64Array(ROUTER_REASON_NAMES.length);
  /** Holds the packet to send when the action is `reply`. */
  readonly reply: RouterReply;
  private readonly topology: Topology;
  private readonly iaHigh: number;
  private readonly iaLow: number;
  private readonly internalHost: Uint8Array;
  private readonly internalPort: number;
  /** Limits the SCMP errors. */
  readonly errorBudget: ErrorBudget;
  private readonly dispatchedPorts: PortRange | undefined;
  private readonly mac: HopMac;
  private readonly epicMac = new EpicMac();
  private readonly authenticator = new Uint8Array(16);
  private readonly view = new PacketView();
  private readonly scratch = new PacketView();
  private nextService = 0;

  // The packet under way.
  private buf: Uint8Array = new Uint8Array(0);
  private nowMs = 0;
  private ingress = 0;
  private fromSibling = NO_SIBLING;
  private word = 0;
  private info = 0;
  private hop = 0;
  private peering = false;
  private switched = false;
  private srcLocal = false;
  private dstLocal = false;

  constructor({ topology, router, hopKey, dispatchedPorts, errorBudget }: RouterOptions) {
    this.topology = topology;
    this.links = new RouterLinks(topology, router);
    const ia = new Uint8Array(8);
    writeU64(ia, 0, topology.ia);
    this.iaHigh = readU32(ia, 0);
    this.iaLow = readU32(ia, 4);
    this.internalHost = parseIp(router.internal.host)!;
    this.internalPort = router.internal.port;
    this.reply = new RouterReply(this.iaHigh, this.iaLow, this.internalHost);
    this.mac = new HopMac(hopKey);
    this.dispatchedPorts = dispatchedPorts ?? topology.dispatchedPorts;
    const links = [INTERNAL, ...router.interfaces.map(({ id }) => id)];
    this.errorBudget = new ErrorBudget(errorBudget ?? DEFAULT_ERROR_BUDGET, links);
  }

  /**
   * Handles the packet `buf[0, length)` and changes it in place as needed.
   * @param ingress  external interface it arrived on, or `INTERNAL`
   * @param sibling  with `INTERNAL`: index of the sibling router that sent it, or `NO_SIBLING` for a host
   * @param nowMs  wall clock, ms since the epoch
   */
  process(buf: Uint8Array, length: number, ingress: number, sibling: number, nowMs: number): RouterResult {
    const { result } = this;
    this.buf = buf;
    this.nowMs = nowMs;
    this.ingress = ingress;
    this.fromSibling = sibling;
    result.service = undefined;
    const fault = parsePacket(buf, 0, length, this.view);
    const reason = fault === ParseFault.none ? this.dispatch() : this.unreadable(fault, length);
    result.reason = reason;
    this.counters[reason]!++;
    return result;
  }

  private dispatch(): number {
    switch (this.view.pathType) {
      case PathType.scion:
        return this.scion();
      case PathType.empty:
        return this.isBfd() && this.fromSibling >= 0 ? this.toBfd() : this.drop(RouterReason.emptyPath);
      case PathType.oneHop:
        return this.isBfd() && this.ingress !== INTERNAL ? this.toBfd() : this.oneHop();
      default:
        return this.epic();
    }
  }

  /** What cannot be a SCION packet may be a host that asks for its address. */
  private unreadable(fault: number, length: number): number {
    if (this.ingress !== INTERNAL || !isStunRequest(this.buf, 0, length)) return this.drop(fault);
    this.result.action = RouterAction.stun;
    return RouterReason.none;
  }

  private isBfd(): boolean {
    return this.view.l4Protocol === NextHeader.bfd;
  }

  private toBfd(): number {
    const { result, view } = this;
    result.action = RouterAction.bfd;
    result.sibling = this.fromSibling;
    result.bfdAt = view.l4At;
    result.bfdEnd = view.l4End;
    return RouterReason.none;
  }

  /** One-hop packets carry beacons between neighbours; what is wrong with them is dropped without an answer. */
  private oneHop(): number {
    const { buf, view, ingress, links } = this;
    const info = view.pathAt;
    const first = firstHopAt(info);
    if (!isConsDir(buf, info)) return this.drop(RouterReason.oneHopPath);
    if (ingress !== INTERNAL) return this.oneHopArrives(info, first);
    const egress = consEgressOf(buf, first);
    const isOurs = equalsIsdAs(buf, srcIaAt(view), this.iaHigh, this.iaLow);
    if (!isOurs || !links.isNeighbour(egress, buf, dstIaAt(view)) || !this.mac.verify(buf, info, first)) {
      return this.drop(RouterReason.oneHopPath);
    }
    const sibling = links.siblingOf(egress);
    if (sibling >= 0) {
      // Handed over as it is: the owner of the interface verifies the same bytes again.
      if (this.fromSibling >= 0) return this.drop(RouterReason.oneHopPath);
      this.result.action = RouterAction.sibling;
      this.result.sibling = sibling;
      return RouterReason.none;
    }
    updateSegId(buf, info, first);
    this.result.action = RouterAction.forward;
    this.result.egress = egress;
    return RouterReason.none;
  }

  /** Fills in the second hop field, which makes the path one that can be answered. */
  private oneHopArrives(info: number, first: number): number {
    const { buf, view, ingress } = this;
    const isForUs = equalsIsdAs(buf, dstIaAt(view), this.iaHigh, this.iaLow);
    if (!isForUs || !this.links.isNeighbour(ingress, buf, srcIaAt(view))) return this.drop(RouterReason.oneHopPath);
    const second = secondHopAt(info);
    const expTime = expTimeOf(buf, first);
    buf[second] = 0;
    buf[second + 1] = expTime;
    writeU16(buf, writeU16(buf, second + 2, ingress), 0);
    this.mac.compute(buf, hopMacAt(second), segIdOf(buf, info), timestampOf(buf, info), expTime, ingress, 0);
    return this.deliver();
  }

  /** The steps of a SCION path; the routers of the last two ASes also check the sender's codes. */
  private epic(): number {
    const { buf, view } = this;
    const word = metaWord(buf, view.metaAt);
    const reason = this.scion();
    const last = isLastHop(word);
    if (reason !== RouterReason.none || !(last || isPenultimateHop(word))) return reason;
    const sentUs = epicSentUs(timestampOf(buf, infoAt(view.metaAt, 0)), readU32(buf, view.pathAt));
    if (!isEpicFresh(sentUs, this.nowMs)) return this.drop(RouterReason.epicStale);
    this.mac.writeLast(this.authenticator, 0);
    const code = view.pathAt + (last ? EPIC_LHVF_AT : EPIC_PHVF_AT);
    return this.epicMac.verify(buf, view, this.authenticator, 0, code) ? reason : this.drop(RouterReason.epicCode);
  }

  /** The official steps in their order; each returns a reason that ends the packet, or GO_ON. */
  private scion(): number {
    let reason = this.load();
    if (reason !== GO_ON) return this.drop(reason);
    this.updateAtIngress();
    reason = this.checkExpiry();
    if (reason === GO_ON) reason = this.checkIngress();
    if (reason === GO_ON) reason = this.checkAddresses();
    if (reason === GO_ON) reason = this.checkMac();
    if (reason === GO_ON) reason = this.alertAtIngress();
    if (reason !== GO_ON) return reason;
    if (this.dstLocal) return this.deliver();
    if (!this.peering && isXover(this.word)) reason = this.switchSegment();
    return reason === GO_ON ? this.leaveAs() : reason;
  }

  /** Finds the current hop and info field and looks whether the path can be what it says. */
  private load(): number {
    const { buf, view } = this;
    const word = metaWord(buf, view.metaAt);
    if (!checkPosition(word)) return RouterReason.position;
    this.position(word);
    const peer = isPeer(buf, this.info);
    if (!peer && hasSingleHopSegment(word)) return RouterReason.position;
    if (peer && !isPeeringShape(word)) return RouterReason.peeringShape;
    this.peering = peer && isPeeringHop(word);
    this.switched = false;
    this.srcLocal = equalsIsdAs(buf, srcIaAt(view), this.iaHigh, this.iaLow);
    this.dstLocal = equalsIsdAs(buf, dstIaAt(view), this.iaHigh, this.iaLow);
    return GO_ON;
  }

  private position(word: number): void {
    const { metaAt } = this.view;
    this.word = word;
    this.info = infoAt(metaAt, currInfOf(word));
    this.hop = hopAt(metaAt, numInfOf(word), currHfOf(word));
  }

  private updateAtIngress(): void {
    if (this.ingress !== INTERNAL && !this.peering && !isConsDir(this.buf, this.info)) {
      updateSegId(this.buf, this.info, this.hop);
    }
  }

  private checkExpiry(): number {
    const { buf, hop } = this;
    if (hopExpiryMs(timestampOf(buf, this.info), expTimeOf(buf, hop)) >= this.nowMs) return GO_ON;
    return this.problem(RouterReason.expired, ProblemCode.pathExpired, hop);
  }

  private checkIngress(): number {
    const { buf, info, hop, ingress } = this;
    if (ingress !== INTERNAL && travelIngress(buf, info, hop) !== ingress) {
      const code = isConsDir(buf, info) ? ProblemCode.unknownConsIngress : ProblemCode.unknownConsEgress;
      return this.problem(RouterReason.ingressInterface, code, hop);
    }
    if (!isPayloadComplete(this.view)) {
      return this.problem(RouterReason.payloadLength, ProblemCode.invalidPacketSize, 0);
    }
    // Packets in transit come from the sibling that let them in; anyone else inside would be forging a source.
    if (ingress === INTERNAL && !isFirstHop(this.word) && !this.cameFromItsSibling()) {
      return this.drop(RouterReason.transitFromInside);
    }
    return GO_ON;
  }

  private cameFromItsSibling(): boolean {
    if (this.fromSibling < 0) return false;
    const { buf, word, view } = this;
    let { info, hop } = this;
    if (!this.peering && isFirstHopAfterXover(word)) {
      // The sibling switched the segment; the packet came into the AS by the last hop of the segment before.
      const last = currHfOf(word) - 1;
      info = infoAt(view.metaAt, infOf(word, last));
      hop = hopAt(view.metaAt, numInfOf(word), last);
    }
    return this.links.siblingOf(travelIngress(buf, info, hop)) === this.fromSibling;
  }

  private checkAddresses(): number {
    const { view, word, srcLocal, dstLocal } = this;
    if (this.ingress === INTERNAL) {
      if (isFirstHop(word) && !srcLocal) return this.badSource(srcIaAt(view));
      if (dstLocal) return this.badDestination(dstIaAt(view));
    } else {
      if (srcLocal) return this.badSource(srcIaAt(view));
      if (isLastHop(word) !== dstLocal) return this.badDestination(dstIaAt(view));
    }
    if (srcLocal && !this.isKnownHost(view.srcHostType, view.srcHostAt)) {
      return this.problem(RouterReason.sourceHost, ProblemCode.invalidSourceAddress, 0);
    }
    return GO_ON;
  }

  private badSource(pointer: number): number {
    return this.problem(RouterReason.sourceAddress, ProblemCode.invalidSourceAddress, pointer);
  }

  private badDestination(pointer: number): number {
    return this.problem(RouterReason.destinationAddress, ProblemCode.invalidDestinationAddress, pointer);
  }

  private isKnownHost(type: number, at: number): boolean {
    if (type === HostType.ipv6) return !isMappedIpv4(this.buf, at);
    return type === HostType.ipv4 || type === HostType.service;
  }

  private checkMac(): number {
    if (this.mac.verify(this.buf, this.info, this.hop)) return GO_ON;
    return this.problem(RouterReason.hopMac, ProblemCode.invalidHopMac, this.hop);
  }

  private alertAtIngress(): number {
    const { buf, info, hop, ingress } = this;
    const bit = ingressAlertBit(isConsDir(buf, info));
    if (ingress === INTERNAL || (buf[hop]! & bit) === 0) return GO_ON;
    buf[hop]! &= ~bit;
    return this.answerTraceroute(ingress);
  }

  private answerTraceroute(id: number): number {
    const { buf, view } = this;
    const isRequest =
      view.l4Protocol === NextHeader.scmp &&
      view.l4End - view.l4At >= TRACEROUTE_LENGTH &&
      buf[view.l4At] === ScmpType.tracerouteRequest;
    if (!isRequest || !isUniqueSource(buf, view)) return GO_ON;
    const possible = this.reply.traceroute(buf, view, this.peering, this.ingress !== INTERNAL, id);
    this.result.action = possible ? RouterAction.reply : RouterAction.drop;
    return RouterReason.traceroute;
  }

  private switchSegment(): number {
    const { buf, view } = this;
    incPath(buf, view.metaAt);
    this.position(metaWord(buf, view.metaAt));
    this.switched = true;
    const reason = this.checkExpiry();
    return reason === GO_ON ? this.checkMac() : reason;
  }

  /** Everything about the way out: is there one, is it allowed, does it work. */
  private leaveAs(): number {
    const { buf, info, hop, links, ingress } = this;
    const egress = travelEgress(buf, info, hop);
    const sibling = links.siblingOf(egress);
    const kind = links.kind(egress);
    // Hosts and siblings hand packets to the router that owns the interface, so a packet crosses the AS once at most.
    if (kind === LinkKind.none || (sibling >= 0 && ingress === INTERNAL)) {
      const code = isConsDir(buf, info) ? ProblemCode.unknownConsEgress : ProblemCode.unknownConsIngress;
      return this.problem(RouterReason.egressInterface, code, hop);
    }
    if (this.switched) {
      if (!maySwitchSegment(links.kind(ingress), kind)) {
        return this.problem(RouterReason.segmentChange, ProblemCode.invalidSegmentChange, info);
      }
    } else if (ingress !== INTERNAL && !mayPass(links.kind(ingress), kind)) {
      return this.problem(RouterReason.invalidPath, ProblemCode.invalidPath, hop);
    }
    return sibling >= 0 ? this.toSibling(sibling, egress) : this.toLink(egress);
  }

  private toSibling(sibling: number, egress: number): number {
    if (!this.links.isUp(egress)) {
      const type = ScmpType.internalConnectivityDown;
      return this.error(RouterReason.siblingDown, type, 0, this.ingress, egress);
    }
    this.result.action = RouterAction.sibling;
    this.result.sibling = sibling;
    return RouterReason.none;
  }

  private toLink(egress: number): number {
    const { buf, hop } = this;
    const bit = egressAlertBit(isConsDir(buf, this.info));
    if ((buf[hop]! & bit) !== 0) {
      buf[hop]! &= ~bit;
      const reason = this.answerTraceroute(egress);
      if (reason !== GO_ON) return reason;
    }
    if (!this.links.isUp(egress)) {
      return this.error(RouterReason.interfaceDown, ScmpType.externalInterfaceDown, 0, egress, 0);
    }
    // The last hop has egress 0 in a genuine path, but whoever holds the key could make another.
    if (!leave(buf, this.view.metaAt, this.peering)) return this.drop(RouterReason.position);
    this.result.action = RouterAction.forward;
    this.result.egress = egress;
    return RouterReason.none;
  }

  private deliver(): number {
    const { buf, view, result } = this;
    const at = view.dstHostAt;
    if (view.dstHostType === HostType.service) return this.deliverToService((buf[at]! << 8) | buf[at + 1]!);
    const length = view.srcHostAt - at;
    const isIp = view.dstHostType === HostType.ipv4 || view.dstHostType === HostType.ipv6;
    if (!isIp || isUnspecifiedIp(buf, at, length) || (length === 16 && isMappedIpv4(buf, at))) {
      return this.problem(RouterReason.destinationHost, ProblemCode.invalidDestinationAddress, 0);
    }
    const port = deliveryPort(buf, view, this.dispatchedPorts, this.scratch);
    if (port === 0) return this.drop(RouterReason.upperLayer);
    if (port === this.internalPort && this.isOwnHost(at, length)) return this.drop(RouterReason.destinationHost);
    result.action = RouterAction.deliver;
    result.hostAt = at;
    result.hostLength = length;
    result.port = port;
    return RouterReason.none;
  }

  /** Our own internal socket would take the packet for one of a host. */
  private isOwnHost(at: number, length: number): boolean {
    const { buf, internalHost } = this;
    if (length !== internalHost.length) return false;
    for (let i = 0; i < length; i++) if (buf[at + i] !== internalHost[i]) return false;
    return true;
  }

  private deliverToService(service: number): number {
    const base = service & ~SERVICE_MULTICAST;
    const { controlServices, discoveryServices } = this.topology;
    const instances =
      base === Service.control ? controlServices : base === Service.discovery ? discoveryServices : undefined;
    if (instances === undefined || instances.length === 0) {
      const type = ScmpType.destinationUnreachable;
      return this.error(RouterReason.noService, type, UnreachableCode.noRoute, 0, 0);
    }
    this.nextService = (this.nextService + 1) % instances.length;
    const instance = instances[this.nextService]!;
    this.result.action = RouterAction.deliver;
    this.result.service = instance;
    this.result.port = instance.port;
    return RouterReason.none;
  }

  private drop(reason: number): number {
    this.result.action = RouterAction.drop;
    return reason;
  }

  private problem(reason: number, code: number, pointer: number): number {
    return this.error(reason, ScmpType.parameterProblem, code, pointer, 0);
  }

  /**
   * Answers with an SCMP error, unless the packet is one itself, its source is not one host, its path is not one to be
   * answered, or its link has caused too many.
   */
  private error(reason: number, type: number, code: number, first: number, second: number): number {
    const { buf, view } = this;
    if (view.metaAt === 0 || isScmpErrorPacket(buf, view) || !isUniqueSource(buf, view)) return this.drop(reason);
    if (!this.errorBudget.take(this.ingress, this.nowMs)) return this.drop(reason);
    const external = this.ingress !== INTERNAL;
    const possible = this.reply.error(buf, view, this.peering, external, type, code, first, second);
    this.result.action = possible ? RouterAction.reply : RouterAction.drop;
    return reason;
  }
}

/** A segment of one hop connects nothing, except at a peering link. */
function hasSingleHopSegment(word: number): boolean {
  return segLenOf(word, 0) === 1 || segLenOf(word, 1) === 1 || segLenOf(word, 2) === 1;
}
