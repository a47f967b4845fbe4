/** The page in a real browser against a real server; the meter is scripted, so that it can fail on demand. */

import { existsSync } from 'node:fs';
import type { Browser, Page } from 'playwright-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { needs } from '#test/needs';
import { createToken } from '../../../headend/http/tokens.ts';
import { type HttpRig, httpRig } from '../http/http-rig.ts';

const CHROMIUM = process.env.S3MP_CHROMIUM ?? '/usr/bin/chromium';
const FLAGS =
  '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync';

/** Nothing that a test expects waits for this: it ends the wait for what does not come. */
const LIMIT_MS = 45_000;

interface Context {
  browser: Browser;
}

const PageTest = suite<Context>('page');

/** Opens the page of a fresh server; fails on any error in the page itself. */
async function withPage(
  { browser }: Context,
  options: Parameters<typeof httpRig>[0],
  work: (page: Page, rig: HttpRig) => Promise<void>,
  fragment = '',
): Promise<void> {
  const rig = await httpRig(options);
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  const errors: string[] = [];
  page.on('pageerror', (error) => void errors.push(error.message));
  page.on('console', (message) => {
    if (/Content Security Policy/.test(message.text())) errors.push(message.text());
  });
  page.setDefaultTimeout(LIMIT_MS);
  try {
    await page.goto(`http://127.0.0.1:${rig.port}/${fragment}`);
    await work(page, rig);
    assert.equal(errors, []);
  } finally {
    await page.close();
    await rig.close();
  }
}

const seen = (page: Page, selector: string) => page.waitForSelector(selector, { state: 'attached' });

PageTest.before(async (context) => {
  const { chromium } = await import('playwright-core');
  context.browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS.split(' ') });
});
PageTest.after(async ({ browser }) => {
  await browser?.close();
});

PageTest('a path is pinned and released, and an edited policy is shown on the candidates first', async (context) => {
  await withPage(context, {}, async (page, rig) => {
    await seen(page, '#path-list li[data-chosen]');
    await seen(page, '#path-list li[data-state="forbidden"] .why');
    await page.locator('#path-list li[data-fingerprint="b7c8d9eaf0112233"] [data-testid="pin"]').click();
    await seen(page, '#path-list li[data-fingerprint="b7c8d9eaf0112233"][data-pinned]');
    assert.is(rig.meter.pathSettings?.pin, 'b7c8d9eaf0112233');
    await page.locator('#path-list li[data-pinned] [data-testid="pin"]').click();
    await page.waitForSelector('#path-list li[data-pinned]', { state: 'detached' });

    await page.locator('#policy summary').click();
    await page.getByTestId('policy-acl').fill('- 1-ff00:0:110\n+');
    await seen(page, '#path-list li[data-fingerprint="a1b2c3d4e5f60718"][data-preview="dropped"]');
    assert.match((await page.getByTestId('policy-note').textContent())!, /1 kept, 2 dropped/);
    assert.equal(rig.meter.pathSettings?.acl, []);
    await page.getByTestId('policy-acl').fill('sideways');
    await seen(page, '#policy-acl[aria-invalid]');
    await page.getByTestId('policy-acl').fill('- 1-ff00:0:110\n+');
    await page.getByTestId('policy-apply').click();
    await seen(page, '#policy-note:text("In force")');
    assert.equal(rig.meter.pathSettings?.acl, ['- 1-ff00:0:110', '+']);
    await page.getByTestId('policy-default').click();
    await seen(page, '#policy-default:disabled');
    assert.is(rig.meter.pathSettings, null);
  });
});

PageTest('reads once: power, registers, path and a point in the graph', async (context) => {
  await withPage(context, {}, async (page) => {
    await seen(page, '#meter-state[data-state="unknown"]');
    assert.is(await page.getByTestId('power').textContent(), '–');
    await page.getByTestId('read-once').click();
    await seen(page, '#power[data-value="412"]');
    await seen(page, '#meter-state[data-state="online"]');
    assert.is(await page.getByTestId('value-1-0:32.7.0.255').textContent(), '230.12');
    assert.is(await page.getByTestId('value-1-0:3.8.0.255').textContent(), '–');
    await seen(page, '#path-chosen[data-fingerprint="a1b2c3d4e5f60718"]');
    assert.is(await page.locator('#path-list li').count(), 3);
    await seen(page, '#graph[data-points="1"]');
    await seen(page, '#events li[data-kind="meter.online"]');
    await page.reload();
    await seen(page, '#graph[data-points="1"]');
  });
});

