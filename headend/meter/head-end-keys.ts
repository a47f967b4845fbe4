/**
 * What a head end ciphers and signs with. Its system title is "S3H", a number of this head end among those that share keys,
 * and the number of this start, which is never used twice: so each start counts from 1 and no two can share a nonce.
 */

import { asciiBytes, writeU32 } from '#base/bytes';
import type { SigningKey } from '#base/crypto';
import { S3mpError } from '#base/errors';
import { Mechanism } from '#dlms/acse';
import type { RequestSigner } from '#dlms/client-frames';
import { type ClientSecurityOptions, MemoryCounter } from '#dlms/client-security';
import { encodeSigned } from '#dlms/signing';
import { ByteWriter } from '#dlms/writer';
import { openCounterFile } from '#hw/counter-store';
import { nodeCrypto } from '#hw/crypto';
import type { KeyFile } from '#hw/dlms-keys';

/** Meters' clocks may be behind by this much, and a command may take this long. */
const EARLY_S = 120;
const VALID_S = 300;
const MAX_REQUEST = 2048;

/**
 * Takes the title of this start.
 * @param file  remembers the starts
 * @param instance  0…255, different in each head end that has the same meters' keys
 * @throws ConfigError when the file cannot be used; S3mpError when it cannot be written
 */
export function takeHeadEndTitle(file: string, instance: number): Uint8Array {
  const { book, close } = openCounterFile(file);
  const start = book.command + 1;
  const isTaken = start <= 0xffff_ffff && book.acceptCommand(start);
  close();
  if (!isTaken) throw new S3mpError('config.unreadable', `${file} does not take the number of this start`, { file });
  const title = new Uint8Array(8);
  title.set(asciiBytes('S3H'));
  title[3] = instance;
  writeU32(title, 4, start);
  return title;
}

/** Security of the association with one meter. */
export function meterKeys(title: Uint8Array, { suite, keys, signing, peer }: KeyFile): ClientSecurityOptions {
  return {
    crypto: nodeCrypto,
    mechanism: suite === 1 ? Mechanism.ecdsa : Mechanism.gmac,
    suite,
    title,
    unicast: keys.unicast,
    authentication: keys.authentication,
    counter: new MemoryCounter(),
    ...(signing ? { signing } : {}),
    ...(peer ? { serverKey: peer } : {}),
  };
}

/** Signs the commands of this head end. */
export class CommandSigner {
  readonly #key: SigningKey;
  readonly #title: Uint8Array;
  #number = 0;

  constructor(key: SigningKey, title: Uint8Array) {
    this.#key = key;
    this.#title = title;
  }

  /** A signer of one operation. @param reason  at most 64 bytes of text for the meter's log */
  sign(reason: string): RequestSigner {
    return (content, recipient) => {
      const now = Date.now();
      // Times serve as numbers: they grow, also over restarts.
      this.#number = Math.max(this.#number + 1, now);
      const w = new ByteWriter(new Uint8Array(MAX_REQUEST));
      const seconds = Math.floor(now / 1000);
      const command = {
        number: this.#number,
        originator: this.#title,
        recipient,
        notBefore: seconds - EARLY_S,
        expiry: seconds + VALID_S,
        reason,
        content,
      };
      encodeSigned(w, command, this.#key);
      return w.written();
    };
  }
}
