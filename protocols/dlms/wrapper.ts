/**
 * The DLMS wrapper (IEC 62056-4-7): one header in front of each APDU, over TCP, UDP and UDP/SCION, port 4059.
 *
 *   0        2          4               6        8
 *   | 0x0001 | source  | destination   | length |  APDU      big-endian u16 each
 *
 * On datagrams a frame is exactly one datagram; on streams `WrapperStream` cuts frames out of whatever arrives. There is
 * no resynchronisation point: a stream with a broken header must be closed.
 */

import { readU16, writeU16 } from '#base/bytes';
import { DlmsError } from '#base/errors';

export const WRAPPER_VERSION = 1;
export const WRAPPER_SIZE = 8;
export const WRAPPER_PORT = 4059;

/** Client and server access points (wPorts) with a fixed meaning here. */
export const Sap = {
  managementClient: 1,
  managementServer: 1,
  publicClient: 16,
  passwordClient: 17,
  broadcast: 127,
} as const;

/**
 * Writes a wrapper header.
 * @param length  bytes of the APDU that follows, 0…65535
 * @returns offset behind the header
 * @throws DlmsError `encode.out-of-range`
 */
export function encodeWrapperHeader(
  out: Uint8Array,
  at: number,
  source: number,
  destination: number,
  length: number,
): number {
  if (length > 0xffff) throw new DlmsError('encode.out-of-range', `APDU of ${length} bytes exceeds 65535`);
  writeU16(out, at, WRAPPER_VERSION);
  writeU16(out, at + 2, source);
  writeU16(out, at + 4, destination);
  return writeU16(out, at + 6, length);
}

/** Whether `frame` is one whole wrapper frame with a non-empty APDU and nothing behind it. */
export function isWrapperFrame(frame: Uint8Array): boolean {
  return (
    frame.length > WRAPPER_SIZE &&
    readU16(frame, 0) === WRAPPER_VERSION &&
    readU16(frame, 6) === frame.length - WRAPPER_SIZE
  );
}

export function wrapperSource(frame: Uint8Array): number {
  return readU16(frame, 2);
}

export function wrapperDestination(frame: Uint8Array): number {
  return readU16(frame, 4);
}

/** What broke a stream. */
export type StreamFault = 'version' | 'oversize';

/** Cuts wrapper frames out of a byte stream; one per connection, one fixed buffer for its life. */
export class WrapperStream {
  readonly #buffer: Uint8Array;
  readonly #limit: number;
  #filled = 0;
  #fault: StreamFault | null = null;

  /** @param maxApdu  longest APDU accepted, in bytes */
  constructor(maxApdu: number) {
    this.#limit = maxApdu;
    this.#buffer = new Uint8Array(WRAPPER_SIZE + maxApdu);
  }

  /** Why the stream cannot go on; the connection must be closed then. */
  get fault(): StreamFault | null {
    return this.#fault;
  }

  /** Whether a frame has begun and not ended. */
  get isPartial(): boolean {
    return this.#filled > 0;
  }

  /**
   * Takes bytes of the stream.
   * @param chunk  the callee of `onFrame` may change it
   * @param onFrame  gets each whole frame, a view that is valid during the call; returns false to stop (closing)
   */
  push(chunk: Uint8Array, onFrame: (frame: Uint8Array) => boolean | undefined): void {
    // A client that waits for each answer sends one frame a segment.
    if (this.#filled === 0 && chunk.length <= this.#buffer.length && isWrapperFrame(chunk) && this.#fault === null) {
      onFrame(chunk);
      return;
    }
    let at = 0;
    while (at < chunk.length && this.#fault === null) {
      const wanted = this.#filled < WRAPPER_SIZE ? WRAPPER_SIZE : WRAPPER_SIZE + readU16(this.#buffer, 6);
      const count = Math.min(wanted - this.#filled, chunk.length - at);
      this.#buffer.set(chunk.subarray(at, at + count), this.#filled);
      this.#filled += count;
      at += count;
      if (this.#filled >= WRAPPER_SIZE && wanted === WRAPPER_SIZE && !this.#checkHeader()) return;
      if (this.#filled < WRAPPER_SIZE || this.#filled < WRAPPER_SIZE + readU16(this.#buffer, 6)) continue;
      const frame = this.#buffer.subarray(0, this.#filled);
      this.#filled = 0;
      if (onFrame(frame) === false) return;
    }
  }

  #checkHeader(): boolean {
    if (readU16(this.#buffer, 0) !== WRAPPER_VERSION) this.#fault = 'version';
    else if (readU16(this.#buffer, 6) > this.#limit) this.#fault = 'oversize';
    return this.#fault === null;
  }
}
