/**
 * SCION packet authenticator option (scionproto pkg/spao, pkg/slayers/pkt_auth.go, doc/protocols/authenticator-option.rst):
 * layout, the bytes it authenticates, tag and verification. Which key belongs to an SPI is the caller's question.
 *
 *   | 2 | 12 + n | SPI (4) | algorithm | 0 | timestamp or sequence number (6) | authenticator (n) |   at 4 n + 2
 *
 * The input of the MAC is a digest header, the first word of the packet, the addresses that the key does not stand for,
 * the path with everything that routers change set to zero, and the upper layer. Extension headers are not covered. Of
 * the traffic class the official implementation keeps the low six bits where its specification wants the high six; this
 * one does the same, and at traffic class 0 both agree.
 */

import { readU16, readU32, writeU16, writeU32 } from '#base/bytes';
import { AesCmac } from '#base/cmac';
import { ScionError } from '#base/errors';
import { findOption, OptionType } from '#scion/extensions';
import { DST_HOST_AT, DST_IA_AT, PathType } from '#scion/header';
import { HOP_LENGTH } from '#scion/info-hop';
import { ONE_HOP_LENGTH } from '#scion/onehop';
import { copy, type PacketView } from '#scion/packet';
import { hopAt, infoAt, metaWord, numHopsOf, numInfOf, pathLength } from '#scion/path';

/** Data before the authenticator. */
export const SPAO_FIXED_LENGTH = 12;
/** An end-to-end extension with this option alone and a 16-byte authenticator. */
export const SPAO_EXTENSION_LENGTH = 32;
export const SPAO_TAG_LENGTH = 16;

export const SpaoAlgorithm = { aesCmac: 0, sha1AesCbc: 1 } as const;

/** An SPI of DRKey in parts; `drkeySpi` puts it together. */
export interface DrkeySpi {
  /** The key is bound to both hosts, not to one host and one AS. */
  readonly hostToHost: boolean;
  /** The key is derived on the receiver's side. */
  readonly receiverSide: boolean;
  /** DRKey protocol, 1…65535. */
  readonly protocol: number;
}

const SPI_RECEIVER_SIDE = 1 << 16;
const SPI_HOST_TO_HOST = 1 << 17;
const DRKEY_SPI_END = 1 << 21;

/** @throws ScionError `encode.out-of-range` for protocol 0 or above 65535 */
export function drkeySpi({ hostToHost, receiverSide, protocol }: DrkeySpi): number {
  if (!(protocol >= 1 && protocol <= 0xffff)) {
    throw new ScionError('encode.out-of-range', `DRKey protocol ${protocol}: expected 1 to 65535`);
  }
  return (hostToHost ? SPI_HOST_TO_HOST : 0) | (receiverSide ? SPI_RECEIVER_SIDE : 0) | protocol;
}

/** Whether the SPI names a DRKey key; others are agreed between the hosts. */
export const isDrkeySpi = (spi: number): boolean => spi > 0 && spi < DRKEY_SPI_END;

export function parseDrkeySpi(spi: number): DrkeySpi | undefined {
  if (!isDrkeySpi(spi)) return undefined;
  return {
    hostToHost: (spi & SPI_HOST_TO_HOST) !== 0,
    receiverSide: (spi & SPI_RECEIVER_SIDE) !== 0,
    protocol: spi & 0xffff,
  };
}

/**
 * Writes the data of an authenticator option.
 * @param timestamp  48 bits: ns since the start of the DRKey epoch, or a sequence number with other SPIs
 * @returns offset after it
 * @throws ScionError `encode.out-of-range` for SPI 0 or a timestamp that does not fit
 */
export function encodeSpaoData(
  out: Uint8Array,
  at: number,
  spi: number,
  algorithm: number,
  timestamp: number,
  authenticator: Uint8Array,
): number {
  if (spi === 0 || !(timestamp >= 0 && timestamp < 2 ** 48)) {
    throw new ScionError('encode.out-of-range', `authenticator with SPI ${spi} and timestamp ${timestamp}`);
  }
  writeU32(out, at, spi);
  out[at + 4] = algorithm;
  out[at + 5] = 0;
  writeU16(out, at + 6, Math.floor(timestamp / 0x1_0000_0000));
  writeU32(out, at + 8, timestamp % 0x1_0000_0000);
  out.set(authenticator, at + SPAO_FIXED_LENGTH);
  return at + SPAO_FIXED_LENGTH + authenticator.length;
}

