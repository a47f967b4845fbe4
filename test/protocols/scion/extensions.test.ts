import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { S3mpError } from '#base/errors';
import { parseHost } from '#scion/address';
import {
  decodeExtension,
  type ExtensionOption,
  encodeExtension,
  extensionLength,
  findOption,
  OptionType,
} from '#scion/extensions';
import { encodeHeader, NextHeader, PathType, setPayloadLength } from '#scion/header';
import { parseIsdAs } from '#scion/isd-as';
import { encodeUdpPacket, PacketView, ParseFault, parsePacket } from '#scion/packet';
import {
  drkeySpi,
  encodeSpaoData,
  findSpao,
  isDrkeySpi,
  parseDrkeySpi,
  SPAO_EXTENSION_LENGTH,
  SpaoMac,
  SpaoVerdict,
  SpaoView,
  writeSpaoExtension,
  writeSpaoInput,
} from '#scion/spao';
import { seeded } from '../../random.ts';
import vectors from '../../vectors/scion-packets.json';

const Extensions = suite('extension headers and packet authenticator');
const isCode = (code: string) => (e: unknown) => e instanceof S3mpError && e.code === code;

const { inputs: padding, expected: padded } = vectors['tlv-options-padding'];
const X: ExtensionOption = { type: padding.X.type, data: fromHex(padding.X.data_hex), align: 8, alignOffset: 2 };
const Y: ExtensionOption = { type: padding.Y.type, data: fromHex(padding.Y.data_hex), align: 4, alignOffset: 3 };

function encoded(options: readonly ExtensionOption[], next = 17): Uint8Array {
  const out = new Uint8Array(extensionLength(options) + 9).fill(0xee);
  const end = encodeExtension(out, 5, next, options);
  assert.is(end, out.length - 4);
  assert.is(toHex(out, end), 'eeeeeeee', 'nothing is written behind');
  return out.slice(5, end);
}

/** Without alignment, which the bytes do not tell. */
const plain = (options: readonly ExtensionOption[]) => options.map(({ type, data }) => ({ type, data }));

Extensions('options and their padding are those of the official tests, both ways', () => {
  assert.is(toHex(encoded([X, Y])), padded.hbh_XY_next17_hex);
  assert.is(toHex(encoded([Y, X])), padded.e2e_YX_next17_hex);
  for (const [hex, options] of [
    [padded.hbh_XY_next17_hex, [X, Y]],
    [padded.e2e_YX_next17_hex, [Y, X]],
  ] as const) {
    const raw = fromHex(hex);
    const read = decodeExtension(raw, 0, raw.length);
    assert.equal([read.nextHeader, read.end], [17, raw.length]);
    assert.equal(plain(read.options), plain(options));
    assert.is(toHex(raw, 2), hex.slice(4));
  }
  for (const [length, hex] of Object.entries(padded.V_by_length)) {
    const option = { type: padding.V.type, data: new Uint8Array(Number(length)).fill(0xff) };
    assert.is(toHex(encoded([option]), 2), hex);
    const raw = encoded([option]);
    assert.equal(plain(decodeExtension(raw, 0, raw.length).options), [option]);
  }
  assert.is(toHex(encoded([])), '11000100');
});

Extensions('what does not fit is refused, and broken headers are an error', () => {
  const refuses = (options: ExtensionOption[]) => {
    assert.throws(() => encodeExtension(new Uint8Array(2000), 0, 17, options), isCode('encode.out-of-range'));
  };
  refuses([{ type: OptionType.padN, data: new Uint8Array(2) }]);
  refuses([{ type: OptionType.pad1, data: new Uint8Array(0) }]);
  refuses([{ type: 9, data: new Uint8Array(256) }]);
  refuses(Array.from({ length: 5 }, () => ({ type: 9, data: new Uint8Array(250) })));
  for (const hex of ['11', '1101', '11010009', '11000905', '110009', '11000000000001']) {
    const raw = fromHex(hex);
    if (hex === '11000000000001') assert.is(decodeExtension(raw, 0, raw.length).end, 4);
    else assert.throws(() => decodeExtension(raw, 0, raw.length), isCode('decode.truncated'), hex);
  }
  // A lone type byte at the very end has no length.
  assert.throws(() => decodeExtension(fromHex('11000009'), 0, 4), isCode('decode.truncated'));
  assert.is(findOption(fromHex('11000009'), 0, 9), -1);
});

Extensions('random options are read as they were written, and random bytes are options or an error', () => {
  const random = seeded();
  for (let i = 0; i < 5000; i++) {
    const options: ExtensionOption[] = Array.from({ length: random.below(4) }, () => {
      const align = 1 << random.below(4);
      return {
        type: 2 + random.below(254),
        data: random.bytes(random.below(60)),
        align,
        alignOffset: random.below(align),
      };
    });
    const raw = encoded(options, 202);
    assert.is(raw.length % 4, 0);
    const read = decodeExtension(raw, 0, raw.length);
    assert.equal(plain(read.options), plain(options));
    for (const { type, align = 1, alignOffset = 0 } of options) {
      const at = findOption(raw, 0, type);
      if (options.filter((o) => o.type === type).length === 1) assert.is(at % align, alignOffset % align);
    }
  }
  for (let i = 0; i < 20_000; i++) {
    const raw = random.bytes(random.below(40));
    if (raw.length > 1) raw[1] = random.below(10);
    try {
      const read = decodeExtension(raw, 0, raw.length);
      assert.ok(read.end <= raw.length);
      findOption(raw, 0, random.below(256));
    } catch (error) {
      assert.ok(isCode('decode.truncated')(error));
    }
  }
});

