/** The relay's drivers on folders that behave like sysfs. test/board runs them on a kernel. */

import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { S3mpError } from '#base/errors';
import { createLog } from '#hw/log';
import { openRelay, type RelaySettings } from '#hw/relay/open';
import { findGpio } from '#hw/relay/sysfs';
import { PI_3B_PLUS, SysfsTree } from './sysfs-tree.ts';

const PIN: RelaySettings = { driver: 'sysfs', pin: 17, led: 'relay', energised: 'disconnects' };

function lines() {
  const all: string[] = [];
  return { all, log: createLog('relay', { write: (line) => all.push(line) }) };
}

const Sysfs = suite('relay by sysfs');

async function withTree(test: (tree: SysfsTree) => Promise<void>): Promise<void> {
  const tree = new SysfsTree(PI_3B_PLUS);
  try {
    await test(tree);
  } finally {
    tree.close();
  }
}

Sysfs('the chip is found by its label, and its base is added', async () => {
  await withTree(async (tree) => {
    assert.equal(findGpio(tree.root, 17), { number: 529, chip: 'pinctrl-bcm2835' });
    assert.equal(findGpio(tree.root, 3, 'raspberrypi-exp-gpio'), { number: 507, chip: 'raspberrypi-exp-gpio' });
    assert.throws(() => findGpio(tree.root, 54), /lines 0 to 53, no line 54/);
    assert.throws(
      () => findGpio(tree.root, 17, 'gpio-mock'),
      /no GPIO chip gpio-mock .* found .*pinctrl-bcm2835.*relay\.chip/,
    );
    assert.throws(() => findGpio(join(tree.root, 'nowhere'), 17), /use the led driver/);
  });
});

Sysfs('a line is exported, waited for, and becomes an output with the commanded level in one step', async () => {
  for (const [commanded, energised, level] of [
    [undefined, 'disconnects', '0'],
    [true, 'disconnects', '0'],
    [false, 'disconnects', '1'],
    [undefined, 'connects', '0'],
    [true, 'connects', '1'],
    [false, 'connects', '0'],
  ] as const) {
    await withTree(async (tree) => {
      const { log } = lines();
      const relay = await openRelay({ ...PIN, energised, root: tree.root }, commanded, log);
      tree.step();
      assert.equal(tree.levels, [`529=${level}`]);
      assert.is(relay.isConnected(), (level === '1') === (energised === 'connects'));
      assert.match(relay.kind, 'sysfs GPIO 17 (529 on pinctrl-bcm2835)');
    });
  }
});

Sysfs('it switches and reads back, and closing keeps the level', async () => {
  await withTree(async (tree) => {
    const relay = await openRelay({ ...PIN, root: tree.root }, true, lines().log);
    tree.step();
    for (const connected of [false, true, false]) {
      relay.set(connected);
      tree.step();
      assert.is(relay.isConnected(), connected);
    }
    relay.close();
    tree.step();
    assert.equal(tree.levels, ['529=0', '529=1', '529=0', '529=1']);
    assert.is(tree.read('gpio529/direction'), 'out');
  });
});

Sysfs('a hundred restarts move nothing, whatever the level is and whatever was commanded', async () => {
  for (const connected of [true, false]) {
    await withTree(async (tree) => {
      const first = await openRelay({ ...PIN, root: tree.root }, connected, lines().log);
      tree.step();
      assert.is(first.isConnected(), connected);
      for (let i = 0; i < 100; i++) {
        const relay = await openRelay({ ...PIN, root: tree.root }, i % 2 === 0, lines().log);
        tree.step();
        assert.is(relay.isConnected(), connected);
      }
      assert.is(tree.levels.length, 1);
      assert.is(tree.exports, 1);
    });
  }
});

Sysfs('an inverted line is set straight without a change of its level', async () => {
  await withTree(async (tree) => {
    tree.makeLine('529');
    tree.write('gpio529/direction', 'out\n');
    tree.write('gpio529/active_low', '1\n');
    const relay = await openRelay({ ...PIN, root: tree.root }, true, lines().log);
    assert.is(tree.read('gpio529/active_low'), '0');
    assert.ok(relay.isConnected());
  });
});

Sysfs(
  'a relay that cannot be opened is reported, counts as without power, and is tried again by a command',
  async () => {
    await withTree(async (tree) => {
      tree.makeLine('529');
      rmSync(tree.path('gpio529/direction'));
      mkdirSync(tree.path('gpio529/direction'));
      const { all, log } = lines();
      tree.step = () => {};
      const relay = await openRelay({ ...PIN, root: tree.root }, false, log);
      assert.ok(
        all.some((line) => /error.*cannot be used, its contact stays as it is/.test(line)),
        String(all),
      );
      assert.ok(relay.isConnected());
      assert.throws(
        () => relay.set(false),
        (error: unknown) => error instanceof S3mpError && error.code === 'relay.failed',
      );
      rmSync(tree.path('gpio529/direction'), { recursive: true });
      tree.write('gpio529/direction', 'out\n');
      relay.set(false);
      assert.is(relay.isConnected(), false);
      assert.is(tree.read('gpio529/value'), '1');
    });
  },
);

