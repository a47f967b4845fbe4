/**
 * Live servers of the whole meter, brought into each state that an association can be in, so that fuzz tests can send
 * anything into it: outside, pending, inside in the clear and ciphered, and in the middle of every kind of long transfer.
 */

import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { DlmsClient } from '#dlms/client';
import { encodeFrame, HdlcStream, information } from '#dlms/hdlc';
import { HdlcServerLink } from '#dlms/hdlc-server';
import { parseObis } from '#dlms/obis';
import { WRAPPER_SIZE } from '#dlms/wrapper';
import type { Random } from '#test/random';
import { CORPUS, IMAGE, mutate } from './dlms-corpus.ts';
import { type Fuzzed, PASSWORD_BYTES } from './dlms-fuzzed.ts';

export interface State {
  readonly name: string;
  readonly suite?: 0 | 1;
  /** Cases before the state is entered anew. */
  readonly cases: number;
  /** Only over this transport. */
  readonly transport?: 'datagram' | 'stream';
  enter(fuzzed: Fuzzed): void;
  /** Frames that mean something in this state; other cases come from the corpus. */
  readonly sources?: readonly Uint8Array[];
  /** A request that only this state answers so, ciphered under a tag or in the clear: shows that `enter` gets there. */
  readonly probe?: readonly [request: string, answer: RegExp, tag?: number];
  /** How a case is sent; by default as the APDU. */
  give?(fuzzed: Fuzzed, apdu: Uint8Array, random: Random): void;
}

const hex = (...texts: readonly string[]) => texts.map((text) => fromHex(text));
const OBJECT_LIST = { classId: 15, ln: parseObis('0-0:40.0.0.255'), attribute: 2 };
const MESSAGE = '0001 0000600d00ff 02';
const EVERYTHING = 0xff_ffff;
const GET_NAME = 'c001c1 0001 00002a0000ff 02 00';
const NO_ASSOCIATION = /^d80101$/;

/** With the right keys most of the time: outsiders come no further than the tag. */
function ciphered(fuzzed: Fuzzed, apdu: Uint8Array, random: Random, styles: readonly number[]): void {
  const tag = apdu[0] ?? 0;
  const isService = tag >= 0xc0 && tag <= 0xc7;
  const style = styles[random.below(styles.length)]!;
  if (random.below(6) === 0) fuzzed.send(apdu);
  else fuzzed.send(fuzzed.sealed(apdu, isService ? style : style >= 0xd0 && style <= 0xd7 ? 0xdc : 0xdb));
}

const insider =
  (...styles: readonly number[]) =>
  (fuzzed: Fuzzed, apdu: Uint8Array, random: Random) =>
    ciphered(fuzzed, apdu, random, styles);

/** Between the AARE and the answer to the challenge. */
const pending = (fuzzed: Fuzzed) => fuzzed.begin(fuzzed.client({ sap: 1 }).associate());
const inside =
  (options: Parameters<Fuzzed['client']>[0]): ((fuzzed: Fuzzed) => DlmsClient) =>
  (fuzzed) => {
    const client = fuzzed.client(options);
    fuzzed.run(client.associate());
    return client;
  };

const REPLY_TEXT = 'c301c1000f0000280000ff01010911100000000200112233445566778899aabb';
const LONG_SET = hex(
  'c103c1 00 00000002 04 03040506',
  'c103c1 01 00000002 04 03040506',
  'c103c1 01 00000003 02 0708',
  `c102c1 ${MESSAGE} 00 00 00000001 04 09060102`,
);
const LONG_ACTION = hex('c306c1 00 00000002 02 0009', 'c306c1 01 00000002 02 0000', 'c302c1 00000001');

const IMAGE_BLOCK = 'c301c1 0012 00002c0000ff 02 01 0202 06 00000000 09';

