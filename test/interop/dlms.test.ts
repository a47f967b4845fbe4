/** Foreign DLMS clients (Gurux for Python, dlms-cosem) against the meter's own server and model over TCP. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { needs, pythonHas } from '#test/needs';
import { KNOWN_REGISTERS, listen, PASSWORD, type TestMeter, testMeter } from './dlms-meter.ts';
import { type Line, type Plan, python, runClient } from './dlms-peers.ts';

const HINT = 'install test/interop/requirements.txt for the Python named by S3MP_PYTHON';

/** Runs a foreign client against a fresh meter; returns its lines. */
async function run(script: string, plan: Plan, meter: TestMeter = testMeter()): Promise<Line[]> {
  const listener = await listen(meter);
  try {
    return await runClient(python(script), listener.port, plan);
  } finally {
    await listener.close();
  }
}

const dotted = (obis: string) => obis.replace(/[-:]/g, '.');
const UNIT_NUMBERS: Readonly<Record<string, number>> = {
  Wh: 30,
  varh: 32,
  V: 35,
  A: 33,
  Hz: 44,
  W: 27,
  var: 29,
  VA: 28,
  '': 255,
};
const CONTROL = '0.0.96.3.10.255';
const CONTROL_STEPS = [
  ['action', CONTROL, 1],
  ['read', 70, CONTROL, 2],
  ['read', 70, CONTROL, 3],
  ['action', CONTROL, 2],
  ['read', 70, CONTROL, 2],
] as const;

function assertSwitchedTwice(meter: TestMeter): void {
  assert.equal(meter.relay.moves, [
    'disconnect: remote-disconnect by client 17',
    'connect: remote-reconnect by client 17',
  ]);
  assert.ok(meter.relay.connected);
}

if (needs('gurux', pythonHas('gurux_dlms'), HINT)) {
  const Gurux = suite('dlms interop: gurux');
  const client = 'gurux-client.py';

  Gurux('reads the association view in blocks and every register with scaler and unit', async () => {
    const steps = [['view'], ['registers'], ['release']];
    const [opened, view, registers, released] = await run(client, { password: PASSWORD, steps });
    assert.ok(opened!.associated, opened!.error);
    const names = (view!.result as [number, string, number][]).map(([, name]) => name);
    for (const obis of [...Object.keys(KNOWN_REGISTERS), '0-0:96.3.10.255', '0-0:96.13.0.255', '0-0:40.0.0.255'])
      assert.ok(names.includes(dotted(obis)), `${obis} is in the view`);
    assert.is(new Set(names).size, names.length, 'no object twice');
    const values = registers!.result as Record<string, [number, number, number]>;
    assert.is(Object.keys(values).length, Object.keys(KNOWN_REGISTERS).length);
    for (const [obis, [value, unit]] of Object.entries(KNOWN_REGISTERS)) {
      const [seen, seenUnit] = values[dotted(obis)]!;
      assert.ok(Math.abs(seen - value) < 1e-9, `${obis} is ${seen}, expected ${value}`);
      assert.is(seenUnit, UNIT_NUMBERS[unit], `unit of ${obis}`);
    }
    assert.is(released!.result, 'done');
  });

  Gurux('disconnects and reconnects the relay and sees its measured state', async () => {
    const meter = testMeter();
    const [, off, output, state, on, back] = await run(client, { password: PASSWORD, steps: CONTROL_STEPS }, meter);
    assert.is(off!.result, 'done', off!.error);
    assert.is(output!.result, false);
    assert.match(String(state!.result), /^0$|DISCONNECTED/);
    assert.is(on!.result, 'done', on!.error);
    assert.is(back!.result, true);
    assertSwitchedTwice(meter);
  });

  Gurux('sets the message that the meter shows', async () => {
    const meter = testMeter();
    const [, set] = await run(client, { password: PASSWORD, steps: [['message', 'Power cut 18:00 – sorry']] }, meter);
    assert.is(set!.result, 'done', set!.error);
    assert.is(meter.message.text, 'Power cut 18:00 – sorry');
  });

  Gurux('without authentication sees public objects only and controls nothing', async () => {
    const meter = testMeter();
    const steps = [
      ['view'],
      ['read', 1, '0.0.42.0.0.255', 2],
      ['read', 3, '1.0.1.8.0.255', 2],
      ['action', CONTROL, 1],
      ['message', 'no'],
    ];
    const [opened, view, name, energy, action, message] = await run(client, { password: null, steps }, meter);
    assert.ok(opened!.associated, opened!.error);
    assert.equal((view!.result as [number, string][]).map(([, ln]) => ln).sort(), [
      '0.0.1.0.0.255',
      '0.0.40.0.0.255',
      '0.0.41.0.0.255',
      '0.0.42.0.0.255',
    ]);
    assert.ok(name!.result, name!.error);
    for (const refused of [energy, action, message]) assert.ok(refused!.error, JSON.stringify(refused));
    assert.equal(meter.relay.moves, []);
    assert.is(meter.message.text, '');
  });

  Gurux('a wrong password is rejected, and nothing is given after it', async () => {
    const meter = testMeter();
    const steps = [
      ['read', 1, '0.0.42.0.0.255', 2],
      ['action', CONTROL, 1],
    ];
    const lines = await run(client, { password: 'wrong', steps, goOn: true }, meter);
    assert.is(lines.length, 3);
    for (const line of lines) assert.ok(line.error, JSON.stringify(line));
    assert.equal(meter.relay.moves, []);
    const [event] = meter.events;
    assert.is(event?.kind === 'association-rejected' && event.diagnostic, 13);
  });

  Gurux.run();
}

