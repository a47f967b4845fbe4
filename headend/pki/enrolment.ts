/**
 * Enrolling a meter from the command line: the code is asked for, its association opened, certificates issued and brought,
 * and what was done noted in the audit. An enrolment that breaks off leaves no valid certificate and no entry behind.
 */

import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { toHex } from '#base/bytes';
import { DlmsError, messageOf, S3mpError } from '#base/errors';
import { type Certificate, type CertificationRequest, KeyUsage } from '#base/x509';
import { AssociationResult, Mechanism } from '#dlms/acse';
import { DlmsClient } from '#dlms/client';
import { MemoryCounter } from '#dlms/client-security';
import { CertificateUse } from '#dlms/cosem/certificate-setup';
import type { Exchange } from '#dlms/exchange';
import { CHALLENGE_SIZE } from '#dlms/hls';
import { Sap } from '#dlms/wrapper';
import type { VerbContext } from '#hw/cli';
import { nodeCrypto } from '#hw/crypto';
import { openPathSource } from '#hw/path-source';
import { ScionSocket } from '#hw/scion-socket';
import { formatEndpoint, parseHost } from '#scion/address';
import { parsePolicy } from '#scion/policy';
import { enrolmentChallenge, enrolmentKeys, parseCode } from '#session/enrolment-code';
import { HeadEndIdentity } from '../meter/certified-meters.ts';
import { ChannelSwitch, MeterChannel } from '../meter/channel.ts';
import { takeHeadEndTitle } from '../meter/head-end-keys.ts';
import { openSqliteStore } from '../store/sqlite.ts';
import type { AuditEntry } from '../store/store.ts';
import { enrolMeter } from './enrol.ts';
import { GuessLimit } from './guess-limit.ts';
import { type EnrolledMeter, Inventory, meterEndpoint } from './inventory.ts';
import { UtilityPki } from './utility-pki.ts';

const METER_PORT = 4059;
const STEP_MS = 20_000;
const ENROL_MS = 60_000;
/** Longest time that a meter lets a guesser wait. */
const METER_WAIT_S = 300;
/** For signing and for key agreement. */
const CERTIFICATES = 2;

/**
 * Notes in the audit who did what with keys and meters. Where this machine has no store, the register of the PKI and the log
 * have to do.
 */
export async function audit(
  { config, log }: VerbContext,
  action: string,
  meter: string | null,
  detail: AuditEntry['detail'] = {},
): Promise<void> {
  const file = config.string('store.file');
  try {
    if (!existsSync(file)) throw new S3mpError('config.unreadable', `there is no store ${file}`);
    const store = openSqliteStore({ file });
    await store
      .appendAudit({ at: Date.now(), actor: `command line of ${userInfo().username}`, action, meter, detail })
      .finally(() => store.close());
  } catch (error) {
    log.warn('this is not in the audit', { action, meter, ...detail, why: messageOf(error) });
  }
}

/** The code from a terminal, or the first line of the standard input. It is no flag: others see command lines. */
async function askCode(): Promise<Uint8Array> {
  const isTerminal = process.stdin.isTTY === true;
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: isTerminal });
  try {
    if (isTerminal) lines.setPrompt("enrolment code on the meter's display: ");
    if (isTerminal) lines.prompt();
    for await (const line of lines) return parseCode(line);
  } finally {
    lines.close();
  }
  throw new S3mpError('enrolment.code', 'no enrolment code on the standard input');
}

/** Failures behind which the meter has not judged a code. */
const NOT_REACHED = /^(meter\.unreachable|path\.|scion\.|socket\.|gateway\.)/;

/**
 * Opens the association that the code opens. A wrong code counts.
 * @throws S3mpError `enrolment.wait`, `enrolment.refused`; other codes when the meter was not reached
 */
async function openWithCode(
  context: VerbContext,
  id: string,
  address: string,
  open: () => Promise<void>,
): Promise<void> {
  const limit = new GuessLimit(join(context.config.string('pki.directory'), 'guesses.json'));
  let failures: number;
  try {
    failures = limit.begin(address);
  } catch (error) {
    if (error instanceof S3mpError && error.code === 'enrolment.wait')
      await audit(context, 'enrolment.delayed', id, { address, waitS: Number(error.context?.waitS) });
    throw error;
  }
  try {
    await open();
    limit.takeBack(address, true);
  } catch (error) {
    if (!(error instanceof S3mpError)) throw error;
    const isBusy = error.context?.result === AssociationResult.rejectedTransient;
    if (isBusy || NOT_REACHED.test(error.code)) limit.takeBack(address, false);
    if (!(error instanceof DlmsError)) throw error;
    await audit(context, 'enrolment.refused', id, { address, failures, error: error.code });
    if (isBusy)
      throw new S3mpError(
        'enrolment.wait',
        `${address} tries no code now, too many were wrong: wait for up to ${METER_WAIT_S / 60} min`,
        { waitS: METER_WAIT_S },
        error,
      );
    const why = 'the code is not the one that the meter shows now, or the meter is enrolled already';
    throw new S3mpError('enrolment.refused', `${address} does not accept the code: ${why}`, { failures }, error);
  }
}

