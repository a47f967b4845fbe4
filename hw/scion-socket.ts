/**
 * A SCION UDP socket for one host: datagrams over chosen paths, answers on reversed ones, echo both ways, path lookup and
 * one path manager per destination AS, fed by probes and SCMP errors.
 *
 *   const socket = await ScionSocket.open({ topology, hostIp: '10.0.0.1', port: 4059, pathSource, log });
 *   socket.onDatagram = (payload, peer) => socket.reply(peer, answerTo(payload));
 *   await socket.paths(dst.ia);
 *   socket.send(dst, request, socket.manager(dst.ia).select(socket.now()));
 *
 * What it shares with a host that only answers is in scion-endpoint.ts.
 */

import { randomBytes } from 'node:crypto';
import { equalBytes } from '#base/bytes';
import { messageOf, ScionError } from '#base/errors';
import type { PathSource } from '#hw/path-source';
import {
  type BoundSockets,
  bindEndpoint,
  type EndpointCounters,
  type EndpointOptions,
  ScionEndpoint,
} from '#hw/scion-endpoint';
import type { HostAddress } from '#scion/address';
import { emptyPath } from '#scion/combinator';
import type { HostEndpoint, PeerRef, Received } from '#scion/end-host';
import { SHIM_PORT } from '#scion/host-topology';
import type { IpPort } from '#scion/ip';
import { formatIsdAs } from '#scion/isd-as';
import { PathManager, type PathSwitch } from '#scion/path-manager';
import { panFingerprint, type ScionPath } from '#scion/path-metadata';
import type { PathRules } from '#scion/path-preference';
import type { PathPolicy } from '#scion/policy';
import { TRACEROUTE_LENGTH } from '#scion/scmp';
import { interfaceIdsOf, SendingHost } from '#scion/sending-host';

export interface ScionSocketOptions extends EndpointOptions {
  /** Without one the socket only answers. */
  readonly pathSource?: PathSource;
  readonly policy?: PathPolicy;
  /** Policy, preference and pin of every destination that gets no rules of its own. */
  readonly rules?: PathRules;
  /** Whether paths in use are probed by echo; on when there is a path source. */
  readonly probing?: boolean;
  /** Unix ms. */
  readonly wallNow?: () => number;
}

/** Figures of a socket, counted since it was opened. */
export interface ScionSocketCounters extends EndpointCounters {
  probesSent: number;
  probesAnswered: number;
  scmpBelieved: number;
}

interface Destination {
  readonly manager: PathManager;
  /** Host that probes go to: the last one that was sent to. */
  probeHost: HostAddress | undefined;
  lookup: Promise<void> | undefined;
}

interface Probe {
  readonly manager: PathManager;
  readonly fingerprint: string;
  readonly data: Uint8Array;
  readonly sentAt: number;
  readonly timeoutAt: number;
  timedOut: boolean;
  /** For `ping`: told the round trip. */
  readonly onAnswer: ((rttMs: number) => void) | undefined;
}

/** An answer later than this is not waited for. */
const PROBE_LIFE_MS = 10_000;
const PROBE_DATA = 8;
const NO_DATA = new Uint8Array(0);
const LONGEST_SLEEP_MS = 1_000;
const SHORTEST_SLEEP_MS = 5;

export class ScionSocket extends ScionEndpoint {
  /** Called when a destination's traffic moves to another path. */
  onSwitch: (dst: bigint, change: PathSwitch) => void = () => {};

  override readonly counters: ScionSocketCounters = {
    sent: 0,
    received: 0,
    ignored: 0,
    echoesAnswered: 0,
    probesSent: 0,
    probesAnswered: 0,
    scmpBelieved: 0,
    sendErrors: 0,
  };

  declare protected readonly host: SendingHost;
  private readonly options: ScionSocketOptions;
  private readonly wallNow: () => number;
  private readonly probing: boolean;
  private readonly destinations = new Map<bigint, Destination>();
  /** Destinations with rules of their own. */
  private readonly special = new Set<Destination>();
  private readonly probes = new Map<number, Probe>();
  /** Requests to routers at the end of silent paths, by sequence number. */
  private readonly arrivals = new Map<number, Pick<Probe, 'manager' | 'fingerprint' | 'sentAt'>>();
  private sequence = 0;
  private timer: NodeJS.Timeout | undefined;

