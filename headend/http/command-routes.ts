/** Routes of commands: giving one to a meter, and what became of it. */

import { createHash } from 'node:crypto';
import { S3mpError } from '#base/errors';
import type { Fleet } from '../fleet/fleet.ts';
import { expiryOf, IDEMPOTENCY_KEY, idempotencyKey, taken } from './command-request.ts';
import { integerOf, METER_ID, query } from './parameters.ts';
import { RequestError } from './problem.ts';
import { type Call, json, ok, type Reply, type Route } from './router.ts';
import * as schemas from './schemas.ts';
import type { CommandType } from './wire.ts';

export interface CommandServices {
  readonly fleet: Fleet;
  /** A lab's meters are simulated: a disconnect needs no token on loopback. */
  readonly labMode: boolean;
}

export function commandRoutes({ fleet, labMode }: CommandServices): Route[] {
  return [
    {
      method: 'POST',
      path: '/api/v1/meters/{id}/commands',
      summary: 'Commands a meter; the outcome is read back from it',
      role: 'operator',
      parameters: [METER_ID, IDEMPOTENCY_KEY],
      body: schemas.COMMAND_REQUEST,
      answer: json(schemas.COMMAND, 202),
      problems: ['meter.unknown', 'command.conflict', 'meter.busy'],
      limited: true,
      handler: (call) => command(fleet, labMode, call),
    },
    {
      method: 'GET',
      path: '/api/v1/meters/{id}/commands',
      summary: 'Lists the last commands of a meter, newest first',
      role: 'viewer',
      parameters: [
        METER_ID,
        query('limit', 'at most so many, default 20', { type: 'integer', minimum: 1, maximum: 200 }),
      ],
      answer: json(schemas.COMMANDS),
      problems: ['meter.unknown'],
      handler: async ({ params, query }) =>
        ok({ commands: await fleet.commandsOf(params.id!, integerOf(query, 'limit', 20, 1, 200)) }),
    },
    {
      method: 'GET',
      path: '/api/v1/commands/{id}',
      summary: 'Shows a command, its stages and the evidence of its outcome',
      role: 'viewer',
      parameters: [{ ...METER_ID, description: 'command' }],
      answer: json(schemas.COMMAND),
      problems: ['command.unknown'],
      handler: async ({ params }) => ok(await fleet.command(params.id!)),
    },
  ];
}

async function command(fleet: Fleet, labMode: boolean, call: Call): Promise<Reply> {
  const { params, body, client } = call;
  const meter = params.id!;
  const key = idempotencyKey(call);
  const { type, reason, text, expiresAt } = body as Record<string, string | undefined> & { type: CommandType };
  const jump = body.jump === true;
  if (type === 'disconnect') {
    if (reason === undefined) throw new RequestError('a disconnect needs a reason', '/reason');
    if (!labMode && !client.hasToken) throw new S3mpError('auth.required', 'a disconnect needs a token');
  }
  if (jump && type !== 'sync-clock') throw new RequestError(`jump belongs to sync-clock, not to ${type}`, '/jump');
  checkMessage(type, text, fleet.settings.messageLimit);
  const submitted = await fleet.submit({
    meter,
    type,
    reason: reason?.trim() ?? null,
    text: text ?? null,
    ...(jump ? { jump } : {}),
    actor: client.actor,
    idempotencyKey: key,
    bodyHash: createHash('sha256')
      .update(JSON.stringify([meter, type, reason ?? null, text ?? null, expiresAt ?? null, ...(jump ? [jump] : [])]))
      .digest('hex'),
    expiresAt: expiryOf(expiresAt, fleet.now()),
  });
  return taken(submitted);
}

function checkMessage(type: CommandType, text: string | undefined, limit: number): void {
  if (type !== 'message') {
    if (text !== undefined) throw new RequestError(`text belongs to a message, not to ${type}`, '/text');
    return;
  }
  if (text === undefined) throw new RequestError('a message needs a text', '/text');
  const bytes = new TextEncoder().encode(text).length;
  if (bytes > limit) throw new RequestError(`the text has ${bytes} bytes, at most ${limit}`, '/text');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u0009\u000b-\u001f\u007f]|\p{Surrogate}/u.test(text)) {
    throw new RequestError('the text has control characters', '/text');
  }
}
