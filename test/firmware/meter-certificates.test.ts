/**
 * A meter's enrolment against the head end's own operations, in one process: what each side refuses, what survives a
 * restart, and that broken certificates and lists change nothing.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, toHex } from '#base/bytes';
import type { S3mpError } from '#base/errors';
import { KeyUsage, parseCertificate, parseRequest } from '#base/x509';
import { encodeName, encodeRequest } from '#base/x509-writer';
import { Mechanism } from '#dlms/acse';
import { managementAssociation } from '#dlms/association';
import { DlmsClient } from '#dlms/client';
import { MemoryCounter } from '#dlms/client-security';
import { CertificateUse, certificateSetup, revocationObjects } from '#dlms/cosem/certificate-setup';
import { LogicalDevice } from '#dlms/cosem/logical-device';
import { CounterBook } from '#dlms/counters';
import { type Exchange, exchangeSync } from '#dlms/exchange';
import { ServerSecurity } from '#dlms/security';
import { DlmsServer, type ServerEvent } from '#dlms/server';
import { Sap } from '#dlms/wrapper';
import { loadConfig } from '#hw/config';
import { nodeCrypto } from '#hw/crypto';
import { readCommandSigner, readCommandVerifier } from '#hw/dlms-keys';
import { createLog } from '#hw/log';
import { parseAddress } from '#scion/address';
import { enrolmentChallenge, enrolmentKeys, parseCode } from '#session/enrolment-code';
import { addressExtension, titleName } from '#session/identity';
import { makeKey } from '#test/pki-maker';
import { seeded } from '#test/random';
import { FIRMWARE_CONFIG } from '../../firmware/config.ts';
import { MeterCertificates } from '../../firmware/meter-certificates.ts';
import { OBJECTS } from '../../firmware/meter-objects.ts';
import { openMeterSecurity } from '../../firmware/meter-security.ts';
import { HeadEndIdentity } from '../../headend/meter/certified-meters.ts';
import { enrolMeter, updateMeter } from '../../headend/pki/enrol.ts';
import { UtilityPki } from '../../headend/pki/utility-pki.ts';

const Certificates = suite('meter certificates');
const random = seeded();
const root = mkdtempSync(join(tmpdir(), 's3mp-certificates-'));
Certificates.after(() => rmSync(root, { recursive: true }));

const TITLE = Uint8Array.of(...asciiBytes('S3M'), 0, 0, 0, 0, 9);
const ADDRESS = parseAddress('1-ff00:0:111,10.1.0.5');
const HEAD_END = Uint8Array.of(...asciiBytes('S3H'), 0, 0, 0, 0, 0);
const START = Uint8Array.of(...asciiBytes('S3H'), 0, 0, 0, 0, 5);
const TIME = () => ({ nowS: Math.floor(Date.now() / 1000), isLowerBound: false });

function utility(name: string): UtilityPki {
  const pki = new UtilityPki(join(root, name));
  pki.init();
  pki.identify(HEAD_END, parseAddress('1-ff00:0:112,10.2.0.9'));
  return pki;
}

/** A meter in a folder, with its DLMS server. */
function meterIn(folder: string) {
  const lines: string[] = [];
  const log = createLog('test', { write: (line) => lines.push(line) });
  const certificates = new MeterCertificates({
    folder: join(root, folder),
    title: TITLE,
    address: ADDRESS,
    time: TIME,
    log,
  });
  certificates.tick(0);
  let record: Uint8Array | undefined;
  const storage = {
    load: () => record,
    store: (bytes: Uint8Array) => {
      record = bytes.slice();
    },
  };
  const key = () => nodeCrypto.random(16);
  const security = new ServerSecurity({
    crypto: nodeCrypto,
    counters: new CounterBook(storage),
    serverTitle: TITLE,
    keys: { unicast: key(), authentication: key(), master: key() },
    keysOf: certificates.keysOf,
    mayGuess: certificates.mayGuess,
  });
  certificates.onChange = () => security.renew();
  const device = new LogicalDevice(asciiBytes('S3M0000000000009'), Sap.managementServer);
  device.add(certificateSetup(OBJECTS.certificateSetup.obis, security, certificates), OBJECTS.certificateSetup.access);
  const [held, inbox] = revocationObjects(OBJECTS.revocationLists.obis, OBJECTS.revocationInbox.obis, certificates);
  device.add(held, OBJECTS.revocationLists.access).add(inbox, OBJECTS.revocationInbox.access);
  const events: ServerEvent[] = [];
  const onEvent = (event: ServerEvent) => void events.push(event);
  const server = new DlmsServer(device, { associations: [managementAssociation(security)], onEvent });
  const out = new Uint8Array(4096);
  const give = (frame: Uint8Array, { source = 'head end', nowMs = 0 } = {}) =>
    out.slice(0, server.session(source)!.receive(frame.slice(), out, nowMs));
  const run = <T>(operation: Exchange<T>, from?: { source?: string; nowMs?: number }): T =>
    exchangeSync(operation, (frame) => give(frame, from));
  const reached = (
    keys: { unicast: Uint8Array; authentication: Uint8Array; challenge?: Uint8Array },
    title: Uint8Array,
  ) => {
    const base = { crypto: nodeCrypto, mechanism: Mechanism.gmac, title, counter: new MemoryCounter() };
    return new DlmsClient({ clientSap: Sap.managementClient, security: { ...base, ...keys } });
  };
  return { certificates, give, run, reached, lines, events };
}

