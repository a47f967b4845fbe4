/**
 * Path combination. Vectors: the official golden files (scionproto private/path/combinator/testdata), and segments with
 * real hop-field MACs whose paths a router simulation walked in both directions.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { combinePaths, emptyPath } from '#scion/combinator';
import { formatIsdAs, parseIsdAs } from '#scion/isd-as';
import {
  announcedLatencyMs,
  asesOf,
  isdsOf,
  panFingerprint,
  pathFingerprint,
  sequenceText,
} from '#scion/path-metadata';
import type { SegmentShape } from '#scion/segment';
import golden from '../../vectors/scion-combinator.json';
import withMacs from '../../vectors/scion-combinator-macs.json';

interface GoldenSegment {
  as_entries: { ia: string; hop: number[]; peers: { hop: number[]; peer_ia: string; peer_if: number }[] }[];
}

const hopOf = (hop: number[]) => ({
  expTime: 63,
  consIngress: hop[0]!,
  consEgress: hop[1]!,
  mac: new Uint8Array(6),
});

function goldenSegment(segment: GoldenSegment): SegmentShape {
  return {
    segmentId: 0,
    timestamp: 1_700_000_000,
    entries: segment.as_entries.map((entry) => ({
      ia: parseIsdAs(entry.ia),
      mtu: 1472,
      ingressMtu: 0,
      hop: hopOf(entry.hop),
      peers: entry.peers.map((peer) => ({
        peerIa: parseIsdAs(peer.peer_ia),
        peerInterface: peer.peer_if,
        peerMtu: 0,
        hop: hopOf(peer.hop),
      })),
    })),
  };
}

type MacCase = (typeof withMacs.cases)[number];
type MacSegment = MacCase['ups'][number];

function macHop(hop: { exp_time: number; ingress: number; egress: number; mac: string }) {
  return { expTime: hop.exp_time, consIngress: hop.ingress, consEgress: hop.egress, mac: fromHex(hop.mac) };
}

function macSegment(segment: MacSegment): SegmentShape {
  return {
    segmentId: segment.seg_id,
    timestamp: segment.timestamp,
    entries: segment.as_entries.map((entry) => ({
      ia: parseIsdAs(entry.ia),
      mtu: entry.mtu,
      ingressMtu: entry.ingress_mtu,
      hop: macHop(entry.hop_field),
      peers: entry.peers.map((peer) => ({
        peerIa: parseIsdAs(peer.peer_ia),
        peerInterface: peer.peer_if,
        peerMtu: peer.peer_mtu,
        hop: macHop(peer.hop_field),
      })),
    })),
  };
}

const interfaceText = (i: { ia: bigint; id: number }) => `${formatIsdAs(i.ia)}#${i.id}`;

/** Segments of a raw path as the golden files write them. */
function describeRaw(raw: Uint8Array) {
  const word = (raw[0]! << 24) | (raw[1]! << 16) | (raw[2]! << 8) | raw[3]!;
  const lengths = [(word >> 12) & 63, (word >> 6) & 63, word & 63].filter((n) => n > 0);
  let hopAt = 4 + 8 * lengths.length;
  return lengths.map((length, i) => {
    const flags = raw[4 + 8 * i]!;
    const hops = Array.from({ length }, () => {
      const hop = [(raw[hopAt + 2]! << 8) | raw[hopAt + 3]!, (raw[hopAt + 4]! << 8) | raw[hopAt + 5]!];
      hopAt += 12;
      return hop;
    });
    return { cons_dir: (flags & 1) !== 0, peer: (flags & 2) !== 0, hops };
  });
}

const Combinator = suite('combinator');