/** Every state of an association. */
export const STATES: readonly State[] = [
  {
    name: 'no association',
    cases: 50,
    enter: (f) => void f.client({ sap: 17 }),
    probe: [GET_NAME, NO_ASSOCIATION],
    give: anyClient,
  },
  { name: 'many strangers', cases: 200, enter() {}, give: (f, apdu, random) => f.stranger(random, apdu) },
  { name: 'public client', cases: 40, enter: inside({ sap: 16 }), probe: [GET_NAME, /^c401c100/] },
  {
    name: 'password, refused',
    cases: 20,
    enter: (f) => {
      f.client({ sap: 17 });
      f.begin(new DlmsClient({ clientSap: 17, password: asciiBytes('wrong') }).associate());
    },
    probe: [GET_NAME, NO_ASSOCIATION],
  },
  { name: 'password', cases: 40, enter: inside({ sap: 17 }), probe: [GET_NAME, /^c401c100/] },
  {
    name: 'password, small PDUs',
    cases: 40,
    enter: inside({ sap: 17, conformance: EVERYTHING, maxPdu: 64 }),
    probe: ['c001c1 000f 0000280000ff 02 00', /^c402c100/],
  },
  {
    name: 'GET in blocks',
    cases: 8,
    enter: (f) => f.begin(inside({ sap: 17, maxPdu: 64 })(f).get(OBJECT_LIST)),
    probe: ['c002c1 00000001', /^c402c10000000002/],
    sources: hex('c002c1 00000001', 'c002c1 00000002', 'c002c2 00000001', 'c001c1000f0000280000ff0200'),
  },
  {
    name: 'SET in blocks',
    cases: 8,
    enter: (f) => {
      inside({ sap: 17 })(f);
      f.send(fromHex(`c102c1 ${MESSAGE} 00 00 00000001 04 09060102`));
    },
    probe: ['c103c1 01 00000002 04 03040506', /^c503c10000000002$/],
    sources: LONG_SET,
  },
  {
    name: 'ACTION in blocks',
    cases: 8,
    enter: (f) => {
      inside({ sap: 17 })(f);
      f.send(fromHex('c304c1 0046 000060030aff 01 00 00000001 01 0f'));
    },
    probe: ['c306c1 01 00000002 01 00', /^c701c10d00$/],
    sources: LONG_ACTION,
  },
  {
    name: 'image transfer under way',
    cases: 40,
    enter: (f) => {
      inside({ sap: 1 })(f);
      // Forty bytes, of which none has come yet.
      f.send(f.sealed(fromHex('c301c1 0012 00002c0000ff 01 01 0202 0908 6669726d77617265 06 00000028'), 0xcb));
    },
    probe: [`${IMAGE_BLOCK} 04 00112233`, /^cf/, 0xcb],
    sources: hex(
      `${IMAGE_BLOCK} 28 ${toHex(IMAGE).slice(0, 80)}`,
      `${IMAGE_BLOCK} 04 00112233`,
      'c301c1 0012 00002c0000ff 03 01 0f00',
      'c301c1 0012 00002c0000ff 04 01 0f00',
      'c101c1 0012 00002c0000ff 05 00 0301',
    ),
    give: insider(0xc8, 0xc9, 0xcb, 0xdb),
  },
  {
    name: 'general block transfer, request under way',
    cases: 8,
    enter: (f) => {
      inside({ sap: 17, conformance: EVERYTHING })(f);
      f.send(fromHex('e043 0001 0000 06 c001c1000f00'));
    },
    probe: ['e083 0002 0000 07 00280000ff0200', /^e0..00010002/],
    sources: hex(
      'e083 0002 0000 07 00280000ff0200',
      'e043 0002 0000 03 002800',
      'e003 0002 0001 00',
      'e080 0000 0000 00',
    ),
  },
  {
    name: 'general block transfer, answer under way',
    cases: 8,
    enter: (f) => {
      inside({ sap: 17, conformance: EVERYTHING, maxPdu: 64 })(f);
      f.send(fromHex('e083 0001 0000 0d c001c1000f0000280000ff0200'));
    },
    probe: ['e083 0002 0002 00', /^e0..0003/],
    sources: hex('e083 0002 0001 00', 'e0bf 0002 0002 00', 'e003 0002 0000 00', 'e080 0000 0000 00'),
  },
  {
    name: 'challenge pending',
    cases: 4,
    enter: pending,
    probe: [REPLY_TEXT, /^cf/, 0xcb],
    sources: hex(REPLY_TEXT),
    give: insider(0xcb, 0xdb),
  },
  {
    name: 'ciphered',
    cases: 40,
    enter: inside({ sap: 1 }),
    probe: [GET_NAME, /^cc/, 0xc8],
    give: insider(0xc8, 0xc9, 0xcb, 0xdb),
  },
  {
    name: 'ciphered, dedicated key',
    cases: 40,
    enter: inside({ sap: 1, isDedicated: true }),
    probe: [GET_NAME, /^d4/, 0xd0],
    give: insider(0xd0, 0xd1, 0xd3, 0xdc, 0xdb),
  },
  {
    name: 'ciphered, GET in blocks',
    cases: 8,
    enter: (f) => f.begin(inside({ sap: 1, maxPdu: 128 })(f).get(OBJECT_LIST)),
    // A block fills what the client takes, another answer does not.
    probe: ['c002c2 00000001', /^cc(..){120}/, 0xc8],
    sources: hex('c002c2 00000001', 'c002c2 00000002'),
    give: insider(0xc8, 0xdb),
  },
  {
    name: 'ciphered, SET in blocks',
    cases: 8,
    enter: (f) => {
      inside({ sap: 1 })(f);
      f.send(f.sealed(fromHex(`c102c1 ${MESSAGE} 00 00 00000001 04 09060102`), 0xc9));
    },
    // Eight bytes and the ciphering: the answer to a last block.
    probe: ['c103c1 01 00000002 04 03040506', /^cd(..){26}$/, 0xc9],
    sources: LONG_SET,
    give: insider(0xc9, 0xdb),
  },
  {
    name: 'ciphered, general block transfer',
    cases: 8,
    enter: (f) => {
      inside({ sap: 1, conformance: EVERYTHING, maxPdu: 128 })(f);
      f.send(fromHex('e043 0001 0000 06 db0853334830'));
    },
    probe: ['e083 0002 0000 08 3030303120300000', /^e0..0001000203d80105$/],
    sources: hex('e083 0002 0000 08 3030303120300000', 'e003 0002 0001 00', 'e080 0000 0000 00'),
  },
  {
    name: 'suite 1, challenge pending',
    suite: 1,
    cases: 4,
    enter: pending,
    probe: [REPLY_TEXT, /^cf/, 0xcb],
    sources: hex(REPLY_TEXT),
    give: insider(0xcb, 0xdb),
  },
  {
    name: 'suite 1, ciphered',
    suite: 1,
    cases: 40,
    enter: inside({ sap: 1 }),
    probe: [GET_NAME, /^cc/, 0xc8],
    give: insider(0xc8, 0xc9, 0xcb, 0xdb),
  },
  { name: 'HDLC', cases: 40, transport: 'stream', enter() {}, give: overHdlc },
];

