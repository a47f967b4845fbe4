/**
 * The DLMS interop matrix: which feature works between which programs. Foreign clients against the meter's own server and
 * model, and our client against a foreign server; each cell is a run of both, over real sockets.
 */

import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { DlmsError } from '#base/errors';
import { Diagnostic, Mechanism } from '#dlms/acse';
import { ApduTag } from '#dlms/apdu';
import { managementAssociation } from '#dlms/association';
import type { Data } from '#dlms/axdr';
import { DlmsClient } from '#dlms/client';
import { MemoryCounter } from '#dlms/client-security';
import { encodeDateTime } from '#dlms/date-time';
import { type Exchange, exchange } from '#dlms/exchange';
import { inBlocks } from '#dlms/gbt-client';
import { Conformance } from '#dlms/initiate';
import { formatObis, parseObis } from '#dlms/obis';
import { ProfileReader } from '#dlms/profile-reader';
import { WRAPPER_SIZE } from '#dlms/wrapper';
import { nodeCrypto } from '#hw/crypto';
import { connectDlmsTcp, connectHdlcTcp, listenDlmsTcp } from '#hw/dlms-tcp';
import { listenDlmsUdp, listenForPushes, openDlmsUdp } from '#hw/dlms-udp';
import { createLog } from '#hw/log';
import { seededRandom } from '#hw/random';
import { FileImageSlot } from '../../firmware/image-slots.ts';
import { Pusher } from '../../firmware/push.ts';
import { StateFiles } from '../../firmware/state-files.ts';
import { smallMeter } from '../protocols/dlms/small-device.ts';
import {
  KEYS,
  KNOWN_REGISTERS,
  OBJECT_COUNT,
  PASSWORD,
  pass,
  type TestMeter,
  testMeter,
  testSecurity,
} from './dlms-meter.ts';
import {
  type ClientPeer,
  clientPeers,
  javaProgram,
  javaVersion,
  type Line,
  type Plan,
  runClient,
  Served,
  type Transport,
} from './dlms-peers.ts';

export const FEATURES = {
  open: 'no security',
  password: 'LLS',
  gmac: 'HLS-GMAC, suite 0, ciphered',
  ecdsa: 'HLS-ECDSA, suite 1, ciphered',
  sha256: 'HLS-SHA256, ciphered',
  sha1: 'HLS-SHA-1',
  md5: 'HLS-MD5',
  tcp: 'wrapper over TCP',
  udp: 'wrapper over UDP',
  hdlc: 'HDLC over TCP',
  gbt: 'general block transfer',
  view: 'association view',
  registers: 'all registers',
  range: 'profile by range',
  entry: 'profile by entry',
  clock: 'SET of the clock',
  switching: 'disconnect and reconnect',
  image: 'image transfer',
  push: 'push received',
} as const;
export type Feature = keyof typeof FEATURES;

export interface Cell {
  readonly area: 'dlms';
  readonly peer: string;
  readonly version: string;
  readonly feature: string;
  readonly result: 'pass' | 'fail' | 'absent';
  readonly why: string;
}

interface Lack {
  /** What the peer says, or what comes of it: another refusal fails the cell. */
  readonly says: RegExp;
  /** What was seen on the wire, where the words do not tell. */
  readonly seen?: string;
}