for (const [index, vector] of golden.cases.entries()) {
  Combinator(`official golden case ${index}: ${vector.case}`, () => {
    const paths = combinePaths(parseIsdAs(vector.src), parseIsdAs(vector.dst), {
      up: (vector.ups as GoldenSegment[]).map(goldenSegment),
      core: (vector.cores as GoldenSegment[]).map(goldenSegment),
      down: (vector.downs as GoldenSegment[]).map(goldenSegment),
    });
    const seen = paths.map((path) => ({
      weight: path.weight,
      segments: describeRaw(path.raw),
      interfaces: path.interfaces.map(interfaceText),
    }));
    assert.equal(seen, vector.paths as unknown[]);
  });
}

function combineCase(vector: MacCase) {
  return combinePaths(parseIsdAs(vector.src), parseIsdAs(vector.dst), {
    up: (vector.ups as MacSegment[]).map(macSegment),
    core: (vector.cores as unknown as MacSegment[]).map(macSegment),
    down: (vector.downs as unknown as MacSegment[]).map(macSegment),
  });
}

for (const vector of withMacs.cases) {
  Combinator(`path bytes with MACs, MTU, expiry and fingerprint: ${vector.case}`, () => {
    const path = combineCase(vector)[vector.path_index]!;
    assert.is(toHex(path.raw), vector.raw_path_hex);
    assert.is(path.weight, vector.weight);
    assert.is(path.mtu, vector.mtu);
    assert.is(path.expiryMs, vector.expiry_unix_ms);
    assert.equal(path.interfaces.map(interfaceText), vector.interfaces);
    assert.is(path.fingerprint, vector.fingerprint_hex);
  });
}

Combinator('fingerprints of an interface list', () => {
  const interfaces = [
    { ia: parseIsdAs('1-ff00:0:110'), id: 1 },
    { ia: parseIsdAs('1-ff00:0:111'), id: 41 },
  ];
  assert.is(pathFingerprint(interfaces), '2907f9f7d09cd1b33d0508f09172ed6342831761ecd30207c94dfaeb37ce7ed8');
  assert.is(panFingerprint(interfaces), '1 41');
  assert.is(sequenceText(interfaces), '1-ff00:0:110#0,1 1-ff00:0:111#41,0 ');
  assert.is(pathFingerprint([]), '');
  assert.is(sequenceText([]), '');
});

/** A chain of ASes 1-1, 1-2, … as one segment with the given MTUs and announced link latencies. */
function chain(
  ases: { as: bigint; in: number; out: number; mtu?: number; inMtu?: number; us?: number; exp?: number }[],
  timestamp = 1_700_000_000,
): SegmentShape {
  return {
    segmentId: 7,
    timestamp,
    entries: ases.map(({ as, mtu = 1472, inMtu = 0, us, exp = 63, ...ifs }) => ({
      ia: (1n << 48n) | as,
      mtu,
      ingressMtu: inMtu,
      hop: { expTime: exp, consIngress: ifs.in, consEgress: ifs.out, mac: new Uint8Array(6) },
      peers: [],
      ...(us === undefined
        ? {}
        : {
            staticInfo: {
              latencyIntra: new Map(),
              latencyInter: new Map([[ifs.out, us]]),
              bandwidthIntra: new Map(),
              bandwidthInter: new Map([[ifs.out, us * 2]]),
            },
          }),
    })),
  };
}

const IA = (as: bigint) => (1n << 48n) | as;

Combinator('a single down segment is a path from a core AS, with hops, latency and metadata', () => {
  const down = chain([
    { as: 1n, in: 0, out: 1, us: 35_000 },
    { as: 2n, in: 41, out: 0, inMtu: 1400 },
  ]);
  const [path, ...others] = combinePaths(IA(1n), IA(2n), { up: [], core: [], down: [down] });
  assert.is(others.length, 0);
  assert.is(path!.hops, '1-1 1>41 1-2');
  assert.equal(path!.latenciesUs, [35_000]);
  assert.equal(path!.bandwidthsKbit, [70_000]);
  assert.is(announcedLatencyMs(path!), 35);
  assert.is(path!.mtu, 1400);
  assert.equal(asesOf(path!), [IA(1n), IA(2n)]);
  assert.equal(isdsOf(path!), [1]);
});

