/** What the cells of the DLMS interop matrix have in common: features, outcomes, keys, and how values are compared. */

import { createHash } from 'node:crypto';
import * as assert from 'uvu/assert';
import { toHex } from '#base/bytes';
import { seededRandom } from '#hw/random';
import { CLIENT_KEY, KEYS, METER_PUBLIC, PASSWORD } from './dlms-meter.ts';

export const FEATURES = {
  open: 'no security',
  password: 'LLS',
  gmac: 'HLS-GMAC, suite 0, ciphered',
  ecdsa: 'HLS-ECDSA, suite 1, ciphered',
  sha256: 'HLS-SHA256, ciphered',
  sha1: 'HLS-SHA-1',
  md5: 'HLS-MD5',
  tcp: 'wrapper over TCP',
  udp: 'wrapper over UDP',
  hdlc: 'HDLC over TCP',
  gbt: 'general block transfer',
  view: 'association view',
  registers: 'all registers',
  range: 'profile by range',
  entry: 'profile by entry',
  clock: 'SET of the clock',
  switching: 'disconnect and reconnect',
  image: 'image transfer',
  push: 'push received',
} as const;
export type Feature = keyof typeof FEATURES;

export interface Cell {
  readonly area: 'dlms';
  readonly peer: string;
  readonly version: string;
  readonly feature: string;
  readonly result: 'pass' | 'fail' | 'absent';
  readonly why: string;
}

/** An error that the foreign program reported. */
export class PeerError extends Error {}

/** What our side does not offer, on purpose. */
export class NotOffered extends Error {}

export const HOST = '127.0.0.1';
export const GMAC = {
  mechanism: 'gmac',
  title: '4d4d4d0000000001',
  unicast: toHex(KEYS.unicast),
  authentication: toHex(KEYS.authentication),
  counter: 1,
};
export const SECRET = 'a secret of the client';
export const SIGNED = { mechanism: 'ecdsa', signing: CLIENT_KEY, peer: METER_PUBLIC };
export const LLS = { password: PASSWORD };

export function someImage(): Buffer {
  const random = seededRandom(1);
  const content = Uint8Array.from({ length: 5_000 }, () => random() * 256);
  return Buffer.concat([content, createHash('sha256').update(content).digest()]);
}

/** Deep equality that says both sides, since its words go into the page. */
export function same(actual: unknown, expected: unknown, what = 'got'): void {
  try {
    assert.equal(actual, expected);
  } catch {
    const text = (value: unknown) => JSON.stringify(value)?.slice(0, 160);
    throw new Error(`${what} ${text(actual)} where ${text(expected)} is right`);
  }
}
