/**
 * Builds the SCMP packets of a border router: error replies that quote the offending packet, and traceroute replies
 * (scionproto router/dataplane.go, prepareSCMP). The path is the received one, reversed in the state it is in: a
 * crossover made here is undone, and for a packet from an external link the work of leaving by that link again is done.
 */

import { writeU32 } from '#base/bytes';
import { HostType, SERVICE_MULTICAST } from '#scion/address';
import { DST_HOST_AT, NextHeader, SRC_IA_AT, setPayloadLength } from '#scion/header';
import { isConsDir, updateSegId } from '#scion/info-hop';
import { isUnspecifiedIp } from '#scion/ip';
import { copy, type PacketView, srcIaAt } from '#scion/packet';
import { currHfOf, currInfOf, hopAt, incPath, infoAt, isXover, metaWord, numInfOf, reversePath } from '#scion/path';
import {
  quoteLength,
  ScmpType,
  writeScmpChecksum,
  writeScmpHeader,
  writeScmpInterface,
  writeScmpPair,
} from '#scion/scmp';

/** The longest header leaves room for a block; without quote it may exceed 1232 bytes. */
const REPLY_CAPACITY = 1280;

export class RouterReply {
  /** The packet; `length` bytes are valid until the next one is built. */
  readonly packet = new Uint8Array(REPLY_CAPACITY);
  length = 0;
  private readonly iaHigh: number;
  private readonly iaLow: number;
  private readonly host: Uint8Array;

  /** @param host  the router's internal IP address, 4 or 16 bytes */
  constructor(iaHigh: number, iaLow: number, host: Uint8Array) {
    this.iaHigh = iaHigh;
    this.iaLow = iaLow;
    this.host = host;
  }

  /**
   * Builds an error about a packet. Like `traceroute`, it says false when the path leaves no way back.
   * @param peering  the packet's current hop is at a peering link
   * @param external  it came by an external link
   * @param first, second  pointer (type 4), interface (5), ingress and egress interface (6); otherwise 0
   */
  error(
    buf: Uint8Array,
    view: PacketView,
    peering: boolean,
    external: boolean,
    type: number,
    code: number,
    first: number,
    second: number,
  ): boolean {
    const out = this.packet;
    const scmp = this.header(buf, view, peering, external);
    if (scmp < 0) return false;
    let at = writeScmpHeader(out, scmp, type, code);
    if (type === ScmpType.externalInterfaceDown || type === ScmpType.internalConnectivityDown) {
      at = this.isdAs(at);
      at = writeScmpInterface(out, at, first);
      if (type === ScmpType.internalConnectivityDown) at = writeScmpInterface(out, at, second);
    } else {
      at = writeScmpPair(out, at, 0, first);
    }
    const quoted = quoteLength(at, view.end - view.at);
    copy(buf, view.at, out, at, quoted);
    return this.finish(scmp, at + quoted);
  }

  /** Builds the reply to a traceroute request that was for interface `id` of this router. */
  traceroute(buf: Uint8Array, view: PacketView, peering: boolean, external: boolean, id: number): boolean {
    const out = this.packet;
    const scmp = this.header(buf, view, peering, external);
    if (scmp < 0) return false;
    let at = writeScmpHeader(out, scmp, ScmpType.tracerouteReply, 0);
    copy(buf, view.l4At + 4, out, at, 4);
    at = this.isdAs(at + 4);
    return this.finish(scmp, writeScmpInterface(out, at, id));
  }

  private isdAs(at: number): number {
    return writeU32(this.packet, writeU32(this.packet, at, this.iaHigh), this.iaLow);
  }

  /** Headers up to the SCMP message; -1 when the packet came by a link that is not on its path before this hop. */
  private header(buf: Uint8Array, view: PacketView, peering: boolean, external: boolean): number {
    const out = this.packet;
    const hostLength = this.host.length;
    const ownType = hostLength === 4 ? HostType.ipv4 : HostType.ipv6;
    const sourceLength = view.pathAt - view.srcHostAt;
    copy(buf, view.at, out, 0, 4);
    writeU32(out, 4, NextHeader.scmp << 24);
    // Path type SCION also for the answer to an EPIC packet.
    writeU32(out, 8, (1 << 24) | (((view.srcHostType << 4) | ownType) << 16));
    copy(buf, srcIaAt(view), out, 12, 8);
    this.isdAs(SRC_IA_AT);
    copy(buf, view.srcHostAt, out, DST_HOST_AT, sourceLength);
    const path = DST_HOST_AT + sourceLength + hostLength;
    copy(this.host, 0, out, path - hostLength, hostLength);
    const end = reversePath(buf, view.metaAt, out, path);
    if (!peering && isXover(metaWord(out, path))) incPath(out, path);
    if (external && !leave(out, path, peering)) return -1;
    out[5] = end / 4;
    return end;
  }

  private finish(scmp: number, end: number): boolean {
    setPayloadLength(this.packet, 0, end - scmp);
    writeScmpChecksum(this.packet, 0, scmp, end);
    this.length = end;
    return true;
  }
}

/**
 * What a router does to a path when it sends the packet on an external link.
 * @returns false when the path ends here
 */
export function leave(buf: Uint8Array, path: number, peering: boolean): boolean {
  const word = metaWord(buf, path);
  const info = infoAt(path, currInfOf(word));
  if (!peering && isConsDir(buf, info)) updateSegId(buf, info, hopAt(path, numInfOf(word), currHfOf(word)));
  return incPath(buf, path);
}

/** Whether the source is one host, so that an error may be sent there: not multicast, broadcast or unspecified. */
export function isUniqueSource(buf: Uint8Array, view: PacketView): boolean {
  const at = view.srcHostAt;
  const length = view.pathAt - at;
  switch (view.srcHostType) {
    case HostType.ipv4:
      return buf[at]! < 224 && !isUnspecifiedIp(buf, at, length);
    case HostType.ipv6:
      return buf[at] !== 0xff && !isUnspecifiedIp(buf, at, length);
    case HostType.service:
      return (buf[at]! & (SERVICE_MULTICAST >> 8)) === 0;
    default:
      return true;
  }
}
