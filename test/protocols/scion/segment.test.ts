/** Path segments: official bytes and ids, signed bodies, requests of a host, MAC chains, mutations. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { ScionError } from '#base/errors';
import { seededRandom } from '#hw/random';
import { combinePaths } from '#scion/combinator';
import { HopMac } from '#scion/hop-mac';
import { formatIsdAs, parseIsdAs } from '#scion/isd-as';
import {
  decodeSegment,
  decodeSegmentMessage,
  encodeEntryBody,
  encodeHeaderAndBody,
  encodeSegment,
  encodeSegmentInfo,
  type SegmentShape,
  segmentExpiryMs,
  segmentIdHash,
} from '#scion/segment';
import { buildSegment } from '#scion/segment-builder';
import {
  decodeSegmentsRequest,
  decodeSegmentsResponse,
  encodeSegmentsRequest,
  encodeSegmentsResponse,
  requestsOfHost,
} from '#scion/segment-requests';
import vectors from '../../vectors/scion-segments.json';

// biome-ignore lint/suspicious/noExplicitAny: each vector has its own shape
const vector = (name: string): any => vectors.find((v) => v.name === name)!;

const Segment = suite('segment');

const core = parseIsdAs('1-ff00:0:110');
const middle = parseIsdAs('1-ff00:0:111');
const leaf = parseIsdAs('1-ff00:0:112');
const key = (n: number) => new Uint8Array(16).fill(n);

const builtHops = [
  { ia: core, key: key(1), ingress: 0, egress: 1, mtu: 1472, ingressMtu: 0, expTime: 255 },
  {
    ia: middle,
    key: key(2),
    ingress: 11,
    egress: 12,
    mtu: 1452,
    ingressMtu: 1400,
    expTime: 63,
    peers: [{ peerIa: parseIsdAs('1-ff00:0:121'), peerInterface: 24, peerMtu: 1350, ingress: 14 }],
    staticInfo: {
      latencyIntra: new Map([[11, 250]]),
      latencyInter: new Map([[12, 35_000]]),
      bandwidthIntra: new Map<number, number>(),
      bandwidthInter: new Map([[12, 10_000]]),
    },
  },
  { ia: leaf, key: key(3), ingress: 13, egress: 0, mtu: 1472, ingressMtu: 1450, expTime: 63 },
];
const built = buildSegment(1_700_000_000, 0x1001, builtHops);

function rejects(bytes: Uint8Array, words: RegExp): void {
  try {
    decodeSegment(bytes);
  } catch (error) {
    assert.instance(error, ScionError);
    assert.is((error as ScionError).code, 'scion.segment');
    assert.match((error as ScionError).message, words);
    return;
  }
  assert.unreachable(`accepted, expected ${words}`);
}

Segment('official bytes of a segment decode and encode to the same bytes', () => {
  const { inputs, expected } = vector('segment-pb-encoding');
  const segment = decodeSegmentMessage(fromHex(expected.path_segment));
  assert.is(segment.timestamp, inputs.timestamp);
  assert.is(segment.segmentId, inputs.segment_id);
  assert.is(toHex(segment.segmentInfo), expected.segment_info);
  assert.is(toHex(encodeSegmentInfo(inputs.timestamp, inputs.segment_id)), expected.segment_info);
  assert.equal(
    segment.entries.map((e) => [formatIsdAs(e.ia), e.hop.consIngress, e.hop.consEgress, toHex(e.hop.mac)]),
    inputs.as_entries.map((e: Record<string, unknown>) => [e.isd_as, e.ingress, e.egress, e.mac]),
  );
  assert.is(toHex(encodeSegment(segment)), expected.path_segment);
});

Segment('official segment ids', () => {
  for (const name of ['segment-id-3-hops', 'segment-id-2-hops']) {
    const { inputs, expected } = vector(name);
    const shape: SegmentShape = {
      segmentId: 0,
      timestamp: 0,
      entries: inputs.hops.map((hop: { isd_as: string; ingress: number; egress: number }) => ({
        ia: parseIsdAs(hop.isd_as),
        mtu: 0,
        ingressMtu: 0,
        peers: [],
        hop: { expTime: 0, consIngress: hop.ingress, consEgress: hop.egress, mac: new Uint8Array(6) },
      })),
    };
    assert.is(toHex(segmentIdHash(shape)), expected.id);
  }
});

Segment('signed bodies with peers equal the official encoder', () => {
  const { inputs, expected } = vector('segment-signature-associated-data');
  for (const [i, e] of inputs.entries.entries()) {
    const hop = (h: { exp_time: number; ingress: number; egress: number; mac: string }) => ({
      expTime: h.exp_time,
      consIngress: h.ingress,
      consEgress: h.egress,
      mac: fromHex(h.mac),
    });
    const body = encodeEntryBody(
      {
        ia: parseIsdAs(e.isd_as),
        mtu: e.mtu,
        ingressMtu: e.ingress_mtu,
        hop: hop(e),
        peers: e.peers.map(
          (p: { peer: string; peer_interface: number; peer_mtu: number } & Parameters<typeof hop>[0]) => ({
            peerIa: parseIsdAs(p.peer),
            peerInterface: p.peer_interface,
            peerMtu: p.peer_mtu,
            hop: hop(p),
          }),
        ),
      },
      parseIsdAs(e.next),
    );
    const want = expected.entries[i];
    assert.is(toHex(body), want.body);
    assert.is(toHex(encodeHeaderAndBody(fromHex(want.header), body)), want.header_and_body);
  }
});

Segment('a built segment decodes to what went in, and encodes to the same bytes', () => {
  const bytes = encodeSegment(built);
  const segment = decodeSegment(bytes);
  assert.equal(segment.entries[1]!.staticInfo, builtHops[1]!.staticInfo);
  assert.equal(
    segment.entries.map((e) => [e.ia, e.nextIa, e.mtu, e.ingressMtu, e.hop.consIngress, e.hop.consEgress]),
    [
      [core, middle, 1472, 0, 0, 1],
      [middle, leaf, 1452, 1400, 11, 12],
      [leaf, 0n, 1472, 1450, 13, 0],
    ],
  );
  assert.is(segment.entries[1]!.peers[0]!.peerInterface, 24);
  assert.is(segmentExpiryMs(segment), 1_700_000_000_000 + 64 * 337_500);
  assert.equal(encodeSegment(segment), bytes);
});

Segment('the MACs chain: each main hop under its beta, peer hops under the next one', () => {
  let beta = 0x1001;
  const mac = new Uint8Array(6);
  for (const [i, entry] of built.entries.entries()) {
    const cipher = new HopMac(builtHops[i]!.key);
    const { hop } = entry;
    cipher.compute(mac, 0, beta, built.timestamp, hop.expTime, hop.consIngress, hop.consEgress);
    assert.equal(hop.mac, mac);
    beta ^= (mac[0]! << 8) | mac[1]!;
    for (const peer of entry.peers) {
      cipher.compute(mac, 0, beta, built.timestamp, peer.hop.expTime, peer.hop.consIngress, peer.hop.consEgress);
      assert.equal(peer.hop.mac, mac);
    }
  }
});

Segment('broken segments are refused with the reason', () => {
  rejects(new Uint8Array(0), /at least one AS entry/);
  const wrongNext = { ...built, entries: [built.entries[0]!, built.entries[2]!] };
  rejects(encodeSegment(wrongNext), /AS entry 0: expected the next ISD-AS/);
  rejects(encodeSegment({ ...built, entries: built.entries.slice(1) }), /no ingress interface in the first/);
  const beacon = buildSegment(1, 2, [{ ...builtHops[0]!, egress: 5 }]);
  rejects(encodeSegment(beacon), /no egress interface in the last/);
  rejects(encodeSegment(buildSegment(1, 2, [{ ...builtHops[0]!, ia: 5n, egress: 0 }])), /without wildcard/);
  rejects(encodeSegment({ ...built, segmentInfo: fromHex('1080800410') }), /SegmentInformation/);
  rejects(encodeSegment({ ...built, segmentInfo: fromHex('10808004') }), /segment id of 16 bits/);
});

Segment('a request as the official encoder writes it', () => {
  const { expected } = vector('segments-request-up');
  const request = { src: middle, dst: parseIsdAs('1-0') };
  assert.is(toHex(encodeSegmentsRequest(request)), expected.message);
  assert.equal(decodeSegmentsRequest(fromHex(expected.message)), request);
});

Segment('an answer carries segments by type, and a broken one does not cost the others', () => {
  const set = { up: [built], core: [], down: [built, { ...built, entries: built.entries.slice(1) }] };
  const problems: string[] = [];
  const answer = decodeSegmentsResponse(encodeSegmentsResponse(set), (error) => problems.push(error.code));
  assert.equal([answer.up.length, answer.core.length, answer.down.length], [1, 0, 1]);
  assert.equal(problems, ['scion.segment']);
});

Segment('a host asks for every class of segment that may help', () => {
  const text = (from: string, isCore: boolean, to: string) =>
    requestsOfHost(parseIsdAs(from), isCore, parseIsdAs(to)).map((r) => `${formatIsdAs(r.src)} ${formatIsdAs(r.dst)}`);
  assert.equal(text('1-5', false, '2-7'), ['1-5 1-0', '1-0 2-0', '1-0 2-7', '2-0 2-7']);
  assert.equal(text('1-5', false, '1-7'), ['1-5 1-0', '1-0 1-0', '1-0 1-7']);
  assert.equal(text('1-1', true, '1-7'), ['1-1 1-7', '1-1 1-0', '1-0 1-7']);
});

Segment('mutations of a segment are refused or stay a segment that path combination can take', () => {
  const seed = Number(process.env.S3MP_SEED ?? Date.now() % 1e9);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const bytes = encodeSegment(built);
  const answer = encodeSegmentsResponse({ up: [built], core: [built], down: [built] });
  let refused = 0;
  let taken = 0;
  for (let i = 0; i < 20_000; i++) {
    const source = i % 2 === 0 ? bytes : answer;
    const cut = random() < 0.2 ? Math.floor(random() * source.length) : source.length;
    const mutant = source.slice(0, cut);
    for (let k = 0; k <= random() * 4 && cut > 0; k++)
      mutant[Math.floor(random() * cut)]! ^= 1 << Math.floor(random() * 8);
    try {
      if (source === answer) {
        const set = decodeSegmentsResponse(mutant);
        combinePaths(leaf, core, set);
      } else {
        const segment = decodeSegment(mutant);
        combinePaths(leaf, core, { up: [segment], core: [segment], down: [segment] });
        decodeSegment(encodeSegment(segment));
      }
      taken++;
    } catch (error) {
      assert.instance(error, ScionError);
      assert.is((error as ScionError).code, 'scion.segment');
      refused++;
    }
  }
  assert.ok(refused > 1000 && taken > 1000, `${refused} refused, ${taken} taken`);
});

Segment('all announcements, services and EPIC authenticators go through, and a wrong digest is refused', () => {
  const staticInfo = {
    latencyIntra: new Map([[11, 400]]),
    latencyInter: new Map([[12, 25_000]]),
    bandwidthIntra: new Map([[11, 2 ** 40]]),
    bandwidthInter: new Map([[12, 1000]]),
    geo: new Map([[12, { latitude: 47.25, longitude: -8.5, address: 'Zürich' }]]),
    linkTypes: new Map([[12, 'multihop' as const]]),
    internalHops: new Map([[11, 3]]),
    note: 'night work on Sundays',
  };
  const services = { control: ['10.0.0.1:30252'], discovery: ['[2001:db8::1]:30252'] };
  const hops = builtHops.map((hop) => ({ ...hop, staticInfo, services, epic: true }));
  const made = buildSegment(1_700_000_000, 7, hops);
  const bytes = encodeSegment(made);
  const segment = decodeSegment(bytes);
  assert.is(toHex(encodeSegment(segment)), toHex(bytes));
  for (const [i, entry] of segment.entries.entries()) {
    assert.equal(entry.staticInfo, staticInfo);
    assert.equal(entry.services, services);
    assert.equal(entry.epic, made.entries[i]!.epic);
  }
  const full = new Uint8Array(16);
  const { hop } = segment.entries[0]!;
  new HopMac(hops[0]!.key).computeFull(full, 0, 7, 1_700_000_000, hop.expTime, hop.consIngress, hop.consEgress);
  assert.is(toHex(hop.mac) + toHex(segment.entries[0]!.epic!.hop), toHex(full));
  const [path] = combinePaths(leaf, core, { up: [segment], core: [], down: [] });
  assert.is(toHex(path!.epic!.last), toHex(full));
  assert.equal(path!.notes!.texts, Array(3).fill(staticInfo.note));
  assert.equal(path!.notes!.linkTypes, ['unset', 'multihop'].reverse());
  const forged = bytes.slice();
  const at = toHex(bytes).indexOf(toHex(segment.entries[0]!.epic!.hop)) / 2;
  forged[at]! ^= 1;
  assert.throws(() => decodeSegment(forged), /digest/);
});

Segment.run();
