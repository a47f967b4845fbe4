/** The meter's objects: what is published follows the image, the relay and the clock, and nothing is invented. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, asciiText } from '#base/bytes';
import { decodeUtf8 } from '#base/utf8';
import type { Data } from '#dlms/axdr';
import { DlmsClient } from '#dlms/client';
import { decodeDateTime } from '#dlms/date-time';
import { type Exchange, exchangeSync } from '#dlms/exchange';
import { formatObis, parseObis } from '#dlms/obis';
import { MEASUREMENT_TIME, obisName, SUSPECT_QUANTITIES, suspectBit } from '#dlms/well-known';
import { Quality, Quantity } from '../../firmware/measurement-image.ts';
import { REGISTERS } from '../../firmware/meter-objects.ts';
import { logicalDeviceName } from '../../firmware/model-identity.ts';
import { OBJECT_COUNT, PASSWORD, pass, testMeter } from '../interop/dlms-meter.ts';

const Model = suite('meter model');

function connect(meter = testMeter(), password: string | null = PASSWORD) {
  const session = meter.server.session('client')!;
  const client = new DlmsClient(
    password === null ? { clientSap: 16 } : { clientSap: 17, password: asciiBytes(password) },
  );
  const out = new Uint8Array(2048);
  const run = <T>(operation: Exchange<T>): T =>
    exchangeSync(operation, (frame) => out.subarray(0, session.receive(frame, out, 0)));
  run(client.associate());
  const get = (classId: number, obis: string, attribute = 2) =>
    run(client.getList([{ classId, ln: parseObis(obis), attribute }]))[0]!;
  return { meter, client, run, get };
}

function contentOf(data: Data | null): unknown {
  return data && 'value' in data ? data.value : data;
}

Model('every register takes its value, sign and unit from its quantity', () => {
  const { meter, client, run } = connect();
  const read = (obis: string) => run(client.readRegisters([obis])).registers[0]!;
  const set = (quantity: Quantity, value: number) =>
    meter.image.set(quantity, value, meter.clock.steadyMs, Quality.good);
  set(Quantity.activePower, -1500);
  assert.is(read('1-0:1.7.0.255').value, 0);
  assert.is(read('1-0:2.7.0.255').value, 1500);
  assert.is(read('1-0:16.7.0.255').value, -1500);
  set(Quantity.reactivePower, 77);
  assert.is(read('1-0:3.7.0.255').value, 77);
  assert.is(read('1-0:4.7.0.255').value, 0);
  set(Quantity.powerFactor, -1000);
  assert.is(read('1-0:13.7.0.255').value, -1);
  set(Quantity.activeEnergy, 4_294_967_295);
  assert.is(read('1-0:1.8.0.255').value, 4_294_967_295);
});

Model('a value that is missing, stale or too large for its type is refused, never clamped or zero', () => {
  const { meter, get } = connect();
  const now = meter.clock.steadyMs;
  meter.image.set(Quantity.voltage, 23_000, now - 10_000, Quality.good);
  assert.is(get(3, '1-0:32.7.0.255').result, 0, 'ten seconds old');
  meter.image.set(Quantity.voltage, 23_000, now - 10_001, Quality.good);
  assert.is(get(3, '1-0:32.7.0.255').result, 2, 'older');
  meter.image.set(Quantity.voltage, 23_000, now, Quality.missing);
  assert.is(get(3, '1-0:32.7.0.255').result, 2, 'missing');
  meter.image.set(Quantity.voltage, 65_536, now, Quality.good);
  assert.is(get(3, '1-0:32.7.0.255').result, 2, 'does not fit');
  assert.is(get(3, '1-0:32.7.0.255', 3).result, 0, 'scaler and unit are there all the same');
});

Model('the status tells of bad values and of a clock that nobody has set', () => {
  const { meter, get } = connect();
  const status = () => contentOf(get(1, '0-0:96.10.1.255').data);
  const suspects = () => contentOf(get(1, SUSPECT_QUANTITIES).data);
  assert.equal([status(), suspects()], [0, 0]);
  for (const { quantity, obis } of REGISTERS) {
    const value = meter.image.value(quantity);
    meter.image.set(quantity, value, meter.clock.steadyMs, Quality.suspect);
    assert.equal([status(), suspects()], [4, suspectBit(obis)], obis);
    meter.image.set(quantity, value, meter.clock.steadyMs - 60_000, Quality.suspect);
    assert.equal([status(), suspects()], [4, 0], `${obis} stale`);
    meter.image.set(quantity, value, meter.clock.steadyMs, Quality.good);
  }
  meter.clock.isSet = false;
  assert.is(status(), 2);
});

Model("the time of measurement is that of the oldest live value, in the meter's clock", () => {
  const { meter, get } = connect();
  const time = (obis: string, classId: number) => {
    const { data, result } = get(classId, obis);
    return data?.type === 'octet-string' ? decodeDateTime(data.value)! : result;
  };
  assert.equal(time('0-0:1.0.0.255', 8), { epochMs: meter.clock.epochMs, deviationMinutes: 0, status: 0 });
  meter.image.set(Quantity.current, 1, meter.clock.steadyMs - 3210, Quality.good);
  meter.image.set(Quantity.frequency, 1, meter.clock.steadyMs - 20_000, Quality.good);
  meter.image.set(Quantity.activeEnergy, 1, meter.clock.steadyMs - 9000, Quality.good);
  assert.equal(time(MEASUREMENT_TIME, 1), { epochMs: meter.clock.epochMs - 3210, deviationMinutes: 0, status: 0 });
  meter.clock.isSet = false;
  assert.equal(time('0-0:1.0.0.255', 8), { epochMs: meter.clock.epochMs, deviationMinutes: 0, status: 1 });
  meter.clock.steadyMs += 60_000;
  assert.is(time(MEASUREMENT_TIME, 1), 2, 'nothing is live');
});

Model('identity objects carry what the meter was built with', () => {
  const { get } = connect();
  const text = (obis: string) => decodeUtf8(contentOf(get(1, obis).data) as Uint8Array);
  assert.is(text('0-0:42.0.0.255'), 'S3M0000000004711');
  assert.is(text('0-0:96.1.0.255'), '0000000004711');
  assert.is(text('0-0:96.1.1.255'), '0000000004711');
  assert.is(text('0-0:96.1.2.255'), 'OR-WE-514 #1');
  assert.is(text('1-0:0.2.0.255'), 's3mp 0.1.0');
  assert.is(asciiText(logicalDeviceName('7')), 'S3M0000000000007');
  assert.is(logicalDeviceName('12345678901234567890').length, 16);
});

Model('the relay output is what is measured, not what was commanded', () => {
  const { meter, client, run, get } = connect();
  run(client.action({ classId: 70, ln: parseObis('0-0:96.3.10.255'), method: 1 }));
  meter.relay.connected = true;
  assert.is(contentOf(get(70, '0-0:96.3.10.255').data), true);
  assert.is(contentOf(get(1, '0-0:96.4.0.255').data), true);
  assert.is(contentOf(get(70, '0-0:96.3.10.255', 3).data), 0);
  assert.is(contentOf(get(70, '0-0:96.3.10.255', 4).data), 4);
});

Model('the control state is kept over a restart, and a contact that was left elsewhere is moved back to it', () => {
  const values = new Map<string, Uint8Array>();
  const keep = (key: string, value: Uint8Array) => void values.set(key, value);
  const settings = { get: (key: string) => values.get(key), keep, set: (key: string, v: Uint8Array) => !keep(key, v) };
  const moves: string[] = [];
  const start = (connected: boolean) => {
    let contact = connected;
    const meter = testMeter({
      settings,
      relay: {
        switchRelay: (wanted, _reason, trigger, commit) => {
          if (!commit()) return 'not-recorded';
          moves.push(trigger);
          contact = wanted;
          return true;
        },
        isConnected: () => contact,
      },
    });
    assert.is(meter.model.control.restore(), 0);
    return { control: meter.model.control, contact: () => contact };
  };
  assert.is(start(false).control.state, 0, 'a meter that was never commanded takes the contact as it is');
  assert.equal(moves, []);
  start(true).control.trigger('local-disconnect', 'test');
  assert.is(start(false).control.state, 2, 'ready for reconnection');
  assert.equal(moves, ['local-disconnect']);
  const again = start(true);
  assert.is(again.control.state, 2);
  assert.not(again.contact());
  again.control.trigger('remote-disconnect', 'test');
  assert.is(start(false).control.state, 0);
  start(false).control.trigger('remote-reconnect', 'test');
  assert.ok(start(true).contact());
  assert.ok(start(false).contact());
  assert.equal(moves, ['local-disconnect', 'restore', 'remote-reconnect', 'restore']);
});

Model('without a clock that is set or without storage nothing is commanded, and everything is read', () => {
  for (const [part, expected] of [
    ['clock', 'dlms.temporarily-unavailable'],
    ['storage', 'dlms.temporarily-unavailable'],
  ] as const) {
    const settings = { get: () => undefined, set: () => part !== 'storage', keep: () => {} };
    const meter = testMeter({ settings });
    meter.clock.isSet = part !== 'clock';
    const { get, run, client } = connect(meter);
    const CONTROL = { classId: 70, ln: parseObis('0-0:96.3.10.255') };
    const refused = (act: () => unknown) => {
      try {
        act();
      } catch (error) {
        return (error as { code: string }).code;
      }
      return 'done';
    };
    assert.is(
      refused(() => run(client.action({ ...CONTROL, method: 1 }))),
      expected,
      part,
    );
    assert.is(
      refused(() =>
        run(
          client.set(
            { classId: 71, ln: parseObis('0-0:17.0.0.255'), attribute: 4 },
            { type: 'double-long-unsigned', value: 5 },
          ),
        ),
      ),
      expected,
      part,
    );
    assert.equal(meter.relay.moves, []);
    assert.is(contentOf(get(70, '0-0:96.3.10.255').data), true);
    assert.is(contentOf(get(3, '1-0:1.8.0.255').data), 1_234_560);
  }
});

Model('every listed object answers every attribute by its declared right, and every object has a name', () => {
  for (const password of [PASSWORD, null]) {
    const meter = testMeter();
    // Demand registers have a value after their first period.
    pass(meter, 1_200_000, 10_000);
    const { client, run } = connect(meter, password);
    const list = run(client.get({ classId: 15, ln: parseObis('0-0:40.0.0.255'), attribute: 2 }));
    assert.ok(list.type === 'array');
    assert.is(list.value.length, password === null ? 4 : OBJECT_COUNT);
    for (const element of list.value) {
      const [classId, , ln, rights] = contentOf(element) as [Data, Data, Data, Data];
      const obis = formatObis(contentOf(ln) as Uint8Array);
      assert.not.equal(obisName(obis), obis);
      const [attributes] = contentOf(rights) as [Data];
      for (const attribute of contentOf(attributes) as Data[]) {
        const [id, mode] = (contentOf(attribute) as Data[]).map(contentOf) as [number, number];
        const ref = { classId: contentOf(classId) as number, ln: contentOf(ln) as Uint8Array, attribute: id };
        const { result } = run(client.getList([ref]))[0]!;
        assert.is(result, (mode & 1) === 1 ? 0 : 3, `${obis} attribute ${id}, mode ${mode}`);
      }
    }
  }
});

Model.run();
