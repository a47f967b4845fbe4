/**
 * The meter's part in the utility's PKI: key pairs that are made here and never leave, the certificates and revocation lists
 * it holds, and before it has any, the one-time code under which a head end brings them.
 *
 *   <state>/pki/signing.key, agreement.key   private keys, PEM, 0600
 *   <state>/pki/trust.pem                    root, authorities, own and others' certificates, revocation lists; 0600
 *   <state>/pki/code                         the code that is shown now, 0600; gone once the meter is enrolled
 *
 * `trust.pem` is written whole when the meter is enrolled, and from then on whenever something in it changes. Until then
 * what a head end brings is in memory only, so an enrolment that breaks off leaves nothing behind.
 */

import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { equalBytes } from '#base/bytes';
import { ConfigError, DecodeError, invalidFile, messageOf } from '#base/errors';
import {
  type Certificate,
  isIssuedBy,
  KeyUsage,
  parseCertificate,
  parseRevocationList,
  type RevocationList,
} from '#base/x509';
import { encodeName, encodeRequest } from '#base/x509-writer';
import {
  CertificateEntity,
  type CertificateInfo,
  type CertificateManager,
  CertificateUse,
} from '#dlms/cosem/certificate-setup';
import type { ClientKeys } from '#dlms/security';
import { nodeCrypto } from '#hw/crypto';
import { writeFileAtomic } from '#hw/files';
import type { Log } from '#hw/log';
import { makeFolder } from '#hw/medium';
import { type KeyPair, pemText, readOrMakeKeyPair, readPemFile, verifyCertified } from '#hw/pki-files';
import { formatAddress, type ScionAddress } from '#scion/address';
import { formatIsdAs } from '#scion/isd-as';
import { certificateKeys, mayBear } from '#session/certificate-keys';
import { CODE_SIZE, enrolmentKeys, formatCode, provesCode } from '#session/enrolment-code';
import { addressExtension, addressOf, roleOf, titleName, titleOf } from '#session/identity';
import { Trust, type TrustFault, type TrustTime } from '#session/trust';

export interface CertificateOptions {
  /** State folder of the meter. */
  readonly folder: string;
  /** Own system title. */
  readonly title: Uint8Array;
  readonly address: ScionAddress;
  readonly time: () => TrustTime;
  readonly log: Log;
}

/** A code is shown for so long, then another one; sooner when so many guesses were made at it. */
const CODE_LIFE_MS = 24 * 3_600_000;
const CODE_GUESSES = 10_000;
/** Guesses from all sources together that are tried at once, and in each tick behind that: a small processor has more to do. */
const GUESS_BURST = 16;
const GUESSES_A_TICK = 2;
/** Role of the association that the code opens. */
const ENROLMENT_ROLE = 'enrolment';
const SECRET = 0o600;
const { digitalSignature, keyAgreement } = KeyUsage;

export class MeterCertificates implements CertificateManager {
  /** Told of every change of what is believed, or of the code. */
  onChange: () => void = () => {};
  readonly #options: CertificateOptions;
  readonly #signing: KeyPair;
  readonly #agreement: KeyPair;
  readonly #agreements = new WeakMap<Certificate, Uint8Array>();
  #trust = emptyTrust();
  #code: Uint8Array | undefined;
  #codeEndsAt = 0;
  /** Guesses left of the code, and now. */
  #codeGuesses = 0;
  #guesses = GUESS_BURST;
  /** Attempts left now for those who have the code: no flood of guesses takes them. */
  #proven = GUESS_BURST;

  /** Reads what there is, and makes the keys at the first start. @throws ConfigError */
  constructor(options: CertificateOptions) {
    this.#options = options;
    const pki = this.#file('');
    try {
      makeFolder(pki);
    } catch (error) {
      throw new ConfigError('config.unreadable', `cannot make ${pki}: ${messageOf(error)}`, { pki }, error);
    }
    this.#signing = readOrMakeKeyPair(this.#file('signing.key'));
    this.#agreement = readOrMakeKeyPair(this.#file('agreement.key'));
    this.#load();
    // The next code is another one.
    rmSync(this.#file('code'), { force: true });
  }

  #file(name: string): string {
    return join(this.#options.folder, 'pki', name);
  }

  /** Own certificate for a use. */
  #own(keyUsage: number): Certificate | undefined {
    const { publicKey } = keyUsage === keyAgreement ? this.#agreement : this.#signing;
    return this.#trust.find('meter', keyUsage).find((held) => equalBytes(held.publicKey, publicKey));
  }

  get isEnrolled(): boolean {
    return this.#own(keyAgreement) !== undefined;
  }

  /** The code to show, undefined once the meter is enrolled. */
  get code(): string | undefined {
    return this.#code && formatCode(this.#code);
  }

