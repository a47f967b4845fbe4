/**
 * SCION common header and address header (draft-dekater-scion-dataplane §2.1, §2.2): fixed offsets, numbers, encoder.
 * Decoding lives in `packet.ts`, which checks the whole packet once and gives a view.
 *
 *   0       4                12      20      28            28+DL        28+DL+SL
 *   | word  | next hdr, len  | DstIA | SrcIA | DstHost     | SrcHost    | path …
 *     |       |  payload length, path type, DT DL ST SL, reserved
 *     version (4) traffic class (8) flow id (20)
 */

import { writeU16, writeU32, writeU64 } from '#base/bytes';
import { ScionError } from '#base/errors';
import { hostLength, type ScionAddress } from '#scion/address';

export const COMMON_HEADER_LENGTH = 12;
/** Offsets from the first byte of the packet. */
export const DST_IA_AT = 12;
export const SRC_IA_AT = 20;
export const DST_HOST_AT = 28;
/** Longest header that the length byte can tell. */
export const MAX_HEADER_LENGTH = 4 * 255;

export const NextHeader = {
  none: 0,
  tcp: 6,
  udp: 17,
  hopByHop: 200,
  endToEnd: 201,
  scmp: 202,
  bfd: 203,
  experiment1: 253,
  experiment2: 254,
} as const;

export const PathType = { empty: 0, scion: 1, oneHop: 2, epic: 3, colibri: 4 } as const;

/** What a sender decides about the header; the encoder works out the lengths. */
export interface HeaderSpec {
  readonly trafficClass?: number;
  /** 20 bits, not 0; constant for a flow. 1 when left out, as the official hosts send. */
  readonly flowId?: number;
  readonly dst: ScionAddress;
  readonly src: ScionAddress;
  /** One of `PathType`; by default SCION for a path with bytes, empty without. */
  readonly pathType?: number;
  /** Data-plane bytes of the path; empty inside one AS. */
  readonly path: Uint8Array;
}

/** Bytes of common header, address header and path together. */
export function headerLength(spec: HeaderSpec): number {
  return DST_HOST_AT + hostLength(spec.dst.host.type) + hostLength(spec.src.host.type) + spec.path.length;
}

/**
 * Writes common header, address header and path with payload length 0; `setPayloadLength` completes it.
 * @param nextHeader  first header after the path, `NextHeader`
 * @returns offset after the path
 * @throws ScionError `encode.out-of-range` when the path makes the header too long or is not a multiple of 4
 */
export function encodeHeader(out: Uint8Array, at: number, spec: HeaderSpec, nextHeader: number): number {
  const length = headerLength(spec);
  if (length > MAX_HEADER_LENGTH || length % 4 !== 0) {
    throw new ScionError(
      'encode.out-of-range',
      `SCION header of ${length} bytes: expected a multiple of 4 up to ${MAX_HEADER_LENGTH}`,
    );
  }
  const { dst, src, path } = spec;
  writeU32(out, at, ((spec.trafficClass ?? 0) << 20) | ((spec.flowId ?? 1) & 0xfffff));
  out[at + 4] = nextHeader;
  out[at + 5] = length / 4;
  writeU16(out, at + 6, 0);
  out[at + 8] = spec.pathType ?? (path.length > 0 ? PathType.scion : PathType.empty);
  out[at + 9] = (dst.host.type << 4) | src.host.type;
  writeU16(out, at + 10, 0);
  writeU64(out, at + DST_IA_AT, dst.ia);
  writeU64(out, at + SRC_IA_AT, src.ia);
  out.set(dst.host.bytes, at + DST_HOST_AT);
  const srcHostAt = at + DST_HOST_AT + hostLength(dst.host.type);
  out.set(src.host.bytes, srcHostAt);
  const pathAt = srcHostAt + hostLength(src.host.type);
  out.set(path, pathAt);
  return pathAt + path.length;
}

/** Sets the number of bytes after the SCION header, extensions included. */
export function setPayloadLength(buf: Uint8Array, packetAt: number, length: number): void {
  writeU16(buf, packetAt + 6, length);
}
