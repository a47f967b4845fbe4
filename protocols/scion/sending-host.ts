/**
 * An end host that also sends first: datagrams and echoes over chosen paths, traceroute requests, and SCMP errors checked
 * against what was really sent. What it shares with a host that only answers is in end-host.ts.
 *
 *   other AS  path header, underlay next hop = inside of the router that owns the first interface
 *   same AS   empty path, next hop = the host itself (its shim port when the port is not dispatched)
 */

import { readU16, readU32, readU64 } from '#base/bytes';
import { ScionError } from '#base/errors';
import { formatAddress, HostType } from '#scion/address';
import { EndHost, type HostEndpoint, ignored, type PeerRef, type Received, sameBytes } from '#scion/end-host';
import { consEgressOf, consIngressOf, egressAlertBit, ingressAlertBit, isConsDir, isPeer } from '#scion/info-hop';
import { formatIp, type IpPort } from '#scion/ip';
import { formatIsdAs } from '#scion/isd-as';
import { dstIaAt, PacketView, ParseFault, parsePacket, srcIaAt, udpPacketLength } from '#scion/packet';
import { hopAt, infOf, infoAt, metaWord, numHopsOf, numInfOf } from '#scion/path';
import { panFingerprint, type ScionPath } from '#scion/path-metadata';
import { decodeScmp, encodeScmpPacket, type ScmpMessage, ScmpType, scmpFixedLength } from '#scion/scmp';

/** An SCMP error is believed when it quotes a packet sent at most this long ago. */
export const QUOTE_LIFE_MS = 2_000;
const SENT_KEPT = 512;
/** Of each sent packet this much of the upper layer is kept: its header and the start of the payload. */
const SENT_BYTES = 24;
const NO_DATA = new Uint8Array(0);

export class SendingHost extends EndHost {
  readonly #quoteView = new PacketView();

  // Ring of sent packets: destination, first upper-layer bytes, time.
  readonly #sentBytes = new Uint8Array(SENT_KEPT * SENT_BYTES);
  readonly #sentLength = new Uint8Array(SENT_KEPT);
  readonly #sentDst = new BigUint64Array(SENT_KEPT);
  readonly #sentAt = new Float64Array(SENT_KEPT).fill(Number.NEGATIVE_INFINITY);
  #sentNext = 0;

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
      return { host: formatIp(bytes, 0, bytes.length), port: this.dispatchedPort(dst.port) };
    }
    const first = path.interfaces[0]!;
    const router = first.ia === this.local.ia ? this.routers.get(first.id) : undefined;
    if (router !== undefined) return router;
    throw new ScionError('path.none', `no border router of ${formatIsdAs(this.local.ia)} has interface ${first.id}`);
  }

  /** Bytes of payload that fit on a path. */
  maxPayload(dst: HostEndpoint, path: ScionPath): number {
    const empty = { dst, src: this.local, path: path.raw, payload: new Uint8Array(0) };
    return path.mtu - udpPacketLength(empty);
  }

  override writeDatagram(
    out: Uint8Array,
    at: number,
    dst: HostEndpoint,
    path: Uint8Array,
    payload: Uint8Array,
    now: number,
  ): number {
    const end = super.writeDatagram(out, at, dst, path, payload, now);
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
    const message = { type: ScmpType.echoRequest, code: 0, identifier: this.local.port, sequence, data };
    return this.#writeScmp(out, at, dst, path, message, now);
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
    return this.#writeScmp(out, at, dst, alerting, message, now);
  }

  /** Number of hop fields of a path. */
  static hopCount(path: Uint8Array): number {
    return path.length === 0 ? 0 : numHopsOf(metaWord(path, 0));
  }

  #writeScmp(
    out: Uint8Array,
    at: number,
    dst: Omit<HostEndpoint, 'port'>,
    path: Uint8Array,
    message: ScmpMessage,
    now: number,
  ): number {
    const end = encodeScmpPacket(out, at, { dst, src: this.local, path }, message);
    this.#remember(out, end - scmpFixedLength(message.type) - message.data.length, end, dst.ia, now);
    return end;
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

  protected override receiveScmp(buf: Uint8Array, now: number): Received {
    const view = this.view;
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
    if (readU32(quote, src) !== this.iaHigh || readU32(quote, src + 4) !== this.iaLow) return undefined;
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
  return peer.ia === path.dst && interfaceIdsOf(peer.path) === panFingerprint(path.interfaces);
}
