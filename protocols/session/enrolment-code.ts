/**
 * The one-time enrolment code: 80 random bits as a person reads them off a display and types them, and the DLMS keys of
 * the one association that it opens.
 *
 *   7K2MA-Q9DX4-3FT5C-W1E8P     four groups of four symbols of five bits and a check symbol (Crockford's alphabet)
 *
 * The check symbol is a sum over GF(32) with a weight for each place: one wrong symbol, or two that changed places, is
 * always noticed, and the group is named. O is read as 0, I and L as 1; case, blanks and dashes do not matter.
 *
 * The code is the only secret that the two sides share, and whoever records the association may try codes as long as he
 * likes: that is why it has 80 bits, and why nothing that stays secret is sent under it.
 */

import { asciiBytes, constantTimeEqual } from '#base/bytes';
import type { CryptoProvider } from '#base/crypto';
import { S3mpError } from '#base/errors';
import type { DlmsKeys } from '#session/dlms-keys';

export const CODE_SIZE = 10;
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const GROUPS = 4;
const GROUP = 4;
const SALT = asciiBytes('s3mp-enrol-v1');

/** Product in GF(32) modulo x⁵ + x² + 1. */
function multiply(a: number, b: number): number {
  let product = 0;
  for (; b > 0; b >>= 1, a = a & 16 ? ((a << 1) ^ 0x25) & 31 : a << 1) if (b & 1) product ^= a;
  return product;
}

/** Check symbol of the four symbols of a group: Σ αⁱ · symbol, with a power of its own for each place of the code. */
function checkOf(symbols: readonly number[], group: number): number {
  let weight = 1;
  for (let i = 0; i <= group * GROUP; i++) weight = multiply(weight, 2);
  let sum = 0;
  for (let i = 0; i < GROUP; i++, weight = multiply(weight, 2)) sum ^= multiply(weight, symbols[group * GROUP + i]!);
  return sum;
}

/** @param code  10 random bytes */
export function formatCode(code: Uint8Array): string {
  const symbols: number[] = [];
  let held = 0;
  let bits = 0;
  for (const byte of code) {
    held = (held << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) symbols.push((held >> (bits - 5)) & 31);
    held &= 0xff;
  }
  const groups = Array.from({ length: GROUPS }, (_, group) =>
    [...symbols.slice(group * GROUP, (group + 1) * GROUP), checkOf(symbols, group)].map((s) => ALPHABET[s]).join(''),
  );
  return groups.join('-');
}

/**
 * Reads a code as a person types it.
 * @throws S3mpError `enrolment.code` that names the group with the mistake, never the code
 */
export function parseCode(text: string): Uint8Array {
  const typed = text.toUpperCase().replace(/[\s-]/g, '').replace(/O/g, '0').replace(/[IL]/g, '1');
  const fail = (message: string): never => {
    throw new S3mpError('enrolment.code', message);
  };
  if (typed.length !== GROUPS * (GROUP + 1))
    fail(`an enrolment code has ${GROUPS} groups of ${GROUP + 1} symbols, these are ${typed.length} symbols`);
  const symbols: number[] = [];
  const checks: number[] = [];
  for (let i = 0; i < typed.length; i++) {
    const symbol = ALPHABET.indexOf(typed[i]!);
    if (symbol < 0) fail(`group ${Math.floor(i / (GROUP + 1)) + 1} of the enrolment code has a symbol that none has`);
    ((i + 1) % (GROUP + 1) === 0 ? checks : symbols).push(symbol);
  }
  checks.forEach((check, group) => {
    if (check !== checkOf(symbols, group)) fail(`group ${group + 1} of the enrolment code is mistyped`);
  });
  const code = new Uint8Array(CODE_SIZE);
  let held = 0;
  let bits = 0;
  let at = 0;
  for (const symbol of symbols) {
    held = ((held << 5) | symbol) & 0xfff;
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    code[at++] = held >> bits;
  }
  return code;
}

const derived = (crypto: CryptoProvider, code: Uint8Array, label: string, of: Uint8Array, length: number): Uint8Array =>
  crypto.hkdf(SALT, code, Uint8Array.of(...asciiBytes(label), 0, ...of), length);

/**
 * Keys of the association in which a meter is enrolled (suite 0, both directions, mutual HLS-GMAC).
 * @param clientTitle  8 bytes, random in each attempt of a head end, so that no attempt repeats another's nonces
 */
export function enrolmentKeys(crypto: CryptoProvider, code: Uint8Array, clientTitle: Uint8Array): DlmsKeys {
  const derive = (label: string) => derived(crypto, code, label, clientTitle, 16);
  return { unicast: derive('guek'), authentication: derive('gak') };
}

/** Bytes of a proof: nobody hits upon it. */
const PROOF_SIZE = 8;

/**
 * The client's challenge of that association, in the clear in its AARQ: by its end a meter that is flooded with guesses tells
 * who has the code, whatever address he comes from.
 *
 *   | random | proof 8 |     proof = HKDF-SHA-256(salt "s3mp-enrol-v1", code, "proof" ‖ 00 ‖ client title ‖ random, 8)
 *
 * @param random  16 bytes
 */
export function enrolmentChallenge(
  crypto: CryptoProvider,
  code: Uint8Array,
  clientTitle: Uint8Array,
  random: Uint8Array,
): Uint8Array {
  return Uint8Array.of(
    ...random,
    ...derived(crypto, code, 'proof', Uint8Array.of(...clientTitle, ...random), PROOF_SIZE),
  );
}

/** Whether whoever made a challenge has the code, or repeats one who has. */
export function provesCode(
  crypto: CryptoProvider,
  code: Uint8Array,
  clientTitle: Uint8Array,
  challenge: Uint8Array,
): boolean {
  return constantTimeEqual(
    enrolmentChallenge(crypto, code, clientTitle, challenge.subarray(0, -PROOF_SIZE)),
    challenge,
  );
}
