/**
 * Paths, hop-field MACs, addresses and path policies beside the official packages: random values and random texts, right
 * and wrong ones, go to both, and both must say the same.
 *
 * S3MP_ROUNDS=N multiplies the number of cases.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { toHex, writeU16, writeU32 } from '#base/bytes';
import { ConfigError, ScionError } from '#base/errors';
import { formatAddress, formatEndpoint, formatHost, parseAddress, parseEndpoint, parseHost } from '#scion/address';
import { emptyPath } from '#scion/combinator';
import { deriveHopKey, HopMac } from '#scion/hop-mac';
import { formatIsdAs, parseIsdAs } from '#scion/isd-as';
import { isOneHopComplete, ONE_HOP_LENGTH, ONE_HOP_REPLY_LENGTH, reverseOneHop } from '#scion/onehop';
import {
  checkPath,
  checkPosition,
  incPath,
  isFirstHopAfterXover,
  isXover,
  META_LENGTH,
  metaWord,
  PathFault,
  pathLength,
  reversePath,
} from '#scion/path';
import type { PathInterface } from '#scion/path-metadata';
import { parsePolicy, whyForbidden } from '#scion/policy';
import { needs } from '#test/needs';
import { type Random, seeded } from '../random.ts';
import { buildOracle, Oracle } from './go-oracle.ts';

const ROUNDS = Number(process.env.S3MP_ROUNDS ?? 1);

const Values = suite('values beside the official packages');
const random = seeded();
const pick = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
let oracle: Oracle;

Values.before(() => {
  oracle = new Oracle();
});
Values.after(() => oracle.close());

// --- Paths -------------------------------------------------------------------------------------------------------------

interface Examination {
  reversed_type: number;
  reversed: string;
  reverse_error?: string;
  reversed_decoded: string;
  increased: string;
  increase_error?: string;
  xover: boolean;
  first_after_xover: boolean;
  matches: boolean;
  length: number;
  reencoded: string;
}

/** Random bytes under a random PathMeta; most are whole paths. */
function randomPath(): Uint8Array {
  const lengths = [
    1 + random.below(20),
    random.below(3) ? random.below(20) : 0,
    random.below(3) ? random.below(20) : 0,
  ];
  if (random.below(12) === 0) lengths[random.below(3)] = random.below(64);
  const word = (random.below(256) << 24) | (lengths[0]! << 12) | (lengths[1]! << 6) | lengths[2]!;
  const hops = lengths[0]! + lengths[1]! + lengths[2]!;
  const infos = lengths.filter((n) => n > 0).length;
  // A position on the path, more often than not.
  const start = random.below(3) ? ((random.below(infos || 1) << 30) | (random.below(hops || 1) << 24)) >>> 0 : word;
  const raw = random.bytes(META_LENGTH + 8 * infos + 12 * hops - (random.below(20) ? 0 : random.below(9)));
  if (raw.length < META_LENGTH) return raw;
  writeU32(raw, 0, (start & 0xff00_0000) | (word & 0x3ffff));
  for (let i = 0; i < infos && META_LENGTH + 8 * i < raw.length; i++) raw[META_LENGTH + 8 * i]! &= 3;
  for (let i = 0; i < infos && META_LENGTH + 8 * i + 1 < raw.length; i++) raw[META_LENGTH + 8 * i + 1] = 0;
  for (let at = META_LENGTH + 8 * infos; at < raw.length; at += 12) raw[at]! &= 3;
  return raw;
}