type TestMeter = ReturnType<typeof meterIn>;

/** A client of an attempt with a code, the right one by default. @param isProven  says by its challenge that it has the code */
function attempt(meter: TestMeter, code = parseCode(meter.certificates.code!), isProven = false): DlmsClient {
  const title = Uint8Array.of(...asciiBytes('S3E'), ...random.bytes(5));
  const proof = isProven ? { challenge: enrolmentChallenge(nodeCrypto, code, title, random.bytes(16)) } : {};
  return meter.reached({ ...enrolmentKeys(nodeCrypto, code, title), ...proof }, title);
}

function codeClient(meter: TestMeter): DlmsClient {
  const client = attempt(meter);
  meter.run(client.associate());
  return client;
}

const usageOf = (use: number) => (use === CertificateUse.agreement ? KeyUsage.keyAgreement : KeyUsage.digitalSignature);

function enrol(meter: TestMeter, pki: UtilityPki) {
  const client = codeClient(meter);
  const { delivery } = new HeadEndIdentity(pki);
  const issue = (request: ReturnType<typeof parseRequest>, use: number) =>
    pki.issueMeter(request, client.serverTitle!, ADDRESS, usageOf(use));
  return { client, certificates: meter.run(enrolMeter(client, delivery, issue)) };
}

const enrolledAs = (certificates: ReturnType<typeof enrol>['certificates']) => ({
  id: 'm',
  address: '[1-ff00:0:111,10.1.0.5]:4059',
  certificates,
  enrolledAt: '',
});

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as S3mpError).code;
  }
  return '';
}

Certificates(
  'the code opens one association, and the certified keys open every later one, also after a restart',
  () => {
    const pki = utility('pki-a');
    const meter = meterIn('meter-a');
    assert.match(meter.certificates.code!, /^(\w{5}-){3}\w{5}$/);
    const { client, certificates } = enrol(meter, pki);
    assert.ok(meter.certificates.isEnrolled);
    assert.is(meter.certificates.code, undefined);
    assert.not.ok(existsSync(join(root, 'meter-a', 'pki', 'code')));
    assert.is(
      refusal(() => meter.run(client.get({ classId: 64, ln: Uint8Array.of(0, 0, 43, 0, 0, 255), attribute: 3 }))),
      'dlms.refused',
      'the code is spent',
    );
    const identity = new HeadEndIdentity(pki);
    for (const each of [meter, meterIn('meter-a')]) {
      const { unicast, authentication } = identity.security(enrolledAs(certificates), START);
      const next = each.reached({ unicast, authentication }, START);
      each.run(next.associate());
      assert.is(toHex(next.serverTitle!), toHex(TITLE));
      assert.is(each.run(updateMeter(next, identity.delivery)), 0, 'nothing is missing');
    }
    for (const name of ['signing.key', 'agreement.key', 'trust.pem'])
      assert.is(statSync(join(root, 'meter-a', 'pki', name)).mode & 0o777, 0o600);
  },
);

