/** What requests for a command have in common: the key under which they run once, the expiry and the reply. */

import { RequestError } from './problem.ts';
import type { Call, Parameter, Reply } from './router.ts';
import type { CommandBody } from './wire.ts';

const DEFAULT_EXPIRY_MS = 60_000;
const LONGEST_EXPIRY_MS = 86_400_000;

export const IDEMPOTENCY_KEY: Parameter = {
  name: 'Idempotency-Key',
  in: 'header',
  required: true,
  description: 'a repeat with the same key and body gives the same command and never runs twice',
  schema: { type: 'string', minLength: 1, maxLength: 128 },
};

/** The key of a request under which it runs once. It belongs to who chose it: nobody else can run into it. */
export function idempotencyKey({ request, client }: Call): string {
  const key = request.headers['idempotency-key'];
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(key)) {
    throw new RequestError('commands need an Idempotency-Key header of 1 to 128 printable characters');
  }
  return `${client.actor} ${key}`;
}

/** The answer to a command that was taken. */
export function taken({ command, created }: { command: CommandBody; created: boolean }): Reply {
  const headers = { location: `/api/v1/commands/${command.id}`, 'idempotency-replayed': String(!created) };
  return { status: 202, body: command, headers };
}

/** When a command expires, ms since 1970. @throws RequestError for no time, the past, and more than a day ahead */
export function expiryOf(text: string | undefined, now: number, defaultMs = DEFAULT_EXPIRY_MS): number {
  const at = text === undefined ? now + defaultMs : Date.parse(text);
  // Parameters of the query are not checked by a schema.
  if (Number.isNaN(at)) throw new RequestError('expiresAt is no date-time', '/expiresAt');
  if (at <= now && text !== undefined) throw new RequestError('expiresAt is in the past', '/expiresAt');
  if (at > now + LONGEST_EXPIRY_MS) throw new RequestError('expiresAt is more than a day ahead', '/expiresAt');
  return at;
}
