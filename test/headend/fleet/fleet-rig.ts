/** A fleet with one scripted meter on a clock that the test turns. */

import type { S3mpError } from '#base/errors';
import { seededRandom } from '#hw/random';
import type { CommandRequest } from '../../../headend/fleet/commands.ts';
import type { FeedItem } from '../../../headend/fleet/feed.ts';
import { Fleet, type FleetOptions } from '../../../headend/fleet/fleet.ts';
import type { CommandState } from '../../../headend/http/wire.ts';
import { openSqliteStore } from '../../../headend/store/sqlite.ts';
import type { Store } from '../../../headend/store/store.ts';
import { ManualClock } from '../manual-clock.ts';
import { ScriptedMeter } from '../scripted-meter.ts';

export interface Rig {
  clock: ManualClock;
  meter: ScriptedMeter;
  store: Store;
  fleet: Fleet;
  items: FeedItem[];
}

export async function rig(
  options: Partial<FleetOptions> = {},
  store = openSqliteStore({ file: ':memory:' }),
): Promise<Rig> {
  const clock = new ManualClock();
  const meter = new ScriptedMeter();
  meter.now = clock.wall;
  meter.wait = clock.wait;
  const meters = [{ config: { id: 'm1', address: '1-ff00:0:111,127.0.0.1' }, connection: meter }];
  const fleet = new Fleet({ meters, store, clock, random: seededRandom(7), idleIntervalMs: 0, ...options });
  const items: FeedItem[] = [];
  fleet.feed.subscribe((item) => void items.push(item));
  await fleet.start();
  return { clock, meter, store, fleet, items };
}

export let keys = 0;
export function request(rig: Rig, type: CommandRequest['type'], more: Partial<CommandRequest> = {}): CommandRequest {
  keys++;
  return {
    meter: 'm1',
    type,
    reason: 'test',
    text: type === 'message' ? 'hello' : null,
    actor: 'local',
    idempotencyKey: `key-${keys}`,
    bodyHash: `hash-${keys}`,
    expiresAt: rig.clock.wall() + 60_000,
    ...more,
  };
}

/** The stages that a command goes through until the clock stops. */
export async function stagesOf(rig: Rig, type: CommandRequest['type'], ms: number): Promise<CommandState[]> {
  const { command } = await rig.fleet.submit(request(rig, type));
  await rig.clock.advance(ms);
  return (await rig.fleet.command(command.id)).stages.map((stage) => stage.state);
}

export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'no error';
  } catch (error) {
    return (error as S3mpError).code;
  }
}
