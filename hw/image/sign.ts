/**
 * `npm run image`: firmware images for the offline release key. Belongs on a machine that is not on the network.
 *
 *   keygen KEY                     makes a key pair: KEY (private, 0600) and KEY.pub for the meters
 *   sign KEY BUNDLE OUT            an image of dist/firmware.js; --version, --minimum, --model
 *   show FILE [--key KEY.pub]      what an image says of itself, and whether the signature holds
 */

import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { toHex } from '#base/bytes';
import { ConfigError, messageOf } from '#base/errors';
import { reportError } from '#hw/cli';
import { nodeCrypto, signerOf, verifierOf } from '#hw/crypto';
import { readSecretFile } from '#hw/files';
import { decodeFirmwareImage, encodeFirmwareImage, parseVersion, verifyFirmwareImage } from '#session/firmware-image';

const HELP = `image ${S3MP_VERSION}: signed firmware images

usage: npm run image -- keygen KEY
       npm run image -- sign KEY BUNDLE OUT [--version 1.2.3] [--minimum 0.1.0] [--model s3mp-meter]
       npm run image -- show FILE [--key KEY.pub]

KEY is the release key: keep it off the network. KEY.pub goes onto the meters (image.release_key_file; flash takes it as
release.pem from its folder of keys).
`;

const usage = (message: string) => new ConfigError('usage.invalid', `${message}; --help shows how`);

function version(text: string, flag: string) {
  const parsed = parseVersion(text);
  if (!parsed) throw usage(`--${flag} ${text}: expected a version like 1.2.3`);
  return parsed;
}

/** @throws ConfigError */
function read(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new ConfigError('config.unreadable', `cannot read ${file}: ${messageOf(error)}`, { file }, error);
  }
}

function keygen(file: string): void {
  if (existsSync(file)) throw usage(`${file} exists and is not replaced`);
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  writeFileSync(`${file}.pub`, publicKey.export({ type: 'spki', format: 'pem' }));
  process.stdout.write(`${file} signs, ${file}.pub goes onto the meters\n`);
}

function sign(keyFile: string, bundle: string, out: string, flags: Readonly<Record<string, string | undefined>>): void {
  const content = read(bundle);
  const pem = Buffer.from(readSecretFile(keyFile));
  let signer: ReturnType<typeof signerOf>;
  try {
    signer = signerOf(createPrivateKey(pem));
  } catch {
    throw new ConfigError('config.invalid', `${keyFile}: no private key`, { file: keyFile });
  }
  const manifest = {
    model: flags.model ?? 's3mp-meter',
    version: version(flags.version ?? S3MP_VERSION, 'version'),
    minimum: version(flags.minimum ?? '0.0.0', 'minimum'),
  };
  const image = encodeFirmwareImage(manifest, content, signer, nodeCrypto);
  writeFileSync(out, image);
  process.stdout.write(`${out}: ${manifest.model} ${manifest.version.join('.')}, ${image.length} bytes\n`);
}

function show(file: string, keyFile: string | undefined): void {
  const image = decodeFirmwareImage(read(file));
  const line = (name: string, value: string) => process.stdout.write(`${name.padEnd(10)} ${value}\n`);
  line('model', image.model);
  line('version', image.version.join('.'));
  line('minimum', image.minimum.join('.'));
  line('content', `${image.content.length} bytes, SHA-256 ${toHex(image.digest)}`);
  if (keyFile === undefined) {
    line('signature', 'not checked: give --key');
    return;
  }
  const key = verifierOf(createPublicKey(Buffer.from(read(keyFile)).toString('utf8')));
  const refusal = verifyFirmwareImage(image, key, nodeCrypto);
  if (refusal) throw new ConfigError('config.invalid', `${file}: its ${refusal} is wrong`, { file });
  line('signature', 'holds');
}

function main(argv: readonly string[]): void {
  const text = { type: 'string' } as const;
  let parsed: ReturnType<typeof parseArgs>;
  try {
    parsed = parseArgs({
      args: [...argv],
      options: { version: text, minimum: text, model: text, key: text, help: { type: 'boolean' } },
      allowPositionals: true,
    });
  } catch (error) {
    throw usage(messageOf(error));
  }
  const flags = parsed.values as Readonly<Record<string, string | undefined>>;
  const [verb, ...files] = parsed.positionals;
  if (flags.help) process.stdout.write(HELP);
  else if (verb === 'keygen' && files.length === 1) keygen(files[0]!);
  else if (verb === 'sign' && files.length === 3) sign(files[0]!, files[1]!, files[2]!, flags);
  else if (verb === 'show' && files.length === 1) show(files[0]!, flags.key);
  else throw usage('expected keygen KEY, sign KEY BUNDLE OUT, or show FILE');
}

try {
  main(process.argv.slice(2));
} catch (error) {
  process.exitCode = reportError('image', error, false);
}