  /** Makes the code where one is needed, and another one when it has been shown long enough. @param nowMs  steady */
  tick(nowMs: number): void {
    this.#guesses = Math.min(GUESS_BURST, this.#guesses + GUESSES_A_TICK);
    this.#proven = Math.min(GUESS_BURST, this.#proven + GUESSES_A_TICK);
    if (this.isEnrolled || (this.#code && nowMs < this.#codeEndsAt && this.#codeGuesses > 0)) return;
    this.#forgetCode();
    this.#code = nodeCrypto.random(CODE_SIZE);
    this.#codeEndsAt = nowMs + CODE_LIFE_MS;
    this.#codeGuesses = CODE_GUESSES;
    this.#attempt('the code is shown on the display only', () =>
      writeFileAtomic(this.#file('code'), `${this.code}\n`, SECRET),
    );
    this.onChange();
  }

  #forgetCode(): void {
    this.#code?.fill(0);
    this.#code = undefined;
  }

  #attempt(what: string, operation: () => void): boolean {
    try {
      operation();
      return true;
    } catch (error) {
      this.#options.log.error(what, { error: messageOf(error) });
      return false;
    }
  }

  #load(): void {
    const trust = emptyTrust();
    const file = this.#file('trust.pem');
    if (existsSync(file)) {
      const { certificates, lists } = readPemFile(file);
      // They were judged when they came.
      const [root, ...others] = certificates;
      // An enrolled meter that has lost whom it believes must not show a code to whoever stands before it.
      if (!root || trust.pin(root)) throw invalidFile(file, 'it holds no root');
      for (const each of others) trust.keep(each);
      for (const list of lists) trust.takeList(list);
    }
    this.#trust = trust;
  }

  #store(): boolean {
    const { root, certificates, lists } = this.#trust;
    const held = [root!, ...certificates].map(({ der }) => pemText('CERTIFICATE', der));
    const text = [...held, ...lists.map(({ der }) => pemText('X509 CRL', der))].join('');
    return this.#attempt('certificates are not stored', () => writeFileAtomic(this.#file('trust.pem'), text, SECRET));
  }

  // --- What DLMS asks for ------------------------------------------------------------------------------------------------

  /** Keys of a client: under the code before the enrolment, of certified head ends behind it. */
  readonly keysOf = (clientTitle: Uint8Array, source = ''): ClientKeys | null => {
    const meter = this.#own(keyAgreement);
    if (!meter)
      return this.#code ? { ...enrolmentKeys(nodeCrypto, this.#code, clientTitle), role: ENROLMENT_ROLE } : null;
    const time = this.#options.time();
    const headEnd = this.#trust
      .find('head-end', keyAgreement)
      .find(
        (held) =>
          mayBear(held, clientTitle) && isAt(held, source) && !this.#trust.judge(held, 'head-end', keyAgreement, time),
      );
    return (headEnd && certificateKeys(nodeCrypto, this.#agree(headEnd), headEnd, meter, clientTitle)) ?? null;
  };

  /** Whether another guess of the code may be tried; undefined once the meter is enrolled. */
  readonly mayGuess = (mustWait: boolean, title: Uint8Array, challenge: Uint8Array): boolean | undefined => {
    if (this.isEnrolled) return undefined;
    if (!mustWait && this.#guesses > 0 && this.#codeGuesses > 0) {
      this.#guesses--;
      this.#codeGuesses--;
      return true;
    }
    // Addresses are forged, this is not. Whoever repeats what he has heard finds it bounded as well.
    const isProven = this.#code && this.#proven > 0 && provesCode(nodeCrypto, this.#code, title, challenge);
    if (isProven) this.#proven--;
    return isProven === true;
  };

  /** The agreement with a head end, made once: anyone may send its titles, and on a small processor this takes its time. */
  #agree(headEnd: Certificate): Uint8Array | undefined {
    let agreement = this.#agreements.get(headEnd);
    if (!agreement) {
      agreement = this.#agreement.agree(headEnd.publicKey);
      if (agreement) this.#agreements.set(headEnd, agreement);
    }
    return agreement;
  }

  /** Whether one of the command certificates that are believed now has signed a message. */
  verifyCommand(message: Uint8Array, signature: Uint8Array): boolean {
    const time = this.#options.time();
    return this.#trust
      .find('command', digitalSignature)
      .some(
        (held) =>
          verifyCertified(held.publicKey).verify(message, signature) &&
          !this.#trust.judge(held, 'command', digitalSignature, time),
      );
  }

  certificates(): readonly CertificateInfo[] {
    const { root, certificates } = this.#trust;
    const { server, client, authority, other } = CertificateEntity;
    const entities = { meter: server, 'head-end': client, gateway: other, command: other };
    return (root ? [root, ...certificates] : []).map((held) => {
      const { serial, issuer, subject, uris, isAuthority, keyUsage } = held;
      const role = roleOf(held);
      return {
        entity: isAuthority ? authority : role ? entities[role] : other,
        use: isAuthority
          ? CertificateUse.other
          : keyUsage === keyAgreement
            ? CertificateUse.agreement
            : CertificateUse.signing,
        serial,
        issuer,
        subject,
        alternativeName: Uint8Array.from(Buffer.from(uris[0] ?? '')),
      };
    });
  }

  /** The key pairs are there from the first start on, and are not replaced from afar. */
  generateKeyPair(use: number): boolean {
    return !this.isEnrolled && (use === CertificateUse.signing || use === CertificateUse.agreement);
  }

  request(use: number): Uint8Array | undefined {
    const pair = [this.#signing, this.#agreement][use];
    if (!pair) return undefined;
    const { title, address } = this.#options;
    return encodeRequest(encodeName(titleName(title)), pair.publicKey, addressExtension(address), pair.signing);
  }

  importCertificate(der: Uint8Array): boolean {
    return this.#take('a certificate', () => {
      const certificate = parseCertificate(der);
      if (certificate.isAuthority && isIssuedBy(certificate, certificate)) {
        // An earlier attempt that broke off binds nobody.
        if (!this.isEnrolled) this.#trust = emptyTrust();
        return this.#trust.pin(certificate);
      }
      if (roleOf(certificate) === 'meter') return this.#takeOwn(certificate);
      return this.#trust.add(certificate, this.#options.time());
    });
  }

  lists(): readonly { readonly authority: Uint8Array; readonly number: number }[] {
    return this.#trust.lists.map(({ authorityKeyId, number }) => ({
      authority: authorityKeyId ?? new Uint8Array(0),
      number,
    }));
  }

  importList(der: Uint8Array): boolean {
    return this.#take('a revocation list', () => {
      const list: RevocationList = parseRevocationList(der);
      return this.#trust.takeList(list);
    });
  }

  /** Takes an own certificate. That of the key agreement is the last one: with it the meter is enrolled. */
  #takeOwn(certificate: Certificate): TrustFault | null {
    const { title, address, time } = this.#options;
    const { keyUsage, publicKey } = certificate;
    const named = addressOf(certificate);
    const isOurs =
      equalBytes(titleOf(certificate) ?? new Uint8Array(0), title) &&
      named !== undefined &&
      formatAddress(named) === formatAddress(address);
    const pair = keyUsage === keyAgreement ? this.#agreement : this.#signing;
    if (!isOurs || !equalBytes(publicKey, pair.publicKey)) return 'role';
    const now = time();
    const fault = this.#trust.judgeOwn(certificate, 'meter', keyUsage, now);
    if (fault) return fault;
    if (keyUsage !== keyAgreement) return this.#trust.keep(certificate);
    const hasHeadEnd = this.#trust
      .find('head-end', keyAgreement)
      .some((held) => !this.#trust.judge(held, 'head-end', keyAgreement, now));
    return hasHeadEnd && this.#own(digitalSignature) ? this.#trust.keep(certificate) : 'conflict';
  }

  /** Runs a change. One that fails, or that cannot be stored, changes nothing. */
  #take(what: string, change: () => string | null): boolean {
    const { log } = this.#options;
    const wasEnrolled = this.isEnrolled;
    const { generation } = this.#trust;
    try {
      const fault = change();
      if (fault !== null) {
        log.warn(`${what} is not taken`, { why: fault });
        return false;
      }
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      log.warn(`${what} is not taken`, { why: messageOf(error) });
      return false;
    }
    if (!this.isEnrolled || generation === this.#trust.generation) return true;
    if (!this.#store()) {
      this.#load();
      return false;
    }
    if (!wasEnrolled) {
      this.#forgetCode();
      this.#attempt('the used code stays in its file', () => rmSync(this.#file('code'), { force: true }));
      log.info('enrolled', { title: titleName(this.#options.title) });
    }
    this.onChange();
    return true;
  }
}

/**
 * Whether a certificate names the AS that a request came from over SCION. Hosts inside that AS may change: a head end that
 * moved could else reach no meter any more, not even to bring another certificate. Legacy transports tell no AS.
 */
function isAt(certificate: Certificate, source: string): boolean {
  const [ia, host] = source.split(',');
  const named = addressOf(certificate);
  return host === undefined || (named !== undefined && formatIsdAs(named.ia) === ia);
}

function emptyTrust(): Trust {
  return new Trust({ verifyKey: verifyCertified, roles: ['head-end', 'command'] });
}
