/**
 * The real firmware killed and started again, with the load connected and disconnected, at any moment of its start and
 * work. Whoever writes the relay twin's `value` is seen: there must be nobody.
 */

import { readFileSync, watch, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as assert from 'uvu/assert';
import { encodeValue, enumeration } from '#dlms/cosem/setting';
import { Lab } from '#hw/lab/lab';
import { createLog } from '#hw/log';
import { readRelayValue, relayValueFile } from '#hw/sim/relay';
import { StateFiles } from '../../firmware/state-files.ts';
import { type Soak, scaled } from './soak.ts';

const KILLS = 100;
const CONTROL_STATE = '0-0:96.3.10.255/3';

export const restarts: Soak = async ({ random, share }) => {
  const kills = scaled(KILLS, share);
  const lab = await Lab.start({ bundles: join(process.cwd(), 'dist'), lines: 'none' });
  const edges: string[] = [];
  try {
    const { relayFolder } = lab.meters[0]!;
    const meter = lab.process('meter-1');
    const counts = { connected: 0, disconnected: 0, early: 0 };
    for (const connected of [true, false]) {
      await meter.stop();
      if (!connected) {
        // As a disconnection leaves it: commanded in the state, and the contact open.
        const files = new StateFiles(join(dirname(relayFolder), 'state'), createLog('test', { write: () => {} }));
        assert.ok(files.settings().set(CONTROL_STATE, encodeValue(enumeration(0))));
        files.close();
        writeFileSync(relayValueFile(relayFolder), '0\n');
      }
      const watcher = watch(relayFolder, (event, name) => {
        edges.push(`${event} ${name} ${readFileSync(relayValueFile(relayFolder), 'latin1').trim()}`);
      });
      await new Promise((resolve) => setTimeout(resolve, 50));
      edges.length = 0;
      for (let i = 0; i < kills; i++) {
        const started = meter.start().then(
          () => true,
          () => false,
        );
        const isEarly = random.below(2) === 0;
        if (isEarly) counts.early++;
        else assert.ok(await started, 'the start always succeeds');
        await new Promise((resolve) => setTimeout(resolve, random.below(isEarly ? 250 : 100)));
        await meter.stop('SIGKILL');
        await started;
        counts[connected ? 'connected' : 'disconnected']++;
        assert.is(readRelayValue(relayFolder), connected);
        assert.equal(edges, [], `kill ${i}`);
      }
      // The watcher sees what it should.
      writeFileSync(relayValueFile(relayFolder), connected ? '1\n' : '0\n');
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.ok(edges.length > 0, 'the watcher is blind');
      watcher.close();
      await meter.start();
    }
    return { done: 2 * kills, unit: 'kills of the firmware', figures: { ...counts, edges: 0 } };
  } finally {
    await lab.stop();
  }
};