Values('SCION paths: lengths, position, next hop, reversal', async () => {
  let whole = 0;
  for (let i = 0; i < 3000 * ROUNDS; i++) {
    const raw = randomPath();
    const what = toHex(raw);
    const answer = await oracle.try<Examination>('path', { type: 1, raw: what });
    const fault = checkPath(raw, 0, raw.length);
    // The official decoder takes a path without segments, and every user of it refuses that then.
    if (fault === PathFault.noSegment) continue;
    if (answer.error !== undefined) {
      assert.is.not(fault, PathFault.none, `${what}: ${answer.error}`);
      continue;
    }
    const theirs = answer.result;
    assert.is(fault, PathFault.none, what);
    whole++;
    assert.is(pathLength(raw, 0), theirs.length, what);
    const word = metaWord(raw, 0);
    // The official decoded form is what reverses; its meaning beyond the end of the path is its own.
    assert.is(checkPosition(word), theirs.matches && (word >>> 24) % 64 < hopsOf(word), what);
    if (!checkPosition(word)) continue;
    assert.is(isXover(word), theirs.xover, what);
    assert.is(isFirstHopAfterXover(word), theirs.first_after_xover, what);
    const reversed = new Uint8Array(raw.length);
    assert.is(reversePath(raw, 0, reversed, 0), raw.length);
    assert.is(toHex(reversed), theirs.reversed, what);
    assert.is(toHex(reversed), theirs.reversed_decoded, what);
    const next = raw.slice();
    assert.is(incPath(next, 0), theirs.increase_error === undefined, what);
    if (theirs.increase_error === undefined) assert.is(toHex(next), theirs.increased, what);
  }
  assert.ok(whole > 1000 * ROUNDS, `${whole} whole paths`);
});

const hopsOf = (word: number) => ((word >>> 12) & 63) + ((word >>> 6) & 63) + (word & 63);

Values('one-hop and EPIC paths: reversal becomes the same SCION path', async () => {
  for (let i = 0; i < 300 * ROUNDS; i++) {
    const raw = random.bytes(ONE_HOP_LENGTH);
    raw[0] = 1;
    raw[1] = 0;
    raw[8]! &= 3;
    raw[20]! &= 3;
    if (random.below(5) === 0) writeU16(raw, 22, 0);
    const theirs = await oracle.ask<Examination>('path', { type: 2, raw: toHex(raw) });
    assert.is(toHex(raw), theirs.reencoded);
    assert.is(isOneHopComplete(raw, 0), theirs.reverse_error === undefined);
    const out = new Uint8Array(ONE_HOP_REPLY_LENGTH);
    const end = reverseOneHop(raw, 0, out, 0);
    assert.is(end, theirs.reverse_error === undefined ? out.length : -1);
    if (end >= 0) assert.is(toHex(out), theirs.reversed);
  }
  for (let i = 0; i < 300 * ROUNDS; i++) {
    const inner = randomPath();
    if (checkPath(inner, 0, inner.length) !== PathFault.none || !checkPosition(metaWord(inner, 0))) continue;
    const prefix = random.bytes(16);
    const theirs = await oracle.ask<Examination>('path', { type: 3, raw: toHex(prefix) + toHex(inner) });
    const reversed = new Uint8Array(inner.length);
    reversePath(inner, 0, reversed, 0);
    assert.is(theirs.reversed, toHex(prefix) + toHex(reversed));
  }
});

Values('hop-field MACs, from the master secret on', async () => {
  for (let secret = 0; secret < 8; secret++) {
    const master = random.bytes(pick([16, 16, 16, 1, 32, 100]));
    const mac = new HopMac(deriveHopKey(master));
    for (let i = 0; i < 40 * ROUNDS; i++) {
      const args = {
        master: toHex(master),
        seg_id: random.below(65_536),
        timestamp: random.u32(),
        exp_time: random.below(256),
        cons_ingress: random.below(65_536),
        cons_egress: random.below(65_536),
      };
      const out = new Uint8Array(16);
      mac.computeFull(out, 0, args.seg_id, args.timestamp, args.exp_time, args.cons_ingress, args.cons_egress);
      assert.is(toHex(out), await oracle.ask<string>('mac', args), JSON.stringify(args));
    }
  }
});

// --- Addresses ---------------------------------------------------------------------------------------------------------

/** A text built from pieces that parsers care about, sometimes damaged. */
function randomText(make: (random: Random) => string): string {
  let text = make(random);
  for (let k = random.below(4) ? 0 : 1 + random.below(2); k > 0; k--) {
    const at = random.below(text.length + 1);
    const piece = pick([
      '',
      '0',
      '1',
      ':',
      '::',
      '-',
      ',',
      '[',
      ']',
      '.',
      'f',
      'g',
      ' ',
      '#',
      '%',
      '_A',
      '_M',
      'CS',
      'é',
    ]);
    text = text.slice(0, at) + piece + text.slice(at + random.below(3));
  }
  return text;
}

