/**
 * Seeded randomness for property and fuzz tests. The seed is printed, and S3MP_SEED repeats a run.
 */

import { seededRandom } from '#hw/random';

export interface Random {
  /** Unsigned 32-bit integer. */
  u32(): number;
  /** Integer in [0, limit). */
  below(limit: number): number;
  bytes(length: number): Uint8Array;
}

/** @param seed  32 bits; by default S3MP_SEED or the time */
export function seeded(seed = Number(process.env.S3MP_SEED ?? Date.now() % 0x1_0000_0000)): Random {
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  return {
    u32: () => below(0x1_0000_0000),
    below,
    bytes: (length) => Uint8Array.from({ length }, () => below(256)),
  };
}
