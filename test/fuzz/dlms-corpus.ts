/**
 * What the DLMS fuzz tests start from and how they change it: every published frame, requests of every service and form,
 * values with every length form, signed commands, HDLC frames; and seeded mutations of them.
 */

import { asciiBytes, fromHex } from '#base/bytes';
import { encodeSigned } from '#dlms/signing';
import { ByteWriter } from '#dlms/writer';
import { nodeCrypto } from '#hw/crypto';
import { encodeFirmwareImage } from '#session/firmware-image';
import type { Random } from '#test/random';
import { METER_TITLE } from '../interop/dlms-meter.ts';
import vectorFile from '../vectors/dlms.json';

export const TITLE = asciiBytes('S3H00001');
/** The wall clock of the meters, seconds. */
export const NOW = 1_800_000_000;
export const SIGNER = nodeCrypto.signingKey(fromHex('1e'.repeat(32)));
export const VERIFIER = nodeCrypto.verifyKey(
  fromHex(
    '04983c47fa5f7e1687726910c5baf9c59b5780e1652bd9369c33a77331412ab5b79f240959173974530980267edfc481b72f112edc3f4311968f82a6fac5f406a4',
  ),
);

export function signedCommand(content: Uint8Array, number: number): Uint8Array {
  const w = new ByteWriter(new Uint8Array(2048));
  const times = { notBefore: NOW - 10, expiry: NOW + 10 };
  encodeSigned(w, { number, originator: TITLE, recipient: METER_TITLE, ...times, reason: 'test', content }, SIGNER);
  return w.written().slice();
}

/** A signed image with the smallest content that says something. */
export const IMAGE = encodeFirmwareImage(
  { model: 's3mp-meter', version: [2, 0, 0], minimum: [1, 0, 0] },
  asciiBytes('console.log(1)'),
  SIGNER,
  nodeCrypto,
);

/** SET of the clock to NOW, 2027-01-15 08:00 UTC. */
const SET_CLOCK = fromHex('c101c100080000010000ff0200090c07eb010f0508000000000000');
const DISCONNECT = fromHex('c301c10046000060030aff01010f00');

/** APDUs, values and frames. */
export const CORPUS: readonly Uint8Array[] = [
  ...(vectorFile.vectors as { expected: string; inputs: { request?: string } }[]).flatMap(({ expected, inputs }) =>
    inputs.request ? [expected, inputs.request] : [expected],
  ),
  'c003c102000100002a0000ff020000030100200700ff0200',
  'c104c1020001 0000600d00ff02000001 00002a0000ff0200 02 090141 090142',
  'c303c1010046000060030aff0101 0f00',
  'c001c1000f0000280000ff0200',
  'c001c1000f0000280000ff0201 02 01 01 12 0003',
  'c001c10007 0100630100ff 02 01 02 0204 0600000001 0600000000 120001 120000',
  'c001c10007 0100630100ff 02 01 01 0204 0204 120008 09060000010000ff 0f02 120000 090c07ea0b17ff000000ff800000 090c07ea0b18ff000000ff800000 0100',
  'c001c10007 0100630100ff 00 00',
  'c002c1 00000001',
  'c101c10008 0000010000ff 02 00 090c07eb020303040506008000ff',
  'c101c10047 0000110000ff 0b 00 0202 0202 09060000 0a006aff 120001 0202 09060000 0a006aff 120002',
  'c102c1 0001 0000600d00ff 02 00 00 00000001 04 09060102',
  'c103c1 01 00000002 04 03040506',
  'c105c1 02 0001 0000600d00ff0200 0001 00002a0000ff0200 00 00000001 03 020901',
  'c301c10012 00002c0000ff 01 01 0202 0908 6669726d77617265 0600001388',
  'c301c10012 00002c0000ff 02 01 0202 0600000000 0908 0011223344556677',
  'c301c10012 00002c0000ff 03 01 0f00',
  'c301c10012 00002c0000ff 04 01 0f00',
  'c301c10009 00000a006aff 01 01 120001',
  'c304c1 0046 000060030aff 01 01 00000001 02 0f00',
  'c305c1 01 0046 000060030aff 01 01 00000001 03 010f00',
  'c306c1 01 00000002 01 00',
  'c302c1 00000001',
  'c301c1004000002b0000ff020101010202160009181fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5',
  'c301c1004000002b0000ff01011603',
  'c502c1 00000001',
  'c504c1 02 0000 00000002',
  'c704c1 00000001',
  'c702c1 01 00000001 05 0001000f00',
  'e083 0001 0000 0d c001c1000f0000280000ff0200',
  'e043 0001 0000 06 c001c1000f00',
  'e083 0002 0000 07 00280000ff0200',
  'e003 0002 0001 00',
  '0f 40000001 0c 07e80b1502081e0f17ffc400 0202 1105 1106',
  'c2 01 0c 07e50118ff0e303950ffc400 0001 0000600101ff 02 0901 31',
  '0204 0182000212 0001 120002 0981020102 0a8200010a 040affc0',
  '13 0202 1206 0c 000100000002000300000004',
  '1301000202021206 18 000100000002000300000004000500000006000700000008',
]
  .map((hex) => fromHex(hex))
  .concat([
    IMAGE,
    DISCONNECT,
    SET_CLOCK,
    signedCommand(DISCONNECT, 1),
    signedCommand(SET_CLOCK, 3),
    signedCommand(fromHex('c001c1000f0000280000ff0200'), 2),
  ]);

const INTERESTING = [0x00, 0x01, 0x02, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff, 0x13, 0x60, 0xbe];

/** Longest frame that a mutation makes. */
const LONGEST = 600;

/** One to four edits: flips, interesting bytes, cuts, doubled parts, parts of another frame. Exact-size result. */
export function mutate(source: Uint8Array, { below, bytes }: Random): Uint8Array {
  let frame: Uint8Array = source.slice();
  for (let edits = 1 + below(4); edits > 0; edits--) {
    const at = below(Math.max(1, frame.length));
    const kind = below(7);
    if (kind === 0) frame[at] = below(256);
    else if (kind === 1) frame[at] = INTERESTING[below(INTERESTING.length)]!;
    else if (kind === 2) frame[at] = (frame[at] ?? 0) ^ (1 << below(8));
    else if (kind === 3) frame = frame.slice(0, at);
    else if (kind === 4) frame = joined(frame.subarray(0, at), bytes(1 + below(4)), frame.subarray(at));
    else if (kind === 5) frame = joined(frame, frame.subarray(at));
    else {
      const other = CORPUS[below(CORPUS.length)]!;
      frame = joined(frame.subarray(0, at), other.subarray(below(other.length)));
    }
    if (frame.length > LONGEST) frame = frame.slice(0, LONGEST);
  }
  return frame;
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((size, { length }) => size + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