const group = () => pick(['0', '1', 'ff00', 'FF00', '110', 'ffff', '10000', '00001', 'a1', 'fcd1']);
const asText = () =>
  random.below(3)
    ? `${group()}:${group()}:${group()}`
    : pick(['0', '1', '64512', '65536', '4294967295', '4294967296', '0064512']);
const iaText = () => `${pick(['0', '1', '2', '64', '65535', '65536', '007'])}-${asText()}`;
const hostText = () =>
  pick([
    '10.0.0.1',
    '127.0.0.1',
    '255.255.255.255',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '1.2.3.256',
    '0.0.0.0',
    '::',
    '::1',
    '2001:db8::68',
    '2001:DB8:0:0:0:0:0:68',
    '1:2:3:4:5:6:7:8',
    '1:2:3:4:5:6:7::',
    '::ffff:10.0.0.1',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '12345::',
    'fe80::1',
    '::1.2.3.4',
    '1:0:0:2::',
    '1:0:0:2:0:0:0:3',
    '0:0:1::',
    'CS',
    'DS',
    'Wildcard',
    'CS_A',
    'DS_M',
    'Wildcard_M',
    'cs',
    'CS_',
    'CS_A_M',
    'None',
    'SIG',
  ]);

const OURS: Record<string, (text: string) => string> = {
  ia: (text) => formatIsdAs(parseIsdAs(text)),
  host: (text) => formatHost(parseHost(text)),
  address: (text) => formatAddress(parseAddress(text)),
  endpoint: (text) => formatEndpoint(parseEndpoint(text)),
};

Values('ISD-AS and address texts: the same accepted, printed the same', async () => {
  const makers: Record<string, () => string> = {
    ia: iaText,
    host: hostText,
    address: () => `${iaText()},${hostText()}`,
    endpoint: () => `[${iaText()},${hostText()}]:${pick(['0', '80', '65535', '65536', '080', '-1', ''])}`,
  };
  const seen = { accepted: 0, refused: 0 };
  for (let i = 0; i < 6000 * ROUNDS; i++) {
    const kind = pick(Object.keys(makers));
    const text = randomText(makers[kind]!);
    const answer = await oracle.try<string>('address', { kind, text });
    const what = `${kind} ${JSON.stringify(text)}`;
    let mine: string | undefined;
    try {
      mine = OURS[kind]!(text);
    } catch (error) {
      if (!(error instanceof ScionError)) throw error;
    }
    if (answer.error !== undefined) {
      // Older forms of endpoints are accepted for what users have written down.
      if (kind !== 'endpoint' || /^\[.*\]:\d+$/.test(text)) assert.is(mine, undefined, `${what}: ${answer.error}`);
      seen.refused++;
    } else {
      // An IPv4-mapped address becomes IPv4 here, because routers drop the mapped form; zones have no place in packets.
      if (/%/.test(text)) continue;
      assert.is(mine, answer.result.replace(/::ffff:(?=\d+\.\d+\.)/, ''), what);
      seen.accepted++;
    }
  }
  assert.ok(seen.accepted > 500 * ROUNDS && seen.refused > 500 * ROUNDS, JSON.stringify(seen));
});

// --- Policies ----------------------------------------------------------------------------------------------------------

const ISDS = ['1', '2', '3'];
const ASES = ['ff00:0:110', 'ff00:0:111', '64512', '1'];

function randomInterfaces(): PathInterface[] {
  const hops = random.below(6);
  const ia = () => parseIsdAs(`${pick(ISDS)}-${pick(ASES)}`);
  const list: PathInterface[] = [];
  let here = ia();
  for (let i = 0; i < hops; i++) {
    const next = ia();
    list.push({ ia: here, id: 1 + random.below(4) }, { ia: next, id: 1 + random.below(4) });
    here = next;
  }
  return list;
}

const predicateText = (): string => {
  const isd = pick(['0', ...ISDS]);
  if (random.below(3) === 0) return isd;
  const as = pick(['0', ...ASES, ...ASES]);
  const id = () => pick(['0', '1', '2', '3', '4']);
  if (random.below(2)) return `${isd}-${as}`;
  return random.below(2) ? `${isd}-${as}#${id()}` : `${isd}-${as}#${id()},${id()}`;
};

