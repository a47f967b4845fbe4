/** Whom a device believes: chains, roles, time and revocation, each fault by its name. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { KeyUsage, parseCertificate } from '#base/x509';
import { encodeName } from '#base/x509-writer';
import { verifyCertified } from '#hw/pki-files';
import { Trust } from '#session/trust';
import { makeAuthority, makeLeaf, makeList, NOW } from '#test/pki-maker';

const TrustSuite = suite('trust');
const TIME = { nowS: NOW, isLowerBound: false };
const SIGN = KeyUsage.digitalSignature;

const root = makeAuthority('Root', ['meter', 'head-end', 'command']);
const devices = makeAuthority('Devices', ['meter'], root);
const commands = makeAuthority('Commands', ['command'], root);
const meter = makeLeaf(devices, 'meter', '53334D0000000001');
const command = makeLeaf(commands, 'command', 'ops');

function trust(withLists = true): Trust {
  const it = new Trust({ verifyKey: verifyCertified, roles: ['command', 'head-end'], maxCertificates: 4 });
  assert.is(it.pin(root.certificate), null);
  for (const { certificate } of [devices, commands]) assert.is(it.add(certificate, TIME), null);
  if (withLists) for (const ca of [devices, commands]) assert.is(it.takeList(makeList(ca, 1)), null);
  return it;
}

TrustSuite('a leaf is believed in its role, for its use, and in no other', () => {
  const it = trust();
  assert.is(it.judge(meter.certificate, 'meter', SIGN, TIME), null);
  assert.is(it.judge(meter.certificate, 'meter', SIGN, TIME), null, 'the remembered verdict');
  assert.is(it.judge(meter.certificate, 'meter', KeyUsage.keyAgreement, TIME), 'key-usage');
  assert.is(it.judge(meter.certificate, 'command', SIGN, TIME), 'role');
  assert.is(it.judge(command.certificate, 'command', SIGN, TIME), null);
});

TrustSuite('an authority gives only the roles that it names', () => {
  const it = trust();
  const posing = makeLeaf(devices, 'command', 'ops');
  assert.is(it.judge(posing.certificate, 'command', SIGN, TIME), 'purpose');
  assert.is(it.add(posing.certificate, TIME), 'purpose');
});

TrustSuite('foreign, forged and leaf-signed certificates are refused', () => {
  const it = trust();
  const foreign = makeAuthority('Devices', ['meter'], makeAuthority('Root', ['meter']));
  const stranger = makeLeaf(foreign, 'meter', '53334D0000000001');
  assert.is(it.judge(stranger.certificate, 'meter', SIGN, TIME), 'unknown-issuer');
  assert.is(it.add(foreign.certificate, TIME), 'unknown-issuer');
  // The key identifier claims our authority, the signature cannot.
  const forged = makeLeaf(foreign, 'meter', 'x', { authorityKeyId: devices.certificate.subjectKeyId! });
  assert.is(it.judge(forged.certificate, 'meter', SIGN, TIME), 'signature');
  const byLeaf = makeLeaf({ key: meter.key, certificate: meter.certificate }, 'meter', 'x');
  it.keep(meter.certificate);
  assert.is(it.judge(byLeaf.certificate, 'meter', SIGN, TIME), 'not-an-authority');
  const deep = makeAuthority('Deep', ['meter'], devices);
  it.certificates.push(deep.certificate);
  assert.is(it.takeList(makeList(deep, 1)), null);
  assert.is(it.judge(makeLeaf(deep, 'meter', 'x').certificate, 'meter', SIGN, TIME), 'not-an-authority', 'path length');
});

TrustSuite('a flipped bit in a certificate is noticed', () => {
  const it = trust();
  const der = meter.certificate.der.slice();
  der[der.length - 5]! ^= 1;
  assert.is(it.judge(parseCertificate(der), 'meter', SIGN, TIME), 'signature');
});

TrustSuite('time: expired is expired, and too early counts only when the clock is set', () => {
  const it = trust();
  const at = (nowS: number, isLowerBound: boolean) =>
    it.judge(meter.certificate, 'meter', SIGN, { nowS, isLowerBound });
  assert.is(at(NOW, false), null);
  assert.is(at(meter.certificate.notAfter, false), null);
  assert.is(at(meter.certificate.notAfter + 1, false), 'expired');
  assert.is(at(meter.certificate.notAfter + 1, true), 'expired');
  assert.is(at(meter.certificate.notBefore - 1, false), 'not-yet-valid');
  assert.is(at(meter.certificate.notBefore - 1, true), null);
  const old = makeAuthority('Old', ['meter'], root, { notAfter: NOW + 10 });
  const later = trust(false);
  assert.is(later.add(old.certificate, TIME), null);
  later.takeList(makeList(old, 1));
  const leaf = makeLeaf(old, 'meter', 'x').certificate;
  assert.is(later.judge(leaf, 'meter', SIGN, TIME), null);
  assert.is(later.judge(leaf, 'meter', SIGN, { nowS: NOW + 700, isLowerBound: false }), 'expired');
  assert.is(later.add(makeAuthority('Gone', ['meter'], root, { notAfter: NOW - 1 }).certificate, TIME), 'expired');
});

TrustSuite('revocation: no list, no belief; its number only grows; only its authority signs it', () => {
  const it = trust(false);
  const judge = () => it.judge(meter.certificate, 'meter', SIGN, TIME);
  assert.is(judge(), 'no-revocation-list');
  const first = makeList(devices, 5);
  assert.is(it.takeList(first), null);
  assert.is(judge(), null);
  assert.is(it.takeList(makeList(devices, 6, [meter.certificate.serial])), null);
  assert.is(judge(), 'revoked');
  assert.is(it.takeList(first), 'older');
  assert.is(it.takeList(makeList(devices, 6)), 'older', 'another list of the same number');
  assert.is(it.takeList(makeList(devices, 6, [meter.certificate.serial])) ?? 'older', 'older');
  assert.is(it.takeList(makeList(makeAuthority('Devices', ['meter'], root), 9)), 'unknown-issuer');
  assert.is(it.takeList(makeList({ ...devices, key: commands.key }, 9)), 'unknown-issuer');
  assert.is(it.takeList(makeList({ key: meter.key, certificate: meter.certificate }, 9)), 'unknown-issuer');
  assert.is(judge(), 'revoked');
});

TrustSuite('the root is pinned once', () => {
  const it = new Trust({ verifyKey: verifyCertified, roles: [] });
  assert.is(it.add(devices.certificate, TIME), 'no-root');
  assert.is(it.judge(meter.certificate, 'meter', SIGN, TIME), 'no-root');
  assert.is(it.pin(devices.certificate), 'not-an-authority');
  assert.is(it.pin(meter.certificate), 'not-an-authority');
  assert.is(it.pin(root.certificate), null);
  assert.is(it.pin(root.certificate), null);
  assert.is(it.pin(makeAuthority('Root', ['meter']).certificate), 'conflict');
  assert.is(it.add(makeAuthority('Other', ['meter']).certificate, TIME), 'conflict');
});

TrustSuite('a newer certificate takes the place of an older one, and the room is bounded', () => {
  const it = trust();
  const older = makeLeaf(commands, 'command', 'ops').certificate;
  const newer = makeLeaf(commands, 'command', 'ops', { notBefore: NOW - 10 }).certificate;
  assert.is(it.add(older, TIME), null);
  const { generation } = it;
  assert.is(it.add(older, TIME), null, 'known already');
  assert.is(it.generation, generation);
  assert.is(it.add(newer, TIME), null);
  assert.is(it.find('command', SIGN).length, 1);
  assert.is(it.add(older, TIME), 'conflict');
  assert.is(it.add(makeLeaf(commands, 'command', 'second').certificate, TIME), null);
  assert.is(it.add(makeLeaf(commands, 'command', 'third').certificate, TIME), 'full');
  assert.is(it.add(meter.certificate, TIME), 'role', 'a role that is not wanted here');
  const both = makeLeaf(commands, 'command', 'x', { purposes: [...meter.certificate.purposes, ...older.purposes] });
  assert.is(it.add(both.certificate, TIME), 'role');
});

TrustSuite('keys that are no point of the curve verify nothing', () => {
  const publicKey = new Uint8Array(65).fill(7);
  publicKey[0] = 4;
  const odd = makeAuthority('Odd', ['meter'], root, { publicKey });
  const it = trust(false);
  assert.is(it.add(odd.certificate, TIME), null);
  it.lists.push(makeList(odd, 1));
  const leaf = makeLeaf(odd, 'meter', 'x', {
    issuer: encodeName('Odd'),
    authorityKeyId: odd.certificate.subjectKeyId!,
  });
  assert.is(it.judge(leaf.certificate, 'meter', SIGN, TIME), 'signature');
});

TrustSuite.run();
