/** A firmware image's way to a scripted meter, in virtual time. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { seededRandom } from '#hw/random';
import type { CommandRequest } from '../../../headend/fleet/commands.ts';
import { Fleet, type FleetOptions } from '../../../headend/fleet/fleet.ts';
import type { CommandBody } from '../../../headend/http/wire.ts';
import { openSqliteStore } from '../../../headend/store/sqlite.ts';
import type { Store } from '../../../headend/store/store.ts';
import { ManualClock } from '../manual-clock.ts';
import { ScriptedMeter } from '../scripted-meter.ts';

const Update = suite('firmware update');
const BYTES = 64 * 200;
const content = Uint8Array.from({ length: BYTES }, (_, i) => i);

interface Rig {
  readonly clock: ManualClock;
  readonly meter: ScriptedMeter;
  readonly store: Store;
  fleet: Fleet;
}

function makeFleet({ clock, meter, store }: Omit<Rig, 'fleet'>, options: Partial<FleetOptions> = {}): Fleet {
  const meters = [{ config: { id: 'm1', address: '1-ff00:0:111,127.0.0.1' }, connection: meter }];
  return new Fleet({ meters, store, clock, random: seededRandom(7), idleIntervalMs: 0, ...options });
}

async function rig(options: Partial<FleetOptions> = {}): Promise<Rig> {
  const clock = new ManualClock();
  const meter = new ScriptedMeter();
  meter.now = clock.wall;
  meter.wait = clock.wait;
  meter.delayMs = 20;
  const parts = { clock, meter, store: openSqliteStore({ file: ':memory:' }) };
  const fleet = makeFleet(parts, options);
  await fleet.start();
  return { ...parts, fleet };
}

let keys = 0;
function request({ clock }: Rig, version: string, more: Partial<CommandRequest> = {}): CommandRequest {
  keys++;
  return {
    meter: 'm1',
    type: 'firmware',
    reason: 'test',
    text: null,
    actor: 'local',
    idempotencyKey: `key-${keys}`,
    bodyHash: `hash-${keys}`,
    expiresAt: clock.wall() + 3_600_000,
    image: { model: 's3mp-meter', version, bytes: BYTES, sha256: `${version}-`.padEnd(64, '0'), content },
    ...more,
  };
}

async function order(r: Rig, version: string, more: Partial<CommandRequest> = {}): Promise<() => Promise<CommandBody>> {
  const { command } = await r.fleet.submit(request(r, version, more));
  return () => r.fleet.command(command.id);
}

const states = ({ stages }: CommandBody) => stages.map(({ state }) => state);

async function audit(store: Store): Promise<Record<string, unknown>[]> {
  return (await store.audit(1, 100)).map(({ line }) => JSON.parse(line) as Record<string, unknown>);
}

Update('an image is brought, verified, activated, and what runs is read back; the audit names it', async () => {
  const r = await rig();
  const command = await order(r, '0.2.0');
  await r.clock.advance(1_000);
  const { progress, state } = await command();
  assert.is(state, 'queued');
  assert.ok(progress!.stored > 0 && progress!.blocks === 200, JSON.stringify(progress));
  await r.clock.advance(60_000);
  const done = await command();
  assert.equal(states(done), ['queued', 'sent', 'acknowledged', 'verified']);
  assert.is(done.evidence?.firmware, '0.2.0');
  assert.is(done.progress, null);
  assert.is(r.meter.blocksSent, 200);
  assert.is(r.meter.activations, 1);
  const lines = await audit(r.store);
  assert.equal(
    lines.map(({ action }) => action),
    ['command.submitted', 'command.sent', 'command.verified'],
  );
  const detail = lines.at(-1)!.detail as Record<string, string>;
  assert.equal([detail.version, detail.firmware, detail.sha256?.slice(0, 6)], ['0.2.0', '0.2.0', '0.2.0-']);
});

Update('readings and commands get their turn between the blocks', async () => {
  const r = await rig();
  r.meter.delayMs = 150;
  await order(r, '0.2.0');
  await r.clock.advance(500);
  r.fleet.subscribe({ meter: 'm1', intervalMs: 1_000 });
  const before = r.meter.reads;
  const off = await r.fleet.submit(request(r, '', { type: 'disconnect', expiresAt: r.clock.wall() + 5_000 }));
  await r.clock.advance(8_000);
  assert.ok(r.meter.stored < 200, `${r.meter.stored} blocks`);
  assert.ok(r.meter.reads - before >= 8, `${r.meter.reads - before} readings in 8 s`);
  assert.is((await r.fleet.command(off.command.id)).stages[1]?.state, 'sent');
  assert.is(r.meter.relay, false);
  assert.is(r.meter.mostAtOnce, 1);
});

Update('an outage amid the transfer is waited for, and the transfer goes on where it was', async () => {
  const r = await rig();
  const command = await order(r, '0.2.0');
  await r.clock.advance(500);
  const { stored } = r.meter;
  assert.ok(stored > 0 && stored < 200);
  r.meter.isReachable = false;
  await r.clock.advance(300_000);
  assert.match((await command()).progress?.waiting ?? '', /no answer/);
  r.meter.isReachable = true;
  await r.clock.advance(120_000);
  assert.is((await command()).state, 'verified');
  assert.is(r.meter.blocksSent, 200, 'no block twice');
});

Update('a head end that starts anew goes on with the image, which its store has kept', async () => {
  const r = await rig();
  const command = await order(r, '0.2.0');
  await r.clock.advance(500);
  await r.fleet.stop();
  await r.clock.advance(1_000);
  const { blocksSent } = r.meter;
  assert.ok(blocksSent > 0 && blocksSent < 200, String(blocksSent));
  await r.store.prune(r.clock.wall());
  r.fleet = makeFleet(r);
  await r.fleet.start();
  await r.clock.advance(60_000);
  assert.is((await command()).state, 'verified');
  assert.is(r.meter.blocksSent, 200);
  await r.store.prune(r.clock.wall());
  assert.is(await r.store.image('0.2.0-'.padEnd(64, '0')), undefined, 'an image that nobody needs is not kept');
});

Update('what is not newer, and a meter that takes no images, end before the first block', async () => {
  const r = await rig();
  const same = await order(r, '0.1.0');
  await r.clock.advance(1_000);
  assert.is((await same()).error?.code, 'firmware.refused');
  r.meter.firmware.isOffered = false;
  const none = await order(r, '0.2.0');
  await r.clock.advance(1_000);
  assert.is((await none()).error?.code, 'firmware.unsupported');
  assert.is(r.meter.blocksSent, 0);
  assert.equal(states(await none()), ['queued', 'failed']);
});

Update("the meter's verdict is told in words, and what it refuses is never activated", async () => {
  const r = await rig();
  for (const [verdict, words] of [
    ['signature', /release key/],
    ['damaged', /arrived damaged/],
    ['too-far', /version in between/],
    ['no release key (image.release_key_file)', /no release key/],
  ] as const) {
    r.meter.verdict = verdict;
    const command = await order(r, '0.2.0');
    await r.clock.advance(60_000);
    const { error, state } = await command();
    assert.is(state, 'failed');
    assert.is(error?.code, 'firmware.refused');
    assert.match(error?.detail ?? '', words);
  }
  assert.is(r.meter.activations, 0);
});

Update('an image that falls back fails; one that does not prove itself is waited for', async () => {
  const r = await rig();
  r.meter.trial = 'fails';
  const broken = await order(r, '0.2.0');
  await r.clock.advance(60_000);
  assert.is((await broken()).error?.code, 'firmware.fell-back');
  assert.is((await broken()).evidence?.firmware, '0.1.0');

  r.meter.trial = 'waits';
  const slow = await order(r, '0.3.0');
  await r.clock.advance(300_000);
  assert.is((await slow()).state, 'acknowledged');
  assert.is((await slow()).progress, null);
  const early = await order(r, '0.4.0');
  assert.is((await early()).error?.code, 'meter.busy', 'it would take the place of the one that is on trial');
  r.meter.firmware.status = 6;
  await r.clock.advance(10_000);
  assert.is((await slow()).state, 'verified');

  const never = await order(r, '0.4.0');
  await r.clock.advance(30 * 60_000);
  const { error } = await never();
  assert.match(error?.detail ?? '', /has not proved itself/);
});

Update('an activation whose answer is lost is read back and not repeated', async () => {
  const r = await rig();
  r.meter.loseAnswer = true;
  const done = await order(r, '0.2.0');
  await r.clock.advance(60_000);
  assert.equal(states(await done()), ['queued', 'sent', 'unknown', 'verified']);
  r.meter.loseRequest = true;
  const lost = await order(r, '0.3.0');
  await r.clock.advance(60_000);
  assert.is((await lost()).state, 'failed');
  assert.match((await lost()).error?.detail ?? '', /was not activated/);
  assert.is(r.meter.activations, 2);
});

Update('of two orders at the same moment one is refused', async () => {
  const r = await rig();
  const both = await Promise.all([order(r, '0.2.0'), order(r, '0.3.0')]);
  await r.clock.advance(60_000);
  const ends = await Promise.all(both.map((end) => end()));
  assert.equal(
    ends.map(({ state, error }) => error?.code ?? state),
    ['verified', 'meter.busy'],
  );
});

Update('a meter that is not there any more ends the transfer', async () => {
  const r = await rig();
  const command = await order(r, '0.2.0');
  await r.clock.advance(500);
  await r.fleet.remove('m1');
  await r.clock.advance(60_000);
  assert.is((await command()).error?.code, 'meter.unknown');
});

Update('one image at a time to a meter, and none after its time', async () => {
  const r = await rig();
  const first = await order(r, '0.2.0', { expiresAt: r.clock.wall() + 30_000 });
  await r.clock.advance(500);
  const second = await order(r, '0.3.0');
  assert.is((await second()).error?.code, 'meter.busy');
  assert.is(await r.store.image('0.3.0-'.padEnd(64, '0')), undefined, 'what is refused takes no room');
  r.meter.isReachable = false;
  await r.clock.advance(120_000);
  const { state, error } = await first();
  assert.is(state, 'expired');
  assert.match(error?.detail ?? '', /of 200 blocks are at the meter/);
  assert.is(r.meter.activations, 0);
});

const isCode = (code: string, text?: RegExp) => (error: { code?: string; message: string }) =>
  error.code === code && (text?.test(error.message) ?? true);

async function refuses(work: Promise<unknown>, code: string, text?: RegExp): Promise<void> {
  try {
    await work;
  } catch (error) {
    assert.ok(isCode(code, text)(error as Error), String(error));
    return;
  }
  assert.unreachable(code);
}

Update('an order that is cancelled ends at once, and the next one goes on with the blocks that are there', async () => {
  const r = await rig();
  const command = await order(r, '0.2.0');
  await r.clock.advance(500);
  const { stored } = r.meter;
  assert.ok(stored > 0 && stored < 200);
  const { state, error, progress } = await r.fleet.cancelFirmware('m1', 'ben', 'the wrong release');
  assert.equal([state, error?.code, progress], ['failed', 'command.cancelled', null]);
  assert.match(error!.detail, /^cancelled by ben \(the wrong release\); \d+ of 200 blocks are there$/);
  assert.is((await command()).state, 'failed');
  await refuses(r.fleet.cancelFirmware('m1', 'ben', null), 'command.unknown');
  const again = await order(r, '0.2.0');
  await r.clock.advance(60_000);
  assert.is((await again()).state, 'verified');
  assert.is(r.meter.blocksSent, 200, 'no block twice');
  assert.is(r.meter.activations, 1);
  assert.equal(states(await command()), ['queued', 'failed']);
  const lines = await audit(r.store);
  assert.equal(
    lines.slice(0, 3).map(({ action, actor }) => [action, actor]),
    [
      ['command.submitted', 'local'],
      ['command.cancelled', 'ben'],
      ['command.submitted', 'local'],
    ],
  );
  const detail = lines[1]!.detail as Record<string, string>;
  assert.equal([detail.reason, detail.version, detail.error], ['the wrong release', '0.2.0', 'command.cancelled']);
});

Update('an order to a meter that does not answer is cancelled at once, and stays so over a restart', async () => {
  const r = await rig();
  const command = await order(r, '0.2.0');
  await r.clock.advance(500);
  r.meter.isReachable = false;
  await r.clock.advance(120_000);
  await r.fleet.cancelFirmware('m1', 'ben', null);
  const other = await order(r, '0.3.0');
  assert.is((await other()).state, 'queued', 'the place is free');
  await r.fleet.stop();
  r.meter.isReachable = true;
  r.fleet = makeFleet(r);
  await r.fleet.start();
  await r.clock.advance(90_000);
  assert.is((await command()).error?.code, 'command.cancelled');
  assert.is((await other()).state, 'verified');
  assert.is(r.meter.activations, 1);
});

Update('an image that is at the meter and waits for its turn to be activated can be cancelled', async () => {
  const r = await rig();
  const command = await order(r, '0.2.0');
  while (r.meter.stored < 100) await r.clock.advance(20);
  // Its outcome is looked for until the time is over.
  r.meter.isStuck = true;
  const off = await r.fleet.submit(request(r, '', { type: 'disconnect', expiresAt: r.clock.wall() + 5_000 }));
  while ((await command()).progress !== null) await r.clock.advance(20);
  assert.is((await command()).state, 'queued');
  await r.fleet.cancelFirmware('m1', 'ben', null);
  await r.clock.advance(60_000);
  assert.is((await r.fleet.command(off.command.id)).state, 'failed');
  assert.is((await command()).error?.code, 'command.cancelled');
  assert.is(r.meter.stored, 200);
  assert.is(r.meter.activations, 0);
});

Update(
  'whatever moment it is cancelled at, it is either activated or cancelled, and the command says which',
  async () => {
    const ends = new Set<string>();
    const probe = await rig();
    const undisturbed = await order(probe, '0.2.0');
    const startedAt = probe.clock.wall();
    while ((await undisturbed()).state === 'queued') await probe.clock.advance(1);
    const sentAfter = probe.clock.wall() - startedAt;
    for (let at = sentAfter - 60; at < sentAfter + 60; at++) {
      const r = await rig();
      const command = await order(r, '0.2.0');
      await r.clock.advance(at);
      const isCancelled = await r.fleet.cancelFirmware('m1', 'ben', null).then(
        () => true,
        (error: Error) => {
          assert.ok(
            isCode('command.too-late', /was sent to m1 already/)(error) || isCode('command.unknown')(error),
            `${error}`,
          );
          return false;
        },
      );
      await r.clock.advance(60_000);
      const { state, error } = await command();
      ends.add(error?.code ?? state);
      assert.equal(
        [error?.code ?? state, r.meter.activations],
        isCancelled ? ['command.cancelled', 0] : ['verified', 1],
      );
      await r.fleet.stop();
    }
    assert.equal([...ends].sort(), ['command.cancelled', 'verified']);
  },
);

Update('one that was sent cannot be cancelled', async () => {
  const r = await rig();
  r.meter.trial = 'waits';
  const command = await order(r, '0.2.0');
  await r.clock.advance(60_000);
  assert.is((await command()).state, 'acknowledged');
  await refuses(r.fleet.cancelFirmware('m1', 'ben', null), 'command.too-late', /replaced by a newer image/);
  await refuses(r.fleet.cancelFirmware('m2', 'ben', null), 'meter.unknown');
  assert.is((await command()).state, 'acknowledged');
});

Update('where it cannot be put on record that it is cancelled, it goes on', async () => {
  const r = await rig();
  const command = await order(r, '0.2.0');
  await r.clock.advance(500);
  const update = r.store.updateCommand.bind(r.store);
  r.store.updateCommand = () => Promise.reject(new Error('no space'));
  await refuses(r.fleet.cancelFirmware('m1', 'ben', null), undefined as never, /no space/);
  r.store.updateCommand = update;
  await r.clock.advance(60_000);
  assert.is((await command()).state, 'verified');
});

Update.run();
