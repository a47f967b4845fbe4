/** Which path is taken: announced latency, geofence, preferences, pins, and why none is. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseIsdAs } from '#scion/isd-as';
import { PathManager } from '#scion/path-manager';
import { DEFAULT_RULES, type PathPreference, pathCost } from '#scion/path-preference';
import { parsePolicy } from '#scion/policy';

import { detour, fails, foreign, leased, lte, nameOf, WALL, World } from './path-world.ts';

const Choice = suite('path choice');

Choice('without measurements the path that announces the least latency is taken', () => {
  const world = new World([leased, lte, detour]);
  assert.is(world.chosen, 'lte');
});

Choice('the geofence keeps the tempting path out and says why', () => {
  const world = new World([leased, lte, detour, foreign], ['+ 1', '-']);
  assert.is(world.chosen, 'lte');
  const report = world.manager.report(world.now).find((r) => r.fingerprint === foreign.fingerprint)!;
  assert.is(report.forbidden, '2-210#1 is denied by "-"');
  assert.equal(report.isds, [1, 2]);
  assert.is(new World([leased, lte, foreign]).chosen, 'foreign');
});

Choice('no path and no conforming path are different errors', () => {
  fails('path.none', () => new World([]).manager.select(1000));
  fails('path.none-conforming', () => new World([foreign], ['+ 1', '-']).manager.select(1000));
  assert.not(new World([foreign], ['+ 1', '-']).manager.hasPath(1000));
});

Choice('an expired path is not given out, one about to expire only for want of another', () => {
  const manager = new PathManager({ dst: lte.dst });
  const short = { ...lte, expiryMs: WALL + 5_000 };
  manager.update([short, leased], 0, WALL);
  assert.is(manager.select(0).fingerprint, leased.fingerprint);
  manager.update([short], 0, WALL);
  assert.is(manager.select(0).fingerprint, lte.fingerprint);
  fails('path.none', () => manager.select(5_001));
});

Choice('each preference has its order, and measurements decide among equals', () => {
  const wide = { ...leased, bandwidthsKbit: [1_000_000, 10_000], mtu: 1472 };
  const narrow = { ...lte, bandwidthsKbit: [20_000], mtu: 1400 };
  const around = { ...detour, bandwidthsKbit: [50_000], mtu: 1300 };
  const chosenBy = (preference: PathPreference) => {
    const manager = new PathManager({ dst: lte.dst, rules: { ...DEFAULT_RULES, preference } });
    manager.update([wide, narrow, around], 0, WALL);
    for (const { fingerprint } of [wide, narrow, around]) {
      for (let i = 0; i < 4; i++) manager.onAnswered(fingerprint, fingerprint === lte.fingerprint ? 70 : 90, i + 1);
    }
    return nameOf.get(manager.select(10).fingerprint);
  };
  assert.is(chosenBy('latency'), 'lte');
  assert.is(chosenBy('hops'), 'lte');
  assert.is(chosenBy('mtu'), 'leased');
  assert.is(chosenBy('bandwidth'), 'detour');
  // The detour shares a link with each of the others, they share none with one another.
  assert.is(chosenBy('disjoint'), 'lte');
  assert.is(pathCost('disjoint', detour, [leased, lte, detour]), 2);
});

Choice('a pinned path carries the traffic while it answers, and gets it back', () => {
  const world = new World([leased, lte, detour]);
  world.run(3000);
  world.manager.setRules({ ...DEFAULT_RULES, pin: detour.fingerprint });
  world.run(100);
  assert.is(world.chosen, 'detour');
  world.cut.add(detour);
  world.run(3000);
  assert.is.not(world.chosen, 'detour');
  world.cut.delete(detour);
  world.run(10_000);
  assert.is(world.chosen, 'detour');
  world.manager.setRules(DEFAULT_RULES);
  world.run(1000);
  assert.is(world.chosen, 'lte');
});

Choice('a fence holds whatever the rules, and an evaluation changes nothing', () => {
  const world = new World([leased, lte, foreign]);
  world.run(2000);
  const rules = { ...DEFAULT_RULES, fence: parsePolicy(['+ 1', '-']), pin: foreign.fingerprint };
  const evaluation = world.manager.evaluate(rules, world.now);
  assert.is(evaluation.filter((p) => p.forbidden !== undefined).length, 1);
  assert.is(nameOf.get(evaluation.find((p) => p.chosen)!.fingerprint), 'lte');
  assert.is(world.manager.report(world.now).filter((p) => p.forbidden !== undefined).length, 0);
  world.manager.setRules(rules);
  world.run(500);
  assert.is(world.chosen, 'lte');
  const other = new PathManager({ dst: lte.dst, rules });
  other.learnFrom(world.manager);
  assert.is(nameOf.get(other.select(world.now).fingerprint), 'lte');
  const srtt = (m: PathManager) => m.report(world.now).find((p) => p.fingerprint === lte.fingerprint)!.srttMs;
  assert.is(srtt(other), srtt(world.manager));
});

Choice('a path whose MTU has no room for data is not used, and says why', () => {
  const manager = new PathManager({ dst: parseIsdAs('1-111') });
  manager.update([{ ...lte, mtu: 0 }, leased], 0, WALL);
  assert.is(manager.select(1).fingerprint, leased.fingerprint);
  assert.match(manager.report(1)[0]!.forbidden!, /MTU of 0 bytes/);
});

Choice('disjoint paths are seen', () => {
  assert.ok(new World([leased, lte]).manager.hasDisjointPaths(1000));
  assert.not(new World([lte, detour]).manager.hasDisjointPaths(1000));
});

Choice.run();
