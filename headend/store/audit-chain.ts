/**
 * The audit's hash chain: hash(n) = SHA-256(hash(n-1) as 64 hex digits, then the line's JSON text in UTF-8). The first
 * line follows 64 zeros. A line that is changed, removed or inserted breaks every later hash; cutting the tail is seen only
 * against a head that was noted elsewhere.
 */

import { createHash } from 'node:crypto';
import type { AuditEntry, AuditLine } from './store.ts';

export const AUDIT_GENESIS = '0'.repeat(64);

/** The text that is hashed and stored for an entry: keys in a fixed order. */
export function auditText(seq: number, entry: AuditEntry): string {
  const { at, actor, action, meter, detail } = entry;
  return JSON.stringify({ seq, at: new Date(at).toISOString(), actor, action, meter, detail });
}

/** Hash of a line that follows `previous` (64 hex digits). */
export function chainHash(previous: string, line: string): string {
  return createHash('sha256').update(previous).update(line).digest('hex');
}

/**
 * Checks a run of lines.
 * @param previous  hash before the first line given
 * @returns sequence number of the first line that breaks the chain, or null when all hold
 */
export function firstBreach(lines: readonly AuditLine[], previous = AUDIT_GENESIS): number | null {
  let seq = lines[0]?.seq ?? 0;
  for (const line of lines) {
    if (line.seq !== seq || chainHash(previous, line.line) !== line.hash) return seq;
    previous = line.hash;
    seq++;
  }
  return null;
}
