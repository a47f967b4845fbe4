import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { parseAddress } from '#scion/address';
import { checksum } from '#scion/checksum';
import { type HeaderSpec, NextHeader } from '#scion/header';
import { parseIsdAs } from '#scion/isd-as';
import { encodeUdpPacket, PacketView, ParseFault, parsePacket } from '#scion/packet';
import {
  decodeScmp,
  encodeScmp,
  encodeScmpPacket,
  isScmpErrorPacket,
  MAX_ERROR_PACKET,
  portOfQuote,
  quoteLength,
  type ScmpMessage,
  scmpFixedLength,
  writeScmpInterface,
} from '#scion/scmp';
import { seeded } from '../../random.ts';
import vectors from '../../vectors/scion-packets.json';

const Scmp = suite('SCMP');
const ia = parseIsdAs('1-ff00:0:111');
const data = fromHex('ff'.repeat(18));
const header: HeaderSpec = {
  trafficClass: 184,
  flowId: 57005,
  dst: parseAddress('1-ff00:0:111,2001:db8::68'),
  src: parseAddress('2-ff00:0:222,10.0.0.100'),
  path: fromHex(vectors['scion-path-decode'].inputs.raw_hex),
};

const MESSAGES: readonly ScmpMessage[] = [
  { type: 1, code: 6, data },
  { type: 2, code: 0, mtu: 1280, data },
  { type: 4, code: 51, pointer: 66, data },
  { type: 5, code: 0, ia, interface: 5n, data },
  { type: 6, code: 0, ia, ingress: 5n, egress: 15n, data },
  { type: 128, code: 0, identifier: 42, sequence: 1337, data },
  { type: 129, code: 0, identifier: 65535, sequence: 0, data },
  { type: 130, code: 0, identifier: 42, sequence: 9, ia: 0n, interface: 0n, data: new Uint8Array(0) },
  { type: 131, code: 0, identifier: 42, sequence: 9, ia, interface: 5n, data: new Uint8Array(0) },
];

Scmp('whole error packets of the official tests, with the checksum they leave out', () => {
  const cases = [
    ['packet-scmp-dest-unreachable', MESSAGES[0]!],
    ['packet-scmp-ext-if-down', MESSAGES[3]!],
    ['packet-scmp-int-conn-down', MESSAGES[4]!],
  ] as const;
  for (const [name, message] of cases) {
    const { expected } = vectors[name];
    const out = new Uint8Array(400);
    const end = encodeScmpPacket(out, 0, header, message);
    const view = new PacketView();
    assert.is(parsePacket(out, 0, end, view), ParseFault.none);
    assert.is(view.l4Protocol, NextHeader.scmp);
    assert.ok(isScmpErrorPacket(out, view));
    assert.is(toHex(out, view.l4At + 2, view.l4At + 4), expected.correct_checksum_hex);
    assert.is(checksum(out, 0, view.l4At, view.l4End, NextHeader.scmp), 0);
    assert.equal(decodeScmp(out, view.l4At, view.l4End), message);
    out[view.l4At + 2] = 0;
    out[view.l4At + 3] = 0;
    assert.is(toHex(out, view.l4At, end), expected.scmp_hex);
    assert.is(toHex(out, 0, end), expected.packet_hex_checksum_zero);
  }
});

Scmp('bodies of the official tests', () => {
  const { expected } = vectors['scmp-bodies'];
  const body = (message: ScmpMessage) => {
    const out = new Uint8Array(60);
    return toHex(out, 4, encodeScmp(out, 0, { ...message, data: new Uint8Array(0) } as ScmpMessage));
  };
  assert.is(body(MESSAGES[3]!), expected.external_interface_down);
  assert.is(body(MESSAGES[4]!), expected.internal_connectivity_down);
  assert.is(body(MESSAGES[5]!), expected.echo);
  assert.is(body(MESSAGES[2]!), expected.parameter_problem);
  assert.is(body(MESSAGES[8]!), expected.traceroute);
});

Scmp('every message is read as it was written, and cut messages are refused', () => {
  for (const message of MESSAGES) {
    const out = new Uint8Array(100);
    const end = encodeScmp(out, 3, message);
    assert.equal(decodeScmp(out, 3, end), message);
    const fixed = scmpFixedLength(message.type);
    for (let cut = 3; cut < 3 + fixed; cut++) assert.is(decodeScmp(out, 3, cut), undefined);
    assert.ok(decodeScmp(out, 3, 3 + fixed));
  }
  assert.is(decodeScmp(new Uint8Array(40), 0, 40), undefined);
  const out = new Uint8Array(8).fill(9);
  assert.is(writeScmpInterface(out, 0, 0x1234), 8);
  assert.is(toHex(out), '0000000000001234');
});

Scmp('quotes are cut so that the whole error has at most 1232 bytes', () => {
  assert.is(quoteLength(100, 50), 50);
  assert.is(quoteLength(100, 5000), MAX_ERROR_PACKET - 100);
  assert.is(quoteLength(1300, 10), 0);
});

Scmp('the quote tells whose packet it was: UDP source port, echo and traceroute identifier', () => {
  const view = new PacketView();
  const out = new Uint8Array(400);
  const udp = { ...header, src: { ...header.src, port: 4059 }, dst: { ...header.dst, port: 99 }, payload: data };
  let end = encodeUdpPacket(out, 0, udp);
  assert.is(portOfQuote(out, 0, end, view), 4059);
  assert.is(portOfQuote(out, 0, end - data.length, view), 4059, 'the payload may be missing');
  assert.is(portOfQuote(out, 0, end - data.length - 1, view), 0, 'the header may not');
  for (const [i, port] of [
    [5, 42],
    [7, 42],
    [6, 0],
    [8, 0],
    [0, 0],
  ] as const) {
    end = encodeScmpPacket(out, 0, header, MESSAGES[i]!);
    assert.is(portOfQuote(out, 0, end, view), port);
  }
  assert.is(portOfQuote(data, 0, data.length, view), 0);
});

Scmp('what may not be answered by an error', () => {
  const view = new PacketView();
  const out = new Uint8Array(400);
  for (const message of MESSAGES) {
    const end = encodeScmpPacket(out, 0, header, message);
    parsePacket(out, 0, end, view);
    assert.is(isScmpErrorPacket(out, view), message.type < 128);
  }
  const end = encodeScmpPacket(out, 0, header, MESSAGES[5]!);
  parsePacket(out, 0, end, view);
  parsePacket(out, 0, view.l4At, view);
  assert.ok(isScmpErrorPacket(out, view), 'a message without type cannot be told from an error');
});

Scmp('random bytes are messages or refused', () => {
  const random = seeded();
  const view = new PacketView();
  let read = 0;
  for (let i = 0; i < 30_000; i++) {
    const raw = random.bytes(random.below(50));
    if (raw.length > 0 && random.below(2)) raw[0] = MESSAGES[random.below(MESSAGES.length)]!.type;
    const message = decodeScmp(raw, 0, raw.length);
    portOfQuote(raw, 0, raw.length, view);
    if (message === undefined) continue;
    read++;
    const out = new Uint8Array(raw.length);
    assert.is(encodeScmp(out, 0, message), raw.length);
    assert.equal(decodeScmp(out, 0, out.length), message);
  }
  assert.ok(read > 5000, `only ${read} read`);
});

Scmp.run();
