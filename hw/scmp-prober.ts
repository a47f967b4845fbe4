/**
 * SCMP requests for the tools: echo to a host, traceroute to one router of a path, each with its answer, an SCMP error of a
 * router in words, or silence. One UDP socket of its own; its port is the identifier of the requests.
 */

import { randomBytes } from 'node:crypto';
import type { RemoteInfo, Socket } from 'node:dgram';
import { equalBytes, readU16, readU64 } from '#base/bytes';
import { bindDispatched } from '#hw/scion-endpoint';
import { formatHost, type HostAddress, parseHost, readHost } from '#scion/address';
import { checksum } from '#scion/checksum';
import type { HostEndpoint } from '#scion/end-host';
import { NextHeader } from '#scion/header';
import { type HostTopology, SHIM_PORT } from '#scion/host-topology';
import type { IpPort } from '#scion/ip';
import { dstIaAt, isPayloadComplete, PacketView, ParseFault, parsePacket, srcIaAt } from '#scion/packet';
import type { ScionPath } from '#scion/path-metadata';
import { decodeScmp, isScmpError, type ScmpMessage, ScmpType, TRACEROUTE_LENGTH } from '#scion/scmp';
import { scmpText } from '#scion/scmp-text';
import { SendingHost } from '#scion/sending-host';
import type { TracerouteStep } from '#scion/traceroute';

/** A host of an AS; the port does not matter to SCMP. */
export type ScmpTarget = Omit<HostEndpoint, 'port'>;

/** What became of a request. */
export type ScmpOutcome =
  | {
      readonly kind: 'answer';
      readonly rttMs: number;
      /** Who answered. */
      readonly ia: bigint;
      readonly host: string;
      /** Bytes of the SCION packet that answered. */
      readonly packetBytes: number;
      /** The interface asked, of a traceroute. */
      readonly interface: number;
    }
  | { readonly kind: 'error'; readonly text: string; readonly message: ScmpMessage }
  | { readonly kind: 'timeout' };

interface Pending {
  readonly answerType: number;
  /** What an echo must bring back. */
  readonly data: Uint8Array;
  readonly sentAt: number;
  readonly settle: (outcome: ScmpOutcome) => void;
}

export interface ScmpProberOptions {
  readonly topology: HostTopology;
  /** Own address in the AS. */
  readonly hostIp: string;
}

/** An echo carries at least this much, so that only who saw the request can answer it. */
export const LEAST_ECHO_DATA = 8;
const NO_DATA = new Uint8Array(0);

export class ScmpProber {
  private readonly socket: Socket;
  private readonly host: SendingHost;
  private readonly view = new PacketView();
  private readonly quote = new PacketView();
  private readonly pending = new Map<number, Pending>();
  private sequence = 0;

  /** @throws S3mpError `socket.failed`; ScionError `scion.address` when `hostIp` is no IP address */
  static async open({ topology, hostIp }: ScmpProberOptions): Promise<ScmpProber> {
    const host = parseHost(hostIp);
    const socket = await bindDispatched(hostIp, 0, topology.dispatchedPorts);
    return new ScmpProber(socket, new SendingHost({ topology, host, port: socket.address().port }));
  }

  private constructor(socket: Socket, host: SendingHost) {
    this.socket = socket;
    this.host = host;
    socket.on('message', ({ buffer, byteOffset, length }: Buffer, _from: RemoteInfo) =>
      this.receive(new Uint8Array(buffer, byteOffset, length), performance.now()),
    );
    // An underlay that refuses shows as silence.
    socket.on('error', () => {});
  }

  /** Own address, `127.0.0.1`. */
  get hostText(): string {
    return formatHost(this.host.local.host);
  }

  get localHost(): HostAddress {
    return this.host.local.host;
  }

  /** Underlay address to which requests for a host go. */
  nextHop(dst: ScmpTarget, path: ScionPath): IpPort {
    return this.host.nextHop({ ...dst, port: SHIM_PORT }, path);
  }

  /** Bytes of the SCION packet of an echo request. */
  echoLength(dst: ScmpTarget, path: ScionPath, size: number): number {
    return this.host.datagramLength({ ...dst, port: 0 }, path.raw, new Uint8Array(size));
  }

  /** @param size  bytes of data, at least `LEAST_ECHO_DATA` */
  echo(dst: ScmpTarget, path: ScionPath, size: number, timeoutMs: number): Promise<ScmpOutcome> {
    const data = randomBytes(Math.max(LEAST_ECHO_DATA, size));
    const packet = new Uint8Array(this.echoLength(dst, path, data.length));
    const { sequence, now } = this.next();
    this.host.writeEcho(packet, 0, dst, path.raw, sequence, data, now);
    return this.send(packet, dst, path, { sequence, answerType: ScmpType.echoReply, data, now, timeoutMs });
  }