Extensions('the authenticator option of the official test, both ways', () => {
  const { inputs, expected } = vectors['spao-option-in-e2e'];
  const spi = drkeySpi({ hostToHost: false, receiverSide: true, protocol: inputs.spi.protocol });
  assert.is(spi.toString(16).padStart(8, '0'), expected.spi_hex);
  const tag = Uint8Array.from(inputs.authenticator_ascii, (c) => c.charCodeAt(0));
  const data = new Uint8Array(28);
  assert.is(encodeSpaoData(data, 0, spi, inputs.algorithm, Number(`0x${inputs.timestamp_sn}`), tag), 28);
  assert.is(
    toHex(encoded([{ type: OptionType.authenticator, data, align: 4, alignOffset: 2 }])),
    expected.e2e_extension_hex,
  );
  const out = new Uint8Array(SPAO_EXTENSION_LENGTH);
  assert.is(writeSpaoExtension(out, 0, inputs.next_hdr, spi, Number(`0x${inputs.timestamp_sn}`)), out.length);
  out[8] = inputs.algorithm;
  out.set(tag, 16);
  assert.is(toHex(out), expected.e2e_extension_hex);
});

Extensions('SPIs tell key and direction', () => {
  for (const hostToHost of [false, true]) {
    for (const receiverSide of [false, true]) {
      for (const protocol of [1, 7, 65535]) {
        const spi = drkeySpi({ hostToHost, receiverSide, protocol });
        assert.ok(isDrkeySpi(spi));
        assert.equal(parseDrkeySpi(spi), { hostToHost, receiverSide, protocol });
      }
    }
  }
  assert.not(isDrkeySpi(0));
  assert.not(isDrkeySpi(1 << 21));
  assert.is(parseDrkeySpi(0xffff_ffff), undefined);
  assert.throws(() => drkeySpi({ hostToHost: false, receiverSide: false, protocol: 0 }), isCode('encode.out-of-range'));
  assert.throws(() => writeSpaoExtension(new Uint8Array(40), 0, 17, 1, 2 ** 48), isCode('encode.out-of-range'));
  assert.throws(() => writeSpaoExtension(new Uint8Array(40), 0, 17, 0, 1), isCode('encode.out-of-range'));
});

const spaoInputs = vectors['spao-mac-input'].inputs;
const upperLayer = Uint8Array.from(spaoInputs.payload_ascii, (c) => c.charCodeAt(0));

/** A packet as in the official test of the MAC input: the type nibbles may name addresses that were not set there. */
function authenticated(name: string, spi: number, host: { dst: string; src: string }, trafficClass = 0xff) {
  const scion = fromHex(spaoInputs.path_before_zeroing_hex);
  const epic = new Uint8Array([...fromHex('00000001020000030102030405060708'), ...scion]);
  const [path, pathType] = {
    'empty path': [new Uint8Array(0), PathType.empty],
    'scion path': [scion, PathType.scion],
    'one-hop path': [fromHex(spaoInputs.onehop_before_zeroing_hex), PathType.oneHop],
    'epic path': [epic, PathType.epic],
  }[name]! as [Uint8Array, number];
  const out = new Uint8Array(400);
  const header = {
    trafficClass,
    flowId: 0x1234,
    pathType,
    path,
    dst: { ia: parseIsdAs('1-ff00:0:111'), host: parseHost(host.dst) },
    src: { ia: parseIsdAs('1-ff00:0:112'), host: parseHost(host.src) },
  };
  const extension = encodeHeader(out, 0, header, NextHeader.endToEnd);
  const upper = writeSpaoExtension(out, extension, NextHeader.scmp, spi, Number(`0x${spaoInputs.timestamp_sn}`));
  out.set(upperLayer, upper);
  const end = upper + upperLayer.length;
  setPayloadLength(out, 0, end - extension);
  const packet = out.slice(0, end);
  const view = new PacketView();
  assert.is(parsePacket(packet, 0, end, view), ParseFault.none);
  return { packet, view };
}

function inputOf(packet: Uint8Array, view: PacketView): string {
  const spao = new SpaoView();
  assert.ok(findSpao(packet, view, spao));
  const out = new Uint8Array(1100);
  const end = writeSpaoInput(out, 0, packet, view, spao);
  return toHex(out, 0, end) + toHex(packet, view.l4At, view.l4End);
}

