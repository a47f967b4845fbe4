import { isIP } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { toHex, writeU64 } from '#base/bytes';
import { S3mpError } from '#base/errors';
import {
  formatAddress,
  formatEndpoint,
  formatHost,
  HostType,
  ipHost,
  parseAddress,
  parseEndpoint,
  parseHost,
  readHost,
  serviceHost,
} from '#scion/address';
import { formatIp, formatIpPort, parseIp, parseIpPort } from '#scion/ip';
import { asOf, fileNameOfIsdAs, formatIsdAs, isdOf, isWildcard, makeIsdAs, parseAs, parseIsdAs } from '#scion/isd-as';
import { seeded } from '../../random.ts';
import vectors from '../../vectors/scion-packets.json';

const Addresses = suite('SCION addresses');
const refused = (run: () => unknown) =>
  assert.throws(run, (e: unknown) => e instanceof S3mpError && e.code === 'scion.address');

Addresses('ISD-AS texts and integers of the official tests, both directions', () => {
  const { inputs, expected } = vectors['isd-as-text'];
  inputs.texts.forEach((text, i) => {
    const bytes = new Uint8Array(8);
    writeU64(bytes, 0, parseIsdAs(text));
    assert.is(toHex(bytes), expected.u64_hex[i]);
    assert.is(formatIsdAs(BigInt(`0x${expected.u64_hex[i]}`)), text);
  });
});

Addresses('wrong ISD-AS texts are refused', () => {
  for (const text of vectors['isd-as-text'].expected.parse_errors) refused(() => parseIsdAs(text));
  for (const text of ['1-0x1', '+1-1', '1- 1', '1-::', '1-1:2', `1-${'9'.repeat(99)}`, '1-ff00:0:110-1']) {
    refused(() => parseIsdAs(text));
  }
});

Addresses('a form that is not canonical is read', () => {
  assert.is(parseAs('0:0:1'), 1n);
  assert.is(formatIsdAs(parseIsdAs('1-FF00:0:00110')), '1-ff00:0:110');
});

Addresses('parts, wildcards and the file-name form', () => {
  const ia = parseIsdAs('64-2:0:9');
  assert.is(isdOf(ia), 64);
  assert.is(asOf(ia), 0x2_0000_0009n);
  assert.is(makeIsdAs(64, 0x2_0000_0009n), ia);
  assert.is(fileNameOfIsdAs(parseIsdAs('1-ff00:0:110')), 'ISD1-ASff00_0_110');
  for (const [text, wild] of Object.entries({ '0-0': true, '1-0': true, '0-1': true, '1-1': false })) {
    assert.is(isWildcard(parseIsdAs(text)), wild);
  }
});

Addresses('every ISD-AS integer survives its text', () => {
  const random = seeded();
  for (let i = 0; i < 5000; i++) {
    const ia = (BigInt(random.u32()) << 32n) | BigInt(random.u32() >>> random.below(32));
    assert.is(parseIsdAs(formatIsdAs(ia)), ia);
  }
});

Addresses('IP texts: canonical out, every legal form in', () => {
  const same = [
    '0.0.0.0',
    '127.16.111.1',
    '::',
    '::1',
    '2001:db8::1',
    'fe80::1:0:0:1',
    '1:2:3:4:5:6:7:8',
    '::ffff:1.2.3.4',
  ];
  for (const text of same) {
    const bytes = parseIp(text)!;
    assert.is(formatIp(bytes, 0, bytes.length), text);
  }
  const forms = {
    '2001:DB8:0:0:0:0:0:1': '2001:db8::1',
    '1:0:0:2:0:0:0:3': '1:0:0:2::3',
    '1:0:3:4:5:6:7:8': '1:0:3:4:5:6:7:8',
    '::1.2.3.4': '::102:304',
    '1::': '1::',
    '1:2:3:4:5:6:7::': '1:2:3:4:5:6:7:0',
  };
  for (const [text, canonical] of Object.entries(forms)) assert.is(formatIp(parseIp(text)!, 0, 16), canonical);
});

