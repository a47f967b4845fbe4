/** Foreign DLMS clients as client 1: high-level authentication and ciphering against the meter's own server over TCP. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { nodeCrypto } from '#hw/crypto';
import { needs, pythonHas } from '#test/needs';
import {
  CLIENT_KEY,
  CLIENT_PUBLIC,
  KEYS,
  KNOWN_REGISTERS,
  listen,
  METER_KEY,
  METER_PUBLIC,
  OBJECT_COUNT,
  type TestMeter,
  testMeter,
  testSecurity,
} from './dlms-meter.ts';
import { type Line, type Plan, python, runClient } from './dlms-peers.ts';

const CONTROL = '0.0.96.3.10.255';
const COUNTER = '0.0.43.1.0.255';
const HINT = 'install test/interop/requirements.txt for the Python named by S3MP_PYTHON';

const KEY_PLAN = {
  mechanism: 'gmac',
  title: '4d4d4d0000000001',
  unicast: toHex(KEYS.unicast),
  authentication: toHex(KEYS.authentication),
  counter: 1,
};

/** Runs a foreign client; returns its lines. */
async function run(script: string, security: object | null, steps: Plan['steps'], meter: TestMeter): Promise<Line[]> {
  const listener = await listen(meter);
  const plan = { password: null, ...(security ? { security } : {}), steps, goOn: true };
  try {
    return await runClient(python(script), listener.port, plan);
  } finally {
    await listener.close();
  }
}

const secure = () => testMeter({ security: testSecurity() });

function assertEvents(meter: TestMeter): void {
  assert.equal(
    meter.events.filter(({ kind }) => kind === 'protection-failed' || kind === 'association-rejected'),
    [],
  );
}

const SWITCHING = [
  ['action', CONTROL, 1],
  ['read', 70, CONTROL, 2],
  ['action', CONTROL, 2],
  ['read', 70, CONTROL, 2],
];

function assertSwitched(lines: readonly Line[], meter: TestMeter): void {
  const [off, output, on, back] = lines;
  assert.is(off!.result, 'done', off!.error);
  assert.is(output!.result, false, output!.error);
  assert.is(on!.result, 'done', on!.error);
  assert.is(back!.result, true, back!.error);
  assert.equal(meter.relay.moves, [
    'disconnect: remote-disconnect by client 1',
    'connect: remote-reconnect by client 1',
  ]);
}