Extensions('MAC input and tag of the official test, over every path type', () => {
  const senderSide = drkeySpi({ hostToHost: false, receiverSide: false, protocol: 1 });
  const key = fromHex(spaoInputs.key_hex);
  const hosts: Record<string, { dst: string; src: string }> = {
    'empty path': { dst: '10.1.1.12', src: '10.1.1.11' },
    'scion path': { dst: 'CS', src: '2001:cafe::1' },
    'one-hop path': { dst: '10.1.1.12', src: '192.0.0.2' },
    'epic path': { dst: '10.1.1.12', src: '192.0.0.2' },
  };
  for (const { case: name, mac_input_hex, aes_cmac_hex } of vectors['spao-mac-input'].expected.cases) {
    const { packet, view } = authenticated(name, senderSide, hosts[name]!);
    assert.is(inputOf(packet, view), mac_input_hex, name);
    assert.ok(new SpaoMac(key).sign(packet, view));
    const spao = new SpaoView();
    findSpao(packet, view, spao);
    assert.is(toHex(packet, spao.tagAt, spao.tagAt + 16), aes_cmac_hex, name);
    assert.is(spao.timestamp(packet), Number(`0x${spaoInputs.timestamp_sn}`));
    assert.is(new SpaoMac(key).verify(packet, view), SpaoVerdict.valid);
  }
});

Extensions('the SPI decides which addresses are covered', () => {
  const hosts = { dst: '10.0.0.1', src: '10.0.0.2' };
  const addresses = (spi: number) => {
    const { packet, view } = authenticated('empty path', spi, hosts);
    return inputOf(packet, view).slice(40, -24);
  };
  assert.is(addresses(drkeySpi({ hostToHost: false, receiverSide: false, protocol: 1 })), '0a000002');
  assert.is(addresses(drkeySpi({ hostToHost: false, receiverSide: true, protocol: 1 })), '0a000001');
  assert.is(addresses(drkeySpi({ hostToHost: true, receiverSide: true, protocol: 1 })), '');
  assert.is(addresses(1 << 21), '0001ff00000001110001ff00000001120a0000010a000002');
});

Extensions('what routers change does not matter to the tag, every other covered bit does', () => {
  const mac = new SpaoMac(fromHex(spaoInputs.key_hex));
  const { packet, view } = authenticated('scion path', 1 << 21, { dst: '10.0.0.1', src: '10.0.0.2' }, 0);
  mac.sign(packet, view);
  const path = view.pathAt;
  const spaoAt = view.endToEndAt + 4;
  const free = new Set([
    ...[path, path + 6, path + 7, path + 14, path + 15, path + 22, path + 23],
    ...[path + 28, path + 40, path + 52],
    // The two high bits of the traffic class, the extension's framing, and the reserved byte.
    ...[0, 4, 6, 7, 10, 11, view.endToEndAt, view.endToEndAt + 1, view.endToEndAt + 2, view.endToEndAt + 3, spaoAt + 5],
    // The SPI selects the key and is not covered itself.
    ...[spaoAt, spaoAt + 1, spaoAt + 2, spaoAt + 3],
  ]);
  for (let at = 0; at < packet.length; at++) {
    if (free.has(at)) continue;
    packet[at]! ^= 0x04;
    const changed = new PacketView();
    const readable = parsePacket(packet, 0, packet.length, changed) === ParseFault.none;
    if (readable) assert.is.not(mac.verify(packet, changed), SpaoVerdict.valid, `byte ${at}`);
    packet[at]! ^= 0x04;
  }
  for (const at of [path, path + 6, path + 15, path + 28, path + 52]) packet[at]! ^= 0x03;
  assert.is(mac.verify(packet, view), SpaoVerdict.valid);
  assert.is(new SpaoMac(new Uint8Array(16)).verify(packet, view), SpaoVerdict.mismatch);
  packet[spaoAt + 4] = 1;
  assert.is(mac.verify(packet, view), SpaoVerdict.algorithm);
  assert.not(mac.sign(packet, view));
  packet[view.endToEndAt + 2] = 253;
  assert.is(mac.verify(packet, view), SpaoVerdict.missing);
});

Extensions('a UDP packet carries an authenticator and its checksum stays right', () => {
  const extensions = new Uint8Array(SPAO_EXTENSION_LENGTH);
  writeSpaoExtension(extensions, 0, NextHeader.udp, drkeySpi({ hostToHost: true, receiverSide: true, protocol: 9 }), 5);
  const out = new Uint8Array(300);
  const endpoint = (host: string) => ({ ia: parseIsdAs('1-1'), host: parseHost(host), port: 4059 });
  const end = encodeUdpPacket(out, 0, {
    dst: endpoint('10.0.0.1'),
    src: endpoint('::1'),
    path: new Uint8Array(0),
    payload: upperLayer,
    extensions,
  });
  const view = new PacketView();
  assert.is(parsePacket(out, 0, end, view), ParseFault.none);
  assert.equal([view.hopByHopAt, view.endToEndAt, view.l4At], [0, view.payloadAt, view.payloadAt + 32]);
  const mac = new SpaoMac(fromHex(spaoInputs.key_hex));
  assert.ok(mac.sign(out, view));
  assert.is(mac.verify(out, view), SpaoVerdict.valid);
  out[end - 1]! ^= 1;
  assert.is(mac.verify(out, view), SpaoVerdict.mismatch);
});

Extensions.run();