/**
 * Writes an end-to-end extension that holds this option alone, for AES-CMAC, with a tag of zeros; `SpaoMac.sign` fills it.
 * @returns offset after its `SPAO_EXTENSION_LENGTH` bytes
 */
export function writeSpaoExtension(
  out: Uint8Array,
  at: number,
  nextHeader: number,
  spi: number,
  timestamp: number,
): number {
  out[at] = nextHeader;
  out[at + 1] = SPAO_EXTENSION_LENGTH / 4 - 1;
  out[at + 2] = OptionType.authenticator;
  out[at + 3] = SPAO_FIXED_LENGTH + SPAO_TAG_LENGTH;
  return encodeSpaoData(out, at + 4, spi, SpaoAlgorithm.aesCmac, timestamp, ZERO_TAG);
}

const ZERO_TAG = new Uint8Array(SPAO_TAG_LENGTH);

/** The option of a packet: offsets absolute in the buffer. Reused from packet to packet. */
export class SpaoView {
  /** Offset of the option's data. */
  at = 0;
  spi = 0;
  algorithm = 0;
  tagAt = 0;
  tagLength = 0;

  /** 48-bit timestamp or sequence number. */
  timestamp(buf: Uint8Array): number {
    return readU16(buf, this.at + 6) * 0x1_0000_0000 + readU32(buf, this.at + 8);
  }
}

/**
 * Finds the authenticator of a packet that `parsePacket` has accepted.
 * @returns false when there is none, or one too short or with SPI 0
 */
export function findSpao(buf: Uint8Array, view: PacketView, spao: SpaoView): boolean {
  if (view.endToEndAt === 0) return false;
  const option = findOption(buf, view.endToEndAt, OptionType.authenticator);
  if (option < 0 || buf[option + 1]! < SPAO_FIXED_LENGTH) return false;
  spao.at = option + 2;
  spao.spi = readU32(buf, spao.at);
  spao.algorithm = buf[spao.at + 4]!;
  spao.tagAt = spao.at + SPAO_FIXED_LENGTH;
  spao.tagLength = buf[option + 1]! - SPAO_FIXED_LENGTH;
  return spao.spi !== 0;
}

/** 12 + 4 + 4 + addresses + the longest path that a header can hold. */
const MAX_FIXED_INPUT = 20 + 48 + 1020;

/**
 * Writes the part of the MAC input that comes before the upper layer.
 * @param spao  the option; its tag is not read
 * @returns offset after it, at most 1088 bytes on
 */
export function writeSpaoInput(out: Uint8Array, at: number, buf: Uint8Array, view: PacketView, spao: SpaoView): number {
  const { spi } = spao;
  const start = view.at;
  const upper = view.l4End - view.l4At;
  const path = pathBytes(buf, view);
  out[at] = (view.pathAt - start + path) / 4;
  out[at + 1] = view.l4Protocol;
  writeU16(out, at + 2, upper);
  out[at + 4] = spao.algorithm;
  out[at + 5] = 0;
  copy(buf, spao.at + 6, out, at + 6, 6);
  writeU32(out, at + 12, readU32(buf, start) & 0x03ff_ffff);
  out[at + 16] = view.pathType;
  out[at + 17] = buf[start + 9]!;
  out[at + 18] = 0;
  out[at + 19] = 0;
  let end = at + 20;
  const drkey = isDrkeySpi(spi);
  const hostToHost = drkey && (spi & SPI_HOST_TO_HOST) !== 0;
  const receiverSide = (spi & SPI_RECEIVER_SIDE) !== 0;
  if (!drkey) end = append(out, end, buf, start + DST_IA_AT, 16);
  if (!drkey || (!hostToHost && receiverSide)) {
    end = append(out, end, buf, start + DST_HOST_AT, view.srcHostAt - view.dstHostAt);
  }
  if (!drkey || (!hostToHost && !receiverSide)) {
    end = append(out, end, buf, view.srcHostAt, view.pathAt - view.srcHostAt);
  }
  append(out, end, buf, view.pathAt, path);
  clearMutable(out, end, buf, view);
  return end + path;
}