Certificates('without the code, or under another one, nothing opens', () => {
  const meter = meterIn('meter-b');
  for (const code of [new Uint8Array(10), random.bytes(10)]) {
    const client = meter.reached(enrolmentKeys(nodeCrypto, code, START), START);
    assert.is.not(
      refusal(() => meter.run(client.associate())),
      '',
    );
  }
  const before = meter.certificates.code;
  meter.certificates.tick(23 * 3_600_000);
  assert.is(meter.certificates.code, before);
  meter.certificates.tick(25 * 3_600_000);
  assert.is.not(meter.certificates.code, before, 'a code that was shown for a day is replaced');
});

/** Guesses once. @returns context of the refusal: an exception for a wrong code, result 2 for one that was not tried */
function guess(meter: TestMeter, source: string, nowMs: number, code = random.bytes(10)): Record<string, unknown> {
  try {
    meter.run(attempt(meter, code).associate(), { source, nowMs });
  } catch (error) {
    return (error as S3mpError).context ?? {};
  }
  return { opened: true };
}

const WRONG = { state: 1, service: 5 };
const right = (meter: TestMeter) => parseCode(meter.certificates.code!);

Certificates('who guesses the code has to wait, longer each time; who has it and did not guess has not', () => {
  const meter = meterIn('meter-h');
  for (let i = 0; i < 4; i++) assert.equal(guess(meter, 'guesser', 0), WRONG);
  assert.is(guess(meter, 'guesser', 999).result, 2);
  assert.is(guess(meter, 'guesser', 999, right(meter)).result, 2, 'the right one, too');
  assert.equal(guess(meter, 'guesser', 1000), WRONG);
  assert.is(guess(meter, 'guesser', 2999).result, 2, 'two seconds behind the fifth');
  assert.equal(guess(meter, 'guesser', 3000), WRONG);
  assert.is(guess(meter, 'guesser', 6999).result, 2);
  assert.equal(guess(meter, 'owner', 6999, right(meter)), { opened: true });
  const failures = meter.events.flatMap((event) => (event.kind === 'protection-failed' ? [event.failures] : []));
  assert.equal(failures, [1, 2, 3, 4, 5, 6], 'what was not tried is no failure');
});

Certificates('a guess that the network doubles is one guess', () => {
  const meter = meterIn('meter-l');
  const frame = (attempt(meter, random.bytes(10)).associate().next().value as Uint8Array).slice();
  const answers = [0, 10, 4_000].map((nowMs) => toHex(meter.give(frame, { nowMs })));
  assert.is(new Set(answers).size, 1);
  assert.is(meter.events.length, 1);
  for (let i = 0; i < 2; i++) assert.equal(guess(meter, 'head end', 4_000), WRONG);
  assert.equal(guess(meter, 'head end', 4_000, right(meter)), { opened: true }, 'three are free');
});

Certificates('guesses from everywhere together are tried at a bounded rate, and wear the code out', () => {
  const meter = meterIn('meter-i');
  const code = right(meter);
  let tried = 0;
  for (let i = 0; i < 100; i++) if (guess(meter, `forged ${i}`, 0).service === 5) tried++;
  assert.is(tried, 16);
  for (let i = 1; i <= 10; i++) meter.certificates.tick(i * 1000);
  for (let i = 0; i < 100; i++) if (guess(meter, `forged ${i}`, 300_000).service === 5) tried++;
  assert.is(tried, 32);
  for (let i = 0; i < 4985; i++) {
    meter.certificates.tick(400_000 + i);
    meter.certificates.mayGuess(false, TITLE, TITLE);
    meter.certificates.mayGuess(false, TITLE, TITLE);
  }
  assert.is.not(toHex(right(meter)), toHex(code), 'another code behind ten thousand');
  meter.certificates.tick(500_000);
  assert.equal(guess(meter, 'owner', 500_000, code), WRONG);
  meter.certificates.tick(600_000);
  assert.equal(guess(meter, 'owner', 600_000, right(meter)), { opened: true });
});

