/**
 * Bearer tokens: 256 random bits as text, kept as SHA-256 only (a fast hash is right for a secret that cannot be guessed).
 * A token stands for a name in the audit and for a role.
 */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** Each role may do what those before it may: read; switch and write; manage. */
export const ROLES = ['viewer', 'operator', 'admin'] as const;
export type Role = (typeof ROLES)[number];

export interface StoredToken {
  readonly name: string;
  readonly role: Role;
  /** SHA-256 of the token, hex. */
  readonly hash: string;
}

export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/** Makes a token. The text is shown once; what is kept is the hash. */
export function createToken(name: string, role: Role): { readonly token: string; readonly stored: StoredToken } {
  const token = `s3mp_${randomBytes(32).toString('base64url')}`;
  return { token, stored: { name, role, hash: hashToken(token) } };
}

/** The token that matches; looks at all of them, so that the time does not tell which came close. */
export function findToken(tokens: readonly StoredToken[], token: string): StoredToken | undefined {
  const wanted = Buffer.from(hashToken(token), 'hex');
  let found: StoredToken | undefined;
  for (const candidate of tokens) {
    const hash = Buffer.from(candidate.hash, 'hex');
    if (hash.length === wanted.length && timingSafeEqual(hash, wanted)) found = candidate;
  }
  return found;
}

export function roleAllows(role: Role, needed: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(needed);
}
