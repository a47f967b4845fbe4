/**
 * The page in a real browser against the whole platform. The README's picture comes from here:
 *   S3MP_SCREENSHOT=docs/images/meter.png node dist/test/e2e/page.test.js
 * which reads for some minutes first, so that the graph has something to show.
 */

import { mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { displayTextFile } from '#hw/sim/display';
import { readRelayValue } from '#hw/sim/relay';
import { hasBrowser, launchBrowser } from './browser.ts';
import { OBIS, Platform, until } from './platform.ts';

const SCREENSHOT = process.env.S3MP_SCREENSHOT;
const SCREENSHOT_AFTER_MS = 240_000;

let platform: Platform;
let browser: Browser;
let page: Page;
const faults: string[] = [];

const text = async (id: string): Promise<string> => (await page.getByTestId(id).textContent())?.trim() ?? '';
const points = async (): Promise<number> => Number(await page.getByTestId('graph').getAttribute('data-points'));
/** Power that the load takes now, from the simulated energy meter's own register, W. */
const loadPower = (): number => platform.lab.meters[0]!.household!.at(Date.now()).activePower;

const PageTest = suite('page');

PageTest.before(async () => {
  platform = await Platform.start();
  browser = await launchBrowser();
  page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  await page.goto(platform.url);
  await until('the meter online', async () => /online/i.test(await text('meter-state')));
});
PageTest.after(async () => {
  await browser?.close();
  await platform?.stop();
});

PageTest('read once shows what the meter gives', async () => {
  const before = await platform.get<{ lastSeenAt: string }>(`meters/${platform.meterId}`);
  await page.getByTestId('read-once').click();
  const after = await until('a newer reading', async () => {
    const now = await platform.get<{ lastSeenAt: string; values: { obis: string; value: number }[] }>(
      `meters/${platform.meterId}`,
    );
    return now.lastSeenAt > before.lastSeenAt && now;
  });
  const power = after.values.find((v) => v.obis === OBIS.netPower)!.value;
  await until('its power on the page', async () => Number(await text('power')) === power);
  assert.match(await text(`value-${OBIS.voltage}`), /^2\d\d\.\d/);
});

PageTest('read continuously moves the graph', async () => {
  await page.getByTestId('read-continuous').click();
  const first = await until('a first point', async () => (await points()) > 0 && (await points()));
  const picture = await page.getByTestId('graph').screenshot();
  await until('more points', async () => (await points()) >= first + 3);
  assert.not.equal(await page.getByTestId('graph').screenshot(), picture, 'the picture of the graph has changed');
  assert.match(await text('live-rate'), /^[01]\.\d\d \/s$/);
});

PageTest('a message appears on the display twin and in the preview', async () => {
  const message = 'Planned outage on Monday 22:00';
  await page.getByTestId('message-text').fill(message);
  await page.getByTestId('message-send').click();
  const twin = displayTextFile(platform.lab.meters[0]!.displayFolder);
  await until('the message on the display twin', () =>
    readFileSync(twin, 'utf8').replace(/\s+/g, ' ').includes(message),
  );
  await until('the message in the preview, read back', async () => {
    const shown = (await page.getByTestId('oled').getAttribute('data-text')) ?? '';
    return shown.replace(/\s+/g, ' ').includes(message) && /read back/.test(await text('oled-note'));
  });
});

PageTest('the README picture', async () => {
  if (SCREENSHOT === undefined) return;
  await page.setViewportSize({ width: 1280, height: 1230 });
  await new Promise((resolve) => setTimeout(resolve, SCREENSHOT_AFTER_MS));
  mkdirSync(dirname(SCREENSHOT), { recursive: true });
  await page.screenshot({ path: SCREENSHOT });
});

PageTest('disconnect: the load falls to zero and the page shows it', async () => {
  assert.ok(loadPower() > 0);
  await page.getByTestId('disconnect').click();
  assert.ok(await page.getByTestId('confirm-disconnect').isDisabled(), 'a reason is needed');
  await page.getByTestId('reason').fill('Order 4711, moving out');
  await page.getByTestId('confirm-disconnect').click();
  const relay = platform.lab.meters[0]!.relayFolder;
  await until('the contact open', () => readRelayValue(relay) === false);
  await until('the command verified', async () => /verified/i.test(await text('command-stage')));
  await until('no load', () => loadPower() === 0);
  await until('0 W on the page', async () => (await text('power')) === '0');
  await until('the output off', async () => /off/i.test(await text('output-state')));
  await until('the control state', async () => /disconnected/i.test(await text('control-state')));
});

PageTest('connect: the load comes back', async () => {
  await page.getByTestId('connect').click();
  await until('the output on', async () => /on/i.test(await text('output-state')));
  assert.is(readRelayValue(platform.lab.meters[0]!.relayFolder), true);
  await until('power on the page', async () => Number(await text('power')) > 0);
});

PageTest('the page logged no error', () => {
  assert.equal(faults, []);
});

if (hasBrowser()) PageTest.run();