/** Any access point, also those that nobody configured. */
function anyClient(fuzzed: Fuzzed, apdu: Uint8Array, random: Random): void {
  const saps = [1, 16, 17, random.below(65_536)];
  fuzzed.send(apdu, saps[random.below(saps.length)]!);
}

const CLIENT = Uint8Array.of(0x23);
const SERVER = Uint8Array.of(0x03);

/**
 * A link in each of its states: a connection, sometimes with an association, a segmented request that has begun, and then
 * frames with right checksums around what was mutated, or broken ones.
 */
function overHdlc(fuzzed: Fuzzed, apdu: Uint8Array, random: Random): void {
  let sent = 0;
  const { server } = fuzzed.meter;
  const key = `line ${random.u32()}`;
  const link = new HdlcServerLink({
    maxPdu: 2048,
    serverSap: 1,
    open: () => server.session(key, { transport: 'stream', source: key, isPolled: true }),
    send: () => sent++,
  });
  const stream = new HdlcStream(link.maxInfo);
  const out = new Uint8Array(2048);
  const push = (bytes: Uint8Array) => stream.push(bytes, (frame) => link.receive(frame, 0));
  const frame = (control: number, info: Uint8Array, isSegmented = false) =>
    push(out.slice(0, encodeFrame(out, 0, SERVER, CLIENT, control, info, isSegmented)));
  frame(0x93, new Uint8Array(0));
  if (random.below(2) === 0) frame(information(0, 0, true), LLC_AND_AARQ);
  if (random.below(2) === 0) frame(information(link.isConnected ? 1 : 0, 1, true), SEGMENT, true);
  if (random.below(3) === 0) push(apdu);
  else {
    const control = random.below(2) === 0 ? random.below(256) : information(random.below(3), random.below(3), true);
    const info = random.below(2) === 0 ? apdu : Uint8Array.from([0xe6, 0xe6, 0x00, ...apdu]);
    frame(control, info.subarray(0, 520), random.below(4) === 0);
  }
  for (let i = 0; i < 3; i++) frame(0x11 | (random.below(8) << 5), new Uint8Array(0));
  link.close();
  if (sent > 64) throw new Error(`${sent} frames`);
}

const LLC_AND_AARQ = fromHex(
  `e6e600 ${(() => {
    const frame = new DlmsClient({ clientSap: 17, password: PASSWORD_BYTES }).associate().next().value as Uint8Array;
    return toHex(frame, WRAPPER_SIZE);
  })()}`,
);
const SEGMENT = fromHex('e6e600 c001c1000f');

/** A mutation of a frame that fits the state, or of any. */
export function caseFor(state: State, random: Random): Uint8Array {
  const sources = state.sources && random.below(2) === 0 ? state.sources : CORPUS;
  const source = sources[random.below(sources.length)]!;
  // Unchanged now and then, so that a transfer also goes on.
  return random.below(10) === 0 ? source.slice() : mutate(source, random);
}
