/**
 * The utility's PKI in a folder: a root, three authorities below it that each give some roles only, what they have issued,
 * and their revocation lists.
 *
 *   root.key root.pem               gives authorities; the key may be moved away once the others are made
 *   issuing.key issuing.pem .crl    meters: the one that is used every day
 *   system.key system.pem .crl      head ends and gateways
 *   command.key command.pem .crl    command certificates
 *   head-end.pem, head-end-signing.key, head-end-agreement.key     this head end itself
 *   commands/NAME.key, NAME.pem     command keys, each with its certificate, its authority and its list
 *   register.json                   serial numbers that were issued, and what was revoked
 *
 * Keys have mode 0600. The API server needs head-end*, root.pem, *.pem and *.crl only, none of the authorities' keys.
 */

import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fromHex, toHex } from '#base/bytes';
import { ConfigError, S3mpError } from '#base/errors';
import {
  type Certificate,
  type CertificationRequest,
  KeyUsage,
  parseCertificate,
  parseRevocationList,
  provesPossession,
  type RevocationList,
} from '#base/x509';
import { AUTHORITY_USAGE, encodeCertificate, encodeName, encodeRevocationList } from '#base/x509-writer';
import { nodeCrypto } from '#hw/crypto';
import { readTextFile, writeFileAtomic } from '#hw/files';
import { type KeyPair, makeKeyFile, pemText, readKeyPair, readPemFile, verifyCertified } from '#hw/pki-files';
import { formatAddress, type ScionAddress } from '#scion/address';
import { addressExtension, addressOf, ROLES, type Role, titleName } from '#session/identity';

export type AuthorityName = 'issuing' | 'system' | 'command';

const AUTHORITIES: Readonly<Record<AuthorityName, { readonly roles: readonly Role[]; readonly title: string }>> = {
  issuing: { roles: ['meter'], title: 'Meter issuing CA' },
  system: { roles: ['head-end', 'gateway'], title: 'System CA' },
  command: { roles: ['command'], title: 'Command CA' },
};
const NAMES = Object.keys(AUTHORITIES) as AuthorityName[];
const YEAR_S = 31_557_600;
/** A meter stays in place for ten years and some; what can be renewed from here lives shorter. */
const LIFE_S = {
  root: 30 * YEAR_S,
  authority: 25 * YEAR_S,
  meter: 15 * YEAR_S,
  system: 5 * YEAR_S,
  command: 2 * YEAR_S,
};
/** Clocks of others may be behind. */
const EARLY_S = 3_600;
const LIST_LIFE_S = YEAR_S;
const SERIAL_SIZE = 8;

interface RegisterEntry {
  readonly serial: string;
  readonly authority: AuthorityName;
  readonly name: string;
  /** Seconds since the Unix epoch. */
  readonly notAfter: number;
  revokedAt?: number;
  reason?: string;
}

/** What the head end believes and shows to others. */
export interface PublicPki {
  readonly root: Certificate;
  readonly authorities: readonly Certificate[];
  readonly lists: readonly RevocationList[];
  /** Certificates of this head end; none before `identify`. */
  readonly headEnd: readonly Certificate[];
  readonly commands: readonly Certificate[];
}

const keyId = (publicKey: Uint8Array): Uint8Array => nodeCrypto.hash('sha256', publicKey).subarray(0, 20);

export class UtilityPki {
  readonly folder: string;
  readonly #now: () => number;

  /** @param now  seconds since the Unix epoch */
  constructor(folder: string, now: () => number = () => Math.floor(Date.now() / 1000)) {
    this.folder = folder;
    this.#now = now;
  }

  file(name: string): string {
    return join(this.folder, name);
  }

  get exists(): boolean {
    return existsSync(this.file('command.crl'));
  }

  /** Makes root, authorities and empty lists. What is there already stays. @throws ConfigError */
  init(): void {
    mkdirSync(this.file('commands'), { recursive: true, mode: 0o700 });
    if (!existsSync(this.file('root.pem'))) {
      const key = makeKeyFile(this.file('root.key'));
      const name = encodeName(`S3MP Root ${toHex(nodeCrypto.random(4))}`);
      const roles = NAMES.flatMap((each) => AUTHORITIES[each].roles);
      this.#writeCertificates('root.pem', [this.#authority(name, key, roles, LIFE_S.root, 1)]);
    }
    this.#initRegister();
    for (const name of NAMES) {
      const { roles, title } = AUTHORITIES[name];
      if (!existsSync(this.file(`${name}.pem`))) {
        const key = makeKeyFile(this.file(`${name}.key`));
        const root = { key: this.#key('root'), certificate: this.root };
        const subject = encodeName(`S3MP ${title} ${toHex(nodeCrypto.random(4))}`);
        this.#writeCertificates(`${name}.pem`, [this.#authority(subject, key, roles, LIFE_S.authority, 0, root)]);
      }
      if (!existsSync(this.file(`${name}.crl`))) this.#writeList(name, 1);
    }
  }

  /** A register that is lost is not made anew, unless nothing can have been revoked. */
  #initRegister(): void {
    const hasRevoked = NAMES.some((name) => existsSync(this.file(`${name}.crl`)) && this.list(name).number > 1);
    if (!existsSync(this.file('register.json')) && !hasRevoked) this.#store([]);
  }

