/**
 * Class 8, Clock v0, read only: the meter's time is set by its time service, not by DLMS clients. The time is UTC
 * (deviation 0, no daylight saving): a meter that is moved to another region needs no configuration.
 */

import { Tag, writeOctetString } from '#dlms/axdr';
import type { CosemObject } from '#dlms/cosem/logical-device';
import { ClockStatus, DATE_TIME_SIZE, encodeDateTime } from '#dlms/date-time';
import { parseObis } from '#dlms/obis';
import { Result } from '#dlms/result';
import type { ByteWriter } from '#dlms/writer';

/** The wall clock and whether anybody has set it since the start. */
export interface ClockReading {
  /** Milliseconds since the Unix epoch. */
  readonly epochMs: number;
  readonly isSet: boolean;
}

/** Writes a date-time as attributes carry it: an octet-string of 12. */
export function writeDateTimeValue(w: ByteWriter, scratch: Uint8Array, time: ClockReading, epochMs: number): void {
  encodeDateTime(scratch, 0, epochMs, 0, time.isSet ? 0 : ClockStatus.doubtful);
  writeOctetString(w, scratch);
}

/** Daylight saving begin and end of a clock that has none: every field "not specified". */
const UNSPECIFIED = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x80, 0x00, 0xff);
/** clock_base 1: the internal crystal. */
const BASE_CRYSTAL = 1;

export class Clock implements CosemObject {
  readonly classId = 8;
  readonly version = 0;
  readonly attributes = 9;
  readonly methods = 6;
  readonly ln = parseObis('0-0:1.0.0.255');
  readonly #read: () => ClockReading;
  readonly #scratch = new Uint8Array(DATE_TIME_SIZE);

  constructor(read: () => ClockReading) {
    this.#read = read;
  }

  get(attribute: number, w: ByteWriter): number {
    const time = this.#read();
    switch (attribute) {
      case 2:
        writeDateTimeValue(w, this.#scratch, time, time.epochMs);
        break;
      case 3:
        w.u8(Tag.long).u16(0);
        break;
      case 4:
        w.u8(Tag.unsigned).u8(time.isSet ? 0 : ClockStatus.doubtful);
        break;
      case 5:
      case 6:
        writeOctetString(w, UNSPECIFIED);
        break;
      case 7:
        w.u8(Tag.integer).u8(0);
        break;
      case 8:
        w.u8(Tag.boolean).u8(0);
        break;
      default:
        w.u8(Tag.enum).u8(BASE_CRYSTAL);
    }
    return Result.success;
  }
}
