/**
 * The BFD packets of a border router (scionproto router/dataplane.go): to a neighbour over a one-hop path that each packet
 * makes anew, to a router of the same AS over the empty path. Each session has its own packet buffer, filled once.
 */

import { writeU32 } from '#base/bytes';
import { ipHost } from '#scion/address';
import { BFD_DEFAULTS, BFD_LENGTH, BfdSession, type BfdTimers } from '#scion/bfd';
import { encodeHeader, NextHeader, PathType, setPayloadLength } from '#scion/header';
import { HopMac } from '#scion/hop-mac';
import { parseIp } from '#scion/ip';
import type { IsdAs } from '#scion/isd-as';
import { encodeOneHop, firstHopAt, ONE_HOP_LENGTH } from '#scion/onehop';
import type { BfdSettings, Topology, TopologyInterface, TopologyRouter } from '#scion/topology';

const TRAFFIC_CLASS = 0xb8;
const FLOW_ID = 0xdead;
const EXP_TIME = 63;
/** The path is dated back, since the neighbour's clock may be behind. */
const BACKDATE_S = 10;

/** A session with the packet that carries it. */
export class BfdLink {
  readonly session: BfdSession;
  readonly packet: Uint8Array;
  private readonly path: number;
  private readonly bfdAt: number;
  private readonly egress: number;
  private readonly mac: HopMac | undefined;

  /** @param egress  interface of the link; 0 with a sibling */
  constructor(session: BfdSession, header: Uint8Array, egress: number, mac: HopMac | undefined) {
    this.session = session;
    this.bfdAt = header.length;
    this.path = header.length - (egress === 0 ? 0 : ONE_HOP_LENGTH);
    this.packet = new Uint8Array(header.length + BFD_LENGTH);
    this.packet.set(header);
    setPayloadLength(this.packet, 0, BFD_LENGTH);
    this.egress = egress;
    this.mac = mac;
  }

  /** Fills `packet` with what the session sends now. @param nowMs  wall clock */
  write(nowMs: number): void {
    const { packet, path, egress } = this;
    if (this.mac !== undefined) {
      const timestamp = Math.floor(nowMs / 1000) - BACKDATE_S;
      writeU32(packet, path + 4, timestamp);
      this.mac.compute(packet, firstHopAt(path) + 6, 0, timestamp, EXP_TIME, 0, egress);
    }
    this.session.write(packet, this.bfdAt);
  }
}

export interface BfdLinkOptions {
  readonly topology: Topology;
  readonly hopKey: Uint8Array;
  /** Random 32-bit number, not 0. */
  readonly discriminator: number;
  /** Steady clock, ms. */
  readonly nowMs: number;
  readonly random: () => number;
}

/** Timers of a link: what it says, else the defaults. */
export function bfdTimers(settings: BfdSettings): BfdTimers {
  return {
    detectMult: settings.detectMult ?? BFD_DEFAULTS.detectMult,
    desiredMinTxMs: settings.desiredMinTxMs ?? BFD_DEFAULTS.desiredMinTxMs,
    requiredMinRxMs: settings.requiredMinRxMs ?? BFD_DEFAULTS.requiredMinRxMs,
  };
}

/** @param localHost  IP address of our socket of the link */
export function externalBfd(link: TopologyInterface, localHost: string, options: BfdLinkOptions): BfdLink {
  const { topology, hopKey } = options;
  const path = new Uint8Array(ONE_HOP_LENGTH);
  const first = { expTime: EXP_TIME, consIngress: 0, consEgress: link.id, mac: new Uint8Array(6) };
  encodeOneHop(path, 0, { segId: 0, timestamp: 0, first });
  const header = headerOf(topology.ia, localHost, link.neighbour, link.remote.host, PathType.oneHop, path);
  return new BfdLink(sessionOf(bfdTimers(link.bfd), options), header, link.id, new HopMac(hopKey));
}

export function siblingBfd(own: TopologyRouter, sibling: TopologyRouter, options: BfdLinkOptions): BfdLink {
  const { ia } = options.topology;
  const header = headerOf(ia, own.internal.host, ia, sibling.internal.host, PathType.empty, new Uint8Array(0));
  return new BfdLink(sessionOf(BFD_DEFAULTS, options), header, 0, undefined);
}

function sessionOf(timers: BfdTimers, { discriminator, nowMs, random }: BfdLinkOptions): BfdSession {
  return new BfdSession(timers, discriminator, nowMs, random);
}

function headerOf(src: IsdAs, srcHost: string, dst: IsdAs, dstHost: string, pathType: number, path: Uint8Array) {
  const out = new Uint8Array(200);
  const spec = {
    trafficClass: TRAFFIC_CLASS,
    flowId: FLOW_ID,
    src: { ia: src, host: ipHost(parseIp(srcHost)!) },
    dst: { ia: dst, host: ipHost(parseIp(dstHost)!) },
    pathType,
    path,
  };
  return out.slice(0, encodeHeader(out, 0, spec, NextHeader.bfd));
}
