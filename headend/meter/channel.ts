/**
 * Request and answer with one meter over SCION datagrams: sends a frame over the path chosen now, sends the very same
 * bytes again over the next best path when the answer is late, and takes the answer only from the meter and only on the
 * exact reversal of a path that this request used.
 */

import { S3mpError, ScionError } from '#base/errors';
import { isAnswerTo } from '#dlms/match';
import type { Log } from '#hw/log';
import type { ScionSocket } from '#hw/scion-socket';
import { formatEndpoint } from '#scion/address';
import type { HostEndpoint, PeerRef } from '#scion/end-host';
import { formatIsdAs } from '#scion/isd-as';
import type { PathManager } from '#scion/path-manager';
import type { ScionPath } from '#scion/path-metadata';
import type { PathRules } from '#scion/path-preference';
import { cameBackOn } from '#scion/sending-host';

interface Sending {
  readonly path: ScionPath;
  readonly firstAt: number;
  lastAt: number;
  count: number;
}

/** Whether an answer's frame is to the request's frame. */
export type Matcher = (request: Uint8Array, answer: Uint8Array) => boolean;

interface Pending {
  readonly frame: Uint8Array;
  readonly takes: Matcher;
  readonly deadlineAt: number;
  readonly sendings: Sending[];
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
  timer: NodeJS.Timeout | undefined;
}

export interface Answer {
  /** A copy of the answer's wrapper frame. */
  readonly frame: Uint8Array;
  /** The path that the request took and whose reversal the answer took. */
  readonly path: ScionPath;
  /** Datagrams sent until it came. */
  readonly sent: number;
}

/** Without any path the channel looks again after this time. */
const NO_PATH_RETRY_MS = 250;

export class MeterChannel {
  readonly meter: HostEndpoint;
  /** Answers on a path that was not chosen, since the start. */
  mismatches = 0;
  private readonly socket: ScionSocket;
  private readonly log: Log;
  private pending: Pending | undefined;
  /** The last request that was answered, and its sendings on other paths. */
  private answered: Pick<Pending, 'frame' | 'sendings'> | undefined;
  private own: PathManager | undefined;

  constructor(socket: ScionSocket, meter: HostEndpoint, log: Log) {
    this.socket = socket;
    this.meter = meter;
    this.log = log;
  }

  /** Which path to this meter to use; shared with other meters of its AS unless it has rules of its own. */
  get manager(): PathManager {
    return this.own ?? this.socket.manager(this.meter.ia);
  }

  /** Gives this meter path rules of its own; undefined: those of the head end again. */
  setRules(rules: PathRules | undefined): void {
    if (rules === undefined) {
      if (this.own !== undefined) this.socket.removeManager(this.own);
      this.own = undefined;
    } else if (this.own === undefined) this.own = this.socket.addManager(this.meter, rules);
    else this.own.setRules(rules);
    // The choice is made now, so that it shows before the next request.
    const now = this.socket.now();
    if (this.manager.hasPath(now)) this.manager.select(now);
  }

  /**
   * Sends a request frame until its answer comes. One at a time.
   * @param deadlineAt  steady ms of the socket's clock
   * @param takes  asked last of all, so that an answer that it takes is the answer
   * @throws S3mpError `meter.unreachable` at the deadline; ScionError `path.none`, `path.none-conforming` when there was
   *   no path until then
   */
  exchange(frame: Uint8Array, deadlineAt: number, takes: Matcher = isAnswerTo): Promise<Answer> {
    if (this.pending !== undefined) {
      return Promise.reject(new S3mpError('meter.busy', 'a request to this meter is under way'));
    }
    return new Promise((resolve, reject) => {
      this.pending = { frame: frame.slice(), takes, deadlineAt, sendings: [], resolve, reject, timer: undefined };
      this.send(this.pending);
    });
  }

  private send(pending: Pending): void {
    const { manager } = this;
    const now = this.socket.now();
    let path: ScionPath;
    try {
      const used = pending.sendings.map((s) => s.path.fingerprint);
      path = used.length === 0 ? manager.select(now) : manager.selectRepeat(now, used);
    } catch (error) {
      this.waitForPath(pending, error, now);
      return;
    }
    try {
      this.socket.send(this.meter, pending.frame, path);
    } catch (error) {
      this.finish(pending);
      pending.reject(error);
      return;
    }
    const known = pending.sendings.find((s) => s.path.fingerprint === path.fingerprint);
    if (known) {
      known.lastAt = now;
      known.count++;
    } else pending.sendings.push({ path, firstAt: now, lastAt: now, count: 1 });
    const wait = Math.min(manager.rtoMs(path.fingerprint), pending.deadlineAt - now);
    pending.timer = setTimeout(() => this.silent(pending, path, now), Math.max(1, wait));
  }