/** What peers do not have, or not as the standard has it. */
const LACKS: Readonly<Record<string, Partial<Record<Feature, Lack>>>> = {
  'Gurux (Java)': {
    gbt: {
      says: /^IOException: no answer/,
      seen: 'its request ends without a block that is marked as the last, so the meter waits for more',
    },
  },
  'dlms-cosem': {
    ecdsa: { says: /has no attribute 'HighLevelSecurityEcdsaAuthentication'/ },
    sha256: { says: /has no attribute 'HighLevelSecuritySha256Authentication'/ },
    sha1: { says: /has no attribute 'HighLevelSecuritySha1Authentication'/ },
    md5: { says: /has no attribute 'HighLevelSecurityMd5Authentication'/ },
    udp: { says: /has no attribute 'BlockingUdpIO'/ },
    gbt: { says: /^the client proposed it and sent no block/ },
    entry: { says: /^NotImplementedError: .*selective_access/ },
    image: {
      says: /^ValueError: byte must be in range.*dlms_data/,
      seen: 'it encodes no octet string of more than 255 bytes, and blocks are longer',
    },
  },
  'Gurux (Java), server': {
    entry: {
      says: /^got \[1000002,1000003/,
      seen: 'it counts entries from 0 and takes the last one for a number of rows; its own client gets the same',
    },
    gbt: {
      says: /^the server answered with APDU tag 0x0/,
      seen: 'it answers the first block of a request with four bytes that are no APDU',
    },
  },
};

/** An error that the foreign program reported. */
class PeerError extends Error {}

/** What our side does not offer, on purpose. */
class NotOffered extends Error {}

const HOST = '127.0.0.1';
const CONTROL = '0.0.96.3.10.255';
const LOAD = '1.0.99.1.0.255';
const ENERGY = '1.0.1.8.0.255';
const COLUMNS = [
  [8, '0.0.1.0.0.255', 2],
  [1, '0.0.96.10.1.255', 2],
  [3, '1.0.1.8.0.255', 2],
  [3, '1.0.3.8.0.255', 2],
];
const METER_KEY = '0f'.repeat(32);
const METER_PUBLIC =
  '048ffb7a2eaeaaf7931c1fb21192b737b39290fec6f055df4a35fd5e55c87a94ce656ced1ba84ae54ea9a3fb92122f3863c2448bd0719824d8d527615ce2a46d99';
const CLIENT_KEY = '1e'.repeat(32);
const CLIENT_PUBLIC =
  '04983c47fa5f7e1687726910c5baf9c59b5780e1652bd9369c33a77331412ab5b79f240959173974530980267edfc481b72f112edc3f4311968f82a6fac5f406a4';
const GMAC = {
  mechanism: 'gmac',
  title: '4d4d4d0000000001',
  unicast: toHex(KEYS.unicast),
  authentication: toHex(KEYS.authentication),
  counter: 1,
};
const SECRET = 'a secret of the client';
const SIGNED = { mechanism: 'ecdsa', signing: CLIENT_KEY, peer: METER_PUBLIC };
const LLS = { password: PASSWORD };

/** Deep equality that says both sides, since its words go into the page. */
function same(actual: unknown, expected: unknown, what = 'got'): void {
  try {
    assert.equal(actual, expected);
  } catch {
    const text = (value: unknown) => JSON.stringify(value)?.slice(0, 160);
    throw new Error(`${what} ${text(actual)} where ${text(expected)} is right`);
  }
}

const dotted = (obis: string) => obis.replace(/[-:]/g, '.');

/** Runs a plan against a meter; the results of its steps. @throws PeerError at the first error that the peer reports */
async function drive(
  peer: ClientPeer,
  server: TestMeter['server'],
  plan: Plan,
): Promise<NonNullable<Line['result']>[]> {
  const listen = plan.transport === 'udp' ? listenDlmsUdp : listenDlmsTcp;
  const listener = await listen({ server, host: HOST, port: 0 });
  try {
    const lines = await runClient(peer.client, listener.port, plan).catch((error: Error) => {
      throw new PeerError(error.message);
    });
    const failed = lines.find((line) => line.error !== undefined);
    if (failed) throw new PeerError(failed.error);
    assert.is(lines.length, plan.steps.length + 1, 'a line for each step');
    return lines.slice(1).map(({ result }) => result);
  } finally {
    await listener.close();
  }
}

const readEnergy: Plan['steps'] = [['read', 3, ENERGY, 2], ['release']];

async function readsEnergy(peer: ClientPeer, plan: Omit<Plan, 'steps'>, meter = testMeter()): Promise<void> {
  const [value] = await drive(peer, meter.server, { ...plan, steps: readEnergy });
  assert.is(Number(value), 1_234_560);
  same(
    meter.events.filter(({ kind }) => kind === 'protection-failed' || kind === 'association-rejected'),
    [],
  );
}

/** A client that wants a broken mechanism, and the meter that has none. */
async function refusesBroken(peer: ClientPeer, mechanism: string): Promise<never> {
  const meter = testMeter({ security: testSecurity() });
  const security = { ...GMAC, mechanism, secret: SECRET, plain: true };
  const said = await drive(peer, meter.server, { password: null, security, steps: [] }).catch((error: Error) => error);
  if (!(said instanceof PeerError)) throw new Error('the client was let in');
  const refusal = meter.events.find(({ kind }) => kind === 'association-rejected');
  if (refusal?.kind !== 'association-rejected') throw said;
  assert.is(refusal.diagnostic, Diagnostic.authenticationFailure);
  throw new NotOffered(`broken, so our meter refuses it (AARE ${refusal.result}/${refusal.diagnostic})`);
}

/** Seconds of the quarters of an hour that pass. */
function quarters(meter: TestMeter, hours: number): number[] {
  const first = Math.ceil(meter.clock.epochMs / 900_000) * 900;
  pass(meter, hours * 3_600_000, 10_000);
  return Array.from({ length: hours * 4 }, (_, i) => first + i * 900);
}

const rowsAt = (times: readonly number[]) => times.map((second) => [second, 0, 1_234_560, 7_890]);

/** Rows as numbers: peers print the status and counters each in a way of their own. */
const numbers = (rows: readonly (readonly unknown[])[]) => rows.map((row) => row.map(Number));

async function inFolder<T>(run: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-interop-'));
  try {
    return await run(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function someImage(): Buffer {
  const random = seededRandom(1);
  const content = Uint8Array.from({ length: 5_000 }, () => random() * 256);
  return Buffer.concat([content, createHash('sha256').update(content).digest()]);
}

/** The same server, and whether a client has sent it an APDU of general block transfer. */
function watched(server: TestMeter['server']): { server: TestMeter['server']; used: () => boolean } {
  let used = false;
  const session: typeof server.session = (...args) => {
    const inner = server.session(...args);
    if (!inner) return inner;
    const receive = inner.receive.bind(inner);
    inner.receive = (frame, out, nowMs) => {
      used ||= frame[WRAPPER_SIZE] === ApduTag.generalBlockTransfer;
      return receive(frame, out, nowMs);
    };
    return inner;
  };
  const watching = new Proxy(server, {
    get: (target, key) => {
      if (key === 'session') return session;
      const value = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  return { server: watching, used: () => used };
}

/** Each feature with a foreign client and our meter. */
const AS_CLIENT: Readonly<Record<Feature, (peer: ClientPeer) => Promise<void>>> = {
  async open(peer) {
    const meter = testMeter();
    const steps = [['view'], ['read', 1, '0.0.42.0.0.255', 2], ['release']];
    const [view, name] = await drive(peer, meter.server, { password: null, steps });
    assert.is(view.length, 4);
    assert.is(name, Buffer.from('S3M0000000004711').toString('hex'));
  },
  async password(peer) {
    await readsEnergy(peer, LLS);
    const wrong = drive(peer, testMeter().server, { password: 'wrong', steps: [] });
    const refused = await wrong.then(
      () => false,
      (error) => error instanceof PeerError,
    );
    assert.ok(refused, 'a wrong password is refused');
  },
  async gmac(peer) {
    const meter = testMeter({ security: testSecurity() });
    await readsEnergy(peer, { password: null, security: GMAC }, meter);
    const bad = testMeter({ security: testSecurity() });
    const security = { ...GMAC, unicast: 'ff'.repeat(16) };
    await drive(peer, bad.server, { password: null, security, steps: [] }).catch(() => {});
    assert.is(bad.events[0]?.kind, 'protection-failed');
  },
  async ecdsa(peer) {
    const pair = {
      signing: nodeCrypto.signingKey(fromHex(METER_KEY)),
      clientKey: nodeCrypto.verifyKey(fromHex(CLIENT_PUBLIC)),
    };
    const meter = testMeter({ security: testSecurity({ suite: 1, ...pair }) });
    await readsEnergy(peer, { password: null, security: { ...GMAC, ...SIGNED } }, meter);
  },
  async sha256(peer) {
    const security = testSecurity();
    const client = {
      clientSap: 1,
      role: 'management',
      mechanism: Mechanism.sha256,
      conformance: managementAssociation(security).conformance,
      password: asciiBytes(SECRET),
      security,
    };
    const meter = testMeter({ security }, { associations: [client] });
    await readsEnergy(peer, { password: null, security: { ...GMAC, mechanism: 'sha256', secret: SECRET } }, meter);
  },
  sha1: (peer) => refusesBroken(peer, 'sha1'),
  md5: (peer) => refusesBroken(peer, 'md5'),
  tcp: (peer) => readsEnergy(peer, LLS),
  udp: (peer) => readsEnergy(peer, { ...LLS, transport: 'udp' }),
  hdlc: (peer) => readsEnergy(peer, { ...LLS, transport: 'hdlc' }),
  async gbt(peer) {
    const meter = smallMeter({ maxPdu: 128 });
    const text = 'general block transfer '.repeat(15);
    const value: Data = { type: 'octet-string', value: asciiBytes(text) };
    const read = ['read', 1, '0.0.96.13.0.255', 2];
    // A library that cannot even write a long value may still read one.
    const writes = peer.name !== 'dlms-cosem';
    if (!writes) meter.note.value = value;
    const steps = writes ? [['message', text], read] : [read];
    const { server, used } = watched(meter.server);
    const results = await drive(peer, server, { password: 'blocks', maxPdu: 128, gbt: 1, steps });
    same(meter.note.value, value);
    assert.is(results.at(-1), Buffer.from(text).toString('hex'));
    if (!used()) throw new PeerError('the client proposed it and sent no block');
  },
  async view(peer) {
    const [view] = await drive(peer, testMeter().server, { ...LLS, steps: [['view'], ['release']] });
    const names = (view as [number, string][]).map(([, name]) => name);
    // A library may list the association that it uses under its own name too.
    assert.ok(names.length >= OBJECT_COUNT, `${names.length} objects`);
    for (const obis of [...Object.keys(KNOWN_REGISTERS), '0-0:96.3.10.255', '1-0:99.1.0.255'])
      assert.ok(names.includes(dotted(obis)), obis);
  },
  async registers(peer) {
    const [, registers] = await drive(peer, testMeter().server, { ...LLS, steps: [['view'], ['registers']] });
    for (const [obis, [value]] of Object.entries(KNOWN_REGISTERS)) {
      const [seen] = (registers as Record<string, [number]>)[dotted(obis)]!;
      assert.ok(Math.abs(seen - value) < 1e-9, `${obis} is ${seen}`);
    }
  },
  async range(peer) {
    const meter = testMeter();
    const times = quarters(meter, 24);
    const steps = [['profile', LOAD, times[1], times.at(-2), peer.name === 'dlms-cosem' ? COLUMNS : null]];
    const [rows] = await drive(peer, meter.server, { ...LLS, steps });
    same(numbers(rows), rowsAt(times.slice(1, -1)));
  },
  async entry(peer) {
    const meter = testMeter();
    const times = quarters(meter, 6);
    const [rows] = await drive(peer, meter.server, { ...LLS, steps: [['entries', LOAD, 2, 3, COLUMNS]] });
    same(numbers(rows), rowsAt(times.slice(1, 4)));
  },
  async clock(peer) {
    const meter = testMeter();
    await drive(peer, meter.server, { ...LLS, steps: [['clock', '2027-02-03T04:05:06+00:00']] });
    assert.is(meter.clock.epochMs, Date.UTC(2027, 1, 3, 4, 5, 6));
  },
  async switching(peer) {
    const meter = testMeter();
    const steps = [
      ['action', CONTROL, 1],
      ['read', 70, CONTROL, 2],
      ['action', CONTROL, 2],
      ['read', 70, CONTROL, 2],
    ];
    const [, off, , on] = await drive(peer, meter.server, { ...LLS, steps });
    same([off, on], [false, true]);
    same(meter.relay.moves, ['disconnect: remote-disconnect by client 17', 'connect: remote-reconnect by client 17']);
  },
  image: (peer) =>
    inFolder(async (folder) => {
      const files = new StateFiles(folder, createLog('state', { level: 'error' }));
      const meter = testMeter({ imageSlot: new FileImageSlot(files, 1 << 16) });
      const image = someImage();
      const [result] = await drive(peer, meter.server, { ...LLS, steps: [['image', image.toString('hex'), [0, 4]]] });
      same(result, [[0, 4], 10, 3, image.length]);
      assert.ok(readFileSync(join(folder, 'image.bin')).equals(image));
    }),
  async push(peer) {
    const pusher = new Pusher(createLog('push', { level: 'error' }));
    const meter = testMeter({ sendPush: (destination, frame) => pusher.send(destination, frame) });
    const listener = await Served.start(peer.listener);
    try {
      // Ordered by hand, since not every client library knows the push setup.
      const destination: Data = { type: 'octet-string', value: asciiBytes(`${HOST}:${listener.port}`) };
      const target: Data = {
        type: 'structure',
        value: [{ type: 'enum', value: 1 }, destination, { type: 'enum', value: 0 }],
      };
      const server = await listenDlmsTcp({ server: meter.server, host: HOST, port: 0 });
      const ours = await OurClient.connect('tcp', server.port, {});
      try {
        const ref = { classId: 40, ln: parseObis('0-0:25.9.0.255') };
        await ours.run((client) => client.set({ ...ref, attribute: 3 }, target));
        await ours.run((client) => client.action({ ...ref, method: 1 }));
      } finally {
        ours.close();
        await server.close();
      }
      meter.model.tick();
      const line = await listener.line().catch((error: Error) => {
        throw new PeerError(error.message);
      });
      const values = JSON.parse(line) as unknown[];
      assert.is(values.length, 5);
      assert.is(values[0], Buffer.from('S3M0000000004711').toString('hex'));
      same(values.slice(2), [0, 1_234_560, 987]);
    } finally {
      await listener.stop();
    }
  },
};

interface OurOptions {
  readonly security?: ConstructorParameters<typeof DlmsClient>[0]['security'];
  readonly isPublic?: boolean;
  readonly gbt?: boolean;
}

/** Our client with a channel of any kind. */
class OurClient {
  readonly client: DlmsClient;
  readonly #send: (frame: Uint8Array) => Promise<Uint8Array>;
  readonly close: () => void;
  readonly #gbt: boolean;

  private constructor(
    client: DlmsClient,
    channel: { exchange(frame: Uint8Array): Promise<Uint8Array>; close(): unknown },
    gbt: boolean,
  ) {
    this.client = client;
    this.#send = (frame) => channel.exchange(frame);
    this.close = () => void channel.close();
    this.#gbt = gbt;
  }

  static async connect(transport: Transport, port: number, options: OurOptions): Promise<OurClient> {
    const { security, isPublic = false, gbt = false } = options;
    const clientSap = security ? 1 : isPublic ? 16 : 17;
    const services =
      Conformance.get |
      Conformance.set |
      Conformance.action |
      Conformance.selectiveAccess |
      Conformance.generalBlockTransfer;
    const client = new DlmsClient({
      clientSap,
      ...(security ? { security } : isPublic ? {} : { password: asciiBytes(PASSWORD) }),
      ...(gbt ? { conformance: services, maxPdu: 128 } : {}),
    });
    const channel =
      transport === 'tcp'
        ? await connectDlmsTcp(HOST, port)
        : transport === 'udp'
          ? await openDlmsUdp(HOST, port)
          : await connectHdlcTcp(HOST, port, { clientSap });
    const ours = new OurClient(client, channel, gbt);
    try {
      await exchange(client.associate(), ours.#send);
    } catch (error) {
      ours.close();
      throw error;
    }
    return ours;
  }

  run<T>(operation: (client: DlmsClient) => Exchange<T>): Promise<T> {
    const { client } = this;
    const whole = operation(client);
    return exchange(this.#gbt ? inBlocks(whole, client.serverMaxPdu) : whole, this.#send);
  }
}

/** The quarter of an hour of the foreign server's first row, and its rows. */
const FIRST_ROW_MS = 1_795_392_000_000;
const SERVER_TITLE = '4752580000000001';
const energyRef = { classId: 3, ln: parseObis('1-0:1.8.0.255'), attribute: 2 };

async function withServer(
  transport: Transport,
  plan: { security?: object },
  options: OurOptions,
  run: (ours: OurClient, served: Served) => Promise<void>,
): Promise<void> {
  const server = { transport, ...LLS, ...plan, steps: [] };
  const served = await Served.start(javaProgram('GuruxServer'), JSON.stringify(server));
  try {
    const ours = await OurClient.connect(transport, served.port, options);
    try {
      await run(ours, served);
      await ours.run((client) => client.release());
    } finally {
      ours.close();
    }
  } finally {
    await served.stop();
  }
}

async function energy(ours: OurClient): Promise<void> {
  const data = await ours.run((client) => client.get(energyRef));
  assert.is('value' in data && Number(data.value), 1_234_560);
}

const clientKeys = (mechanism: number) => ({
  crypto: nodeCrypto,
  mechanism,
  title: fromHex(GMAC.title),
  unicast: KEYS.unicast,
  authentication: KEYS.authentication,
  counter: new MemoryCounter(),
});

const octets = (value: Uint8Array): Data => ({ type: 'octet-string', value });
const u32 = (value: number): Data => ({ type: 'double-long-unsigned', value });

/** As old meters have it: in the clear, and only because the client allows it by name. */
async function withBroken(mechanism: string, number: number): Promise<void> {
  const security = { ...clientKeys(number), secret: asciiBytes(SECRET), isCiphered: false };
  assert.throws(() => new DlmsClient({ clientSap: 1, security }), 'off unless allowed');
  const server = { security: { ...GMAC, mechanism, secret: SECRET, plain: true, title: SERVER_TITLE } };
  const wrong = { ...security, allowsBrokenHash: true, secret: asciiBytes('another secret') };
  const refused = await withServer('tcp', server, { security: wrong }, energy).catch((error: unknown) => error);
  assert.ok(refused instanceof DlmsError, 'a wrong secret is refused');
  await withServer('tcp', server, { security: { ...security, allowsBrokenHash: true } }, energy);
}

/** Each feature with our client and a server made of a foreign library. */
const AS_SERVER: Readonly<Record<Feature, () => Promise<void>>> = {
  open: () => withServer('tcp', {}, { isPublic: true }, energy),
  password: () => withServer('tcp', {}, {}, energy),
  gmac: () =>
    withServer('tcp', { security: { ...GMAC, title: SERVER_TITLE } }, { security: clientKeys(Mechanism.gmac) }, energy),
  ecdsa: () =>
    withServer(
      'tcp',
      { security: { ...GMAC, ...SIGNED, title: SERVER_TITLE, signing: METER_KEY, peer: CLIENT_PUBLIC } },
      {
        security: {
          ...clientKeys(Mechanism.ecdsa),
          suite: 1,
          signing: nodeCrypto.signingKey(fromHex(CLIENT_KEY)),
          serverKey: nodeCrypto.verifyKey(fromHex(METER_PUBLIC)),
        },
      },
      energy,
    ),
  sha256: () =>
    withServer(
      'tcp',
      { security: { ...GMAC, mechanism: 'sha256', secret: SECRET, title: SERVER_TITLE } },
      { security: { ...clientKeys(Mechanism.sha256), secret: asciiBytes(SECRET) } },
      energy,
    ),
  sha1: () => withBroken('sha1', Mechanism.sha1),
  md5: () => withBroken('md5', Mechanism.md5),
  tcp: () => withServer('tcp', {}, {}, energy),
  udp: () => withServer('udp', {}, {}, energy),
  hdlc: () => withServer('hdlc', {}, {}, energy),
  gbt: () =>
    withServer('tcp', {}, { gbt: true }, async (ours) => {
      assert.ok((ours.client.conformance & Conformance.generalBlockTransfer) !== 0, 'negotiated');
      const ref = { classId: 1, ln: parseObis('0-0:96.13.0.255'), attribute: 2 };
      const value = octets(asciiBytes('general block transfer '.repeat(15)));
      await ours.run((client) => client.set(ref, value));
      same(await ours.run((client) => client.get(ref)), value);
    }),
  view: () =>
    withServer('tcp', {}, {}, async (ours) => {
      const list = await ours.run((client) =>
        client.get({ classId: 15, ln: parseObis('0-0:40.0.0.255'), attribute: 2 }),
      );
      const names = list.type === 'array' ? list.value.map(nameOf) : [];
      for (const name of ['1-0:1.8.0.255', '0-0:1.0.0.255', '1-0:99.1.0.255', '0-0:96.3.10.255'])
        assert.ok(names.includes(name), `${name} in ${names}`);
    }),
  registers: () =>
    withServer('tcp', {}, {}, async (ours) => {
      const { registers } = await ours.run((client) => client.readRegisters(['1-0:1.8.0.255', '1-0:32.7.0.255']));
      same(
        registers.map(({ value, unit }) => [value, unit]),
        [
          [1_234_560, 'Wh'],
          [230.12, 'V'],
        ],
      );
    }),
  range: () =>
    withServer('tcp', {}, {}, async (ours) => {
      const range = { from: FIRST_ROW_MS + 900_000, to: FIRST_ROW_MS + 94 * 900_000 };
      const { rows } = await ours.run((client) => new ProfileReader(client).read('1-0:99.1.0.255', range));
      same(
        rows.map(({ at, values }) => [at, values[0]]),
        Array.from({ length: 94 }, (_, i) => [FIRST_ROW_MS + (i + 1) * 900_000, 1_000_001 + i]),
      );
    }),
  entry: () =>
    withServer('tcp', {}, {}, async (ours) => {
      const range = { firstEntry: 2, lastEntry: 4 };
      const { rows } = await ours.run((client) => new ProfileReader(client).read('1-0:99.1.0.255', range));
      same(
        rows.map(({ values }) => values[0]),
        [1_000_001, 1_000_002, 1_000_003],
      );
    }),
  clock: () =>
    withServer('tcp', {}, {}, async (ours) => {
      const ref = { classId: 8, ln: parseObis('0-0:1.0.0.255'), attribute: 2 };
      const wanted = new Uint8Array(12);
      encodeDateTime(wanted, 0, Date.UTC(2027, 1, 3, 4, 5, 6), 0, 0);
      await ours.run((client) => client.set(ref, octets(wanted)));
      const data = await ours.run((client) => client.get(ref));
      const seen = data.type === 'octet-string' ? toHex(data.value.subarray(0, 8)) : data.type;
      assert.is(seen, toHex(wanted.subarray(0, 8)));
    }),
  switching: () =>
    withServer('tcp', {}, {}, async (ours) => {
      const control = { classId: 70, ln: parseObis('0-0:96.3.10.255') };
      for (const method of [1, 2]) {
        await ours.run((client) => client.action({ ...control, method }));
        const state = await ours.run((client) => client.get({ ...control, attribute: 2 }));
        same(state, { type: 'boolean', value: method === 2 });
      }
    }),
  image: () =>
    withServer('tcp', {}, {}, async (ours) => {
      const slot = { classId: 18, ln: parseObis('0-0:44.0.0.255') };
      const image = someImage();
      const size = await ours.run((client) => client.get({ ...slot, attribute: 2 }));
      same(size, u32(128));
      const act = (method: number, value: Data[]) =>
        ours.run((client) => client.action({ ...slot, method }, { type: 'structure', value }));
      await act(1, [octets(asciiBytes('firmware')), u32(image.length)]);
      const count = Math.ceil(image.length / 128);
      for (let i = 0; i < count; i++) await act(2, [u32(i), octets(image.subarray(i * 128, (i + 1) * 128))]);
      const next = await ours.run((client) => client.get({ ...slot, attribute: 4 }));
      same(next, u32(count));
      await ours.run((client) => client.action({ ...slot, method: 3 }));
    }),
  push: () =>
    withServer('tcp', {}, {}, async (_, served) => {
      let got: (value: unknown) => void = () => {};
      const pushed = new Promise((resolve) => (got = resolve));
      const listener = await listenForPushes(HOST, 0, (push) =>
        got(push.kind === 'data' ? structuredClone(push.notification.body) : push.kind),
      );
      const timer = setTimeout(() => got('no push'), 5000);
      try {
        served.tell(`push ${listener.port}`);
        const data = (await pushed) as Data | string;
        const energyData = typeof data === 'object' && data.type === 'structure' ? data.value[1] : data;
        same(energyData, u32(1_234_560));
      } finally {
        clearTimeout(timer);
        await listener.close();
      }
    }),
};

function nameOf(element: Data): string {
  const name = element.type === 'structure' ? element.value[2] : undefined;
  return name?.type === 'octet-string' ? formatObis(name.value) : '';
}

/** Our side of the last column: a server made of Gurux's Java library. */
export const SERVER_PEER = 'Gurux (Java), server';

export interface MatrixPeer {
  readonly name: string;
  readonly version: string | undefined;
  run(feature: Feature): Promise<Cell>;
}

async function cellOf(peer: string, version: string, feature: Feature, run: () => Promise<void>): Promise<Cell> {
  const cell = { area: 'dlms', peer, version, feature: FEATURES[feature] } as const;
  try {
    await run();
    return { ...cell, result: 'pass', why: '' };
  } catch (error) {
    const why = (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').trim();
    if (error instanceof NotOffered) return { ...cell, result: 'absent', why };
    const lacks = LACKS[peer]?.[feature];
    const isOwn = error instanceof PeerError || peer === SERVER_PEER;
    if (!isOwn || !lacks?.says.test(why)) return { ...cell, result: 'fail', why };
    return { ...cell, result: 'absent', why: lacks.seen ? `${why}; ${lacks.seen}` : why };
  }
}

/** All columns of the matrix. */
export function matrixPeers(): MatrixPeer[] {
  const clients = clientPeers().map((peer): MatrixPeer => {
    const { name, version } = peer;
    return { name, version, run: (feature) => cellOf(name, version ?? '', feature, () => AS_CLIENT[feature](peer)) };
  });
  const version = javaVersion('gurux.dlms');
  return [
    ...clients,
    {
      name: SERVER_PEER,
      version,
      run: (feature) => cellOf(SERVER_PEER, version ?? '', feature, AS_SERVER[feature]),
    },
  ];
}

/** The line of a peer that is not installed. */
export function absentCell(peer: string, feature: Feature): Cell {
  const why = 'not installed';
  return { area: 'dlms', peer, version: '', feature: FEATURES[feature], result: 'absent', why };
}

export const featureNames = Object.keys(FEATURES) as Feature[];
