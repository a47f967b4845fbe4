/**
 * Files of DLMS keys. One TOML file of hexadecimal values per meter, mode 0600, the same for the meter and its head end,
 * who each read what is theirs:
 *
 *   suite = 0                      0, or 1 for signatures instead of tags in the handshake
 *   unicast = "…"                  global unicast encryption key, 16 bytes
 *   authentication = "…"           authentication key
 *   master = "…"                   wraps new keys in a transfer; optional at the head end
 *   broadcast = "…"                optional
 *   signing = "…" peer = "…"       suite 1: own private key (32 bytes), the other side's public one (65 bytes)
 *
 * Command keys are PEM files. The head end has the private one. The meter has the public one, or a command certificate
 * with the authorities and revocation lists that lead from it to a root.
 */

import { createPrivateKey, createPublicKey } from 'node:crypto';
import { parse } from 'smol-toml';
import { fromHex, toHex } from '#base/bytes';
import type { SigningKey, VerifyKey } from '#base/crypto';
import { ConfigError, invalidFile, messageOf } from '#base/errors';
import { isSameCertificate, KeyUsage } from '#base/x509';
import type { KeySet } from '#dlms/security';
import { nodeCrypto, signerOf, verifierOf } from '#hw/crypto';
import { readSecretFile, readTextFile, writeFileAtomic } from '#hw/files';
import { parsePem, readPemFile, verifyCertified } from '#hw/pki-files';
import { Trust, type TrustTime } from '#session/trust';

export interface KeyFile {
  readonly suite: 0 | 1;
  readonly keys: KeySet;
  /** Policy that a client has raised; undefined for the default. */
  readonly policy: number | undefined;
  readonly signing: SigningKey | undefined;
  readonly peer: VerifyKey | undefined;
}

const SIZES: Readonly<Record<string, number>> = {
  unicast: 16,
  authentication: 16,
  master: 16,
  broadcast: 16,
  signing: 32,
  peer: 65,
};

/** @throws ConfigError `config.unreadable`, or `config.invalid` without any key in its text */
export function readKeyFile(file: string): KeyFile {
  const text = new TextDecoder().decode(readSecretFile(file));
  let table: Record<string, unknown>;
  try {
    table = parse(text);
  } catch {
    throw invalidFile(file, 'not a TOML file');
  }
  const key = (name: string): Uint8Array | undefined => {
    const value = table[name];
    if (value === undefined) return undefined;
    const size = SIZES[name]!;
    if (typeof value !== 'string' || !/^[0-9a-f]*$/i.test(value) || value.length !== 2 * size)
      throw invalidFile(file, `${name} must be ${size} bytes in hexadecimal`);
    return fromHex(value);
  };
  const needed = (name: string): Uint8Array => {
    const value = key(name);
    if (!value) throw invalidFile(file, `${name} is missing`);
    return value;
  };
  const unknown = Object.keys(table).find((name) => !(name in SIZES) && name !== 'suite' && name !== 'policy');
  if (unknown) throw invalidFile(file, `unknown key ${unknown}`);
  const { suite = 0, policy } = table;
  if (suite !== 0 && suite !== 1) throw invalidFile(file, 'suite is 0 or 1');
  const unicast = needed('unicast');
  const signing = suite === 1 ? needed('signing') : undefined;
  const peer = suite === 1 ? needed('peer') : undefined;
  try {
    return {
      suite,
      keys: {
        unicast,
        authentication: needed('authentication'),
        master: key('master') ?? nodeCrypto.random(unicast.length),
        broadcast: key('broadcast'),
      },
      policy: typeof policy === 'number' ? policy & 3 : undefined,
      signing: signing && nodeCrypto.signingKey(signing),
      peer: peer && nodeCrypto.verifyKey(peer),
    };
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw invalidFile(file, 'signing and peer are keys of P-256');
  }
}

/** The lines of a key file. */
export function keyFileText(keys: KeySet, more: Readonly<Record<string, number>> = {}): string {
  const numbers = Object.entries(more).map(([name, value]) => `${name} = ${value}\n`);
  const values = Object.entries(keys).flatMap(([name, value]) => (value ? [`${name} = "${toHex(value)}"\n`] : []));
  return [...numbers, ...values].join('');
}

/** @throws ConfigError `config.unreadable` */
export function writeKeyFile(file: string, keys: KeySet, more: Readonly<Record<string, number>> = {}): void {
  writeFileAtomic(file, keyFileText(keys, more), 0o600);
}

/**
 * Reads who may sign commands: a public key that is believed as it is, or a command certificate that is judged anew for
 * each command.
 * @param rootFile  root of the certificate (PEM)
 * @throws ConfigError, also for a certificate that is not believed now
 */
export function readCommandVerifier(
  file: string,
  rootFile?: string,
  time: () => TrustTime = () => ({ nowS: Math.floor(Date.now() / 1000), isLowerBound: false }),
): VerifyKey {
  const text = readTextFile(file);
  const { certificates, lists } = parsePem(text, file);
  const [leaf, ...authorities] = certificates;
  try {
    if (!leaf) return verifierOf(createPublicKey(text));
  } catch (error) {
    throw invalidFile(file, `no public key: ${messageOf(error)}`);
  }
  const [root] = rootFile === undefined ? [] : readPemFile(rootFile).certificates;
  if (!root) throw invalidFile(file, 'a command certificate needs its root, dlms.root_file');
  const trust = new Trust({ verifyKey: verifyCertified, roles: [] });
  const judge = () => trust.judge(leaf, 'command', KeyUsage.digitalSignature, time());
  const faults = [
    trust.pin(root),
    ...authorities.filter((each) => !isSameCertificate(each, root)).map((each) => trust.add(each, time())),
    ...lists.map((list) => trust.takeList(list)),
    judge(),
  ];
  const fault = faults.find((each) => each !== null);
  if (fault) throw invalidFile(file, `the certificate is not believed: ${fault}`);
  const key = verifyCertified(leaf.publicKey);
  return { verify: (message, signature) => key.verify(message, signature) && judge() === null };
}

/** Reads the key that signs commands, PEM, mode 0600. @throws ConfigError */
export function readCommandSigner(file: string): SigningKey {
  const text = Buffer.from(readSecretFile(file));
  try {
    return signerOf(createPrivateKey(text));
  } catch {
    throw invalidFile(file, 'no private key');
  }
}