Combinator('the link into a shortcut AS does not limit the MTU, its own MTU does', () => {
  const up = chain([
    { as: 1n, in: 0, out: 1 },
    { as: 2n, in: 2, out: 3, mtu: 1350, inMtu: 600 },
    { as: 3n, in: 4, out: 0, inMtu: 1400 },
  ]);
  const down = chain([
    { as: 1n, in: 0, out: 1 },
    { as: 2n, in: 2, out: 5, mtu: 1350, inMtu: 600 },
    { as: 4n, in: 6, out: 0, inMtu: 1300 },
  ]);
  const [path] = combinePaths(IA(3n), IA(4n), { up: [up], core: [], down: [down] });
  assert.is(path!.weight, 2);
  assert.is(path!.mtu, 1300);
  const [whole] = combinePaths(IA(3n), IA(1n), { up: [up], core: [], down: [] });
  assert.is(whole!.mtu, 600);
});

/** Two segments that meet at a peering link, 1000 on every AS and link unless said otherwise. */
function mtuSegments(entries: { mtu?: number; inMtu?: number; peerMtu?: number }[]) {
  const ASES: [bigint, number, number][][] = [
    [
      [IA(130n), 0, 1],
      [IA(111n), 2, 3],
      [IA(112n), 4, 0],
    ],
    [
      [IA(210n), 0, 1],
      [IA(211n), 2, 3],
      [IA(212n), 4, 0],
    ],
  ];
  return ASES.map(
    (ases, s): SegmentShape => ({
      segmentId: 7,
      timestamp: 1_700_000_000,
      entries: ases.map(([ia, consIngress, consEgress], i) => {
        const { mtu = 1000, inMtu = consIngress === 0 ? 0 : 1000, peerMtu = 1000 } = entries[3 * s + i] ?? {};
        const mac = new Uint8Array(6);
        const peer = {
          peerIa: ASES[1 - s]![1]![0],
          peerInterface: 9,
          peerMtu,
          hop: { expTime: 63, consIngress: 9, consEgress, mac },
        };
        const hop = { expTime: 63, consIngress, consEgress, mac };
        return { ia, mtu, ingressMtu: inMtu, hop, peers: i === 1 ? [peer] : [] };
      }),
    }),
  );
}

// The cases of the official TestCalculateMTU (private/path/combinator/combinator_test.go).
for (const [name, dst, mtu, ...entries] of [
  ['the last AS of an up path', 111n, 1002, {}, { mtu: 1002 }, { mtu: 1005, inMtu: 1005 }],
  ['the link of an up path', 111n, 1002, {}, { mtu: 1005 }, { mtu: 1005, inMtu: 1002 }],
  ['the core AS', 130n, 1001, { mtu: 1001 }, { mtu: 1003, inMtu: 1002 }, { mtu: 1005, inMtu: 1004 }],
  [
    'the peering link',
    212n,
    1001,
    {},
    { mtu: 1005, peerMtu: 1002 },
    { mtu: 1005, inMtu: 1005 },
    {},
    { mtu: 1005, peerMtu: 1001 },
    { mtu: 1005, inMtu: 1005 },
  ],
  [
    'the last AS behind a peering link',
    212n,
    1002,
    {},
    { mtu: 1005, peerMtu: 1005 },
    { mtu: 1005, inMtu: 1005 },
    {},
    { mtu: 1005, peerMtu: 1005 },
    { mtu: 1002, inMtu: 1005 },
  ],
] as [string, bigint, number, ...{ mtu?: number; inMtu?: number; peerMtu?: number }[]][]) {
  Combinator(`the path MTU is that of ${name}`, () => {
    const [up, down] = mtuSegments(entries);
    const paths = combinePaths(IA(112n), IA(dst), { up: [up!], core: [], down: dst === 212n ? [down!] : [] });
    assert.equal(
      paths.map((p) => p.mtu),
      [mtu],
    );
  });
}

