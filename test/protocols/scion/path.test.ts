import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex, writeU32 } from '#base/bytes';
import { S3mpError } from '#base/errors';
import { deriveHopKey, HopMac } from '#scion/hop-mac';
import {
  EXP_TIME_UNIT_MS,
  expTimeOfDuration,
  hopExpiryMs,
  INFO_LENGTH,
  isConsDir,
  segIdOf,
  timestampOf,
  travelEgress,
  travelIngress,
  updateSegId,
} from '#scion/info-hop';
import {
  checkPath,
  checkPosition,
  currHfOf,
  currInfOf,
  decodePath,
  encodePath,
  hopAt,
  incPath,
  infOf,
  infoAt,
  isFirstHopAfterXover,
  isXover,
  MAX_PATH_LENGTH,
  metaWord,
  numHopsOf,
  numInfOf,
  PathFault,
  type PathRepr,
  pathExpiryMs,
  pathLength,
  reversePath,
} from '#scion/path';
import { seeded } from '../../random.ts';
import vectors from '../../vectors/scion-packets.json';

const Path = suite('SCION path');
const encoded = (path: PathRepr): Uint8Array => {
  const out = new Uint8Array(MAX_PATH_LENGTH);
  return out.subarray(0, encodePath(out, 0, path));
};

Path('the path of the official test is read and written', () => {
  const { inputs, expected } = vectors['scion-path-decode'];
  const raw = fromHex(inputs.raw_hex);
  const path = decodePath(raw, 0, raw.length);
  assert.is(path.currInf, expected.curr_inf);
  assert.is(path.currHf, expected.curr_hf);
  assert.equal(
    path.segments.map((s) => s.hops.length),
    expected.seg_len.filter((n) => n > 0),
  );
  expected.info.forEach((info, i) => {
    const { consDir, peer, segId, timestamp } = path.segments[i]!;
    assert.equal([consDir, peer, segId, timestamp], [info.cons_dir, info.peer, info.seg_id, info.timestamp]);
  });
  const hops = path.segments.flatMap((s) => s.hops);
  expected.hops.forEach((hop, i) => {
    assert.equal(hops[i], {
      expTime: hop.exp_time,
      consIngress: hop.cons_ingress,
      consEgress: hop.cons_egress,
      mac: fromHex(hop.mac_hex),
      ingressAlert: hop.ingress_alert,
      egressAlert: hop.egress_alert,
    });
  });
  assert.is(toHex(encoded(path)), inputs.raw_hex);
  assert.is(pathLength(raw, 0), raw.length);
});

Path('a captured path of three segments is read and written', () => {
  const { inputs, expected } = vectors['recorded-path-up-core-down'];
  const raw = fromHex(inputs.raw_hex);
  const path = decodePath(raw, 0, raw.length);
  const hops = path.segments.flatMap((s) => s.hops.map((h) => [h.expTime, h.consIngress, h.consEgress, toHex(h.mac)]));
  assert.equal(hops, expected.hops);
  assert.equal(
    path.segments.map((s) => [s.consDir, s.segId.toString(16), s.timestamp]),
    expected.info.map((i) => [i.cons_dir, i.seg_id_hex, i.timestamp]),
  );
  assert.is(toHex(encoded(path)), inputs.raw_hex);
});

Path('reversal gives the bytes of the official test, and twice is the identity', () => {
  const { inputs, expected } = vectors['scion-path-reverse'];
  const raw = fromHex(inputs.raw_hex);
  const out = new Uint8Array(raw.length);
  assert.is(reversePath(raw, 0, out, 0), raw.length);
  assert.is(toHex(out), expected.reversed_hex);
  const back = new Uint8Array(raw.length + 3);
  assert.is(reversePath(out, 0, back, 3), raw.length + 3);
  assert.is(toHex(back, 3), inputs.raw_hex);
});

Path('reversal at every position turns lengths, directions, hops and position', () => {
  const { inputs, expected } = vectors['scion-path-reverse-indices'];
  const make = (lens: number[], dirs: boolean[], hops: number[], [currInf, currHf]: number[]): PathRepr => {
    let h = 0;
    return {
      currInf: currInf!,
      currHf: currHf!,
      segments: lens.map((n, i) => ({
        consDir: dirs[i]!,
        peer: false,
        segId: 0,
        timestamp: 0,
        hops: Array.from({ length: n }, () => ({
          expTime: 0,
          consIngress: hops[h]!,
          consEgress: hops[h++]!,
          mac: new Uint8Array(6),
        })),
      })),
    };
  };
  inputs.inf_hf.forEach((position, i) => {
    const from = encoded(make(inputs.seg_len, inputs.cons_dir, inputs.hops, position));
    const to = new Uint8Array(from.length);
    reversePath(from, 0, to, 0);
    assert.equal(to, encoded(make(expected.seg_len, expected.cons_dir, expected.hops, expected.inf_hf[i]!)));
  });
});

