/**
 * The associations that a server offers: one entry per client access point, with its authentication, its column of the
 * access table and the services it may negotiate. A high-level (HLS) entry would add its mechanism and keys here.
 */

import { Mechanism } from '#dlms/acse';
import { Conformance } from '#dlms/initiate';
import { Sap } from '#dlms/wrapper';

export interface AssociationSpec {
  readonly clientSap: number;
  /** Column of the access table (`AccessRow`). */
  readonly role: string;
  readonly mechanism: typeof Mechanism.none | typeof Mechanism.password;
  /** The low-level secret; with mechanism 1 only. */
  readonly password?: Uint8Array;
  /** Conformance bits that the server supports for this client. */
  readonly conformance: number;
}

const READING =
  Conformance.priorityManagement |
  Conformance.attribute0WithGet |
  Conformance.blockTransferWithGet |
  Conformance.multipleReferences |
  Conformance.selectiveAccess |
  Conformance.get;

const WRITING =
  Conformance.blockTransferWithSet | Conformance.blockTransferWithAction | Conformance.set | Conformance.action;

/** Client 16: no authentication, reading only. */
export function publicAssociation(): AssociationSpec {
  return { clientSap: Sap.publicClient, role: 'public', mechanism: Mechanism.none, conformance: READING };
}

/** Client 17: a password, reading, writing and actions as far as the access table's column `password` goes. */
export function passwordAssociation(password: Uint8Array): AssociationSpec {
  return {
    clientSap: Sap.passwordClient,
    role: 'password',
    mechanism: Mechanism.password,
    password,
    conformance: READING | WRITING,
  };
}
