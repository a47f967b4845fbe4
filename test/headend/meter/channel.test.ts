/** The request channel to a meter where there is nothing to send over. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { S3mpError } from '#base/errors';
import { readTopologyFile } from '#hw/files';
import { LabAddresses } from '#hw/lab/addresses';
import { writeAsFiles } from '#hw/lab/as-files';
import { HEADEND_AS, labTopology } from '#hw/lab/topology';
import { createLog } from '#hw/log';
import { ScionSocket } from '#hw/scion-socket';
import { parseEndpoint } from '#scion/address';
import { MeterChannel } from '../../../headend/meter/channel.ts';

const Channel = suite('meter channel');

Channel('an AS without any path costs a few lookups a second, and leaves the process free', async () => {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-channel-'));
  const { folders } = writeAsFiles(labTopology(new LabAddresses(251), 'none').description, folder);
  let lookups = 0;
  const socket = await ScionSocket.open({
    topology: readTopologyFile(join(folders.get(HEADEND_AS.ia)!, 'topology.json')),
    hostIp: '127.0.0.1',
    shim: false,
    log: createLog('test', { level: 'error' }),
    pathSource: {
      paths: async () => {
        lookups++;
        return [];
      },
    },
  });
  try {
    const meter = parseEndpoint('[1-ff00:0:999,10.0.0.1]:4059');
    const channel = new MeterChannel(socket, meter, createLog('test', { level: 'error' }));
    let turns = 0;
    const ticking = setInterval(() => turns++, 10);
    const error = await channel.exchange(new Uint8Array(20), socket.now() + 1_000).catch((e: unknown) => e);
    clearInterval(ticking);
    assert.instance(error, S3mpError);
    assert.is((error as S3mpError).code, 'path.none');
    assert.ok(lookups <= 8, `${lookups} lookups in a second`);
    assert.ok(turns > 30, `${turns} turns of the event loop`);
  } finally {
    await socket.close();
    rmSync(folder, { recursive: true });
  }
});

Channel.run();
