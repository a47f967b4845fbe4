/**
 * OBIS codes (IEC 62056-6-1): six value groups A-B:C.D.E.F that name an object, six bytes on the wire (logical name).
 * Reads `1-0:1.8.0.255`, `1-0:1.8.0` (F = 255) and `1.0.1.8.0.255`; writes the first form, which is canonical here.
 */

import { readU48 } from '#base/bytes';
import { DlmsError } from '#base/errors';

const DASHED = /^(\d{1,3})-(\d{1,3}):(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:[.*](\d{1,3}))?$/;
const DOTTED = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/;

/**
 * Logical name of an OBIS text.
 * @returns 6 fresh bytes
 * @throws DlmsError `request.invalid`
 */
export function parseObis(text: string): Uint8Array {
  const groups = DASHED.exec(text) ?? DOTTED.exec(text);
  const bytes = groups?.slice(1).map((group) => Number(group ?? 255));
  if (!bytes?.every((group) => group <= 255))
    throw new DlmsError('request.invalid', `"${text}" is not an OBIS code such as 1-0:1.8.0.255`);
  return Uint8Array.from(bytes);
}

/** Canonical text of the logical name at `at`: `1-0:1.8.0.255`. */
export function formatObis(buf: Uint8Array, at = 0): string {
  return `${buf[at]}-${buf[at + 1]}:${buf[at + 2]}.${buf[at + 3]}.${buf[at + 4]}.${buf[at + 5]}`;
}

/** The six bytes at `at` as one exact number: the key of object tables. */
export function obisKey(buf: Uint8Array, at = 0): number {
  return readU48(buf, at);
}
