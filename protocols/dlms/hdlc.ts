/**
 * HDLC frames of DLMS (IEC 62056-46): what a frame is, its checksums and addresses, and finding frames in a byte stream.
 * The state machines are in hdlc-server.ts and hdlc-client.ts.
 *
 *   7E | format u16 | destination | source | control | HCS | information | FCS | 7E
 *
 *   format   1010 S LLL LLLLLLLL   S: a segment follows; L: bytes between the flags
 *   HCS      over format to control, only with information;  FCS: over everything before it;  both low byte first
 *
 * There is no byte stuffing: the length finds the end. One flag may close a frame and open the next.
 */

import { readU16, writeU16 } from '#base/bytes';
import { DlmsError } from '#base/errors';

export const FLAG = 0x7e;
const POLL_FINAL = 0x10;

/** Control bytes with the poll/final bit. */
export const Control = { snrm: 0x93, disc: 0x53, ua: 0x73, dm: 0x1f, frmr: 0x97, ui: 0x13 } as const;

export const DEFAULT_INFO = 128;
export const MIN_INFO = 32;
export const MAX_INFO = 2030;
export const MAX_WINDOW = 7;

/** In front of the first segment of each APDU. */
export const LLC_REQUEST = Uint8Array.of(0xe6, 0xe6, 0x00);
export const LLC_ANSWER = Uint8Array.of(0xe6, 0xe7, 0x00);
export const LLC_SIZE = 3;

/** Bytes of a frame besides its information: flags, format, two addresses of at most 4 and 1 bytes, control, checksums. */
export const FRAME_OVERHEAD = 2 + 2 + 5 + 1 + 4;

const CRC_TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x8408 : value >>> 1;
  return value;
});

/** CRC-16/X-25 of `buf[at, end)`; sent low byte first. */
export function crc16(buf: Uint8Array, at: number, end: number): number {
  let crc = 0xffff;
  for (let i = at; i < end; i++) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ buf[i]!) & 0xff]!;
  return crc ^ 0xffff;
}

function writeCrc(out: Uint8Array, from: number, at: number): number {
  const crc = crc16(out, from, at);
  out[at] = crc & 0xff;
  out[at + 1] = crc >>> 8;
  return at + 2;
}

function hasCrc(buf: Uint8Array, from: number, at: number): boolean {
  const crc = crc16(buf, from, at);
  return buf[at] === (crc & 0xff) && buf[at + 1] === crc >>> 8;
}

/**
 * Encodes an address: a client's access point in one byte, or a server's logical and physical address.
 * @param lower  physical address; null for the logical one alone
 * @returns 1, 2 or 4 bytes
 * @throws DlmsError `encode.out-of-range`
 */
export function encodeAddress(upper: number, lower: number | null = null): Uint8Array {
  if (upper > 0x3fff || (lower ?? 0) > 0x3fff || (lower === null && upper > 0x7f))
    throw new DlmsError('encode.out-of-range', `HDLC address ${upper}/${lower}`);
  if (lower === null) return Uint8Array.of((upper << 1) | 1);
  if (upper < 0x80 && lower < 0x80) return Uint8Array.of(upper << 1, (lower << 1) | 1);
  return Uint8Array.of((upper >>> 7) << 1, (upper & 0x7f) << 1, (lower >>> 7) << 1, ((lower & 0x7f) << 1) | 1);
}

export interface HdlcAddress {
  /** The bytes as received: an answer uses the same size. */
  readonly bytes: Uint8Array;
  /** Logical device or client. */
  readonly upper: number;
  /** Physical device; null when the address has one byte. */
  readonly lower: number | null;
}

function readAddress(frame: Uint8Array, at: number, end: number): HdlcAddress | undefined {
  let size = 1;
  while (at + size <= end && (frame[at + size - 1]! & 1) === 0) size++;
  if (at + size > end || (size !== 1 && size !== 2 && size !== 4)) return undefined;
  const bytes = frame.subarray(at, at + size);
  const part = (i: number) => bytes[i]! >>> 1;
  if (size === 1) return { bytes, upper: part(0), lower: null };
  if (size === 2) return { bytes, upper: part(0), lower: part(1) };
  return { bytes, upper: (part(0) << 7) | part(1), lower: (part(2) << 7) | part(3) };
}

