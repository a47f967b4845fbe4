/**
 * Asking for path segments (proto.control_plane.v1.SegmentLookupService): messages, and which requests a host sends.
 *
 *   SegmentsRequest  { 1 src_isd_as, 2 dst_isd_as }
 *   SegmentsResponse { 1 segments: map< 1 type, 2 { 1 PathSegment[] } > }       types: 1 up, 2 down, 3 core
 *
 * A request names the direction of traffic: an up or core segment that answers it *ends* at `src`, a down one begins there.
 */

import { DecodeError, ScionError } from '#base/errors';
import { ProtoReader, ProtoWriter } from '#base/proto';
import { isdOf, makeIsdAs } from '#scion/isd-as';
import { decodeSegment, encodeSegment, type PathSegment, type SegmentType } from '#scion/segment';

export const SEGMENTS_METHOD = '/proto.control_plane.v1.SegmentLookupService/Segments';

/** More segments of one answer are not looked at. */
const MAX_SEGMENTS = 1000;

const TYPES: readonly (SegmentType | undefined)[] = [undefined, 'up', 'down', 'core'];

export interface SegmentsRequest {
  readonly src: bigint;
  readonly dst: bigint;
}

/** Segments by use, as path combination takes them. */
export interface SegmentSet {
  readonly up: PathSegment[];
  readonly core: PathSegment[];
  readonly down: PathSegment[];
}

export function emptySegmentSet(): SegmentSet {
  return { up: [], core: [], down: [] };
}

/** Adds the segments of `more` to `set`. */
export function mergeSegments(set: SegmentSet, more: SegmentSet): void {
  set.up.push(...more.up);
  set.core.push(...more.core);
  set.down.push(...more.down);
}

export function encodeSegmentsRequest(request: SegmentsRequest): Uint8Array {
  return new ProtoWriter(32).u64(1, request.src).u64(2, request.dst).finish();
}

/** @throws DecodeError */
export function decodeSegmentsRequest(bytes: Uint8Array): SegmentsRequest {
  const r = new ProtoReader(bytes, 'SegmentsRequest');
  let src = 0n;
  let dst = 0n;
  while (r.next()) {
    if (r.field === 1) src = r.u64();
    else if (r.field === 2) dst = r.u64();
    else r.skip();
  }
  return { src, dst };
}

export function encodeSegmentsResponse(set: SegmentSet): Uint8Array {
  const w = new ProtoWriter(1024);
  for (const [number, type] of TYPES.entries()) {
    if (type === undefined || set[type].length === 0) continue;
    w.message(1, (entry) => {
      entry.i32(1, number).message(2, (list) => {
        for (const segment of set[type]) list.alwaysBytes(1, encodeSegment(segment));
      });
    });
  }
  return w.finish();
}

/**
 * Decodes an answer. A segment that breaks the rules is left out, so that one bad segment does not cost the others.
 * @param onInvalid  told about each one left out
 * @throws ScionError `scion.segment` when the answer itself is malformed
 */
export function decodeSegmentsResponse(
  bytes: Uint8Array,
  onInvalid: (error: ScionError) => void = () => {},
): SegmentSet {
  const set = emptySegmentSet();
  let left = MAX_SEGMENTS;
  try {
    const r = new ProtoReader(bytes, 'SegmentsResponse');
    while (r.next()) {
      if (r.field !== 1) {
        r.skip();
        continue;
      }
      const { type, segments } = readMapEntry(r.message('SegmentsResponse entry'));
      for (const message of segments) {
        if (type === undefined || left-- <= 0) continue;
        try {
          set[type].push(decodeSegment(message));
        } catch (error) {
          if (!(error instanceof ScionError)) throw error;
          onInvalid(error);
        }
      }
    }
  } catch (error) {
    if (error instanceof DecodeError) throw new ScionError('scion.segment', error.message, error.context, error);
    throw error;
  }
  return set;
}

function readMapEntry(r: ProtoReader): { type: SegmentType | undefined; segments: Uint8Array[] } {
  let type: SegmentType | undefined;
  const segments: Uint8Array[] = [];
  while (r.next()) {
    if (r.field === 1) type = TYPES[r.i32()];
    else if (r.field === 2) {
      const list = r.message('Segments');
      while (list.next()) {
        if (list.field === 1) segments.push(list.bytes());
        else list.skip();
      }
    } else r.skip();
  }
  return { type, segments };
}

/** The wildcard of an ISD-AS: any core AS of its ISD. */
export function wildcardOf(ia: bigint): bigint {
  return makeIsdAs(isdOf(ia), 0n);
}

/**
 * The requests of a host in AS `src` that wants paths to `dst`. A host knows from its topology whether its own AS is
 * core, but holds no TRCs, so it cannot know that of other ASes: it asks for every class that may have an answer, and a
 * refused one counts as empty.
 */
export function requestsOfHost(src: bigint, srcIsCore: boolean, dst: bigint): SegmentsRequest[] {
  const requests: SegmentsRequest[] = [];
  const ask = (from: bigint, to: bigint) => {
    if (from !== to && !requests.some((r) => r.src === from && r.dst === to)) requests.push({ src: from, dst: to });
  };
  const near = wildcardOf(src);
  const far = wildcardOf(dst);
  if (srcIsCore) {
    ask(src, dst);
    ask(src, far);
  } else {
    ask(src, near);
    // Core segments inside one ISD: the wildcards are equal and the request still means "between its core ASes".
    requests.push({ src: near, dst: far });
    ask(near, dst);
  }
  ask(far, dst);
  return requests;
}
