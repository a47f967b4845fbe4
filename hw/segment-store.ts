/**
 * The path segments of an AS in a folder, `{up,core,down}-….seg`, and what a host of the AS may ask of them. The files are
 * read again when the folder changes (they are replaced by renaming). Answers follow the forwarding resolver of official
 * control services. Which ASes are core is learned from the segments.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '#base/errors';
import type { Log } from '#hw/log';
import { asOf, isdOf } from '#scion/isd-as';
import { decodeSegment, firstIa, lastIa, type PathSegment, type SegmentType, segmentExpiryMs } from '#scion/segment';
import { emptySegmentSet, type SegmentSet, type SegmentsRequest } from '#scion/segment-requests';
import type { Topology } from '#scion/topology';

/** A folder changed this shortly before a scan may change again without a new time stamp. */
const SAME_TICK_MS = 50;

export interface SegmentStoreOptions {
  readonly folder: string;
  /** The AS whose up segments they are. */
  readonly topology: Pick<Topology, 'ia' | 'core'>;
  readonly log: Log;
}

type Matcher = (ia: bigint) => boolean;

/** The segments of the directory and what may be asked of them. */
export class SegmentStore {
  private readonly folder: string;
  private readonly own: Pick<Topology, 'ia' | 'core'>;
  private readonly log: Log;
  private segments: SegmentSet = emptySegmentSet();
  private core = new Set<bigint>();
  private changedMs = Number.NaN;

  constructor({ folder, topology, log }: SegmentStoreOptions) {
    this.folder = folder;
    this.own = topology;
    this.log = log;
  }

  /** Segments for a request, or in words why it cannot be asked. */
  answer(request: SegmentsRequest, now: number): SegmentSet | string {
    this.refresh();
    const type = this.classify(request);
    if (typeof type !== 'string') return type.why;
    const { src, dst } = request;
    const [first, last] = type === 'down' ? [src, dst] : [dst, src];
    const matchesFirst = this.matcher(first);
    const matchesLast = this.matcher(last);
    const set = emptySegmentSet();
    for (const segment of this.segments[type]) {
      if (segmentExpiryMs(segment) <= now) continue;
      if (matchesFirst(firstIa(segment)) && matchesLast(lastIa(segment))) set[type].push(segment);
    }
    return set;
  }

  private classify({ src, dst }: SegmentsRequest): SegmentType | { why: string } {
    const ownIsd = isdOf(this.own.ia);
    if (isdOf(src) === 0 || isdOf(dst) === 0) return { why: 'the ISD must not be 0' };
    if (dst === this.own.ia) return { why: 'the destination is the local AS' };
    const fromCore = asOf(src) === 0n || this.core.has(src);
    const toCore = asOf(dst) === 0n || this.core.has(dst);
    if (fromCore && toCore) return isdOf(src) === ownIsd ? 'core' : { why: 'core segments begin in the local ISD' };
    if (fromCore) return isdOf(src) === isdOf(dst) ? 'down' : { why: 'down segments stay in one ISD' };
    if (!toCore) return { why: 'between two ASes that are not core' };
    if (src !== this.own.ia) return { why: 'up segments begin in the local AS' };
    return isdOf(dst) === ownIsd ? 'up' : { why: 'up segments stay in the local ISD' };
  }

  /** A wildcard stands for every core AS of its ISD. */
  private matcher(ia: bigint): Matcher {
    if (asOf(ia) !== 0n) return (other) => other === ia;
    return (other) => isdOf(other) === isdOf(ia) && this.core.has(other);
  }

  private refresh(): void {
    let changedMs: number;
    try {
      changedMs = statSync(this.folder).mtimeMs;
    } catch {
      this.segments = emptySegmentSet();
      this.core = new Set(this.own.core ? [this.own.ia] : []);
      this.log.warn('no segments folder', { folder: this.folder });
      return;
    }
    if (changedMs === this.changedMs) return;
    this.segments = this.readFolder();
    this.core = coreAses(this.segments, this.own);
    this.changedMs = Date.now() - changedMs < SAME_TICK_MS ? Number.NaN : changedMs;
  }

  private readFolder(): SegmentSet {
    const set = emptySegmentSet();
    for (const name of readdirSync(this.folder).sort()) {
      const type = /^(up|core|down)-.*\.seg$/.exec(name)?.[1] as SegmentType | undefined;
      if (type === undefined) continue;
      try {
        const segment = decodeSegment(readFileSync(join(this.folder, name)));
        if (this.belongs(type, segment)) set[type].push(segment);
        else this.log.warn('up segment of another AS', { file: name });
      } catch (error) {
        this.log.warn('segment file ignored', { file: name, error: messageOf(error) });
      }
    }
    return set;
  }

  private belongs(type: SegmentType, segment: PathSegment): boolean {
    return type !== 'up' || lastIa(segment) === this.own.ia;
  }
}

/** Core are the origins of all segments, both ends of core segments, and perhaps the own AS. */
function coreAses(segments: SegmentSet, own: Pick<Topology, 'ia' | 'core'>): Set<bigint> {
  const core = new Set<bigint>(own.core ? [own.ia] : []);
  for (const type of ['up', 'core', 'down'] as const) {
    for (const segment of segments[type]) {
      core.add(firstIa(segment));
      if (type === 'core') core.add(lastIa(segment));
    }
  }
  return core;
}
