/** CRC-32 as in IEEE 802.3: a check of small stored records, bit by bit and without a table. */

/** @returns checksum of `buf[at, end)`, unsigned */
export function crc32(buf: Uint8Array, at = 0, end = buf.length): number {
  let crc = -1;
  for (let i = at; i < end; i++) {
    crc ^= buf[i]!;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb8_8320 : 0);
  }
  return ~crc >>> 0;
}
