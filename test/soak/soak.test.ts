/** One per cent of the soaks, as everyday tests; more where it costs nothing. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { seeded } from '../random.ts';
import { days } from './days.ts';
import { dlms } from './dlms.ts';
import { identity } from './identity.ts';
import { beKilled, kills } from './kills.ts';
import { lossy } from './lossy.ts';
import { modbus } from './modbus.ts';
import { mutations } from './mutations.ts';
import { packets } from './packets.ts';
import { restarts } from './restarts.ts';
import type { Soak } from './soak.ts';

if (process.env.S3MP_KILL_FOLDER !== undefined) beKilled();

const Soaks = suite('soaks, one per cent');

const seed = Number(process.env.S3MP_SEED ?? Date.now() % 0x1_0000_0000);
const run = (soak: Soak) => soak({ random: seeded(seed), seed, share: 0.01, say() {} });

Soaks('random packets are written as they were read', async () => {
  assert.is((await run(identity)).done, 1000);
});

Soaks('broken packets: nothing thrown, nothing read or written outside, many reasons met', async () => {
  const { done, figures } = await run(mutations);
  assert.is(done, 10_000);
  assert.ok(Number(figures?.reasons) > 12, `only ${figures?.reasons} reasons`);
});

Soaks('the memory of a router under load stays flat', async () => {
  assert.ok(existsSync(join(process.cwd(), 'dist', 'gateway.js')), 'build the bundles first: node build.mjs');
  assert.is((await run(packets)).done, 100_000);
});

Soaks(
  'DLMS over a bad network: each operation has its effect once, or its client finds out; a profile comes whole',
  async () => {
    const { figures } = await lossy({ random: seeded(seed), seed, share: 0.1, say() {} });
    assert.ok(Number(figures?.lost) > 1000, `${figures?.lost} datagrams lost`);
    assert.is(figures?.rows, 288);
  },
);

Soaks('broken DLMS frames: every decoder and a meter in every state, and honest clients in between', async () => {
  const { done, figures } = await run(dlms);
  assert.is(done, 10_000);
  assert.ok(Number(figures?.honest) >= Number(figures?.states), 'each state was met');
});

Soaks('bytes and tables into what of Modbus takes them: typed errors, ends, and only true answers taken', async () => {
  assert.is((await run(modbus)).done, 10_000);
});

Soaks(
  'power cuts and kills: the capture in progress at most, never an older one, and no counter goes back',
  async () => {
    const { done, figures } = await run(kills);
    assert.is(done, 100);
    assert.ok(Number(figures?.torn) > 0, 'no write was torn');
  },
);

Soaks('the firmware killed and started again, connected and disconnected, moves no contact', async () => {
  const { figures } = await restarts({ random: seeded(seed), seed, share: 0.03, say() {} });
  assert.equal([figures?.connected, figures?.disconnected, figures?.edges], [3, 1, 0]);
});

Soaks('a day in virtual time: every quarter once, clock and power events in the log, the heap flat', async () => {
  assert.is((await run(days)).done, 49);
});

Soaks.run();
