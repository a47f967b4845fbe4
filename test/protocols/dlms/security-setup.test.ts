/** The security setup of a live server: transfer of keys, the policy, what is read of it. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex, toHex } from '#base/bytes';
import { DlmsClient } from '#dlms/client';
import { MemoryCounter } from '#dlms/client-security';
import { exchangeSync } from '#dlms/exchange';
import { type KeySet, Policy } from '#dlms/security';
import { KEYS, METER_TITLE, testMeter, testSecurity } from '../../interop/dlms-meter.ts';
import {
  ask,
  COUNTER,
  connect,
  failure,
  give,
  LDN,
  NAME,
  random16,
  SETUP,
  sealed,
  secure,
  TITLE,
} from './secure-line.ts';
import { wrapKey } from './wrap-key.ts';

const Setup = suite('dlms security setup');

Setup('keys are transferred all or none, hold from the next request on, and reset no counter', () => {
  const stored: unknown[] = [];
  const security = testSecurity({ onChange: (keys, policy) => stored.push([toHex(keys.unicast), policy]) });
  const meter = testMeter({ security });
  const counter = new MemoryCounter();
  const { client, run } = connect(meter, { counter });
  run(client.associate());
  const fresh = fromHex('a0a1a2a3a4a5a6a7a8a9aaabacadaeaf');
  const wrap = (key: Uint8Array, id = 0, master = KEYS.master) =>
    ({
      type: 'structure',
      value: [
        { type: 'enum', value: id },
        { type: 'octet-string', value: wrapKey(master, key) },
      ],
    }) as const;
  const transfer = (...value: ReturnType<typeof wrap>[]) =>
    client.action({ ...SETUP, method: 2 }, { type: 'array', value });
  for (const bad of [
    [wrap(fresh, 0, KEYS.unicast)],
    [wrap(fresh), wrap(fresh, 9)],
    [wrap(fresh), wrap(new Uint8Array(24))],
    [],
  ])
    assert.is(failure(() => run(transfer(...bad))).context?.result, 250);
  assert.is(failure(() => run(client.action({ ...SETUP, method: 2 }))).context?.result, 12);
  assert.equal(stored, []);
  assert.is(run(client.get(NAME)).type, 'octet-string', 'nothing has changed');
  const highest = security.options.counters.highest();
  run(transfer(wrap(fresh)));
  assert.equal(stored, [[toHex(fresh), 3]]);
  assert.equal(failure(() => run(client.get(NAME))).context, { state: 1, service: 5 }, 'the old key is over');
  const renewed = connect(meter, { counter, unicast: fresh });
  renewed.run(renewed.client.associate());
  assert.ok(security.options.counters.highest() > highest);
  assert.is(renewed.run(renewed.client.get(NAME)).type, 'octet-string');
});

Setup('keys that were replaced are wiped, those that were handed in are not', () => {
  const kept: KeySet[] = [];
  const security = testSecurity({ onChange: (keys) => void kept.push(keys) });
  const wrap = (key: Uint8Array) => wrapKey(KEYS.master, key);
  const [first, second] = [random16(), random16()];
  assert.ok(security.transfer([[0, wrap(first)]]));
  assert.is(toHex(kept[0]!.unicast), toHex(first));
  assert.not.ok(
    security.transfer([
      [0, wrap(second)],
      [9, wrap(second)],
    ]),
    'all or none',
  );
  assert.is(toHex(kept[0]!.unicast), toHex(first), 'still in use');
  assert.ok(security.transfer([[0, wrap(second)]]));
  assert.is(toHex(kept[0]!.unicast), toHex(new Uint8Array(16)));
  assert.is(toHex(kept[1]!.unicast), toHex(second));
  assert.ok(KEYS.unicast.some((byte) => byte !== 0));
});

Setup('a key transfer that cannot be stored changes nothing', () => {
  const security = testSecurity({
    onChange: () => {
      throw new Error('no space');
    },
  });
  assert.not.ok(security.transfer([[0, wrapKey(KEYS.master, KEYS.master)]]));
  assert.not.ok(security.activate(Policy.both));
});

Setup('the policy only rises', () => {
  const security = testSecurity({ policy: Policy.authenticated });
  const meter = testMeter({ security });
  const { client, run, session } = connect(meter);
  run(client.associate());
  const activate = (value: number) => run(client.action({ ...SETUP, method: 1 }, { type: 'enum', value }));
  assert.is(failure(() => activate(0)).context?.result, 250);
  assert.is(failure(() => activate(2)).context?.result, 250);
  assert.is(failure(() => activate(4)).context?.result, 250);
  assert.match(ask(session, sealed(LDN, 60, { sc: 0x10 })), /^cc..10/, 'the answer has the protection of its request');
  const behind = connect(meter, { counter: new MemoryCounter(100), title: asciiBytes('S3H00005') }, { key: 'k' });
  behind.run(behind.client.associate());
  behind.run(behind.client.action({ ...SETUP, method: 1 }, { type: 'enum', value: 3 }));
  assert.is(security.policy, 3);
  assert.is(ask(session, sealed(LDN, 61, { sc: 0x10 })), 'd80105');
});

Setup('the security setup and the counter are read by those who may', () => {
  const meter = secure();
  const { client, run } = connect(meter);
  run(client.associate());
  const read = (attribute: number) => {
    const data = run(client.get({ ...SETUP, attribute }));
    return 'value' in data ? data.value : null;
  };
  assert.is(read(2), 3);
  assert.is(read(3), 0);
  assert.equal(read(4), TITLE);
  assert.equal(read(5), METER_TITLE);
  const highest = meter.port.security!.options.counters.highest();
  const pub = new DlmsClient({ clientSap: 16 });
  const session = meter.server.session('public')!;
  exchangeSync(pub.associate(), (frame) => give(session, frame));
  const counter = exchangeSync(pub.get(COUNTER), (frame) => give(session, frame));
  assert.equal(counter, { type: 'double-long-unsigned', value: highest });
  assert.is(
    failure(() => exchangeSync(pub.get({ ...SETUP, attribute: 2 }), (frame) => give(session, frame))).context?.result,
    4,
  );
});

Setup.run();