  /**
   * Opens a socket on `hostIp:port`.
   * @throws S3mpError `socket.in-use`, `socket.failed`; ScionError `scion.address` when `hostIp` is no IP address
   */
  static override async open(options: ScionSocketOptions): Promise<ScionSocket> {
    return new ScionSocket(options, await bindEndpoint(options));
  }

  private constructor(options: ScionSocketOptions, bound: BoundSockets) {
    super(options, bound, SendingHost);
    this.options = options;
    this.wallNow = options.wallNow ?? Date.now;
    this.probing = options.probing ?? options.pathSource !== undefined;
  }

  override close(): Promise<void> {
    clearTimeout(this.timer);
    return super.close();
  }

  // --- Datagrams -------------------------------------------------------------------------------------------------------

  /**
   * Sends a datagram over a path.
   * @throws ScionError `encode.out-of-range` when it does not fit the path's MTU: it would vanish on the way
   */
  send(dst: HostEndpoint, payload: Uint8Array, path: ScionPath): void {
    const length = this.host.datagramLength(dst, path.raw, payload);
    if (length > path.mtu)
      throw new ScionError('encode.out-of-range', `packet of ${length} bytes exceeds the path's MTU of ${path.mtu}`);
    const destination = this.destinations.get(dst.ia);
    if (destination !== undefined && !this.isSpecial(dst)) destination.probeHost = dst.host;
    const packet = Buffer.allocUnsafe(length);
    this.host.writeDatagram(packet, 0, dst, path.raw, payload, this.now());
    this.transmit(packet, this.host.nextHop(dst, path));
  }

  /** Bytes of payload that fit into one datagram on a path. */
  maxPayload(dst: HostEndpoint, path: ScionPath): number {
    return this.host.maxPayload(dst, path);
  }

  /** Underlay address to which packets for `dst` on `path` go. */
  nextHop(dst: HostEndpoint, path: ScionPath): IpPort {
    return this.host.nextHop(dst, path);
  }

  protected override receiveOther(received: Received, now: number): void {
    switch (received.kind) {
      case 'echo-reply':
        this.onEchoReply(received.src, received.sequence, received.data, now);
        return;
      case 'traceroute-reply':
        this.onTracerouteReply(received.ia, received.sequence, now);
        return;
      case 'interface-down':
        this.counters.scmpBelieved++;
        this.log.info('router says interface is down', { interface: `${formatIsdAs(received.ia)}#${received.id}` });
        for (const { manager } of this.all())
          if (manager.dst === received.dst) manager.onScmpDown(received.ia, received.id, now);
        this.schedule(0);
        return;
      case 'scmp-error':
        this.counters.scmpBelieved++;
        this.log.warn('a router refused a packet', { type: received.type, code: received.code });
        return;
      default:
        this.counters.ignored++;
    }
  }

  // --- Paths -----------------------------------------------------------------------------------------------------------

  /** The path manager of a destination AS; the first call starts looking up paths. */
  manager(dst: bigint): PathManager {
    return this.destination(dst).manager;
  }

  /**
   * A manager with rules of its own for one host, beside the shared one of its AS. It starts with what that one knows, and
   * the host is no longer probed by the shared rules.
   */
  addManager(host: HostEndpoint, rules: PathRules): PathManager {
    const shared = this.destination(host.ia);
    const manager = new PathManager({ dst: host.ia, rules, onSwitch: (change) => this.onSwitch(host.ia, change) });
    manager.learnFrom(shared.manager);
    if (shared.probeHost !== undefined && equalHosts(shared.probeHost, host.host)) shared.probeHost = undefined;
    this.special.add({ manager, probeHost: host.host, lookup: undefined });
    this.schedule(0);
    return manager;
  }

  /** Ends a manager made by `addManager`. */
  removeManager(manager: PathManager): void {
    for (const each of this.special) if (each.manager === manager) this.special.delete(each);
  }

  private *all(): Generator<Destination> {
    yield* this.destinations.values();
    yield* this.special;
  }

