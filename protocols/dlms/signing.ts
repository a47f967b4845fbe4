/**
 * Signed commands: general-signing (IEC 62056-5-3 §7.3.15) with ECDSA P-256 over one service request.
 *
 *   DF | 08 number | 08 originator's title | 08 meter's title | 00 | L not-before u32 ‖ expiry u32 ‖ reason | L content | 40 r ‖ s
 *
 * The signature covers every header field with its length, and the content. The transaction number only grows, so a
 * command is carried out once; times are seconds since the Unix epoch; the reason is text for the event log. The
 * date-time field stays empty. Only requests are signed here, answers are not.
 */

import { readU32, readU64 } from '#base/bytes';
import type { SigningKey, VerifyKey } from '#base/crypto';
import { DecodeError, DlmsError } from '#base/errors';
import { decodeUtf8, encodeUtf8 } from '#base/utf8';
import { ApduTag } from '#dlms/apdu';
import { readOctets, writeOctets } from '#dlms/axdr';
import { TITLE_SIZE } from '#dlms/cipher';
import type { ByteReader } from '#dlms/reader';
import { Result } from '#dlms/result';
import type { ByteWriter } from '#dlms/writer';

export const GENERAL_SIGNING = 0xdf;
const SIGNATURE_SIZE = 64;
const TIMES_SIZE = 8;
const MAX_REASON = 64;

export interface SignedCommand {
  /** Grows from command to command; below 2^48. */
  readonly number: number;
  /** Title of the one who signs, 8 bytes. */
  readonly originator: Uint8Array;
  /** System title of the meter that shall obey, 8 bytes. */
  readonly recipient: Uint8Array;
  /** Seconds since the Unix epoch. */
  readonly notBefore: number;
  readonly expiry: number;
  /** At most 64 bytes of UTF-8. */
  readonly reason: string;
  /** The plain service request. */
  readonly content: Uint8Array;
}

function writeHeader(w: ByteWriter, command: SignedCommand): void {
  const reason = encodeUtf8(command.reason);
  if (reason.length > MAX_REASON)
    throw new DlmsError('encode.out-of-range', `reason of ${reason.length} bytes exceeds ${MAX_REASON}`);
  w.u8(8).u64(BigInt(command.number));
  writeOctets(w, command.originator);
  writeOctets(w, command.recipient);
  w.u8(0);
  w.u8(TIMES_SIZE + reason.length)
    .u32(command.notBefore)
    .u32(command.expiry)
    .bytes(reason);
}

function messageOf(header: Uint8Array, content: Uint8Array): Uint8Array {
  const message = new Uint8Array(header.length + content.length);
  message.set(header);
  message.set(content, header.length);
  return message;
}

/** Writes the signed form of a request. @throws DlmsError `encode.out-of-range` for a long reason */
export function encodeSigned(w: ByteWriter, command: SignedCommand, key: SigningKey): void {
  w.u8(GENERAL_SIGNING);
  const headerAt = w.at;
  writeHeader(w, command);
  const header = w.buf.subarray(headerAt, w.at);
  const { content } = command;
  if (!w.overflowed) writeOctets(writeOctets(w, content), key.sign(messageOf(header, content)));
}

/** A signed request that was read; its content is a view. */
export interface ReceivedCommand extends SignedCommand {
  /** What the signature covers. */
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
}

/** @throws DecodeError */
export function decodeSigned(r: ByteReader): ReceivedCommand {
  r.expect(GENERAL_SIGNING, 'signed request');
  const headerAt = r.at;
  const field = (what: string, size: number) => {
    const at = r.at;
    const octets = readOctets(r, what);
    if (octets.length !== size) throw new DecodeError(what, at, `${size} bytes`);
    return octets;
  };
  const number = readU64(field('command number', 8), 0);
  const originator = field('originator', TITLE_SIZE);
  const recipient = field('recipient', TITLE_SIZE);
  field('date-time', 0);
  const otherAt = r.at;
  const other = readOctets(r, 'validity and reason');
  const reason = decodeUtf8(other.subarray(TIMES_SIZE));
  if (other.length < TIMES_SIZE || other.length > TIMES_SIZE + MAX_REASON || reason === undefined)
    throw new DecodeError('validity and reason', otherAt, 'two times and at most 64 bytes of text');
  const header = r.buf.subarray(headerAt, r.at);
  const contentAt = r.at;
  const content = readOctets(r, 'signed content');
  if (content.length < 3 || number >= 1n << 48n) throw new DecodeError('signed content', contentAt, 'a request');
  const signature = field('signature', SIGNATURE_SIZE);
  r.expectEnd('signed request');
  return {
    number: Number(number),
    originator,
    recipient,
    notBefore: readU32(other, 0),
    expiry: readU32(other, 4),
    reason,
    content,
    message: messageOf(header, content),
    signature,
  };
}

/** Why a signed command is not obeyed. */
export type CommandRefusal = 'signature' | 'recipient' | 'clock' | 'not-yet' | 'expired' | 'replayed';

/** Whom a device lets command it. */
export interface CommandAuthority {
  /** Keys of command certificates. */
  readonly keys: readonly VerifyKey[];
  /** Own system title. */
  readonly title: Uint8Array;
  /** Takes a number that is above every earlier one, on the medium before it returns. */
  readonly accept: (number: number) => boolean;
}

/**
 * Judges a signed command; takes its number when everything else holds.
 * @param epochS  seconds since the Unix epoch, undefined when the clock is not set
 */
export function judgeCommand(
  command: ReceivedCommand,
  { keys, title, accept }: CommandAuthority,
  epochS: number | undefined,
): CommandRefusal | null {
  if (!keys.some((key) => key.verify(command.message, command.signature))) return 'signature';
  if (!command.recipient.every((byte, i) => byte === title[i])) return 'recipient';
  if (epochS === undefined) return 'clock';
  if (epochS < command.notBefore) return 'not-yet';
  if (epochS > command.expiry) return 'expired';
  return accept(command.number) ? null : 'replayed';
}

/** Refuses a signed service that must not run: its security is below what the access right asks for. */
export function encodeCommandRefusal(w: ByteWriter, request: Uint8Array): void {
  const { getResponse, setResponse, actionResponse } = ApduTag;
  const [tag, , invoke = 0] = request;
  if (tag === ApduTag.actionRequest) w.u8(actionResponse).u8(1).u8(invoke).u8(Result.scopeOfAccessViolated).u8(0);
  else if (tag === ApduTag.setRequest) w.u8(setResponse).u8(1).u8(invoke).u8(Result.scopeOfAccessViolated);
  else w.u8(getResponse).u8(1).u8(invoke).u8(1).u8(Result.scopeOfAccessViolated);
}
