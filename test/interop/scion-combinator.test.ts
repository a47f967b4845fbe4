/**
 * Path combination beside the official combinator, on random worlds: our segments through both, and segments built and
 * signed by the official packages through both. Order, bytes, interfaces, fingerprint, MTU, expiry and announcements are
 * the same, with and without paths of identical interfaces.
 *
 * S3MP_WORLDS=N compares N worlds instead of the 120 of every day.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { ScionError } from '#base/errors';
import { combinePaths } from '#scion/combinator';
import { deriveHopKey } from '#scion/hop-mac';
import { formatIsdAs, parseIsdAs } from '#scion/isd-as';
import type { ScionPath } from '#scion/path-metadata';
import { decodeSegment, encodeSegment, firstIa, lastIa, type PathSegment } from '#scion/segment';
import { needs } from '#test/needs';
import { seeded } from '../random.ts';
import { buildOracle, Oracle } from './go-oracle.ts';
import { ourSegment, type Question, randomQuestion, randomWorld, type SegmentDescription } from './segment-worlds.ts';

const WORLDS = Number(process.env.S3MP_WORLDS ?? 120);
/** Pairs of ASes in each world. */
const PAIRS = 3;

interface GoPath {
  raw: string;
  interfaces: { ia: string; id: number }[];
  fingerprint: string;
  mtu: number;
  expiry_ms: number;
  weight: number;
  latency_us: number[];
  bandwidth_kbit: number[];
  geo: { latitude: number; longitude: number; address: string }[];
  link_types: string[];
  internal_hops: number[];
  notes: string[];
  epic_phvf: string;
  epic_lhvf: string;
  discovery: { ia: string; control: string[]; discovery: string[] }[];
}

const NOWHERE = { latitude: 0, longitude: 0, address: '' };

/** Our path in the oracle's words. */
function inGoWords(path: ScionPath): GoPath {
  const notes = path.notes!;
  const crossed = [...new Set(path.interfaces.map(({ ia }) => ia))];
  return {
    raw: toHex(path.raw),
    interfaces: path.interfaces.map(({ ia, id }) => ({ ia: formatIsdAs(ia), id })),
    fingerprint: path.fingerprint,
    mtu: path.mtu,
    expiry_ms: path.expiryMs,
    weight: path.weight,
    latency_us: [...path.latenciesUs],
    bandwidth_kbit: [...path.bandwidthsKbit],
    geo: notes.geo.map((geo) => geo ?? NOWHERE),
    link_types: [...notes.linkTypes],
    internal_hops: [...notes.internalHops],
    notes: [...notes.texts],
    epic_phvf: path.epic ? toHex(path.epic.penultimate) : '',
    epic_lhvf: path.epic ? toHex(path.epic.last) : '',
    discovery: crossed.flatMap((ia) => {
      const services = notes.services.get(ia);
      if (services === undefined) return [];
      return [{ ia: formatIsdAs(ia), control: [...services.control], discovery: [...services.discovery] }];
    }),
  };
}

/**
 * The official combinator puts the MAC of the main hop field into the authenticator of a peer hop, with which no router
 * would agree; ours has the peer hop's own. Both are compared where neither of the last two hops is at a peering link.
 */
function withoutPeerEpic(path: GoPath): GoPath {
  const raw = fromHex(path.raw);
  const word = (raw[1]! << 16) | (raw[2]! << 8) | raw[3]!;
  const second = (word >> 6) & 0x3f;
  const peering = (raw[4]! & 2) !== 0 && second <= 2;
  return peering ? { ...path, epic_phvf: '', epic_lhvf: '' } : path;
}

const Combinator = suite('path combination beside the official combinator');
const keys = new Map<string, Uint8Array>();

function keyOf(master: string): Uint8Array {
  let key = keys.get(master);
  if (key === undefined) {
    key = deriveHopKey(fromHex(master));
    keys.set(master, key);
  }
  return key;
}