/** Views of the received bytes. */
export interface HdlcFrame {
  readonly isSegmented: boolean;
  readonly destination: HdlcAddress;
  readonly source: HdlcAddress;
  readonly control: number;
  readonly info: Uint8Array;
}

/** Reads the bytes between the flags. @returns undefined for what is no frame: broken frames are dropped */
export function decodeFrame(bytes: Uint8Array): HdlcFrame | undefined {
  const end = bytes.length - 2;
  if (end < 5) return undefined;
  const format = readU16(bytes, 0);
  if (format >>> 12 !== 0xa || (format & 0x7ff) !== bytes.length || !hasCrc(bytes, 0, end)) return undefined;
  const destination = readAddress(bytes, 2, end);
  const source = destination && readAddress(bytes, 2 + destination.bytes.length, end);
  if (!destination || !source) return undefined;
  const controlAt = 2 + destination.bytes.length + source.bytes.length;
  if (controlAt >= end) return undefined;
  const infoAt = controlAt + 3;
  const hasInfo = controlAt + 1 < end;
  if (hasInfo && (infoAt > end || !hasCrc(bytes, 0, controlAt + 1))) return undefined;
  return {
    isSegmented: (format & 0x0800) !== 0,
    destination,
    source,
    control: bytes[controlAt]!,
    info: hasInfo ? bytes.subarray(infoAt, end) : bytes.subarray(end, end),
  };
}

/**
 * Writes a frame with its flags.
 * @param info  at most 2030 bytes, may be empty
 * @returns offset behind it
 */
export function encodeFrame(
  out: Uint8Array,
  at: number,
  destination: Uint8Array,
  source: Uint8Array,
  control: number,
  info: Uint8Array,
  isSegmented = false,
): number {
  const from = at + 1;
  out[at] = FLAG;
  const headEnd = from + 2 + destination.length + source.length + 1;
  const length = headEnd - from + 2 + (info.length > 0 ? info.length + 2 : 0);
  if (length > 0x7ff) throw new DlmsError('encode.out-of-range', `HDLC frame of ${length} bytes`);
  writeU16(out, from, 0xa000 | (isSegmented ? 0x0800 : 0) | length);
  out.set(destination, from + 2);
  out.set(source, from + 2 + destination.length);
  out[headEnd - 1] = control;
  let end = headEnd;
  if (info.length > 0) {
    end = writeCrc(out, from, end);
    out.set(info, end);
    end += info.length;
  }
  end = writeCrc(out, from, end);
  out[end] = FLAG;
  return end + 1;
}

/** The three kinds of control bytes. */
export const isInformation = (control: number): boolean => (control & 0x01) === 0;
export const isReceiveReady = (control: number): boolean => (control & 0x0f) === 0x01;
export const isPollFinal = (control: number): boolean => (control & POLL_FINAL) !== 0;
/** N(S) and N(R): the number of this frame, and of the frame that is expected next. */
export const sendNumber = (control: number): number => (control >>> 1) & 7;
export const receiveNumber = (control: number): number => control >>> 5;
export const information = (ns: number, nr: number, isFinal: boolean): number =>
  (nr << 5) | (isFinal ? POLL_FINAL : 0) | (ns << 1);
export const receiveReady = (nr: number): number => (nr << 5) | POLL_FINAL | 0x01;

/** Sizes and windows of a link, from the viewpoint of the side that holds them. */
export interface LinkParameters {
  readonly maxInfoSend: number;
  readonly maxInfoReceive: number;
  readonly windowSend: number;
  readonly windowReceive: number;
}

export const DEFAULT_PARAMETERS: LinkParameters = {
  maxInfoSend: DEFAULT_INFO,
  maxInfoReceive: DEFAULT_INFO,
  windowSend: 1,
  windowReceive: 1,
};

/** Information of SNRM and UA. */
export function encodeParameters(parameters: LinkParameters): Uint8Array {
  const { maxInfoSend, maxInfoReceive, windowSend, windowReceive } = parameters;
  const size = (tag: number, value: number) => (value < 0x100 ? [tag, 1, value] : [tag, 2, value >>> 8, value & 0xff]);
  const window = (tag: number, value: number) => [tag, 4, 0, 0, 0, value];
  const groups = [
    ...size(5, maxInfoSend),
    ...size(6, maxInfoReceive),
    ...window(7, windowSend),
    ...window(8, windowReceive),
  ];
  return Uint8Array.of(0x81, 0x80, groups.length, ...groups);
}

