import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { DlmsError } from '#base/errors';
import { Mechanism } from '#dlms/acse';
import type { Data } from '#dlms/axdr';
import { DlmsClient } from '#dlms/client';
import { MemoryCounter } from '#dlms/client-security';
import { encodeDateTime } from '#dlms/date-time';
import { Conformance } from '#dlms/initiate';
import { formatObis, parseObis } from '#dlms/obis';
import { ProfileReader } from '#dlms/profile-reader';
import { nodeCrypto } from '#hw/crypto';
import { listenForPushes } from '#hw/dlms-udp';
import { type Feature, GMAC, HOST, LLS, SECRET, SIGNED, same, someImage } from './dlms-cells.ts';
import { CLIENT_KEY, CLIENT_PUBLIC, KEYS, METER_KEY, METER_PUBLIC } from './dlms-meter.ts';
import { OurClient, type OurOptions } from './dlms-our-client.ts';
import { javaProgram, Served, type Transport } from './dlms-peers.ts';

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
export const AS_SERVER: Readonly<Record<Feature, () => Promise<void>>> = {
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
