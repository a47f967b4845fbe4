/**
 * Every decoder of DLMS behind one signature, so that a fuzz test can put any bytes through all of them. Each gives back
 * what it read, or throws `DecodeError` only.
 */

import { DecodeError } from '#base/errors';
import { decodeAare, decodeAarq, decodeRelease } from '#dlms/acse';
import { decodeActionBlocks, decodeActionResponse } from '#dlms/action';
import { Descriptor, readSelection } from '#dlms/apdu';
import { isWholeBer } from '#dlms/ber';
import { CipherHeader } from '#dlms/cipher';
import { decodeAnyData } from '#dlms/compact-array';
import { decodeDateTime } from '#dlms/date-time';
import { decodeGbt } from '#dlms/gbt';
import { decodeGetResponse, readGetResults } from '#dlms/get';
import { decodeFrame, decodeParameters, HdlcStream } from '#dlms/hdlc';
import { decodeConfirmedServiceError, decodeInitiateRequest, decodeInitiateResponse } from '#dlms/initiate';
import { isAnswerTo } from '#dlms/match';
import {
  decodeDataNotification,
  decodeEventNotification,
  decodeNotificationConfirm,
  readPush,
} from '#dlms/notification';
import { ByteReader } from '#dlms/reader';
import { decodeException } from '#dlms/result';
import { readReplyToHls } from '#dlms/server-hls';
import { decodeSetResponse } from '#dlms/set';
import { decodeSigned } from '#dlms/signing';
import { WrapperStream } from '#dlms/wrapper';
import { decodeFirmwareImage } from '#session/firmware-image';

/** Reads what begins at the reader; returns a value that can be compared. */
export type Decoder = (r: ByteReader) => unknown;

const view = ({ buf, at, end }: ByteReader) => buf.subarray(at, end);

/** Cuts of a stream, so that frames begin and end anywhere in a chunk. */
function inChunks<T>(bytes: Uint8Array, push: (chunk: Uint8Array, seen: (frame: T) => undefined) => void): T[] {
  const frames: T[] = [];
  for (let at = 0; at < bytes.length; at += 7)
    push(bytes.subarray(at, at + 7), (frame) => {
      frames.push(structuredClone(frame));
      return undefined;
    });
  return frames;
}

export const DECODERS: Readonly<Record<string, Decoder>> = {
  data: (r) => decodeAnyData(r),
  aarq: decodeAarq,
  aare: decodeAare,
  rlrq: (r) => decodeRelease(r, 0x62),
  rlre: (r) => decodeRelease(r, 0x63),
  'initiate request': decodeInitiateRequest,
  'initiate response': decodeInitiateResponse,
  'service error': decodeConfirmedServiceError,
  descriptor: (r) => [new Descriptor().read(r), readSelection(r)],
  'get response': decodeGetResponse,
  'get results': readGetResults,
  'set response': decodeSetResponse,
  'action response': decodeActionResponse,
  'action answer in blocks': (r) => decodeActionBlocks(view(r), r.end % 2 === 0),
  'answer to a challenge': readReplyToHls,
  'data notification': decodeDataNotification,
  'event notification': decodeEventNotification,
  'notification confirm': decodeNotificationConfirm,
  push: (r) => readPush(view(r)),
  'general block transfer': decodeGbt,
  'ciphered header': (r) => new CipherHeader().read(r),
  'signed request': decodeSigned,
  exception: decodeException,
  'firmware image': (r) => decodeFirmwareImage(view(r)),
  'date-time': (r) => decodeDateTime(view(r)),
  'whole BER': ({ buf, at, end }) => isWholeBer(buf, at, end),
  'answer to a request': (r) => isAnswerTo(view(r), view(r)),
  'wrapper stream': (r) => {
    const stream = new WrapperStream(64);
    return [inChunks<Uint8Array>(view(r), (chunk, seen) => stream.push(chunk, seen)), stream.fault];
  },
  'HDLC frame': (r) => decodeFrame(view(r)),
  'HDLC parameters': (r) => decodeParameters(view(r)),
  'HDLC stream': (r) => {
    const stream = new HdlcStream(128);
    return inChunks(view(r), (chunk, seen) => stream.push(chunk, seen));
  },
};

function plainly(_key: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (value instanceof ByteReader) return [...view(value)];
  return typeof value === 'bigint' ? `${value}n` : value;
}

/**
 * What a decoder makes of `buf[0, end)`, as text to compare.
 * @throws Error when it throws anything but `DecodeError`, or reads on behind the end
 */
export function outcomeOf(decode: Decoder, buf: Uint8Array, end = buf.length): string {
  const r = new ByteReader(buf, 0, end);
  let text: string;
  try {
    text = JSON.stringify(decode(r), plainly) ?? 'undefined';
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    text = error.code;
  }
  if (r.at > end) throw new Error(`${r.at - end} bytes read behind the end`);
  return text;
}
