/**
 * DER (ITU-T X.690): the one encoding of ASN.1 in certificates, requests and revocation lists.
 *
 *   tag | length, as short as it can be | contents
 *
 * The reader gives views and is strict: minimal lengths, no trailing bytes, no tag above 30, bounded depth. The writer
 * fills the caller's buffer. Leaves out what X.509 on P-256 does not need: REAL, SET OF with more than one element.
 */

import { equalBytes } from '#base/bytes';
import { DecodeError, S3mpError } from '#base/errors';

export const DerTag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Context-specific tag `[number]`, constructed or primitive. */
export const contextTag = (number: number, constructed: boolean): number => (constructed ? 0xa0 : 0x80) | number;

/** Certificates nest less than half as deep. */
const MAX_DEPTH = 16;

/** One element: `[start, end)` is all of it, `[at, end)` its contents. */
export interface DerElement {
  readonly tag: number;
  readonly start: number;
  readonly at: number;
  readonly end: number;
}

/** A cursor over the elements of one buffer. Every method throws DecodeError for anything else than what it names. */
export class DerReader {
  readonly buf: Uint8Array;
  at: number;
  readonly end: number;
  readonly #depth: number;

  constructor(buf: Uint8Array, at = 0, end = buf.length, depth = 0) {
    this.buf = buf;
    this.at = at;
    this.end = end;
    this.#depth = depth;
  }

  /** Tag of the next element, -1 at the end. */
  get tag(): number {
    return this.at < this.end ? this.buf[this.at]! : -1;
  }

  /** Takes the next element. @param tag  the only one that is right; any when left out */
  element(what: string, tag?: number): DerElement {
    const { buf, end } = this;
    const start = this.at;
    const fail = (expected: string): never => {
      throw new DecodeError(what, start, expected);
    };
    const truncated = (): never => {
      throw new DecodeError(what, start, 'all bytes of an element', 'decode.truncated');
    };
    if (end - start < 2) truncated();
    const found = buf[start]!;
    if (tag !== undefined && found !== tag) fail(`tag ${tag.toString(16)}, not ${found.toString(16)}`);
    if ((found & 0x1f) === 0x1f) fail('a tag below 31');
    let at = start + 2;
    let length = buf[start + 1]!;
    if (length >= 0x80) {
      const size = length & 0x7f;
      if (size === 0 || size > 3) fail('a definite length below 16 MB');
      if (end - at < size) truncated();
      length = 0;
      for (let i = 0; i < size; i++) length = (length << 8) | buf[at++]!;
      if (length < 0x80 || length < 1 << (8 * (size - 1))) fail('the shortest form of the length');
    }
    if (length > end - at) truncated();
    this.at = at + length;
    return { tag: found, start, at, end: at + length };
  }

