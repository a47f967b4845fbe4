/** CRC-16 of Modbus RTU (Modbus over serial line V1.02, §6.2.2): reflected 0xA001, start 0xFFFF, sent low byte first. */

const TABLE = new Uint16Array(256);
for (let i = 0; i < 256; i++) {
  let c = i;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xa001 : c >>> 1;
  TABLE[i] = c;
}

/** CRC over `buf[at, end)`; over a frame with its CRC it is 0. */
export function crc16(buf: Uint8Array, at: number, end: number): number {
  let c = 0xffff;
  for (let i = at; i < end; i++) c = (c >>> 8) ^ TABLE[(c ^ buf[i]!) & 0xff]!;
  return c;
}

/** Appends the CRC of `out[from, at)` at `at`. @returns offset behind it */
export function writeCrc(out: Uint8Array, from: number, at: number): number {
  const c = crc16(out, from, at);
  out[at] = c;
  out[at + 1] = c >>> 8;
  return at + 2;
}
