/**
 * Client side of image transfer (class 18, IEC 62056-6-2, the seven steps): prepares, sends the blocks that the server does
 * not have, has the image verified, and activates it. Begun again after a lost connection it goes on where the server is.
 * A transfer may be interrupted between blocks by other requests of the same association.
 */

import { DlmsError } from '#base/errors';
import type { DlmsClient } from '#dlms/client';
import { numberOf } from '#dlms/client-answers';
import { IMAGE_TRANSFER, ImageStatus } from '#dlms/cosem/image-transfer';
import { octets, structure, u32 } from '#dlms/cosem/setting';
import type { Exchange } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';

const CLASS = 18;
const ln = parseObis(IMAGE_TRANSFER);
const attribute = (id: number) => ({ classId: CLASS, ln, attribute: id });
const method = (id: number) => ({ classId: CLASS, ln, method: id });
const ACTIVATE = method(4);
/** Rounds of looking for blocks that are missing. */
const MAX_ROUNDS = 3;

export interface ImageToSend {
  /** Name of the image at the server, at most 64 bytes; the same name and size go on with the same transfer. */
  readonly id: Uint8Array;
  readonly bytes: Uint8Array;
}

/** A transfer in pieces, so that other requests get their turn in between. */
export class ImageSending {
  /** Blocks of the image, 0 before the server has told their size. */
  blocks = 0;
  readonly #image: ImageToSend;
  #blockSize = 0;
  /** What the server has, one bit per block; undefined before it was asked. */
  #known: Uint8Array | undefined;
  #next = 0;
  #left = 0;
  #rounds = 0;

  constructor(image: ImageToSend) {
    this.#image = image;
  }

  /** Blocks that the server has, as far as is known. */
  get stored(): number {
    return this.blocks - this.#left;
  }

  /** Asks the server again what it has, as after a lost connection or its restart. */
  reset(): void {
    this.#known = undefined;
    this.#rounds = 0;
  }

  /**
   * Sends blocks that the server does not have.
   * @param count  at most so many
   * @returns whether the server has all of them
   * @throws DlmsError `dlms.refused` when the server does not want the image, `dlms.unexpected-answer` when its values make
   *   no sense
   */
  *send(client: DlmsClient, count: number): Exchange<boolean> {
    if (!this.#known) yield* this.#begin(client);
    for (let sent = 0; ; ) {
      if (this.#next >= this.blocks && (yield* this.#look(client))) return true;
      for (; this.#next < this.blocks; this.#next++) {
        if (this.#has(this.#next)) continue;
        if (sent === count) return false;
        const at = this.#next * this.#blockSize;
        const data = this.#image.bytes.subarray(at, at + this.#blockSize);
        yield* client.action(method(2), structure(u32(this.#next), octets(data)));
        this.#left--;
        sent++;
      }
    }
  }

  *#begin(client: DlmsClient): Exchange<void> {
    const { id, bytes } = this.#image;
    const enabled = yield* client.get(attribute(5));
    if (enabled.type !== 'boolean' || !enabled.value)
      throw new DlmsError('dlms.refused', 'image transfer is not enabled at the meter (class 18, attribute 5)');
    this.#blockSize = yield* readNumber(client, 2);
    if (this.#blockSize < 1)
      throw new DlmsError('dlms.unexpected-answer', `the meter's image blocks have ${this.#blockSize} bytes`);
    this.blocks = Math.ceil(bytes.length / this.#blockSize);
    yield* client.action(method(1), structure(octets(id), u32(bytes.length)));
    this.#next = this.blocks;
    this.#left = this.blocks;
  }

  /** Finds the blocks that are missing. @returns whether none is */
  *#look(client: DlmsClient): Exchange<boolean> {
    const first = yield* readNumber(client, 4);
    this.#left = 0;
    if (first >= this.blocks) return true;
    if (this.#rounds++ === MAX_ROUNDS) throw new DlmsError('dlms.refused', `block ${first} of the image does not stay`);
    const has = yield* client.get(attribute(3));
    if (has.type !== 'bit-string')
      throw new DlmsError('dlms.unexpected-answer', 'the status of blocks is no bit string');
    // The answer's bytes are gone with the next request.
    this.#known = has.value.slice();
    for (let block = first; block < this.blocks; block++) if (!this.#has(block)) this.#left++;
    this.#next = first;
    return false;
  }

  #has(block: number): boolean {
    return (this.#known![block >>> 3]! & (0x80 >>> (block & 7))) !== 0;
  }
}

/**
 * Transfers an image and has it verified; nothing is started by that.
 * @param onProgress  told after each block
 * @throws DlmsError as `ImageSending.send` and `verifyImage`
 */
export function* sendImage(
  client: DlmsClient,
  image: ImageToSend & { readonly onProgress?: (stored: number, blocks: number) => void },
): Exchange<void> {
  const sending = new ImageSending(image);
  while (!(yield* sending.send(client, 1))) image.onProgress?.(sending.stored, sending.blocks);
  image.onProgress?.(sending.stored, sending.blocks);
  yield* verifyImage(client);
}

/** Has the image judged that was transferred. @throws DlmsError `dlms.refused` when it is not one for this meter */
export function* verifyImage(client: DlmsClient): Exchange<void> {
  yield* client.action(method(3));
  const status = yield* readNumber(client, 6);
  if (status !== ImageStatus.verified)
    throw new DlmsError('dlms.refused', `the meter has not verified the image, status ${status}`);
}

/** Starts the verified image: the meter answers, then starts anew. The request is one to be signed. */
export function* activateImage(client: DlmsClient): Exchange<void> {
  yield* client.action(ACTIVATE);
}

/** What became of the last image, one of `ImageStatus`. */
export function* readImageStatus(client: DlmsClient): Exchange<number> {
  return yield* readNumber(client, 6);
}

function* readNumber(client: DlmsClient, id: number): Exchange<number> {
  const value = numberOf(yield* client.get(attribute(id)));
  if (value === null)
    throw new DlmsError('dlms.unexpected-answer', `attribute ${id} of the image transfer is no number`);
  return value;
}
