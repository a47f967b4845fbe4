/**
 * ISD-AS numbers: text, integer, file-name form (scionproto pkg/addr). An ISD-AS is one 64-bit integer,
 * `ISD << 48 | AS`; on the wire eight bytes. At the API it is a bigint; packets are read with `readU64`.
 */

import { ScionError } from '#base/errors';

/** `ISD << 48 | AS`. */
export type IsdAs = bigint;

const MAX_ISD = 0xffff;
const MAX_DECIMAL_AS = 0xffff_ffffn;
const AS_MASK = 0xffff_ffff_ffffn;

export const isdOf = (ia: IsdAs): number => Number(ia >> 48n);
export const asOf = (ia: IsdAs): bigint => ia & AS_MASK;
export const makeIsdAs = (isd: number, as: bigint): IsdAs => (BigInt(isd) << 48n) | as;

/** Whether the ISD or the AS is left open (0). */
export const isWildcard = (ia: IsdAs): boolean => isdOf(ia) === 0 || asOf(ia) === 0n;

/** `1-ff00:0:110`; AS numbers up to 2^32-1 in decimal. */
export function formatIsdAs(ia: IsdAs): string {
  return `${isdOf(ia)}-${formatAs(asOf(ia))}`;
}

/** AS part alone: `ff00:0:110` or `64512`. */
export function formatAs(as: bigint): string {
  if (as <= MAX_DECIMAL_AS) return as.toString();
  const group = (shift: bigint) => ((as >> shift) & 0xffffn).toString(16);
  return `${group(32n)}:${group(16n)}:${group(0n)}`;
}

/** The form of file names, `ISD1-ASff00_0_110`. */
export function fileNameOfIsdAs(ia: IsdAs): string {
  return `ISD${isdOf(ia)}-AS${formatAs(asOf(ia)).replace(/:/g, '_')}`;
}

/**
 * Parses `1-ff00:0:110`.
 * @throws ScionError `scion.address`
 */
export function parseIsdAs(text: string): IsdAs {
  const parts = text.split('-');
  if (parts.length !== 2) throw notIsdAs(text, 'expected ISD-AS with one dash');
  const isd = decimal(parts[0]!);
  if (isd === undefined || isd > BigInt(MAX_ISD)) throw notIsdAs(text, `expected an ISD from 0 to ${MAX_ISD}`);
  return makeIsdAs(Number(isd), parseAs(parts[1]!));
}

/**
 * Parses the AS part: decimal up to 2^32-1, or three groups of hexadecimal digits.
 * @throws ScionError `scion.address`
 */
export function parseAs(text: string): bigint {
  if (!text.includes(':')) {
    const as = decimal(text);
    if (as === undefined || as > MAX_DECIMAL_AS) throw notIsdAs(text, 'expected a decimal AS up to 4294967295');
    return as;
  }
  const groups = text.split(':');
  if (groups.length !== 3) throw notIsdAs(text, 'expected three groups in the AS');
  let as = 0n;
  for (const group of groups) {
    // Leading zeros are accepted as Go's number parser accepts them; the value decides.
    if (!/^[0-9a-f]+$/i.test(group) || group.length > 32) throw notIsdAs(text, 'expected hexadecimal groups');
    const value = BigInt(`0x${group}`);
    if (value > 0xffffn) throw notIsdAs(text, 'expected groups up to ffff');
    as = (as << 16n) | value;
  }
  return as;
}

function decimal(text: string): bigint | undefined {
  return /^[0-9]{1,32}$/.test(text) ? BigInt(text) : undefined;
}

function notIsdAs(text: string, expected: string): ScionError {
  return new ScionError('scion.address', `${JSON.stringify(text.slice(0, 80))} is not an ISD-AS: ${expected}`);
}
