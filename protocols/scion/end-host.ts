/**
 * The packet work of an end host that answers, without sockets: take received packets apart, remember who to answer and on
 * which path, build datagrams and echo replies. A host that also sends first is in sending-host.ts.
 *
 *   receiving  destination must be this AS, this host and this port; anything else is ignored in silence
 *   answering  path reversed, next hop = where the datagram came from; the path's router when a shim handed it over
 *
 * Left out: extension headers (skipped when received), services of the own AS, STUN.
 */

import { readU32, readU64, writeU16 } from '#base/bytes';
import { formatAddress, type HostAddress, hostLength } from '#scion/address';
import { NextHeader, PathType, setPayloadLength } from '#scion/header';
import { type HostTopology, SHIM_PORT } from '#scion/host-topology';
import { travelEgress } from '#scion/info-hop';
import { formatIp, type IpPort } from '#scion/ip';
import { reverseOneHop } from '#scion/onehop';
import {
  dstIaAt,
  encodeReplyHeader,
  encodeUdpPacket,
  PacketView,
  ParseFault,
  parsePacket,
  replyHeaderLength,
  srcIaAt,
  udpPacketLength,
} from '#scion/packet';
import { checkPosition, hopAt, infoAt, isLastHop, metaWord, numHopsOf, numInfOf, reversePath } from '#scion/path';
import { ScmpType, writeScmpChecksum } from '#scion/scmp';
import { isUdpChecksumRight, udpDestinationPort, udpEnd, udpSourcePort } from '#scion/udp';

export interface HostEndpoint {
  readonly ia: bigint;
  readonly host: HostAddress;
  readonly port: number;
}

/** Who sent a datagram and how to answer. Valid beyond the call: its bytes are its own. */
export interface PeerRef extends HostEndpoint {
  /** `1-ff00:0:110,10.0.0.1` */
  readonly text: string;
  /** The arrived path reversed, ready to send; empty inside the AS. */
  readonly path: Uint8Array;
  readonly nextHop: IpPort;
}

interface KnownPeer extends PeerRef {
  /** Where its datagrams come from. */
  readonly underlay: IpPort;
}

/** What a received packet was. */
export type Received =
  | { readonly kind: 'ignored'; readonly why: string }
  | { readonly kind: 'datagram'; readonly payload: Uint8Array; readonly peer: PeerRef }
  | { readonly kind: 'echo-request' }
  | { readonly kind: 'echo-reply'; readonly src: bigint; readonly sequence: number; readonly data: Uint8Array }
  | {
      readonly kind: 'traceroute-reply';
      readonly sequence: number;
      /** The router's AS and the interface that was asked. */
      readonly ia: bigint;
      readonly id: number;
    }
  | { readonly kind: 'interface-down'; readonly ia: bigint; readonly id: number; readonly dst: bigint }
  | { readonly kind: 'scmp-error'; readonly type: number; readonly code: number; readonly dst: bigint };

export interface EndHostOptions {
  readonly topology: HostTopology;
  readonly host: HostAddress;
  readonly port: number;
}

const PEERS_KEPT = 256;
/** Bytes of an echo request without its data. */
const ECHO_LENGTH = 8;

export class EndHost {
  readonly local: HostEndpoint;
  readonly #topology: HostTopology;
  /** Inside of the router that owns an interface of this AS. */
  protected readonly routers = new Map<number, IpPort>();
  /** The packet just received. */
  protected readonly view = new PacketView();
  readonly #peers: (KnownPeer | undefined)[] = new Array(PEERS_KEPT).fill(undefined);
  readonly #scratch = new Uint8Array(1024);
  protected readonly iaHigh: number;
  protected readonly iaLow: number;

  constructor({ topology, host, port }: EndHostOptions) {
    this.local = { ia: topology.ia, host, port };
    this.#topology = topology;
    this.iaHigh = Number(topology.ia >> 32n);
    this.iaLow = Number(topology.ia & 0xffff_ffffn);
    for (const router of topology.routers) {
      for (const { id } of router.interfaces) this.routers.set(id, router.internal);
    }
  }

  // --- Sending ---------------------------------------------------------------------------------------------------------

  /** Size of the packet that `writeDatagram` makes. */
  datagramLength(dst: HostEndpoint, path: Uint8Array, payload: Uint8Array): number {
    return udpPacketLength({ dst, src: this.local, path, payload });
  }