Certificates('a flood of guesses holds up nobody who has the code, whatever addresses it comes from', () => {
  const meter = meterIn('meter-m');
  const own = { source: 'head end', nowMs: 0 };
  let floods = 0;
  /** From ever other addresses, with challenges of every length, and under the address of the head end. */
  const flood = () => {
    floods++;
    for (let i = 0; i < 40; i++) {
      const from = i < 5 ? own : { source: `forged ${floods} ${i}`, nowMs: 0 };
      const title = random.bytes(8);
      const client = meter.reached(
        { ...enrolmentKeys(nodeCrypto, random.bytes(10), title), challenge: random.bytes(8 + i) },
        title,
      );
      try {
        meter.run(client.associate(), from);
        assert.unreachable('a guess that is right');
      } catch (error) {
        assert.match(String((error as S3mpError).code), /^dlms\./);
      }
    }
  };
  flood();
  assert.is(guess(meter, 'other', 0, right(meter)).result, 2, 'without a proof it waits');
  const client = attempt(meter, right(meter), true);
  const steps = client.associate();
  for (let step = steps.next(); !step.done; ) {
    const answer = meter.give(step.value as Uint8Array, own);
    flood();
    step = steps.next(answer);
  }
  assert.ok(floods > 1);
  const { delivery } = new HeadEndIdentity(utility('pki-m'));
  const issue = (request: ReturnType<typeof parseRequest>, use: number) =>
    utility('pki-m').issueMeter(request, client.serverTitle!, ADDRESS, usageOf(use));
  meter.run(enrolMeter(client, delivery, issue), own);
  assert.ok(meter.certificates.isEnrolled);
});

Certificates('who repeats the beginning of an enrolment that he has heard is held to a rate, and opens nothing', () => {
  const meter = meterIn('meter-n');
  for (let i = 0; i < 30; i++) guess(meter, `forged ${i}`, 0);
  const heard = (attempt(meter, right(meter), true).associate().next().value as Uint8Array).slice();
  const answers = Array.from({ length: 40 }, (_, i) => toHex(meter.give(heard, { source: `repeats ${i}` })));
  const refused = answers.filter((answer) => answer === answers.at(-1)).length;
  assert.is(40 - refused, 16);
});

Certificates('each start shows another code; the one before opens nothing, and a spent one neither', () => {
  const meter = meterIn('meter-j');
  const before = right(meter);
  const restarted = meterIn('meter-j');
  assert.equal(guess(restarted, 'head end', 0, before), WRONG);
  const spent = right(restarted);
  // Two who have the code: the second one is late, though its association is open.
  const late = attempt(restarted);
  restarted.run(late.associate(), { source: 'late' });
  enrol(restarted, utility('pki-j'));
  const { delivery } = new HeadEndIdentity(utility('pki-j2'));
  const never = () => {
    throw new Error('not reached');
  };
  assert.is(
    refusal(() => restarted.run(enrolMeter(late, delivery, never), { source: 'late' })),
    'dlms.refused',
  );
  assert.equal(guess(restarted, 'head end', 0, spent), WRONG);
  for (let i = 0; i < 30; i++) assert.equal(guess(restarted, 'head end', 0), WRONG, 'nothing is left to guess');
});

Certificates('a meter that has lost whom it believes shows no code', () => {
  enrol(meterIn('meter-k'), utility('pki-k'));
  const file = join(root, 'meter-k', 'pki', 'trust.pem');
  for (const text of ['', '-----BEGIN CERTIFICATE-----\n', readFileSync(file, 'utf8').slice(100)]) {
    writeFileSync(file, text);
    assert.is(
      refusal(() => meterIn('meter-k')),
      'config.invalid',
    );
  }
});

Certificates('an attempt that breaks off leaves nothing, and another utility may finish', () => {
  const meter = meterIn('meter-c');
  const first = new HeadEndIdentity(utility('pki-c1')).delivery;
  const client = codeClient(meter);
  const stop = () => {
    throw new Error('cut');
  };
  assert.throws(() => meter.run(enrolMeter(client, first, stop)), /cut/);
  assert.not.ok(meter.certificates.isEnrolled);
  assert.not.ok(existsSync(join(root, 'meter-c', 'pki', 'trust.pem')));
  enrol(meter, utility('pki-c2'));
  assert.ok(meter.certificates.isEnrolled);
});