Combinator('MTUs count as the official combinator counts: 0 is nothing only for a link, and 16 bits are kept', () => {
  const path = (first: number, link: number) => {
    const up = chain([
      { as: 1n, in: 0, out: 1, mtu: first },
      { as: 2n, in: 2, out: 0, inMtu: link },
    ]);
    return combinePaths(IA(2n), IA(1n), { up: [up], core: [], down: [] })[0]!.mtu;
  };
  assert.is(path(1472, 0), 1472);
  assert.is(path(0, 1400), 0);
  assert.is(path(65_536 + 1300, 1400), 1300);
});

Combinator('a path expires with the first of the hop fields that it uses', () => {
  const up = chain(
    [
      { as: 1n, in: 0, out: 1, exp: 0 },
      { as: 2n, in: 2, out: 3, exp: 3 },
      { as: 3n, in: 4, out: 0, exp: 255 },
    ],
    1000,
  );
  const [onPath] = combinePaths(IA(3n), IA(2n), { up: [up], core: [], down: [] });
  assert.is(onPath!.expiryMs, 1_000_000 + 4 * 337_500);
  const [whole] = combinePaths(IA(3n), IA(1n), { up: [up], core: [], down: [] });
  assert.is(whole!.expiryMs, 1_000_000 + 337_500);
});

Combinator('of paths with the same interfaces the one that lives longest stays', () => {
  const links = [
    { as: 1n, in: 0, out: 1 },
    { as: 2n, in: 41, out: 0 },
  ];
  const set = { up: [], core: [], down: [chain(links, 1000), chain(links, 2000), chain(links, 1500)] };
  const paths = combinePaths(IA(1n), IA(2n), set);
  assert.is(paths.length, 1);
  assert.is(paths[0]!.expiryMs, 2_000_000 + 64 * 337_500);
  assert.is(combinePaths(IA(1n), IA(2n), set, { identical: true }).length, 3);
});

Combinator('segments with one AS, or with more hops than a path may have, give no path', () => {
  const lone = chain([{ as: 1n, in: 0, out: 0 }]);
  assert.equal(combinePaths(IA(1n), IA(2n), { up: [lone], core: [lone], down: [lone] }), []);
  const long = (base: bigint, count: number) =>
    chain(
      Array.from({ length: count }, (_, i) => ({
        as: i === 0 ? 1n : base + BigInt(i),
        in: i === 0 ? 0 : 1,
        out: i === count - 1 ? 0 : Number(base) + 1,
      })),
    );
  const between = (count: number) =>
    combinePaths(IA(1000n + BigInt(count) - 1n), IA(2000n + BigInt(count) - 1n), {
      up: [long(1000n, count)],
      core: [],
      down: [long(2000n, count)],
    });
  assert.is(between(32).length, 1);
  assert.equal(between(33), []);
});

Combinator('a flood of segments ends in a bounded search', () => {
  const many = (ases: bigint[]) =>
    Array.from({ length: 200 }, (_, i) =>
      chain(ases.map((as, k) => ({ as, in: k === 0 ? 0 : i + 1, out: k === ases.length - 1 ? 0 : i + 1 }))),
    );
  const set = { up: many([1n, 3n]), core: many([2n, 1n]), down: many([2n, 4n]) };
  const begun = process.hrtime.bigint();
  const paths = combinePaths(IA(3n), IA(4n), set);
  assert.is(paths.length, 10_000);
  assert.is(paths[0]!.weight, 3);
  assert.ok(Number(process.hrtime.bigint() - begun) / 1e9 < 20);
});

Combinator('the path inside the own AS is empty and never expires', () => {
  const path = emptyPath(IA(1n), 1472);
  assert.is(path.raw.length, 0);
  assert.is(path.fingerprint, '');
  assert.equal(combinePaths(IA(1n), IA(1n), { up: [], core: [], down: [] }), []);
});

Combinator.run();
