/**
 * High-level authentication (IEC 62056-5-3 §5.4.4): what a party answers to the other's challenge.
 *
 *   3 MD5, 4 SHA-1   H(challenge ‖ secret)                                     broken; a client may still need them
 *   5 GMAC           SC ‖ IC ‖ GMAC(SC ‖ authentication key ‖ challenge)        17 bytes
 *   6 SHA-256        H(secret ‖ own title ‖ other's title ‖ challenge ‖ own challenge)
 *   7 ECDSA          sign(own title ‖ other's title ‖ challenge ‖ own challenge)  r ‖ s
 *
 * `challenge` is the one that came from the other side. Leaves out mechanism 2, which every manufacturer defines anew.
 */

import { constantTimeEqual, readU32, writeU32 } from '#base/bytes';
import { type CryptoProvider, GCM_TAG_SIZE, type SigningKey, type VerifyKey } from '#base/crypto';
import { Mechanism } from '#dlms/acse';
import { type CipherKey, Protection } from '#dlms/cipher';

/** A challenge has 8…64 bytes; ours always 16, which every peer takes. */
export const CHALLENGE_SIZE = 16;
export const MIN_CHALLENGE = 8;
export const MAX_CHALLENGE = 64;
const GMAC_SIZE = 5 + GCM_TAG_SIZE;

/** One pass of the handshake as the party sees it that proves itself in it. */
export interface HlsPass {
  readonly mechanism: number;
  readonly crypto: CryptoProvider;
  /** Titles of the party that proves itself and of the other one; 8 bytes, empty where none was given. */
  readonly prover: Uint8Array;
  readonly verifier: Uint8Array;
  /** The challenge that the prover received, and the one that it sent. */
  readonly received: Uint8Array;
  readonly sent: Uint8Array;
  /** Mechanisms 3, 4, 6. */
  readonly secret?: Uint8Array | undefined;
  /** Mechanism 5. */
  readonly key?: CipherKey | undefined;
  readonly suite?: number | undefined;
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function digest({ mechanism, crypto, prover, verifier, received, sent, secret }: HlsPass): Uint8Array | undefined {
  if (!secret || secret.length === 0) return undefined;
  if (mechanism === Mechanism.sha256) return crypto.hash('sha256', concat(secret, prover, verifier, received, sent));
  return isBroken(mechanism)
    ? crypto.hash(mechanism === Mechanism.md5 ? 'md5' : 'sha1', concat(received, secret))
    : undefined;
}

/** Mechanisms whose hash can be forged; whoever watches an association can also guess its secret at leisure. */
export function isBroken(mechanism: number): boolean {
  return mechanism === Mechanism.md5 || mechanism === Mechanism.sha1;
}

const signed = ({ prover, verifier, received, sent }: HlsPass) => concat(prover, verifier, received, sent);

/**
 * The prover's answer.
 * @param counter  invocation counter to use up; mechanism 5 only
 * @param signing  own private key; mechanism 7 only
 * @returns undefined when what the mechanism needs is not there
 */
export function proveHls(pass: HlsPass, counter: number, signing?: SigningKey): Uint8Array | undefined {
  const { mechanism, prover, received, key, suite = 0 } = pass;
  if (mechanism === Mechanism.ecdsa) return signing?.sign(signed(pass));
  if (mechanism !== Mechanism.gmac) return digest(pass);
  if (!key) return undefined;
  const out = new Uint8Array(GMAC_SIZE);
  out[0] = Protection.authenticated | suite;
  writeU32(out, 1, counter);
  key.mac(out[0], prover, counter, received, out, 5);
  return out;
}

/**
 * Judges the other side's answer; the time it takes does not depend on how wrong it is.
 * @param verify  the other side's public key; mechanism 7 only
 */
export function checkHls(pass: HlsPass, answer: Uint8Array, verify?: VerifyKey): boolean {
  const { mechanism } = pass;
  if (mechanism === Mechanism.ecdsa) return verify?.verify(signed(pass), answer) ?? false;
  const expected =
    mechanism !== Mechanism.gmac
      ? digest(pass)
      : answer.length === GMAC_SIZE
        ? proveHls(pass, hlsCounter(answer))
        : undefined;
  return expected !== undefined && constantTimeEqual(expected, answer);
}

/** Invocation counter in an answer of mechanism 5. */
export function hlsCounter(answer: Uint8Array): number {
  return answer.length === GMAC_SIZE ? readU32(answer, 1) : 0;
}
