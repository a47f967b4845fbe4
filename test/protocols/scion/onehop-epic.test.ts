import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { S3mpError } from '#base/errors';
import { parseAddress } from '#scion/address';
import { EPIC_PREFIX_LENGTH, EpicMac, encodeEpicPrefix, epicSentUs, epicTimestamp, isEpicFresh } from '#scion/epic';
import { encodeHeader, NextHeader, PathType, setPayloadLength } from '#scion/header';
import { HopMac } from '#scion/hop-mac';
import { encodeOneHop, firstHopAt, isOneHopComplete, ONE_HOP_LENGTH, reverseOneHop } from '#scion/onehop';
import { encodeReplyHeader, PacketView, ParseFault, parsePacket, replyHeaderLength } from '#scion/packet';
import { encodePath } from '#scion/path';
import vectors from '../../vectors/scion-packets.json';

const Special = suite('one-hop and EPIC paths');

Special('a one-hop path is written as in the official test', () => {
  const { inputs, expected } = vectors['onehop-path'];
  const hop = (h: typeof inputs.first_hop) => ({
    expTime: h.exp_time,
    consIngress: h.cons_ingress,
    consEgress: h.cons_egress,
    mac: fromHex(h.mac),
    ingressAlert: h.ingress_alert,
    egressAlert: h.egress_alert,
  });
  const out = new Uint8Array(ONE_HOP_LENGTH);
  const end = encodeOneHop(out, 0, {
    segId: inputs.info.seg_id,
    timestamp: inputs.info.timestamp,
    first: hop(inputs.first_hop),
    second: hop(inputs.second_hop),
  });
  assert.is(end, ONE_HOP_LENGTH);
  assert.is(toHex(out), expected.raw_hex);
});

Special('a service sends by a one-hop path, and the answer takes the SCION path that it has become', () => {
  const { inputs, expected } = vectors['onehop-processing'];
  const mac = new Uint8Array(6);
  const segId = Number(`0x${inputs.seg_id}`);
  new HopMac(fromHex(inputs.key_as1_hex)).compute(mac, 0, segId, inputs.timestamp, 63, 0, inputs.egress_if_as1);
  const out = new Uint8Array(100);
  const first = { expTime: 63, consIngress: 0, consEgress: inputs.egress_if_as1, mac };
  encodeOneHop(out.fill(9), 3, { segId, timestamp: inputs.timestamp, first });
  assert.is(toHex(out, 3, 35), expected.sent_by_as1_service_hex);
  assert.is(firstHopAt(3), 11);
  assert.not(isOneHopComplete(out, 3));
  assert.is(reverseOneHop(out, 3, new Uint8Array(40), 0), -1);

  const delivered = fromHex(expected.delivered_in_as2_hex);
  const reply = new Uint8Array(36);
  assert.is(reverseOneHop(delivered, 0, reply, 0), 36);
  assert.is(toHex(reply), expected.reply_scion_path_hex);
});

Special('a packet that came by a complete one-hop path is answered', () => {
  const path = fromHex(vectors['onehop-processing'].expected.delivered_in_as2_hex);
  const header = {
    dst: parseAddress('1-ff00:0:111,CS'),
    src: parseAddress('1-ff00:0:110,10.0.0.1'),
    path,
    pathType: PathType.oneHop,
  };
  const packet = new Uint8Array(200);
  const end = encodeHeader(packet, 0, header, NextHeader.udp);
  const view = new PacketView();
  assert.is(parsePacket(packet, 0, end, view), ParseFault.none);
  const reply = new Uint8Array(replyHeaderLength(packet, view));
  assert.is(encodeReplyHeader(reply, 0, packet, view, NextHeader.udp), reply.length);
  assert.is(parsePacket(reply, 0, reply.length, view), ParseFault.none);
  assert.is(view.pathType, PathType.scion);
  assert.is(toHex(reply, view.pathAt, view.payloadAt), vectors['onehop-processing'].expected.reply_scion_path_hex);
});

