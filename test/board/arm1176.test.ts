/**
 * The meter's bundle as it ships, on an emulated ARM1176 under Node 20: it starts, passes its self-test, reads a foreign energy meter through
 * the serial driver without an addon, answers the head end across the ASes of a lab and a foreign client over TCP, and
 * carries out a signed command.
 */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readRelayValue } from '#hw/sim/relay';
import { needs } from '#test/needs';
import { type ApiCommand, BUNDLES, OBIS, Platform, until } from '../e2e/platform.ts';
import { clientPeers, runClient } from '../interop/dlms-peers.ts';
import {
  DARK_HOUSE,
  HOUSE,
  hasPymodbus,
  hasSocat,
  registersOf,
  startPtyPair,
  startPymodbusSlave,
} from '../interop/pymodbus.ts';
import { ARMEL_HINT, hasEmulatedNode, runEmulated, writeEmulatedNode } from './armel.ts';

if (needs('armel', hasEmulatedNode(), ARMEL_HINT)) {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-arm1176-'));
  const node = writeEmulatedNode(folder);
  const firmware = join(BUNDLES, 'firmware.js');
  const Arm = suite('firmware on an emulated ARM1176');
  Arm.after(() => rmSync(folder, { recursive: true }));

  Arm('the Node is one for ARMv6', () => {
    const what = '[process.version, process.arch, process.config.variables.arm_version].join()';
    assert.match(runEmulated(node, ['-p', what]).stdout, /^v20\.19\.\d+,arm,6$/m);
  });

  Arm('the bundle tells its version and checks a configuration', () => {
    const version = runEmulated(node, [firmware, '--version']);
    assert.is(version.status, 0, version.stderr);
    assert.match(version.stdout, /^firmware \d+\.\d+\.\d+/);
    const config = runEmulated(node, [firmware, 'config', 'check', '--serial-unit', '300']);
    assert.is(config.status, 2, config.stdout);
    assert.match(config.stderr, /serial-unit/);
  });

  Arm('its self-test finds every simulated part well', () => {
    const { status, stdout, stderr } = runEmulated(node, [firmware, 'self-test', '--sim', '--json']);
    assert.is(status, 0, stdout + stderr);
    const results = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Readonly<Record<string, string>>);
    const parts = Object.fromEntries(results.map(({ check, result }) => [check, result]));
    for (const part of ['bus', 'registers', 'relay', 'display', 'storage', 'clock', 'keys', 'address'])
      assert.is(parts[part], 'PASS', stdout);
  });

  const hint = 'apt-get install socat python3-pymodbus python3-serial-asyncio';
  if (needs('pymodbus', hasPymodbus() && hasSocat(), hint)) {
    Arm('it reads a foreign meter by stty, answers over SCION and TCP, and switches on command', async () => {
      const pty = await startPtyPair(folder);
      const slave = await startPymodbusSlave(pty.meter, registersOf(HOUSE));
      let platform: Platform | undefined;
      try {
        platform = await Platform.start({ meterNode: node, serialUrls: [pty.bus], dlmsTcp: true });
        const running = platform;
        const meter = running.lab.meters[0]!;
        const good = async () => {
          const { reading } = await running.read();
          return reading.values?.[0]?.quality === 'good' ? reading : undefined;
        };
        const reading = await until('a good reading over SCION', good);
        assert.is(Platform.value(reading, OBIS.voltage).value, 231.42);
        assert.is(Platform.value(reading, OBIS.activeEnergy).value, 1_979_360);
        assert.equal(reading.path.isds, [1], 'across the ASes of ISD 1');

        for (const [type, load, connected] of [
          ['disconnect', DARK_HOUSE, false],
          ['connect', HOUSE, true],
        ] as const) {
          const body = { type, reason: 'test on another CPU' };
          const path = `meters/${running.meterId}/commands`;
          const asked = await running.request('POST', path, body, { 'idempotency-key': `arm-${type}` });
          const { id } = (await asked.json()) as ApiCommand;
          await until(`the contact obeys ${type}`, () => readRelayValue(meter.relayFolder) === connected);
          await slave.set(registersOf(load));
          const state = async () => (await running.get<ApiCommand>(`commands/${id}`)).state;
          await until(`${type} is verified`, async () => (await state()) === 'verified');
        }

        const gurux = clientPeers().find(({ name }) => name === 'Gurux (Python)')!;
        if (needs('gurux', gurux.version !== undefined, 'pip install -r test/interop/requirements.txt')) {
          const password = readFileSync(meter.passwordFile, 'latin1');
          const plan = { password, steps: [['view'], ['registers'], ['release']] };
          const [associated, view, registers] = await runClient(gurux.client, 4059, plan, meter.host);
          assert.ok(associated!.associated, associated!.error);
          assert.ok(view!.result.length > 40);
          assert.is(Math.round(registers!.result['1.0.32.7.0.255'][0] * 100), HOUSE.voltage);
        }
      } finally {
        await platform?.stop();
        await slave.stop();
        await pty.stop();
      }
    });
  }

  Arm.run();
}
