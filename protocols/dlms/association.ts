/**
 * The associations that a server offers: one entry per client access point, with its authentication, its column of the
 * access table, the services it may negotiate, and the security setup that its ciphering and high-level authentication use.
 */

import { Mechanism } from '#dlms/acse';
import { Conformance } from '#dlms/initiate';
import type { ServerSecurity } from '#dlms/security';
import { Sap } from '#dlms/wrapper';

/** Mechanisms of a server: those that are broken or nobody's standard are not among them. */
export type ServerMechanism = (typeof Mechanism)['none' | 'password' | 'gmac' | 'sha256' | 'ecdsa'];

export interface AssociationSpec {
  readonly clientSap: number;
  /** Column of the access table (`AccessRow`). */
  readonly role: string;
  readonly mechanism: ServerMechanism;
  /** The secret of mechanisms 1 and 6. */
  readonly password?: Uint8Array;
  /** Keys and policy; high-level mechanisms need it, and a policy above none admits ciphered associations only. */
  readonly security?: ServerSecurity;
  /** Conformance bits that the server supports for this client. */
  readonly conformance: number;
}

const READING =
  Conformance.generalBlockTransfer |
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

/**
 * Client 1: high-level authentication and ciphering by a security setup; column `management`. With suite 1 the client proves
 * itself by a signature, else by the tag of a challenge under the keys.
 */
export function managementAssociation(security: ServerSecurity): AssociationSpec {
  return {
    clientSap: Sap.managementClient,
    role: 'management',
    mechanism: security.suite === 1 ? Mechanism.ecdsa : Mechanism.gmac,
    conformance: READING | WRITING | Conformance.generalProtection,
    security,
  };
}