PageTest('reads continuously while it is wanted', async (context) => {
  await withPage(context, {}, async (page, rig) => {
    await page.getByTestId('read-continuous').click();
    const before = performance.now();
    await seen(page, '#graph[data-points]:not([data-points="0"], [data-points="1"], [data-points="2"])');
    const seconds = (performance.now() - before) / 1000;
    const { reads } = rig.meter;
    assert.ok(reads >= 3 && reads <= Math.max(5, Math.ceil(seconds) + 2), `${reads} reads in ${seconds} s`);
    await page.locator('#live-rate', { hasText: '/s' }).waitFor();
    await page.getByTestId('read-continuous').click();
    await page.locator('#live-rate', { hasText: '–' }).waitFor();
    assert.is((await rig.fleet.meter('m1')).live, null);
  });
});

PageTest('a clock that is not set is shown with what to do, and set from the page', async (context) => {
  await withPage(context, {}, async (page, rig) => {
    assert.ok(await page.getByTestId('clock').isHidden());
    rig.meter.clock = { isSet: false, offsetMs: -7_300_000 };
    await page.getByTestId('read-once').click();
    await page.getByTestId('sync-clock').waitFor({ state: 'visible' });
    assert.match((await page.getByTestId('clock').textContent())!, /not set \(2 h behind\).*obeys no command/);
    await page.getByTestId('sync-clock').click();
    await seen(page, '#command-stage[data-type="sync-clock"][data-state="verified"]');
    await page.getByTestId('clock').waitFor({ state: 'hidden' });
    assert.match((await page.getByTestId('evidence').textContent())!, /clock 2 h behind before, 0\.0 s ahead now/);
    assert.is(rig.meter.clockSets, 1);
  });
});

PageTest('disconnects with a reason only, and shows what was read back', async (context) => {
  await withPage(context, {}, async (page, rig) => {
    await page.getByTestId('read-once').click();
    await seen(page, '#output-state[data-output="on"]');
    assert.ok(await page.getByTestId('connect').isDisabled());
    await page.getByTestId('disconnect').click();
    assert.ok(await page.getByTestId('confirm-disconnect').isDisabled());
    await page.getByTestId('reason').fill('order 4711');
    await page.getByTestId('confirm-disconnect').click();
    await seen(page, '#command-stage[data-state="verified"][data-type="disconnect"]');
    await seen(page, '#output-state[data-output="off"]');
    assert.is(await page.getByTestId('control-state').textContent(), 'disconnected');
    assert.match((await page.getByTestId('evidence').textContent())!, /output off .* power after 0 W/);
    assert.is(rig.meter.switches, 1);
    await seen(page, '#power[data-value="0"]');
    await seen(page, '#connect:focus');
    await page.getByTestId('connect').click();
    await seen(page, '#output-state[data-output="on"]');
    await seen(page, '#disconnect:focus');
  });
});

PageTest('the focus is kept too when the page is drawn before the closed dialog has let go of it', async (context) => {
  await withPage(context, {}, async (page) => {
    await page.getByTestId('read-once').click();
    await seen(page, '#output-state[data-output="on"]');
    await page.getByTestId('disconnect').click();
    await page.getByTestId('reason').fill('order 4711');
    await page.getByTestId('confirm-disconnect').focus();
    const focused = await page.evaluate(`
      document.activeElement.click();
      const focused = document.activeElement.id;
      window.dispatchEvent(new Event('online'));
      focused`);
    assert.is(focused, 'confirm-disconnect');
    await seen(page, '#output-state[data-output="off"]');
    await seen(page, '#connect:focus');
  });
});

