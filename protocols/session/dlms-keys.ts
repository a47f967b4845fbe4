/**
 * Keys of a DLMS association out of the network's keys (DRKey) and, in mode `both`, out of the key agreement of the two
 * devices' certificates: the global unicast encryption key and the authentication key, by HKDF-SHA-256.
 *
 *   secret  mode 1 `drkey` host-host key of protocol F0D1 · mode 2 `both` the same ‖ Z · mode 4 `certificate` Z alone
 *   info    label ‖ 00 ‖ mode ‖ suite ‖ F0D1 ‖ client ISD-AS 8 ‖ client title 8 ‖ server ISD-AS 8 ‖ server title 8
 *           ‖ epoch begin u64 s ‖ epoch end u64 s
 *
 * Z is the x coordinate of static ECDH between the two key-agreement certificates. Mode 4 is for a network that serves no
 * DRKey: its epoch is 0 to 0, and the ISD-ASes are those of the certificates. The client's title, which is another one at
 * each start of a head end, makes its keys new.
 */

import { asciiBytes, writeBytes, writeU16, writeU64 } from '#base/bytes';
import type { CryptoProvider } from '#base/crypto';

/** DRKey protocol numbers: one key never serves two algorithms. */
export const DRKEY_PROTOCOL_DLMS = 0xf0d1;
export const DRKEY_PROTOCOL_SPAO = 0xf0d2;

export const KeyMode = { drkey: 1, both: 2, certificate: 4 } as const;
export type KeyMode = (typeof KeyMode)[keyof typeof KeyMode];

const SALT = asciiBytes('s3mp-v1');

export interface DlmsKeyInputs {
  readonly mode: KeyMode;
  /** Security suite 0, 1 or 2. */
  readonly suite: number;
  /** Host-host key of `DRKEY_PROTOCOL_DLMS`, 16 bytes; not in mode `certificate`. */
  readonly hostKey?: Uint8Array;
  /** x coordinate of the key agreement, 32 bytes; not in mode `drkey`. */
  readonly agreement?: Uint8Array;
  readonly clientIa: bigint;
  readonly clientTitle: Uint8Array;
  readonly serverIa: bigint;
  readonly serverTitle: Uint8Array;
  /** Seconds since the Unix epoch. */
  readonly epochBegin: number;
  readonly epochEnd: number;
}

export interface DlmsKeys {
  /** Global unicast encryption key. */
  readonly unicast: Uint8Array;
  readonly authentication: Uint8Array;
}

/** The HKDF info of one key. */
export function keyInfo(label: 'guek' | 'gak', inputs: DlmsKeyInputs): Uint8Array {
  const out = new Uint8Array(label.length + 5 + 4 * 8 + 2 * 8);
  let at = writeBytes(out, 0, asciiBytes(label)) + 1;
  out[at++] = inputs.mode;
  out[at++] = inputs.suite;
  at = writeU16(out, at, DRKEY_PROTOCOL_DLMS);
  at = writeBytes(out, writeU64(out, at, inputs.clientIa), inputs.clientTitle);
  at = writeBytes(out, writeU64(out, at, inputs.serverIa), inputs.serverTitle);
  writeU64(out, writeU64(out, at, BigInt(inputs.epochBegin)), BigInt(inputs.epochEnd));
  return out;
}

/** @throws RangeError for inputs of the wrong size: they would make keys that nobody else has */
export function deriveDlmsKeys(crypto: CryptoProvider, inputs: DlmsKeyInputs): DlmsKeys {
  const { mode, suite, hostKey, agreement, clientTitle, serverTitle } = inputs;
  if (clientTitle.length !== 8 || serverTitle.length !== 8) throw new RangeError('system titles have 8 bytes');
  if ((hostKey?.length ?? 0) !== (mode === KeyMode.certificate ? 0 : 16))
    throw new RangeError('host-host keys have 16 bytes, and mode "certificate" has none');
  if ((agreement?.length ?? 0) !== (mode === KeyMode.drkey ? 0 : 32))
    throw new RangeError('key agreements have 32 bytes, and mode "drkey" has none');
  const secret = new Uint8Array([...(hostKey ?? []), ...(agreement ?? [])]);
  const length = suite === 2 ? 32 : 16;
  const derive = (label: 'guek' | 'gak') => crypto.hkdf(SALT, secret, keyInfo(label, inputs), length);
  const keys = { unicast: derive('guek'), authentication: derive('gak') };
  secret.fill(0);
  return keys;
}