if (needs('dlms-cosem', pythonHas('dlms_cosem'), HINT)) {
  const Cosem = suite('dlms interop: dlms-cosem');
  const client = 'dlms-cosem-client.py';

  Cosem('parses the object list, which comes in blocks, and reads every register', async () => {
    const obis = Object.keys(KNOWN_REGISTERS);
    const reads = obis.flatMap((name) => [
      ['read', 3, dotted(name), 3],
      ['read', 3, dotted(name), 2],
    ]);
    const [opened, list, ...values] = await run(client, {
      password: PASSWORD,
      steps: [['list'], ...reads, ['release']],
    });
    assert.ok(opened!.associated, opened!.error);
    const names = (list!.result as [number, string][])?.map(([, name]) => name) ?? [];
    for (const name of [...obis, '0-0:96.3.10.255']) assert.ok(names.includes(dotted(name)), `${name}: ${list!.error}`);
    obis.forEach((name, i) => {
      const [scaler, unit] = values[2 * i]!.result as [number, number];
      const raw = values[2 * i + 1]!.result as number;
      const [value, symbol] = KNOWN_REGISTERS[name]!;
      assert.ok(Math.abs(raw * 10 ** scaler - value) < 1e-9, `${name} is ${raw}e${scaler}`);
      assert.is(unit, UNIT_NUMBERS[symbol], `unit of ${name}`);
    });
    assert.is(values.at(-1)!.result, 'done', values.at(-1)!.error);
  });

  Cosem('disconnects, reconnects and sets the message', async () => {
    const meter = testMeter();
    const steps = [...CONTROL_STEPS, ['message', 'Hello']];
    const [, off, output, state, on, back, set] = await run(client, { password: PASSWORD, steps }, meter);
    assert.is(off!.result, 'done', off!.error);
    assert.is(output!.result, false);
    assert.is(state!.result, 0);
    assert.is(on!.result, 'done', on!.error);
    assert.is(back!.result, true);
    assert.is(set!.result, 'done', set!.error);
    assert.is(meter.message.text, 'Hello');
    assertSwitchedTwice(meter);
  });

  Cosem('without authentication sees public objects only and controls nothing', async () => {
    const meter = testMeter();
    const steps = [['list'], ['action', CONTROL, 1]];
    const [opened, list, action] = await run(client, { password: null, steps }, meter);
    assert.ok(opened!.associated, opened!.error);
    assert.is((list!.result as unknown[])?.length, 4, list!.error);
    assert.ok(action!.error);
    assert.equal(meter.relay.moves, []);
  });

  Cosem('a wrong password is rejected', async () => {
    const [opened] = await run(client, { password: 'wrong', steps: [] });
    assert.ok(opened!.error);
  });

  Cosem.run();
}
