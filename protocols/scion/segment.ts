/**
 * Path segments (proto.control_plane.v1.PathSegment): decode, check, encode, identify.
 *
 *   PathSegment { 1 segment_info bytes, 2 as_entries[] { 1 signed { 1 header_and_body bytes, 2 signature }, 2 unsigned } }
 *
 * `segment_info` and each `header_and_body` are what an AS signed, so they stay the byte strings that came in; the
 * plain form beside them is for reading. Signatures are carried, not verified. Extensions: `segment-extensions.ts`.
 */

import { sha256 } from '@noble/hashes/sha2.js';
import { writeU16, writeU64 } from '#base/bytes';
import { DecodeError, ScionError } from '#base/errors';
import { ProtoReader, ProtoWriter } from '#base/proto';
import { hopExpiryMs } from '#scion/info-hop';
import { isWildcard } from '#scion/isd-as';
import {
  type EpicDetached,
  epicDigestOf,
  hasExtensions,
  readExtensions,
  readUnsigned,
  type Services,
  type SignedExtensions,
  type StaticInfo,
  writeExtensions,
  writeUnsigned,
} from '#scion/segment-extensions';

export type { StaticInfo } from '#scion/segment-extensions';

/** Bytes of the truncated MAC in a hop field. */
export const HOP_MAC_LENGTH = 6;
/** A longer segment than any path may have hops is refused. */
export const MAX_AS_ENTRIES = 64;

export type SegmentType = 'up' | 'down' | 'core';

export interface SegmentHop {
  readonly expTime: number;
  readonly consIngress: number;
  readonly consEgress: number;
  /** Six bytes. */
  readonly mac: Uint8Array;
}

export interface PeerEntry {
  readonly peerIa: bigint;
  /** Interface id on the peer's side. */
  readonly peerInterface: number;
  readonly peerMtu: number;
  /** ConsIngress is the local peering interface. */
  readonly hop: SegmentHop;
}

/** One AS of a segment, in construction order: what path combination needs. */
export interface SegmentEntry {
  readonly ia: bigint;
  readonly mtu: number;
  /** MTU of the link behind ConsIngress; 0 = unknown. */
  readonly ingressMtu: number;
  readonly hop: SegmentHop;
  readonly peers: readonly PeerEntry[];
  readonly staticInfo?: StaticInfo;
  readonly services?: Services;
  readonly epic?: EpicDetached;
}

export interface SegmentShape {
  /** beta 0 of the hop-field MAC chain, 16 bit. */
  readonly segmentId: number;
  /** Unix seconds. */
  readonly timestamp: number;
  readonly entries: readonly SegmentEntry[];
}

export interface AsEntry extends SegmentEntry {
  /** 0 in the last entry. */
  readonly nextIa: bigint;
  readonly headerAndBody: Uint8Array;
  /** Empty when the segment is not signed. */
  readonly signature: Uint8Array;
  readonly unsigned: Uint8Array;
}

export interface PathSegment extends SegmentShape {
  readonly entries: readonly AsEntry[];
  readonly segmentInfo: Uint8Array;
}

/**
 * Decodes and checks a terminated segment (not a beacon). Copies what it keeps.
 * @throws ScionError `scion.segment` whatever the bytes
 */
export function decodeSegment(bytes: Uint8Array): PathSegment {
  const segment = decodeSegmentMessage(bytes);
  checkSegment(segment);
  return segment;
}

/** Decodes the message and checks its single fields only: what a beacon and a segment have in common. */
export function decodeSegmentMessage(bytes: Uint8Array): PathSegment {
  try {
    return readSegment(new ProtoReader(new Uint8Array(bytes), 'PathSegment'));
  } catch (error) {
    if (error instanceof DecodeError) throw new ScionError('scion.segment', error.message, error.context, error);
    throw error;
  }
}

/** Encodes a segment from its signed byte strings. */
export function encodeSegment(segment: PathSegment): Uint8Array {
  const w = new ProtoWriter(512).bytes(1, segment.segmentInfo);
  for (const entry of segment.entries) {
    w.message(2, (e) => {
      e.message(1, (signed) => signed.bytes(1, entry.headerAndBody).bytes(2, entry.signature));
      if (entry.unsigned.length > 0) e.alwaysBytes(2, entry.unsigned);
    });
  }
  return w.finish();
}

/** Bytes of SegmentInformation. */
export function encodeSegmentInfo(timestamp: number, segmentId: number): Uint8Array {
  return new ProtoWriter(16).i64(1, BigInt(timestamp)).u32(2, segmentId).finish();
}

/** Bytes of HeaderAndBody around an AS entry's body.
 * @param header  encoded Header of the signature; empty while the entry is not signed */
export function encodeHeaderAndBody(header: Uint8Array, body: Uint8Array): Uint8Array {
  return new ProtoWriter(body.length + header.length + 16).bytes(1, header).bytes(2, body).finish();
}

