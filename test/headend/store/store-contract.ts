/** What every store backend must do. Backends differ in how they are opened only. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { seededRandom } from '#hw/random';
import type { Reading } from '../../../headend/meter-connection.ts';
import { firstBreach } from '../../../headend/store/audit-chain.ts';
import type { CommandRecord, Store } from '../../../headend/store/store.ts';

const T0 = Date.parse('2026-03-01T00:00:00.000Z');
const POWER = '1-0:16.7.0.255';
const ENERGY = '1-0:1.8.0.255';

export function reading(at: number, power: number | null, fingerprint: string | null = 'aa11'): Reading {
  return {
    receivedAt: at,
    measuredAt: at - 100,
    delayMs: 12.5,
    path: fingerprint === null ? null : { fingerprint, hops: '1-ff00:0:112 1>2 1-ff00:0:111', isds: [1], rttMs: 10 },
    values: [
      { obis: POWER, name: 'Active power', value: power, unit: 'W', quality: power === null ? 'missing' : 'good' },
      { obis: ENERGY, name: 'Energy', value: 1000, unit: 'Wh', quality: 'suspect' },
    ],
  };
}

export function commandRecord(id: string, key: string, createdAt = T0): CommandRecord {
  return {
    id,
    meter: 'm1',
    type: 'disconnect',
    reason: 'test',
    text: null,
    actor: 'local',
    idempotencyKey: key,
    bodyHash: 'h',
    createdAt,
    expiresAt: createdAt + 60_000,
    state: 'queued',
    stages: [{ state: 'queued', at: createdAt }],
    evidence: null,
    error: null,
  };
}

/** @param open  opens an empty store */
export function storeContract(name: string, open: () => Promise<Store>): void {
  const Contract = suite<{ store: Store }>(`store contract: ${name}`);
  Contract.before.each(async (context) => {
    context.store = await open();
  });
  Contract.after.each(async ({ store }) => {
    await store.close();
  });

  Contract('a reading is seen as last values at once, ordered by code', async ({ store }) => {
    await store.appendReading('m1', reading(T0, 412));
    const last = await store.lastValues('m1');
    assert.equal(
      last.map((v) => [v.obis, v.value, v.quality, v.unit]),
      [
        [POWER, 412, 'good', 'W'],
        [ENERGY, 1000, 'suspect', 'Wh'],
      ].sort(),
    );
    assert.is(last[0]!.receivedAt, T0);
    assert.is(last[0]!.measuredAt, T0 - 100);
  });

  Contract('an older reading that comes later does not replace the last values', async ({ store }) => {
    await store.appendReading('m1', reading(T0 + 1000, 2));
    await store.appendReading('m1', reading(T0, 1));
    assert.is((await store.lastValues('m1')).find((v) => v.obis === POWER)!.value, 2);
  });

  Contract('meters do not see each other, unknown ones have nothing', async ({ store }) => {
    await store.appendReading('m1', reading(T0, 1));
    assert.equal(await store.lastValues('m2'), []);
    assert.equal(await store.codes('m2'), []);
    const range = { from: 0, to: T0 * 2, resolutionMs: 0, limit: 10 };
    assert.equal(await store.scan('m2', POWER, range), []);
    assert.equal(await store.scan('m1', 'no such code', range), []);
    assert.equal(await store.codes('m1'), [ENERGY, POWER]);
  });

  Contract('a raw scan gives the half-open range in order, null for missing', async ({ store }) => {
    for (const s of [3, 1, 2, 0]) await store.appendReading('m1', reading(T0 + s * 1000, s === 2 ? null : s));
    const points = await store.scan('m1', POWER, { from: T0 + 1000, to: T0 + 3000, resolutionMs: 0, limit: 10 });
    assert.equal(
      points.map((p) => [p.at - T0, p.value, p.quality]),
      [
        [1000, 1, 'good'],
        [2000, null, 'missing'],
      ],
    );
    const first = await store.scan('m1', POWER, { from: T0, to: T0 + 9000, resolutionMs: 0, limit: 1 });
    assert.equal(first.length, 1);
    assert.is(first[0]!.at, T0);
  });

  Contract('a reading that is appended twice counts once', async ({ store }) => {
    await store.appendReading('m1', reading(T0, 5));
    await store.appendReading('m1', reading(T0, 5));
    assert.is((await store.scan('m1', POWER, { from: T0, to: T0 + 1, resolutionMs: 0, limit: 10 })).length, 1);
  });

  Contract('aggregation agrees with a plain computation over random values', async ({ store }) => {
    const seed = 20260301;
    const random = seededRandom(seed);
    const all: { at: number; value: number | null }[] = [];
    for (let i = 0; i < 700; i++) {
      const point = { at: T0 + i * 1000, value: random() < 0.1 ? null : Math.round(random() * 3000) };
      all.push(point);
      await store.appendReading('m1', reading(point.at, point.value));
    }
    const points = await store.scan('m1', POWER, { from: T0, to: T0 + 700_000, resolutionMs: 60_000, limit: 100 });
    assert.is(points.length, 12);
    for (const point of points) {
      const group = all.filter((p) => p.at >= point.at && p.at < point.at + 60_000);
      const known = group.flatMap((p) => (p.value === null ? [] : [p.value]));
      assert.is(point.count, group.length, `seed ${seed}`);
      assert.is(point.min, Math.min(...known));
      assert.is(point.max, Math.max(...known));
      assert.ok(Math.abs(point.value! - known.reduce((a, b) => a + b) / known.length) < 1e-9);
      assert.is(point.quality, group.length > known.length ? 'missing' : 'good');
    }
  });

  Contract('the path of each reading is kept', async ({ store }) => {
    await store.appendReading('m1', reading(T0, 1, 'aa11'));
    await store.appendReading('m1', reading(T0 + 1000, 1, 'bb22'));
    await store.appendReading('m1', reading(T0 + 2000, 1, null));
    const traces = await store.traces('m1', T0, T0 + 10_000, 10);
    assert.equal(
      traces.map((t) => t.fingerprint),
      ['aa11', 'bb22', null],
    );
    assert.equal(traces[0]!.isds, [1]);
    assert.is(traces[0]!.delayMs, 12.5);
  });

  Contract('retention deletes by age and keeps the last values', async ({ store }) => {
    for (let s = 0; s < 10; s++) await store.appendReading('m1', reading(T0 + s * 1000, s));
    assert.is(await store.prune(T0 + 6000), 12);
    const range = { from: 0, to: T0 + 60_000, resolutionMs: 0, limit: 100 };
    assert.is((await store.scan('m1', POWER, range)).length, 4);
    assert.is((await store.traces('m1', 0, T0 + 60_000, 100)).length, 4);
    assert.is(await store.prune(T0 + 60_000), 8);
    assert.is((await store.lastValues('m1')).length, 2);
  });

  Contract('an idempotency key makes one command', async ({ store }) => {
    const first = await store.createCommand(commandRecord('c1', 'k1'));
    assert.ok(first.created);
    const again = await store.createCommand(commandRecord('c2', 'k1'));
    assert.not.ok(again.created);
    assert.is(again.record.id, 'c1');
    assert.is(await store.command('c2'), undefined);
    assert.equal(await store.command('c1'), commandRecord('c1', 'k1'));
  });

  Contract('commands are listed newest first, and those without an outcome oldest first', async ({ store }) => {
    for (const [i, state] of (['verified', 'sent', 'unknown', 'queued', 'failed'] as const).entries()) {
      const record = commandRecord(`c${i}`, `k${i}`, T0 + i);
      await store.createCommand(record);
      await store.updateCommand({ ...record, state, stages: [...record.stages, { state, at: T0 + i }] });
    }
    const ids = (list: readonly CommandRecord[]) => list.map((c) => c.id);
    assert.equal(ids(await store.commands('m1', 2)), ['c4', 'c3']);
    assert.equal(ids(await store.openCommands()), ['c1', 'c2', 'c3']);
    assert.is((await store.command('c0'))!.stages.length, 2);
  });

  Contract('events come by cursor, by meter and by kind', async ({ store }) => {
    for (let i = 1; i <= 5; i++) {
      const meter = i % 2 ? 'm1' : null;
      const event = { at: T0 + i, kind: i === 5 ? 'x' : 'y', severity: 'info', meter, message: `e${i}` } as const;
      const { seq } = await store.appendEvent(event);
      assert.is(seq, i);
    }
    const seqs = async (query: Parameters<Store['events']>[0]) => (await store.events(query)).map((e) => e.seq);
    assert.equal(await seqs({ limit: 2 }), [4, 5]);
    assert.equal(await seqs({ since: 1, limit: 2 }), [2, 3]);
    assert.equal(await seqs({ meter: 'm1', limit: 9 }), [1, 3, 5]);
    assert.equal(await seqs({ kind: 'x', limit: 9 }), [5]);
    const [first] = await store.events({ since: 0, limit: 1 });
    assert.equal({ ...first }, { seq: 1, at: T0 + 1, kind: 'y', severity: 'info', meter: 'm1', message: 'e1' });
  });

  Contract('a setting is kept by meter and name, replaced and forgotten', async ({ store }) => {
    assert.is(await store.setting('m1', 'a'), undefined);
    await store.putSetting('m1', 'a', '{"x":1}');
    await store.putSetting('m2', 'a', '{"x":2}');
    await store.putSetting('m1', 'a', '{"x":3}');
    assert.is(await store.setting('m1', 'a'), '{"x":3}');
    assert.is(await store.setting('m2', 'a'), '{"x":2}');
    assert.is(await store.setting('m1', 'b'), undefined);
    await store.putSetting('m1', 'a', undefined);
    assert.is(await store.setting('m1', 'a'), undefined);
  });

  Contract('what is stored of a meter is erased, of others and in the audit nothing', async ({ store }) => {
    for (const meter of ['m1', 'm2']) {
      await store.appendReading(meter, reading(T0, 1));
      await store.putSetting(meter, 'a', '{}');
      await store.appendEvent({ at: T0, kind: 'test', severity: 'info', meter, message: '' });
      await store.appendAudit({ at: T0, actor: 'local', action: 'test', meter, detail: {} });
    }
    assert.ok((await store.erase('m1')) > 0);
    assert.is((await store.lastValues('m1')).length, 0);
    assert.is((await store.traces('m1', 0, T0 + 1e9, 10)).length, 0);
    assert.is((await store.events({ meter: 'm1', limit: 10 })).length, 0);
    assert.is(await store.setting('m1', 'a'), undefined);
    assert.ok((await store.lastValues('m2')).length > 0);
    assert.is((await store.events({ meter: 'm2', limit: 10 })).length, 1);
    assert.is((await store.audit(1, 10)).length, 2);
    assert.is(await store.erase('m1'), 0);
    assert.is(await store.erase('nobody'), 0);
  });

  Contract('the audit is a chain: a changed, missing or moved line is found', async ({ store }) => {
    for (let i = 0; i < 5; i++) {
      await store.appendAudit({ at: T0 + i, actor: 'local', action: 'test', meter: 'm1', detail: { i } });
    }
    const lines = await store.audit(1, 100);
    assert.is(lines.length, 5);
    assert.is(firstBreach(lines), null);
    assert.is(firstBreach(await store.audit(3, 100), lines[1]!.hash), null);
    const forged = lines.map((l) => (l.seq === 3 ? { ...l, line: l.line.replace('"i":2', '"i":9') } : l));
    assert.is(firstBreach(forged), 3);
    assert.is(firstBreach(lines.filter((l) => l.seq !== 2)), 2);
    assert.is(firstBreach([lines[1]!, lines[0]!]), 2);
    assert.is(JSON.parse(lines[0]!.line).at, '2026-03-01T00:00:00.000Z');
  });

  Contract('an image is kept while an open command needs it', async ({ store }) => {
    const content = Uint8Array.from({ length: 1000 }, (_, i) => i);
    const sha256 = 'ab'.repeat(32);
    const image = { model: 's3mp-meter', version: '0.2.0', bytes: content.length, sha256 };
    const first: CommandRecord = { ...commandRecord('c1', 'k1'), type: 'firmware', image };
    const second: CommandRecord = { ...commandRecord('c2', 'k2'), type: 'firmware', image };
    await store.createCommand(first, content);
    await store.createCommand(second, content);
    assert.equal(Uint8Array.from((await store.image(sha256))!), content);
    await store.updateCommand({ ...first, state: 'verified' });
    await store.prune(T0);
    assert.ok(await store.image(sha256), 'the second one needs it');
    await store.updateCommand({ ...second, state: 'failed' });
    await store.prune(T0);
    assert.is(await store.image(sha256), undefined);
  });

  Contract.run();
}
