/**
 * BFD with its default timers through the lab's link emulator, from AS directories that the lab's writer made with `bfd` on:
 * delay and jitter of a leased line and of LTE do not disturb it, a cut is noticed and healed, a short stall is ridden out.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readAsDirectory } from '#hw/as-directory';
import { claimLab } from '#hw/lab/addresses';
import { writeAsFiles } from '#hw/lab/as-files';
import { LinkEmulator, PROFILES } from '#hw/lab/link-emulator';
import { createLog } from '#hw/log';
import { seededRandom } from '#hw/random';
import { GUARD_MS } from '#test/guard';
import { BorderRouter } from '../../gateway/border-router.ts';
import { Lateness } from '../lateness.ts';

const Bfd = suite('BFD through the link emulator');
const log = createLog('test', { level: 'error' });
const [CORE, LEAF] = ['1-ff00:0:110', '1-ff00:0:111'] as const;
const LINKS = ['leased', 'lte'] as const;
const lateness = new Lateness();
/** Bidirectional forwarding detection at rest misses no packet when the process is late by less than this, ms. */
const HARMLESS_MS = 100;

/** Waits until the links are as wanted. @returns milliseconds that it took and that this process was late; fails when they never are */
async function until(
  routers: BorderRouter[],
  wanted: (up: boolean[]) => boolean,
): Promise<{ tookMs: number; lateMs: number }> {
  const started = performance.now();
  const late = lateness.totalMs();
  for (;;) {
    const up = routers.flatMap((r) => r.links().map((l) => l.up));
    const tookMs = performance.now() - started;
    if (wanted(up)) return { tookMs, lateMs: lateness.totalMs() - late };
    if (tookMs > GUARD_MS) throw new Error(JSON.stringify(routers.map((r) => r.links().map((l) => l.why))));
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

Bfd('links come up, a cut is named, healing is noticed, and a stall of 200 ms changes nothing', async () => {
  const lab = await claimLab();
  const folder = mkdtempSync(join(tmpdir(), 's3mp-bfd-'));
  const emulator = new LinkEmulator(seededRandom(1));
  const routers: BorderRouter[] = [];
  try {
    const links = [];
    for (const [i, name] of LINKS.entries()) {
      const end = (as: number) => ({ host: lab.router(as), port: 50_001 + i });
      const near = [50_000, 50_001].map((port) => ({ host: lab.link(i), port }));
      await emulator.add({
        name,
        a: { listen: near[0]!, peer: end(110) },
        b: { listen: near[1]!, peer: end(111) },
        profile: PROFILES[name]!,
      });
      const text = ({ host, port }: { host: string; port: number }) => `${host}:${port}`;
      links.push({
        a: { ia: CORE, id: 11 + i, local: text(end(110)), remote: text(near[0]!) },
        b: { ia: LEAF, id: 1 + i, local: text(end(111)), remote: text(near[1]!) },
        role: 'child' as const,
        bfd: true,
      });
    }
    const as = (ia: string, number: number) => ({
      ia,
      core: ia === CORE,
      internal: `${lab.router(number)}:30042`,
      control: `${lab.controlService(number)}:30252`,
    });
    const files = writeAsFiles({ ases: [as(CORE, 110), as(LEAF, 111)], links }, folder);
    for (const directory of files.folders.values()) {
      const { topology, hopKey } = readAsDirectory(directory);
      routers.push(await BorderRouter.start({ topology, router: topology.routers[0]!, hopKey, log }));
    }
    const rise = await until(routers, (up) => up.length === 4 && up.every(Boolean));
    assert.ok(rise.tookMs - rise.lateMs < 3000, `up after ${rise.tookMs} ms, late ${rise.lateMs}`);

    emulator.cut('lte');
    const fall = await until(routers, (up) => up.filter((u) => !u).length === 2);
    assert.ok(
      fall.tookMs > 350 && fall.tookMs - fall.lateMs < 1000,
      `down after ${fall.tookMs} ms, late ${fall.lateMs}`,
    );
    for (const router of routers) {
      const [leased, lte] = router.links();
      assert.ok(leased!.up, leased!.why);
      assert.match(lte!.why, /no BFD packet for \d+ ms/);
    }
    emulator.heal('lte');
    await until(routers, (up) => up.every(Boolean));

    const changes = () => routers.flatMap((r) => r.links().map((l) => l.bfd!.changes));
    // Both ends run in this process: when that is stalled as well, the sum of both stalls says nothing.
    for (let tries = 0; ; tries++) {
      await until(routers, (up) => up.every(Boolean));
      const [before, late] = [changes(), lateness.totalMs()];
      emulator.stall('leased', 200);
      await new Promise((resolve) => setTimeout(resolve, 900));
      const after = changes();
      if (lateness.totalMs() - late > HARMLESS_MS && String(after) !== String(before) && tries < 20) continue;
      assert.equal(after, before);
      break;
    }
  } finally {
    lateness.close();
    for (const router of routers) await router.close();
    emulator.close();
    lab.release();
    rmSync(folder, { recursive: true, force: true });
  }
});

Bfd.run();
