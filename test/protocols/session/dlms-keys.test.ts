/** Key derivation and key agreement against the published vectors. */

import { createHmac } from 'node:crypto';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { agreementOf, nodeCrypto, privateKeyOf } from '#hw/crypto';
import { parseIsdAs } from '#scion/isd-as';
import { type DlmsKeyInputs, deriveDlmsKeys, keyInfo } from '#session/dlms-keys';
import file from '../../vectors/s3mp-security.json';

const Keys = suite('dlms keys');
const { common } = file;
const find = (name: string) => file.vectors.find((v) => v.name === name)!;
const agreement = find('static-ecdh-p256');

Keys('both parties agree on the published shared secret', () => {
  const { meter_private, head_end_private, meter_public, head_end_public } = agreement.inputs as Record<string, string>;
  for (const [own, other] of [
    [meter_private!, head_end_public!],
    [head_end_private!, meter_public!],
  ])
    assert.is(toHex(agreementOf(privateKeyOf(fromHex(own!)))(fromHex(other!))!), agreement.expected.z);
  const offCurve = fromHex(meter_public!);
  offCurve[64]! ^= 1;
  assert.is(agreementOf(privateKeyOf(fromHex(head_end_private!)))(offCurve), undefined);
});

const derivations = file.vectors.filter((v) => v.name.startsWith('dlms-keys-'));

Keys('every mode and suite gives the published info and keys', () => {
  assert.is(derivations.length, 6);
  for (const { name, inputs, expected } of derivations) {
    const {
      mode,
      suite: number,
      info_guek,
      info_gak,
      ikm,
    } = inputs as Record<string, string> & {
      mode: 1 | 2;
      suite: number;
    };
    const given: DlmsKeyInputs = {
      mode,
      suite: Number(number),
      hostKey: fromHex(find('drkey-host-host-dlms').expected.host_host!),
      ...(mode === 2 ? { agreement: fromHex(agreement.expected.z!) } : {}),
      clientIa: parseIsdAs(common.client_as),
      clientTitle: fromHex(common.client_system_title),
      serverIa: parseIsdAs(common.meter_as),
      serverTitle: fromHex(common.server_system_title),
      epochBegin: common.epoch_begin,
      epochEnd: common.epoch_end,
    };
    assert.is(toHex(Uint8Array.from([...given.hostKey!, ...(given.agreement ?? [])])), ikm, name);
    assert.is(toHex(keyInfo('guek', given)), info_guek, name);
    assert.is(toHex(keyInfo('gak', given)), info_gak, name);
    const { unicast, authentication } = deriveDlmsKeys(nodeCrypto, given);
    assert.is(toHex(unicast), expected.guek, name);
    assert.is(toHex(authentication), expected.gak, name);
    // Any other input gives other keys.
    for (const changed of [
      { epochBegin: common.epoch_begin + 1 },
      { epochEnd: common.epoch_end + 1 },
      { clientTitle: fromHex('5333480000000008') },
      { serverIa: parseIsdAs(common.client_as) },
    ])
      assert.is.not(toHex(deriveDlmsKeys(nodeCrypto, { ...given, ...changed }).unicast), expected.guek);
  }
});

Keys('inputs of the wrong size are refused', () => {
  const given: DlmsKeyInputs = {
    mode: 1,
    suite: 0,
    hostKey: new Uint8Array(16),
    clientIa: 1n,
    clientTitle: new Uint8Array(8),
    serverIa: 1n,
    serverTitle: new Uint8Array(8),
    epochBegin: 0,
    epochEnd: 1,
  };
  assert.throws(() => deriveDlmsKeys(nodeCrypto, { ...given, hostKey: new Uint8Array(15) }), RangeError);
  assert.throws(() => deriveDlmsKeys(nodeCrypto, { ...given, serverTitle: new Uint8Array(7) }), RangeError);
  assert.throws(() => deriveDlmsKeys(nodeCrypto, { ...given, agreement: new Uint8Array(32) }), RangeError);
  assert.throws(() => deriveDlmsKeys(nodeCrypto, { ...given, mode: 2 }), RangeError);
});

Keys('mode certificate: the agreement alone, an epoch of nothing, and no network key beside it', () => {
  const given: DlmsKeyInputs = {
    mode: 4,
    suite: 0,
    agreement: fromHex(agreement.expected.z!),
    clientIa: parseIsdAs(common.client_as),
    clientTitle: fromHex(common.client_system_title),
    serverIa: parseIsdAs(common.meter_as),
    serverTitle: fromHex(common.server_system_title),
    epochBegin: 0,
    epochEnd: 0,
  };
  const both = { ...given, hostKey: new Uint8Array(16) };
  const info = toHex(keyInfo('guek', given));
  assert.is(info.slice(0, 18), '6775656b000400f0d1');
  assert.is(info.slice(-32), '0'.repeat(32));
  const { unicast, authentication } = deriveDlmsKeys(nodeCrypto, given);
  // RFC 5869 by hand: one block of expansion.
  const hmac = (key: Uint8Array | string, ...parts: Uint8Array[]) =>
    parts.reduce((mac, part) => mac.update(part), createHmac('sha256', key)).digest();
  const prk = hmac('s3mp-v1', given.agreement!);
  assert.is(toHex(unicast), toHex(hmac(prk, keyInfo('guek', given), Uint8Array.of(1)).subarray(0, 16)));
  assert.is(toHex(authentication), toHex(hmac(prk, keyInfo('gak', given), Uint8Array.of(1)).subarray(0, 16)));
  assert.throws(() => deriveDlmsKeys(nodeCrypto, both), /mode "certificate" has none/);
  const { agreement: _none, ...without } = given;
  assert.throws(() => deriveDlmsKeys(nodeCrypto, without), /32 bytes/);
});

Keys.run();
