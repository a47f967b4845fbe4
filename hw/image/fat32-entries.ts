/**
 * Entries of a FAT folder (Microsoft FAT specification 1.03): 32 bytes each, a short name of 8.3 with attributes, first
 * cluster and size, and before it a long name in pieces that a checksum ties to it. Pure: a folder is its bytes.
 */

import { asciiText } from '#base/bytes';

export const ENTRY = 32;
export const Attribute = { directory: 0x10, archive: 0x20, volumeId: 0x08, longName: 0x0f } as const;
export const DELETED = 0xe5;
/** 1 January 2026, midnight: the same card gives the same bytes whenever it is made. */
const DATE = ((2026 - 1980) << 9) | (1 << 5) | 1;
/** UTF-16 units of one entry of a long name. */
const LONG_PLACES = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

export interface Found {
  /** Offset of the short entry, and of the first entry that belongs to it. */
  readonly at: number;
  readonly from: number;
  readonly name: string;
  readonly isFolder: boolean;
  readonly cluster: number;
  readonly size: number;
}

/** Writes first cluster and size of an entry. */
export function setEntry(bytes: Uint8Array, at: number, cluster: number, size: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint16(at + 20, cluster >>> 16, true);
  view.setUint16(at + 26, cluster & 0xffff, true);
  view.setUint16(at + 22, 0, true);
  view.setUint16(at + 24, DATE, true);
  view.setUint32(at + 28, size, true);
}

/** Checksum of a short name, which ties long entries to it. */
function checksum(short: Uint8Array): number {
  return short.reduce((sum, byte) => (((sum & 1) << 7) + (sum >>> 1) + byte) & 0xff, 0);
}

/** Short names in use, eleven characters each. */
export function* shortNames(bytes: Uint8Array): Generator<string> {
  for (let at = 0; at < bytes.length && bytes[at] !== 0; at += ENTRY)
    if (bytes[at] !== DELETED && bytes[at + 11] !== Attribute.longName) yield asciiText(bytes, at, at + 11);
}

/** Files and folders, under their long names where they have one. */
export function* entriesOf(bytes: Uint8Array): Generator<Found> {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  let long = '';
  let from = -1;
  let sum = -1;
  for (let at = 0; at + ENTRY <= bytes.length && bytes[at] !== 0; at += ENTRY) {
    const attribute = bytes[at + 11]!;
    if (bytes[at] === DELETED) {
      from = -1;
      continue;
    }
    if ((attribute & 0x3f) === Attribute.longName) {
      if ((bytes[at]! & 0x40) !== 0) {
        long = '';
        from = at;
        sum = bytes[at + 13]!;
      }
      const units = LONG_PLACES.map((place) => view.getUint16(at + place, true));
      const end = units.indexOf(0);
      long = String.fromCharCode(...(end < 0 ? units : units.slice(0, end))) + long;
      continue;
    }
    const short = bytes.subarray(at, at + 11);
    const isLong = from >= 0 && sum === checksum(short);
    const first = isLong ? from : at;
    from = -1;
    if ((attribute & Attribute.volumeId) !== 0) continue;
    yield {
      at,
      from: first,
      name: isLong ? long : shortText(short, bytes[at + 12]!),
      isFolder: (attribute & Attribute.directory) !== 0,
      cluster: ((view.getUint16(at + 20, true) << 16) | view.getUint16(at + 26, true)) >>> 0,
      size: view.getUint32(at + 28, true),
    };
  }
}

/** `CONFIG  TXT` as `CONFIG.TXT`; the flags 8 and 16 say that name and extension are meant in lower case. */
function shortText(short: Uint8Array, flags: number): string {
  const part = (from: number, to: number, flag: number) => {
    const text = asciiText(short, from, to).trimEnd();
    return (flags & flag) !== 0 ? text.toLowerCase() : text;
  };
  const extension = part(8, 11, 16);
  return part(0, 8, 8) + (extension === '' ? '' : `.${extension}`);
}

/** A file or folder by its name, in whatever case. */
export function findIn(bytes: Uint8Array, name: string): Found | undefined {
  const wanted = name.toLowerCase();
  for (const found of entriesOf(bytes)) if (found.name.toLowerCase() === wanted) return found;
  return undefined;
}

/** The 8.3 name: the name itself where it is one, else `NAME~1.EXT` with a number that is free. */
function shortName(name: string, taken: ReadonlySet<string>): { short: Uint8Array; isExact: boolean } {
  const dot = name.lastIndexOf('.');
  const clean = (text: string) => text.toUpperCase().replace(/[^A-Z0-9!#$%&'()@^_`{}~-]/g, '_');
  const base = clean((dot > 0 ? name.slice(0, dot) : name).replace(/[. ]/g, ''));
  const extension = clean(dot > 0 ? name.slice(dot + 1) : '').slice(0, 3);
  const fill = (text: string) => Uint8Array.from(Buffer.from(text.padEnd(8) + extension.padEnd(3), 'latin1'));
  const exact = fill(base.slice(0, 8));
  const isExact = name === shortText(exact, 0) && !taken.has(asciiText(exact));
  if (isExact) return { short: exact, isExact };
  for (let number = 1; ; number++) {
    const tail = `~${number}`;
    const short = fill(base.slice(0, 8 - tail.length) + tail);
    if (!taken.has(asciiText(short))) return { short, isExact };
  }
}

/**
 * The entries of a new name, the short one last.
 * @param taken  short names that the folder has already
 */
export function newEntries(name: string, attribute: number, taken: ReadonlySet<string>): Uint8Array[] {
  const { short, isExact } = shortName(name, taken);
  const entry = new Uint8Array(ENTRY);
  entry.set(short);
  entry[11] = attribute;
  const view = new DataView(entry.buffer);
  for (const date of [16, 18, 24]) view.setUint16(date, DATE, true);
  return isExact ? [entry] : [...longEntries(name, short), entry];
}

/** The entries of a long name, last part first as they lie in the folder. */
function longEntries(name: string, short: Uint8Array): Uint8Array[] {
  const parts = Math.ceil(name.length / LONG_PLACES.length);
  const sum = checksum(short);
  return Array.from({ length: parts }, (_, i) => {
    const order = parts - i;
    const entry = new Uint8Array(ENTRY);
    const view = new DataView(entry.buffer);
    entry[0] = order | (i === 0 ? 0x40 : 0);
    entry[11] = Attribute.longName;
    entry[13] = sum;
    for (const [k, place] of LONG_PLACES.entries()) {
      const index = (order - 1) * LONG_PLACES.length + k;
      const unit = index < name.length ? name.charCodeAt(index) : index === name.length ? 0 : 0xffff;
      view.setUint16(place, unit, true);
    }
    return entry;
  });
}
