/**
 * The self-test with its twins: whole it passes, and each part broken in turn fails exactly its line, with what to do.
 * What is broken is real: ports, sockets, file modes, a full and a read-only file system, the path service of a gateway.
 */

import { spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#hw/config';
import { writeKeyFile } from '#hw/dlms-keys';
import { writeAsFiles } from '#hw/lab/as-files';
import { createLog } from '#hw/log';
import { makeKeyFile } from '#hw/pki-files';
import { SimMeter, type SimSlave, startSimSlave } from '#hw/sim/or-we-514';
import { readRelayValue } from '#hw/sim/relay';
import { Doubt } from '#modbus/plausibility';
import { parseTopology } from '#scion/topology';
import { FIRMWARE_CONFIG } from '../../firmware/config.ts';
import { MeasurementImage, Quality, Quantity } from '../../firmware/measurement-image.ts';
import {
  CHECK_NAMES,
  type CheckName,
  checkKeys,
  judgeRegisters,
  liveSelfTest,
  type Outcome,
  Skipped,
} from '../../firmware/self-test.ts';
import { selfTestVerb } from '../../firmware/self-test-device.ts';
import { StateFiles } from '../../firmware/state-files.ts';
import { WallClock } from '../../firmware/wall-clock.ts';
import { startPathService } from '../../gateway/path-service.ts';
import { FIVE_ASES } from '../gateway/topologies.ts';
import { GrpcServer } from '../hw/grpc-server.ts';
import { DARK_HOUSE, HOUSE } from '../interop/pymodbus.ts';

const quiet = createLog('test', { write: () => {} });

interface Result {
  readonly status: number;
  readonly outcomes: readonly Outcome[];
  /** Everything that was printed. */
  readonly text: string;
}

/** Runs `self-test --sim --json` with more flags, in this process. */
async function selfTest(flags: Readonly<Record<string, string | boolean>>): Promise<Result> {
  const lines: string[] = [];
  const status = await selfTestVerb.run({
    config: loadConfig(FIRMWARE_CONFIG, {}),
    flags: { sim: true, ...flags },
    positionals: [],
    json: true,
    log: quiet,
    out: (line) => lines.push(line),
  });
  return { status: status ?? 0, outcomes: lines.map((line) => JSON.parse(line) as Outcome), text: lines.join('\n') };
}

const resultsOf = ({ outcomes }: Result, result: Outcome['result']) =>
  outcomes.filter((outcome) => outcome.result === result).map(({ check }) => check);

/** Exactly one line fails, its words are as expected, and it says what to do about this cause, in the text or behind it. */
function assertFails(
  result: Result,
  check: CheckName,
  words: RegExp,
  todo: RegExp,
  skipped: readonly CheckName[] = ['path'],
): void {
  assert.equal(resultsOf(result, 'FAIL'), [check], result.text);
  assert.equal(resultsOf(result, 'SKIP'), skipped, result.text);
  assert.is(result.status, 1);
  const outcome = result.outcomes.find((each) => each.check === check)!;
  assert.match(outcome.text, words);
  assert.match(outcome.hint ?? outcome.text, todo);
}

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-self-test-'));
  try {
    await test(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** An energy meter of our own on a TCP port, with what it holds. */
async function withSlave(meter: SimMeter, test: (url: string, slave: SimSlave) => Promise<void>): Promise<void> {
  const slave = await startSimSlave({ host: '127.0.0.1', port: 0 }, meter, { baud: 0, turnaroundMs: 0 });
  try {
    await test(`tcp://127.0.0.1:${slave.port}`, slave);
  } finally {
    await slave.close();
  }
}

/** @param relayFolder  twin that switches its load; without it nothing does */
function houseWith(changes: Partial<typeof HOUSE>, relayFolder?: string): SimMeter {
  const isOn = () => relayFolder === undefined || readRelayValue(relayFolder) !== false;
  return new SimMeter(1, { at: () => (isOn() ? { ...HOUSE, ...changes } : DARK_HOUSE) });
}

const Whole = suite('self-test');

Whole('with its twins everything passes but the path, for which there is no network', async () => {
  const result = await selfTest({});
  assert.is(result.status, 0, result.text);
  assert.equal(
    result.outcomes.map(({ check }) => check),
    CHECK_NAMES,
  );
  assert.equal(resultsOf(result, 'SKIP'), ['path']);
  assert.ok(result.outcomes.every(({ hint }) => hint === undefined));
});

Whole('for people it is one line a check, and says what to do', async () => {
  const lines: string[] = [];
  const flags = { sim: true, 'serial-url': 'tcp://127.0.0.1:1' };
  const context = { config: loadConfig(FIRMWARE_CONFIG, {}), positionals: [], log: quiet };
  const status = await selfTestVerb.run({ ...context, flags, json: false, out: (line) => lines.push(line) });
  assert.is(status, 1);
  assert.is(lines.length, CHECK_NAMES.length);
  assert.match(lines[0]!, /^FAIL bus {7}.*ECONNREFUSED.* -> is the device server on\? check serial\.url$/);
});

Whole('without --relay the contact stays, whatever else is given; without a terminal --yes is needed', async () => {
  await inFolder(async (folder) => {
    const flags = { 'relay-driver': 'sim', 'relay-path': folder, 'state-directory': join(folder, 'state') };
    mkdirSync(join(folder, 'state'));
    const run = (more: Record<string, boolean>) => {
      const lines: string[] = [];
      const config = loadConfig(FIRMWARE_CONFIG, {
        flags: {
          ...flags,
          'serial-url': 'tcp://127.0.0.1:1',
          'scion-topology': '/nowhere',
          'scion-address': '127.0.0.1',
        },
      });
      const context = { config, flags: more, positionals: [], json: true, log: quiet };
      return selfTestVerb.run({ ...context, out: (line) => lines.push(line) }).then(() => lines.join('\n'));
    };
    assert.match(await run({ yes: true }), /"check":"relay","result":"SKIP","text":"moved with --relay only"/);
    assert.is(readRelayValue(folder), undefined, 'not even opened');
    assert.match(await run({ relay: true, yes: true }), /"check":"relay","result":"SKIP","text":"sim opens, closes/);
    assert.is(readRelayValue(folder), true, 'and back');
    Object.assign(flags, { 'relay-driver': 'sysfs', 'relay-chip': 'no-such-chip' });
    assert.match(
      await run({ relay: true, yes: true }),
      /"check":"relay","result":"FAIL","text":"[^"]*(no-such-chip|sysfs)/,
    );
    if (!process.stdin.isTTY) {
      const error = await run({ relay: true }).catch((thrown) => thrown);
      assert.is(error.code, 'usage.invalid');
    }
  });
});

Whole.run();

const Broken = suite('self-test, each part broken in turn');
/** Whose current is not seen is not judged. */
const NO_BUS: readonly CheckName[] = ['registers', 'relay', 'path'];

Broken('the bus: another unit, a dead port, no such device, another register map', async () => {
  assertFails(
    await selfTest({ 'serial-unit': '9', 'serial-timeout-ms': '50' }),
    'bus',
    /no answer.*unit address/,
    /powered.*--scan/,
    NO_BUS,
  );
  const refused = await selfTest({ 'serial-url': 'tcp://127.0.0.1:1' });
  assertFails(refused, 'bus', /ECONNREFUSED/, /device server/, NO_BUS);
  assert.match(
    refused.text,
    /"relay","result":"SKIP","text":"sim opens, closes and reads back; the current was not seen, the bus/,
  );
  const missing = { 'serial-url': '/dev/ttyNONE9', 'serial-driver': 'tty' };
  assertFails(await selfTest(missing), 'bus', /ENOENT/, /plugged in.*by-id/, NO_BUS);
  const uart = { 'serial-url': '/dev/serial0', 'serial-driver': 'tty' };
  assertFails(await selfTest(uart), 'bus', /ENOENT/, /enable_uart=1/, NO_BUS);
  const noPort = { 'serial-url': '/dev/null', 'serial-driver': 'tty' };
  assertFails(await selfTest(noPort), 'bus', /stty/, /check serial\.url/, NO_BUS);
  await withSlave(houseWith({}), async (url, slave) => {
    slave.mute = true;
    assertFails(
      await selfTest({ 'serial-url': url, 'serial-timeout-ms': '50' }),
      'bus',
      /no answer/,
      /powered/,
      NO_BUS,
    );
  });
});

Broken('the registers: values that cannot be', async () => {
  for (const [changes, words] of [
    [{ voltage: 0xffff }, /voltage/],
    [{ frequency: 0 }, /frequency/],
    [{ activePower: 3270, apparentPower: 3410 }, /contradict each other: .*3270 W/],
  ] as const) {
    await inFolder((folder) =>
      withSlave(houseWith(changes, folder), async (url) => {
        const result = await selfTest({ 'serial-url': url, 'relay-path': folder });
        // A power that contradicts voltage and current shows nothing.
        const skipped: readonly CheckName[] = 'activePower' in changes ? ['relay', 'path'] : ['path'];
        assertFails(result, 'registers', words, /--scan.*serial\.map/, skipped);
      }),
    );
  }
});

Broken('the relay: a contact that does not follow', async () => {
  await inFolder(async (folder) => {
    writeFileSync(join(folder, 'value'), '1\n');
    writeFileSync(join(folder, 'stuck'), '');
    assertFails(
      await selfTest({ 'relay-path': folder }),
      'relay',
      /does not read back as open/,
      /coil.*relay\.energised/,
    );
    assert.is(readRelayValue(folder), true);
  });
});

Broken('the relay: power that flows through an open contact, which is closed again', async () => {
  await inFolder(async (folder) => {
    await withSlave(houseWith({}), async (url) => {
      const result = await selfTest({ 'serial-url': url, 'relay-path': folder });
      assertFails(result, 'relay', /327 W flow while it is open/, /solid-state relays fail short/);
      assert.is(readRelayValue(folder), true);
    });
  });
});

Broken('the display: nothing answers', async () => {
  await inFolder(async (folder) => {
    writeFileSync(join(folder, 'absent'), '');
    assertFails(await selfTest({ 'display-path': folder }), 'display', /nothing answers/, /i2cdetect/);
  });
});

const NO_STORAGE: readonly CheckName[] = ['relay', 'path'];

Broken('the storage: no folder, read-only, full', async () => {
  await inFolder(async (folder) => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    assertFails(
      await selfTest({ 'state-directory': join(file, 'state') }),
      'storage',
      /ENOTDIR/,
      /check state\.directory/,
      NO_STORAGE,
    );
    const fresh = await selfTest({ 'state-directory': join(folder, 'fresh') });
    assert.equal(resultsOf(fresh, 'SKIP'), ['relay', 'storage', 'path'], fresh.text);
    assert.not.ok(existsSync(join(folder, 'fresh')), 'only the meter makes it');

    const mounted = join(folder, 'card');
    mkdirSync(mounted);
    const mount = (...words: string[]) => spawnSync('mount', words, { stdio: 'ignore' }).status === 0;
    if (!mount('-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', mounted)) {
      console.log('SKIP mount: run as root to test a full and a read-only file system');
      return;
    }
    try {
      // The settings find room, what follows does not.
      assertFails(await selfTest({ 'state-directory': mounted }), 'storage', /ENOSPC|free in/, /make room/, NO_STORAGE);
      assert.ok(mount('-o', 'remount,ro', mounted));
      assertFails(await selfTest({ 'state-directory': mounted }), 'storage', /EROFS/, /worn card/, NO_STORAGE);
    } finally {
      spawnSync('umount', [mounted]);
    }
  });
});

Broken('the clock: nobody has set it; the system’s time is before what the meter has seen', async () => {
  assertFails(
    await selfTest({ 'clock-source': 'bound' }),
    'clock',
    /not set, it shows 20\d\d-/,
    /headend\.js sync-clock/,
  );
  await inFolder(async (folder) => {
    const state = join(folder, 'state');
    const files = new StateFiles(state, quiet);
    const clock = new WallClock({
      source: 'bound',
      buildMs: 0,
      settings: files.settings(),
      steadyClock: () => 0,
      bootId: new Uint8Array(16),
      systemClock: Date.now,
    });
    assert.ok(clock.offer(Date.now() + 86_400_000, 'person'));
    files.close();
    assertFails(await selfTest({ 'state-directory': state }), 'clock', /before what the meter has seen/, /timedatectl/);
  });
});

Broken('the keys: missing, broken, readable for others; no key is ever printed', async () => {
  await inFolder(async (folder) => {
    const file = join(folder, 'keys.toml');
    const secret = '00112233445566778899aabbccddeeff';
    assertFails(await selfTest({ 'dlms-key-file': file }), 'keys', /ENOENT/, /put it back, or take its key out/);
    const key = Uint8Array.from(Buffer.from(secret, 'hex'));
    writeKeyFile(file, { unicast: key, authentication: key, master: key, broadcast: undefined });
    chmodSync(file, 0o644);
    assertFails(await selfTest({ 'dlms-key-file': file }), 'keys', /others may read/, /run chmod 600/);
    chmodSync(file, 0o600);
    assert.is((await selfTest({ 'dlms-key-file': file })).status, 0);
    writeFileSync(file, `unicast = "${secret}7"\n`);
    const broken = await selfTest({ 'dlms-key-file': file });
    assertFails(broken, 'keys', /unicast must be 16 bytes/, /put the right file/);
    assert.not.match(broken.text, new RegExp(secret));
  });
});

Broken(
  'the keys of an enrolled meter are read from its state; a meter that waits for its enrolment says so',
  async () => {
    await inFolder(async (folder) => {
      const config = loadConfig(FIRMWARE_CONFIG, { flags: { 'state-directory': folder } });
      assert.throws(() => checkKeys(config), /not enrolled yet: headend\.js meter add/);
      const signing = join(folder, 'pki', 'signing.key');
      makeKeyFile(signing);
      makeKeyFile(join(folder, 'pki', 'agreement.key'));
      writeFileSync(join(folder, 'pki', 'trust.pem'), '');
      assert.is(checkKeys(config), 'keys for client 1, by 0 certificates');
      chmodSync(signing, 0o644);
      assert.throws(() => checkKeys(config), /signing\.key.*chmod 600/);
      rmSync(signing);
      assert.throws(() => checkKeys(config), /signing\.key/);
    });
  },
);

Broken('the address: taken, not of this machine, no topology to know the AS by', async () => {
  const other = createSocket('udp4');
  await new Promise<void>((resolve) => other.bind(0, '127.0.0.1', resolve));
  try {
    assertFails(
      await selfTest({ 'scion-port': String(other.address().port) }),
      'address',
      /in use/,
      /systemctl stop s3mp-meter/,
    );
  } finally {
    other.close();
  }
  assertFails(
    await selfTest({ 'scion-address': '203.0.113.1' }),
    'address',
    /203\.0\.113\.1/,
    /scion\.address must be one of its own/,
  );
  const missing = { 'scion-topology': '/nowhere/topology.json', 'scion-address': '127.0.0.1' };
  assertFails(await selfTest(missing), 'address', /topology\.json.*ENOENT/, /put topology\.json/);
  await inFolder(async (folder) => {
    const broken = join(folder, 'topology.json');
    writeFileSync(broken, 'isd_as:\n1');
    const flags = { 'scion-topology': broken, 'scion-address': '127.0.0.1' };
    const result = await selfTest(flags);
    assertFails(result, 'address', /not valid JSON|Unexpected token/, /put topology\.json/);
    assert.ok(
      result.outcomes.every(({ text }) => !text.includes('\n')),
      'one line a check',
    );
  });
});

Broken('the path: no service, a service without a path, and one with', async () => {
  await inFolder(async (folder) => {
    const { folders } = writeAsFiles(FIVE_ASES, folder, { now: Date.now() });
    const directory = folders.get('1-ff00:0:111')!;
    const file = join(directory, 'topology.json');
    const text = readFileSync(file, 'utf8');
    const topology = parseTopology(JSON.parse(text));
    const { host, port } = topology.controlServices[0]!;
    const flags = { 'scion-topology': file, 'scion-address': '127.0.0.1', 'scion-port': '0' };
    /** The topology with its control service elsewhere. */
    const at = (address: string) => writeFileSync(file, text.replaceAll(`${host}:${port}`, address));

    at('127.0.0.1:1');
    assertFails(
      await selfTest(flags),
      'path',
      /control service 127\.0\.0\.1:1: .*ECONNREFUSED/,
      /gateway is on.*gateway\.js status/,
      [],
    );
    const service = await startPathService({ address: '127.0.0.1:0', directory, topology, log: quiet });
    const grpc = await GrpcServer.start(() => undefined);
    try {
      at(service.address);
      const good = await selfTest(flags);
      assert.is(good.status, 0, good.text);
      assert.equal(resultsOf(good, 'PASS'), CHECK_NAMES);
      rmSync(join(directory, 'segments'), { recursive: true });
      mkdirSync(join(directory, 'segments'));
      assertFails(await selfTest(flags), 'path', /knows no path out of this AS/, /which link is down/, []);
      at(grpc.address);
      const other = await selfTest(flags);
      assert.equal(resultsOf(other, 'SKIP'), ['path'], other.text);
    } finally {
      await service.close();
      await grpc.close();
    }
  });
});

Broken.run();

const Live = suite('self-test of a running meter');

Live('the result is one line a check, and looked at anew after a minute only', () => {
  let now = 0;
  let looks = 0;
  const fine = () => 'fine';
  const subject = { ...Object.fromEntries(CHECK_NAMES.map((check) => [check, fine])) } as Record<
    CheckName,
    () => string
  >;
  subject.storage = () => `look ${++looks}`;
  subject.display = () => {
    throw new Error('nothing answers');
  };
  subject.relay = () => {
    throw new Skipped('moved at the device only');
  };
  const read = liveSelfTest(subject, () => now);
  const lines = read().split('\n');
  assert.equal(
    lines.map((line) => line.split(/ +/)[1]),
    CHECK_NAMES,
  );
  assert.ok(lines.includes('SKIP relay     moved at the device only'));
  assert.ok(lines.some((line) => line.startsWith('FAIL display   nothing answers -> check its four wires')));
  now = 59_999;
  assert.match(read(), /look 1$/m);
  now = 60_000;
  assert.match(read(), /look 2$/m);
});

Live.run();

const Registers = suite('what registers may hold');

Registers('an image without fresh values is no judgement, doubts of the poll loop are one', () => {
  const image = new MeasurementImage();
  assert.throws(() => judgeRegisters(image, 0), /no fresh values/);
  image.set(Quantity.voltage, 23_000, 0, Quality.good);
  image.set(Quantity.activePower, -2_200, 0, Quality.good);
  image.set(Quantity.activeEnergy, 1_234_560, 0, Quality.suspect, Doubt.alone);
  assert.is(judgeRegisters(image, 0), '230 V, -2200 W, 1234.56 kWh');
  image.doubt(Quantity.activeEnergy, Doubt.step);
  assert.throws(() => judgeRegisters(image, 0), /contradict each other/);
  image.doubt(Quantity.voltage, Doubt.range);
  assert.throws(() => judgeRegisters(image, 0), /^voltage of 230 V cannot be$/);
});

Registers.run();