Path('meta words that the official decoder rejects are refused', () => {
  const faults = [PathFault.tooManyHops, PathFault.gapInSegments, PathFault.gapInSegments];
  vectors['scion-path-invalid'].inputs.meta_hex.forEach((hex, i) => {
    const raw = new Uint8Array(1000);
    raw.set(fromHex(hex));
    assert.is(checkPath(raw, 0, raw.length), faults[i]);
    assert.throws(
      () => decodePath(raw, 0, raw.length),
      (e: unknown) => e instanceof S3mpError && e.code === 'decode.invalid',
    );
  });
  const gap = new Uint8Array(1000);
  writeU32(gap, 0, (1 << 12) | 1);
  assert.is(checkPath(gap, 0, gap.length), PathFault.gapInSegments);
  assert.is(checkPath(new Uint8Array(4), 0, 4), PathFault.noSegment);
});

Path('a path cut anywhere is refused as truncated', () => {
  const raw = fromHex(vectors['scion-path-decode'].inputs.raw_hex);
  for (let end = 0; end < raw.length; end++) assert.is(checkPath(raw, 0, end), PathFault.truncated);
  assert.is(checkPath(raw, 0, raw.length), PathFault.none);
});

Path('impossible plain paths are not written', () => {
  const hop = { expTime: 0, consIngress: 0, consEgress: 0, mac: new Uint8Array(6) };
  const segment = (n: number) => ({
    consDir: true,
    peer: false,
    segId: 0,
    timestamp: 0,
    hops: Array.from({ length: n }, () => hop),
  });
  for (const lengths of [[], [0], [64], [32, 33], [1, 1, 1, 1]]) {
    assert.throws(
      () => encoded({ currInf: 0, currHf: 0, segments: lengths.map(segment) }),
      (e: unknown) => e instanceof S3mpError && e.code === 'encode.out-of-range',
    );
  }
});

Path('walking visits every hop, finds the crossovers and stops at the end', () => {
  const raw = fromHex(vectors['recorded-path-up-core-down'].inputs.raw_hex);
  const crossovers: number[] = [];
  const firsts: number[] = [];
  for (let hop = 0; hop < 7; hop++) {
    const word = metaWord(raw, 0);
    assert.is(currHfOf(word), hop);
    assert.is(currInfOf(word), infOf(word, hop));
    assert.ok(checkPosition(word));
    if (isXover(word)) crossovers.push(hop);
    if (isFirstHopAfterXover(word)) firsts.push(hop);
    assert.is(incPath(raw, 0), hop < 6);
  }
  assert.equal(crossovers, [1, 4]);
  assert.equal(firsts, [2, 5]);
  assert.is(currHfOf(metaWord(raw, 0)), 6);
});

Path('positions off the path are recognised', () => {
  const raw = fromHex(vectors['scion-path-decode'].inputs.raw_hex);
  for (let position = 0; position < 256; position++) {
    raw[0] = position;
    const hop = position & 63;
    assert.is(checkPosition(metaWord(raw, 0)), hop < 4 && position >> 6 === (hop < 2 ? 0 : 1));
  }
});

Path('random paths survive encoding, decoding and double reversal', () => {
  const random = seeded();
  for (let i = 0; i < 2000; i++) {
    const numInf = 1 + random.below(3);
    const lengths = Array.from({ length: numInf }, () => 1 + random.below(numInf === 1 ? 63 : 21));
    const numHops = lengths.reduce((a, b) => a + b, 0);
    const currHf = random.below(numHops);
    const currInf = lengths.findIndex((_, i) => currHf < lengths.slice(0, i + 1).reduce((a, b) => a + b, 0));
    const path: PathRepr = {
      currInf,
      currHf,
      segments: lengths.map((n) => ({
        consDir: random.below(2) === 1,
        peer: random.below(2) === 1,
        segId: random.below(65536),
        timestamp: random.u32(),
        hops: Array.from({ length: n }, () => ({
          expTime: random.below(256),
          consIngress: random.below(65536),
          consEgress: random.below(65536),
          mac: random.bytes(6),
          ingressAlert: random.below(2) === 1,
          egressAlert: random.below(2) === 1,
        })),
      })),
    };
    const raw = encoded(path);
    assert.is(checkPath(raw, 0, raw.length), PathFault.none);
    assert.ok(checkPosition(metaWord(raw, 0)));
    assert.equal(decodePath(raw, 0, raw.length), path);
    assert.is(numInfOf(metaWord(raw, 0)), numInf);
    assert.is(numHopsOf(metaWord(raw, 0)), numHops);
    const once = new Uint8Array(raw.length);
    const twice = new Uint8Array(raw.length);
    reversePath(raw, 0, once, 0);
    assert.ok(checkPosition(metaWord(once, 0)));
    reversePath(once, 0, twice, 0);
    assert.equal(twice, raw);
  }
});