PageTest('outside the lab a disconnect asks for a token, and a wrong one spoils nothing', async (context) => {
  const { token, stored } = createToken('anna', 'operator');
  await withPage(context, { labMode: false, tokens: [stored] }, async (page, rig) => {
    const disconnect = async (text: string) => {
      await page.getByTestId('disconnect').click();
      await page.getByTestId('reason').fill('order 4711');
      assert.ok(await page.getByTestId('confirm-disconnect').isDisabled());
      await page.getByTestId('disconnect-token').fill(text);
      await page.getByTestId('confirm-disconnect').click();
    };
    await page.getByTestId('read-once').click();
    await seen(page, '#output-state[data-output="on"]');
    await disconnect('wrong');
    await page.waitForSelector('#banner:not([hidden])');
    assert.is(rig.meter.switches, 0);
    await page.getByTestId('read-once').click();
    await page.locator('#read-note', { hasText: 'Read in' }).waitFor();
    await disconnect(token);
    await seen(page, '#command-stage[data-state="verified"]');
    assert.is((await rig.fleet.meter('m1')).lastCommand!.actor, 'anna');
  });
});

PageTest('several meters can be chosen; each has its own graph and events', async (context) => {
  await withPage(context, { meters: 2 }, async (page, rig) => {
    await page.getByTestId('read-once').click();
    await seen(page, '#graph[data-points="1"]');
    await page.getByTestId('meter').selectOption('m2');
    await seen(page, '#graph[data-points="0"]');
    await seen(page, '#meter-state[data-state="unknown"]');
    assert.is(await page.locator('#events li').count(), 0);
    await page.getByTestId('read-once').click();
    await seen(page, '#power[data-value="412"]');
    assert.is((await rig.fleet.meter('m2')).state, 'online');
    await page.reload();
    await page.locator('#meter-address', { hasText: '1-ff00' }).waitFor();
    assert.is(await page.getByTestId('meter').inputValue(), 'm2');
  });
});

/** Holds the first answer to a request back, as a slow connection does, until it is let go. */
async function heldBack(page: Page, method: string, path: RegExp) {
  let letGo = () => {};
  let arrived = () => {};
  const held = new Promise<void>((resolve) => (letGo = resolve));
  const isHeld = new Promise<void>((resolve) => (arrived = resolve));
  let isFirst = true;
  await page.route(path, async (route) => {
    if (!isFirst || route.request().method() !== method) return route.continue();
    isFirst = false;
    const response = await route.fetch();
    arrived();
    await held;
    await route.fulfill({ response });
  });
  const release = async () => {
    const finished = page.waitForEvent('requestfinished', (r) => path.test(r.url()) && r.method() === method);
    letGo();
    await finished;
    // The page has taken the answer when it has drawn twice.
    await page.evaluate('new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))');
  };
  return { isHeld, release };
}

PageTest('events of a meter that come when another one is shown already are not shown', async (context) => {
  await withPage(context, { meters: 2 }, async (page, rig) => {
    await page.getByTestId('read-once').click();
    await seen(page, '#events li[data-kind="meter.online"]');
    const { isHeld, release } = await heldBack(page, 'GET', /\/events\?/);
    await page.reload();
    await isHeld;
    await page.getByTestId('meter').selectOption('m2');
    await seen(page, '#meter-state[data-state="unknown"]');
    await release();
    assert.is(await page.locator('#events li[data-kind="meter.online"]').count(), 0);
    assert.is((await rig.fleet.meter('m1')).state, 'online');
  });
});

for (const [what, path] of [
  ['paths', /\/paths$/],
  ['a path policy', /\/path-policy$/],
] as const)
  PageTest(`an old answer for ${what} that comes after a newer one changes nothing`, async (context) => {
    await withPage(context, {}, async (page) => {
      const pinned = '#path-list li[data-fingerprint="b7c8d9eaf0112233"][data-pinned]';
      await seen(page, '#path-list li[data-chosen]');
      const { isHeld, release } = await heldBack(page, 'GET', path);
      await page.evaluate(`window.dispatchEvent(new Event('online'))`);
      await isHeld;
      await page.locator('#path-list li[data-fingerprint="b7c8d9eaf0112233"] [data-testid="pin"]').click();
      await seen(page, pinned);
      await page.locator('#policy-summary', { hasText: 'one path pinned' }).waitFor();
      await release();
      assert.is(await page.locator(pinned).count(), 1);
      assert.match((await page.locator('#policy-summary').textContent())!, /one path pinned/);
    });
  });