Certificates(
  'the meter takes its own certificates only: right key, title and address, from the right authority',
  () => {
    const pki = utility('pki-d');
    const meter = meterIn('meter-d');
    const client = codeClient(meter);
    const other = makeKey();
    const foreign = encodeRequest(
      encodeName(titleName(TITLE)),
      other.publicKey,
      addressExtension(ADDRESS),
      other.signing,
    );
    const { delivery } = new HeadEndIdentity(pki);
    const issue = () => pki.issueMeter(parseRequest(foreign), TITLE, ADDRESS, KeyUsage.digitalSignature);
    assert.is(
      refusal(() => meter.run(enrolMeter(client, delivery, issue))),
      'dlms.refused',
      'a key that is not its own',
    );
    const moved = parseAddress('1-ff00:0:111,10.1.0.6');
    assert.is(
      refusal(() => pki.issueMeter(parseRequest(foreign), TITLE, moved, KeyUsage.keyAgreement)),
      'certificate.refused',
    );
    assert.is(
      refusal(() => pki.issueMeter(parseRequest(foreign), HEAD_END, ADDRESS, KeyUsage.keyAgreement)),
      'certificate.refused',
    );
    const stranger = encodeRequest(
      encodeName(titleName(TITLE)),
      makeKey().publicKey,
      addressExtension(ADDRESS),
      other.signing,
    );
    assert.is(
      refusal(() => pki.issueMeter(parseRequest(stranger), TITLE, ADDRESS, KeyUsage.keyAgreement)),
      'certificate.refused',
    );
    assert.not.ok(meter.certificates.isEnrolled);
  },
);

Certificates('a revoked head end gets no keys any more, and an older list does not bring it back', () => {
  const pki = utility('pki-e');
  const meter = meterIn('meter-e');
  const { certificates } = enrol(meter, pki);
  const identity = new HeadEndIdentity(pki);
  const before = pki.list('system').der;
  assert.ok(meter.certificates.keysOf(START));
  assert.is(meter.certificates.keysOf(Uint8Array.of(...asciiBytes('S3H'), 1, 0, 0, 0, 5)), null, 'another head end');
  assert.ok(meter.certificates.keysOf(START, '1-ff00:0:112,10.2.0.77'), 'another host of its AS');
  assert.is(meter.certificates.keysOf(START, '1-ff00:0:113,10.2.0.9'), null, 'its address in another AS');
  assert.ok(meter.certificates.keysOf(START, '10.2.0.9'), 'a legacy transport tells no AS');
  pki.revoke('system', [identity.agreement.serial], 'stolen');
  assert.ok(meter.certificates.importList(pki.list('system').der));
  assert.is(meter.certificates.keysOf(START), null);
  assert.not.ok(meter.certificates.importList(before), 'an older list');
  assert.is(meterIn('meter-e').certificates.keysOf(START), null, 'also after a restart');
  assert.is(
    refusal(() => new HeadEndIdentity(pki).check(enrolledAs(certificates))),
    '',
  );
  pki.revoke(
    'issuing',
    certificates.map(({ serial }) => serial),
    'gone',
  );
  assert.is(
    refusal(() => new HeadEndIdentity(pki).check(enrolledAs(certificates))),
    'certificate.refused',
  );
});

