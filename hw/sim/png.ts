/** Black and white pictures as PNG (RFC 2083): one bit a pixel, one chunk of data. */

import { crc32, deflateSync } from 'node:zlib';
import type { Bitmap } from '#hw/display/bitmap';

/** The display twin draws every second: pixels in one buffer, a small window for pictures that are mostly black. */
const FRUGAL = { windowBits: 9, memLevel: 1, chunkSize: 1024 };
let pixels = Buffer.alloc(0);

/** @param scale  side of the square that a pixel becomes */
export function encodePng(picture: Bitmap, scale: number): Buffer {
  const width = picture.width * scale;
  const height = picture.height * scale;
  const stride = 1 + Math.ceil(width / 8);
  if (pixels.length !== stride * height) pixels = Buffer.alloc(stride * height);
  const rows = pixels.fill(0);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (picture.isSet(Math.floor(x / scale), Math.floor(y / scale)))
        rows[y * stride + 1 + (x >> 3)]! |= 0x80 >> (x & 7);
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 1;
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows, FRUGAL)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const frame = Buffer.alloc(8 + body.length);
  frame.writeUInt32BE(data.length, 0);
  body.copy(frame, 4);
  frame.writeUInt32BE(crc32(body), 4 + body.length);
  return frame;
}