Special('the EPIC prefix and its timestamps are those of the official tests', () => {
  const { inputs, expected } = vectors['epic-path'];
  const scion = fromHex(inputs.scion_path_hex);
  const out = new Uint8Array(EPIC_PREFIX_LENGTH + scion.length);
  const counter = Number(`0x${inputs.counter}`);
  const at = encodeEpicPrefix(out, 0, inputs.epic_ts, counter, fromHex(inputs.phvf), fromHex(inputs.lhvf));
  out.set(scion, at);
  assert.is(toHex(out), expected.raw_hex);

  const timestamps = vectors['epic-timestamp'];
  const made = 1_257_894_000;
  timestamps.inputs.age_us.forEach((age, i) => {
    assert.is(epicTimestamp(made * 1e6 + age, made), timestamps.expected.epic_ts[i]);
  });
  for (const age of [-1, 26 * 3_600_000_000]) {
    assert.throws(
      () => epicTimestamp(made * 1e6 + age, made),
      (e: unknown) => e instanceof S3mpError && e.code === 'encode.out-of-range',
    );
  }
  // What is encoded reads back within one tick.
  const now = made * 1e6 + 123_456_789;
  assert.ok(Math.abs(epicSentUs(made, epicTimestamp(now, made)) - now) <= 21);
});

Special('a packet is fresh for two seconds, with a second for the difference of clocks', () => {
  const now = 1_700_000_000_000;
  for (const [ageMs, fresh] of [
    [0, true],
    [2999, true],
    [3001, false],
    [-999, true],
    [-1001, false],
  ] as const) {
    assert.is(isEpicFresh((now - ageMs) * 1000, now), fresh, `${ageMs}`);
  }
});

Special('MAC input and codes of the official test', () => {
  const { inputs, expected } = vectors['epic-mac'];
  const scion = new Uint8Array(100);
  const hops = [0, 1].map((i) => ({ expTime: 63, consIngress: i, consEgress: 1 - i, mac: new Uint8Array(6) }));
  const segments = [{ consDir: true, peer: false, segId: 1, timestamp: inputs.timestamp, hops }];
  const length = encodePath(scion, 0, { currInf: 0, currHf: 0, segments });
  const path = new Uint8Array(EPIC_PREFIX_LENGTH + length);
  const { epic_ts, counter } = inputs.pkt_id;
  encodeEpicPrefix(path, 0, epic_ts, Number(`0x${counter}`), new Uint8Array(4), new Uint8Array(4));
  path.set(scion.subarray(0, length), EPIC_PREFIX_LENGTH);
  const packet = new Uint8Array(300);
  const header = { dst: parseAddress('1-1,::1'), src: parseAddress(inputs.src), path, pathType: PathType.epic };
  const end = encodeHeader(packet, 0, header, NextHeader.udp) + inputs.payload_len;
  setPayloadLength(packet, 0, inputs.payload_len);
  const view = new PacketView();
  assert.is(parsePacket(packet, 0, end, view), ParseFault.none);
  const mac = new EpicMac();
  for (const [auth, code, at] of [
    [inputs.auth_ph_ascii, expected.phvf_hex, 8],
    [inputs.auth_lh_ascii, expected.lhvf_hex, 12],
  ] as const) {
    const key = asciiBytes(auth);
    assert.not(mac.verify(packet, view, key, 0, view.pathAt + at));
    assert.is(mac.write(packet, view, key, 0, packet, view.pathAt + at), view.pathAt + at + 4);
    assert.is(toHex(mac.input, 0, mac.inputLength), expected.mac_input_hex);
    assert.is(toHex(packet, view.pathAt + at, view.pathAt + at + 4), code);
    assert.ok(mac.verify(packet, view, key, 0, view.pathAt + at));
  }
});

Special.run();
