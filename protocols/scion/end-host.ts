/**
 * An end host's packet work, without sockets: build datagrams and echoes, take received packets apart, remember who to
 * answer and on which path, and check SCMP errors against what was really sent.
 *
 *   sending    other AS: path header, underlay next hop = inside of the router that owns the first interface
 *              same AS:  empty path, next hop = the host itself (its shim port when the port is not dispatched)
 *   receiving  destination must be this AS, this host and this port; anything else is ignored in silence
 *   answering  path reversed, next hop = where the datagram came from; the path's router when a shim handed it over
 *
 * Left out: extension headers (skipped when received), services of the own AS, STUN.
 */

import { readU16, readU32, readU64, writeU16 } from '#base/bytes';
import { ScionError } from '#base/errors';
import { formatAddress, type HostAddress, HostType, hostLength } from '#scion/address';
import { NextHeader, PathType, setPayloadLength } from '#scion/header';
import {
  consEgressOf,
  consIngressOf,
  egressAlertBit,
  ingressAlertBit,
  isConsDir,
  isPeer,
  travelEgress,
} from '#scion/info-hop';
import { formatIp, type IpPort } from '#scion/ip';
import { formatIsdAs } from '#scion/isd-as';
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
import {
  checkPosition,
  hopAt,
  infOf,
  infoAt,
  isLastHop,
  metaWord,
  numHopsOf,
  numInfOf,
  reversePath,
} from '#scion/path';
import { panFingerprint, type ScionPath } from '#scion/path-metadata';
import { decodeScmp, encodeScmpPacket, ScmpType, scmpFixedLength, writeScmpChecksum } from '#scion/scmp';
import { type HostTopology, SHIM_PORT } from '#scion/topology';
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
  /** Interface ids of `path` in order of travel. */
  readonly interfaceIds: string;
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

/** An SCMP error is believed when it quotes a packet sent at most this long ago. */
export const QUOTE_LIFE_MS = 2_000;
const SENT_KEPT = 512;
/** Of each sent packet this much of the upper layer is kept: its header and the start of the payload. */
const SENT_BYTES = 24;
const PEERS_KEPT = 256;
/** Bytes of a traceroute request's SCMP message. */
export const TRACEROUTE_LENGTH = scmpFixedLength(ScmpType.tracerouteRequest);
const NO_DATA = new Uint8Array(0);

export class EndHost {
  readonly local: HostEndpoint;
  readonly #topology: HostTopology;
  readonly #routers = new Map<number, IpPort>();
  readonly #view = new PacketView();
  readonly #quoteView = new PacketView();
  readonly #peers: (KnownPeer | undefined)[] = new Array(PEERS_KEPT).fill(undefined);
  readonly #scratch = new Uint8Array(1024);
  readonly #iaHigh: number;
  readonly #iaLow: number;

  // Ring of sent packets: destination, first upper-layer bytes, time.
  readonly #sentBytes = new Uint8Array(SENT_KEPT * SENT_BYTES);
  readonly #sentLength = new Uint8Array(SENT_KEPT);
  readonly #sentDst = new BigUint64Array(SENT_KEPT);
  readonly #sentAt = new Float64Array(SENT_KEPT).fill(Number.NEGATIVE_INFINITY);
  #sentNext = 0;

  constructor({ topology, host, port }: EndHostOptions) {
    this.local = { ia: topology.ia, host, port };
    this.#topology = topology;
    this.#iaHigh = Number(topology.ia >> 32n);
    this.#iaLow = Number(topology.ia & 0xffff_ffffn);
    for (const router of topology.routers) {
      for (const { id } of router.interfaces) this.#routers.set(id, router.internal);
    }
  }

  // --- Sending ---------------------------------------------------------------------------------------------------------

