/** A client with security on a line to the test meter, every frame of which is kept, and ways to forge one. */

import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { DlmsError } from '#base/errors';
import { CIPHER_HEADROOM, CipherKey, sealApdu } from '#dlms/cipher';
import { DlmsClient } from '#dlms/client';
import { type ClientSecurityOptions, MemoryCounter } from '#dlms/client-security';
import { exchangeSync } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import type { ServerSession } from '#dlms/server';
import { encodeWrapperHeader, WRAPPER_SIZE } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';
import { nodeCrypto } from '#hw/crypto';
import { KEYS, type TestMeter, testMeter, testSecurity } from '../../interop/dlms-meter.ts';

export const TITLE = asciiBytes('S3H00001');
export const NAME = { classId: 1, ln: parseObis('0-0:42.0.0.255'), attribute: 2 };
export const OUTPUT = { classId: 70, ln: parseObis('0-0:96.3.10.255'), attribute: 2 };
export const DISCONNECT = { classId: 70, ln: parseObis('0-0:96.3.10.255'), method: 1 };
export const RECONNECT = { classId: 70, ln: parseObis('0-0:96.3.10.255'), method: 2 };
export const SETUP = { classId: 64, ln: parseObis('0-0:43.0.0.255') };
export const COUNTER = { classId: 1, ln: parseObis('0-0:43.1.0.255'), attribute: 2 };
export const LDN = fromHex('c001c1000100002a0000ff0200');
const out = new Uint8Array(4096);

export interface Line {
  readonly client: DlmsClient;
  readonly session: ServerSession;
  /** Every frame that the client sent. */
  readonly sent: Uint8Array[];
  /** Every answer. */
  readonly got: Uint8Array[];
  run<T>(operation: Generator<Uint8Array, T, Uint8Array>): T;
}

export function options(extra: Partial<ClientSecurityOptions> = {}): ClientSecurityOptions {
  return {
    crypto: nodeCrypto,
    mechanism: 5,
    title: TITLE,
    unicast: KEYS.unicast,
    authentication: KEYS.authentication,
    counter: new MemoryCounter(),
    ...extra,
  };
}

export function connect(
  meter: TestMeter,
  extra: Partial<ClientSecurityOptions> = {},
  more: { key?: string; transport?: 'stream' | 'datagram'; maxPdu?: number } = {},
): Line {
  const { key = 'head end', transport = 'datagram', maxPdu = 1024 } = more;
  const session = meter.server.session(key, { transport })!;
  const client = new DlmsClient({ clientSap: 1, maxPdu, security: options(extra) });
  const sent: Uint8Array[] = [];
  const got: Uint8Array[] = [];
  return {
    client,
    session,
    sent,
    got,
    run: (operation) =>
      exchangeSync(operation, (frame) => {
        sent.push(frame.slice());
        const answer = give(session, frame);
        got.push(answer);
        return answer;
      }),
  };
}

export function give(session: ServerSession, frame: Uint8Array, atMs = 1000): Uint8Array {
  return out.slice(0, session.receive(frame.slice(), out, atMs));
}

/** Gives an APDU as client 1; the answer's APDU as hex. */
export function ask(session: ServerSession, apdu: Uint8Array): string {
  const frame = new Uint8Array(WRAPPER_SIZE + apdu.length);
  encodeWrapperHeader(frame, 0, 1, 1, apdu.length);
  frame.set(apdu, WRAPPER_SIZE);
  return toHex(give(session, frame), WRAPPER_SIZE);
}

export function sealed(
  plain: Uint8Array,
  counter: number,
  { style = 0xc8, sc = 0x30, title = TITLE, key = KEYS.unicast } = {},
) {
  const w = new ByteWriter(new Uint8Array(2048));
  w.at = CIPHER_HEADROOM;
  w.bytes(plain);
  const cipher = new CipherKey(nodeCrypto.gcmKey(key), KEYS.authentication);
  sealApdu(w, 0, CIPHER_HEADROOM, { tag: style, sc, hasTitle: true }, cipher, title, counter);
  return w.written();
}

export function failure(run: () => unknown): DlmsError {
  try {
    run();
  } catch (error) {
    if (error instanceof DlmsError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

export const random16 = () => nodeCrypto.random(16);
export const secure = () => testMeter({ security: testSecurity() });
export const reasons = ({ events }: TestMeter) =>
  events.flatMap((event) => ('reason' in event && event.kind !== 'association-closed' ? [event.reason] : []));
