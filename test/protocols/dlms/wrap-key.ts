import { createCipheriv } from 'node:crypto';

/** AES key wrap (RFC 3394), as whoever manages a meter's keys does it. */
export function wrapKey(kek: Uint8Array, key: Uint8Array): Uint8Array {
  const cipher = createCipheriv(kek.length === 32 ? 'id-aes256-wrap' : 'id-aes128-wrap', kek, Buffer.alloc(8, 0xa6));
  return Buffer.concat([cipher.update(key), cipher.final()]);
}