if (needs('gurux', pythonHas('gurux_dlms'), HINT)) {
  const Gurux = suite('dlms security interop: gurux');
  const client = 'gurux-client.py';

  for (const [name, extra] of Object.entries({
    'glo ciphering': {},
    'a dedicated key': { dedicated: 'a0a1a2a3a4a5a6a7a8a9aaabacadaeaf' },
    'general ciphering': { general: true },
  })) {
    Gurux(`HLS-GMAC with ${name}: association view, registers, relay, message, release`, async () => {
      const meter = secure();
      const steps = [['view'], ['registers'], ...SWITCHING, ['message', 'Grüße'], ['release']];
      const lines = await run(client, { ...KEY_PLAN, ...extra }, steps, meter);
      const [opened, view, registers] = lines;
      assert.ok(opened!.associated, opened!.error);
      assert.ok((view!.result as unknown[]).length >= OBJECT_COUNT, view!.error);
      for (const [obis, [value]] of Object.entries(KNOWN_REGISTERS)) {
        const [seen] = (registers!.result as Record<string, [number]>)[obis.replace(/[-:]/g, '.')]!;
        assert.ok(Math.abs(seen - value) < 1e-9, obis);
      }
      assertSwitched(lines.slice(3, 7), meter);
      assert.is(lines[7]!.result, 'done', lines[7]!.error);
      assert.is(meter.message.text, 'Grüße');
      assert.is(lines[8]!.result, 'done', lines[8]!.error);
      assertEvents(meter);
    });
  }

  Gurux('HLS-ECDSA with suite 1: both sides sign, and the relay is switched', async () => {
    const pair = {
      signing: nodeCrypto.signingKey(fromHex(METER_KEY)),
      clientKey: nodeCrypto.verifyKey(fromHex(CLIENT_PUBLIC)),
    };
    const meter = testMeter({ security: testSecurity({ suite: 1, ...pair }) });
    const signed = { ...KEY_PLAN, mechanism: 'ecdsa', signing: CLIENT_KEY, peer: METER_PUBLIC };
    const lines = await run(client, signed, SWITCHING, meter);
    assert.ok(lines[0]!.associated, lines[0]!.error);
    assertSwitched(lines.slice(1), meter);
    assertEvents(meter);
    const other = testMeter({ security: testSecurity({ suite: 1, ...pair }) });
    const [refused, action] = await run(client, { ...signed, signing: METER_KEY }, SWITCHING, other);
    assert.ok(refused!.error);
    assert.ok(action!.error);
    assert.equal(other.relay.moves, []);
  });

  Gurux('wrong keys give no association, no data and an event', async () => {
    for (const key of ['unicast', 'authentication']) {
      const meter = secure();
      const lines = await run(client, { ...KEY_PLAN, [key]: 'ff'.repeat(16) }, SWITCHING, meter);
      for (const line of lines) assert.ok(line.error, JSON.stringify(line));
      assert.equal(meter.relay.moves, []);
      assert.is(meter.events[0]?.kind, 'protection-failed');
    }
  });

  Gurux('a counter below the last one is refused; the public client says where to go on', async () => {
    const meter = secure();
    await run(client, { ...KEY_PLAN, counter: 5000 }, [['read', 1, '0.0.42.0.0.255', 2]], meter);
    const [low] = await run(client, { ...KEY_PLAN, counter: 100 }, [], meter);
    assert.ok(low!.error);
    assert.ok(meter.events.some((event) => event.kind === 'protection-failed' && event.reason === 'replayed'));
    const [, counter] = await run(client, null, [['read', 1, COUNTER, 2]], meter);
    const last = counter!.result as number;
    assert.ok(last >= 5000, counter!.error);
    const [again] = await run(client, { ...KEY_PLAN, counter: last + 1 }, [], meter);
    assert.ok(again!.associated, again!.error);
  });

  Gurux.run();
}

if (needs('dlms-cosem', pythonHas('dlms_cosem'), HINT)) {
  const Cosem = suite('dlms security interop: dlms-cosem');
  const client = 'dlms-cosem-client.py';

  Cosem('HLS-GMAC with general ciphering: object list in blocks, registers, relay, message, release', async () => {
    const meter = secure();
    const reads = Object.keys(KNOWN_REGISTERS).map((obis) => ['read', 3, obis.replace(/[-:]/g, '.'), 2]);
    const steps = [['list'], ...reads, ...SWITCHING, ['message', 'Hello'], ['release']];
    const [opened, list, ...rest] = await run(client, KEY_PLAN, steps, meter);
    assert.ok(opened!.associated, opened!.error);
    assert.ok((list!.result as unknown[])?.length >= OBJECT_COUNT, list!.error);
    for (const line of rest.slice(0, reads.length)) assert.type(line.result, 'number', line.error);
    assertSwitched(rest.slice(reads.length, reads.length + 4), meter);
    for (const last of rest.slice(-2)) assert.is(last.result, 'done', last.error);
    assert.is(meter.message.text, 'Hello');
    assertEvents(meter);
  });

  Cosem('a wrong key gives no association', async () => {
    const meter = secure();
    const [opened] = await run(client, { ...KEY_PLAN, unicast: 'ff'.repeat(16) }, [], meter);
    assert.ok(opened!.error);
    assert.is(meter.events[0]?.kind, 'protection-failed');
  });

  Cosem.run();
}