  /** Asks the router at one step of the path. */
  traceroute(dst: ScmpTarget, path: ScionPath, step: TracerouteStep, timeoutMs: number): Promise<ScmpOutcome> {
    const room = this.host.datagramLength({ ...dst, port: 0 }, path.raw, NO_DATA) + TRACEROUTE_LENGTH;
    const packet = new Uint8Array(room);
    const { sequence, now } = this.next();
    const end = this.host.writeTraceroute(packet, 0, dst, path.raw, step.hop, step.side, sequence, now);
    const answerType = ScmpType.tracerouteReply;
    return this.send(packet.subarray(0, end), dst, path, { sequence, answerType, data: NO_DATA, now, timeoutMs });
  }

  close(): Promise<void> {
    for (const { settle } of this.pending.values()) settle({ kind: 'timeout' });
    return new Promise((resolve) => this.socket.close(() => resolve()));
  }

  private next(): { sequence: number; now: number } {
    const { sequence } = this;
    this.sequence = (sequence + 1) & 0xffff;
    return { sequence, now: performance.now() };
  }

  private send(
    packet: Uint8Array,
    dst: ScmpTarget,
    path: ScionPath,
    request: { sequence: number; answerType: number; data: Uint8Array; now: number; timeoutMs: number },
  ): Promise<ScmpOutcome> {
    const { sequence, answerType, data, now, timeoutMs } = request;
    const { host, port } = this.nextHop(dst, path);
    return new Promise((resolve) => {
      const timer = setTimeout(() => settle({ kind: 'timeout' }), timeoutMs);
      const settle = (outcome: ScmpOutcome) => {
        clearTimeout(timer);
        this.pending.delete(sequence);
        resolve(outcome);
      };
      this.pending.set(sequence, { answerType, data, sentAt: now, settle });
      this.socket.send(packet, port, host, () => {});
    });
  }

  private receive(packet: Uint8Array, now: number): void {
    const { view } = this;
    if (parsePacket(packet, 0, packet.length, view) !== ParseFault.none || !isPayloadComplete(view)) return;
    if (view.l4Protocol !== NextHeader.scmp || !this.isForMe(packet)) return;
    if (checksum(packet, 0, view.l4At, view.l4End, NextHeader.scmp) !== 0) return;
    const message = decodeScmp(packet, view.l4At, view.l4End);
    if (message === undefined) return;
    if (isScmpError(message.type)) {
      this.pending.get(this.quotedSequence(message.data))?.settle({ kind: 'error', text: scmpText(message), message });
      return;
    }
    if (message.type !== ScmpType.echoReply && message.type !== ScmpType.tracerouteReply) return;
    const pending = this.pending.get(message.sequence);
    if (pending?.answerType !== message.type || message.identifier !== this.host.local.port) return;
    if (message.type === ScmpType.echoReply && !equalBytes(message.data, pending.data)) return;
    pending.settle({
      kind: 'answer',
      rttMs: now - pending.sentAt,
      ia: readU64(packet, srcIaAt(view)),
      host: formatHost(readHost(view.srcHostType, packet, view.srcHostAt)),
      packetBytes: packet.length,
      interface: message.type === ScmpType.tracerouteReply ? Number(message.interface) : 0,
    });
  }

  private isForMe(packet: Uint8Array): boolean {
    const { view } = this;
    const { ia, host } = this.host.local;
    if (readU64(packet, dstIaAt(view)) !== ia || view.dstHostType !== host.type) return false;
    return equalBytes(packet.subarray(view.dstHostAt, view.dstHostAt + host.bytes.length), host.bytes);
  }

  /** Sequence number of the request that an error quotes; -1 when it quotes none of ours. */
  private quotedSequence(quote: Uint8Array): number {
    const view = this.quote;
    if (parsePacket(quote, 0, quote.length, view) !== ParseFault.none) return -1;
    const at = view.l4At;
    if (view.l4Protocol !== NextHeader.scmp || quote.length - at < 8) return -1;
    if (readU64(quote, srcIaAt(view)) !== this.host.local.ia) return -1;
    const type = quote[at]!;
    if (type !== ScmpType.echoRequest && type !== ScmpType.tracerouteRequest) return -1;
    return readU16(quote, at + 4) === this.host.local.port ? readU16(quote, at + 6) : -1;
  }
}
