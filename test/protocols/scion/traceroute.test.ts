/** Which routers a traceroute asks. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { encodePath, type PathSegmentRepr, pathLengthOf } from '#scion/path';
import { tracerouteSteps } from '#scion/traceroute';

const hop = () => ({
  ingressAlert: false,
  egressAlert: false,
  expTime: 63,
  consIngress: 1,
  consEgress: 2,
  mac: new Uint8Array(6),
});
const segment = (length: number, consDir: boolean, peer = false): PathSegmentRepr => ({
  consDir,
  peer,
  segId: 1,
  timestamp: 1,
  hops: Array.from({ length }, hop),
});

function steps(...segments: PathSegmentRepr[]): string[] {
  const hops = segments.reduce((sum, s) => sum + s.hops.length, 0);
  const raw = new Uint8Array(pathLengthOf(segments.length, hops));
  encodePath(raw, 0, { currInf: 0, currHf: 0, segments });
  return tracerouteSteps(raw).map((step) => `${step.hop} ${step.side}`);
}

const Traceroute = suite('steps of a traceroute');

Traceroute('every interface of one segment, in either direction', () => {
  for (const consDir of [true, false])
    assert.equal(steps(segment(3, consDir)), ['0 egress', '1 ingress', '1 egress', '2 ingress']);
});

Traceroute('at a switch of segments the AS is entered by one hop field and left by the next', () => {
  assert.equal(steps(segment(2, false), segment(2, true)), ['0 egress', '1 ingress', '2 egress', '3 ingress']);
  assert.equal(steps(segment(2, false), segment(2, false), segment(2, true)), [
    '0 egress',
    '1 ingress',
    '2 egress',
    '3 ingress',
    '4 egress',
    '5 ingress',
  ]);
});

Traceroute('over a peering link both ASes are entered and left', () => {
  assert.equal(steps(segment(2, false, true), segment(2, true, true)), [
    '0 egress',
    '1 ingress',
    '1 egress',
    '2 ingress',
    '2 egress',
    '3 ingress',
  ]);
});

Traceroute('the empty path has none', () => {
  assert.equal(tracerouteSteps(new Uint8Array(0)), []);
});

Traceroute.run();