  private isSpecial({ ia, host }: HostEndpoint): boolean {
    for (const { manager, probeHost } of this.special)
      if (manager.dst === ia && probeHost !== undefined && equalHosts(probeHost, host)) return true;
    return false;
  }

  /**
   * Looks up paths to an AS anew and gives them to its manager.
   * @returns every path, also those that the policy forbids
   * @throws ScionError `scion.path-service`
   */
  async paths(dst: bigint): Promise<ScionPath[]> {
    return this.lookUp(this.destination(dst));
  }

  /** Fingerprint of the managed path on whose reversal a datagram came back; undefined when it is none of ours. */
  pathOf(peer: PeerRef): string | undefined {
    const ids = interfaceIdsOf(peer.path);
    const manager = this.destinations.get(peer.ia)?.manager;
    return manager?.paths().find((path) => panFingerprint(path.interfaces) === ids)?.fingerprint;
  }

  private destination(dst: bigint): Destination {
    let destination = this.destinations.get(dst);
    if (destination === undefined) {
      const { policy, rules } = this.options;
      const manager = new PathManager({
        dst,
        ...(rules === undefined ? {} : { rules }),
        ...(policy === undefined ? {} : { policy }),
        onSwitch: (change) => this.onSwitch(dst, change),
      });
      destination = { manager, probeHost: undefined, lookup: undefined };
      this.destinations.set(dst, destination);
      this.schedule(0);
    }
    return destination;
  }

  private async lookUp({ manager }: Destination): Promise<ScionPath[]> {
    const { dst } = manager;
    const { topology, pathSource } = this.options;
    manager.onRefresh(this.now());
    let paths: ScionPath[];
    if (dst === topology.ia) paths = [emptyPath(dst, topology.mtu)];
    else if (pathSource === undefined) paths = [];
    else paths = await pathSource.paths(dst, { refresh: manager.paths().length > 0 });
    const wallNow = this.wallNow();
    const living = paths.filter((path) => path.expiryMs > wallNow);
    manager.update(living, this.now(), wallNow);
    this.schedule(0);
    return living;
  }

  // --- Time ------------------------------------------------------------------------------------------------------------