/** Bytes of ASEntrySignedBody.
 * @param nextIa  0 in the last entry of a segment */
export function encodeEntryBody(entry: SegmentEntry, nextIa: bigint): Uint8Array {
  const w = new ProtoWriter(256).u64(1, entry.ia).u64(2, nextIa);
  w.message(3, (h) => h.message(1, (f) => writeHop(f, entry.hop)).u32(2, entry.ingressMtu));
  for (const peer of entry.peers) {
    w.message(4, (p) =>
      p
        .u64(1, peer.peerIa)
        .u32(2, peer.peerInterface)
        .u32(3, peer.peerMtu)
        .message(4, (f) => writeHop(f, peer.hop)),
    );
  }
  w.u32(5, entry.mtu);
  const extensions: SignedExtensions = {};
  if (entry.staticInfo) extensions.staticInfo = entry.staticInfo;
  if (entry.services) extensions.services = entry.services;
  if (entry.epic) extensions.epicDigest = epicDigestOf(entry.epic);
  if (hasExtensions(extensions)) w.message(6, (e) => writeExtensions(e, extensions));
  return w.finish();
}

/** Bytes of the unsigned extensions of an AS entry; empty for none. */
export function encodeUnsigned(entry: SegmentEntry): Uint8Array {
  const w = new ProtoWriter(64);
  if (entry.epic) writeUnsigned(w, entry.epic);
  return w.finish();
}

/** SHA-256 over (IA, ConsIngress, ConsEgress) of every AS entry: the same for a refreshed segment. */
export function segmentIdHash(segment: SegmentShape): Uint8Array {
  const input = new Uint8Array(12 * segment.entries.length);
  let at = 0;
  for (const { ia, hop } of segment.entries) {
    at = writeU64(input, at, ia);
    at = writeU16(input, at, hop.consIngress);
    at = writeU16(input, at, hop.consEgress);
  }
  return sha256(input);
}

/** End of a segment's life, Unix ms: the first of its main and peer hop fields to expire. */
export function segmentExpiryMs(segment: SegmentShape): number {
  let least = 255;
  for (const { hop, peers } of segment.entries) {
    least = Math.min(least, hop.expTime);
    for (const peer of peers) least = Math.min(least, peer.hop.expTime);
  }
  return hopExpiryMs(segment.timestamp, least);
}

/** The origin: the core AS where a segment was constructed from. */
export function firstIa(segment: SegmentShape): bigint {
  return segment.entries[0]!.ia;
}

export function lastIa(segment: SegmentShape): bigint {
  return segment.entries[segment.entries.length - 1]!.ia;
}

function readSegment(r: ProtoReader): PathSegment {
  let segmentInfo: Uint8Array = new Uint8Array(0);
  const entries: AsEntry[] = [];
  while (r.next()) {
    if (r.field === 1) segmentInfo = r.bytes();
    else if (r.field === 2) {
      if (entries.length === MAX_AS_ENTRIES) throw r.invalid(`at most ${MAX_AS_ENTRIES} AS entries`);
      entries.push(readAsEntry(r.message('ASEntry')));
    } else r.skip();
  }
  return { ...readSegmentInfo(segmentInfo), entries, segmentInfo };
}

function readSegmentInfo(bytes: Uint8Array): { timestamp: number; segmentId: number } {
  const r = new ProtoReader(bytes, 'SegmentInformation');
  let timestamp = 0n;
  let segmentId = 0;
  while (r.next()) {
    if (r.field === 1) timestamp = r.i64();
    else if (r.field === 2) segmentId = r.u32();
    else r.skip();
  }
  if (timestamp < 0n || timestamp > 0xffff_ffffn) throw r.invalid('a timestamp of 32 bits');
  if (segmentId > 0xffff) throw r.invalid('a segment id of 16 bits');
  return { timestamp: Number(timestamp), segmentId };
}

function readAsEntry(r: ProtoReader): AsEntry {
  let headerAndBody: Uint8Array | undefined;
  let signature: Uint8Array = new Uint8Array(0);
  let unsigned: Uint8Array = new Uint8Array(0);
  while (r.next()) {
    if (r.field === 1) {
      const signed = r.message('SignedMessage');
      while (signed.next()) {
        if (signed.field === 1) headerAndBody = signed.bytes();
        else if (signed.field === 2) signature = signed.bytes();
        else signed.skip();
      }
    } else if (r.field === 2) unsigned = r.bytes();
    else r.skip();
  }
  if (headerAndBody === undefined) throw r.invalid('a signed body');
  let body: Uint8Array = new Uint8Array(0);
  const outer = new ProtoReader(headerAndBody, 'HeaderAndBody');
  while (outer.next()) {
    if (outer.field === 2) body = outer.bytes();
    else outer.skip();
  }
  const { epicDigest, ...entry } = readBody(new ProtoReader(body, 'ASEntrySignedBody'));
  const epic = readUnsigned(new ProtoReader(unsigned, 'PathSegmentUnsignedExtensions'));
  if (epic === undefined) return { ...entry, headerAndBody, signature, unsigned };
  const digest = epicDigestOf(epic);
  if (epicDigest?.length !== digest.length || digest.some((byte, i) => byte !== epicDigest[i]))
    throw r.invalid('the digest of the EPIC authenticators');
  return { ...entry, epic, headerAndBody, signature, unsigned };
}

