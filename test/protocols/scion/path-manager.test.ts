/** Path manager on a virtual clock: cut, heal, stall, SCMP lies, probes, expiry, refresh. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { seededRandom } from '#hw/random';
import { parseIsdAs } from '#scion/isd-as';
import { DOWN_SILENCES } from '#scion/path-candidate';
import { GOOD_ANSWERS, HINT_MS, PathManager } from '#scion/path-manager';
import { parsePolicy } from '#scion/policy';
import { RttEstimator } from '#scion/rtt';

import { DAY, detour, foreign, leased, lte, nameOf, WALL, World } from './path-world.ts';

const Manager = suite('path manager');

Manager('RTO follows RFC 6298 with a floor of 30 ms', () => {
  const rtt = new RttEstimator();
  assert.is(rtt.rtoMs(), 1000);
  rtt.sample(100);
  assert.equal([rtt.srttMs, rtt.rttVarMs, rtt.rtoMs()], [100, 50, 300]);
  rtt.sample(60);
  assert.equal([rtt.srttMs, rtt.rttVarMs, rtt.rtoMs()], [95, 47.5, 285]);
  assert.is(rtt.rtoMs(2), 1140);
  for (let i = 0; i < 100; i++) rtt.sample(0.1);
  assert.is(rtt.rtoMs(), 30);
  assert.is(new RttEstimator(20).rtoMs(), 120);
  rtt.sample(Number.NaN);
  assert.is(rtt.rtoMs(), 30);
});

Manager('a cut moves traffic within one timeout to a path that shares no link, and no reading is lost', () => {
  const world = new World([leased, lte, detour]);
  world.run(3000);
  assert.is(world.chosen, 'lte');
  world.cut.add(lte);
  world.cut.add(detour);
  world.worstMs = 0;
  world.run(5000);
  assert.is(world.chosen, 'leased');
  assert.equal(world.switches, ['lte first', 'leased silence']);
  assert.is(world.state(lte), 'down');
  assert.ok(world.worstMs < 300, `worst answer after ${world.worstMs} ms`);
  assert.ok(world.answered >= 78, `${world.answered} of 80 answered`);
});

Manager('after healing and enough good probes traffic returns to the preferred path, once', () => {
  const world = new World([leased, lte]);
  world.run(3000);
  world.cut.add(lte);
  world.run(20_000);
  assert.is(world.chosen, 'leased');
  world.cut.delete(lte);
  world.run(15_000);
  assert.is(world.chosen, 'lte');
  assert.equal(world.switches, ['lte first', 'leased silence', 'lte return']);
  world.run(60_000);
  assert.is(world.switches.length, 3);
});

Manager('a stall of 200 ms on every path moves no traffic', () => {
  const world = new World([leased, lte, detour]);
  world.run(5000);
  for (let i = 0; i < 5; i++) {
    const before = world.switches.length;
    world.stalledUntil = world.now + 200;
    world.run(200);
    world.run(20_000);
    assert.equal(world.switches.slice(before), [], `stall ${i}`);
    assert.is(world.state(lte), 'alive');
  }
});

Manager('the last path is used however silent, and the least recently silent one is tried next', () => {
  const world = new World([leased]);
  for (let i = 0; i < 10; i++) world.manager.onSilence(leased.fingerprint, world.now + i);
  assert.is(world.chosen, 'leased');
  assert.is(world.state(leased), 'down');
  const two = new World([leased, lte]);
  two.cut.add(leased).add(lte);
  two.run(3000);
  const before = new Map(two.requests);
  const moved = two.switches.length;
  two.run(30_000);
  for (const path of [leased, lte]) assert.ok(two.requests.get(path)! > before.get(path)!, path.hops);
  assert.is(two.switches.length, moved);
});

Manager('an SCMP error moves traffic for a while, an answer on the path refutes it', () => {
  const world = new World([leased, lte, detour]);
  world.run(3000);
  const before = world.manager.report(world.now).length;
  world.manager.onScmpDown(parseIsdAs('1-120'), 2, world.now);
  assert.is(world.chosen, 'leased');
  assert.is(world.state(lte), 'suspect');
  assert.is(world.manager.report(world.now).length, before);
  world.run(12_000);
  assert.is(world.chosen, 'lte');
  assert.equal(world.switches, ['lte first', 'leased hint', 'lte return']);
});

Manager('a hint about the only path is survived, and dies after its life', () => {
  const manager = new PathManager({ dst: lte.dst });
  manager.update([lte], 0, WALL);
  manager.onAnswered(lte.fingerprint, 60, 1);
  manager.onScmpDown(parseIsdAs('1-120'), 2, 2);
  assert.is(manager.select(3).fingerprint, lte.fingerprint);
  assert.is(manager.report(3)[0]!.state, 'suspect');
  assert.is(manager.report(3 + HINT_MS)[0]!.state, 'alive');
});

Manager('states: unknown, alive, suspect, down, suspect, alive', () => {
  const manager = new PathManager({ dst: lte.dst });
  manager.update([lte], 0, WALL);
  const state = () => manager.report(10)[0]!.state;
  const seen = [state()];
  manager.onAnswered(lte.fingerprint, 60, 1);
  seen.push(state());
  for (let i = 0; i < DOWN_SILENCES; i++) {
    manager.onSilence(lte.fingerprint, 2 + i);
    seen.push(state());
  }
  for (let i = 0; i < GOOD_ANSWERS; i++) {
    manager.onAnswered(lte.fingerprint, 60, 10 + i);
    seen.push(state());
  }
  assert.equal(seen, ['unknown', 'alive', 'suspect', 'suspect', 'down', 'suspect', 'suspect', 'alive']);
});

Manager('silence is not held against a path that answered something else in the meantime', () => {
  const manager = new PathManager({ dst: lte.dst });
  manager.update([lte, leased], 0, WALL);
  manager.onAnswered(lte.fingerprint, 60, 100);
  manager.onSilence(lte.fingerprint, 200, 50);
  assert.is(manager.report(200)[0]!.state, 'alive');
  manager.onSilence(lte.fingerprint, 300, 150);
  assert.is(manager.report(300)[0]!.state, 'suspect');
});

Manager('probes that were never answered by anyone say nothing about paths', () => {
  const manager = new PathManager({ dst: lte.dst });
  manager.update([lte], 0, WALL);
  for (let i = 0; i < 5; i++) manager.onSilence(lte.fingerprint, i, 0, 'probe');
  assert.is(manager.report(10)[0]!.state, 'unknown');
});

Manager(
  'an idle path in use is probed every ten seconds, a doubtful one more often, and each at most every 100 ms',
  () => {
    const world = new World([leased, lte]);
    world.run(2000, false);
    let probes = 0;
    for (let t = 0; t < 60_000; t += 10) {
      const path = world.manager.nextProbe(world.now + t);
      if (path === undefined) continue;
      probes++;
      world.manager.onSent(path.fingerprint, world.now + t, 'probe');
      world.manager.onAnswered(path.fingerprint, 60, world.now + t + 1, 'probe');
    }
    assert.ok(probes >= 10 && probes <= 14, `${probes} probes of two idle paths in a minute`);
    const later = world.now + 100_000;
    world.manager.onSent(lte.fingerprint, later, 'probe');
    world.manager.onSent(leased.fingerprint, later, 'probe');
    world.manager.onSilence(lte.fingerprint, later);
    assert.is(world.manager.nextProbe(later + 50), undefined);
    assert.is(world.manager.nextProbe(later + 100)!.fingerprint, lte.fingerprint);
  },
);

Manager('paths are looked up again before they expire, and at once when there are none', () => {
  const manager = new PathManager({ dst: lte.dst });
  assert.ok(manager.refreshDue(0));
  manager.onRefresh(0);
  assert.not(manager.refreshDue(500));
  assert.ok(manager.refreshDue(1000));
  manager.update([{ ...lte, expiryMs: WALL + 200_000 }], 1000, WALL);
  manager.onRefresh(1000);
  assert.is(manager.nextRefresh(), 1000 + 200_000 - 120_000);
  manager.update([lte], 1000, WALL);
  assert.is(manager.nextRefresh(), 1000 + 300_000);
});

Manager('what is known of a path survives a lookup, also an empty one', () => {
  const manager = new PathManager({ dst: lte.dst });
  manager.update([lte, leased], 0, WALL);
  manager.onAnswered(lte.fingerprint, 60, 1);
  manager.update([{ ...lte, raw: Uint8Array.of(1) }], 10, WALL + 10);
  manager.update([], 20, WALL + 20);
  const report = manager.report(30);
  assert.equal(
    report.map((r) => [nameOf.get(r.fingerprint), r.srttMs, r.state]),
    [['lte', 60, 'alive']],
  );
  assert.equal(manager.select(30).raw, Uint8Array.of(1));
});

Manager('a destination that stalls moves nothing: repeats go elsewhere, late answers absolve the path', () => {
  const world = new World([leased, lte, detour]);
  world.run(3000);
  const { manager, now } = world;
  assert.is(world.chosen, 'lte');
  manager.onSilence(lte.fingerprint, now + 90, now);
  assert.is(nameOf.get(manager.selectRepeat(now + 90, [lte.fingerprint]).fingerprint), 'leased');
  assert.equal(world.switches, ['lte first']);
  manager.onAnswered(lte.fingerprint, 260, now + 260);
  assert.is(nameOf.get(manager.select(now + 300).fingerprint), 'lte');
  assert.equal(world.switches, ['lte first']);
  // All paths used: the best of them once more.
  const used = [lte, leased, detour].map((p) => p.fingerprint);
  assert.is(nameOf.get(manager.selectRepeat(now + 300, used).fingerprint), 'leased');
});

Manager('cut off is when nothing came back on any allowed path, not even from the far router', () => {
  const manager = new PathManager({ dst: lte.dst, policy: parsePolicy(['+ 1', '-']) });
  manager.update([lte, leased, foreign], 0, WALL);
  assert.not(manager.isCutOff(0, 5));
  for (const { fingerprint } of [lte, leased]) manager.onSilence(fingerprint, 10, 1);
  assert.ok(manager.isCutOff(1, 20));
  assert.match(manager.forbiddenPath(20)!.why, /2-210/);
  manager.onArrived(leased.fingerprint, 30);
  assert.not(manager.isCutOff(1, 4_000));
  assert.not(manager.isCutOff(35, 40));
  assert.ok(manager.isCutOff(35, 4_000));
});

Manager('a lookup of expired paths alone keeps those that live', () => {
  const manager = new PathManager({ dst: parseIsdAs('1-111') });
  manager.update([lte], 0, WALL);
  manager.update([{ ...leased, expiryMs: WALL - 1 }], 10, WALL);
  assert.is(manager.select(20).fingerprint, lte.fingerprint);
});

Manager('whatever happens, a conforming living path is given out', () => {
  const seed = Number(process.env.S3MP_SEED ?? Date.now() % 1e9);
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const paths = [leased, lte, detour, foreign];
  const manager = new PathManager({ dst: lte.dst, policy: parsePolicy(['+ 1', '-']) });
  let now = 0;
  manager.update(paths, now, WALL);
  const any = () => paths[Math.floor(random() * paths.length)]!;
  for (let i = 0; i < 30_000; i++) {
    now += Math.floor(random() * 300);
    const { fingerprint } = any();
    const evidence = random() < 0.5 ? 'probe' : 'request';
    switch (Math.floor(random() * 6)) {
      case 0:
        manager.onAnswered(fingerprint, random() * 500, now, evidence);
        break;
      case 1:
        manager.onSilence(fingerprint, now, now - random() * 100, evidence);
        break;
      case 2: {
        const path = any();
        const hop = path.interfaces[Math.floor(random() * path.interfaces.length)]!;
        manager.onScmpDown(hop.ia, hop.id, now);
        break;
      }
      case 3: {
        const path = manager.nextProbe(now);
        if (path !== undefined) manager.onSent(path.fingerprint, now, 'probe');
        break;
      }
      case 4:
        manager.update(
          [any(), lte].map((p) => ({ ...p, expiryMs: WALL + DAY + now })),
          now,
          WALL + now,
        );
        break;
      default:
        manager.onSent('no such path', now, evidence);
        manager.onAnswered('no such path', 1, now, evidence);
    }
    assert.not.equal(manager.select(now).fingerprint, foreign.fingerprint);
    assert.is(manager.report(now).filter((r) => r.chosen).length, 1);
    assert.ok(manager.rtoMs(fingerprint) >= 30);
  }
});

Manager.run();
