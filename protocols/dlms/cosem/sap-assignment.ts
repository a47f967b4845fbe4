/**
 * Class 17, SAP Assignment v0: the logical devices of this physical device and their access points; here always one.
 */

import { Tag, writeOctetString } from '#dlms/axdr';
import type { CosemObject, RequestContext } from '#dlms/cosem/logical-device';
import { parseObis } from '#dlms/obis';
import { Result } from '#dlms/result';
import type { ByteWriter } from '#dlms/writer';

export class SapAssignment implements CosemObject {
  readonly classId = 17;
  readonly version = 0;
  readonly attributes = 2;
  readonly methods = 1;
  readonly ln = parseObis('0-0:41.0.0.255');

  get(_attribute: number, w: ByteWriter, { device }: RequestContext): number {
    w.u8(Tag.array).u8(1).u8(Tag.structure).u8(2).u8(Tag.longUnsigned).u16(device.sap);
    writeOctetString(w, device.name);
    return Result.success;
  }
}
