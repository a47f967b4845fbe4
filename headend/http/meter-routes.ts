/** Routes of the meters: which there are, one of them, and what is stored of it. */

import type { Fleet } from '../fleet/fleet.ts';
import type { Client } from './guard.ts';
import { integerOf, METER_ID, query } from './parameters.ts';
import { json, ok, type Route } from './router.ts';
import * as schemas from './schemas.ts';
import type { MeterBody } from './wire.ts';

/** Follows the inventory of enrolled meters. @returns the names of meters that are read from now on, and no more */
export type Reload = () => Promise<{ readonly added: readonly string[]; readonly removed: readonly string[] }>;

export interface MeterServices {
  readonly fleet: Fleet;
  readonly reload: Reload | undefined;
  /** A lab's meters are simulated: a disconnect needs no token on loopback. */
  readonly labMode: boolean;
}

export function meterRoutes({ fleet, reload, labMode }: MeterServices): Route[] {
  const withClient = async (id: string, client: Client): Promise<MeterBody> => ({
    ...(await fleet.meter(id)),
    disconnectNeedsToken: !labMode && !client.hasToken,
  });
  return [
    {
      method: 'GET',
      path: '/api/v1/meters',
      summary: 'Lists the meters with their last values and state',
      role: 'viewer',
      parameters: [
        query('q', 'part of the id or name'),
        query('state', 'only meters in this state'),
        query('cursor', 'id after which to go on'),
        query('limit', 'at most so many, default 100', { type: 'integer', minimum: 1, maximum: 1000 }),
      ],
      answer: json(schemas.METERS),
      handler: async ({ query, client }) => {
        const limit = integerOf(query, 'limit', 100, 1, 1000);
        const cursor = query.get('cursor');
        const wanted = query.get('q')?.toLowerCase();
        const state = query.get('state');
        const meters: MeterBody[] = [];
        const ids = [...fleet.meterIds].sort();
        for (const id of ids) {
          if (cursor !== null && id <= cursor) continue;
          const meter = await withClient(id, client);
          if (state !== null && meter.state !== state) continue;
          if (wanted !== undefined && !`${id} ${meter.name}`.toLowerCase().includes(wanted)) continue;
          if (meters.length === limit) return ok({ meters, next: meters.at(-1)!.id });
          meters.push(meter);
        }
        return ok({ meters, next: null });
      },
    },
    {
      method: 'POST',
      path: '/api/v1/meters:reload',
      summary: 'Reads the inventory of enrolled meters and the revocation lists anew',
      role: 'admin',
      body: schemas.NOTHING,
      answer: json(schemas.RELOADED),
      problems: ['certificate.refused', 'config.invalid', 'config.unreadable'],
      limited: true,
      handler: async () => ok(reload ? await reload() : { added: [], removed: [] }),
    },
    {
      method: 'GET',
      path: '/api/v1/meters/{id}',
      summary: 'Shows a meter with its last values and state',
      role: 'viewer',
      parameters: [METER_ID],
      answer: json(schemas.METER),
      problems: ['meter.unknown'],
      handler: async ({ params, client }) => ok(await withClient(params.id!, client)),
    },
    {
      method: 'DELETE',
      path: '/api/v1/meters/{id}/data',
      summary: 'Deletes the values and events that are stored of a meter; commands and audit stay',
      role: 'admin',
      parameters: [METER_ID],
      answer: { status: 204, type: '', schema: {} },
      limited: true,
      handler: async ({ params, client }) => {
        await fleet.erase(params.id!, client.actor);
        return { status: 204 };
      },
    },
  ];
}
