/**
 * Client side of image transfer (class 18, IEC 62056-6-2, the seven steps): prepares, sends the blocks that the server does
 * not have, has the image verified, and activates it. Begun again after a lost connection it goes on where the server is.
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
  /** Name of the image at the server, at most 64 bytes. */
  readonly id: Uint8Array;
  readonly bytes: Uint8Array;
  /** Told after each block. */
  readonly onProgress?: (sent: number, blocks: number) => void;
}

/**
 * Transfers an image and has it verified; nothing is started by that.
 * @throws DlmsError `dlms.refused` when the server does not want it, `dlms.unexpected-answer` when its values make no sense
 */
export function* sendImage(client: DlmsClient, { id, bytes, onProgress }: ImageToSend): Exchange<void> {
  const enabled = yield* client.get(attribute(5));
  if (enabled.type !== 'boolean' || !enabled.value)
    throw new DlmsError('dlms.refused', 'image transfer is not enabled at the meter (class 18, attribute 5)');
  const blockSize = yield* readNumber(client, 2);
  if (blockSize < 1) throw new DlmsError('dlms.unexpected-answer', `the meter's image blocks have ${blockSize} bytes`);
  const blocks = Math.ceil(bytes.length / blockSize);
  yield* client.action(method(1), structure(octets(id), u32(bytes.length)));
  let sent = 0;
  for (let round = 0; ; round++) {
    const first = yield* readNumber(client, 4);
    if (first >= blocks) break;
    if (round === MAX_ROUNDS) throw new DlmsError('dlms.refused', `block ${first} of the image does not stay`);
    const has = yield* client.get(attribute(3));
    if (has.type !== 'bit-string')
      throw new DlmsError('dlms.unexpected-answer', 'the status of blocks is no bit string');
    // The answer's bytes are gone with the next request.
    const known = has.value.slice();
    for (let block = first; block < blocks; block++) {
      if ((known[block >>> 3]! & (0x80 >>> (block & 7))) !== 0) continue;
      const data = bytes.subarray(block * blockSize, (block + 1) * blockSize);
      yield* client.action(method(2), structure(u32(block), octets(data)));
      onProgress?.(++sent, blocks);
    }
  }
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
