/** Foreign DLMS clients with our meter: what each feature of the interop matrix must do. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex } from '#base/bytes';
import { Diagnostic, Mechanism } from '#dlms/acse';
import { ApduTag } from '#dlms/apdu';
import { managementAssociation } from '#dlms/association';
import type { Data } from '#dlms/axdr';
import { parseObis } from '#dlms/obis';
import { WRAPPER_SIZE } from '#dlms/wrapper';
import { nodeCrypto } from '#hw/crypto';
import { listenDlmsTcp } from '#hw/dlms-tcp';
import { listenDlmsUdp } from '#hw/dlms-udp';
import { createLog } from '#hw/log';
import { FileImageSlot } from '../../firmware/image-slots.ts';
import { Pusher } from '../../firmware/push.ts';
import { StateFiles } from '../../firmware/state-files.ts';
import { smallMeter } from '../protocols/dlms/small-device.ts';
import { type Feature, GMAC, HOST, LLS, NotOffered, PeerError, SECRET, SIGNED, same, someImage } from './dlms-cells.ts';
import {
  CLIENT_PUBLIC,
  KNOWN_REGISTERS,
  METER_KEY,
  OBJECT_COUNT,
  pass,
  type TestMeter,
  testMeter,
  testSecurity,
} from './dlms-meter.ts';
import { OurClient } from './dlms-our-client.ts';
import { type ClientPeer, type Line, type Plan, runClient, Served } from './dlms-peers.ts';

const CONTROL = '0.0.96.3.10.255';
const LOAD = '1.0.99.1.0.255';
const ENERGY = '1.0.1.8.0.255';
const COLUMNS = [
  [8, '0.0.1.0.0.255', 2],
  [1, '0.0.96.10.1.255', 2],
  [3, '1.0.1.8.0.255', 2],
  [3, '1.0.3.8.0.255', 2],
];
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
export const AS_CLIENT: Readonly<Record<Feature, (peer: ClientPeer) => Promise<void>>> = {
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