function aclText(): string[] {
  const lines = Array.from({ length: random.below(4) }, () => `${pick(['+', '-'])} ${predicateText()}`);
  lines.push(pick(['+', '-', '- 0', '+ 0-0', '+ 0-0#0', '-']));
  if (random.below(12) === 0) lines.push(pick(['+', '+ 1']));
  return random.below(6) ? lines : lines.map((line) => randomText(() => line));
}

function sequenceOf(depth: number): string {
  if (depth === 0 || random.below(4) === 0) return predicateText();
  const part = () => sequenceOf(depth - 1);
  return pick([
    () => `${part()} ${part()}`,
    () => `${part()}|${part()}`,
    () => `${part()}${pick(['?', '+', '*'])}`,
    () => `(${part()})`,
    () => `(${part()}${pick([' ', ' | ', ''])}${part()})${pick(['', '?', '+', '*'])}`,
  ])();
}

/** Accepted by the official parsers though no hop can be it; we say so instead. */
const NEVER_MATCHES = /exceeds 65535|write .* for the AS|is no AS number/;

async function judge(policy: { acl?: string[]; sequence?: string }, paths: PathInterface[][]): Promise<boolean> {
  const what = JSON.stringify(policy);
  const answer = await oracle.try<number[]>('policy', {
    policy,
    paths: paths.map((path) => path.map(({ ia, id }) => ({ ia: formatIsdAs(ia), id }))),
  });
  let kept: number[];
  try {
    const mine = parsePolicy(policy.acl ?? [], policy.sequence ?? '');
    const allowed = (path: PathInterface[]) => !whyForbidden(mine, { ...emptyPath(1n, 0), interfaces: path });
    kept = paths.flatMap((path, i) => (allowed(path) ? [i] : []));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    if (answer.error === undefined) assert.match(error.message, NEVER_MATCHES, what);
    return false;
  }
  assert.is(answer.error, undefined, what);
  if (answer.error === undefined) assert.equal(kept, answer.result, what);
  return true;
}

Values('access lists: the same accepted, the same paths kept', async () => {
  let accepted = 0;
  for (let i = 0; i < 1500 * ROUNDS; i++) {
    const paths = Array.from({ length: 12 }, randomInterfaces);
    if (await judge({ acl: aclText() }, paths)) accepted++;
  }
  assert.ok(accepted > 500 * ROUNDS, `${accepted} accepted`);
});

Values('sequences: the same accepted, the same paths kept', async () => {
  let accepted = 0;
  for (let i = 0; i < 2500 * ROUNDS; i++) {
    const paths = Array.from({ length: 12 }, randomInterfaces);
    const text = sequenceOf(1 + random.below(4));
    const damaged = random.below(3) ? text : randomText(() => text);
    if (await judge({ sequence: damaged }, paths)) accepted++;
  }
  assert.ok(accepted > 1000 * ROUNDS, `${accepted} accepted`);
});

Values('sequences made for a path match it', async () => {
  for (let i = 0; i < 500 * ROUNDS; i++) {
    const path = randomInterfaces();
    const hops = path.length === 0 ? [] : Array.from({ length: path.length / 2 + 1 }, (_, h) => h);
    const words = hops.map((h) => {
      const [inbound, outbound] = [path[2 * h - 1], path[2 * h]];
      const ia = formatIsdAs((inbound ?? outbound)!.ia);
      const [a, b] = [inbound?.id ?? 0, outbound?.id ?? 0];
      return pick([
        '0',
        '0*',
        '0+',
        ia,
        `${ia}#${a},${b}`,
        `${ia}#${b || a}`,
        `${ia.split('-')[0]}`,
        `(9|${ia})`,
        `0? ${ia}`,
      ]);
    });
    const sequence = words.join(' ') || '0*';
    await judge({ sequence }, [path, randomInterfaces(), [], path.slice(2)]);
    assert.is(whyForbidden(parsePolicy([], sequence), { ...emptyPath(1n, 0), interfaces: path }), undefined, sequence);
  }
});

const obstacle = buildOracle();
if (needs('go', obstacle === undefined, obstacle ?? '')) Values.run();
