/**
 * What a certificate of the utility's PKI says of a party: its role, its system title and its SCION address.
 *
 *   common name   the system title, 16 hexadecimal digits (DLMS UA 1000-2 §9.2.6.4); of a command certificate a name
 *   role          extended key usage 2.25.153775852983806382196858663742749218407.N: 1 meter, 2 gateway, 3 head end, 4 command;
 *                 an authority names the roles it may give
 *   address       URI `scion:ISD-AS,host` among the alternative names
 *
 * A head end's title in its certificate ends with four zeros: the number of its start takes their place.
 */

import { fromHex, toHex } from '#base/bytes';
import { ScionError } from '#base/errors';
import type { Certificate } from '#base/x509';
import type { ExtensionSpec } from '#base/x509-writer';
import { formatAddress, parseAddress, type ScionAddress } from '#scion/address';

export type Role = 'meter' | 'gateway' | 'head-end' | 'command';

/** The arc is a UUID, which nobody has to be asked for (ITU-T X.667). */
const ARC = '6981e7b093baac808aaadf9ca8f7cd908b8cac67';

/** Extended key usage of each role, as `Oid`. */
export const ROLES: Readonly<Record<Role, string>> = {
  meter: `${ARC}01`,
  gateway: `${ARC}02`,
  'head-end': `${ARC}03`,
  command: `${ARC}04`,
};

const TITLE_DIGITS = 16;
const URI_SCHEME = 'scion:';

/** The role of a leaf; undefined for none and for more than one. */
export function roleOf({ purposes, isAuthority }: Certificate): Role | undefined {
  const found = (Object.keys(ROLES) as Role[]).filter((name) => purposes.includes(ROLES[name]));
  return found.length === 1 && !isAuthority ? found[0] : undefined;
}

/** The common name of a system title. */
export const titleName = (title: Uint8Array): string => toHex(title).toUpperCase();

/** The system title that a certificate or request names; undefined when it names none. */
export function titleOf({ commonName }: { readonly commonName: string }): Uint8Array | undefined {
  const isTitle = commonName.length === TITLE_DIGITS && /^[0-9A-F]*$/i.test(commonName);
  return isTitle ? fromHex(commonName) : undefined;
}

/** The SCION address that a certificate or request names; undefined when it names none, or more than one. */
export function addressOf({ uris }: { readonly uris: readonly string[] }): ScionAddress | undefined {
  const [text, more] = uris.filter((uri) => uri.startsWith(URI_SCHEME));
  if (text === undefined || more !== undefined) return undefined;
  try {
    return parseAddress(text.slice(URI_SCHEME.length));
  } catch (error) {
    if (error instanceof ScionError) return undefined;
    throw error;
  }
}

/** The extension of a party's address. */
export const addressExtension = (address: ScionAddress): Pick<ExtensionSpec, 'uris'> => ({
  uris: [URI_SCHEME + formatAddress(address)],
});
