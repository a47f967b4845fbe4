/**
 * What all logical-name services share (IEC 62056-5-3 §7.3): APDU tags, the invoke-id-and-priority byte, and descriptors.
 *
 *   descriptor   class u16 | logical name 6 bytes | attribute or method i8
 *   invoke byte  bit 7 high priority | bit 6 confirmed | bits 3..0 invoke id
 */

import { type Data, decodeData, encodeData } from '#dlms/axdr';
import { formatObis } from '#dlms/obis';
import type { ByteReader } from '#dlms/reader';
import type { ByteWriter } from '#dlms/writer';

export const ApduTag = {
  confirmedServiceError: 0x0e,
  dataNotification: 0x0f,
  dataNotificationConfirm: 0x10,
  aarq: 0x60,
  aare: 0x61,
  releaseRequest: 0x62,
  releaseResponse: 0x63,
  getRequest: 0xc0,
  setRequest: 0xc1,
  eventNotification: 0xc2,
  actionRequest: 0xc3,
  getResponse: 0xc4,
  setResponse: 0xc5,
  actionResponse: 0xc7,
  exception: 0xd8,
  generalBlockTransfer: 0xe0,
} as const;

export const INVOKE_CONFIRMED = 0x40;
export const INVOKE_HIGH_PRIORITY = 0x80;

/** Whether the APDU is ciphered for the peer (glo-, ded- and general- forms). */
export function isCipheredTag(tag: number): boolean {
  return (
    (tag >= 0xc8 && tag <= 0xcf) ||
    (tag >= 0xd0 && tag <= 0xd7) ||
    (tag >= 0xdb && tag <= 0xdd) ||
    tag === 0x21 ||
    tag === 0x41
  );
}

/** An attribute of an object: `{ classId: 3, ln: parseObis('1-0:1.8.0.255'), attribute: 2 }`. */
export interface AttributeRef {
  readonly classId: number;
  readonly ln: Uint8Array;
  readonly attribute: number;
}

export interface MethodRef {
  readonly classId: number;
  readonly ln: Uint8Array;
  readonly method: number;
}

/** `3/1-0:1.8.0.255/2`, for messages. */
export function refText(ref: AttributeRef | MethodRef): string {
  return `${ref.classId}/${formatObis(ref.ln)}/${'attribute' in ref ? ref.attribute : ref.method}`;
}

/** A descriptor read in place: reused from request to request, so reading one allocates nothing. */
export class Descriptor {
  classId = 0;
  /** Offset of the six bytes of the logical name in the request. */
  lnAt = 0;
  /** Attribute or method number. */
  id = 0;

  read(r: ByteReader): this {
    this.classId = r.u16('class');
    this.lnAt = r.take(6, 'logical name');
    this.id = r.i8('attribute or method');
    return this;
  }
}

export function writeDescriptor(w: ByteWriter, classId: number, ln: Uint8Array, id: number): void {
  w.u16(classId)
    .bytes(ln)
    .u8(id & 0xff);
}

/** Selective access: which part of an attribute is asked for; 1 by range and 2 by entry for profiles. */
export interface Selection {
  readonly selector: number;
  readonly parameter: Data;
}

/** Reads the optional selective access behind an attribute descriptor. @throws DecodeError */
export function readSelection(r: ByteReader): Selection | null {
  if (r.u8('access selection') === 0) return null;
  return { selector: r.u8('access selector'), parameter: decodeData(r) };
}

/** Writes it, or its absence. @throws DlmsError `encode.out-of-range` */
export function writeSelection(w: ByteWriter, selection: Selection | undefined): void {
  if (selection) encodeData(w.u8(1).u8(selection.selector), selection.parameter);
  else w.u8(0);
}
