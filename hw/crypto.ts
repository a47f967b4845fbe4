/**
 * The cryptography of `protocols/base/crypto.ts` by node:crypto. Keys are kept as KeyObjects, so that their bytes are
 * handed to OpenSSL once.
 */

import {
  createCipheriv,
  createDecipheriv,
  createECDH,
  createHash,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
} from 'node:crypto';
import { type CryptoProvider, GCM_TAG_SIZE, type GcmKey, type SigningKey, type VerifyKey } from '#base/crypto';

const TAG = { authTagLength: GCM_TAG_SIZE } as const;
const CURVE = 'prime256v1';
const WRAP_IV = Buffer.alloc(8, 0xa6);
/** r ‖ s instead of DER. */
const RAW = 'ieee-p1363';

class NodeGcmKey implements GcmKey {
  readonly #key: KeyObject;
  readonly #cipher: 'aes-128-gcm' | 'aes-256-gcm';

  constructor(key: Uint8Array) {
    this.#key = createSecretKey(key);
    this.#cipher = key.length === 32 ? 'aes-256-gcm' : 'aes-128-gcm';
  }

  seal(iv: Uint8Array, aad: Uint8Array, buf: Uint8Array, at: number, end: number): void {
    const cipher = createCipheriv(this.#cipher, this.#key, iv, TAG).setAAD(aad);
    buf.set(cipher.update(buf.subarray(at, end)), at);
    cipher.final();
    buf.set(cipher.getAuthTag(), end);
  }

  open(iv: Uint8Array, aad: Uint8Array, buf: Uint8Array, at: number, end: number): boolean {
    const decipher = createDecipheriv(this.#cipher, this.#key, iv, TAG).setAAD(aad);
    decipher.setAuthTag(buf.subarray(end, end + GCM_TAG_SIZE));
    const plain = decipher.update(buf.subarray(at, end));
    try {
      decipher.final();
    } catch {
      buf.fill(0, at, end);
      return false;
    }
    buf.set(plain, at);
    return true;
  }

  mac(iv: Uint8Array, aad: Uint8Array, buf: Uint8Array, at: number, end: number, out: Uint8Array, outAt: number): void {
    const cipher = createCipheriv(this.#cipher, this.#key, iv, TAG).setAAD(aad).setAAD(buf.subarray(at, end));
    cipher.final();
    out.set(cipher.getAuthTag(), outAt);
  }

  crypt(iv: Uint8Array, buf: Uint8Array, at: number, end: number): void {
    const cipher = createCipheriv(this.#cipher, this.#key, iv, TAG);
    buf.set(cipher.update(buf.subarray(at, end)), at);
  }
}

/** Verifies with a public key in any form that node:crypto reads. */
export function verifierOf(key: KeyObject): VerifyKey {
  return {
    verify: (message, signature) => {
      if (signature.length !== 64) return false;
      try {
        return verify('sha256', message, { key, dsaEncoding: RAW }, signature);
      } catch {
        return false;
      }
    },
  };
}

/** Signs with a private key in any form that node:crypto reads. */
export function signerOf(key: KeyObject): SigningKey {
  return { sign: (message) => sign('sha256', message, { key, dsaEncoding: RAW }) };
}

/** x coordinate of ECDH on P-256; undefined when the public key, 65 bytes, is no point of the curve. */
export type Agreement = (publicKey: Uint8Array) => Uint8Array | undefined;

/** Agrees with a private key that stays in OpenSSL. */
export function agreementOf(privateKey: KeyObject): Agreement {
  return (publicKey) => {
    try {
      return diffieHellman({ privateKey, publicKey: publicKeyOf(publicKey) });
    } catch {
      return undefined;
    }
  };
}

/** @param scalar  32 bytes */
export function privateKeyOf(scalar: Uint8Array): KeyObject {
  const ecdh = createECDH(CURVE);
  ecdh.setPrivateKey(scalar);
  const jwk = { ...coordinates(ecdh.getPublicKey()), d: Buffer.from(scalar).toString('base64url') };
  return createPrivateKey({ key: jwk, format: 'jwk' });
}

const publicKeyOf = (point: Uint8Array): KeyObject => createPublicKey({ key: coordinates(point), format: 'jwk' });

function coordinates(point: Uint8Array): { kty: 'EC'; crv: 'P-256'; x: string; y: string } {
  const part = (at: number) => Buffer.from(point.subarray(at, at + 32)).toString('base64url');
  return { kty: 'EC', crv: 'P-256', x: part(1), y: part(33) };
}

export const nodeCrypto: CryptoProvider = {
  random: (length) => randomBytes(length),
  gcmKey: (key) => new NodeGcmKey(key),
  hash: (name, message) => createHash(name).update(message).digest(),
  hkdf: (salt, secret, info, length) => new Uint8Array(hkdfSync('sha256', secret, salt, info, length)),
  unwrapKey(kek, wrapped) {
    try {
      const decipher = createDecipheriv(kek.length === 32 ? 'id-aes256-wrap' : 'id-aes128-wrap', kek, WRAP_IV);
      return Buffer.concat([decipher.update(wrapped), decipher.final()]);
    } catch {
      return undefined;
    }
  },
  signingKey: (privateKey) => signerOf(privateKeyOf(privateKey)),
  verifyKey: (publicKey) => verifierOf(publicKeyOf(publicKey)),
};
