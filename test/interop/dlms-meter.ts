/** The real meter model over the real TCP server, with an image of known values and a relay that is a plain object. */

import { asciiBytes, fromHex } from '#base/bytes';
import { managementAssociation, passwordAssociation, publicAssociation } from '#dlms/association';
import { MemoryProfileStore } from '#dlms/cosem/profile-store';
import { CounterBook } from '#dlms/counters';
import { type KeySet, type SecurityOptions, ServerSecurity } from '#dlms/security';
import type { ServerEvent, ServerOptions } from '#dlms/server';
import { DlmsServer } from '#dlms/server';
import { nodeCrypto } from '#hw/crypto';
import { type DlmsTcpListener, type DlmsTcpOptions, listenDlmsTcp } from '#hw/dlms-tcp';
import { MeasurementImage, Quality, Quantity } from '../../firmware/measurement-image.ts';
import { buildMeter, type Meter, type MeterPort } from '../../firmware/meter-model.ts';

export const PASSWORD = 'correct horse';
/** Objects that a client with the password sees. */
export const OBJECT_COUNT = 58;

/** Values of the image, in its units. */
export const KNOWN_VALUES: readonly (readonly [Quantity, number])[] = [
  [Quantity.voltage, 23_012],
  [Quantity.current, 4_321],
  [Quantity.frequency, 4_998],
  [Quantity.activePower, 987],
  [Quantity.reactivePower, -123],
  [Quantity.apparentPower, 995],
  [Quantity.powerFactor, -992],
  [Quantity.activeEnergy, 1_234_560],
  [Quantity.reactiveEnergy, 7_890],
];

/** Registers that the known values make, with their units. */
export const KNOWN_REGISTERS: Readonly<Record<string, readonly [number, string]>> = {
  '1-0:1.8.0.255': [1_234_560, 'Wh'],
  '1-0:3.8.0.255': [7_890, 'varh'],
  '1-0:32.7.0.255': [230.12, 'V'],
  '1-0:31.7.0.255': [4.321, 'A'],
  '1-0:14.7.0.255': [49.98, 'Hz'],
  '1-0:1.7.0.255': [987, 'W'],
  '1-0:2.7.0.255': [0, 'W'],
  '1-0:16.7.0.255': [987, 'W'],
  '1-0:3.7.0.255': [0, 'var'],
  '1-0:4.7.0.255': [123, 'var'],
  '1-0:9.7.0.255': [995, 'VA'],
  '1-0:13.7.0.255': [-0.992, ''],
};

export interface TestMeter {
  readonly server: DlmsServer;
  readonly model: Meter;
  readonly port: MeterPort;
  readonly image: MeasurementImage;
  /** Position of the contact and every reason it was moved for. */
  readonly relay: { connected: boolean; readonly moves: string[] };
  readonly message: { text: string };
  readonly events: ServerEvent[];
  /** Steady clock and wall clock (ms) that the meter sees. */
  readonly clock: { steadyMs: number; epochMs: number; isSet: boolean };
}

/** Writes the known values into the image as measured now. */
export function measure({ image, clock }: Pick<TestMeter, 'image' | 'clock'>): void {
  image.beginUpdate();
  for (const [quantity, value] of KNOWN_VALUES) image.set(quantity, value, clock.steadyMs, Quality.good);
  image.endUpdate();
}

/** Lets time pass in steps, with fresh values and a look of the model at each. */
export function pass(meter: TestMeter, ms: number, stepMs = 1000): void {
  for (let left = ms; left > 0; left -= stepMs) {
    const step = Math.min(stepMs, left);
    meter.clock.steadyMs += step;
    meter.clock.epochMs += step;
    measure(meter);
    meter.model.tick();
  }
}

/** Keys of the management client, all published. */
export const KEYS: KeySet = {
  unicast: fromHex('000102030405060708090a0b0c0d0e0f'),
  authentication: fromHex('d0d1d2d3d4d5d6d7d8d9dadbdcdddedf'),
  master: fromHex('00112233445566778899aabbccddeeff'),
};

/** Key pairs of the signing tests, private and public, hex. */
export const METER_KEY = '0f'.repeat(32);
export const METER_PUBLIC =
  '048ffb7a2eaeaaf7931c1fb21192b737b39290fec6f055df4a35fd5e55c87a94ce656ced1ba84ae54ea9a3fb92122f3863c2448bd0719824d8d527615ce2a46d99';
export const CLIENT_KEY = '1e'.repeat(32);
export const CLIENT_PUBLIC =
  '04983c47fa5f7e1687726910c5baf9c59b5780e1652bd9369c33a77331412ab5b79f240959173974530980267edfc481b72f112edc3f4311968f82a6fac5f406a4';

export const METER_TITLE = asciiBytes('S3M04711');

/** A security setup with counters in memory. */
export function testSecurity(extra: Partial<SecurityOptions> = {}): ServerSecurity {
  let record: Uint8Array | undefined;
  const counters = new CounterBook({
    load: () => record,
    store: (next) => {
      record = next.slice();
    },
  });
  return new ServerSecurity({ crypto: nodeCrypto, counters, serverTitle: METER_TITLE, keys: KEYS, ...extra });
}

/**
 * @param extra  parts of the model's port to replace; a security setup adds the management client
 * @param server  further options of the server
 */
export function testMeter(extra: Partial<MeterPort> = {}, server: Partial<ServerOptions> = {}): TestMeter {
  const image = new MeasurementImage();
  const clock = { steadyMs: 50_000, epochMs: Date.UTC(2026, 10, 23, 6, 30, 15, 250), isSet: true };
  measure({ image, clock });
  const relay = { connected: true, moves: [] as string[] };
  const message = { text: '' };
  const values = new Map<string, Uint8Array>();
  const port: MeterPort = {
    image,
    relay: {
      switchRelay: (connected, reason, _trigger, commit) => {
        if (!commit()) return 'not-recorded';
        relay.connected = connected;
        relay.moves.push(`${connected ? 'connect' : 'disconnect'}: ${reason}`);
        return true;
      },
      isConnected: () => relay.connected,
    },
    message: {
      get: () => message.text,
      set: (value) => {
        message.text = value;
        return true;
      },
    },
    wallClock: () => clock,
    setTime: (epochMs) => {
      clock.epochMs = epochMs;
      return true;
    },
    steadyClock: () => clock.steadyMs,
    settings: {
      get: (key) => values.get(key),
      set: (key, value) => !!values.set(key, value),
      keep: (key, value) => void values.set(key, value),
    },
    openStore: (_name, rowSize, rows) => new MemoryProfileStore(rowSize, rows),
    identity: { serial: '0000000004711', moduleSerial: 'OR-WE-514 #1', firmwareId: 's3mp 0.1.0' },
    ...extra,
  };
  const events: ServerEvent[] = [];
  const model = buildMeter(port);
  const dlms = new DlmsServer(model.device, {
    associations: [
      publicAssociation(),
      passwordAssociation(asciiBytes(PASSWORD)),
      ...(port.security ? [managementAssociation(port.security)] : []),
    ],
    ...server,
    onEvent: (event) => {
      events.push(event);
      model.onServerEvent(event);
    },
  });
  return { server: dlms, model, port, image, relay, message, events, clock };
}

export async function listen(meter: TestMeter, options: Partial<DlmsTcpOptions> = {}): Promise<DlmsTcpListener> {
  return listenDlmsTcp({ server: meter.server, host: '127.0.0.1', port: 0, ...options });
}