  /** Writes a datagram. @returns offset after it */
  writeDatagram(
    out: Uint8Array,
    at: number,
    dst: HostEndpoint,
    path: Uint8Array,
    payload: Uint8Array,
    _now: number,
  ): number {
    return encodeUdpPacket(out, at, { dst, src: this.local, path, payload });
  }

  protected dispatchedPort(port: number): number {
    const range = this.#topology.dispatchedPorts;
    return range === undefined || (port >= range.min && port <= range.max) ? port : SHIM_PORT;
  }

  // --- Receiving -------------------------------------------------------------------------------------------------------

  /**
   * Takes a received packet apart. Never throws; the payload is a view of `buf`.
   * @param from  underlay source of the datagram
   */
  receive(buf: Uint8Array, from: IpPort, now: number): Received {
    const view = this.view;
    if (parsePacket(buf, 0, buf.length, view) !== ParseFault.none) return ignored('malformed');
    if (!this.#isForMe(buf)) return ignored('other destination');
    // Truncated in the underlay, or with a length that its sender did not mean.
    if (view.payloadLength !== view.end - view.payloadAt) return ignored('payload length');
    if (view.l4Protocol === NextHeader.udp) return this.#receiveUdp(buf, from);
    if (view.l4Protocol === NextHeader.scmp) return this.receiveScmp(buf, now);
    return ignored('upper layer');
  }

  /** Bytes that the answer to the echo request just received takes. */
  echoReplyLength(buf: Uint8Array): number {
    return replyHeaderLength(buf, this.view) + this.view.l4End - this.view.l4At;
  }

  /** Writes the answer to the echo request just received. @returns offset after it; -1 when it cannot be answered */
  writeEchoReply(out: Uint8Array, at: number, buf: Uint8Array): number {
    const view = this.view;
    const scmp = encodeReplyHeader(out, at, buf, view, NextHeader.scmp);
    if (scmp < 0) return -1;
    out.set(buf.subarray(view.l4At, view.l4End), scmp);
    const end = scmp + view.l4End - view.l4At;
    out[scmp] = ScmpType.echoReply;
    writeU16(out, scmp + 2, 0);
    setPayloadLength(out, at, end - scmp);
    writeScmpChecksum(out, at, scmp, end);
    return end;
  }

  #isForMe(buf: Uint8Array): boolean {
    const view = this.view;
    const { type, bytes } = this.local.host;
    const ia = dstIaAt(view);
    if (readU32(buf, ia) !== this.iaHigh || readU32(buf, ia + 4) !== this.iaLow) return false;
    return view.dstHostType === type && sameBytes(buf, view.dstHostAt, bytes);
  }