const ours = (description: SegmentDescription) => ourSegment(description, keyOf, parseIsdAs);
const encoded = (segments: readonly PathSegment[]) => segments.map((s) => toHex(encodeSegment(s)));
let oracle: Oracle;

type Sets = { up: PathSegment[]; core: PathSegment[]; down: PathSegment[] };
const totals = { questions: 0, paths: 0, ties: 0, peering: 0, epic: 0 };

const textOf = (path: GoPath) => JSON.stringify(path);

/** @returns what the official combinator makes of it; every path as often as it can be made when `identical` */
async function askCombine({ src, dst }: Question, sets: Sets, identical: boolean): Promise<GoPath[]> {
  const paths = await oracle.ask<GoPath[]>('combine', {
    src: formatIsdAs(src),
    dst: formatIsdAs(dst),
    up: encoded(sets.up),
    core: encoded(sets.core),
    down: encoded(sets.down),
    identical,
  });
  return paths.map(withoutPeerEpic);
}

/** JSON shows a coordinate with as many digits as 32 bits need. */
const in32Bits = (path: GoPath): GoPath => ({
  ...path,
  geo: path.geo.map((g) => ({ ...g, latitude: Math.fround(g.latitude), longitude: Math.fround(g.longitude) })),
});

async function compare(question: Question, sets: Sets, what: string): Promise<void> {
  const { src, dst } = question;
  const mine = combinePaths(src, dst, sets).map(inGoWords).map(withoutPeerEpic);
  const every = combinePaths(src, dst, sets, { identical: true }).map(inGoWords).map(withoutPeerEpic);
  const theirs = await askCombine(question, sets, false);
  const everyOfTheirs = await askCombine(question, sets, true);
  const prints = (paths: readonly GoPath[]) => paths.map((p) => p.fingerprint);
  assert.equal(prints(mine), prints(theirs), what);
  assert.equal(prints(every), prints(everyOfTheirs), `${what}, identical ones too`);
  // Among paths with the same interfaces the official order is that of a hash map.
  const sorted = (paths: readonly GoPath[]) => paths.map(textOf).sort();
  assert.equal(sorted(every), sorted(everyOfTheirs), `${what}, identical ones too`);
  const possible = new Set(everyOfTheirs.map(textOf));
  for (const [i, path] of mine.entries()) {
    if (textOf(path) === textOf(theirs[i]!)) continue;
    // Two ways over the same interfaces that live equally long: each may be the one that stays.
    assert.is(path.expiry_ms, theirs[i]!.expiry_ms, `${what}: path ${i}`);
    assert.ok(possible.has(textOf(path)), `${what}: path ${i}`);
    totals.ties++;
  }
  totals.questions++;
  totals.paths += every.length;
  for (const path of every) {
    const raw = fromHex(path.raw);
    if (raw[4]! & 2) totals.peering++;
    if (path.epic_phvf !== '') totals.epic++;
  }
}

/** Everything that decoding a segment gives, without the signed byte strings, which two encoders may order differently. */
function contentOf(segment: PathSegment): unknown {
  const { segmentId, timestamp, entries } = segment;
  return {
    segmentId,
    timestamp,
    entries: entries.map(({ headerAndBody, signature, unsigned, ...content }) => content),
  };
}

async function official(description: SegmentDescription): Promise<PathSegment> {
  return decodeSegment(fromHex(await oracle.ask<string>('segment', description)));
}

Combinator.before(() => {
  oracle = new Oracle();
});
Combinator.after(() => oracle.close());

