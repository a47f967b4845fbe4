/** Soak `identity`: 100,000 random packets are read as the values they were made from, and written as the same bytes. */

import * as assert from 'uvu/assert';
import { toHex } from '#base/bytes';
import { decodePlan, encodePlan, randomPlan } from './random-packets.ts';
import { type Soak, scaled } from './soak.ts';

const PACKETS = 100_000;

export const identity: Soak = async ({ random, share }) => {
  const count = scaled(PACKETS, share);
  for (let i = 0; i < count; i++) {
    const plan = randomPlan(random);
    const raw = encodePlan(plan);
    const read = decodePlan(raw);
    assert.equal(read, plan, `packet ${i}: ${toHex(raw)}`);
    assert.is(toHex(encodePlan(read)), toHex(raw), `packet ${i}`);
  }
  return { done: count, unit: 'packets' };
};
