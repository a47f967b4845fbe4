/** APDUs to the server of a test meter, and its answers as hex. */

import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { encodeAarq } from '#dlms/acse';
import { encodeInitiateRequest } from '#dlms/initiate';
import type { ServerSession } from '#dlms/server';
import { encodeWrapperHeader } from '#dlms/wrapper';
import { ByteWriter } from '#dlms/writer';
import { PASSWORD, type TestMeter, testMeter } from '../../interop/dlms-meter.ts';

const out = new Uint8Array(4096);
export const FULL = 0x7e1f;

/** Sends one APDU; the answer's APDU as hex, or empty when there is none. */
export function ask(
  session: ServerSession,
  apdu: string | Uint8Array,
  options: { sap?: number; at?: number } = {},
): string {
  const body = typeof apdu === 'string' ? fromHex(apdu) : apdu;
  const frame = new Uint8Array(8 + body.length);
  encodeWrapperHeader(frame, 0, options.sap ?? 17, 1, body.length);
  frame.set(body, 8);
  const length = session.receive(frame, out, options.at ?? 1000);
  if (length === 0) return '';
  const header = toHex(out, 0, 8);
  assert.is(
    header,
    `00010001${(options.sap ?? 17).toString(16).padStart(4, '0')}${(length - 8).toString(16).padStart(4, '0')}`,
  );
  return toHex(out, 8, length);
}

export function aarq(password: string | null = PASSWORD, conformance = FULL, maxPdu = 1024): Uint8Array {
  const w = new ByteWriter(new Uint8Array(256));
  const fields = { context: 1, mechanism: password === null ? 0 : 1, authentication: asciiBytes(password ?? '') };
  encodeAarq(w, fields, (inner) => encodeInitiateRequest(inner, conformance, maxPdu));
  return w.written();
}

export interface Opened {
  readonly meter: TestMeter;
  readonly session: ServerSession;
}

export function open(transport: 'datagram' | 'stream' = 'datagram', conformance = FULL, maxPdu = 1024): Opened {
  const meter = testMeter();
  const session = meter.server.session('client', { transport })!;
  const answer = ask(session, aarq(PASSWORD, conformance, maxPdu));
  assert.match(answer, /^6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f0400/);
  return { meter, session };
}

export function fresh(transport: 'datagram' | 'stream' = 'stream'): Opened {
  const meter = testMeter();
  return { meter, session: meter.server.session('client', { transport })! };
}

export const LDN = 'c001c1 0001 00002a0000ff 02 00';
export const GET_CONTROL = 'c001c1 0046 000060030aff 02 00';
export const DISCONNECT = 'c301c1 0046 000060030aff 01 01 0f00';
export const RECONNECT = 'c301c1 0046 000060030aff 02 01 0f00';
export const NOT_ASSOCIATED = 'd80101';
