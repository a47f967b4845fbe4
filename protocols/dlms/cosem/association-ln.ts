/**
 * Class 15, Association LN v2. Instance 0-0:40.0.0.255 is always the association that asks; 0-0:40.0.e.255 with e ≥ 1 are
 * the associations that the meter offers, one each.
 *
 * Attributes: 2 object list, 3 partners, 4 application context, 5 xDLMS context, 6 mechanism, 7 secret (no right reads or
 * writes it), 8 status, 9 security setup, 10 user list, 11 current user. There are no users, and no security setup behind
 * associations without ciphering: an empty list and a logical name of zeros.
 */

import { Context } from '#dlms/acse';
import type { Selection } from '#dlms/apdu';
import { Tag, writeOctetString } from '#dlms/axdr';
import type { CosemObject, RequestContext } from '#dlms/cosem/logical-device';
import { DLMS_VERSION } from '#dlms/initiate';
import { parseObis } from '#dlms/obis';
import type { Pieces } from '#dlms/pieces';
import { Result } from '#dlms/result';
import type { ByteWriter } from '#dlms/writer';

const NO_REFERENCE = new Uint8Array(6);
/** The one security setup. */
const SECURITY_SETUP = parseObis('0-0:43.0.0.255');
const NO_KEY = new Uint8Array(0);
const STATUS_NOT_ASSOCIATED = 0;
/** Told of the association that asks; whether others are open is theirs to know. */
const STATUS_ASSOCIATED = 2;

/** What a client of an access point gets. */
export interface OfferedAssociation {
  readonly clientSap: number;
  readonly role: string;
  readonly mechanism: number;
  readonly conformance: number;
  /** Present for associations that are ciphered. */
  readonly security?: unknown;
}

/** The object identifier 2.16.756.5.8.arc.last as a structure of seven numbers. */
function writeOidStructure(w: ByteWriter, arc: number, last: number): void {
  w.u8(Tag.structure).u8(7);
  w.u8(Tag.unsigned).u8(2).u8(Tag.unsigned).u8(16).u8(Tag.longUnsigned).u16(756);
  for (const part of [5, 8, arc, last]) w.u8(Tag.unsigned).u8(part);
}

export class AssociationLn implements CosemObject {
  readonly classId = 15;
  readonly version = 2;
  readonly attributes = 11;
  readonly methods = 6;
  readonly ln: Uint8Array;
  readonly #offered: OfferedAssociation | undefined;

  /** @param offered  the association that this instance stands for; the one that asks by default */
  constructor(obis = '0-0:40.0.0.255', offered?: OfferedAssociation) {
    this.ln = parseObis(obis);
    this.#offered = offered;
  }

  open(attribute: number, selection: Selection | null, context: RequestContext): Pieces | number | null {
    if (attribute !== 2) return null;
    if (selection) return Result.typeUnmatched;
    return context.device.objectList(this.#offered?.role ?? context.role);
  }

  get(attribute: number, w: ByteWriter, asking: RequestContext): number {
    const offered = this.#offered;
    const context = { ...asking, ...offered };
    const isCiphered = offered ? offered.security !== undefined : (asking.isCiphered ?? false);
    switch (attribute) {
      case 3:
        w.u8(Tag.structure).u8(2).u8(Tag.integer).u8(context.clientSap);
        w.u8(Tag.longUnsigned).u16(context.serverSap);
        break;
      case 4:
        writeOidStructure(w, 1, isCiphered ? Context.logicalNameCiphered : Context.logicalName);
        break;
      case 5:
        w.u8(Tag.structure).u8(6).u8(Tag.bitString).u8(24);
        w.u8(context.conformance >>> 16).u16(context.conformance & 0xffff);
        w.u8(Tag.longUnsigned).u16(context.maxReceivePdu).u8(Tag.longUnsigned);
        w.u16(context.maxSendPdu + (context.overhead ?? 0));
        w.u8(Tag.unsigned).u8(DLMS_VERSION).u8(Tag.integer).u8(0);
        writeOctetString(w, NO_KEY);
        break;
      case 6:
        writeOidStructure(w, 2, context.mechanism);
        break;
      case 8:
        w.u8(Tag.enum).u8(context.clientSap === asking.clientSap ? STATUS_ASSOCIATED : STATUS_NOT_ASSOCIATED);
        break;
      case 9:
        writeOctetString(w, isCiphered ? SECURITY_SETUP : NO_REFERENCE);
        break;
      case 10:
        w.u8(Tag.array).u8(0);
        break;
      case 11:
        w.u8(Tag.structure).u8(2).u8(Tag.unsigned).u8(0).u8(Tag.visibleString).u8(0);
        break;
      default:
        return Result.readWriteDenied;
    }
    return Result.success;
  }
}
