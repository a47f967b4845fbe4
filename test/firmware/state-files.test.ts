/** The meter on a storage that is full, read-only or broken: it measures on, refuses commands, and catches up. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes } from '#base/bytes';
import { DlmsClient } from '#dlms/client';
import { type Exchange, exchangeSync } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import { ProfileReader } from '#dlms/profile-reader';
import { AmrStatus, EventCode } from '#dlms/well-known';
import { createLog } from '#hw/log';
import { fileMedium, type Medium } from '#hw/medium';
import type { Relay } from '#hw/relay';
import type { Meter } from '../../firmware/meter-model.ts';
import { guardRelay } from '../../firmware/relay-guard.ts';
import { StateFiles } from '../../firmware/state-files.ts';
import { SimDisk } from '../hw/sim-disk.ts';
import { PASSWORD, pass, type TestMeter, testMeter } from '../interop/dlms-meter.ts';
import { needs } from '../needs.ts';

const Storage = suite('storage of the meter');
const quiet = createLog('test', { level: 'error', write: () => {} });
const LOAD = '1-0:99.1.0.255';
const CONTROL = { classId: 70, ln: parseObis('0-0:96.3.10.255') };

/** The meter as firmware/meter.ts puts it together, with a contact of the test. */
function meterOn(medium: Medium, folder = '/state', contact = { connected: true, moves: 0 }) {
  const files = new StateFiles(folder, quiet, medium);
  const relay: Relay = {
    kind: 'test',
    set: (connected) => {
      contact.moves++;
      contact.connected = connected;
    },
    isConnected: () => contact.connected,
    close: () => {},
  };
  let model: Meter | undefined;
  const meter: TestMeter = testMeter({
    settings: files.settings(),
    openStore: (name, rowSize, rows, layout) => files.profile(name, rowSize, rows, layout),
    isStorageFailing: () => files.isFailing,
    relay: guardRelay({
      relay,
      log: quiet,
      steadyClock: () => meter.clock.steadyMs,
      dwellMs: 0,
      record: (code) => model?.events.record(code) === true,
      onChange: () => {},
    }),
  });
  model = meter.model;
  files.onFault = (isFailing) => isFailing && meter.model.events.record(EventCode.memoryError);
  if (files.isFailing) meter.model.events.record(EventCode.memoryError);
  const session = meter.server.session('client')!;
  const client = new DlmsClient({ clientSap: 17, password: asciiBytes(PASSWORD) });
  const out = new Uint8Array(2048);
  const run = <T>(operation: Exchange<T>): T =>
    exchangeSync(operation, (frame) => out.subarray(0, session.receive(frame, out, 0)));
  run(client.associate());
  const code = (act: () => unknown): string => {
    try {
      act();
      return 'done';
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  return {
    meter,
    files,
    contact,
    command: (method: number) => code(() => run(client.action({ ...CONTROL, method }))),
    read: (obis: string) => run(new ProfileReader(client).read(obis, { firstEntry: 1, lastEntry: 0 })).rows,
    number: (classId: number, obis: string) => {
      const data = run(client.get({ classId, ln: parseObis(obis), attribute: 2 }));
      return 'value' in data ? Number(data.value) : Number.NaN;
    },
    go: (seconds: number, step = 10) => {
      for (let i = 0; i < seconds; i += step) {
        pass(meter, step * 1000, step * 1000);
        files.tick(meter.clock.steadyMs);
      }
    },
  };
}

const faults: readonly { name: string; set: (disk: SimDisk, on: boolean) => void }[] = [
  {
    name: 'read-only',
    set: (disk, on) => {
      disk.isReadOnly = on;
    },
  },
  {
    name: 'broken',
    set: (disk, on) => {
      disk.isBroken = on;
    },
  },
];

Storage('a storage that fails in service: alarm, live values, no command; what was captured meanwhile is kept', () => {
  for (const fault of faults) {
    const disk = new SimDisk();
    const rig = meterOn(disk);
    rig.go(7200);
    const before = rig.read(LOAD).length;
    fault.set(disk, true);
    rig.go(1800);
    assert.ok(rig.files.isFailing, fault.name);
    assert.is(rig.number(1, '0-0:97.97.0.255') & 0x40, 0x40, 'error register');
    assert.is(rig.number(1, '0-0:97.98.0.255') & 0x40, 0x40, 'alarm register');
    assert.is(rig.number(1, '0-0:96.10.1.255') & AmrStatus.criticalError, AmrStatus.criticalError);
    assert.is(rig.number(3, '1-0:1.8.0.255'), 1_234_560);
    assert.is(rig.command(1), 'dlms.temporarily-unavailable');
    assert.equal(rig.contact, { connected: true, moves: 0 });
    assert.is(rig.number(70, '0-0:96.3.10.255'), 1);
    fault.set(disk, false);
    rig.go(1800);
    assert.not(rig.files.isFailing);
    assert.is(rig.read(LOAD).length, before + 4, 'no row is missing');
    assert.is(rig.read('0-0:99.98.0.255').filter(({ values }) => values[0] === EventCode.memoryError).length, 1);
    assert.is(rig.number(1, '0-0:96.10.1.255') & AmrStatus.criticalError, 0);
    assert.is(rig.command(1), 'done');
    assert.is(rig.contact.connected, false);
    rig.files.close();
    const again = meterOn(disk, '/state', rig.contact);
    assert.is(again.read(LOAD).length, before + 4, 'also after a restart');
    assert.is(again.number(70, '0-0:96.3.10.255'), 0);
    assert.is(again.meter.model.control.restore(), 0);
    assert.is(again.contact.moves, 1);
  }
});

Storage('a storage that is not there at the start: the meter starts, and joins what it finds when it comes', () => {
  for (const fault of faults) {
    const disk = new SimDisk();
    const old = meterOn(disk);
    old.go(3600);
    const before = old.read(LOAD).length;
    assert.is(old.command(1), 'done');
    old.files.close();
    fault.set(disk, true);
    const rig = meterOn(disk, '/state', { connected: false, moves: 0 });
    rig.meter.clock.epochMs = old.meter.clock.epochMs;
    rig.go(1800);
    assert.is(rig.command(2), 'dlms.temporarily-unavailable');
    assert.equal(rig.contact, { connected: false, moves: 0 });
    assert.is(rig.number(3, '1-0:1.8.0.255'), 1_234_560);
    fault.set(disk, false);
    rig.go(900);
    assert.not(rig.files.isFailing);
    const rows = rig.read(LOAD);
    assert.is(new Set(rows.map(({ at }) => at)).size, rows.length);
    assert.ok(rows.length >= before + 3, `${fault.name}: ${rows.length} of ${before + 3}`);
    assert.is(rig.command(2), 'done');
    assert.ok(rig.contact.connected);
  }
});

Storage('a contact that a power failure has left elsewhere goes back to the commanded state, with an event', () => {
  const disk = new SimDisk();
  let rig = meterOn(disk);
  for (const [method, connected] of [
    [1, false],
    [2, true],
  ] as const) {
    assert.is(rig.command(method), 'done');
    rig.files.close();
    rig = meterOn(disk, '/state', { connected: !connected, moves: 0 });
    assert.is(rig.meter.model.control.restore(), 0);
    assert.equal(rig.contact, { connected, moves: 1 });
    assert.is(rig.read('0-0:99.98.2.255').at(-1)?.values[0], EventCode.relayRestored);
  }
});

Storage('every event has a code of its own', () => {
  const codes = Object.values(EventCode);
  assert.is(new Set(codes).size, codes.length);
});

Storage('both copies of the settings damaged: as delivered, the file is kept, the contact stays', () => {
  const disk = new SimDisk();
  const rig = meterOn(disk);
  assert.is(rig.command(1), 'done');
  rig.files.close();
  const bytes = disk.bytes('/state/state').slice();
  for (const [copies, state] of [
    [[0], 0],
    [[16_384], 0],
    [[0, 16_384], 0],
  ] as const) {
    for (const at of copies) disk.damage('/state/state', at + 20, new Uint8Array(30).fill(0x5a));
    const contact = { connected: false, moves: 0 };
    const again = meterOn(disk, '/state', contact);
    assert.is(again.meter.model.control.restore(), 0);
    assert.equal(contact, { connected: false, moves: 0 }, `${copies}`);
    assert.is(again.meter.model.control.state, state);
    assert.is(disk.exists('/state/state.aside'), copies.length === 2);
    again.files.close();
    disk.damage('/state/state', 0, bytes);
  }
});

Storage('a real disk that fills up: the profile goes on in its preallocated file', () => {
  if (process.getuid?.() !== 0 || process.platform !== 'linux') {
    needs('root', false, 'mounts a small tmpfs');
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 's3mp-full-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', folder]);
  } catch {
    needs('mount', false, 'mounts a small tmpfs');
    rmSync(folder, { recursive: true });
    return;
  }
  const state = join(folder, 'state');
  const fill = () => {
    const chunk = Buffer.alloc(65_536, 1);
    try {
      for (let i = 0; ; i++) writeFileSync(join(folder, `fill-${i}`), chunk);
    } catch (error) {
      assert.is((error as NodeJS.ErrnoException).code, 'ENOSPC');
    }
  };
  const free = () => {
    for (const name of readdirSync(folder)) if (name.startsWith('fill-')) rmSync(join(folder, name));
  };
  try {
    // Full before the first start.
    fill();
    const first = meterOn(fileMedium, state);
    assert.ok(first.files.isFailing);
    assert.is(first.number(1, '0-0:97.98.0.255') & 0x40, 0x40, 'alarm register');
    assert.is(first.command(1), 'dlms.temporarily-unavailable');
    first.go(1800);
    assert.is(first.number(3, '1-0:1.8.0.255'), 1_234_560, 'it measures on');
    assert.is(first.command(1), 'dlms.temporarily-unavailable');
    assert.equal(first.contact, { connected: true, moves: 0 });
    free();
    first.go(1800);
    assert.not(first.files.isFailing);
    assert.is(first.read(LOAD).length, 4);
    const events = first.read('0-0:99.98.0.255').map(({ values }) => values[0]);
    assert.ok(events.includes(EventCode.memoryError), 'event');
    // Every file gets its size, a segment a second.
    for (let i = 0; i < 250; i++) first.go(1, 1);
    const sizes = () => readdirSync(state).map((name) => `${name} ${statSync(join(state, name)).size}`);
    const whole = sizes();
    fill();
    first.go(86_400, 60);
    assert.not(first.files.isFailing);
    assert.ok(first.read(LOAD).length >= 100);
    assert.is(first.command(1), 'done');
    assert.equal(sizes(), whole);
    first.files.close();
    const again = meterOn(fileMedium, state, first.contact);
    assert.not(again.files.isFailing);
    assert.ok(again.read(LOAD).length >= 100);
    again.files.close();
  } finally {
    execFileSync('umount', [folder]);
    rmSync(folder, { recursive: true });
  }
});

Storage.run();
