/**
 * Soak `dlms`: a million mutated frames, each through every DLMS decoder and into a live meter in one of the states that
 * an association can be in. Each frame lies twice in memory, alone and before other bytes, and must be read alike; the
 * server answers or does not, switches nothing, and after each round an honest client reads and commands it. Every other
 * round a client is asked to believe mutated answers. No case may take long, and what the servers keep may not grow.
 */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as assert from 'uvu/assert';
import { toHex } from '#base/bytes';
import { DlmsError } from '#base/errors';
import { exchangeSync } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import { mutate } from '../fuzz/dlms-corpus.ts';
import { DECODERS, outcomeOf } from '../fuzz/dlms-decoders.ts';
import { Fuzzed } from '../fuzz/dlms-fuzzed.ts';
import { caseFor, STATES } from '../fuzz/dlms-states.ts';
import type { Random } from '../random.ts';
import { type Soak, scaled } from './soak.ts';
import { Watchdog } from './watchdog.ts';

const MUTATIONS = 1_000_000;
/** Frames that each state gets in a row; an honest client comes afterwards. */
const ROUND = 200;
const GUARD = 64;
/** Of the processor, whatever else runs on the machine; a case takes a fraction of a millisecond. */
const SLOWEST_MS = 500;
/** An endless loop is found by the clock. */
const STALL_MS = 60_000;
/** The heap of all meters together; what a collector leaves behind is a part of it. */
const NOISE_MB = 24;
const LIST = { classId: 15, ln: parseObis('0-0:40.0.0.255'), attribute: 2 };

const decoders = Object.entries(DECODERS);

/** Every decoder reads the frame alike wherever it lies, and changes nothing. */
function decodeAll(frame: Uint8Array, roomy: Uint8Array): number {
  let read = 0;
  for (const [name, decode] of decoders) {
    const outcome = outcomeOf(decode, frame);
    if (outcomeOf(decode, roomy, frame.length) !== outcome) throw new Error(`${name} reads behind the end`);
    if (!outcome.startsWith('decode.')) read++;
  }
  for (let i = 0; i < frame.length; i++) if (frame[i] !== roomy[i]) throw new Error('a decoder writes');
  return read;
}

function inGuard(frame: Uint8Array, i: number): Uint8Array {
  const roomy = new Uint8Array(frame.length + GUARD);
  roomy.set(frame);
  for (let k = frame.length; k < roomy.length; k++) roomy[k] = (i + 37 * k) & 0xff;
  return roomy;
}

/** A client that gets mutated answers takes them for a failure or a value, and is usable afterwards. */
function lieToClient(fuzzed: Fuzzed, random: Random, count: number, feed: () => void): void {
  fuzzed.fresh();
  const client = fuzzed.client({ sap: random.below(2) === 0 ? 1 : 17, maxPdu: 200 });
  fuzzed.run(client.associate());
  for (let left = count; left > 0; ) {
    try {
      exchangeSync(client.get(LIST), (frame) => {
        if (--left < -500) throw new Error('an endless transfer');
        feed();
        const answer = fuzzed.ask(frame);
        return random.below(4) === 0 ? mutate(answer, random) : answer;
      });
    } catch (error) {
      if (!(error instanceof DlmsError)) throw error;
    }
    if (!client.isAssociated) fuzzed.run(client.associate());
  }
  assert.is(fuzzed.run(client.get(LIST)).type, 'array');
}

function collector(): () => number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  return () => {
    collect();
    return process.memoryUsage().heapUsed / 2 ** 20;
  };
}

export const dlms: Soak = async ({ random, seed, share, say }) => {
  const count = scaled(MUTATIONS, share);
  const usedMb = collector();
  const watchdog = new Watchdog(`soak dlms, seed ${seed}`, STALL_MS);
  const meters = (['datagram', 'stream'] as const).flatMap((transport) =>
    ([0, 1] as const).map((suite) => new Fuzzed(transport, suite)),
  );
  const heap: number[] = [];
  let slowest = { ms: 0, case: 0, state: '' };
  let read = 0;
  let honest = 0;
  const timed = (i: number, state: string, frame: Uint8Array, run: () => void) => {
    watchdog.feed(i);
    const started = process.cpuUsage();
    try {
      run();
    } catch (error) {
      throw new Error(`case ${i}, ${state}: ${toHex(frame)}`, { cause: error });
    }
    const { user, system } = process.cpuUsage(started);
    const ms = (user + system) / 1000;
    if (ms > slowest.ms) slowest = { ms, case: i, state };
    if (ms > SLOWEST_MS) throw new Error(`case ${i}, ${state}, took ${ms.toFixed(0)} ms: ${toHex(frame)}`);
  };
  try {
    const rounds = Math.ceil(count / ROUND);
    for (let round = 0, i = 0; i < count; round++) {
      const state = STATES[round % STATES.length]!;
      const fits = meters.filter(
        ({ transport, suite }) => suite === (state.suite ?? 0) && (state.transport ?? transport) === transport,
      );
      const fuzzed = fits[Math.floor(round / STATES.length) % fits.length]!;
      for (let k = 0; k < ROUND && i < count; k++, i++) {
        if (k % state.cases === 0) {
          fuzzed.fresh();
          state.enter(fuzzed);
        }
        const frame = caseFor(state, random);
        timed(i, state.name, frame, () => {
          read += decodeAll(frame, inGuard(frame, i));
          if (state.give) state.give(fuzzed, frame, random);
          else fuzzed.send(frame);
        });
      }
      if (round % 2 === 1) lieToClient(fuzzed, random, 20, () => watchdog.feed(-round));
      fuzzed.check();
      honest++;
      if (round % Math.ceil(rounds / 20) === 0) {
        heap.push(usedMb());
        if (share === 1) say(`dlms: ${i} cases, ${heap.at(-1)!.toFixed(1)} MB, slowest ${slowest.ms.toFixed(1)} ms`);
      }
    }
  } finally {
    await watchdog.stop();
  }
  const settled = heap.slice(Math.ceil(heap.length / 4));
  const growth = Math.max(0, Math.max(...settled) - settled[0]!);
  if (growth > NOISE_MB) throw new Error(`memory grew: ${heap.map((mb) => mb.toFixed(1)).join(' ')} MB`);
  const figures = {
    states: STATES.length,
    decoders: decoders.length,
    read,
    honest,
    slowestCpuMs: Number(slowest.ms.toFixed(1)),
    slowestCase: slowest.case,
    slowestState: slowest.state,
    growthMb: Number(growth.toFixed(1)),
  };
  return { done: count, unit: 'mutations', figures };
};