  /**
   * Underlay address to which a packet for `dst` on `path` goes.
   * @throws ScionError `path.none` when no router of this AS owns the path's first interface, `scion.address` for a
   * service of this AS, which no router resolves
   */
  nextHop(dst: HostEndpoint, path: ScionPath): IpPort {
    if (path.raw.length === 0) {
      const { bytes, type } = dst.host;
      if (type === HostType.service) {
        throw new ScionError('scion.address', `${formatAddress(dst)} is in the own AS: send to the service's host`);
      }
      return { host: formatIp(bytes, 0, bytes.length), port: this.#dispatchedPort(dst.port) };
    }
    const first = path.interfaces[0]!;
    const router = first.ia === this.local.ia ? this.#routers.get(first.id) : undefined;
    if (router !== undefined) return router;
    throw new ScionError('path.none', `no border router of ${formatIsdAs(this.local.ia)} has interface ${first.id}`);
  }

  /** Bytes of payload that fit on a path. */
  maxPayload(dst: HostEndpoint, path: ScionPath): number {
    const empty = { dst, src: this.local, path: path.raw, payload: new Uint8Array(0) };
    return path.mtu - udpPacketLength(empty);
  }

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
    now: number,
  ): number {
    const end = encodeUdpPacket(out, at, { dst, src: this.local, path, payload });
    this.#remember(out, end - payload.length - 8, end, dst.ia, now);
    return end;
  }

  /** Writes an echo request whose answer comes to this host's port. @returns offset after it */
  writeEcho(
    out: Uint8Array,
    at: number,
    dst: Omit<HostEndpoint, 'port'>,
    path: Uint8Array,
    sequence: number,
    data: Uint8Array,
    now: number,
  ): number {
    const header = { dst, src: this.local, path };
    const message = { type: ScmpType.echoRequest, code: 0, identifier: this.local.port, sequence, data };
    const end = encodeScmpPacket(out, at, header, message);
    this.#remember(out, end - data.length - 8, end, dst.ia, now);
    return end;
  }

  /**
   * Writes a traceroute request to the router that a packet reaches through one interface of the path.
   * @param hop  index of the hop field, 0 is this AS's
   * @param side  which of that router's interfaces is asked, in the direction of travel
   * @returns offset after it
   */
  writeTraceroute(
    out: Uint8Array,
    at: number,
    dst: Omit<HostEndpoint, 'port'>,
    path: Uint8Array,
    hop: number,
    side: 'ingress' | 'egress',
    sequence: number,
    now: number,
  ): number {
    const alerting = path.slice();
    const word = metaWord(path, 0);
    const consDir = isConsDir(path, infoAt(0, infOf(word, hop)));
    const bit = side === 'ingress' ? ingressAlertBit(consDir) : egressAlertBit(consDir);
    alerting[hopAt(0, numInfOf(word), hop)]! |= bit;
    const message = {
      type: ScmpType.tracerouteRequest,
      code: 0,
      identifier: this.local.port,
      sequence,
      ia: 0n,
      interface: 0n,
      data: NO_DATA,
    };
    const end = encodeScmpPacket(out, at, { dst, src: this.local, path: alerting }, message);
    this.#remember(out, end - TRACEROUTE_LENGTH, end, dst.ia, now);
    return end;
  }

  /** Number of hop fields of a path. */
  static hopCount(path: Uint8Array): number {
    return path.length === 0 ? 0 : numHopsOf(metaWord(path, 0));
  }

