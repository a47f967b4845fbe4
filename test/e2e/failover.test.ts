/**
 * The used link is cut while the meter is read once a second: readings go on over the other link, and come back when the
 * link is healed. Also: what the API gives for one reading.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { seededRandom } from '#hw/random';
import { runCuts } from '../bench/cuts.ts';
import { Lateness } from '../lateness.ts';
import { type ApiReading, OBIS, Platform, until } from './platform.ts';

const LTE_HOPS = '1-ff00:0:112 2>23 1-ff00:0:120 21>2 1-ff00:0:111';
const LEASED_HOPS = '1-ff00:0:112 1>11 1-ff00:0:110 12>1 1-ff00:0:111';

let platform: Platform;
const lateness = new Lateness();

const Failover = suite('failover');
Failover.before(async () => {
  platform = await Platform.start();
  await until('the first reading', async () => (await platform.read()).status === 200);
});
Failover.after(async () => {
  lateness.close();
  await platform?.stop();
});

Failover('one reading gives values with unit, time and quality, and the path chosen', async () => {
  const { status, reading } = await platform.read();
  assert.is(status, 200);
  for (const [obis, unit] of [
    [OBIS.voltage, 'V'],
    [OBIS.current, 'A'],
    [OBIS.netPower, 'W'],
    [OBIS.activeEnergy, 'Wh'],
  ] as const) {
    const value = Platform.value(reading, obis);
    assert.is(value.unit, unit);
    assert.is(value.quality, 'good');
    assert.ok(Math.abs(Date.now() - Date.parse(value.measuredAt!)) < 5_000, `${obis} measured at ${value.measuredAt}`);
    assert.type(value.value, 'number');
  }
  assert.is(reading.path.hops, LTE_HOPS);
  assert.equal(reading.path.isds, [1]);
  assert.ok(reading.delayMs > 50, `${reading.delayMs} ms is less than the line's own delay`);
});

Failover(
  'cutting the used link moves readings within 3 s, loses none after that, and healing brings them back',
  async () => {
    const { lab } = platform;
    interface Sample {
      at: number;
      status: number;
      hops: string | undefined;
    }
    const samples: Sample[] = [];
    const readOnce = async () => {
      const at = Date.now();
      const { status, reading } = await platform.read();
      samples.push({ at, status, hops: (reading as ApiReading).path?.hops });
    };
    const every = setInterval(() => void readOnce(), 1000);
    const seconds = (n: number) => new Promise((resolve) => setTimeout(resolve, n * 1000));
    try {
      // Makes the LTE line clearly the better one, on a busy machine too: else there is no reason to come back.
      lab.links.change('leased', { delayMs: 60 });
      await seconds(3);
      lab.links.cut('lte');
      const cutAt = Date.now();
      const late = lateness.totalMs();
      const moved = await until('a reading over the leased line', () =>
        samples.find((s) => s.at >= cutAt - 1000 && s.hops === LEASED_HOPS),
      );
      const tookMs = Date.now() - cutAt;
      assert.ok(tookMs - (lateness.totalMs() - late) <= 3_000, `first reading over the other link after ${tookMs} ms`);
      await seconds(8);
      const later = () => samples.filter((s) => s.at > moved.at);
      await until('six readings more', () => later().length >= 6);
      const after = later();
      for (const s of after) assert.is(s.status, 200);
      for (const s of after) assert.is(s.hops, LEASED_HOPS);
      console.log(`cut: next reading over the other link after ${tookMs} ms, ${after.length} more without loss`);

      lab.links.heal('lte');
      const healedAt = Date.now();
      const back = await until('a reading over the healed link', () =>
        samples.find((s) => s.at > healedAt && s.hops === LTE_HOPS),
      );
      console.log(`healed: back after ${back.at - healedAt} ms`);
      await seconds(2);
      for (const s of samples.filter((s) => s.at > healedAt)) assert.is(s.status, 200);
    } finally {
      clearInterval(every);
      lab.links.change('leased', { delayMs: 35 });
    }
  },
);

Failover('ten readings a second survive cuts within the goal, and a stall of 200 ms moves nothing', async () => {
  const seed = Number(process.env.S3MP_SEED ?? Date.now() % 1e9);
  console.log(`seed ${seed}`);
  const run = await runCuts(platform.lab, { cuts: 2, stalls: 1, random: seededRandom(seed) });
  for (const { link, tookMs, lateMs, goalMs } of run.cuts) {
    console.log(`cut of ${link}: next reading after ${tookMs.toFixed(0)} ms, goal for p95 ${goalMs.toFixed(0)} ms`);
    assert.ok(tookMs - lateMs < 1_000, `${tookMs} ms, late ${lateMs}`);
  }
  assert.equal(run.lost, []);
  assert.is(run.cuts.length, 2);
  assert.ok(run.stallSwitches[0]!.length <= 2, `${run.stallSwitches[0]!.map(({ why }) => why)}`);
});

Failover('the candidate paths are reported with what was measured, and one is chosen', async () => {
  const { paths } = await platform.get<{
    paths: { hops: string; chosen: boolean; rttMs: number | null; state: string }[];
  }>(`meters/${platform.meterId}/paths`);
  const measured = paths.filter(({ hops }) => hops === LEASED_HOPS || hops === LTE_HOPS);
  assert.is(measured.length, 2);
  assert.is(paths.filter((p) => p.chosen).length, 1);
  for (const path of measured) assert.ok(path.rttMs !== null && path.rttMs > 50, `${path.hops}: ${path.rttMs} ms`);
});

Failover.run();
