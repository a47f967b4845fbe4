/** Our decoding of a SCION packet against the official decoders' decoding of the same bytes, field by field. */

import * as assert from 'uvu/assert';
import { toHex } from '#base/bytes';
import { formatHost, readHost } from '#scion/address';
import { formatIsdAs } from '#scion/isd-as';
import { PacketView, ParseFault, parsePacket } from '#scion/packet';
import { decodePath } from '#scion/path';
import { decodeScmp, type ScmpMessage } from '#scion/scmp';
import type { GoPacket } from './go-packets.ts';

/** Everything that our decoder says about a packet, against everything that theirs says. */
export function compareWithGo(ours: Uint8Array, theirs: GoPacket): void {
  assert.is(theirs.error, undefined);
  const view = new PacketView();
  assert.is(parsePacket(ours, 0, ours.length, view), ParseFault.none);
  assert.is(((theirs.traffic_class << 20) | theirs.flow_id) >>> 0, Number.parseInt(toHex(ours, 0, 4), 16));
  assert.is(theirs.hdr_len * 4, view.payloadAt);
  assert.is(theirs.payload_len, view.payloadLength);
  assert.is(theirs.dst_ia, formatIsdAs(BigInt(`0x${toHex(ours, 12, 20)}`)));
  assert.is(theirs.src_ia, formatIsdAs(BigInt(`0x${toHex(ours, 20, 28)}`)));
  assert.is(theirs.dst_host, formatHost(readHost(view.dstHostType, ours, view.dstHostAt)));
  assert.is(theirs.src_host, formatHost(readHost(view.srcHostType, ours, view.srcHostAt)));
  assert.ok(theirs.checksum_ok, 'checksum');
  assert.ok(theirs.macs_ok, `MACs: ${JSON.stringify(theirs.hops)}`);
  if (view.metaAt !== 0) {
    const path = decodePath(ours, view.metaAt, view.payloadAt);
    assert.equal([theirs.curr_inf, theirs.curr_hf], [path.currInf, path.currHf]);
    assert.equal(
      theirs.seg_len!.filter((n) => n > 0),
      path.segments.map((s) => s.hops.length),
    );
    assert.equal(
      theirs.infos,
      path.segments.map((s) => ({ cons_dir: s.consDir, peer: s.peer, seg_id: s.segId, timestamp: s.timestamp })),
    );
    assert.equal(
      theirs.hops!.map((h) => [h.exp_time, h.cons_ingress, h.cons_egress, h.mac, h.ingress_alert, h.egress_alert]),
      path.segments.flatMap((s) =>
        s.hops.map((h) => [h.expTime, h.consIngress, h.consEgress, toHex(h.mac), h.ingressAlert, h.egressAlert]),
      ),
    );
  }
  if (theirs.l4 === 'udp') {
    assert.equal([theirs.src_port, theirs.dst_port], [port(ours, view.l4At), port(ours, view.l4At + 2)]);
    assert.is(theirs.payload, toHex(ours, view.l4At + 8, view.l4End));
  } else {
    compareScmp(decodeScmp(ours, view.l4At, view.l4End)!, theirs);
  }
}

const port = (buf: Uint8Array, at: number): number => (buf[at]! << 8) | buf[at + 1]!;

function compareScmp(ours: ScmpMessage, theirs: GoPacket): void {
  assert.equal([theirs.scmp_type, theirs.scmp_code], [ours.type, ours.code]);
  if (ours.type === 4) assert.is(theirs.pointer, ours.pointer);
  if (ours.type === 5 || ours.type === 130 || ours.type === 131) {
    assert.equal([theirs.down_ia, BigInt(theirs.down_interface)], [formatIsdAs(ours.ia), ours.interface]);
  }
  if ('identifier' in ours) assert.equal([theirs.identifier, theirs.sequence], [ours.identifier, ours.sequence]);
  if (ours.type < 130) assert.is(theirs.payload, toHex(ours.data));
}
