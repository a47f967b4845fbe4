/**
 * What a meter sends unasked (IEC 62056-5-3 §7.3.8, §7.3.9): DataNotification, its confirmation, EventNotification.
 *
 *   0F | long invoke id u32 | date-time (00 | 0C 12 bytes) | data          body of a push: one structure
 *   10 | long invoke id u32 | date-time                                    confirmation, when bit 30 asked for it
 *   C2 | time (00 | 01 0C 12 bytes) | class u16 | logical name | attribute i8 | data
 *
 * The date-time has no data tag. Meters in the field write the length as 01, or put a tag or nothing before an event's
 * time: read here, never written.
 */

import { DecodeError } from '#base/errors';
import { ApduTag, type AttributeRef, writeDescriptor } from '#dlms/apdu';
import { type Data, encodeData, Tag } from '#dlms/axdr';
import { decodeAnyData } from '#dlms/compact-array';
import { DATE_TIME_SIZE } from '#dlms/date-time';
import { ByteReader } from '#dlms/reader';
import { isWrapperFrame, WRAPPER_SIZE, wrapperDestination, wrapperSource } from '#dlms/wrapper';
import type { ByteWriter } from '#dlms/writer';

/** Bits of the long invoke id; bits 23…0 count. */
export const LongInvoke = {
  idMask: 0x00ff_ffff,
  selfDescriptive: 0x1000_0000,
  breakOnError: 0x2000_0000,
  confirmed: 0x4000_0000,
  highPriority: 0x8000_0000,
} as const;

export interface DataNotification {
  readonly invoke: number;
  /** 12 bytes, see date-time.ts; null when the meter sent none. */
  readonly dateTime: Uint8Array | null;
  readonly body: Data;
}

export interface EventNotification extends AttributeRef {
  readonly dateTime: Uint8Array | null;
  readonly value: Data;
}

function writeDateTime(w: ByteWriter, dateTime: Uint8Array | null): void {
  if (dateTime) w.u8(DATE_TIME_SIZE).bytes(dateTime);
  else w.u8(0);
}

/**
 * Writes everything before the body, which the caller writes: one COSEM value.
 * @param invoke  long invoke id with its flags
 */
export function encodeDataNotificationHeader(w: ByteWriter, invoke: number, dateTime: Uint8Array | null): ByteWriter {
  w.u8(ApduTag.dataNotification).u32(invoke);
  writeDateTime(w, dateTime);
  return w;
}

/** Whether a whole DataNotification is meant to be confirmed. */
export function wantsConfirmation({ invoke }: DataNotification): boolean {
  return (invoke & LongInvoke.confirmed) !== 0;
}

export function encodeNotificationConfirm(w: ByteWriter, invoke: number): void {
  w.u8(ApduTag.dataNotificationConfirm).u32(invoke).u8(0);
}

/** @returns the long invoke id that is confirmed @throws DecodeError */
export function decodeNotificationConfirm(r: ByteReader): number {
  r.expect(ApduTag.dataNotificationConfirm, 'notification confirm');
  const invoke = r.u32('long invoke id');
  readDateTime(r);
  r.expectEnd('notification confirm');
  return invoke;
}

function readDateTime(r: ByteReader): Uint8Array | null {
  const at = r.at;
  const size = r.u8('date-time');
  if (size === 0) return null;
  if (size !== DATE_TIME_SIZE && size !== 1) throw new DecodeError('date-time', at, 'none or 12 bytes');
  return r.view(DATE_TIME_SIZE, 'date-time');
}

/** Reads a DataNotification, tag included. Views share the input. @throws DecodeError */
export function decodeDataNotification(r: ByteReader): DataNotification {
  r.expect(ApduTag.dataNotification, 'data notification');
  const invoke = r.u32('long invoke id');
  const dateTime = readDateTime(r);
  const body = decodeAnyData(r);
  r.expectEnd('data notification');
  return { invoke, dateTime, body };
}

/** @throws DlmsError `encode.out-of-range` */
export function encodeEventNotification(
  w: ByteWriter,
  dateTime: Uint8Array | null,
  ref: AttributeRef,
  value: Data,
): void {
  w.u8(ApduTag.eventNotification).u8(dateTime ? 1 : 0);
  if (dateTime) writeDateTime(w, dateTime);
  writeDescriptor(w, ref.classId, ref.ln, ref.attribute);
  encodeData(w, value);
}

/** Reads an EventNotification, tag included. Views share the input. @throws DecodeError */
export function decodeEventNotification(r: ByteReader): EventNotification {
  r.expect(ApduTag.eventNotification, 'event notification');
  const at = r.at;
  const first = r.u8('event time');
  let dateTime: Uint8Array | null = null;
  if (first === 1 || first === Tag.octetString || first === DATE_TIME_SIZE) {
    if (first !== DATE_TIME_SIZE) r.expect(DATE_TIME_SIZE, 'event time');
    dateTime = r.view(DATE_TIME_SIZE, 'event time');
  } else if (first !== 0) throw new DecodeError('event time', at, 'none or 12 bytes');
  const classId = r.u16('class');
  const ln = r.view(6, 'logical name');
  const attribute = r.i8('attribute');
  const value = decodeAnyData(r);
  r.expectEnd('event notification');
  return { dateTime, classId, ln, attribute, value };
}

/** A push as a listener gets it. */
export type Push = { readonly serverSap: number; readonly clientSap: number } & (
  | { readonly kind: 'data'; readonly notification: DataNotification }
  | { readonly kind: 'event'; readonly notification: EventNotification }
);

/**
 * Reads a wrapper frame that a meter sent unasked.
 * @returns undefined for another frame, also for a ciphered one
 * @throws DecodeError for a broken notification
 */
export function readPush(frame: Uint8Array): Push | undefined {
  if (!isWrapperFrame(frame)) return undefined;
  const saps = { serverSap: wrapperSource(frame), clientSap: wrapperDestination(frame) };
  const r = new ByteReader(frame, WRAPPER_SIZE);
  const tag = frame[WRAPPER_SIZE];
  if (tag === ApduTag.dataNotification) return { ...saps, kind: 'data', notification: decodeDataNotification(r) };
  if (tag === ApduTag.eventNotification) return { ...saps, kind: 'event', notification: decodeEventNotification(r) };
  return undefined;
}