Certificates('command certificates: brought later, believed until they are revoked, also from a file', () => {
  const pki = utility('pki-f');
  const meter = meterIn('meter-f');
  const { certificates } = enrol(meter, pki);
  const { keyFile, certificateFile } = pki.commandKey('ops');
  const message = random.bytes(40);
  const signature = readCommandSigner(keyFile).sign(message);
  assert.not.ok(meter.certificates.verifyCommand(message, signature), 'not known yet');
  const identity = new HeadEndIdentity(pki);
  const { unicast, authentication } = identity.security(enrolledAs(certificates), START);
  const client = meter.reached({ unicast, authentication }, START);
  meter.run(client.associate());
  assert.is(meter.run(updateMeter(client, identity.delivery)), 1);
  assert.ok(meter.certificates.verifyCommand(message, signature));
  message[0]! ^= 1;
  assert.not.ok(meter.certificates.verifyCommand(message, signature));
  message[0]! ^= 1;

  const verifier = readCommandVerifier(certificateFile, pki.file('root.pem'));
  assert.ok(verifier.verify(message, signature));
  const late = () => ({ nowS: TIME().nowS + 3 * 31_557_600, isLowerBound: false });
  const refuse = (...args: Parameters<typeof readCommandVerifier>) => refusal(() => readCommandVerifier(...args));
  assert.is(refuse(certificateFile), 'config.invalid', 'no root');
  assert.is(refuse(certificateFile, utility('pki-f2').file('root.pem')), 'config.invalid', "another utility's root");
  assert.is(refuse(certificateFile, pki.file('root.pem'), late), 'config.invalid', 'expired');
  assert.is(refuse(pki.file('head-end.pem'), pki.file('root.pem')), 'config.invalid', 'not for commands');
  // Counters that are lost alone must not begin anew under the keys of the enrolment.
  const lines: string[] = [];
  const log = createLog('test', { write: (line) => lines.push(line) });
  const enrolled = loadConfig(FIRMWARE_CONFIG, { flags: { 'state-directory': join(root, 'meter-f') } });
  rmSync(join(root, 'meter-f', 'counters'), { force: true });
  assert.is(openMeterSecurity(enrolled, log, { address: ADDRESS, time: TIME }).security, undefined);
  assert.match(lines.join(''), /counters: it is gone.*headend\.js meter replace/);
  // A meter that starts then measures on and takes no commands.
  for (const [time, isBelieved] of [
    [TIME, true],
    [late, false],
  ] as const) {
    const lines: string[] = [];
    const flags = {
      'state-directory': join(root, 'meter-late'),
      'dlms-command-key-file': certificateFile,
      'dlms-root-file': pki.file('root.pem'),
      'enrolment-enabled': false,
    };
    const config = loadConfig(FIRMWARE_CONFIG, { flags });
    const log = createLog('test', { write: (line) => lines.push(line) });
    openMeterSecurity(config, log, { address: ADDRESS, time }).close();
    assert.is(/no command key, .*not believed/.test(lines.join('')), !isBelieved, lines.join(''));
  }

  pki.revokeName('command', 'ops', 'test');
  assert.ok(meter.certificates.importList(pki.list('command').der));
  assert.not.ok(meter.certificates.verifyCommand(message, signature));
});

Certificates('a lost or broken register revokes nothing anew and takes nothing back', () => {
  const pki = utility('pki-r');
  const { serial } = pki.read().headEnd[0]!;
  pki.revoke('system', [serial], 'test');
  const file = pki.file('register.json');
  const before = readFileSync(file, 'utf8');
  const list = readFileSync(pki.file('system.crl'), 'utf8');
  for (const text of ['', '{}', before.slice(0, 40), undefined]) {
    if (text === undefined) rmSync(file);
    else writeFileSync(file, text);
    for (const change of [() => pki.revoke('system', [], ''), () => pki.commandKey(`key-${text?.length}`)])
      assert.is(refusal(change), 'config.invalid', text);
    pki.init();
  }
  assert.is(readFileSync(pki.file('system.crl'), 'utf8'), list);
  writeFileSync(file, before);
  pki.revoke('system', [], '');
  assert.ok(pki.list('system').serials.has(toHex(serial)));
});

Certificates('mutated certificates and lists change nothing', () => {
  const pki = utility('pki-g');
  const meter = meterIn('meter-g');
  enrol(meter, pki);
  pki.commandKey('ops');
  const file = join(root, 'meter-g', 'pki', 'trust.pem');
  const before = readFileSync(file, 'utf8');
  const { commands } = pki.read();
  const sources = [commands[0]!.der, pki.root.der, pki.authority('command').der, pki.list('command').der];
  for (let i = 0; i < 1500; i++) {
    const bytes = sources[i % sources.length]!.slice();
    bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
    meter.certificates.importCertificate(bytes);
    meter.certificates.importList(bytes);
  }
  assert.is(readFileSync(file, 'utf8'), before);
  assert.not.ok(meter.lines.join('').includes('error'), 'refused, not failed');
  assert.ok(meter.certificates.importCertificate(parseCertificate(commands[0]!.der).der));
});

Certificates.run();
