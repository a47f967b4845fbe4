/**
 * Bidirectional forwarding detection (RFC 5880), asynchronous mode without echo, authentication, demand mode and polls, as
 * SCION routers speak it (scionproto router/bfd): the control packet, and one session as a state machine without I/O.
 *
 *   | version 1, diag | state, flags | detect mult | 24 | my discriminator (4) | your discriminator (4) |
 *   | desired min tx µs (4) | required min rx µs (4) | required min echo rx µs (4) |
 */

import { readU32, writeU32 } from '#base/bytes';

export const BFD_LENGTH = 24;

export const BfdState = { adminDown: 0, down: 1, init: 2, up: 3 } as const;
export const BFD_STATE_NAMES = ['admin-down', 'down', 'init', 'up'] as const;

/** Diagnostic codes that we send; others are read. */
export const BfdDiagnostic = { none: 0, detectionTimeExpired: 1, neighbourDown: 3 } as const;

const VERSION = 1;
/** Poll, final, authentication, demand and multipoint: none is in use. */
const REFUSED_FLAGS = 0x37;
/** While a session is not up it sends at most once a second. */
const SLOW_INTERVAL_MS = 1000;

export interface BfdTimers {
  readonly detectMult: number;
  readonly desiredMinTxMs: number;
  readonly requiredMinRxMs: number;
}

export const BFD_DEFAULTS: BfdTimers = { detectMult: 3, desiredMinTxMs: 200, requiredMinRxMs: 200 };

/** A control packet as plain values. */
export interface BfdPacket {
  readonly diagnostic: number;
  readonly state: number;
  readonly detectMult: number;
  readonly myDiscriminator: number;
  readonly yourDiscriminator: number;
  readonly desiredMinTxUs: number;
  readonly requiredMinRxUs: number;
}

/** Writes a control packet. @returns offset after it */
export function encodeBfd(out: Uint8Array, at: number, packet: BfdPacket): number {
  out[at] = (VERSION << 5) | packet.diagnostic;
  out[at + 1] = packet.state << 6;
  out[at + 2] = packet.detectMult;
  out[at + 3] = BFD_LENGTH;
  writeU32(out, at + 4, packet.myDiscriminator);
  writeU32(out, at + 8, packet.yourDiscriminator);
  writeU32(out, at + 12, packet.desiredMinTxUs);
  writeU32(out, at + 16, packet.requiredMinRxUs);
  return writeU32(out, at + 20, 0);
}

/**
 * Reads the control packet `[at, end)`.
 * @returns undefined for what a receiver discards: another version, features that are not in use, zeros where none may be
 */
export function decodeBfd(buf: Uint8Array, at: number, end: number): BfdPacket | undefined {
  if (end - at < BFD_LENGTH) return undefined;
  const state = buf[at + 1]! >> 6;
  const [detectMult, length] = [buf[at + 2]!, buf[at + 3]!];
  const [myDiscriminator, yourDiscriminator] = [readU32(buf, at + 4), readU32(buf, at + 8)];
  if (buf[at]! >> 5 !== VERSION || (buf[at + 1]! & REFUSED_FLAGS) !== 0) return undefined;
  if (length < BFD_LENGTH || length > end - at || detectMult === 0 || myDiscriminator === 0) return undefined;
  if (yourDiscriminator === 0 && state >= BfdState.init) return undefined;
  if (readU32(buf, at + 20) !== 0) return undefined;
  return {
    diagnostic: buf[at]! & 0x1f,
    state,
    detectMult,
    myDiscriminator,
    yourDiscriminator,
    desiredMinTxUs: readU32(buf, at + 12),
    requiredMinRxUs: readU32(buf, at + 16),
  };
}

/** Next state on a packet with the remote state (RFC 5880 §6.8.6), by [own state][remote state]. */
const NEXT: readonly (readonly number[])[] = [
  [0, 0, 0, 0],
  [BfdState.down, BfdState.init, BfdState.up, BfdState.down],
  [BfdState.down, BfdState.init, BfdState.up, BfdState.up],
  [BfdState.down, BfdState.down, BfdState.up, BfdState.up],
];

/** What a session knows, for status and metrics. Times are those of the steady clock that it was given. */
export interface BfdInfo {
  readonly state: number;
  readonly remoteState: number;
  /** Own diagnostic: why the session went down last. */
  readonly diagnostic: number;
  /** Since when the state is what it is. */
  readonly sinceMs: number;
  /** -1: never. */
  readonly lastReceivedMs: number;
  readonly detectionMs: number;
  readonly wasUp: boolean;
  readonly sent: number;
  readonly received: number;
  readonly discarded: number;
  readonly changes: number;
}

/**
 * One session. Call `poll` at `nextDeadline`, and send `write` whenever it says so.
 *
 * The packet's "your discriminator" is not compared with ours: a neighbour of the official kind keeps the number of our
 * life before for as long as it hears us, and the link tells the session anyway.
 */
