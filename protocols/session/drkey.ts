/**
 * DRKey derivation in the generic scheme (draft-dekater-scion-dataplane, scionproto drkey): from an AS's secret value down
 * to the key of two hosts. The fast side A derives, the slow side B fetches; every key is one AES-128 CBC-MAC of the one
 * above, over zero-padded blocks and without CMAC's sub keys.
 *
 *   level 1    00 | B's ISD-AS 8 | 0…
 *   host-AS    02 | protocol u16 | type | address of A's host | 0…
 *   host-host  03 | type | address of B's host | 0…             type 0 IPv4, 3 IPv6
 *
 * Leaves out the secret value itself (random per epoch here) and the specific scheme of protocols 0 and 1.
 */

import { Aes128 } from '#base/aes';
import { writeU16, writeU64 } from '#base/bytes';

const BLOCK = 16;
const KEY_SIZE = 16;
const Type = { level1: 0, hostAs: 2, hostHost: 3 } as const;
const IPV6 = 3;

/** CBC-MAC with a zero IV over whole blocks. */
function prf(key: Uint8Array, blocks: Uint8Array): Uint8Array {
  const cipher = new Aes128(key);
  const out = new Uint8Array(KEY_SIZE);
  for (let at = 0; at < blocks.length; at += BLOCK) {
    for (let i = 0; i < BLOCK; i++) out[i]! ^= blocks[at + i]!;
    cipher.encryptBlock(out, 0, out, 0);
  }
  return out;
}

/** Writes type and address at `at` of a buffer of whole blocks that begins with `first`. */
function hostInput(first: readonly number[], host: Uint8Array): Uint8Array {
  if (host.length !== 4 && host.length !== 16) throw new RangeError(`host address of ${host.length} bytes`);
  const size = first.length + 1 + host.length;
  const input = new Uint8Array(Math.ceil(size / BLOCK) * BLOCK);
  input.set(first);
  input[first.length] = host.length === 16 ? IPV6 : 0;
  input.set(host, first.length + 1);
  return input;
}

/** Level 1 key of A towards the AS B, from A's secret value of an epoch. */
export function deriveLevel1(secretValue: Uint8Array, slowIa: bigint): Uint8Array {
  const input = new Uint8Array(BLOCK);
  input[0] = Type.level1;
  writeU64(input, 1, slowIa);
  return prf(secretValue, input);
}

/**
 * Key of a host in A towards the AS B.
 * @param protocol  a number above 1: the lower ones have a scheme of their own
 * @param fastHost  4 or 16 bytes
 */
export function deriveHostAs(level1: Uint8Array, protocol: number, fastHost: Uint8Array): Uint8Array {
  const first = new Uint8Array(3);
  first[0] = Type.hostAs;
  writeU16(first, 1, protocol);
  return prf(level1, hostInput([...first], fastHost));
}

/** Key of a host in A and a host in B. @param slowHost  4 or 16 bytes */
export function deriveHostHost(hostAs: Uint8Array, slowHost: Uint8Array): Uint8Array {
  return prf(hostAs, hostInput([Type.hostHost], slowHost));
}
