/** A whole emulated Pi Zero; see scenario.ts for what it must show. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import { needs } from '#test/needs';
import { BUNDLES } from '../e2e/platform.ts';
import { clientPeers } from '../interop/dlms-peers.ts';
import { hasPymodbus, hasSocat } from '../interop/pymodbus.ts';
import { BOARD_HINT, hasEmulatedBoard, wantsBoard } from './armel.ts';
import { ramMedium } from './initramfs.ts';
import { runScenario } from './scenario.ts';
import { enterNamespace, hasNamespaces } from './world.ts';

if (
  process.env.S3MP_BOARD_NAMESPACE ||
  (needs('raspi0', wantsBoard && hasEmulatedBoard(), BOARD_HINT) &&
    needs('namespaces', hasNamespaces(), 'user namespaces and /dev/net/tun') &&
    needs('pymodbus', hasPymodbus() && hasSocat(), 'apt-get install socat python3-pymodbus python3-serial-asyncio'))
) {
  const status = enterNamespace(__filename);
  if (status !== undefined) process.exit(status);

  const Zero = suite('emulated Pi Zero');
  Zero('comes up into the meter, reads over its UART, answers over SCION and TCP, switches its pin', async () => {
    const folder = mkdtempSync(join(tmpdir(), 's3mp-raspi0-'));
    const lines: string[] = [];
    try {
      await runScenario({
        folder,
        bundles: BUNDLES,
        makeMedium: ramMedium(join(process.cwd(), 'test', 'board', 'guest'), BUNDLES),
        gurux: clientPeers().find(({ name }) => name === 'Gurux (Python)'),
        say: (who, what) => lines.push(`${who}: ${what}`),
      });
    } catch (error) {
      console.log(lines.join('\n'));
      throw error;
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
  Zero.run();
}