  #receiveUdp(buf: Uint8Array, from: IpPort): Received {
    const view = this.view;
    const end = udpEnd(buf, view.l4At, view.l4End);
    if (end < 0) return ignored('UDP length');
    if (udpDestinationPort(buf, view.l4At) !== this.local.port) return ignored('other port');
    if (!isUdpChecksumRight(buf, view.at, view.l4At, end)) return ignored('checksum');
    const peer = this.#peerOf(buf, from);
    if (peer === undefined) return ignored('path');
    return { kind: 'datagram', payload: buf.subarray(view.l4At + 8, end), peer };
  }

  /** Takes the SCMP message in view: who sends nothing first is only asked for echoes. */
  protected receiveScmp(buf: Uint8Array, _now: number): Received {
    const { l4At, l4End } = this.view;
    const isEcho = l4End - l4At >= ECHO_LENGTH && buf[l4At] === ScmpType.echoRequest;
    return isEcho ? { kind: 'echo-request' } : ignored('SCMP type');
  }

  // --- Peers -----------------------------------------------------------------------------------------------------------

  /** The peer of the UDP datagram in view: the same object for the same sender, path and next hop. */
  #peerOf(buf: Uint8Array, from: IpPort): PeerRef | undefined {
    const view = this.view;
    // Without a path a packet can only come from this AS.
    if (view.pathType === PathType.empty && readU64(buf, srcIaAt(view)) !== this.local.ia) return undefined;
    const end = this.#reverse(buf);
    if (end < 0) return undefined;
    const port = udpSourcePort(buf, view.l4At);
    const slot = this.#slotOf(buf, end, port);
    const known = this.#peers[slot];
    if (known !== undefined && this.#isPeer(known, buf, end, port, from)) return known;
    // A copy that does not keep the received buffer alive.
    const bytes = new Uint8Array(buf.subarray(view.srcHostAt, view.srcHostAt + hostLength(view.srcHostType)));
    const host = { type: view.srcHostType, bytes };
    const path = this.#scratch.slice(0, end);
    const ia = readU64(buf, srcIaAt(view));
    const peer: KnownPeer = {
      ia,
      host,
      port,
      text: formatAddress({ ia, host }),
      path,
      nextHop: this.#replyHop({ ia, host, port }, path, from),
      underlay: { host: from.host, port: from.port },
    };
    this.#peers[slot] = peer;
    return peer;
  }

  /**
   * Writes the way back of the packet in view to `scratch`: a SCION path also for EPIC and one-hop paths, or nothing. Alert
   * flags are cleared, since no hop-field MAC covers them and a router would stop at each.
   * @returns its length; -1 when the packet did not arrive at the end of a path
   */
  #reverse(buf: Uint8Array): number {
    const view = this.view;
    const scratch = this.#scratch;
    let end = 0;
    if (view.pathType === PathType.oneHop) end = reverseOneHop(buf, view.pathAt, scratch, 0);
    else if (view.metaAt !== 0) {
      const word = metaWord(buf, view.metaAt);
      if (!checkPosition(word) || !isLastHop(word)) return -1;
      end = reversePath(buf, view.metaAt, scratch, 0);
    }
    if (end <= 0) return end;
    const word = metaWord(scratch, 0);
    for (let h = numHopsOf(word) - 1; h >= 0; h--) scratch[hopAt(0, numInfOf(word), h)] = 0;
    return end;
  }

  /** Where an answer goes: back where the datagram came from, unless that was this host's own shim. */
  #replyHop(peer: HostEndpoint, path: Uint8Array, from: IpPort): IpPort {
    const { bytes } = this.local.host;
    const own = from.host === formatIp(bytes, 0, bytes.length) || from.host === '::1' || from.host.startsWith('127.');
    if (from.port !== SHIM_PORT || !own) return { host: from.host, port: from.port };
    if (path.length === 0) {
      return { host: formatIp(peer.host.bytes, 0, peer.host.bytes.length), port: this.dispatchedPort(peer.port) };
    }
    const word = metaWord(path, 0);
    const router = this.routers.get(travelEgress(path, infoAt(0, 0), hopAt(0, numInfOf(word), 0)));
    return router ?? { host: from.host, port: from.port };
  }

  #isPeer(peer: KnownPeer, buf: Uint8Array, end: number, port: number, from: IpPort): boolean {
    const view = this.view;
    const scratch = this.#scratch;
    if (peer.port !== port || peer.path.length !== end || peer.host.type !== view.srcHostType) return false;
    if (peer.underlay.port !== from.port || peer.underlay.host !== from.host) return false;
    if (peer.ia !== readU64(buf, srcIaAt(view)) || !sameBytes(buf, view.srcHostAt, peer.host.bytes)) return false;
    for (let i = 0; i < end; i++) if (scratch[i] !== peer.path[i]) return false;
    return true;
  }

  #slotOf(buf: Uint8Array, end: number, port: number): number {
    let hash = 0x811c9dc5 ^ port;
    const view = this.view;
    const hostEnd = view.srcHostAt + hostLength(view.srcHostType);
    for (let i = srcIaAt(view); i < srcIaAt(view) + 8; i++) hash = Math.imul(hash ^ buf[i]!, 0x01000193);
    for (let i = view.srcHostAt; i < hostEnd; i++) hash = Math.imul(hash ^ buf[i]!, 0x01000193);
    for (let i = 0; i < end; i++) hash = Math.imul(hash ^ this.#scratch[i]!, 0x01000193);
    return (hash >>> 0) % PEERS_KEPT;
  }
}

export function sameBytes(buf: Uint8Array, at: number, bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (buf[at + i] !== bytes[i]) return false;
  return true;
}

const IGNORED = new Map<string, Received>();

export function ignored(why: string): Received {
  let result = IGNORED.get(why);
  if (result === undefined) {
    result = { kind: 'ignored', why };
    IGNORED.set(why, result);
  }
  return result;
}
