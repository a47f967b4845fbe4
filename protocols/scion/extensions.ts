/**
 * Hop-by-hop (200) and end-to-end (201) extension headers and their options (scionproto pkg/slayers/extn.go,
 * doc/protocols/extension-header.rst). Padding is worked out exactly as the official encoder does, so both write the
 * same bytes. Routers read only the framing, which `parsePacket` walks.
 *
 *   | next header | length / 4 - 1 | options … |        option: | type | data length | data |, Pad1: one byte 0
 */

import { DecodeError, ScionError } from '#base/errors';

export const OptionType = {
  pad1: 0,
  padN: 1,
  /** Packet authenticator, end-to-end only: `spao.ts`. */
  authenticator: 2,
  experiment1: 253,
  experiment2: 254,
} as const;

export const EXTENSION_HEADER_LENGTH = 2;
/** Longest extension header that its length byte can tell. */
export const MAX_EXTENSION_LENGTH = 4 * 256;

export interface ExtensionOption {
  /** Not a padding type. */
  readonly type: number;
  /** At most 255 bytes. */
  readonly data: Uint8Array;
  /** The option starts at `align · n + offset` bytes from the start of the extension header; 1 and 0 when left out. */
  readonly align?: number;
  readonly alignOffset?: number;
}

/** Where an option that may start at `at` does start. */
function alignedOffset(at: number, { align = 1, alignOffset = 0 }: ExtensionOption): number {
  const offset = align * Math.floor(at / align) + alignOffset;
  return offset < at ? offset + align : offset;
}

/** Bytes that `encodeExtension` will write. */
export function extensionLength(options: readonly ExtensionOption[]): number {
  let length = EXTENSION_HEADER_LENGTH;
  for (const option of options) length = alignedOffset(length, option) + 2 + option.data.length;
  return (length + 3) & ~3;
}

/** Writes `length` bytes of padding. @returns offset after it */
function writePadding(out: Uint8Array, at: number, length: number): number {
  if (length === 0) return at;
  out.fill(0, at, at + length);
  if (length > 1) {
    out[at] = OptionType.padN;
    out[at + 1] = length - 2;
  }
  return at + length;
}

/**
 * Writes an extension header with its options and the padding between them.
 * @param nextHeader  what follows the extension
 * @returns offset after it
 * @throws ScionError `encode.out-of-range` for an option of padding or over 255 bytes, or more than 1024 bytes together
 */
export function encodeExtension(
  out: Uint8Array,
  at: number,
  nextHeader: number,
  options: readonly ExtensionOption[],
): number {
  const length = extensionLength(options);
  if (length > MAX_EXTENSION_LENGTH) {
    throw new ScionError('encode.out-of-range', `extension header of ${length} bytes exceeds ${MAX_EXTENSION_LENGTH}`);
  }
  out[at] = nextHeader;
  out[at + 1] = length / 4 - 1;
  let end = at + EXTENSION_HEADER_LENGTH;
  for (const option of options) {
    const { type, data } = option;
    if (type === OptionType.pad1 || type === OptionType.padN || data.length > 255) {
      throw new ScionError('encode.out-of-range', `extension option of type ${type} with ${data.length} bytes`);
    }
    end = writePadding(out, end, alignedOffset(end - at, option) - (end - at));
    out[end] = type;
    out[end + 1] = data.length;
    out.set(data, end + 2);
    end += 2 + data.length;
  }
  return writePadding(out, end, at + length - end);
}

export interface Extension {
  readonly nextHeader: number;
  /** In order, without padding; `data` are views. */
  readonly options: readonly ExtensionOption[];
  /** Offset after the extension header. */
  readonly end: number;
}

/** Offset after the extension header at `at`; -1 when it does not lie in `[at, end)` whole. */
export function extensionEnd(buf: Uint8Array, at: number, end: number): number {
  if (end - at < EXTENSION_HEADER_LENGTH) return -1;
  const length = 4 * (buf[at + 1]! + 1);
  return length > end - at ? -1 : at + length;
}

/**
 * Reads an extension header and its options.
 * @throws DecodeError `decode.truncated` when header or options are cut off
 */
export function decodeExtension(buf: Uint8Array, at: number, end: number): Extension {
  const stop = extensionEnd(buf, at, end);
  if (stop < 0) throw new DecodeError('extension header', at, 'as many bytes as its length says', 'decode.truncated');
  const options: ExtensionOption[] = [];
  let next = at + EXTENSION_HEADER_LENGTH;
  while (next < stop) {
    const after = optionEnd(buf, next, stop);
    if (after < 0) throw new DecodeError('extension option', next, 'an option inside its header', 'decode.truncated');
    const type = buf[next]!;
    if (type > OptionType.padN) options.push({ type, data: buf.subarray(next + 2, after) });
    next = after;
  }
  return { nextHeader: buf[at]!, options, end: stop };
}

function optionEnd(buf: Uint8Array, at: number, end: number): number {
  if (buf[at] === OptionType.pad1) return at + 1;
  if (end - at < 2) return -1;
  const after = at + 2 + buf[at + 1]!;
  return after > end ? -1 : after;
}

/**
 * Finds the first option of a type without making objects.
 * @param at  an extension header that `parsePacket` has accepted
 * @returns offset of the option's type byte; -1 when there is none, or a broken one before it
 */
export function findOption(buf: Uint8Array, at: number, type: number): number {
  const end = at + 4 * (buf[at + 1]! + 1);
  let next = at + EXTENSION_HEADER_LENGTH;
  while (next < end) {
    const after = optionEnd(buf, next, end);
    if (after < 0) return -1;
    if (buf[next] === type) return next;
    next = after;
  }
  return -1;
}