function readBody(r: ProtoReader): SegmentEntry & { nextIa: bigint; epicDigest?: Uint8Array } {
  let ia = 0n;
  let nextIa = 0n;
  let mtu = 0;
  let ingressMtu = 0;
  let hop: SegmentHop | undefined;
  let extensions: SignedExtensions = {};
  const peers: PeerEntry[] = [];
  while (r.next()) {
    if (r.field === 1) ia = r.u64();
    else if (r.field === 2) nextIa = r.u64();
    else if (r.field === 3) {
      const h = r.message('HopEntry');
      while (h.next()) {
        if (h.field === 1) hop = readHop(h.message('HopField'));
        else if (h.field === 2) ingressMtu = readMtu(h);
        else h.skip();
      }
    } else if (r.field === 4) peers.push(readPeer(r.message('PeerEntry')));
    else if (r.field === 5) mtu = readMtu(r);
    else if (r.field === 6) extensions = readExtensions(r.message('PathSegmentExtensions'));
    else r.skip();
  }
  if (hop === undefined) throw r.invalid('a hop entry with a hop field');
  return { ia, nextIa, mtu, ingressMtu, hop, peers, ...extensions };
}

function readPeer(r: ProtoReader): PeerEntry {
  let peerIa = 0n;
  let peerInterface = 0;
  let peerMtu = 0;
  let hop: SegmentHop | undefined;
  while (r.next()) {
    if (r.field === 1) peerIa = r.u64();
    else if (r.field === 2) peerInterface = readInterface(r);
    else if (r.field === 3) peerMtu = readMtu(r);
    else if (r.field === 4) hop = readHop(r.message('HopField'));
    else r.skip();
  }
  if (hop === undefined) throw r.invalid('a hop field');
  return { peerIa, peerInterface, peerMtu, hop };
}

function readHop(r: ProtoReader): SegmentHop {
  let consIngress = 0;
  let consEgress = 0;
  let expTime = 0;
  let mac: Uint8Array = new Uint8Array(0);
  while (r.next()) {
    if (r.field === 1) consIngress = readInterface(r);
    else if (r.field === 2) consEgress = readInterface(r);
    else if (r.field === 3) expTime = r.u32();
    else if (r.field === 4) mac = r.bytes();
    else r.skip();
  }
  if (expTime > 255) throw r.invalid('an ExpTime of at most 255');
  if (mac.length !== HOP_MAC_LENGTH) throw r.invalid('a MAC of 6 bytes');
  return { expTime, consIngress, consEgress, mac };
}

function writeHop(w: ProtoWriter, hop: SegmentHop): void {
  w.u32(1, hop.consIngress).u32(2, hop.consEgress).u32(3, hop.expTime).bytes(4, hop.mac);
}

function readInterface(r: ProtoReader): number {
  const id = r.u64();
  if (id > 0xffffn) throw r.invalid('an interface id of 16 bits');
  return Number(id);
}

function readMtu(r: ProtoReader): number {
  const mtu = r.u32();
  if (mtu > 0x7fff_ffff) throw r.invalid('an MTU of 31 bits');
  return mtu;
}

/** The rules for a terminated segment that go beyond single fields. */
function checkSegment(segment: PathSegment): void {
  const { entries } = segment;
  const wrong = (index: number, expected: string) =>
    new ScionError('scion.segment', `AS entry ${index}: expected ${expected}`, { index, expected });
  if (entries.length === 0) throw wrong(0, 'at least one AS entry');
  for (const [i, entry] of entries.entries()) {
    if (isWildcard(entry.ia)) throw wrong(i, 'an ISD-AS without wildcard');
    if (i === 0 && entry.hop.consIngress !== 0) throw wrong(i, 'no ingress interface in the first entry');
    const last = i === entries.length - 1;
    if (entry.nextIa !== (last ? 0n : entries[i + 1]!.ia))
      throw wrong(i, 'the next ISD-AS to be that of the next entry');
    if (last && entry.hop.consEgress !== 0) throw wrong(i, 'no egress interface in the last entry');
    for (const peer of entry.peers) {
      if (isWildcard(peer.peerIa)) throw wrong(i, 'a peer ISD-AS without wildcard');
      if (peer.hop.consEgress !== entry.hop.consEgress) throw wrong(i, "the peer's egress to be that of the hop entry");
    }
  }
}