function append(out: Uint8Array, at: number, buf: Uint8Array, from: number, length: number): number {
  copy(buf, from, out, at, length);
  return at + length;
}

/** Bytes of the path itself, without what may trail it in the header. */
function pathBytes(buf: Uint8Array, view: PacketView): number {
  if (view.metaAt !== 0) return view.metaAt - view.pathAt + pathLength(buf, view.metaAt);
  return view.pathType === PathType.oneHop ? ONE_HOP_LENGTH : 0;
}

/** Zeroes what routers change on the way: position, accumulators, alert flags, the second hop of a one-hop path. */
function clearMutable(out: Uint8Array, at: number, buf: Uint8Array, view: PacketView): void {
  if (view.metaAt !== 0) {
    const word = metaWord(buf, view.metaAt);
    const numInf = numInfOf(word);
    const path = at + view.metaAt - view.pathAt;
    out[path] = 0;
    for (let i = 0; i < numInf; i++) writeU16(out, infoAt(path, i) + 2, 0);
    for (let h = numHopsOf(word) - 1; h >= 0; h--) out[hopAt(path, numInf, h)] = 0;
  } else if (view.pathType === PathType.oneHop) {
    writeU16(out, at + 2, 0);
    out[at + 8] = 0;
    out.fill(0, at + ONE_HOP_LENGTH - HOP_LENGTH, at + ONE_HOP_LENGTH);
  }
}

/** What `SpaoMac.verify` found. Only `valid` is authentic. */
export const SpaoVerdict = { valid: 0, missing: 1, algorithm: 2, mismatch: 3 } as const;

/** Makes and checks authenticators under one key. */
export class SpaoMac {
  private readonly cmac: AesCmac;
  private readonly input = new Uint8Array(MAX_FIXED_INPUT);
  private readonly tag = new Uint8Array(SPAO_TAG_LENGTH);
  private readonly spao = new SpaoView();

  /** @param key  16 bytes, DRKey or agreed */
  constructor(key: Uint8Array) {
    this.cmac = new AesCmac(key);
  }

  /**
   * Fills in the tag of a packet that has the option and is complete otherwise, checksum included.
   * @returns false when the packet has no AES-CMAC option
   */
  sign(buf: Uint8Array, view: PacketView): boolean {
    const { spao } = this;
    if (!findSpao(buf, view, spao) || !isCmac(spao)) return false;
    this.compute(buf, view, spao, buf, spao.tagAt);
    return true;
  }

  /** @returns one of `SpaoVerdict`; the comparison takes the same time whatever the tag */
  verify(buf: Uint8Array, view: PacketView): number {
    const { spao, tag } = this;
    if (!findSpao(buf, view, spao)) return SpaoVerdict.missing;
    if (!isCmac(spao)) return SpaoVerdict.algorithm;
    this.compute(buf, view, spao, tag, 0);
    let difference = 0;
    for (let i = 0; i < SPAO_TAG_LENGTH; i++) difference |= tag[i]! ^ buf[spao.tagAt + i]!;
    return difference === 0 ? SpaoVerdict.valid : SpaoVerdict.mismatch;
  }

  private compute(buf: Uint8Array, view: PacketView, spao: SpaoView, out: Uint8Array, at: number): void {
    const { cmac, input } = this;
    const end = writeSpaoInput(input, 0, buf, view, spao);
    cmac.reset();
    cmac.update(input, 0, end);
    cmac.update(buf, view.l4At, view.l4End);
    cmac.digestInto(out, at);
  }
}

const isCmac = ({ algorithm, tagLength }: SpaoView): boolean =>
  algorithm === SpaoAlgorithm.aesCmac && tagLength === SPAO_TAG_LENGTH;