PageTest('a relay that does not follow is shown as it is, not as it was asked', async (context) => {
  await withPage(context, {}, async (page, rig) => {
    rig.meter.isStuck = true;
    await page.getByTestId('read-once').click();
    await seen(page, '#output-state[data-output="on"]');
    const { readControl } = rig.meter;
    let readBack = () => {};
    const held = new Promise<void>((resolve) => (readBack = resolve));
    rig.meter.readControl = () => held.then(() => readControl.call(rig.meter));
    await page.getByTestId('disconnect').click();
    await page.getByTestId('reason').fill('order 4711');
    await page.getByTestId('reason').press('Enter');
    await seen(page, '#command-stage[data-state="acknowledged"]');
    assert.ok(await page.getByTestId('connect').isDisabled());
    assert.ok(await page.getByTestId('disconnect').isDisabled());
    readBack();
    await seen(page, '#command-stage[data-state="failed"]');
    assert.is(await page.getByTestId('output-state').getAttribute('data-output'), 'on');
  });
});

PageTest('a message is a draft until the meter holds it', async (context) => {
  await withPage(context, {}, async (page, rig) => {
    await page.getByTestId('message-text').fill('Hello');
    await seen(page, '#oled[data-text="Hello"][data-draft]');
    assert.is(await page.getByTestId('message-left').textContent(), '155 characters left');
    await page.getByTestId('message-send').click();
    await seen(page, '#oled[data-text="Hello"]:not([data-draft])');
    assert.is(rig.meter.message, 'Hello');
    await page.getByTestId('message-text').fill('x'.repeat(161));
    assert.ok(await page.getByTestId('message-send').isDisabled());
  });
});

PageTest(
  'a meter that is gone is offline with its reason, and the page tells when the head end is gone',
  async (context) => {
    await withPage(context, {}, async (page, rig) => {
      rig.meter.isReachable = false;
      await page.getByTestId('read-once').click();
      await seen(page, '#meter-state[data-state="offline"]');
      assert.match((await page.getByTestId('age').textContent())!, /never seen · meter\.unreachable/);
      assert.is(await page.getByTestId('power').textContent(), '–');
      await seen(page, '#link[data-phase="open"]');
      await rig.server.close();
      await seen(page, '#link[data-phase="lost"]');
    });
  },
);

PageTest('without the head end what was known stays, as old, and nothing can be asked', async (context) => {
  await withPage(context, {}, async (page, rig) => {
    await page.getByTestId('read-once').click();
    await seen(page, '#output-state[data-output="on"]:not([data-old])');
    await seen(page, '#path-list:not([data-old]) li[data-chosen]');
    await page.getByTestId('message-text').fill('Hello');
    await seen(page, '#message-send:enabled');
    await rig.server.close();
    await seen(page, '#path-list[data-old] li[data-chosen]');
    await seen(page, '#output-state[data-output="on"][data-old]');
    await page.waitForEvent('requestfailed', (request) => request.url().endsWith('/paths'));
    assert.is(await page.locator('#path-list li[data-fingerprint]').count(), 3);
    for (const id of ['read-once', 'connect', 'disconnect', 'message-send'])
      assert.ok(await page.getByTestId(id).isDisabled(), id);
  });
});

PageTest('the note on a failed read goes with the next good reading', async (context) => {
  await withPage(context, {}, async (page, rig) => {
    rig.meter.isReachable = false;
    await page.getByTestId('read-once').click();
    await seen(page, '#read-note[data-kind="error"]');
    await seen(page, '#output-state[data-old]');
    rig.meter.isReachable = true;
    await rig.fleet.read('m1');
    await seen(page, '#power[data-value="412"]');
    await seen(page, '#read-note:not([data-kind]):empty');
    await seen(page, '#output-state:not([data-old])');
  });
});

PageTest('a token in the fragment opens the page and leaves the address; without one it asks', async (context) => {
  const { token, stored } = createToken('anna', 'operator');
  const options = { host: '0.0.0.0', tokens: [stored] };
  await withPage(context, options, async (page) => {
    await page.getByTestId('token').fill(token);
    await page.getByTestId('token-send').click();
    await seen(page, '#link[data-phase="open"]');
    await page.getByTestId('read-once').click();
    await seen(page, '#power[data-value="412"]');
  });
  const open = async (page: Page) => {
    await seen(page, '#link[data-phase="open"]');
    assert.not.ok(page.url().includes('token'));
  };
  await withPage(context, options, open, `#token=${token}`);
});

if (needs('chromium', existsSync(CHROMIUM), 'apt-get install chromium')) PageTest.run();
