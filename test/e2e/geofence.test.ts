/**
 * The geofence on the whole platform: the shortest way to the meter leads through ISD 2 and works, and nothing ever takes
 * it. With every way inside ISD 1 cut, readings stop and say why; packets are counted at the links, not by the head end.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FOREIGN_LINKS } from '#hw/lab/topology';
import { connectMeter } from '../bench/meter-client.ts';
import { Platform, until } from './platform.ts';

interface ApiPath {
  fingerprint: string;
  hops: string;
  isds: number[];
  chosen: boolean;
  pinned: boolean;
  forbidden: string | null;
  announcedLatencyMs: number;
  state: string;
  mtu: number;
  announcedBandwidthKbit: number;
}

/** Cutting these leaves 112-110-210-120-111 only. */
const INSIDE_LINKS = ['leased', 'backup', 'trunk'];
const TEMPTING = '1-ff00:0:112 1>11 1-ff00:0:110 14>31 2-ff00:0:210 32>24 1-ff00:0:120 21>2 1-ff00:0:111';
const OVER_LEASED = '1-ff00:0:112 1>11 1-ff00:0:110 12>1 1-ff00:0:111';
const OVER_LTE = '1-ff00:0:112 2>23 1-ff00:0:120 21>2 1-ff00:0:111';

let platform: Platform;

/** SCION packets that any link abroad has received from either side, delivered or not. */
const abroad = (): number =>
  platform.lab.links
    .status()
    .filter(({ name }) => FOREIGN_LINKS.includes(name))
    .reduce((sum, { ab, ba }) => sum + ab.received + ba.received, 0);
const paths = async () => (await platform.get<{ paths: ApiPath[] }>(`meters/${platform.meterId}/paths`)).paths;
const policyPath = () => `meters/${platform.meterId}/path-policy`;
const hopsOfRead = async () => {
  const { status, reading, problem } = await platform.read();
  assert.is(status, 200, problem.detail);
  return reading.path.hops;
};

const Geofence = suite('geofence');
Geofence.before(async () => {
  platform = await Platform.start();
  await until('the first reading', async () => (await platform.read()).status === 200);
});
Geofence.after(() => platform?.stop());

Geofence('the tempting path is known, the fastest, and forbidden with the reason', async () => {
  const all = await paths();
  const tempting = all.find(({ hops }) => hops === TEMPTING)!;
  assert.is(tempting.announcedLatencyMs, 30);
  for (const path of all) assert.ok(path === tempting || path.announcedLatencyMs > 30, path.hops);
  assert.equal(tempting.isds, [1, 2]);
  assert.match(tempting.forbidden!, /2-ff00:0:210/);
  const inside = all.filter(({ isds }) => isds.length === 1);
  assert.ok(inside.length >= 3);
  for (const path of inside) assert.is(path.forbidden, null, path.hops);
  assert.equal(
    [OVER_LEASED, OVER_LTE].map((hops) => inside.find((p) => p.hops === hops)?.announcedLatencyMs),
    [36, 35],
  );
});

Geofence('readings take allowed paths only, and nothing at all goes abroad', async () => {
  const before = abroad();
  for (let i = 0; i < 20; i++) {
    const { status, reading } = await platform.read();
    assert.is(status, 200);
    assert.equal(reading.path.isds, [1]);
  }
  assert.is(abroad(), before);
});

Geofence('no request to the API opens the fence', async () => {
  const tempting = (await paths()).find(({ hops }) => hops === TEMPTING)!;
  const open = await platform.request('PUT', policyPath(), { acl: ['+'], preference: 'latency' });
  assert.is(open.status, 200);
  assert.equal(((await open.json()) as { fence: string[] }).fence, ['+ 1', '-']);
  assert.equal((await platform.read()).reading.path.isds, [1]);
  const pin = await platform.request('PUT', policyPath(), { pin: tempting.fingerprint });
  assert.is(pin.status, 422);
  const problem = (await pin.json()) as { code: string; pointer: string; detail: string };
  assert.is(problem.code, 'request.invalid');
  assert.is(problem.pointer, '/pin');
  assert.match(problem.detail, /forbidden: 2-ff00:0:210/);
  assert.is((await platform.request('DELETE', policyPath())).status, 204);
});