  /** Takes the next element and gives a cursor over its contents. */
  enter(what: string, tag: number = DerTag.sequence): DerReader {
    const { at, end } = this.element(what, tag);
    if (this.#depth >= MAX_DEPTH) throw new DecodeError(what, at, `at most ${MAX_DEPTH} levels`);
    return new DerReader(this.buf, at, end, this.#depth + 1);
  }

  /** Contents of the next element, a view. */
  bytes(what: string, tag: number): Uint8Array {
    const { at, end } = this.element(what, tag);
    return this.buf.subarray(at, end);
  }

  /** The next element with tag and length, a view. */
  whole(what: string, tag?: number): Uint8Array {
    const { start, end } = this.element(what, tag);
    return this.buf.subarray(start, end);
  }

  boolean(what: string): boolean {
    const value = this.bytes(what, DerTag.boolean);
    if (value.length !== 1 || (value[0] !== 0 && value[0] !== 0xff)) throw new DecodeError(what, this.at, '00 or ff');
    return value[0] !== 0;
  }

  /** A non-negative INTEGER without its sign byte: a view of at least one byte. */
  unsigned(what: string): Uint8Array {
    const value = this.bytes(what, DerTag.integer);
    const [first = 0x80, second = 0x80] = value;
    const isMinimal = value.length > 0 && (value.length === 1 || first !== 0 || second >= 0x80);
    if (!isMinimal || first >= 0x80)
      throw new DecodeError(what, this.at, 'a non-negative integer in its shortest form');
    return value.length > 1 && first === 0 ? value.subarray(1) : value;
  }

  /** A non-negative INTEGER below 2^48. */
  number(what: string): number {
    const value = this.unsigned(what);
    if (value.length > 6) throw new DecodeError(what, this.at, 'a number below 2^48');
    return value.reduce((sum, byte) => sum * 256 + byte, 0);
  }

  /** A BIT STRING of whole bytes. */
  bitString(what: string): Uint8Array {
    const value = this.bytes(what, DerTag.bitString);
    if (value[0] !== 0) throw new DecodeError(what, this.at, 'whole bytes');
    return value.subarray(1);
  }

  /** Takes an OBJECT IDENTIFIER that must be this one, given by its contents. */
  expectOid(what: string, oid: Uint8Array): void {
    if (!equalBytes(this.bytes(what, DerTag.oid), oid))
      throw new DecodeError(what, this.at, 'another object identifier');
  }

  /** UTCTime or GeneralizedTime in the forms of RFC 5280 §4.1.2.5. @returns seconds since the Unix epoch */
  time(what: string): number {
    const { tag, at, end } = this.element(what);
    const text = String.fromCharCode(...this.buf.subarray(at, Math.min(end, at + 20)));
    const isShort = tag === DerTag.utcTime;
    const match = (isShort ? /^(\d\d)(\d{10})Z$/ : /^(\d{4})(\d{10})Z$/).exec(text);
    if (!match || (!isShort && tag !== DerTag.generalizedTime)) throw new DecodeError(what, at, 'a time in UTC');
    const number = Number(match[1]);
    const year = isShort ? number + (number < 50 ? 2000 : 1900) : number;
    const [month, day, hour, minute, second] = match[2]!.match(/\d\d/g)!.map(Number) as [number, ...number[]];
    const ms = Date.UTC(year, month - 1, day, hour, minute, second);
    // A day or an hour that does not exist would have moved the others.
    const back = new Date(ms).toISOString().replace(/[-:T]|\.000Z/g, '');
    if (Number.isNaN(ms) || back !== `${year}`.padStart(4, '0') + match[2] || (!isShort && year < 2050))
      throw new DecodeError(what, at, 'a date that exists, in the form for its year');
    return ms / 1000;
  }

  expectEnd(what: string): void {
    if (this.at !== this.end) throw new DecodeError(what, this.at, 'no further element');
  }
}

/** Reads a buffer that is one SEQUENCE and nothing else. @throws DecodeError */
export function enterWhole(buf: Uint8Array, what: string): DerReader {
  const outer = new DerReader(buf);
  const inner = outer.enter(what);
  outer.expectEnd(what);
  return inner;
}

/**
 * Writes DER behind each other into the caller's buffer; containers close themselves.
 *
 *   const w = new DerWriter(out);
 *   w.nest(DerTag.sequence, () => w.integer(serial).time(seconds));
 *   const der = w.written();
 */
export class DerWriter {
  readonly out: Uint8Array;
  at: number;
  readonly #start: number;

  constructor(out: Uint8Array, at = 0) {
    this.out = out;
    this.at = at;
    this.#start = at;
  }

  /** Everything written, a view. @throws S3mpError `encode.out-of-range` when the buffer was too short */
  written(): Uint8Array {
    if (this.at > this.out.length)
      throw new S3mpError('encode.out-of-range', `${this.at} bytes of DER exceed a buffer of ${this.out.length}`);
    return this.out.subarray(this.#start, this.at);
  }

  /** Bytes as they are: an element that is already encoded, or contents. */
  raw(bytes: Uint8Array): this {
    if (this.at + bytes.length <= this.out.length) this.out.set(bytes, this.at);
    this.at += bytes.length;
    return this;
  }

  primitive(tag: number, contents: Uint8Array): this {
    return this.nest(tag, () => this.raw(contents));
  }

  /** A container whose contents `fill` writes. The length is known behind it, so longer forms move the contents. */
  nest(tag: number, fill: () => unknown): this {
    const { out } = this;
    const lengthAt = this.at + 1;
    this.at += 2;
    fill();
    const length = this.at - lengthAt - 1;
    const more = length < 0x80 ? 0 : length < 0x100 ? 1 : length < 0x1_0000 ? 2 : 3;
    out[lengthAt - 1] = tag;
    if (more > 0) out.copyWithin(lengthAt + 1 + more, lengthAt + 1, this.at);
    out[lengthAt] = more === 0 ? length : 0x80 | more;
    for (let i = 0; i < more; i++) out[lengthAt + 1 + i] = length >>> (8 * (more - 1 - i));
    this.at += more;
    return this;
  }

  boolean(value: boolean): this {
    return this.primitive(DerTag.boolean, Uint8Array.of(value ? 0xff : 0));
  }

  /** @param magnitude  big-endian, non-negative */
  unsigned(magnitude: Uint8Array): this {
    let at = 0;
    while (at < magnitude.length - 1 && magnitude[at] === 0) at++;
    return this.nest(DerTag.integer, () => {
      if (magnitude[at]! >= 0x80) this.raw(Uint8Array.of(0));
      this.raw(magnitude.subarray(at));
    });
  }

  /** @param value  0…2^48-1 */
  number(value: number): this {
    const bytes = new Uint8Array(6);
    for (let i = 5; i >= 0; i--, value = Math.floor(value / 256)) bytes[i] = value % 256;
    return this.unsigned(bytes);
  }

  /** Whole bytes, or bits of which the last `unused` are not there. */
  bitString(bytes: Uint8Array, unused = 0): this {
    return this.nest(DerTag.bitString, () => this.raw(Uint8Array.of(unused)).raw(bytes));
  }

  oid(contents: Uint8Array): this {
    return this.primitive(DerTag.oid, contents);
  }

  /** @param seconds  since the Unix epoch; UTCTime until 2049, GeneralizedTime behind it */
  time(seconds: number): this {
    const text = new Date(seconds * 1000).toISOString().replace(/[-:T]|\.\d+/g, '');
    const isShort = text < '2050';
    const shown = isShort ? text.slice(2) : text;
    const bytes = Uint8Array.from(shown, (c) => c.charCodeAt(0));
    return this.primitive(isShort ? DerTag.utcTime : DerTag.generalizedTime, bytes);
  }
}
