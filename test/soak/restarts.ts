/**
 * Kills of the meter's real process, with a simulated energy meter, the twin of the relay and a DLMS client over TCP. The
 * contact must not see any of it: each write of the twin makes a file of its own, so that no edge can hide.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { asciiBytes } from '#base/bytes';
import { DlmsClient } from '#dlms/client';
import type { Exchange } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import { ProfileReader } from '#dlms/profile-reader';
import { EventCode } from '#dlms/well-known';
import { connectDlmsTcp } from '#hw/dlms-tcp';
import { deviceNode } from '#hw/lab/lab';
import { METER_NODE_FLAGS } from '#hw/meter-flags';
import { Household } from '#hw/sim/household';
import { SimMeter, startSimSlave } from '#hw/sim/or-we-514';
import { readRelayValue, relayValueFile } from '#hw/sim/relay';
import { type Soak, scaled } from './soak.ts';

const PASSWORD = 'kill me';
const LONGEST_MS = 900;
const READY_LIMIT_MS = 30_000;
const CONTROL = { classId: 70, ln: parseObis('0-0:96.3.10.255') };
const FAILURES = { classId: 1, ln: parseObis('0-0:96.7.21.255'), attribute: 2 };

/** Kills while the load was supplied, while it was not, and in the middle of a command. */
const CONNECTED = 100;
const DISCONNECTED = 40;
const COMMANDED = 30;

interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
  /** Address of its DLMS server, undefined when it was killed before. */
  readonly ready: Promise<string | undefined>;
}