  private schedule(inMs: number): void {
    if (this.closed) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.tick(), Math.max(SHORTEST_SLEEP_MS, Math.min(LONGEST_SLEEP_MS, inMs)));
    this.timer.unref();
  }

  private tick(): void {
    const now = this.now();
    this.expireProbes(now);
    let next = now + LONGEST_SLEEP_MS;
    for (const destination of this.all()) {
      this.refresh(destination, now);
      next = Math.min(next, destination.manager.nextRefresh(), this.probe(destination, now));
    }
    for (const probe of this.probes.values()) if (!probe.timedOut) next = Math.min(next, probe.timeoutAt);
    this.schedule(next - now);
  }

  private refresh(destination: Destination, now: number): void {
    if (destination.lookup !== undefined || !destination.manager.refreshDue(now)) return;
    destination.lookup = this.lookUp(destination)
      .then(() => {})
      .catch((error) => this.log.warn('no path lookup', { error: messageOf(error) }))
      .finally(() => {
        destination.lookup = undefined;
      });
  }

  /** Sends the probes that are due. @returns when the next one is */
  private probe({ manager, probeHost }: Destination, now: number): number {
    if (!this.probing || probeHost === undefined || manager.dst === this.local.ia) return Number.POSITIVE_INFINITY;
    for (;;) {
      const path = manager.nextProbe(now);
      if (path === undefined) return manager.nextProbeAt(now);
      manager.onSent(path.fingerprint, now, 'probe');
      const dst = { ia: manager.dst, host: probeHost };
      this.sendProbe(manager, dst, path, PROBE_DATA, manager.rtoMs(path.fingerprint));
      if (manager.isSilent(path.fingerprint)) this.askRouter(manager, dst, path);
    }
  }

  private sendProbe(
    manager: PathManager,
    dst: Omit<HostEndpoint, 'port'>,
    path: ScionPath,
    size: number,
    timeoutMs: number,
    onAnswer?: (rttMs: number) => void,
  ): number {
    const now = this.now();
    const sequence = this.nextSequence();
    // Unpredictable, so that only who saw the request can answer it.
    const data = randomBytes(Math.max(PROBE_DATA, size));
    this.probes.set(sequence, {
      manager,
      fingerprint: path.fingerprint,
      data,
      sentAt: now,
      timeoutAt: now + timeoutMs,
      timedOut: false,
      onAnswer,
    });
    const packet = Buffer.allocUnsafe(this.host.datagramLength({ ...dst, port: 0 }, path.raw, data));
    this.host.writeEcho(packet, 0, dst, path.raw, sequence, data, now);
    this.counters.probesSent++;
    this.transmit(packet, this.host.nextHop({ ...dst, port: SHIM_PORT }, path));
    return packet.length;
  }

  private nextSequence(): number {
    const { sequence } = this;
    this.sequence = (sequence + 1) & 0xffff;
    return sequence;
  }

  /** Asks the border router at the end of a silent path: its answer tells a dead host from a dead path. */
  private askRouter(manager: PathManager, dst: Omit<HostEndpoint, 'port'>, path: ScionPath): void {
    if (path.raw.length === 0) return;
    const now = this.now();
    const sequence = this.nextSequence();
    this.arrivals.set(sequence, { manager, fingerprint: path.fingerprint, sentAt: now });
    const packet = Buffer.allocUnsafe(
      this.host.datagramLength({ ...dst, port: 0 }, path.raw, NO_DATA) + TRACEROUTE_LENGTH,
    );
    const last = SendingHost.hopCount(path.raw) - 1;
    const end = this.host.writeTraceroute(packet, 0, dst, path.raw, last, 'ingress', sequence, now);
    this.transmit(packet.subarray(0, end), this.host.nextHop({ ...dst, port: SHIM_PORT }, path));
  }

  private onTracerouteReply(ia: bigint, sequence: number, now: number): void {
    const asked = this.arrivals.get(sequence);
    if (asked === undefined || asked.manager.dst !== ia) {
      this.counters.ignored++;
      return;
    }
    this.arrivals.delete(sequence);
    asked.manager.onArrived(asked.fingerprint, now);
  }

  private onEchoReply(src: bigint, sequence: number, data: Uint8Array, now: number): void {
    const probe = this.probes.get(sequence);
    if (probe === undefined || probe.manager.dst !== src || !equalBytes(probe.data, data)) {
      this.counters.ignored++;
      return;
    }
    this.probes.delete(sequence);
    this.counters.probesAnswered++;
    const rttMs = now - probe.sentAt;
    probe.manager.onAnswered(probe.fingerprint, rttMs, now, 'probe');
    probe.onAnswer?.(rttMs);
  }

  private expireProbes(now: number): void {
    for (const [sequence, probe] of this.probes) {
      if (now - probe.sentAt > PROBE_LIFE_MS) this.probes.delete(sequence);
      if (probe.timedOut || now < probe.timeoutAt) continue;
      probe.timedOut = true;
      if (probe.onAnswer === undefined) probe.manager.onSilence(probe.fingerprint, now, probe.sentAt, 'probe');
    }
    for (const [sequence, { sentAt }] of this.arrivals)
      if (now - sentAt > PROBE_LIFE_MS) this.arrivals.delete(sequence);
  }

  /**
   * One SCMP echo over a path.
   * @param size  bytes of data, at least 8
   * @returns round trip in ms, undefined when nothing came back in time, and the size of the SCION packet
   */
  ping(
    dst: Omit<HostEndpoint, 'port'>,
    path: ScionPath,
    { size = PROBE_DATA, timeoutMs = 1000 } = {},
  ): Promise<{ rttMs: number | undefined; packetBytes: number }> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve({ rttMs: undefined, packetBytes }), timeoutMs);
      const { manager } = this.destination(dst.ia);
      const packetBytes = this.sendProbe(manager, dst, path, size, timeoutMs, (rttMs) => {
        clearTimeout(timer);
        resolve({ rttMs, packetBytes });
      });
      this.schedule(timeoutMs);
    });
  }
}

function equalHosts(a: HostAddress, b: HostAddress): boolean {
  return a.type === b.type && equalBytes(a.bytes, b.bytes);
}