/** Reads them, from the viewpoint of who sent them; what is missing has its default. @returns undefined for a broken list */
export function decodeParameters(info: Uint8Array): LinkParameters | undefined {
  if (info.length === 0) return DEFAULT_PARAMETERS;
  if (info.length < 3 || info[0] !== 0x81 || info[1] !== 0x80 || info[2] !== info.length - 3) return undefined;
  const values = [0, 0, 0, 0, 0, DEFAULT_INFO, DEFAULT_INFO, 1, 1];
  for (let at = 3; at < info.length; ) {
    const tag = info[at]!;
    const size = info[at + 1] ?? 5;
    if (size > 4 || at + 2 + size > info.length) return undefined;
    let value = 0;
    for (let i = 0; i < size; i++) value = value * 0x100 + info[at + 2 + i]!;
    if (tag >= 5 && tag <= 8) values[tag] = value;
    at += 2 + size;
  }
  const [, , , , , send = 0, receive = 0, windowSend = 0, windowReceive = 0] = values;
  const isSize = (value: number) => value >= MIN_INFO && value <= MAX_INFO;
  const isWindow = (value: number) => value >= 1 && value <= MAX_WINDOW;
  if (!isSize(send) || !isSize(receive) || !isWindow(windowSend) || !isWindow(windowReceive)) return undefined;
  return { maxInfoSend: send, maxInfoReceive: receive, windowSend, windowReceive };
}

/** What both sides can: mine and the peer's wishes, which have the other viewpoint. */
export function agree(mine: LinkParameters, peer: LinkParameters): LinkParameters {
  return {
    maxInfoSend: Math.min(mine.maxInfoSend, peer.maxInfoReceive),
    maxInfoReceive: Math.min(mine.maxInfoReceive, peer.maxInfoSend),
    windowSend: Math.min(mine.windowSend, peer.windowReceive),
    windowReceive: Math.min(mine.windowReceive, peer.windowSend),
  };
}

/** Bytes between the flags of the shortest frame. */
const MIN_LENGTH = 7;

/** Finds frames in a byte stream; noise between frames and frames with a wrong checksum are skipped. */
export class HdlcStream {
  readonly #buffer: Uint8Array;
  #filled = 0;

  /** @param maxInfo  longest information field that is received */
  constructor(maxInfo: number) {
    // The flags are not kept, and a frame of any allowed size must be recognized to be refused.
    this.#buffer = new Uint8Array(Math.min(0x7ff, maxInfo + FRAME_OVERHEAD) + 1);
  }

  /** Whether a frame has begun and not ended. */
  get isPartial(): boolean {
    return this.#filled > 1;
  }

  /** Forgets a frame that did not come to its end in time. */
  reset(): void {
    this.#filled = 0;
  }

  /** @param onFrame  gets each whole frame, views that are valid during the call */
  push(chunk: Uint8Array, onFrame: (frame: HdlcFrame) => void): void {
    const buffer = this.#buffer;
    for (let i = 0; i < chunk.length; i++) {
      // buffer[0] stands for the opening flag.
      if (this.#filled === 0 && chunk[i] !== FLAG) continue;
      // Flags in a row are one flag.
      if (this.#filled === 1 && chunk[i] === FLAG) continue;
      buffer[this.#filled++] = chunk[i]!;
      if (this.#filled < 3) continue;
      const length = readU16(buffer, 1) & 0x7ff;
      if (buffer[1]! >>> 4 !== 0xa || length < MIN_LENGTH || length + 2 > buffer.length) this.#resume(onFrame);
      else if (this.#filled > 1 + length) this.#close(onFrame);
    }
  }

  /** The byte behind the frame has come. */
  #close(onFrame: (frame: HdlcFrame) => void): void {
    const end = this.#filled - 1;
    const frame = this.#buffer[end] === FLAG ? decodeFrame(this.#buffer.subarray(1, end)) : undefined;
    if (!frame) {
      this.#resume(onFrame);
      return;
    }
    onFrame(frame);
    this.#buffer[0] = FLAG;
    this.#filled = 1;
  }

  /** What looked like a frame was none: looks again at what came behind its flag. */
  #resume(onFrame: (frame: HdlcFrame) => void): void {
    const rest = this.#buffer.slice(1, this.#filled);
    this.#filled = 0;
    this.push(rest, onFrame);
  }
}
