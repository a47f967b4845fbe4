/**
 * What a border router says about its links: states with their reasons in words for an operator, and counters.
 * Numbers of the traffic are kept per link in one array each, so that counting allocates nothing.
 */

import { BFD_STATE_NAMES, BfdDiagnostic, type BfdInfo, BfdState } from '#scion/bfd';
import { ROUTER_REASON_NAMES } from '#scion/router-types';

/** Index into `LinkCounters.traffic`. */
export const Traffic = { inPackets: 0, inBytes: 1, outPackets: 2, outBytes: 3 } as const;

export class LinkCounters {
  readonly traffic = new Float64Array(4);
  /** Packets that came by this link and were dropped or answered, per `RouterReason`. */
  readonly reasons = new Float64Array(ROUTER_REASON_NAMES.length);

  received(bytes: number): void {
    this.traffic[Traffic.inPackets]!++;
    this.traffic[Traffic.inBytes]! += bytes;
  }
  sent(bytes: number): void {
    this.traffic[Traffic.outPackets]!++;
    this.traffic[Traffic.outBytes]! += bytes;
  }
}

export interface TrafficReport {
  readonly inPackets: number;
  readonly inBytes: number;
  readonly outPackets: number;
  readonly outBytes: number;
  /** Per reason, without zeros. */
  readonly refused: Readonly<Record<string, number>>;
}

export interface BfdReport {
  readonly state: string;
  readonly remoteState: string;
  readonly detectionMs: number;
  readonly sent: number;
  readonly received: number;
  readonly discarded: number;
  readonly changes: number;
  /** Since the last control packet; null before the first. */
  readonly silentMs: number | null;
}

/** An external link, or the way to a sibling router of the AS. */
export interface LinkReport {
  readonly kind: 'external' | 'sibling';
  /** Interface id of an external link, name of a sibling. */
  readonly id: number | string;
  /** ISD-AS at the far end; our own for a sibling. */
  readonly neighbour: string;
  /** What the neighbour is to us; '' for a sibling. */
  readonly role: string;
  readonly local: string;
  readonly remote: string;
  readonly up: boolean;
  /** Why it is up or down, in words. */
  readonly why: string;
  /** How long the state lasts; null when it is not watched. */
  readonly forMs: number | null;
  readonly bfd: BfdReport | null;
  readonly traffic: TrafficReport | null;
}

export function trafficReport({ traffic, reasons }: LinkCounters): TrafficReport {
  const refused: Record<string, number> = {};
  ROUTER_REASON_NAMES.forEach((name, reason) => {
    if (name !== 'none' && reasons[reason]! > 0) refused[name] = reasons[reason]!;
  });
  const [inPackets = 0, inBytes = 0, outPackets = 0, outBytes = 0] = traffic;
  return { inPackets, inBytes, outPackets, outBytes, refused };
}

/** @param nowMs  the clock of the session */
export function bfdReport(info: BfdInfo, nowMs: number): BfdReport {
  const { detectionMs, sent, received, discarded, changes, lastReceivedMs } = info;
  return {
    state: BFD_STATE_NAMES[info.state]!,
    remoteState: BFD_STATE_NAMES[info.remoteState]!,
    detectionMs,
    sent,
    received,
    discarded,
    changes,
    silentMs: lastReceivedMs < 0 ? null : Math.round(nowMs - lastReceivedMs),
  };
}

/** A time for people: `640 ms`, `12 s`, `3 min`, `5 h`. */
export function durationText(ms: number): string {
  if (ms < 10_000) return `${Math.round(ms)} ms`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${Math.round(ms / 3_600_000)} h`;
}

/** Why a watched link is in the state it is in. @param nowMs  the clock of the session */
export function bfdReason(info: BfdInfo, nowMs: number): string {
  const { state, diagnostic, lastReceivedMs, wasUp, sinceMs } = info;
  const silent = nowMs - lastReceivedMs;
  if (state === BfdState.up) return `BFD up for ${durationText(nowMs - sinceMs)}`;
  if (!wasUp) {
    if (lastReceivedMs < 0) {
      return 'never seen up: no BFD packet yet (is the neighbour running, with BFD enabled on this link?)';
    }
    if (silent > info.detectionMs) return `never seen up: BFD packets came, the last one ${durationText(silent)} ago`;
    return 'never seen up: BFD packets arrive, but the neighbour does not answer ours yet';
  }
  if (silent > info.detectionMs) return `no BFD packet for ${durationText(silent)}`;
  if (diagnostic === BfdDiagnostic.neighbourDown)
    return 'the neighbour says that it does not hear us, or started again';
  return `BFD packets arrive again, the session is not up yet (silent before for more than ${durationText(info.detectionMs)})`;
}

export const NOT_WATCHED = 'not watched: BFD is disabled on this link';
export const TAKEN_DOWN = 'taken down by the operator; BFD is disabled on this link';