Addresses('IP texts are accepted exactly when Node accepts them', () => {
  const random = seeded();
  const pieces = ['0', '1', 'ff', 'FFFF', '12345', ':', '::', '.', '255', '256', '1.2.3.4', '01', 'g', '%1'];
  for (let i = 0; i < 20_000; i++) {
    let text = '';
    for (let n = random.below(17); n >= 0; n--) text += pieces[random.below(pieces.length)];
    if (text.includes('%')) assert.is(parseIp(text), undefined);
    else assert.is(parseIp(text)?.length, { 0: undefined, 4: 4, 6: 16 }[isIP(text)], text);
  }
});

Addresses('random IPv6 addresses survive their text', () => {
  const random = seeded();
  for (let i = 0; i < 5000; i++) {
    const bytes = Uint8Array.from({ length: 16 }, () => (random.below(3) === 0 ? random.below(256) : 0));
    assert.equal(parseIp(formatIp(bytes, 0, 16)), bytes);
  }
});

Addresses('socket addresses', () => {
  for (const text of ['10.0.0.1:80', '[2001:db8::1]:50000']) {
    const { host, port } = parseIpPort(text);
    assert.is(formatIpPort(host, port), text);
  }
  assert.equal(parseIpPort(':50000', true), { host: '', port: 50000 });
  for (const text of [
    ':50000',
    '10.0.0.1',
    '10.0.0.1:',
    '10.0.0.1:65536',
    '2001:db8::1:80',
    '[10.0.0.1]:80',
    '[]:80',
  ]) {
    refused(() => parseIpPort(text));
  }
});

Addresses('hosts: IP addresses, services, and a mapped address becomes IPv4', () => {
  assert.equal(parseHost('CS'), serviceHost(2));
  assert.equal(parseHost('CS_A'), serviceHost(2));
  for (const text of ['DS', 'CS_M', 'Wildcard', 'Wildcard_M', '10.0.0.1', '2001:db8::1']) {
    assert.is(formatHost(parseHost(text)), text);
  }
  assert.is(formatHost(serviceHost(0x1234)), '<SVC:0x1234>');
  assert.is(formatHost(serviceHost(0xffff)), 'None');
  assert.is(parseHost('::ffff:10.0.0.1').type, HostType.ipv4);
  assert.is(ipHost(new Uint8Array(16)).type, HostType.ipv6);
  assert.is(formatHost({ type: 0b1001, bytes: new Uint8Array(8) }), '<type 9: 0000000000000000>');
  assert.is(readHost(0b0011, new Uint8Array(40), 5).bytes.length, 16);
  for (const text of ['', 'cs', 'CS_X', '10.0.0', 'fe80::1%eth0']) refused(() => parseHost(text));
});

Addresses('whole addresses in every form people write', () => {
  for (const text of ['1-ff00:0:110,10.0.0.1', '1-ff00:0:110,2001:db8::1', '1-ff00:0:110,CS']) {
    assert.is(formatAddress(parseAddress(text)), text);
    assert.is(formatEndpoint(parseEndpoint(`[${text}]:80`)), `[${text}]:80`);
  }
  assert.is(formatEndpoint(parseEndpoint('1-ff00:0:110,10.0.0.1:80')), '[1-ff00:0:110,10.0.0.1]:80');
  assert.is(formatEndpoint(parseEndpoint('1-ff00:0:110,[2001:db8::1]:80')), '[1-ff00:0:110,2001:db8::1]:80');
  const wrong = ['1-ff00:0:110', '1-ff00:0:110,', '[1-ff00:0:110,10.0.0.1]', '[1-ff00:0:110,10.0.0.1]:65536'];
  for (const text of [...wrong, '1-ff00:0:110,2001:db8::1:80', '1-ff00:0:110:80']) refused(() => parseEndpoint(text));
});

Addresses.run();