  #authority(
    subject: Uint8Array,
    key: KeyPair,
    roles: readonly Role[],
    lifeS: number,
    pathLength: number,
    issuer?: { readonly key: KeyPair; readonly certificate: Certificate },
  ): Certificate {
    const now = this.#now();
    const id = keyId(key.publicKey);
    const spec = {
      serial: newSerial(),
      issuer: issuer?.certificate.subject ?? subject,
      subject,
      notBefore: now - EARLY_S,
      notAfter: now + lifeS,
      publicKey: key.publicKey,
      keyUsage: AUTHORITY_USAGE,
      pathLength,
      purposes: roles.map((role) => ROLES[role]),
      subjectKeyId: id,
      authorityKeyId: issuer?.certificate.subjectKeyId ?? id,
    };
    return parseCertificate(encodeCertificate(spec, (issuer?.key ?? key).signing));
  }

  #key(name: AuthorityName | 'root'): KeyPair {
    const file = this.file(`${name}.key`);
    if (existsSync(file)) return readKeyPair(file);
    const why = name === 'root' ? 'put the root key back to make authorities' : 'run this where the key is';
    throw new ConfigError('config.unreadable', `${file} is not here: ${why}`, { file });
  }

  #writeCertificates(name: string, certificates: readonly Certificate[], lists: readonly RevocationList[] = []): void {
    const text = [
      ...certificates.map(({ der }) => pemText('CERTIFICATE', der)),
      ...lists.map(({ der }) => pemText('X509 CRL', der)),
    ];
    writeFileAtomic(this.file(name), text.join(''), 0o644);
  }

  #certificate(name: string): Certificate {
    const file = this.file(name);
    const [certificate] = readPemFile(file).certificates;
    if (!certificate) throw new ConfigError('config.invalid', `${file}: no certificate`, { file });
    return certificate;
  }

  get root(): Certificate {
    return this.#certificate('root.pem');
  }

  authority(name: AuthorityName): Certificate {
    return this.#certificate(`${name}.pem`);
  }

  list(name: AuthorityName): RevocationList {
    const file = this.file(`${name}.crl`);
    const [list] = readPemFile(file).lists;
    if (!list) throw new ConfigError('config.invalid', `${file}: no revocation list`, { file });
    return list;
  }

  // --- Issuing -----------------------------------------------------------------------------------------------------------

  #issue(
    name: AuthorityName,
    role: Role,
    commonName: string,
    publicKey: Uint8Array,
    keyUsage: number,
    lifeS: number,
    address?: ScionAddress,
  ): Certificate {
    const authority = this.authority(name);
    const now = this.#now();
    const serial = newSerial();
    const notAfter = Math.min(now + lifeS, authority.notAfter);
    const spec = {
      serial,
      issuer: authority.subject,
      subject: encodeName(commonName),
      notBefore: now - EARLY_S,
      notAfter,
      publicKey,
      keyUsage,
      purposes: [ROLES[role]],
      ...(address ? addressExtension(address) : {}),
      subjectKeyId: keyId(publicKey),
      authorityKeyId: authority.subjectKeyId!,
    };
    const der = encodeCertificate(spec, this.#key(name).signing);
    // On record before anybody has it.
    this.#record({ serial: toHex(serial), authority: name, name: commonName, notAfter });
    return parseCertificate(der);
  }

  /**
   * Issues a meter's certificate on its request.
   * @param title  what the meter said in the association that the code has opened
   * @throws S3mpError `certificate.refused` when the request is another's, or not signed with its key
   */
  issueMeter(request: CertificationRequest, title: Uint8Array, address: ScionAddress, keyUsage: number): Certificate {
    const named = addressOf(request);
    const refuse = (why: string): never => {
      throw new S3mpError('certificate.refused', `the meter's request is refused: ${why}`);
    };
    if (request.commonName !== titleName(title)) refuse('it names another system title');
    if (!named || formatAddress(named) !== formatAddress(address))
      refuse(`it names the address ${named ? formatAddress(named) : 'of nobody'}, not ${formatAddress(address)}`);
    if (!provesPossession(request, verifyCertified)) refuse('it is not signed with its own key');
    return this.#issue('issuing', 'meter', request.commonName, request.publicKey, keyUsage, LIFE_S.meter, address);
  }

  /** Makes keys and certificates of this head end where there are none for this title and address. */
  identify(title: Uint8Array, address: ScionAddress): void {
    const name = titleName(title);
    const held = existsSync(this.file('head-end.pem')) ? readPemFile(this.file('head-end.pem')).certificates : [];
    const isSame = ({ commonName, uris }: Certificate) =>
      commonName === name && uris[0] === addressExtension(address).uris?.[0];
    if (held.length === 2 && held.every(isSame)) return;
    const uses = [
      ['head-end-signing.key', KeyUsage.digitalSignature],
      ['head-end-agreement.key', KeyUsage.keyAgreement],
    ] as const;
    const made = uses.map(([file, usage]) => {
      const { publicKey } = existsSync(this.file(file)) ? readKeyPair(this.file(file)) : makeKeyFile(this.file(file));
      return this.#issue('system', 'head-end', name, publicKey, usage, LIFE_S.system, address);
    });
    this.#writeCertificates('head-end.pem', made);
  }

  /** Makes a command key with its certificate. @returns the two files @throws S3mpError when there is one of this name */
  commandKey(name: string): { readonly keyFile: string; readonly certificateFile: string } {
    if (!/^[\w-]{1,32}$/.test(name))
      throw new ConfigError('usage.invalid', `${name}: a command key's name has letters, digits, _ and - only`);
    const keyFile = this.file(`commands/${name}.key`);
    if (existsSync(keyFile)) throw new ConfigError('usage.invalid', `${keyFile} exists: take another name`);
    const { publicKey } = makeKeyFile(keyFile);
    const usage = KeyUsage.digitalSignature;
    const leaf = this.#issue('command', 'command', name, publicKey, usage, LIFE_S.command);
    const file = `commands/${name}.pem`;
    this.#writeCertificates(file, [leaf, this.authority('command')], [this.list('command')]);
    return { keyFile, certificateFile: this.file(file) };
  }

  /** Everything that is public. @throws ConfigError */
  read(): PublicPki {
    const folder = this.file('commands');
    const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.pem')) : [];
    const revoked = this.list('command').serials;
    return {
      root: this.root,
      authorities: NAMES.map((name) => this.authority(name)),
      lists: NAMES.map((name) => this.list(name)),
      headEnd: existsSync(this.file('head-end.pem')) ? readPemFile(this.file('head-end.pem')).certificates : [],
      commands: files
        .map((file) => this.#certificate(`commands/${file}`))
        .filter(({ serial, notAfter }) => !revoked.has(toHex(serial)) && notAfter > this.#now()),
    };
  }

  // --- Revoking ----------------------------------------------------------------------------------------------------------

  /** Revokes serial numbers of one authority. @returns the number of its list now */
  revoke(name: AuthorityName, serials: readonly Uint8Array[], reason: string): number {
    const wanted = new Set(serials.map((serial) => toHex(serial)));
    const register = this.#register();
    for (const entry of register) {
      if (entry.authority !== name || !wanted.has(entry.serial) || entry.revokedAt !== undefined) continue;
      entry.revokedAt = this.#now();
      entry.reason = reason;
    }
    this.#store(register);
    return this.#writeList(name, this.list(name).number + 1);
  }

  /** Revokes everything that an authority has issued under a name. @returns how many certificates that were */
  revokeName(name: AuthorityName, commonName: string, reason: string): number {
    const entries = this.#register().filter((each) => each.authority === name && each.name === commonName);
    const serials = entries.filter((each) => each.revokedAt === undefined).map(({ serial }) => fromHex(serial));
    if (serials.length > 0) this.revoke(name, serials, reason);
    return serials.length;
  }

  #writeList(name: AuthorityName, number: number): number {
    const now = this.#now();
    const authority = this.authority(name);
    const revoked = this.#register()
      // What has expired is believed by nobody anyway.
      .filter((each) => each.authority === name && each.revokedAt !== undefined && each.notAfter > now)
      .map(({ serial, revokedAt }) => ({ serial: fromHex(serial), at: revokedAt! }));
    const spec = {
      issuer: authority.subject,
      authorityKeyId: authority.subjectKeyId!,
      number,
      thisUpdate: now,
      nextUpdate: now + LIST_LIFE_S,
      revoked,
    };
    const list = parseRevocationList(encodeRevocationList(spec, this.#key(name).signing));
    this.#writeCertificates(`${name}.crl`, [], [list]);
    return number;
  }

  #register(): RegisterEntry[] {
    const file = this.file('register.json');
    const fail = (why: string, cause?: unknown) => {
      const message = `${file} ${why}: what it has revoked would be believed again; put it back from a backup`;
      throw new ConfigError('config.invalid', message, { file }, cause);
    };
    if (!existsSync(file)) fail('is missing');
    let register: unknown;
    try {
      register = JSON.parse(readTextFile(file));
    } catch (error) {
      fail('is broken', error);
    }
    if (!Array.isArray(register)) fail('is no list');
    return register as RegisterEntry[];
  }

  #record(entry: RegisterEntry): void {
    this.#store([...this.#register(), entry]);
  }

  #store(register: readonly RegisterEntry[]): void {
    writeFileAtomic(this.file('register.json'), `${JSON.stringify(register, null, 1)}\n`, 0o600);
  }
}

/** Random, positive, of full length. */
function newSerial(): Uint8Array {
  const serial = Uint8Array.from(nodeCrypto.random(SERIAL_SIZE));
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  return serial;
}