export const restarts: Soak = async ({ random, share, say }) => {
  const connected = scaled(CONNECTED, share);
  const disconnected = scaled(DISCONNECTED, share);
  const commanded = scaled(COMMANDED, share);
  const bundle = join(process.cwd(), 'dist', 'firmware.js');
  assert.ok(existsSync(bundle), 'build the bundles first: node build.mjs');
  const folder = mkdtempSync(join(tmpdir(), 's3mp-firmware-kills-'));
  const relay = join(folder, 'relay');
  mkdirSync(relay);
  const topology = join(folder, 'topology.json');
  writeFileSync(topology, JSON.stringify({ isd_as: '1-ff00:0:110', mtu: 1472, attributes: [], border_routers: {} }));
  writeFileSync(join(folder, 'password'), `${PASSWORD}\n`, { mode: 0o600 });
  const meter = new SimMeter(1, new Household({ seed: random.u32(), relayFolder: relay }));
  /** Position of the contact when the energy meter was asked for the first time since it was forgotten. */
  let atFirstPoll: boolean | undefined;
  const { answer } = meter;
  meter.answer = (...request) => {
    atFirstPoll ??= readRelayValue(relay);
    return answer.apply(meter, request);
  };
  const slave = await startSimSlave({ host: '127.0.0.1', port: 0 }, meter, { baud: 0, turnaroundMs: 1 });
  const args = [
    ...METER_NODE_FLAGS,
    bundle,
    'run',
    '--json',
    ...['--serial-url', `tcp://127.0.0.1:${slave.port}`, '--relay-driver', 'sim', '--relay-path', relay],
    ...['--scion-topology', topology, '--scion-address', '127.0.0.1', '--scion-port', '0'],
    ...['--dlms-tcp-address', '127.0.0.1:0', '--dlms-password-file', join(folder, 'password')],
    ...['--dlms-commands', 'association', '--relay-dwell-ms', '0', '--relay-disconnects-per-hour', '3600'],
    ...['--clock-source', 'system', '--state-directory', join(folder, 'state')],
  ];
  const counts = { connected: 0, disconnected: 0, early: 0, commanded: 0, edges: 0, readings: 0 };
  const children = new Set<ChildProcess>();
  let starts = 0;
  let failures = -1;

  const start = (): Running => {
    const child = spawn(deviceNode(), args, { stdio: ['ignore', 'ignore', 'pipe'] });
    children.add(child);
    const ended = new Promise((resolve) => child.once('close', (code, signal) => resolve(signal ?? code)));
    void ended.then(() => children.delete(child));
    const said: string[] = [];
    const ready = new Promise<string | undefined>((resolve, reject) => {
      createInterface({ input: child.stderr! }).on('line', (line) => {
        said.push(line);
        const { msg, message, tcp } = JSON.parse(line) as Record<string, string>;
        if ((msg ?? message) === 'ready') resolve(tcp);
      });
      void ended.then((why) =>
        why === 'SIGKILL' ? resolve(undefined) : reject(new Error(`${why}: ${said.slice(-5)}`)),
      );
      setTimeout(() => reject(new Error(`not ready: ${said.slice(-5)}`)), READY_LIMIT_MS).unref();
    });
    return { child, ended, ready };
  };
  const kill = async ({ child, ended }: Running) => {
    child.kill('SIGKILL');
    assert.is(await ended, 'SIGKILL', 'the meter ended by itself');
  };
  const position = () => {
    const { ino, mtimeNs } = statSync(relayValueFile(relay), { bigint: true });
    return `${ino} ${mtimeNs} ${readRelayValue(relay)}`;
  };
  const associate = async (address: string) => {
    const [host, port] = address.split(':') as [string, string];
    const channel = await connectDlmsTcp(host, Number(port), 10_000);
    const client = new DlmsClient({ clientSap: 17, password: asciiBytes(PASSWORD) });
    const run = async <T>(operation: Exchange<T>): Promise<T> => {
      let step = operation.next();
      while (!step.done) step = operation.next(await channel.exchange(step.value));
      return step.value;
    };
    await run(client.associate());
    const number = async (ref: Parameters<DlmsClient['get']>[0]) => {
      const data = await run(client.get(ref));
      return 'value' in data ? Number(data.value) : Number.NaN;
    };
    return { channel, client, run, number };
  };

  /** One life: starts, is read until it is killed at a random time. @returns whether it came far enough to be read */
  const life = async (): Promise<boolean> => {
    const running = start();
    const until = random.below(LONGEST_MS);
    // One in five is killed before it serves anybody.
    if (random.below(5) === 0) {
      await Promise.race([sleep(until / 2), running.ready]);
      await kill(running);
      return false;
    }
    const address = await running.ready;
    starts++;
    const { channel, number } = await associate(address!);
    const count = await number(FAILURES);
    assert.ok(count >= failures, `the count of power failures went back from ${failures} to ${count}`);
    failures = count;
    // Each is read before it is killed in the middle of further reads.
    let isRead = true;
    const reading = (async () => {
      for (;;) {
        await number({ ...CONTROL, attribute: 3 });
        counts.readings++;
      }
    })().catch(() => {
      isRead = false;
    });
    await sleep(until);
    assert.ok(isRead, 'the client lost its meter');
    await kill(running);
    await reading;
    channel.close();
    return true;
  };
  /** Gives the meter an order and waits for it. */
  const order = async (method: number) => {
    const running = start();
    const { channel, client, run } = await associate((await running.ready)!);
    starts++;
    await run(client.action({ ...CONTROL, method }));
    assert.is(readRelayValue(relay), method === 2);
    channel.close();
    await kill(running);
  };

  try {
    const first = start();
    await first.ready;
    starts++;
    await kill(first);
    for (const [count, wanted] of [
      [connected, true],
      [disconnected, false],
    ] as const) {
      const name = wanted ? 'connected' : 'disconnected';
      if (!wanted) {
        const before = position();
        await order(1);
        assert.is.not(position(), before, 'a movement shows');
      }
      const still = position();
      while (counts[name] < count) {
        atFirstPoll = undefined;
        const isServing = await life();
        counts[isServing ? name : 'early']++;
        if (position() !== still) counts.edges++;
        assert.is(position(), still, `the contact moved at kill ${counts[name]} while ${name}`);
        if (atFirstPoll !== undefined) assert.is(atFirstPoll, wanted);
        if (isServing && counts[name] % 10 === 0) say(`${counts[name]} kills while ${name}`);
      }
    }
    // A contact that fell back when the power went is where it was commanded before anything else is done.
    for (const commandedPosition of [false, true]) {
      if (commandedPosition) await order(2);
      // Requests of the killed one may still be on their way.
      await sleep(100);
      writeFileSync(relayValueFile(relay), commandedPosition ? '0\n' : '1\n');
      atFirstPoll = undefined;
      const running = start();
      await running.ready;
      starts++;
      while (atFirstPoll === undefined) await sleep(5);
      assert.is(atFirstPoll, commandedPosition, 'the commanded position comes before the first poll');
      await kill(running);
    }
    // Whatever becomes of a command under way, the kept state and the contact agree after the next start.
    for (; counts.commanded < commanded; counts.commanded++) {
      const running = start();
      const { channel, client, run } = await associate((await running.ready)!);
      starts++;
      const method = 1 + (counts.commanded % 2);
      const sent = run(client.action({ ...CONTROL, method })).catch(() => {});
      await sleep(random.below(6));
      await kill(running);
      await sent;
      channel.close();
      const again = start();
      const { channel: other, number } = await associate((await again.ready)!);
      starts++;
      const state = await number({ ...CONTROL, attribute: 3 });
      assert.is(state, readRelayValue(relay) ? 1 : 0, 'state and contact differ');
      other.close();
      await kill(again);
    }
    const last = start();
    const { channel, client, run } = await associate((await last.ready)!);
    starts++;
    const { rows } = await run(new ProfileReader(client).read('0-0:99.98.0.255', { firstEntry: 1, lastEntry: 0 }));
    const kept = rows.filter(({ values }) => values[0] === EventCode.powerUp).length;
    // The log keeps its latest 256 events.
    assert.ok(kept >= Math.min(starts, 200), `${kept} of ${starts} starts are in the event log`);
    channel.close();
    await kill(last);
    const done = counts.connected + counts.disconnected + counts.early + counts.commanded;
    return { done, unit: 'kills of the firmware', figures: { ...counts, starts } };
  } finally {
    for (const child of children) child.kill('SIGKILL');
    await slave.close();
    rmSync(folder, { recursive: true, force: true });
  }
};