Combinator(`our segments and theirs, ${WORLDS} random worlds`, async () => {
  const random = seeded();
  for (let w = 0; w < WORLDS; w++) {
    const world = randomWorld(random);
    for (let pair = 0; pair < PAIRS; pair++) {
      const question = randomQuestion(world, random);
      if (question.src === question.dst) continue;
      const what = `world ${w}, pair ${pair}: ${formatIsdAs(question.src)} to ${formatIsdAs(question.dst)}`;
      const built: Sets = {
        up: question.up.map(ours),
        core: question.core.map(ours),
        down: question.down.map(ours),
      };
      await compare(question, built, `${what}, our segments`);
      const signed: Sets = {
        up: await Promise.all(question.up.map(official)),
        core: await Promise.all(question.core.map(official)),
        down: await Promise.all(question.down.map(official)),
      };
      for (const kind of ['up', 'core', 'down'] as const) {
        for (const [i, segment] of signed[kind].entries()) {
          const mine = decodeSegment(encodeSegment(built[kind][i]!));
          assert.equal(contentOf(segment), contentOf(mine), `${what}, ${kind} segment ${i}`);
        }
      }
      await compare(question, signed, `${what}, official segments`);
    }
  }
  console.log(JSON.stringify(totals));
  assert.ok(
    totals.paths > 5 * WORLDS && totals.peering > WORLDS / 10 && totals.epic > WORLDS / 4,
    JSON.stringify(totals),
  );
});

Combinator('damaged segments: what we accept the official decoder accepts and reads alike', async () => {
  const random = seeded();
  const counts = { both: 0, neither: 0, onlyOfficial: 0, unread: 0 };
  const pool: Uint8Array[] = [];
  while (pool.length < 20) {
    const { up, core, down } = randomQuestion(randomWorld(random), random);
    for (const description of [...up, ...core, ...down].slice(0, 3)) {
      // Unsigned ones: the header of a signature is not read here.
      pool.push(encodeSegment(ours(description)));
    }
  }
  for (let i = 0; i < 25 * WORLDS; i++) {
    const bytes = pool[random.below(pool.length)]!.slice();
    for (let k = 1 + random.below(2); k > 0; k--) {
      const at = random.below(bytes.length);
      bytes[at] = random.below(2) ? bytes[at]! ^ (1 << random.below(8)) : random.below(256);
    }
    let segment: PathSegment | undefined;
    try {
      segment = decodeSegment(bytes);
    } catch (error) {
      if (!(error instanceof ScionError)) throw error;
    }
    const [src, dst] = segment ? [lastIa(segment), firstIa(segment)] : [1n, 2n];
    const args = { src: formatIsdAs(src), dst: formatIsdAs(dst), up: [toHex(bytes)], core: [], down: [] };
    const answer = await oracle.try<GoPath[]>('combine', args);
    const what = toHex(bytes);
    if (segment === undefined) {
      // Fields of another wire type than theirs, and numbers that no network has, are errors to us.
      if (answer.error === undefined) counts.onlyOfficial++;
      else counts.neither++;
      continue;
    }
    // Loops through one AS that end the official combinator, and coordinates that JSON has no word for.
    if (answer.error?.startsWith('panic') || answer.error?.startsWith('json')) continue;
    if (answer.error?.includes('proto:')) {
      // Damage inside messages that we pass over: the hidden-path mark, the header of a signature.
      counts.unread++;
      continue;
    }
    assert.is(answer.error, undefined, what);
    counts.both++;
    if (answer.error !== undefined || segment.entries.length < 2 || src === dst) continue;
    const mine = combinePaths(src, dst, { up: [segment], core: [], down: [] }).map(inGoWords);
    for (const [p, path] of mine.map(withoutPeerEpic).entries()) {
      const theirs = in32Bits(withoutPeerEpic(answer.result[p]!));
      if (theirs.bandwidth_kbit.some((kbit) => kbit > Number.MAX_SAFE_INTEGER)) continue;
      for (const key of Object.keys(path) as (keyof GoPath)[]) assert.equal(path[key], theirs[key], `${key}: ${what}`);
    }
  }
  console.log(JSON.stringify(counts));
  assert.ok(counts.both > WORLDS && counts.neither > WORLDS && counts.unread < WORLDS / 10, JSON.stringify(counts));
});

const obstacle = buildOracle();
if (needs('go', obstacle === undefined, obstacle ?? '')) Combinator.run();