  #dispatchedPort(port: number): number {
    const range = this.#topology.dispatchedPorts;
    return range === undefined || (port >= range.min && port <= range.max) ? port : SHIM_PORT;
  }

  #remember(packet: Uint8Array, l4: number, end: number, dst: bigint, now: number): void {
    const slot = this.#sentNext;
    this.#sentNext = (slot + 1) % SENT_KEPT;
    const length = Math.min(SENT_BYTES, end - l4);
    for (let i = 0; i < length; i++) this.#sentBytes[slot * SENT_BYTES + i] = packet[l4 + i]!;
    this.#sentLength[slot] = length;
    this.#sentDst[slot] = dst;
    this.#sentAt[slot] = now;
  }

  // --- Receiving -------------------------------------------------------------------------------------------------------

  /**
   * Takes a received packet apart. Never throws; the payload is a view of `buf`.
   * @param from  underlay source of the datagram
   */
  receive(buf: Uint8Array, from: IpPort, now: number): Received {
    const view = this.#view;
    if (parsePacket(buf, 0, buf.length, view) !== ParseFault.none) return ignored('malformed');
    if (!this.#isForMe(buf)) return ignored('other destination');
    // Truncated in the underlay, or with a length that its sender did not mean.
    if (view.payloadLength !== view.end - view.payloadAt) return ignored('payload length');
    if (view.l4Protocol === NextHeader.udp) return this.#receiveUdp(buf, from);
    if (view.l4Protocol === NextHeader.scmp) return this.#receiveScmp(buf, now);
    return ignored('upper layer');
  }

  /** Bytes that the answer to the echo request just received takes. */
  echoReplyLength(buf: Uint8Array): number {
    return replyHeaderLength(buf, this.#view) + this.#view.l4End - this.#view.l4At;
  }

  /** Writes the answer to the echo request just received. @returns offset after it; -1 when it cannot be answered */
  writeEchoReply(out: Uint8Array, at: number, buf: Uint8Array): number {
    const view = this.#view;
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
    const view = this.#view;
    const { type, bytes } = this.local.host;
    const ia = dstIaAt(view);
    if (readU32(buf, ia) !== this.#iaHigh || readU32(buf, ia + 4) !== this.#iaLow) return false;
    return view.dstHostType === type && sameBytes(buf, view.dstHostAt, bytes);
  }

  #receiveUdp(buf: Uint8Array, from: IpPort): Received {
    const view = this.#view;
    const end = udpEnd(buf, view.l4At, view.l4End);
    if (end < 0) return ignored('UDP length');
    if (udpDestinationPort(buf, view.l4At) !== this.local.port) return ignored('other port');
    if (!isUdpChecksumRight(buf, view.at, view.l4At, end)) return ignored('checksum');
    const peer = this.#peerOf(buf, from);
    if (peer === undefined) return ignored('path');
    return { kind: 'datagram', payload: buf.subarray(view.l4At + 8, end), peer };
  }

  #receiveScmp(buf: Uint8Array, now: number): Received {
    const view = this.#view;
    const message = decodeScmp(buf, view.l4At, view.l4End);
    if (message === undefined) return ignored('SCMP type');
    if (message.type === ScmpType.echoRequest) return { kind: 'echo-request' };
    const src = readU64(buf, srcIaAt(view));
    if (message.type === ScmpType.echoReply) {
      if (message.identifier !== this.local.port) return ignored('other identifier');
      return { kind: 'echo-reply', src, sequence: message.sequence, data: message.data };
    }
    if (message.type === ScmpType.tracerouteReply) {
      if (message.identifier !== this.local.port) return ignored('other identifier');
      const { sequence, ia } = message;
      return { kind: 'traceroute-reply', sequence, ia, id: Number(message.interface) };
    }
    if (message.type >= 128) return ignored('SCMP type');
    const dst = this.#quotedDestination(message.data, now);
    if (dst === undefined) return ignored('SCMP error about nothing sent lately');
    if (message.type === ScmpType.externalInterfaceDown || message.type === ScmpType.internalConnectivityDown) {
      const id = Number(message.type === ScmpType.externalInterfaceDown ? message.interface : message.egress);
      // A router can only meet an interface that the packet was to cross.
      if (!this.#quoteCrosses(message.data, id)) return ignored('SCMP error about another path');
      return { kind: 'interface-down', ia: message.ia, id, dst };
    }
    return { kind: 'scmp-error', type: message.type, code: message.code, dst };
  }

  /** Destination AS of the packet quoted by an SCMP error, if it is one that was sent from here just now. */
  #quotedDestination(quote: Uint8Array, now: number): bigint | undefined {
    const view = this.#quoteView;
    if (parsePacket(quote, 0, quote.length, view) !== ParseFault.none) return undefined;
    const { type, bytes } = this.local.host;
    const src = srcIaAt(view);
    if (readU32(quote, src) !== this.#iaHigh || readU32(quote, src + 4) !== this.#iaLow) return undefined;
    if (view.srcHostType !== type || !sameBytes(quote, view.srcHostAt, bytes)) return undefined;
    const dst = readU64(quote, dstIaAt(view));
    for (let slot = 0; slot < SENT_KEPT; slot++) {
      if (now - this.#sentAt[slot]! > QUOTE_LIFE_MS || this.#sentDst[slot] !== dst) continue;
      const length = this.#sentLength[slot]!;
      if (quote.length - view.l4At < length) continue;
      let i = 0;
      while (i < length && quote[view.l4At + i] === this.#sentBytes[slot * SENT_BYTES + i]) i++;
      if (i === length) return dst;
    }
    return undefined;
  }

  /** Whether the path of the quote just looked at has an interface with this number. */
  #quoteCrosses(quote: Uint8Array, id: number): boolean {
    const { metaAt } = this.#quoteView;
    if (metaAt === 0) return false;
    const word = metaWord(quote, metaAt);
    for (let h = numHopsOf(word) - 1; h >= 0; h--) {
      const hop = hopAt(metaAt, numInfOf(word), h);
      if (consIngressOf(quote, hop) === id || consEgressOf(quote, hop) === id) return id !== 0;
    }
    return false;
  }

  // --- Peers -----------------------------------------------------------------------------------------------------------

  /** The peer of the UDP datagram in view: the same object for the same sender, path and next hop. */
  #peerOf(buf: Uint8Array, from: IpPort): PeerRef | undefined {
    const view = this.#view;
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
      interfaceIds: interfaceIdsOf(path),
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
    const view = this.#view;
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
      return { host: formatIp(peer.host.bytes, 0, peer.host.bytes.length), port: this.#dispatchedPort(peer.port) };
    }
    const word = metaWord(path, 0);
    const router = this.#routers.get(travelEgress(path, infoAt(0, 0), hopAt(0, numInfOf(word), 0)));
    return router ?? { host: from.host, port: from.port };
  }

  #isPeer(peer: KnownPeer, buf: Uint8Array, end: number, port: number, from: IpPort): boolean {
    const view = this.#view;
    const scratch = this.#scratch;
    if (peer.port !== port || peer.path.length !== end || peer.host.type !== view.srcHostType) return false;
    if (peer.underlay.port !== from.port || peer.underlay.host !== from.host) return false;
    if (peer.ia !== readU64(buf, srcIaAt(view)) || !sameBytes(buf, view.srcHostAt, peer.host.bytes)) return false;
    for (let i = 0; i < end; i++) if (scratch[i] !== peer.path[i]) return false;
    return true;
  }

  #slotOf(buf: Uint8Array, end: number, port: number): number {
    let hash = 0x811c9dc5 ^ port;
    const view = this.#view;
    const hostEnd = view.srcHostAt + hostLength(view.srcHostType);
    for (let i = srcIaAt(view); i < srcIaAt(view) + 8; i++) hash = Math.imul(hash ^ buf[i]!, 0x01000193);
    for (let i = view.srcHostAt; i < hostEnd; i++) hash = Math.imul(hash ^ buf[i]!, 0x01000193);
    for (let i = 0; i < end; i++) hash = Math.imul(hash ^ this.#scratch[i]!, 0x01000193);
    return (hash >>> 0) % PEERS_KEPT;
  }
}

