/**
 * DER (ITU-T X.690): the one encoding of ASN.1 in certificates, requests and revocation lists.
 *
 *   tag | length, as short as it can be | contents
 *
 * The reader gives views and is strict: minimal lengths, no trailing bytes, no tag above 30; it descends where its caller
 * does, so nesting in the input costs nothing. The writer fills the caller's buffer. Leaves out what X.509 on P-256 does not need: REAL, SET OF with more than one element.
 */

import { asciiBytes, asciiText, fromHex, toHex } from '#base/bytes';
import { DecodeError, S3mpError } from '#base/errors';
import { utcText } from '#base/time-text';

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

/** One element: `[at, end)` are its contents. */
export interface DerElement {
  readonly tag: number;
  readonly at: number;
  readonly end: number;
}

/** A cursor over the elements of one buffer. Every method throws DecodeError for anything else than what it names. */
export class DerReader {
  readonly buf: Uint8Array;
  /** What is read, for errors. */
  readonly what: string;
  at: number;
  readonly end: number;

  constructor(buf: Uint8Array, what: string, at = 0, end = buf.length) {
    this.buf = buf;
    this.what = what;
    this.at = at;
    this.end = end;
  }

  fail(expected: string): never {
    throw new DecodeError(this.what, this.at, expected);
  }

  #need(at: number, count: number): void {
    if (this.end - at < count)
      throw new DecodeError(this.what, this.at, `${at + count - this.end} bytes more`, 'decode.truncated');
  }

  /** Tag of the next element, -1 at the end. */
  get tag(): number {
    return this.at < this.end ? this.buf[this.at]! : -1;
  }

  /** Takes the next element. @param wanted  the only tag that is right; any when left out */
  element(wanted?: number): DerElement {
    const { buf } = this;
    let at = this.at + 2;
    this.#need(this.at, 2);
    const { tag } = this;
    let length = buf[at - 1]!;
    if (wanted === undefined ? (tag & 0x1f) === 0x1f : tag !== wanted) this.fail(`tag ${wanted}, not ${tag}`);
    if (length >= 0x80) {
      const size = length - 0x80;
      if (size < 1 || size > 3) this.fail('a definite length below 16 MB');
      this.#need(at, size);
      length = 0;
      for (let i = 0; i < size; i++) length = (length << 8) | buf[at++]!;
      if (length < 0x80 || length < 1 << (8 * (size - 1))) this.fail('the shortest length');
    }
    this.#need(at, length);
    this.at = at + length;
    return { tag, at, end: this.at };
  }

  /** Takes the next element and gives a cursor over its contents. */
  enter(tag: number = DerTag.sequence): DerReader {
    const { at, end } = this.element(tag);
    return new DerReader(this.buf, this.what, at, end);
  }

  /** Contents of the next element, a view. */
  bytes(tag: number): Uint8Array {
    const { at, end } = this.element(tag);
    return this.buf.subarray(at, end);
  }

  /** Takes bytes that can only be these. @param expected  in hexadecimal */
  expect(expected: string): void {
    const end = this.at + expected.length / 2;
    this.#need(this.at, expected.length / 2);
    if (toHex(this.buf, this.at, end) !== expected) this.fail(expected);
    this.at = end;
  }

  boolean(): boolean {
    const value = toHex(this.bytes(DerTag.boolean));
    return value === 'ff' || (value !== '00' && this.fail('00 or ff'));
  }

  /** A non-negative INTEGER without its sign byte: a view of at least one byte. */
  unsigned(): Uint8Array {
    const value = this.bytes(DerTag.integer);
    const [first = 0x80, second = 0x80] = value;
    if (first >= 0x80 || (first === 0 && second < 0x80)) this.fail('a non-negative integer, in its shortest form');
    return value.length > 1 && first === 0 ? value.subarray(1) : value;
  }

  /** A non-negative INTEGER below 2^48. */
  number(): number {
    const value = this.unsigned();
    if (value.length > 6) this.fail('a number below 2^48');
    return Number(`0x${toHex(value)}`);
  }

  /** A BIT STRING of whole bytes. */
  bitString(): Uint8Array {
    const value = this.bytes(DerTag.bitString);
    if (value[0] !== 0) this.fail('whole bytes');
    return value.subarray(1);
  }

  /** Contents of an OBJECT IDENTIFIER in hexadecimal. */
  oid(): string {
    return toHex(this.bytes(DerTag.oid));
  }

  /** UTCTime or GeneralizedTime in the forms of RFC 5280 §4.1.2.5. @returns seconds since the Unix epoch */
  time(): number {
    const { tag, at, end } = this.element();
    const text = asciiText(this.buf, at, end);
    const full = tag === DerTag.utcTime ? (text < '5' ? '20' : '19') + text : text;
    const ms = Date.parse(full.replace(/^(....)(..)(..)(..)(..)(..)Z$/, '$1-$2-$3T$4:$5:$6Z'));
    // A date that does not exist, or that has another form, comes out differently.
    if (Number.isNaN(ms) || timeText(ms / 1000) !== text || tag !== timeTag(text)) this.fail('a time in UTC before it');
    return ms / 1000;
  }

  expectEnd(): void {
    if (this.at !== this.end) this.fail('no further element');
  }
}

/** Text of a time: two digits of the year until 2049, four behind it. */
function timeText(seconds: number): string {
  const text = utcText(seconds * 1000).replace(/[-:T]|\.\d+/g, '');
  return text < '1950' || text >= '2050' ? text : text.slice(2);
}

const timeTag = (text: string): number => (text.length === 13 ? DerTag.utcTime : DerTag.generalizedTime);

/** Reads a buffer that is one SEQUENCE and nothing else. @throws DecodeError */
export function enterWhole(buf: Uint8Array, what: string): DerReader {
  const outer = new DerReader(buf, what);
  const inner = outer.enter();
  outer.expectEnd();
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

  /** @param contents  in hexadecimal */
  oid(contents: string): this {
    return this.primitive(DerTag.oid, fromHex(contents));
  }

  /** @param seconds  since the Unix epoch; UTCTime until 2049, GeneralizedTime behind it */
  time(seconds: number): this {
    const text = timeText(seconds);
    return this.primitive(timeTag(text), asciiBytes(text));
  }
}
