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
 * Command keys are PEM files: private at the head end, public or a certificate at the meter.
 */

import { createPrivateKey, createPublicKey } from 'node:crypto';
import { parse } from 'smol-toml';
import { fromHex, toHex } from '#base/bytes';
import type { SigningKey, VerifyKey } from '#base/crypto';
import { ConfigError, messageOf } from '#base/errors';
import type { KeySet } from '#dlms/security';
import { nodeCrypto, signerOf, verifierOf } from '#hw/crypto';
import { readSecretFile, readTextFile, writeFileAtomic } from '#hw/files';

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
    throw new ConfigError('config.invalid', `${file}: not a TOML file`, { file });
  }
  const key = (name: string): Uint8Array | undefined => {
    const value = table[name];
    if (value === undefined) return undefined;
    const size = SIZES[name]!;
    if (typeof value !== 'string' || !/^[0-9a-f]*$/i.test(value) || value.length !== 2 * size)
      throw new ConfigError('config.invalid', `${file}: ${name} must be ${size} bytes in hexadecimal`, { file });
    return fromHex(value);
  };
  const needed = (name: string): Uint8Array => {
    const value = key(name);
    if (!value) throw new ConfigError('config.invalid', `${file}: ${name} is missing`, { file });
    return value;
  };
  const unknown = Object.keys(table).find((name) => !(name in SIZES) && name !== 'suite' && name !== 'policy');
  if (unknown) throw new ConfigError('config.invalid', `${file}: unknown key ${unknown}`, { file });
  const { suite = 0, policy } = table;
  if (suite !== 0 && suite !== 1) throw new ConfigError('config.invalid', `${file}: suite is 0 or 1`, { file });
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
    throw new ConfigError('config.invalid', `${file}: signing and peer are keys of P-256`, { file });
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

/** Reads who may sign commands: a public key or a certificate, PEM. @throws ConfigError */
export function readCommandVerifier(file: string): VerifyKey {
  const text = readTextFile(file);
  try {
    return verifierOf(createPublicKey(text));
  } catch (error) {
    throw new ConfigError('config.invalid', `${file}: no public key: ${messageOf(error)}`, { file });
  }
}

/** Reads the key that signs commands, PEM, mode 0600. @throws ConfigError */
export function readCommandSigner(file: string): SigningKey {
  const text = Buffer.from(readSecretFile(file));
  try {
    return signerOf(createPrivateKey(text));
  } catch {
    throw new ConfigError('config.invalid', `${file}: no private key`, { file });
  }
}
