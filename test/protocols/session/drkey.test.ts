/** DRKey derivation against the official golden values and those of the platform's own protocols. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { parseIsdAs } from '#scion/isd-as';
import { drkeySpi } from '#scion/spao';
import { DRKEY_PROTOCOL_DLMS, DRKEY_PROTOCOL_SPAO } from '#session/dlms-keys';
import { deriveHostAs, deriveHostHost, deriveLevel1 } from '#session/drkey';
import file from '../../vectors/s3mp-security.json';

const Drkey = suite('drkey');
const ip = (text: string) => Uint8Array.from(text.split('.').map(Number));

Drkey('the official values of the generic scheme come out (scionproto pkg/drkey/generic/testdata)', () => {
  const level1 = deriveLevel1(fromHex('9ba282fad4bb591af284acf96c8c577b'), parseIsdAs('1-ff00:0:112'));
  assert.is(toHex(level1), 'e4b9cc45c2255eca35d05284fd1f3f0f');
  const hostAs = deriveHostAs(level1, 10_000, ip('127.0.0.2'));
  assert.is(toHex(hostAs), '3341fe339ec9492dd15509ce3a08b960');
  assert.is(toHex(deriveHostHost(hostAs, ip('127.0.0.1'))), 'f7f4d42ced8b7d040be51b2f6837f886');
});

Drkey('IPv6 hosts take two blocks', () => {
  const host = fromHex('20010db8000000000000000000000001');
  const hostAs = deriveHostAs(fromHex('e4b9cc45c2255eca35d05284fd1f3f0f'), 10_000, host);
  assert.is(toHex(hostAs), 'f2b097882ab44eac1bc65c6819ddc73b');
  assert.is(toHex(deriveHostHost(hostAs, host)), '3b617b90ca1fe938a0e928e1b0f50c45');
  assert.throws(() => deriveHostHost(hostAs, new Uint8Array(5)), RangeError);
});

Drkey('keys of the DLMS and packet protocols are those of the vectors, and differ', () => {
  const { common, vectors } = file;
  const level1 = deriveLevel1(fromHex(common.secret_value), parseIsdAs(common.client_as));
  assert.is(toHex(level1), common.level1);
  for (const [name, protocol] of [
    ['drkey-host-host-dlms', DRKEY_PROTOCOL_DLMS],
    ['drkey-host-host-spao', DRKEY_PROTOCOL_SPAO],
  ] as const) {
    const { inputs, expected } = vectors.find((v) => v.name === name)!;
    assert.is(inputs.protocol, protocol);
    const hostAs = deriveHostAs(level1, protocol, ip(common.meter_host));
    assert.is(toHex(hostAs), expected.host_as);
    assert.is(toHex(deriveHostHost(hostAs, ip(common.client_host))), expected.host_host);
  }
});

Drkey('the packet protocol has one SPI per direction: the meter side always derives', () => {
  const { expected } = file.vectors.find(({ name }) => name === 'spao-spi')!;
  const spi = (receiverSide: boolean) =>
    drkeySpi({ hostToHost: true, receiverSide, protocol: DRKEY_PROTOCOL_SPAO }).toString(16).padStart(8, '0');
  assert.is(spi(true), expected.head_end_to_meter);
  assert.is(spi(false), expected.meter_to_head_end);
});

Drkey.run();
