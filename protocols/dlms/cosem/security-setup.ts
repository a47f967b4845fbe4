/**
 * Class 64, Security Setup v0, and the invocation counter beside it: policy, suite, titles, key transfer.
 *
 * Attributes: 2 policy, 3 suite, 4 client's title (of the last association), 5 own title. Methods: 1 security_activate,
 * which never lowers the policy; 2 global_key_transfer, wrapped keys, all of them or none. The answer to a transfer leaves
 * under the old keys, and no counter goes back. Leaves out version 1, the management of certificates.
 */

import { type Data, Tag, writeOctetString } from '#dlms/axdr';
import { DataObject } from '#dlms/cosem/data';
import { attribute, TableObject } from '#dlms/cosem/table-object';
import { members } from '#dlms/members';
import { Result } from '#dlms/result';
import type { ServerSecurity } from '#dlms/security';

/** What a change is told as. */
export type SecurityChange = 'policy' | 'keys';

/** @param onChange  told of each change that was made */
export function securitySetup(
  obis: string,
  security: ServerSecurity,
  onChange: (change: SecurityChange) => void = () => {},
): TableObject {
  const activate = (parameter: Data | null): number => {
    if (parameter?.type !== 'enum') return Result.typeUnmatched;
    if (!security.activate(parameter.value)) return Result.otherReason;
    onChange('policy');
    return Result.success;
  };
  const transfer = (parameter: Data | null): number => {
    const wrapped = wrappedKeys(parameter);
    if (!wrapped) return Result.typeUnmatched;
    if (!security.transfer(wrapped)) return Result.otherReason;
    onChange('keys');
    return Result.success;
  };
  return new TableObject(
    64,
    0,
    obis,
    [
      attribute((w) => w.u8(Tag.enum).u8(security.policy)),
      attribute((w) => w.u8(Tag.enum).u8(security.suite)),
      attribute((w) => writeOctetString(w, security.lastClient)),
      attribute((w) => writeOctetString(w, security.options.serverTitle)),
    ],
    [activate, transfer],
  );
}

/** Reads `{ { key number, wrapped key } }`; undefined when it is anything else. */
function wrappedKeys(parameter: Data | null): (readonly [number, Uint8Array])[] | undefined {
  if (parameter?.type !== 'array') return undefined;
  const keys: (readonly [number, Uint8Array])[] = [];
  for (const entry of parameter.value) {
    const key = members(entry, 'enum', 'octet-string');
    if (!key) return undefined;
    keys.push(key);
  }
  return keys;
}

/** The highest counter that was taken from any client: where a client that has lost its own goes on. */
export function invocationCounter(obis: string, security: ServerSecurity): DataObject {
  return new DataObject(obis, (w) => {
    w.u8(Tag.doubleLongUnsigned).u32(security.options.counters.highest());
    return Result.success;
  });
}
