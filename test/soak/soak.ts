/** What a soak is: a long seeded run of which `npm test` does a small share. */

import type { Random } from '../random.ts';

export interface SoakContext {
  readonly random: Random;
  /** What `random` was made from, for generators of one's own. */
  readonly seed: number;
  /** The part of the whole run to do: 1 in `npm run soak`, 0.01 in `npm test`. */
  readonly share: number;
  /** A line for whoever watches. */
  say(text: string): void;
}

export interface SoakOutcome {
  /** How much was done, in `unit`. */
  readonly done: number;
  readonly unit: string;
  readonly figures?: Readonly<Record<string, number | string>>;
}

/** Rejects when it finds a fault; the message says how to find it again. */
export type Soak = (context: SoakContext) => Promise<SoakOutcome>;

/** The count of a whole run, scaled; at least 1. */
export const scaled = (count: number, share: number): number => Math.max(1, Math.round(count * share));
