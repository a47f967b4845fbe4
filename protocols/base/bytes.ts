/**
 * Big-endian reads and writes over a Uint8Array: the byte cursor of every codec.
 *
 * Convention of the whole code base: `writeX(out, at, value)` stores at `at` and returns the offset behind it;
 * `readX(buf, at)` reads. Neither checks the length: a decoder checks once at its entrance, an encoder knows the size.
 * 64-bit fields cross this edge as bigint; hot paths read them as two u32 halves.
 */

export function readU16(buf: Uint8Array, at: number): number {
  return (buf[at]! << 8) | buf[at + 1]!;
}

export function readI16(buf: Uint8Array, at: number): number {
  return ((buf[at]! << 24) >> 16) | buf[at + 1]!;
}

export function readU32(buf: Uint8Array, at: number): number {
  return ((buf[at]! << 24) | (buf[at + 1]! << 16) | (buf[at + 2]! << 8) | buf[at + 3]!) >>> 0;
}

export function readI32(buf: Uint8Array, at: number): number {
  return (buf[at]! << 24) | (buf[at + 1]! << 16) | (buf[at + 2]! << 8) | buf[at + 3]!;
}

/** 48-bit unsigned, exact in a number. */
export function readU48(buf: Uint8Array, at: number): number {
  return readU16(buf, at) * 0x1_0000_0000 + readU32(buf, at + 2);
}

/** Eight bytes of one's own: DataView turns bigint into bytes and back without an object in between. */
const wide = new DataView(new ArrayBuffer(8));
const wideBytes = new Uint8Array(wide.buffer);

export function readU64(buf: Uint8Array, at: number): bigint {
  for (let i = 0; i < 8; i++) wideBytes[i] = buf[at + i]!;
  return wide.getBigUint64(0);
}

export function writeU8(out: Uint8Array, at: number, value: number): number {
  out[at] = value;
  return at + 1;
}

export function writeU16(out: Uint8Array, at: number, value: number): number {
  out[at] = value >>> 8;
  out[at + 1] = value;
  return at + 2;
}

export function writeU32(out: Uint8Array, at: number, value: number): number {
  out[at] = value >>> 24;
  out[at + 1] = value >>> 16;
  out[at + 2] = value >>> 8;
  out[at + 3] = value;
  return at + 4;
}

export function writeU48(out: Uint8Array, at: number, value: number): number {
  writeU16(out, at, Math.floor(value / 0x1_0000_0000));
  return writeU32(out, at + 2, value % 0x1_0000_0000);
}

export function writeU64(out: Uint8Array, at: number, value: bigint): number {
  wide.setBigUint64(0, value);
  for (let i = 0; i < 8; i++) out[at + i] = wideBytes[i]!;
  return at + 8;
}

export function writeBytes(out: Uint8Array, at: number, src: Uint8Array): number {
  out.set(src, at);
  return at + src.length;
}

/** Compares contents; leaks timing, so never for secrets (see `constantTimeEqual`). */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Compares tags and passwords: time depends on the lengths only. */
export function constantTimeEqual(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i++) difference |= a[i]! ^ b[i]!;
  return difference === 0;
}

const HEX = '0123456789abcdef';

/** Lower-case hexadecimal text of a range. */
export function toHex(buf: Uint8Array, at = 0, end = buf.length): string {
  let text = '';
  for (let i = at; i < end; i++) text += HEX[buf[i]! >> 4]! + HEX[buf[i]! & 15]!;
  return text;
}

/**
 * Bytes of hexadecimal text; blanks are ignored.
 * @throws RangeError on an odd count or a foreign character
 */
export function fromHex(text: string): Uint8Array {
  const digits = text.replace(/\s+/g, '');
  if (digits.length % 2 !== 0 || /[^0-9a-f]/i.test(digits)) throw new RangeError('not hexadecimal text of whole bytes');
  const out = new Uint8Array(digits.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16);
  return out;
}

/** Bytes of ASCII text; characters above 0x7f become `?`. */
export function asciiBytes(text: string): Uint8Array {
  const out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    out[i] = c < 0x80 ? c : 0x3f;
  }
  return out;
}

/** ASCII text of a range; bytes above 0x7f become `?`. */
export function asciiText(buf: Uint8Array, at = 0, end = buf.length): string {
  let text = '';
  for (let i = at; i < end; i++) text += buf[i]! < 0x80 ? String.fromCharCode(buf[i]!) : '?';
  return text;
}
