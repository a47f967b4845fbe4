/** The server's part of high-level authentication that is bytes: its challenge, and reading the client's answer to it. */

import { equalBytes } from '#base/bytes';
import { decoded } from '#base/errors';
import { ApduTag, Descriptor } from '#dlms/apdu';
import { readOctets, Tag } from '#dlms/axdr';
import { CHALLENGE_SIZE } from '#dlms/hls';
import type { ByteReader } from '#dlms/reader';

const ASSOCIATION_CLASS = 15;
const REPLY_TO_HLS = 1;
/** 0-0:40.0.0.255 */
const CURRENT_ASSOCIATION = Uint8Array.of(0, 0, 40, 0, 0, 255);

/** A challenge that is not the client's own: else it could be made to answer itself. */
export function freshChallenge(random: (length: number) => Uint8Array, theirs: Uint8Array): Uint8Array {
  for (;;) {
    const challenge = random(CHALLENGE_SIZE);
    if (!equalBytes(challenge, theirs)) return challenge;
  }
}

/** Reads the ACTION reply_to_HLS_authentication of the current association; undefined when it is anything else. */
export function readReplyToHls(r: ByteReader): { readonly invoke: number; readonly proof: Uint8Array } | undefined {
  return decoded(() => {
    if (r.u8('tag') !== ApduTag.actionRequest || r.u8('choice') !== 1) return undefined;
    const invoke = r.u8('invoke id');
    const { classId, lnAt, id } = new Descriptor().read(r);
    const isCurrent = equalBytes(r.buf.subarray(lnAt, lnAt + 6), CURRENT_ASSOCIATION);
    if (classId !== ASSOCIATION_CLASS || id !== REPLY_TO_HLS || !isCurrent) return undefined;
    r.expect(1, 'parameter');
    r.expect(Tag.octetString, 'answer to the challenge');
    const proof = readOctets(r, 'answer to the challenge').slice();
    r.expectEnd('answer to the challenge');
    return { invoke, proof };
  });
}
