/**
 * Seeded mutations into the ciphered side of a live server: of frames as an outsider can send them, of plain requests that
 * are then ciphered with the right keys, and of signed commands; while a challenge is pending and inside an association.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { DecodeError, DlmsError } from '#base/errors';
import { CIPHER_HEADROOM, CipherHeader, CipherKey, sealApdu } from '#dlms/cipher';
import { DlmsClient } from '#dlms/client';
import { type ClientSecurityOptions, MemoryCounter } from '#dlms/client-security';
import { exchangeSync } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import { ByteReader } from '#dlms/reader';
import type { ServerSession } from '#dlms/server';
import { decodeSigned, encodeSigned } from '#dlms/signing';
import { encodeWrapperHeader, WRAPPER_SIZE } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';
import { nodeCrypto } from '#hw/crypto';
import { seeded } from '#test/random';
import { KEYS, METER_TITLE, testMeter, testSecurity } from '../interop/dlms-meter.ts';
import vectorFile from '../vectors/dlms.json';

const Fuzz = suite('dlms security fuzz');
const random = seeded();
const TITLE = asciiBytes('S3H00001');
const SIGNER = nodeCrypto.signingKey(fromHex('1e'.repeat(32)));
const VERIFIER = nodeCrypto.verifyKey(
  fromHex(
    '04983c47fa5f7e1687726910c5baf9c59b5780e1652bd9369c33a77331412ab5b79f240959173974530980267edfc481b72f112edc3f4311968f82a6fac5f406a4',
  ),
);
const NAME = { classId: 1, ln: parseObis('0-0:42.0.0.255'), attribute: 2 };
const NOW = 1_800_000_000;

function signedCommand(content: Uint8Array, number: number): Uint8Array {
  const w = new ByteWriter(new Uint8Array(2048));
  const times = { notBefore: NOW - 10, expiry: NOW + 10 };
  encodeSigned(w, { number, originator: TITLE, recipient: METER_TITLE, ...times, reason: 'test', content }, SIGNER);
  return w.written().slice();
}

const DISCONNECT = fromHex('c301c10046000060030aff01010f00');
const CORPUS = [
  ...(vectorFile.vectors as { expected: string }[]).map(({ expected }) => fromHex(expected)),
  DISCONNECT,
  fromHex('c001c1000f0000280000ff0200'),
  fromHex('c301c1004000002b0000ff020101010202160009181fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5'),
  fromHex('c301c1004000002b0000ff01011603'),
  signedCommand(DISCONNECT, 1),
];

function mutate(source: Uint8Array): Uint8Array {
  let frame = source.slice();
  for (let edits = 1 + random.below(3); edits > 0; edits--) {
    const at = random.below(Math.max(1, frame.length));
    const kind = random.below(5);
    if (kind === 0) frame[at] = random.below(256);
    else if (kind === 1) frame[at] = (frame[at] ?? 0) ^ (1 << random.below(8));
    else if (kind === 2) frame = frame.slice(0, at);
    else if (kind === 3) frame = Uint8Array.from([...frame.subarray(0, at), ...random.bytes(2), ...frame.subarray(at)]);
    else {
      const other = CORPUS[random.below(CORPUS.length)]!;
      frame = Uint8Array.from([...frame.subarray(0, at), ...other.subarray(random.below(other.length))]);
    }
    if (frame.length > 600) frame = frame.slice(0, 600);
  }
  return frame;
}

Fuzz('headers of ciphered APDUs and signed requests are read or refused', () => {
  for (const read of [(r: ByteReader) => new CipherHeader().read(r), decodeSigned]) {
    for (let i = 0; i < 20_000; i++) {
      const frame = mutate(CORPUS[i % CORPUS.length]!);
      try {
        read(new ByteReader(frame));
      } catch (error) {
        if (!(error instanceof DecodeError)) throw new Error(`${toHex(frame)}: ${error}`);
      }
    }
  }
});

const out = new Uint8Array(2056);
const KEY = new CipherKey(nodeCrypto.gcmKey(KEYS.unicast), KEYS.authentication);

function sealed(plain: Uint8Array, counter: number, tag: number): Uint8Array {
  const w = new ByteWriter(new Uint8Array(1024));
  w.at = CIPHER_HEADROOM;
  w.bytes(plain);
  sealApdu(w, 0, CIPHER_HEADROOM, { tag, sc: 0x30, hasTitle: true }, KEY, TITLE, counter);
  return w.written();
}

function send(session: ServerSession, apdu: Uint8Array, now: number): void {
  const frame = new Uint8Array(WRAPPER_SIZE + apdu.length);
  encodeWrapperHeader(frame, 0, 1, 1, apdu.length);
  frame.set(apdu, WRAPPER_SIZE);
  const length = session.receive(frame, out, now);
  assert.ok(length === 0 || (length > 8 && length <= 8 + 2048), `${length} bytes to ${toHex(apdu)}`);
}

const options = (counter: MemoryCounter, title = TITLE): ClientSecurityOptions => ({
  crypto: nodeCrypto,
  mechanism: 5,
  title,
  unicast: KEYS.unicast,
  authentication: KEYS.authentication,
  counter,
});

for (const state of ['pending', 'outside', 'inside'] as const) {
  Fuzz(`mutated requests, ${state}: an answer or none, and the next honest client is served`, () => {
    for (const transport of ['datagram', 'stream'] as const) {
      const security = testSecurity();
      const meter = testMeter(
        { security, commands: 'signed' },
        {
          epochS: () => NOW,
          commands: { keys: [VERIFIER], title: METER_TITLE, accept: (n) => security.options.counters.acceptCommand(n) },
        },
      );
      let counter = 0;
      let now = 0;
      let session = meter.server.session('fuzzed', { transport })!;
      for (let i = 0; i < 3000; i++) {
        now += 5;
        if (i % 30 === 0) {
          session.close();
          session = meter.server.session(`fuzzed ${i}`, { transport })!;
          const client = new DlmsClient({ clientSap: 1, security: options(new MemoryCounter(counter)) });
          const operation = client.associate();
          const give = (frame: Uint8Array) => out.slice(0, session.receive(frame.slice(), out, now));
          if (state === 'pending') give(operation.next().value as Uint8Array);
          else exchangeSync(operation, give);
          counter += 4;
        }
        const apdu = mutate(CORPUS[random.below(CORPUS.length)]!);
        if (apdu.length === 0) continue;
        if (state === 'outside' || random.below(8) === 0) send(session, apdu, now);
        else {
          // With the right keys: what is inside meets the decoders.
          const tag = random.below(2) === 0 || apdu[0]! < 0xc0 || apdu[0]! > 0xc7 ? 0xdb : 0xc8;
          send(session, sealed(apdu, ++counter, tag), now);
        }
      }
      // No key was transferred and nothing was switched: no mutation has the master key or signs.
      assert.equal(meter.relay.moves, [], `${state}: nothing unsigned switches`);
      const honest = meter.server.session('honest', { transport })!;
      const title = asciiBytes('S3H00002');
      const client = new DlmsClient({ clientSap: 1, security: options(new MemoryCounter(), title) });
      const ask = (frame: Uint8Array) => out.slice(0, honest.receive(frame.slice(), out, now));
      exchangeSync(client.associate(), ask);
      assert.is(exchangeSync(client.get(NAME), ask).type, 'octet-string');
      const sign = (content: Uint8Array) => signedCommand(content, 1_000_000);
      const control = { classId: 70, ln: parseObis('0-0:96.3.10.255'), method: 1 };
      exchangeSync(client.signed(sign, client.action(control)), ask);
      assert.is(meter.relay.moves.length, 1);
    }
  });
}

Fuzz('a client takes nothing that was changed on the way', () => {
  const meter = testMeter({ security: testSecurity() });
  const session = meter.server.session('client')!;
  const client = new DlmsClient({ clientSap: 1, maxPdu: 200, security: options(new MemoryCounter()) });
  const honest = (frame: Uint8Array) => out.slice(0, session.receive(frame.slice(), out, 0));
  exchangeSync(client.associate(), honest);
  const expected = toHex((exchangeSync(client.get(NAME), honest) as { value: Uint8Array }).value);
  let failures = 0;
  for (let i = 0; i < 4000; i++) {
    try {
      const value = exchangeSync(client.get(NAME), (frame) => {
        const answer = honest(frame);
        const changed = random.below(2) === 0 ? mutate(answer) : answer;
        return changed.length > WRAPPER_SIZE ? changed : answer;
      });
      assert.is(value.type === 'octet-string' && toHex(value.value), expected);
    } catch (error) {
      if (!(error instanceof DlmsError)) throw error;
      failures++;
    }
    if (!client.isAssociated) exchangeSync(client.associate(), honest);
  }
  assert.ok(failures > 500, `${failures} answers refused`);
});

Fuzz.run();