function sameBytes(buf: Uint8Array, at: number, bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (buf[at + i] !== bytes[i]) return false;
  return true;
}

const IGNORED = new Map<string, Received>();

function ignored(why: string): Received {
  let result = IGNORED.get(why);
  if (result === undefined) {
    result = { kind: 'ignored', why };
    IGNORED.set(why, result);
  }
  return result;
}

/**
 * Interface ids that a raw path crosses, in order of travel, separated by blanks: comparable with `panFingerprint` of a
 * path from the same AS, where they name one path, since each egress leads to one neighbour. '' for the empty path.
 */
export function interfaceIdsOf(raw: Uint8Array): string {
  if (raw.length === 0) return '';
  const word = metaWord(raw, 0);
  const numInf = numInfOf(word);
  const numHops = numHopsOf(word);
  const ids: number[] = [];
  for (let h = 0; h < numHops; h++) {
    const segment = infOf(word, h);
    const info = infoAt(0, segment);
    const hop = hopAt(0, numInf, h);
    const [consIngress, consEgress] = [readU16(raw, hop + 2), readU16(raw, hop + 4)];
    const [ingress, egress] = isConsDir(raw, info) ? [consIngress, consEgress] : [consEgress, consIngress];
    // At a switch of segments the packet stays inside the AS, except over a peering link.
    const first = h === 0 || (infOf(word, h - 1) !== segment && !isPeer(raw, info));
    const last = h === numHops - 1 || (infOf(word, h + 1) !== segment && !isPeer(raw, info));
    if (!first && ingress !== 0) ids.push(ingress);
    if (!last && egress !== 0) ids.push(egress);
  }
  return ids.join(' ');
}

/** Whether a received datagram came back on the reversal of a path. */
export function cameBackOn(peer: PeerRef, path: ScionPath): boolean {
  return peer.ia === path.dst && peer.interfaceIds === panFingerprint(path.interfaces);
}
