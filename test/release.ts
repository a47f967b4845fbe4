/** Firmware images for tests: the bundle as a later release would be, signed by a release key of the test. */

import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';
import { nodeCrypto, signerOf } from '#hw/crypto';
import { encodeFirmwareImage, parseVersion } from '#session/firmware-image';

export interface ReleaseKey {
  readonly privateKey: KeyObject;
  /** PEM. */
  readonly publicKey: string;
}

export function makeReleaseKey(): ReleaseKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { privateKey, publicKey: String(publicKey.export({ type: 'spki', format: 'pem' })) };
}

/** Version of a firmware bundle. */
export function versionOf(bundle: string): string {
  return /s3mp-firmware \$\{"([\d.]+)"\}|s3mp-firmware ([\d.]+)/.exec(bundle)?.slice(1).find(Boolean) ?? '0.1.0';
}

/** The bundle as a later release would be: the same with another version. */
export function bundleOf(file: string, version: string): string {
  const code = readFileSync(file, 'utf8');
  const later = code.replaceAll(versionOf(code), version);
  assert.is.not(later, code);
  return later;
}

export function imageOf(version: string, code: string, key: KeyObject, more: { model?: string } = {}): Uint8Array {
  const manifest = { model: 's3mp-meter', version: parseVersion(version)!, minimum: parseVersion('0.0.1')!, ...more };
  return encodeFirmwareImage(manifest, Buffer.from(code), signerOf(key), nodeCrypto);
}