function revokeSerials(pki: UtilityPki, certificates: readonly Certificate[], reason: string): void {
  pki.revoke(
    'issuing',
    certificates.map(({ serial }) => serial),
    reason,
  );
}

/**
 * Enrols the meter at an address under a name, and proves that it answers under its certificate.
 * @param old  the meter that it takes the place of: revoked before the new one counts
 */
export async function enrol(
  context: VerbContext,
  id: string,
  address: string,
  old?: { readonly meter: EnrolledMeter; readonly reason: string },
): Promise<EnrolledMeter> {
  const { config, log } = context;
  const meter = meterEndpoint(address, METER_PORT);
  const pki = new UtilityPki(config.string('pki.directory'));
  const code = await askCode();
  if (!pki.exists) log.info('making the keys of the utility', { folder: pki.folder });
  pki.init();
  const { topology, source } = await openPathSource(config, config.string('scion.topology'), log.child('paths'));
  const hostIp = config.string('scion.address');
  const policy = parsePolicy(config.strings('path.acl'), config.optionalString('path.sequence') ?? '');
  // Any port: the one of the running head end is its own.
  const socket = await ScionSocket.open({ topology, hostIp, policy, pathSource: source, shim: false, log });
  const channel = new MeterChannel(socket, meter, log);
  new ChannelSwitch(socket).add(channel);
  const run = async <T>(client: DlmsClient, operation: Exchange<T>, limitMs: number): Promise<T> => {
    const deadlineAt = socket.now() + limitMs;
    const takes = (request: Uint8Array, answer: Uint8Array) => client.takes(request, answer);
    let step = operation.next();
    while (!step.done) step = operation.next((await channel.exchange(step.value, deadlineAt, takes)).frame);
    return step.value;
  };
  const issued: Certificate[] = [];
  let isKept = false;
  try {
    const start = takeHeadEndTitle(config.string('dlms.starts_file'), config.number('dlms.instance'));
    const fixed = start.slice();
    fixed.fill(0, 4);
    pki.identify(fixed, { ia: topology.ia, host: parseHost(hostIp) });
    const identity = new HeadEndIdentity(pki);

    const title = Uint8Array.of(0x53, 0x33, 0x45, ...nodeCrypto.random(5));
    const keys = enrolmentKeys(nodeCrypto, code, title);
    const challenge = enrolmentChallenge(nodeCrypto, code, title, nodeCrypto.random(CHALLENGE_SIZE));
    code.fill(0);
    const security = { crypto: nodeCrypto, mechanism: Mechanism.gmac, title, challenge, counter: new MemoryCounter() };
    const client = new DlmsClient({ clientSap: Sap.managementClient, security: { ...security, ...keys } });
    await openWithCode(context, id, formatEndpoint(meter), () => run(client, client.associate(), STEP_MS));
    const issue = (request: CertificationRequest, use: number) => {
      const usage = use === CertificateUse.agreement ? KeyUsage.keyAgreement : KeyUsage.digitalSignature;
      const certificate = pki.issueMeter(request, client.serverTitle!, meter, usage);
      issued.push(certificate);
      return certificate;
    };
    const enrolled = { id, address: formatEndpoint(meter), certificates: issued, enrolledAt: new Date().toISOString() };
    const prove = async () => {
      identity.check(enrolled);
      const options = { clientSap: Sap.managementClient, security: identity.security(enrolled, start) };
      const proof = new DlmsClient(options);
      await run(proof, proof.associate(), STEP_MS);
      await run(proof, proof.release(), STEP_MS);
    };
    await run(client, enrolMeter(client, identity.delivery, issue), ENROL_MS).catch(async (error: unknown) => {
      // When the answer to the last certificate is what was lost, the meter is enrolled all the same.
      if (issued.length < CERTIFICATES) throw error;
      await prove().catch(() => {
        throw error;
      });
    });
    if (old) revokeSerials(pki, old.meter.certificates, old.reason);
    // The code is spent: from here on the meter is known, whatever happens to the proof.
    new Inventory(config.string('fleet.directory')).write(enrolled);
    isKept = true;
    const serials = issued.map(({ serial }) => toHex(serial)).join(' ');
    await audit(context, old ? 'meter.replaced' : 'meter.enrolled', id, { address: enrolled.address, serials });
    await prove();
    return enrolled;
  } catch (error) {
    // What was issued to an enrolment that broke off is good for nothing.
    if (!isKept && issued.length > 0) {
      revokeSerials(pki, issued, 'the enrolment broke off');
      await audit(context, 'enrolment.failed', id, { address: formatEndpoint(meter), certificates: issued.length });
    }
    throw error;
  } finally {
    await socket.close();
    await source.close?.();
  }
}