Geofence('a pinned path is used, a narrower list keeps others out, and clearing brings the default back', async () => {
  const leased = (await paths()).find(({ hops }) => hops === OVER_LEASED)!;
  await platform.request('PUT', policyPath(), { pin: leased.fingerprint });
  assert.is(await hopsOfRead(), OVER_LEASED);
  assert.ok((await paths()).find(({ pinned }) => pinned)!.chosen);
  const evaluation = await platform.request('POST', 'paths:evaluate', {
    meter: platform.meterId,
    acl: ['- 1-ff00:0:110', '+'],
  });
  const {
    kept,
    survivesOneCut,
    paths: after,
  } = (await evaluation.json()) as {
    kept: number;
    survivesOneCut: boolean;
    paths: ApiPath[];
  };
  assert.is(kept, 1);
  assert.not(survivesOneCut);
  assert.is(after.find(({ chosen }) => chosen)!.hops, OVER_LTE);
  assert.is(await hopsOfRead(), OVER_LEASED, 'a preview changes nothing');
  await platform.request('PUT', policyPath(), { acl: ['- 1-ff00:0:110', '+'] });
  assert.is(await hopsOfRead(), OVER_LTE);
  await platform.request('PUT', policyPath(), { preference: 'mtu' });
  await until('the path of the largest packets', async () => (await hopsOfRead()) === OVER_LEASED);
  assert.is((await platform.request('DELETE', policyPath())).status, 204);
  await until('a reading by the default', async () => (await platform.read()).status === 200);
});

Geofence(
  'with only the forbidden path left readings stop, say why, and no packet leaves; healing resumes',
  async () => {
    const { links } = platform.lab;
    const before = abroad();
    for (const link of INSIDE_LINKS) links.cut(link);
    const { status, problem } = await platform.read();
    assert.is(status, 503, JSON.stringify(problem));
    assert.is(problem.code, 'path.none-conforming');
    assert.match(problem.detail, /2-ff00:0:210/);
    const { events } = await platform.get<{ events: { kind: string }[] }>('events?limit=50');
    assert.ok(events.some(({ kind }) => kind === 'path.none-conforming'));
    assert.is(abroad(), before, 'packets on the links of ISD 2');

    links.heal('leased');
    await until('readings by themselves', async () => (await platform.read()).status === 200);
    assert.is(await hopsOfRead(), OVER_LEASED);
    for (const link of INSIDE_LINKS) links.heal(link);
    assert.is(abroad(), before, 'packets on the links of ISD 2');
  },
);

Geofence('control: the forbidden path works, a client without the fence reads over it', async () => {
  const { lab } = platform;
  const before = abroad();
  for (const link of INSIDE_LINKS) lab.links.cut(link);
  const client = await connectMeter(lab, lab.meters[0]!, 'headend', []);
  try {
    const { path } = await client.connection.read(5_000);
    assert.is(path!.hops, TEMPTING);
    assert.ok(abroad() > before);
  } finally {
    for (const link of INSIDE_LINKS) lab.links.heal(link);
    await client.close();
  }
  await until('a reading after healing', async () => (await platform.read()).status === 200);
});

Geofence('a meter that is gone is not taken for a missing path', async () => {
  const meter = platform.lab.process('meter-1');
  await meter.stop('SIGKILL');
  const { status, problem } = await platform.read();
  assert.is(problem.code, 'meter.unreachable', problem.detail);
  assert.is(status, 504);
  await meter.start();
  await until('the meter again', async () => (await platform.read()).status === 200);
});

Geofence.run();
