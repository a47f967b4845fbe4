/** Messages of the SCION daemon: answers of an official one, and broken ones. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { ScionError } from '#base/errors';
import { ProtoWriter } from '#base/proto';
import {
  decodeAsResponse,
  decodeInterfacesResponse,
  decodePathsResponse,
  decodePortRange,
  decodeServicesResponse,
  encodeAsRequest,
  encodePathsRequest,
} from '#scion/daemon-messages';
import { parseIsdAs } from '#scion/isd-as';
import { LATENCY_UNSET } from '#scion/path-metadata';
import { seeded } from '#test/random';
import vectors from '../../vectors/scion-daemon.json';

const LEAF = parseIsdAs('1-ff00:0:112');
const CORE = parseIsdAs('1-ff00:0:110');

const Messages = suite('messages of the SCION daemon');

Messages('requests are what the official daemon answered', () => {
  assert.is(toHex(encodeAsRequest(0n)), vectors.as.request);
  assert.is(toHex(encodePathsRequest(LEAF, CORE, true)), vectors.paths.request);
  assert.is(toHex(encodePathsRequest(LEAF, LEAF)), vectors['paths-local'].request);
});

Messages('the official answers about the AS', () => {
  assert.equal(decodeAsResponse(fromHex(vectors.as.answer)), { ia: LEAF, core: false, mtu: 1400 });
  assert.equal(decodePortRange(fromHex(vectors['port-range'].answer)), { min: 31000, max: 32767 });
  const interfaces = decodeInterfacesResponse(fromHex(vectors.interfaces.answer));
  assert.equal([...interfaces], [[1, { host: '127.253.112.1', port: 30042 }]]);
  assert.equal([...decodeServicesResponse(fromHex(vectors.services.answer))], [['control', ['127.253.112.2:31252']]]);
});

Messages('the official answer about paths is ready to send', () => {
  const paths = decodePathsResponse(fromHex(vectors.paths.answer), LEAF, CORE);
  assert.equal(
    paths.map(({ path }) => path.hops),
    ['1-ff00:0:112 1>21 1-ff00:0:111 11>1 1-ff00:0:110', '1-ff00:0:112 1>21 1-ff00:0:111 12>2 1-ff00:0:110'],
  );
  const { path, nextHop } = paths[0]!;
  assert.equal(nextHop, { host: '127.253.112.1', port: 30042 });
  assert.is(path.raw.length, 48);
  assert.is(path.mtu, 1400);
  assert.is(path.fingerprint, '6b84bda4054dbdac228a13151d4a36bbcd7789b28d88fe55641b30e8e5a1837c');
  assert.equal(path.latenciesUs, [LATENCY_UNSET, LATENCY_UNSET, LATENCY_UNSET]);
  assert.equal(path.bandwidthsKbit, [0, 0, 0]);
  assert.is(new Date(path.expiryMs).toISOString(), new Date(1_795_440_140_000).toISOString());
});

Messages('inside the AS the path is empty', () => {
  const [only] = decodePathsResponse(fromHex(vectors['paths-local'].answer), LEAF, LEAF);
  assert.is(only!.path.raw.length, 0);
  assert.is(only!.path.mtu, 1400);
  assert.is(only!.nextHop, undefined);
});

Messages('announced latency and bandwidth are read, packed or not', () => {
  const raw = decodePathsResponse(fromHex(vectors.paths.answer), LEAF, CORE)[0]!.path.raw;
  const message = (bandwidth: (w: ProtoWriter) => void) =>
    new ProtoWriter()
      .message(1, (w) => {
        w.bytes(1, raw).message(2, (i) => i.message(1, (u) => u.text(1, '[fd00::1]:30042')));
        for (const [ia, id] of [
          [LEAF, 1],
          [CORE, 1],
        ] as const)
          w.message(3, (i) => i.u64(1, ia).u32(2, id));
        w.u32(4, 1280).message(5, (t) => t.i64(1, 1_795_440_140n));
        w.message(6, (d) => d.i32(2, 35_000_000));
        bandwidth(w);
      })
      .finish();
  const one = (bytes: Uint8Array) => decodePathsResponse(bytes, LEAF, CORE)[0]!;
  for (const bandwidth of [(w: ProtoWriter) => w.packed(7, [500n]), (w: ProtoWriter) => w.u64(7, 500n)]) {
    const { path, nextHop } = one(message(bandwidth));
    assert.equal(path.latenciesUs, [35_000]);
    assert.equal(path.bandwidthsKbit, [500]);
    assert.equal(nextHop, { host: 'fd00::1', port: 30042 });
  }
  assert.equal(one(message((w) => w.packed(7, [500n, 600n]))).path.bandwidthsKbit, [0]);
});

Messages('a path that cannot be used is left out, the others stay', () => {
  const errors: string[] = [];
  const paths = decodePathsResponse(fromHex(vectors.paths.answer), LEAF, LEAF, (error) => errors.push(error.code));
  assert.is(paths.length, 0);
  assert.equal(errors, ['scion.daemon', 'scion.daemon']);
});

Messages('mutated answers are decoded or refused, and never anything else', () => {
  const random = seeded();
  const decoders: [string, (bytes: Uint8Array) => unknown][] = [
    [vectors.paths.answer, (bytes) => decodePathsResponse(bytes, LEAF, CORE)],
    [vectors.as.answer, decodeAsResponse],
    [vectors.interfaces.answer, decodeInterfacesResponse],
    [vectors.services.answer, decodeServicesResponse],
    [vectors['port-range'].answer, decodePortRange],
  ];
  for (let round = 0; round < 20_000; round++) {
    const [hex, decode] = decoders[round % decoders.length]!;
    const bytes = fromHex(hex);
    for (let n = random.below(4); n >= 0; n--) bytes[random.below(bytes.length)] = random.below(256);
    const cut = random.below(4) === 0 ? bytes.subarray(0, random.below(bytes.length + 1)) : bytes;
    try {
      decode(cut);
    } catch (error) {
      assert.ok(error instanceof ScionError && error.code === 'scion.daemon', String(error));
    }
  }
});

Messages.run();