export class BfdSession {
  private readonly timers: BfdTimers;
  private readonly discriminator: number;
  /** Uniform in [0, 1), for the jitter. */
  private readonly random: () => number;
  private state: number = BfdState.down;
  private diagnostic: number = BfdDiagnostic.none;
  private remoteState: number = BfdState.down;
  private remoteDiscriminator = 0;
  private remoteMinRxMs = 0;
  private detectionMs = 0;
  private detectAtMs = Number.POSITIVE_INFINITY;
  private sendAtMs: number;
  private sinceMs: number;
  private lastReceivedMs = -1;
  private wasUp = false;
  private sent = 0;
  private received = 0;
  private discarded = 0;
  private changes = 0;

  /**
   * @param discriminator  random 32-bit number, not 0
   * @param nowMs  steady clock; the first packet is due now
   */
  constructor(timers: BfdTimers, discriminator: number, nowMs: number, random: () => number) {
    this.timers = timers;
    this.discriminator = discriminator;
    this.random = random;
    this.sendAtMs = nowMs;
    this.sinceMs = nowMs;
  }

  get isUp(): boolean {
    return this.state === BfdState.up;
  }

  get info(): BfdInfo {
    const { state, remoteState, diagnostic, sinceMs, lastReceivedMs, detectionMs, wasUp } = this;
    const { sent, received, discarded, changes } = this;
    return {
      state,
      remoteState,
      diagnostic,
      sinceMs,
      lastReceivedMs,
      detectionMs,
      wasUp,
      sent,
      received,
      discarded,
      changes,
    };
  }

  /** Takes the control packet `[at, end)` that came by the link of this session. */
  receive(buf: Uint8Array, at: number, end: number, nowMs: number): void {
    const packet = decodeBfd(buf, at, end);
    if (packet === undefined) {
      this.discarded++;
      return;
    }
    const { timers } = this;
    this.received++;
    this.lastReceivedMs = nowMs;
    this.remoteState = packet.state;
    this.remoteDiscriminator = packet.myDiscriminator;
    this.remoteMinRxMs = packet.requiredMinRxUs / 1000;
    this.detectionMs = packet.detectMult * Math.max(timers.requiredMinRxMs, packet.desiredMinTxUs / 1000);
    this.detectAtMs = nowMs + this.detectionMs;
    const before = this.state;
    const next = NEXT[before]![packet.state]!;
    if (next === before) return;
    this.enter(next, next === BfdState.down ? BfdDiagnostic.neighbourDown : BfdDiagnostic.none, nowMs);
    // Out of Down the pace quickens; the packet planned a second ahead would come too late.
    if (before === BfdState.down) this.sendAtMs = Math.min(this.sendAtMs, nowMs + this.interval());
  }

  /**
   * Handles what is due.
   * @returns true when a packet is to be sent now
   */
  poll(nowMs: number): boolean {
    if (nowMs >= this.detectAtMs) {
      this.detectAtMs = Number.POSITIVE_INFINITY;
      this.remoteDiscriminator = 0;
      this.remoteState = BfdState.down;
      if (this.state !== BfdState.down) this.enter(BfdState.down, BfdDiagnostic.detectionTimeExpired, nowMs);
    }
    if (nowMs < this.sendAtMs) return false;
    this.sendAtMs = nowMs + this.interval();
    return true;
  }

  /** When `poll` has something to do. */
  nextDeadline(): number {
    return Math.min(this.sendAtMs, this.detectAtMs);
  }

  /** Writes the packet to send. @returns offset after it */
  write(out: Uint8Array, at: number): number {
    this.sent++;
    return encodeBfd(out, at, {
      diagnostic: this.diagnostic,
      state: this.state,
      detectMult: this.timers.detectMult,
      myDiscriminator: this.discriminator,
      yourDiscriminator: this.remoteDiscriminator,
      desiredMinTxUs: Math.round(this.desiredMinTxMs() * 1000),
      requiredMinRxUs: Math.round(this.timers.requiredMinRxMs * 1000),
    });
  }

  private enter(state: number, diagnostic: number, nowMs: number): void {
    this.state = state;
    this.diagnostic = diagnostic;
    this.sinceMs = nowMs;
    this.changes++;
    if (state === BfdState.up) this.wasUp = true;
  }

  private desiredMinTxMs(): number {
    const { desiredMinTxMs } = this.timers;
    return this.state === BfdState.down ? Math.max(SLOW_INTERVAL_MS, desiredMinTxMs) : desiredMinTxMs;
  }

  /** Up to a quarter earlier, so that routers do not fall into step; with one packet per detection at least a tenth. */
  private interval(): number {
    const interval = Math.max(this.desiredMinTxMs(), this.remoteMinRxMs);
    const least = this.timers.detectMult === 1 ? 0.1 : 0;
    return interval * (1 - least - this.random() * (0.25 - least));
  }
}
