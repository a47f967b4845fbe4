/** Certificates, requests and revocation lists of ours against node:crypto, openssl and pkijs, in both directions. */

import { execFileSync, spawnSync } from 'node:child_process';
import { webcrypto, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as asn1js from 'asn1js';
import * as pkijs from 'pkijs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { toHex } from '#base/bytes';
import { DecodeError, type S3mpError } from '#base/errors';
import { KeyUsage, parseCertificate, parseRequest, parseRevocationList, provesPossession } from '#base/x509';
import { encodeName, encodeRequest } from '#base/x509-writer';
import { pemBlocks, pemText, verifyCertified } from '#hw/pki-files';
import { addressOf, ROLES, roleOf, titleOf } from '#session/identity';
import { commandWorks, needs } from '#test/needs';
import { keyId, makeAuthority, makeKey, makeLeaf, makeList, NOW } from '#test/pki-maker';
import { seeded } from '#test/random';

const X509 = suite('x509');
const random = seeded();
const folder = mkdtempSync(join(tmpdir(), 's3mp-x509-'));
X509.after(() => rmSync(folder, { recursive: true }));
const file = (name: string) => join(folder, name);
const put = (name: string, text: string): string => {
  writeFileSync(file(name), text, { mode: 0o600 });
  return file(name);
};

const root = makeAuthority('Test Root', ['meter', 'head-end', 'command']);
const issuing = makeAuthority('Test Issuing CA', ['meter'], root);
const meter = makeLeaf(issuing, 'meter', '53334D000000002A');
const agreement = makeLeaf(issuing, 'meter', '53334D000000002A', { keyUsage: KeyUsage.keyAgreement });
const list = makeList(issuing, 7, [meter.certificate.serial, Uint8Array.of(0x7f), Uint8Array.of(1, 2, 3)]);
const emptyList = makeList(issuing, 1);
const requestKey = makeKey();
const request = encodeRequest(
  encodeName('53334D000000002A'),
  requestKey.publicKey,
  { uris: ['scion:1-ff00:0:111,10.0.0.5'] },
  requestKey.signing,
);

X509('node:crypto reads our certificates as we do and verifies them', () => {
  const theirs = new X509Certificate(meter.certificate.der);
  const authority = new X509Certificate(issuing.certificate.der);
  assert.ok(theirs.verify(authority.publicKey));
  assert.ok(theirs.checkIssued(authority));
  assert.ok(authority.verify(new X509Certificate(root.certificate.der).publicKey));
  assert.is(authority.ca, true);
  assert.is(theirs.ca, false);
  assert.is(theirs.subject, 'CN=53334D000000002A');
  assert.is(theirs.issuer, 'CN=Test Issuing CA');
  // Node shows a comma inside a name escaped.
  assert.is(JSON.parse(theirs.subjectAltName!.slice('URI:'.length)), 'scion:1-ff00:0:111,10.0.0.5');
  assert.is(theirs.serialNumber.toLowerCase(), toHex(meter.certificate.serial));
  assert.is(Date.parse(theirs.validFrom) / 1000, meter.certificate.notBefore);
  assert.is(Date.parse(theirs.validTo) / 1000, meter.certificate.notAfter);
  assert.equal(theirs.keyUsage, ['2.25.153775852983806382196858663742749218407.1']);
});

X509('what a certificate says of a meter', () => {
  const { certificate } = meter;
  assert.is(roleOf(certificate), 'meter');
  assert.is(toHex(titleOf(certificate)!), '53334d000000002a');
  assert.is(addressOf(certificate)!.ia, (1n << 48n) | 0xff00_0000_0111n);
  assert.is(certificate.keyUsage, KeyUsage.digitalSignature);
  assert.is(agreement.certificate.keyUsage, KeyUsage.keyAgreement);
  assert.is(issuing.certificate.pathLength, 0);
  assert.is(roleOf(root.certificate), undefined);
  assert.is(titleOf(root.certificate), undefined);
  assert.is(addressOf({ uris: ['scion:nowhere'] }), undefined);
  assert.is(addressOf({ uris: ['scion:1-1,1.1.1.1', 'scion:1-1,1.1.1.2'] }), undefined);
});

X509('pkijs reads certificate, request and list of ours, and verifies them', async () => {
  pkijs.setEngine('node', new pkijs.CryptoEngine({ name: 'node', crypto: webcrypto as never }));
  const ours = pkijs.Certificate.fromBER(meter.certificate.der.slice());
  const authority = pkijs.Certificate.fromBER(issuing.certificate.der.slice());
  assert.is(await ours.verify(authority), true);
  assert.is(ours.extensions!.length, 5);
  const basic = authority.extensions!.find((e) => e.extnID === '2.5.29.19')!;
  assert.is(basic.critical, true);
  assert.is((basic.parsedValue as pkijs.BasicConstraints).cA, true);

  const theirs = pkijs.CertificationRequest.fromBER(request.slice());
  assert.is(await theirs.verify(), true);
  assert.is(theirs.attributes?.[0]?.type, '1.2.840.113549.1.9.14');

  const revoked = pkijs.CertificateRevocationList.fromBER(list.der.slice());
  assert.is(await revoked.verify({ issuerCertificate: authority }), true);
  assert.is(revoked.isCertificateRevoked(ours), true);
  assert.is(revoked.isCertificateRevoked(pkijs.Certificate.fromBER(agreement.certificate.der.slice())), false);
});

X509('we read a certificate, a request and a list that pkijs has made', async () => {
  pkijs.setEngine('node', new pkijs.CryptoEngine({ name: 'node', crypto: webcrypto as never }));
  const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const point = new Uint8Array(await webcrypto.subtle.exportKey('raw', keys.publicKey));
  const name = new pkijs.AttributeTypeAndValue({ type: '2.5.4.3', value: new asn1js.Utf8String({ value: 'Peer' }) });
  const certificate = new pkijs.Certificate();
  certificate.version = 2;
  certificate.serialNumber = new asn1js.Integer({ value: 1_000_000 });
  certificate.issuer.typesAndValues.push(name);
  certificate.subject.typesAndValues.push(name);
  certificate.notBefore.value = new Date(NOW * 1000);
  certificate.notAfter.value = new Date((NOW + 1000) * 1000);
  const basic = new pkijs.BasicConstraints({ cA: true, pathLenConstraint: 3 });
  certificate.extensions = [
    new pkijs.Extension({ extnID: '2.5.29.19', critical: true, extnValue: basic.toSchema().toBER(false) }),
  ];
  await certificate.subjectPublicKeyInfo.importKey(keys.publicKey as never);
  await certificate.sign(keys.privateKey as never, 'SHA-256');
  const read = parseCertificate(new Uint8Array(certificate.toSchema(true).toBER(false)));
  assert.equal([read.commonName, toHex(read.serial), read.pathLength], ['Peer', '0f4240', 3]);
  assert.equal([read.notBefore, read.notAfter], [NOW, NOW + 1000]);
  assert.is(toHex(read.publicKey), toHex(point));
  assert.ok(verifyCertified(point).verify(read.tbs, read.signature));

  const wish = new pkijs.CertificationRequest();
  wish.version = 0;
  wish.subject.typesAndValues.push(name);
  wish.attributes = [];
  await wish.subjectPublicKeyInfo.importKey(keys.publicKey as never);
  await wish.sign(keys.privateKey as never, 'SHA-256');
  const asked = parseRequest(new Uint8Array(wish.toSchema(true).toBER(false)));
  assert.is(asked.commonName, 'Peer');
  assert.ok(provesPossession(asked, verifyCertified));

  const revocation = new pkijs.CertificateRevocationList();
  revocation.version = 1;
  revocation.issuer.typesAndValues.push(name);
  revocation.thisUpdate.value = new Date(NOW * 1000);
  revocation.revokedCertificates = [
    new pkijs.RevokedCertificate({
      userCertificate: new asn1js.Integer({ value: 77 }),
      revocationDate: new pkijs.Time({ value: new Date(NOW * 1000) }),
    }),
  ];
  revocation.crlExtensions = new pkijs.Extensions({
    extensions: [
      new pkijs.Extension({
        extnID: '2.5.29.20',
        critical: false,
        extnValue: new asn1js.Integer({ value: 12 }).toBER(false),
      }),
    ],
  });
  await revocation.sign(keys.privateKey as never, 'SHA-256');
  const taken = parseRevocationList(new Uint8Array(revocation.toSchema(true).toBER(false)));
  assert.is(taken.number, 12);
  assert.equal([...taken.serials], ['4d']);
  assert.ok(verifyCertified(point).verify(taken.tbs, taken.signature));
});

if (needs('openssl', commandWorks('openssl', 'version'), 'install openssl')) {
  X509('openssl verifies chain, request and list of ours', () => {
    const ca = put('ca.pem', pemText('CERTIFICATE', root.certificate.der));
    const middle = put('issuing.pem', pemText('CERTIFICATE', issuing.certificate.der));
    const leaf = put('meter.pem', pemText('CERTIFICATE', meter.certificate.der));
    const other = put('agreement.pem', pemText('CERTIFICATE', agreement.certificate.der));
    const crl = put('issuing.crl', pemText('X509 CRL', list.der));
    const empty = put('empty.crl', pemText('X509 CRL', emptyList.der));
    const verify = (certificate: string, ...more: string[]) => {
      const args = ['verify', '-attime', String(NOW + 60), '-CAfile', ca, '-untrusted', middle, ...more, certificate];
      const { status, stdout, stderr } = spawnSync('openssl', args, { encoding: 'utf8' });
      return `${status}: ${stdout}${stderr}`;
    };
    assert.match(verify(leaf), /^0: .*OK/);
    assert.match(verify(leaf, '-x509_strict'), /^0: .*OK/);
    assert.match(verify(leaf, '-crl_check', '-CRLfile', crl), /certificate revoked/);
    assert.match(verify(other, '-crl_check', '-CRLfile', crl), /^0: .*OK/);
    assert.match(verify(leaf, '-crl_check', '-CRLfile', empty), /^0: .*OK/);
    const text = execFileSync('openssl', ['crl', '-in', crl, '-noout', '-text'], { encoding: 'utf8' });
    assert.match(text, /CRL Number:\s*\n?\s*7/);
    const csr = put('request.pem', pemText('CERTIFICATE REQUEST', request));
    const shown = spawnSync('openssl', ['req', '-in', csr, '-verify', '-noout', '-text'], { encoding: 'utf8' });
    assert.match(shown.stdout + shown.stderr, /verify OK/i);
    assert.match(shown.stdout, /URI:scion:1-ff00:0:111,10\.0\.0\.5/);
  });

  X509('we read certificate, request and list that openssl has made', () => {
    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
    openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', 'o.key');
    const config = put(
      'o.cnf',
      [
        '[req]\ndistinguished_name=dn\nprompt=no\nreq_extensions=want\nx509_extensions=own\n[dn]\nO=Utility\nCN=Peer CA',
        '[want]\nsubjectAltName=@names\nkeyUsage=digitalSignature',
        '[names]\nURI=scion:1-ff00:0:112,10.0.0.9\nDNS=example.org',
        '[own]\nbasicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign',
        'subjectKeyIdentifier=hash\nextendedKeyUsage=clientAuth,2.25.153775852983806382196858663742749218407.3',
        '[ca]\ndefault_ca=d\n[d]\ndatabase=o.db\ncrlnumber=o.num\ndefault_md=sha256\ndefault_crl_days=30\ncrl_extensions=crl',
        '[crl]\nauthorityKeyIdentifier=keyid',
      ].join('\n'),
    );
    openssl('req', '-new', '-x509', '-key', 'o.key', '-config', config, '-days', '40', '-out', 'o.pem');
    const certificate = parseCertificate(pemBlocks(readFileSync(file('o.pem'), 'utf8'))[0]!.der);
    assert.is(certificate.commonName, 'Peer CA');
    assert.is(certificate.keyUsage, KeyUsage.keyCertSign | KeyUsage.crlSign);
    assert.equal([certificate.isAuthority, certificate.pathLength], [true, 0]);
    assert.ok(certificate.purposes.includes(ROLES['head-end']));
    assert.ok(verifyCertified(certificate.publicKey).verify(certificate.tbs, certificate.signature));

    openssl('req', '-new', '-key', 'o.key', '-config', config, '-out', 'o.csr');
    const wish = parseRequest(pemBlocks(readFileSync(file('o.csr'), 'utf8'))[0]!.der);
    assert.equal(wish.uris, ['scion:1-ff00:0:112,10.0.0.9']);
    assert.ok(provesPossession(wish, verifyCertified));

    put('o.db', 'R\t300101000000Z\t260101000000Z\t0ABC\tunknown\t/CN=x\n');
    put('o.num', '1F\n');
    openssl('ca', '-config', config, '-gencrl', '-keyfile', 'o.key', '-cert', 'o.pem', '-out', 'o.crl');
    const revocation = parseRevocationList(pemBlocks(readFileSync(file('o.crl'), 'utf8'))[0]!.der);
    assert.is(revocation.number, 0x1f);
    assert.equal([...revocation.serials], ['0abc']);
    assert.is(toHex(revocation.authorityKeyId!), toHex(certificate.subjectKeyId!));

    openssl('genrsa', '-out', 'r.key', '2048');
    openssl('req', '-new', '-x509', '-key', 'r.key', '-config', config, '-out', 'r.pem');
    const rsa = pemBlocks(readFileSync(file('r.pem'), 'utf8'))[0]!.der;
    assert.throws(
      () => parseCertificate(rsa),
      (error: S3mpError) => error.code === 'decode.invalid',
    );
  });
}

X509('a request proves that its sender has the key', () => {
  const parsed = parseRequest(request);
  assert.is(toHex(parsed.publicKey), toHex(requestKey.publicKey));
  assert.ok(provesPossession(parsed, verifyCertified));
  const borrowed = encodeRequest(encodeName('x'), meter.certificate.publicKey, {}, requestKey.signing);
  assert.not.ok(provesPossession(parseRequest(borrowed), verifyCertified));
});

X509('unknown critical extensions, doubles and other versions are refused', () => {
  const hex = toHex(meter.certificate.der);
  const broken = (from: string, to: string) => {
    assert.ok(hex.includes(from), from);
    try {
      parseCertificate(Buffer.from(hex.replace(from, to), 'hex'));
    } catch (error) {
      return (error as S3mpError).code;
    }
    return '';
  };
  // Key usage, critical, under a number that nobody knows; then a second subject key identifier.
  assert.is(broken('0603551d0f0101ff', '0603551d7f0101ff'), 'decode.invalid');
  assert.is(broken('0603551d23', '0603551d0e'), 'decode.invalid');
  assert.is(broken('a003020102', 'a003020101'), 'decode.invalid');
  assert.is(broken('2a8648ce3d030107', '2a8648ce3d030106'), 'decode.invalid');
  assert.is(broken('2a8648ce3d040302', '2a8648ce3d040303'), 'decode.invalid');
});

X509('prefixes and mutations are errors of ours, or something that says other things, unsigned', () => {
  const sources: [Uint8Array, (der: Uint8Array) => { tbs: Uint8Array; signature: Uint8Array }, Uint8Array][] = [
    [meter.certificate.der, parseCertificate, issuing.key.publicKey],
    [issuing.certificate.der, parseCertificate, root.key.publicKey],
    [request, parseRequest, requestKey.publicKey],
    [list.der, parseRevocationList, issuing.key.publicKey],
  ];
  let parsed = 0;
  for (const [der, parse, signer] of sources) {
    for (let end = 0; end < der.length; end++)
      assert.throws(
        () => parse(der.slice(0, end)),
        (e: unknown) => e instanceof DecodeError,
      );
    for (let i = 0; i < 4000; i++) {
      const bytes = der.slice();
      for (let edits = 1 + random.below(3); edits > 0; edits--) {
        const at = random.below(bytes.length);
        bytes[at] = random.below(3) === 0 ? random.below(256) : bytes[at]! ^ (1 << random.below(8));
      }
      if (toHex(bytes) === toHex(der)) continue;
      try {
        const { tbs, signature } = parse(bytes);
        parsed++;
        if (i % 20 === 0) assert.not.ok(verifyCertified(signer).verify(tbs, signature));
      } catch (error) {
        assert.instance(error, DecodeError);
      }
    }
  }
  assert.ok(parsed > 0, 'some mutations are well-formed');
  assert.is(keyId(requestKey.publicKey).length, 20);
});

X509.run();