Path('interfaces in the order of travel depend on the direction', () => {
  const raw = fromHex(vectors['scion-path-decode'].inputs.raw_hex);
  assert.is(isConsDir(raw, infoAt(0, 0)), false);
  assert.equal(
    [travelIngress(raw, infoAt(0, 0), hopAt(0, 2, 1)), travelEgress(raw, infoAt(0, 0), hopAt(0, 2, 1))],
    [2, 3],
  );
  assert.equal(
    [travelIngress(raw, infoAt(0, 1), hopAt(0, 2, 2)), travelEgress(raw, infoAt(0, 1), hopAt(0, 2, 2))],
    [0, 2],
  );
});

Path('lives of hop fields and their ExpTime', () => {
  const { inputs, expected } = vectors['exp-time'];
  inputs.exp_time.forEach((expTime, i) => {
    assert.is(hopExpiryMs(1000, expTime), 1_000_000 + expected.ttl_ms[i]!);
  });
  for (const [ms, expTime] of Object.entries(expected.from_duration_ms_to_exp_time)) {
    assert.is(expTimeOfDuration(Number(ms)), expTime);
  }
  for (const ms of [...expected.errors_ms, Number.NaN]) {
    assert.throws(
      () => expTimeOfDuration(ms),
      (e: unknown) => e instanceof S3mpError && e.code === 'encode.out-of-range',
    );
  }
  const raw = fromHex(vectors['scion-path-decode'].inputs.raw_hex);
  assert.is(pathExpiryMs(raw, 0), 256_000 + 64 * EXP_TIME_UNIT_MS);
});

Path('hop-field keys from master secrets', () => {
  for (const name of ['forwarding-key-derivation', 'forwarding-key-derivation-2'] as const) {
    const { inputs, expected } = vectors[name];
    const secret = Uint8Array.from(Buffer.from(inputs.master_key_base64, 'base64'));
    assert.is(toHex(deriveHopKey(secret)), expected.hop_field_key_hex);
  }
});

Path('hop-field MACs, whole and cut, computed and verified', () => {
  const plain = vectors['hop-field-mac'];
  const derived = vectors['hop-field-mac-derived-key'];
  for (const [key, { inputs, expected }] of [
    [new TextEncoder().encode(plain.inputs.key_ascii), plain],
    [fromHex(derived.inputs.key_hex), derived],
  ] as const) {
    const mac = new HopMac(key);
    const segId = Number.parseInt(inputs.beta_hex, 16);
    const { timestamp, exp_time, cons_ingress, cons_egress } = inputs;
    const out = new Uint8Array(16);
    assert.is(mac.computeFull(out, 0, segId, timestamp, exp_time, cons_ingress, cons_egress), 16);
    assert.is(toHex(out), expected.full_cmac_hex);
    const short = new Uint8Array(8);
    assert.is(mac.compute(short, 1, segId, timestamp, exp_time, cons_ingress, cons_egress), 7);
    assert.is(toHex(short), `00${expected.mac_hex}00`);

    const hop = {
      expTime: exp_time,
      consIngress: cons_ingress,
      consEgress: cons_egress,
      mac: short.slice(1, 7),
      ingressAlert: true,
    };
    const raw = encoded({
      currInf: 0,
      currHf: 0,
      segments: [{ consDir: true, peer: true, segId, timestamp, hops: [hop] }],
    });
    const [info, at] = [infoAt(0, 0), hopAt(0, 1, 0)];
    assert.ok(mac.verify(raw, info, at), 'flags are not covered');
    // Every covered bit matters: SegID, timestamp, ExpTime, interfaces and the MAC itself.
    for (let bit = 0; bit < 8 * (raw.length - info - 2); bit++) {
      const byte = info + 2 + (bit >> 3);
      if (byte === at) continue;
      raw[byte]! ^= 1 << (bit & 7);
      assert.is(mac.verify(raw, info, at), false, `byte ${byte}`);
      raw[byte]! ^= 1 << (bit & 7);
    }
    updateSegId(raw, info, at);
    assert.is(segIdOf(raw, info), segId ^ ((short[1]! << 8) | short[2]!));
    assert.is(timestampOf(raw, info), timestamp);
  }
  assert.is(plain.expected.beta_next_hex, (0x0111 ^ 0xd3a4).toString(16));
  assert.is(INFO_LENGTH, 8);
});

Path('random bytes never escape the checks', () => {
  const random = seeded();
  let good = 0;
  for (let i = 0; i < 30_000; i++) {
    const raw = random.bytes(random.below(120));
    if (raw.length > 4 && random.below(2))
      writeU32(raw, 0, (random.below(4) << 12) | (random.below(3) << 6) | random.below(2));
    if (checkPath(raw, 0, raw.length) !== PathFault.none) {
      assert.throws(
        () => decodePath(raw, 0, raw.length),
        (e: unknown) => e instanceof S3mpError && e.code.startsWith('decode.'),
      );
      continue;
    }
    good++;
    assert.ok(pathLength(raw, 0) <= raw.length);
    reversePath(raw, 0, new Uint8Array(raw.length), 0);
    decodePath(raw, 0, raw.length);
  }
  assert.ok(good > 100, `only ${good} paths passed`);
});

Path.run();