Sysfs('no chip is a relay that fails with the reason', async () => {
  await withTree(async (tree) => {
    const relay = await openRelay({ ...PIN, chip: 'other', root: tree.root }, true, lines().log);
    assert.throws(() => relay.set(false), /no GPIO chip other/);
  });
});

Sysfs('a chip that comes after the start is found by the next command', async () => {
  await withTree(async (tree) => {
    const gpio = join(tree.root, 'class/gpio');
    renameSync(gpio, `${gpio}-later`);
    const { all, log } = lines();
    const relay = await openRelay({ ...PIN, root: tree.root }, false, log);
    assert.ok(
      all.some((line) => /the relay cannot be used/.test(line)),
      String(all),
    );
    assert.throws(() => relay.set(false), /use the led driver/);
    assert.ok(relay.isConnected(), 'the contact is where it was');
    renameSync(`${gpio}-later`, gpio);
    // The twin of the kernel makes the files of a line that is exported.
    assert.throws(() => relay.set(false));
    tree.step();
    relay.set(false);
    assert.not.ok(relay.isConnected());
    assert.match(relay.kind, 'sysfs GPIO 17 (529 on pinctrl-bcm2835)');
    relay.set(true);
    assert.ok(relay.isConnected());
  });
});

Sysfs('onoff without its addon, or without a kernel below it, is a relay that fails with the reason', async () => {
  await withTree(async (tree) => {
    const { all, log } = lines();
    const relay = await openRelay({ ...PIN, driver: 'onoff', root: tree.root }, true, log);
    assert.ok(
      all.some((line) => /error .*(onoff cannot be loaded|ENOENT|EINVAL|EACCES)/.test(line)),
      String(all),
    );
    assert.throws(
      () => relay.set(false),
      (error: unknown) => error instanceof S3mpError && error.code === 'relay.failed',
    );
    assert.ok(relay.isConnected());
  });
});

Sysfs('a pin that is pulled up at power-on is warned of', async () => {
  await withTree(async (tree) => {
    const { all, log } = lines();
    await openRelay({ ...PIN, pin: 4, root: tree.root }, true, log);
    assert.ok(all.some((line) => /pulled up/.test(line)));
  });
});

Sysfs.run();

const Led = suite('relay by the gpio-led overlay');

function withLed(test: (root: string, file: (name: string) => string) => Promise<void>): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 's3mp-led-'));
  const file = (name: string) => join(root, 'class/leds/relay', name);
  mkdirSync(file(''), { recursive: true });
  writeFileSync(file('trigger'), '[none] timer heartbeat\n');
  writeFileSync(file('brightness'), '0\n');
  return test(root, file).finally(() => rmSync(root, { recursive: true }));
}

Led('it switches, reads back, and begins with the commanded position', async () => {
  await withLed(async (root, file) => {
    const relay = await openRelay({ ...PIN, driver: 'auto', root }, false, lines().log);
    assert.is(relay.kind, 'LED relay');
    assert.is(relay.isConnected(), false);
    relay.set(true);
    assert.is(readFileSync(file('brightness'), 'latin1')[0], '0');
    assert.ok(relay.isConnected());
    for (const connected of [true, false]) {
      relay.set(connected);
      const again = await openRelay({ ...PIN, driver: 'led', root }, undefined, lines().log);
      assert.is(again.isConnected(), connected, 'kept where nothing is known');
    }
  });
});

Led('one that obeys a trigger is left alone, and the error says what the overlay needs', async () => {
  await withLed(async (root, file) => {
    writeFileSync(file('trigger'), 'none [heartbeat]\n');
    writeFileSync(file('brightness'), '1\n');
    const { all, log } = lines();
    const relay = await openRelay({ ...PIN, driver: 'led', root }, true, log);
    assert.ok(all.some((line) => /obeys trigger heartbeat; give the overlay trigger=none/.test(line)));
    assert.throws(() => relay.set(true), /trigger/);
    assert.is(readFileSync(file('brightness'), 'latin1'), '1\n');
  });
});

Led('one that is missing is told as the line of config.txt that makes it', async () => {
  await withLed(async (root) => {
    const { all, log } = lines();
    const relay = await openRelay({ ...PIN, driver: 'led', led: 'valve', root }, true, log);
    const line = /no LED valve: add dtoverlay=gpio-led,gpio=17,label=valve,trigger=none to config\.txt/;
    assert.ok(all.some((text) => line.test(text)));
    assert.throws(() => relay.set(true), line);
  });
});

Led.run();