  /** No path now: the lookup may be under way, or the link heals before the deadline. */
  private waitForPath(pending: Pending, error: unknown, now: number): void {
    if (now >= pending.deadlineAt) {
      this.finish(pending);
      // Once a datagram has left, the meter may have acted on it: "no path" would say that it has not.
      pending.reject(pending.sendings.length === 0 ? error : this.unreachable(pending));
      return;
    }
    const again = () => {
      if (this.pending === pending) this.send(pending);
    };
    const wait = Math.min(NO_PATH_RETRY_MS, Math.max(1, pending.deadlineAt - now));
    pending.timer = setTimeout(again, wait);
    if (this.manager.paths().length === 0) {
      const lookedUp = (found: number) => {
        // A lookup that found nothing answers at once: only the timer may ask again.
        if (found === 0) return;
        clearTimeout(pending.timer);
        again();
      };
      this.socket.paths(this.meter.ia).then(
        (paths) => lookedUp(paths.length),
        () => {},
      );
    }
  }

  private silent(pending: Pending, path: ScionPath, sentAt: number): void {
    if (this.pending !== pending) return;
    const now = this.socket.now();
    this.manager.onSilence(path.fingerprint, now, sentAt, 'request');
    if (now < pending.deadlineAt) {
      this.send(pending);
      return;
    }
    this.finish(pending);
    pending.reject(this.unreachable(pending));
  }

  /**
   * Why nothing was answered since a time, if it is the policy: no allowed path has even led to the meter's router, and a
   * forbidden one is left.
   */
  cutOff(since: number): ScionError | undefined {
    const { manager } = this;
    const now = this.socket.now();
    const forbidden = manager.forbiddenPath(now);
    if (forbidden === undefined || !manager.isCutOff(since, now)) return undefined;
    const to = formatIsdAs(this.meter.ia);
    return new ScionError(
      'path.none-conforming',
      `no allowed path leads to ${to} now; forbidden: ${forbidden.hops}, ${forbidden.why}`,
      { destination: to },
    );
  }

  private unreachable({ sendings }: Pending): S3mpError {
    const sent = sendings.reduce((n, s) => n + s.count, 0);
    const over = `${sendings.length} path${sendings.length === 1 ? '' : 's'}`;
    const message = `no answer from ${formatEndpoint(this.meter)} to ${sent} datagrams over ${over}`;
    return new S3mpError('meter.unreachable', message, { sent, paths: sendings.length });
  }

  /** Takes a datagram from the meter; what answers nothing is dropped. */
  receive(frame: Uint8Array, peer: PeerRef): void {
    const { pending } = this;
    if (pending === undefined || !isAnswerTo(pending.frame, frame)) {
      this.receiveLate(frame, peer);
      return;
    }
    const sending = pending.sendings.find((s) => cameBackOn(peer, s.path));
    // Only the client can tell an answer that is ciphered from a late one.
    if (sending !== undefined && !pending.takes(pending.frame, frame)) {
      this.receiveLate(frame, peer);
      return;
    }
    if (sending === undefined) {
      if (this.receiveLate(frame, peer)) return;
      this.mismatches++;
      this.log.warn('an answer came over a path that was not chosen', { meter: peer.text });
      return;
    }
    const now = this.socket.now();
    // Sent twice on one path, the answer may be to either: the longer time is the safe one.
    this.manager.onAnswered(sending.path.fingerprint, now - sending.firstAt, now, 'request');
    this.finish(pending);
    this.answered = { frame: pending.frame, sendings: pending.sendings.filter((s) => s !== sending) };
    const sent = pending.sendings.reduce((n, s) => n + s.count, 0);
    pending.resolve({ frame: frame.slice(), path: sending.path, sent });
  }

  /** A second answer to the last request tells that its path was slow, not cut. */
  private receiveLate(frame: Uint8Array, peer: PeerRef): boolean {
    const { answered } = this;
    if (answered === undefined || !isAnswerTo(answered.frame, frame)) return false;
    const index = answered.sendings.findIndex((s) => cameBackOn(peer, s.path));
    if (index < 0) return false;
    const [sending] = answered.sendings.splice(index, 1);
    const now = this.socket.now();
    this.manager.onAnswered(sending!.path.fingerprint, now - sending!.firstAt, now, 'request');
    return true;
  }

  private finish(pending: Pending): void {
    clearTimeout(pending.timer);
    this.pending = undefined;
  }

  close(): void {
    const { pending } = this;
    if (pending === undefined) return;
    this.finish(pending);
    pending.reject(new S3mpError('meter.unreachable', 'the head end is stopping'));
  }
}

/** Hands the datagrams of a socket to the channels of their senders. */
export class ChannelSwitch {
  private readonly channels = new Map<string, MeterChannel>();
  private readonly keys = new WeakMap<PeerRef, string>();

  constructor(socket: ScionSocket) {
    socket.onDatagram = (frame, peer) => {
      let key = this.keys.get(peer);
      if (key === undefined) {
        key = formatEndpoint(peer);
        this.keys.set(peer, key);
      }
      this.channels.get(key)?.receive(frame, peer);
    };
  }

  add(channel: MeterChannel): void {
    this.channels.set(formatEndpoint(channel.meter), channel);
  }

  /** Ends the deliveries to a channel, unless another one has taken its address. */
  remove(channel: MeterChannel): void {
    const key = formatEndpoint(channel.meter);
    if (this.channels.get(key) === channel) this.channels.delete(key);
  }
}
