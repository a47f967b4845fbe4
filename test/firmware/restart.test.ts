/** What a restart of the meter's real process keeps of the relay's limits, and a state folder that fails and comes back. */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseObis } from '#dlms/obis';
import { readRelayValue } from '#hw/sim/relay';
import { commandWorks, needs } from '../needs.ts';
import { type MeterProcess, startMeterBelow, startMeterProcess } from './meter-process.ts';

const Restart = suite('restart of the meter');
const CONTROL = { classId: 70, ln: parseObis('0-0:96.3.10.255') };
const DISCONNECT = 1;
const RECONNECT = 2;
const SUCCESS = 0;
const TEMPORARY_FAILURE = 2;

let folder = '';
const started: MeterProcess[] = [];
Restart.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 's3mp-restart-'));
});
Restart.after.each(async () => {
  await Promise.all(started.splice(0).map((meter) => meter.kill()));
  rmSync(folder, { recursive: true, force: true });
});

function start(...more: readonly string[]): MeterProcess {
  const meter = startMeterProcess(folder, ...more);
  started.push(meter);
  return meter;
}

/** Result of a method of the disconnect control. */
const order = (meter: MeterProcess, method: number) =>
  meter.asClient(async (client, run) => {
    const parameter = { type: 'integer', value: 0 } as const;
    const [result] = await run(client.actionList([{ ref: { ...CONTROL, method }, parameter }]));
    return result?.result;
  });

Restart('the disconnections of the last hour count behind a kill, and a reconnection is free', async () => {
  const words = ['--relay-dwell-ms', '0', '--relay-disconnects-per-hour', '1'];
  const first = start(...words);
  assert.is(await order(first, DISCONNECT), SUCCESS);
  assert.is(await order(first, RECONNECT), SUCCESS);
  await first.kill();
  const second = start(...words);
  assert.is(await order(second, DISCONNECT), TEMPORARY_FAILURE);
  assert.ok(readRelayValue(join(folder, 'relay')), 'the load is supplied');
  await second.said(/the contact is not moved/);
});

Restart(
  'the contact rests behind a kill for what is left of its time, and a disconnection is restored at once',
  async () => {
    const words = ['--relay-dwell-ms', '600000'];
    const first = start(...words);
    assert.is(await order(first, DISCONNECT), SUCCESS);
    await first.kill();
    const second = start(...words);
    assert.is(await order(second, RECONNECT), TEMPORARY_FAILURE);
    await second.kill();
    // A power failure closes a contact that is normally closed.
    writeFileSync(join(folder, 'relay', 'value'), '1\n');
    const third = start(...words);
    await third.said(/^ready$/);
    assert.not.ok(readRelayValue(join(folder, 'relay')), 'as commanded');
  },
);

Restart('a state folder that works again brings the management client back by an orderly restart', async () => {
  const state = join(folder, 'state');
  writeFileSync(state, 'where the folder should be');
  const first = start();
  const fault = await first.said(/the management client is not offered/);
  assert.is(fault.remedy, 'tried again');
  await first.said(/^ready$/);
  assert.is(first.lines.filter(({ msg, message }) => /meter\.serial is not set/.test(msg ?? message ?? '')).length, 1);
  rmSync(state);
  mkdirSync(state);
  assert.is(await first.ended, 0);
  const second = start('--meter-serial', '4711');
  await second.said(/^ready$/);
  assert.match(readFileSync(join(state, 'pki', 'code'), 'utf8'), /^[0-9A-Z]{5}(-[0-9A-Z]{5}){3}\n$/);
  assert.not.ok(second.lines.some(({ msg, message }) => /not offered|meter\.serial/.test(msg ?? message ?? '')));
});

Restart(
  'a meter whose address is not there yet measures, stores and ends in order, and serves when it is',
  async () => {
    const absent = ['--scion-address', '192.0.2.77'];
    const meter = start(...absent);
    const fault = await meter.said(/^no network yet/);
    assert.match(fault.error!, /192\.0\.2\.77.*does not have this IP address/);
    assert.is((await meter.said(/^ready$/)).address, '[1-ff00:0:110,192.0.2.77]:0');
    // What needs no network works: the legacy client is at another address.
    assert.is(await order(meter, DISCONNECT), SUCCESS);
    meter.child.kill('SIGTERM');
    assert.is(await meter.ended, 0);
  },
);

if (needs('unshare', commandWorks('unshare', '-rn', 'ip', 'link'), 'a kernel with user namespaces, and iproute2'))
  Restart('an address that comes later is served from then on', async () => {
    // A network of its own, which has the address once the file is there.
    const address = ['--scion-address', '10.77.0.1', '--dlms-tcp-address', '10.77.0.1:0'];
    const up = join(folder, 'up');
    const wait = `ip link set lo up; (until [ -e ${up} ]; do sleep 0.1; done; ip addr add 10.77.0.1/32 dev lo) & exec "$@"`;
    const meter = startMeterBelow(['unshare', '-rn', 'sh', '-c', wait, 'sh'], folder, ...address);
    started.push(meter);
    await meter.said(/^no network yet/);
    const ready = await meter.said(/^ready$/);
    assert.is(ready.tcp, null);
    writeFileSync(up, '');
    await meter.said(/^the network is there/);
    meter.child.kill('SIGTERM');
    assert.is(await meter.ended, 0);
  });

Restart.run();
