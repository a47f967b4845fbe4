/** Debian's Chromium for tests of the page. */

import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';
import { needs } from '#test/needs';

const EXECUTABLE = process.env.S3MP_CHROMIUM ?? '/usr/bin/chromium';

/** Whether the browser is there; prints the skip when it is not. */
export const hasBrowser = (): boolean =>
  needs('chromium', existsSync(EXECUTABLE), 'apt-get install chromium, or set S3MP_CHROMIUM');

export function launchBrowser(): Promise<Browser> {
  const args = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
  const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];
  return chromium.launch({ executablePath: EXECUTABLE, args: [...args, ...quiet] });
}
