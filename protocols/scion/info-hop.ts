/**
 * Info fields and hop fields of a SCION path as accessors over bytes (draft-dekater-scion-dataplane §2.3.1).
 *
 *   info   | flags | 0 | SegID (2) | timestamp (4) |                    flags: 1 construction direction, 2 peer
 *   hop    | flags | ExpTime | ConsIngress (2) | ConsEgress (2) | MAC (6) |   flags: 1 egress alert, 2 ingress alert
 *
 * Each function takes the offset of the field itself.
 */

import { readU16, readU32, writeU16 } from '#base/bytes';
import { ScionError } from '#base/errors';

export const INFO_LENGTH = 8;
export const HOP_LENGTH = 12;
export const HOP_MAC_LENGTH = 6;

export const INFO_CONS_DIR = 0x01;
export const INFO_PEER = 0x02;
export const HOP_EGRESS_ALERT = 0x01;
export const HOP_INGRESS_ALERT = 0x02;

/** Life of a hop field per step of ExpTime: 24 h / 256. */
export const EXP_TIME_UNIT_MS = 337_500;
const MAX_LIFE_MS = 256 * EXP_TIME_UNIT_MS;

export const isConsDir = (buf: Uint8Array, info: number): boolean => (buf[info]! & INFO_CONS_DIR) !== 0;
export const isPeer = (buf: Uint8Array, info: number): boolean => (buf[info]! & INFO_PEER) !== 0;
export const segIdOf = (buf: Uint8Array, info: number): number => readU16(buf, info + 2);
export const setSegId = (buf: Uint8Array, info: number, segId: number): number => writeU16(buf, info + 2, segId);
export const timestampOf = (buf: Uint8Array, info: number): number => readU32(buf, info + 4);

/** Chains the accumulator over a hop: `SegID ^= first two bytes of its MAC`. */
export function updateSegId(buf: Uint8Array, info: number, hop: number): void {
  buf[info + 2]! ^= buf[hop + 6]!;
  buf[info + 3]! ^= buf[hop + 7]!;
}

export const expTimeOf = (buf: Uint8Array, hop: number): number => buf[hop + 1]!;
export const consIngressOf = (buf: Uint8Array, hop: number): number => readU16(buf, hop + 2);
export const consEgressOf = (buf: Uint8Array, hop: number): number => readU16(buf, hop + 4);
export const hopMacAt = (hop: number): number => hop + 6;

/** Interface by which a packet on this path enters the AS of the hop. */
export const travelIngress = (buf: Uint8Array, info: number, hop: number): number =>
  isConsDir(buf, info) ? consIngressOf(buf, hop) : consEgressOf(buf, hop);

/** Interface by which a packet on this path leaves the AS of the hop; 0 when it ends there. */
export const travelEgress = (buf: Uint8Array, info: number, hop: number): number =>
  isConsDir(buf, info) ? consEgressOf(buf, hop) : consIngressOf(buf, hop);

/** Alert flag bit of a hop for the router at the travel ingress. */
export const ingressAlertBit = (consDir: boolean): number => (consDir ? HOP_INGRESS_ALERT : HOP_EGRESS_ALERT);
/** Alert flag bit of a hop for the router at the travel egress. */
export const egressAlertBit = (consDir: boolean): number => (consDir ? HOP_EGRESS_ALERT : HOP_INGRESS_ALERT);

/** Absolute expiry in ms since the epoch; a hop is expired strictly after it. */
export function hopExpiryMs(timestampSeconds: number, expTime: number): number {
  return timestampSeconds * 1000 + (1 + expTime) * EXP_TIME_UNIT_MS;
}

/**
 * ExpTime of the longest life that does not exceed `ms`.
 * @throws ScionError `encode.out-of-range` below 337.5 s or above 24 h
 */
export function expTimeOfDuration(ms: number): number {
  if (!(ms >= EXP_TIME_UNIT_MS && ms <= MAX_LIFE_MS)) {
    throw new ScionError(
      'encode.out-of-range',
      `hop field life of ${ms} ms: expected ${EXP_TIME_UNIT_MS} to ${MAX_LIFE_MS}`,
    );
  }
  return Math.floor(ms / EXP_TIME_UNIT_MS) - 1;
}
