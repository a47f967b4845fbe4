/** Firmware images in real processes: launcher.js as the service starts it, images over DLMS, crashes and power cuts. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes } from '#base/bytes';
import { DlmsClient } from '#dlms/client';
import { octets, structure, u32 } from '#dlms/cosem/setting';
import { type Exchange, exchange } from '#dlms/exchange';
import { activateImage, readImageStatus, sendImage } from '#dlms/image-sender';
import { parseObis } from '#dlms/obis';
import { ProfileReader } from '#dlms/profile-reader';
import { EventCode } from '#dlms/well-known';
import { nodeCrypto } from '#hw/crypto';
import { connectDlmsTcp } from '#hw/dlms-tcp';
import { METER_NODE_FLAGS } from '#hw/meter-flags';
import { SimMeter, startSimSlave } from '#hw/sim/or-we-514';
import { relayValueFile } from '#hw/sim/relay';
import { GUARD_MS } from '#test/guard';
import { readBootRecord, slotFile } from '../../firmware/boot-record.ts';
import { bundleOf, makeReleaseKey, imageOf as signedImage, versionOf } from '../release.ts';

const Launcher = suite('launcher');
const DIST = join(__dirname, '..', '..', '..', 'dist');
const IMAGE = '0-0:44.0.0.255';
const BLOCK = 512;
const folder = mkdtempSync(join(tmpdir(), 's3mp-launcher-'));
const release = makeReleaseKey();
const releaseFile = join(folder, 'release.pem');
writeFileSync(releaseFile, release.publicKey);
writeFileSync(join(folder, 'password'), 'secret-1\n', { mode: 0o600 });
writeFileSync(
  join(folder, 'topology.json'),
  JSON.stringify({ isd_as: '1-ff00:0:111', mtu: 1400, attributes: [], border_routers: {}, control_service: {} }),
);

const OWN = versionOf(readFileSync(join(DIST, 'firmware.js'), 'utf8'));
const bundle = (version: string) => bundleOf(join(DIST, 'firmware.js'), version);
const imageOf = (version: string, code: string, key = release.privateKey, more = {}) =>
  signedImage(version, code, key, more);

class Device {
  readonly state: string;
  readonly relay: string;
  readonly log: string[] = [];
  readonly #home: string;
  readonly #config: string;
  #child: ChildProcess | undefined;
  exited: Promise<number | null> = Promise.resolve(null);
  tcp = 0;

  constructor(slavePort: number) {
    this.#home = mkdtempSync(join(folder, 'device-'));
    this.state = join(this.#home, 'state');
    this.relay = join(this.#home, 'relay');
    mkdirSync(this.state, { mode: 0o700 });
    for (const name of ['firmware.js', 'launcher.js']) cpSync(join(DIST, name), join(this.#home, name));
    symlinkSync(join(DIST, 'prebuilds'), join(this.#home, 'prebuilds'));
    this.#config = join(this.#home, 'meter.toml');
    writeFileSync(
      this.#config,
      `[meter]\nserial = "4711"\n[serial]\nurl = "tcp://127.0.0.1:${slavePort}"\n[relay]\ndriver = "sim"\npath = "${this.relay}"\n` +
        `[scion]\ntopology = "${join(folder, 'topology.json')}"\naddress = "127.0.0.1"\nport = 0\n` +
        `[dlms]\ntcp_address = "127.0.0.1:0"\ncommands = "association"\npassword_file = "${join(folder, 'password')}"\n` +
        `[clock]\nsource = "system"\n[state]\ndirectory = "${this.state}"\n`,
    );
  }

  /** As a person types it. */
  command(words: readonly string[], uid = process.getuid!()) {
    return spawnSync(process.execPath, [join(this.#home, 'launcher.js'), ...words], {
      env: { ...process.env, S3MP_STATE_DIRECTORY: this.state, S3MP_IMAGE_RELEASE_KEY_FILE: releaseFile },
      encoding: 'utf8',
      uid,
    });
  }

  /** As systemd starts it. @returns whether it got ready; false when it ended before */
  async start(): Promise<boolean> {
    const child = spawn(
      process.execPath,
      [...METER_NODE_FLAGS, join(this.#home, 'launcher.js'), 'run', '--config', this.#config, '--json'],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
        env: { ...process.env, STATE_DIRECTORY: this.state, S3MP_IMAGE_RELEASE_KEY_FILE: releaseFile },
      },
    );
    this.#child = child;
    this.exited = new Promise((resolve) => child.once('close', resolve));
    const ready = new Promise<boolean>((resolve) => {
      createInterface({ input: child.stderr! }).on('line', (line) => {
        this.log.push(line);
        if (!line.includes('"ready"')) return;
        this.tcp = Number(/127\.0\.0\.1:(\d+)/.exec(String(JSON.parse(line).tcp))?.[1]);
        resolve(true);
      });
      void this.exited.then(() => resolve(false));
    });
    return ready;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    this.#child?.kill(signal);
    return this.exited;
  }

  /** A log line with this text has come or comes. */
  async says(text: string): Promise<void> {
    for (const end = performance.now() + GUARD_MS; performance.now() < end; ) {
      if (this.log.some((line) => line.includes(text))) return;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    throw new Error(`never said "${text}":\n${this.log.slice(-8).join('\n')}`);
  }

  async client() {
    const channel = await connectDlmsTcp('127.0.0.1', this.tcp);
    const client = new DlmsClient({ clientSap: 17, password: asciiBytes('secret-1') });
    const run = <T>(operation: Exchange<T>): Promise<T> => exchange(operation, channel.exchange);
    await run(client.associate());
    const ln = parseObis(IMAGE);
    const act = async (method: number, parameter?: Parameters<DlmsClient['action']>[1]) => {
      try {
        await run(client.action({ classId: 18, ln, method }, parameter));
        return 'done';
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    return {
      act,
      run: <T>(operation: (dlms: DlmsClient) => Exchange<T>) => run(operation(client)),
      close: () => channel.close(),
      version: async () => {
        const data = await run(client.get({ classId: 1, ln: parseObis('1-0:0.2.0.255'), attribute: 2 }));
        return data.type === 'octet-string' ? Buffer.from(data.value).toString().split(' ')[1] : undefined;
      },
      seconds: async () =>
        Number(
          ((await run(client.get({ classId: 1, ln: parseObis('0-0:1.1.0.255'), attribute: 2 }))) as { value: number })
            .value,
        ),
      status: async () =>
        Number(((await run(client.get({ classId: 18, ln, attribute: 6 }))) as { value: number }).value),
      events: async () => {
        const { rows } = await run(new ProfileReader(client).read('0-0:99.98.0.255', { firstEntry: 1, lastEntry: 0 }));
        return rows.map(({ values }) => values[0]);
      },
      async send(image: Uint8Array, name: string): Promise<void> {
        assert.is(await act(1, structure(octets(asciiBytes(name)), u32(image.length))), 'done');
        for (let block = 0; block * BLOCK < image.length; block++)
          assert.is(
            await act(2, structure(u32(block), octets(image.slice(block * BLOCK, (block + 1) * BLOCK)))),
            'done',
          );
      },
    };
  }

  /** Transfers, verifies and activates; waits for the end of the process. */
  async update(image: Uint8Array, name: string): Promise<void> {
    const client = await this.client();
    await client.run((dlms) => sendImage(dlms, { id: asciiBytes(name), bytes: image }));
    assert.is(await client.run(readImageStatus), 3, 'verified');
    await client.run(activateImage);
    client.close();
    assert.is(await this.exited, 0);
  }

  /** Runs nothing, only puts an image on trial as an activation leaves it. */
  prepare(slot: 'a' | 'b', image: Uint8Array, record: object): void {
    writeFileSync(slotFile(this.state, slot), image);
    writeFileSync(
      join(this.state, 'boot.json'),
      JSON.stringify({
        slot,
        previous: 'factory',
        starts: 0,
        isProven: false,
        highest: [0, 0, 0],
        wasPolled: false,
        ...record,
      }),
    );
  }

  async runningVersion(): Promise<string | undefined> {
    const client = await this.client();
    const version = await client.version();
    client.close();
    return version;
  }
}

let slave: Awaited<ReturnType<typeof startSimSlave>>;
const devices: Device[] = [];
const device = () => {
  const made = new Device(slave.port);
  devices.push(made);
  return made;
};
Launcher.before(async () => {
  slave = await startSimSlave({ host: '127.0.0.1', port: 0 }, new SimMeter(), { baud: 0, turnaroundMs: 1 });
});
Launcher.after(async () => {
  for (const made of devices) await made.stop('SIGKILL');
  await slave.close();
  rmSync(folder, { recursive: true, force: true });
});

Launcher('a signed, newer image comes over DLMS, runs and proves itself; the contact does not move', async () => {
  const meter = device();
  assert.ok(await meter.start(), meter.log.join('\n'));
  assert.is(await meter.runningVersion(), OWN);
  const contact = statSync(relayValueFile(meter.relay)).mtimeMs;
  await meter.update(imageOf('0.2.0', bundle('0.2.0')), 'release 0.2.0');
  assert.equal(readBootRecord(meter.state).slot, 'a');

  assert.ok(await meter.start(), meter.log.join('\n'));
  assert.is(await meter.runningVersion(), '0.2.0');
  await meter.says('the image has proved itself');
  assert.equal(readBootRecord(meter.state).highest, [0, 2, 0]);
  const client = await meter.client();
  const events = await client.events();
  assert.ok(events.includes(EventCode.firmwareReady) && events.includes(EventCode.firmwareActivated), String(events));
  client.close();
  assert.is(await meter.stop(), 0);

  // The next one goes into the other slot; the one that ran stays to come back to.
  assert.ok(await meter.start());
  await meter.update(imageOf('0.3.0', 'process.abort()'), 'release 0.3.0');
  for (let start = 0; start < 3; start++) assert.is(await meter.start(), false);
  assert.ok(await meter.start(), 'the one before again');
  assert.is(await meter.runningVersion(), '0.2.0');
  assert.ok((await (await meter.client()).events()).includes(EventCode.firmwareFellBack));
  assert.is(statSync(relayValueFile(meter.relay)).mtimeMs, contact, 'the contact was never written');
  await meter.stop();
});

Launcher('an image is not believed while the energy meter is silent', async () => {
  const meter = device();
  meter.prepare('a', imageOf('0.2.0', bundle('0.2.0')), {});
  slave.mute = true;
  try {
    assert.ok(await meter.start());
    await meter.says('energy meter');
    const client = await meter.client();
    // The firmware looks once a second.
    const since = await client.seconds();
    while ((await client.seconds()) < since + 3);
    assert.is(await client.status(), 5, 'activation initiated');
    client.close();
    assert.is(readBootRecord(meter.state).isProven, false);
    slave.mute = false;
    await meter.says('the image has proved itself');
    assert.is(readBootRecord(meter.state).isProven, true);
  } finally {
    slave.mute = false;
    await meter.stop();
  }
});

Launcher(
  'what is not ours, not newer, not for us or not whole is refused with an event, and the meter runs on',
  async () => {
    const meter = device();
    assert.ok(await meter.start(), meter.log.join('\n'));
    const small = bundle('9.0.0').slice(0, 20_000);
    const stranger = makeReleaseKey().privateKey;
    const good = imageOf('9.0.0', small);
    const corrupt = good.slice();
    corrupt[good.length - 40]! ^= 1;
    corrupt.set(nodeCrypto.hash('sha256', corrupt.subarray(0, -32)), corrupt.length - 32);
    const cutOff = good.slice(0, good.length - 1000);
    cutOff.set(nodeCrypto.hash('sha256', cutOff.subarray(0, -32)), cutOff.length - 32);
    const unsigned = new Uint8Array(4096);
    unsigned.set(nodeCrypto.hash('sha256', unsigned.subarray(0, -32)), unsigned.length - 32);
    const cases: readonly (readonly [name: string, image: Uint8Array, reason: string])[] = [
      ['unsigned', unsigned, 'firmware image'],
      ['foreign key', imageOf('9.0.0', small, stranger), 'signature'],
      ['same version', imageOf(OWN, small), 'older'],
      ['older', imageOf('0.0.9', small), 'older'],
      ['other model', imageOf('9.0.0', small, release.privateKey, { model: 's3mp-gateway' }), 'model'],
      ['corrupt', corrupt, 'digest'],
      ['truncated', cutOff, 'content'],
    ];
    const client = await meter.client();
    for (const [name, image, reason] of cases) {
      const known = (await client.events()).filter((event) => event === EventCode.firmwareRejected).length;
      await client.send(image, name);
      assert.is(await client.act(3), 'dlms.refused', name);
      assert.is(await client.status(), 4, name);
      assert.is(await client.act(4), 'dlms.refused', name);
      await meter.says(`the image is refused: ${reason}`);
      const rejected = (await client.events()).filter((event) => event === EventCode.firmwareRejected).length;
      assert.ok(rejected > known, name);
    }
    client.close();
    assert.is(readBootRecord(meter.state).slot, 'factory');
    await meter.stop();
  },
);

Launcher('a power cut at every step of an activation leaves one of the two', async () => {
  const image = imageOf('0.2.0', bundle('0.2.0'));
  const steps: readonly (readonly [what: string, cut: (meter: Device) => void, version: string])[] = [
    ['before anything', () => {}, OWN],
    ['the image is in its slot, nobody names it', (meter) => writeFileSync(slotFile(meter.state, 'a'), image), OWN],
    [
      'the record was begun beside the old one',
      (meter) => {
        writeFileSync(slotFile(meter.state, 'a'), image);
        writeFileSync(join(meter.state, 'boot.json.new'), '{"slot":"a","prev');
      },
      OWN,
    ],
    ['the record names it', (meter) => meter.prepare('a', image, {}), '0.2.0'],
    ['the slot lost its end', (meter) => meter.prepare('a', image.subarray(0, 5000), {}), OWN],
    [
      'the slot is gone',
      (meter) => {
        meter.prepare('a', image, {});
        rmSync(slotFile(meter.state, 'a'));
      },
      OWN,
    ],
    [
      'the record is torn',
      (meter) => {
        meter.prepare('a', image, {});
        writeFileSync(join(meter.state, 'boot.json'), '{"slot":"a","prev');
      },
      OWN,
    ],
  ];
  for (const [what, cut, version] of steps) {
    const meter = device();
    cut(meter);
    assert.ok(await meter.start(), `${what}\n${meter.log.join('\n')}`);
    assert.is(await meter.runningVersion(), version, what);
    await meter.stop('SIGKILL');
  }
});

Launcher(
  'three kills of a proven image in a row end it too, an orderly end does not; a foreign slot never runs',
  async () => {
    const meter = device();
    const image = imageOf('0.2.0', bundle('0.2.0'));
    meter.prepare('a', image, { isProven: true, highest: [0, 2, 0] });
    for (let start = 0; start < 5; start++) {
      assert.ok(await meter.start());
      assert.is(await meter.stop(), 0);
    }
    assert.is(readBootRecord(meter.state).slot, 'a');

    const stranger = makeReleaseKey().privateKey;
    meter.prepare('b', imageOf('8.0.0', 'process.exit(77)', stranger), { isProven: true });
    assert.ok(await meter.start());
    assert.is(await meter.runningVersion(), OWN);
    assert.ok(meter.log.some((line) => line.includes('its signature is wrong')));
    await meter.stop();

    const other = { model: 's3mp-gateway' };
    meter.prepare('b', imageOf('8.0.0', 'process.exit(77)', release.privateKey, other), { isProven: true });
    assert.ok(await meter.start());
    assert.is(await meter.runningVersion(), OWN);
    assert.ok(meter.log.some((line) => line.includes('it is for s3mp-gateway')));
    await meter.stop();
  },
);

Launcher('commands for people run what the service runs, signature and all, and count no start', async () => {
  const meter = device();
  const code = 'console.log("slot", process.argv.slice(2).join(" "));';
  const boot = () => readFileSync(join(meter.state, 'boot.json'), 'utf8');
  const record = { isProven: true, starts: 1, highest: [0, 2, 0] };
  for (const words of [['self-test'], ['dump'], ['config', 'check']]) {
    meter.prepare('a', imageOf('0.2.0', code), record);
    const before = boot();
    assert.is(meter.command(words).stdout, `slot ${words.join(' ')}\n`);
    assert.is(boot(), before);
  }
  const cases: readonly (readonly [what: string, image: Uint8Array, record: object, says: RegExp])[] = [
    ['foreign', imageOf('0.2.0', code, makeReleaseKey().privateKey), record, /its signature is wrong/],
    ['failed as often as it may', imageOf('0.2.0', code), { starts: 3 }, /^$/],
  ];
  for (const [what, image, more, says] of cases) {
    meter.prepare('a', image, more);
    const before = boot();
    const { stdout, stderr } = meter.command(['config', 'check']);
    assert.match(stdout, /^meter\.serial = /, what);
    assert.match(stderr, says, what);
    assert.is(boot(), before, what);
  }
  if (process.getuid!() !== 0) return;
  meter.prepare('a', imageOf('0.2.0', code), record);
  chmodSync(folder, 0o755);
  chmodSync(join(meter.state, '..'), 0o755);
  assert.match(meter.command(['config', 'check'], 65_534).stderr, /not for this user.*the bundle of the card/);
});

Launcher.run();
