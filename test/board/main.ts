/**
 * `npm run board [-- --card] [--write]`: boots an emulated Pi Zero into the meter and shows what happens, line by line, from
 * RAM, or with `--card` from a flashed image of an SD card. `--write`
 * keeps the transcript and the pictures of the display in docs/board/. What is missing is fetched first: Debian's kernel
 * and Node for ARMv6, about 60 MB, into the user's cache or the folder S3MP_ARMEL.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { messageOf } from '#base/errors';
import { clientPeers } from '../interop/dlms-peers.ts';
import { hasPymodbus, hasSocat } from '../interop/pymodbus.ts';
import { ARMEL, BOARD_HINT, hasArmel, hasEmulatedBoard } from './armel.ts';
import { cardMedium } from './card.ts';
import { ramMedium } from './initramfs.ts';
import { runScenario } from './scenario.ts';
import { enterNamespace, hasNamespaces } from './world.ts';

const root = join(__dirname, '..', '..');
/** A board on a busy machine has its time, and systemd on an emulated ARMv6 takes more of it. */
const RAM_BOOT_MS = 480_000;
const CARD_BOOT_MS = 600_000;
const usage = `usage: npm run board [-- --card] [--write]
  --card   make an image of an SD card, flash it and boot from it, with systemd
  --write  keep transcript and pictures in docs/board/`;

async function main(): Promise<number> {
  const options = { write: { type: 'boolean' }, card: { type: 'boolean' }, help: { type: 'boolean' } } as const;
  const { values } = parseArgs({ options });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  if (!process.env.S3MP_BOARD_NAMESPACE) {
    const part = values.card ? 'systemd' : 'kernel';
    if (!hasArmel(part)) {
      const made = spawnSync(join(root, 'test', 'board', 'armel.sh'), [ARMEL, part], { stdio: 'inherit' });
      if (made.status !== 0) return 3;
    }
    if (!hasEmulatedBoard()) return missing(BOARD_HINT);
    if (!hasPymodbus() || !hasSocat()) return missing('apt-get install socat python3-pymodbus python3-serial-asyncio');
    if (!hasNamespaces()) return missing('allow user namespaces and /dev/net/tun, or run this as root');
  }
  const status = enterNamespace(__filename, process.argv.slice(2));
  if (status !== undefined) return status;

  const folder = mkdtempSync(join(tmpdir(), 's3mp-board-'));
  const bundles = join(root, 'dist');
  const guest = join(root, 'test', 'board', 'guest');
  const lines: string[] = [];
  const say = (who: string, what: string) => {
    const seconds = (performance.now() / 1000).toFixed(1);
    const line = `${seconds.padStart(6)} s  ${who.padEnd(8)} | ${what}`;
    lines.push(line);
    console.log(line);
  };
  try {
    const pictures = await runScenario({
      folder,
      bundles,
      makeMedium: values.card ? cardMedium(guest, bundles, say) : ramMedium(guest, bundles),
      ...(values.card ? { bootMs: CARD_BOOT_MS, twice: true } : { bootMs: RAM_BOOT_MS }),
      gurux: clientPeers().find(({ name }) => name === 'Gurux (Python)'),
      say,
    });
    say('host', 'all of it was seen');
    if (values.write) {
      const docs = join(root, 'docs', 'board');
      mkdirSync(docs, { recursive: true });
      writeFileSync(join(docs, values.card ? 'transcript-card.txt' : 'transcript.txt'), `${lines.join('\n')}\n`);
      for (const [name, picture] of pictures) writeFileSync(join(docs, `oled-${name}.png`), picture);
    }
    return 0;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function missing(what: string): number {
  console.error(`board: not here: ${what}`);
  return 2;
}

main().then(
  (status) => process.exit(status),
  (error) => {
    console.error(`board: ${messageOf(error)}`);
    process.exit(1);
  },
);
