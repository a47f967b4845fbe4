/** Signed commands to a live server: what is obeyed, what is refused, and setting a clock that is not set. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, fromHex } from '#base/bytes';
import type { Data } from '#dlms/axdr';
import { judgingTime } from '#dlms/cosem/clock';
import { DATE_TIME_SIZE, encodeDateTime } from '#dlms/date-time';
import { parseObis } from '#dlms/obis';
import { encodeSigned, type SignedCommand } from '#dlms/signing';
import { ByteWriter } from '#dlms/writer';
import { nodeCrypto } from '#hw/crypto';
import {
  CLIENT_KEY,
  CLIENT_PUBLIC,
  METER_KEY,
  METER_TITLE,
  testMeter,
  testSecurity,
} from '../../interop/dlms-meter.ts';
import { connect, DISCONNECT, failure, NAME, RECONNECT, reasons, TITLE } from './secure-line.ts';

const Signing = suite('dlms signing');

const COMMANDER = nodeCrypto.signingKey(fromHex(CLIENT_KEY));
const NOW = 1_800_000_000;

function signer(extra: Partial<SignedCommand> = {}, key = COMMANDER) {
  return (content: Uint8Array): Uint8Array => {
    const w = new ByteWriter(new Uint8Array(1024));
    const command = {
      number: 1,
      originator: TITLE,
      recipient: METER_TITLE,
      notBefore: NOW - 60,
      expiry: NOW + 60,
      reason: 'order 4711',
      content,
      ...extra,
    };
    encodeSigned(w, command, key);
    return w.written();
  };
}

function commanded(
  epochS: (request: Uint8Array) => number | undefined = () => NOW,
  port: Parameters<typeof testMeter>[0] = {},
) {
  const security = testSecurity();
  return testMeter(
    { security, commands: 'signed', ...port },
    {
      epochS,
      commands: {
        keys: [nodeCrypto.verifyKey(fromHex(CLIENT_PUBLIC))],
        title: METER_TITLE,
        accept: (number) => security.options.counters.acceptCommand(number),
      },
    },
  );
}

Signing('an unsigned command is refused with 13, a signed one is carried out once', () => {
  const meter = commanded();
  const { client, run } = connect(meter);
  run(client.associate());
  assert.is(failure(() => run(client.action(DISCONNECT))).context?.result, 13);
  assert.equal(meter.relay.moves, []);
  run(client.signed(signer(), client.action(DISCONNECT)));
  assert.not.ok(meter.relay.connected);
  assert.is(failure(() => run(client.signed(signer(), client.action(RECONNECT)))).context?.result, 13, 'same number');
  run(client.signed(signer({ number: 2 }), client.action(RECONNECT)));
  assert.ok(meter.relay.connected);
  assert.is(run(client.get(NAME)).type, 'octet-string', 'what needs no signature goes without');
  assert.equal(
    meter.events.flatMap((e) => (e.kind.startsWith('command') && 'reason' in e ? [`${e.kind} ${e.reason}`] : [])),
    ['command-accepted order 4711', 'command-refused replayed', 'command-accepted order 4711'],
  );
});

Signing('commands that are forged, early, expired, for another meter or without a clock are refused', () => {
  const bad: readonly (readonly [string, Partial<SignedCommand>, typeof COMMANDER])[] = [
    ['signature', {}, nodeCrypto.signingKey(fromHex(METER_KEY))],
    ['recipient', { recipient: asciiBytes('S3M09999') }, COMMANDER],
    ['not-yet', { notBefore: NOW + 1 }, COMMANDER],
    ['expired', { expiry: NOW - 1 }, COMMANDER],
    ['replayed', { number: 0 }, COMMANDER],
  ];
  for (const [reason, extra, key] of bad) {
    const meter = commanded();
    const { client, run } = connect(meter);
    run(client.associate());
    assert.is(failure(() => run(client.signed(signer(extra, key), client.action(DISCONNECT)))).context?.result, 13);
    assert.equal(reasons(meter), [reason]);
    assert.equal(meter.relay.moves, []);
  }
  const timeless = commanded(() => undefined);
  const line = connect(timeless);
  line.run(line.client.associate());
  assert.is(failure(() => line.run(line.client.signed(signer(), line.client.action(DISCONNECT)))).context?.result, 13);
  assert.equal(reasons(timeless), ['clock']);
});

const CLOCK_TIME = { classId: 8, ln: parseObis('0-0:1.0.0.255'), attribute: 2 };

function timeOf(epochMs: number, deviation = 0): Data {
  const value = new Uint8Array(DATE_TIME_SIZE);
  encodeDateTime(value, 0, epochMs, deviation, 0);
  return { type: 'octet-string', value };
}

/** A meter whose clock stands at a bound, two hours behind `NOW`. */
function timeless() {
  const clock = { epochMs: (NOW - 7200) * 1000, isSet: false };
  const meter = commanded(
    judgingTime(() => clock),
    {
      wallClock: () => clock,
      setTime: (epochMs) => {
        clock.epochMs = epochMs;
        clock.isSet = true;
        return true;
      },
    },
  );
  const { client, run } = connect(meter);
  run(client.associate());
  const resultOf = (work: () => unknown) => failure(work).context?.result;
  return { clock, meter, client, run, resultOf };
}

Signing('a clock that is not set is set by a signed request only, and then commands are obeyed', () => {
  const { clock, meter, client, run, resultOf } = timeless();
  const set = (epochMs: number) => client.set(CLOCK_TIME, timeOf(epochMs));
  assert.is(
    resultOf(() => run(set(NOW * 1000))),
    13,
    'unsigned',
  );
  assert.is(
    resultOf(() => run(client.signed(signer(), client.action(DISCONNECT)))),
    13,
  );
  assert.equal(reasons(meter), ['clock']);
  run(client.signed(signer({ number: 2 }), set(NOW * 1000 + 250)));
  assert.equal(clock, { epochMs: NOW * 1000 + 250, isSet: true });
  run(client.signed(signer({ number: 3 }), client.action(DISCONNECT)));
  assert.not.ok(meter.relay.connected);
});

Signing('a request that sets the clock is judged by the time that it sets, and obeyed once', () => {
  const { clock, meter, client, run, resultOf } = timeless();
  const before = { ...clock };
  const setting = (epochMs: number, extra: Partial<SignedCommand>, key?: typeof COMMANDER, deviation = 0) =>
    client.signed(signer(extra, key), client.set(CLOCK_TIME, timeOf(epochMs, deviation)));
  const bad: readonly (readonly [string, Parameters<typeof setting>])[] = [
    ['expired', [(NOW + 3600) * 1000, {}]],
    ['not-yet', [(NOW - 3600) * 1000, {}]],
    ['signature', [NOW * 1000, {}, nodeCrypto.signingKey(fromHex(METER_KEY))]],
    ['recipient', [NOW * 1000, { recipient: asciiBytes('S3M09999') }]],
    // Without deviation nobody knows which time it is.
    ['clock', [NOW * 1000, {}, COMMANDER, -0x8000]],
  ];
  for (const [reason, parameters] of bad) {
    assert.is(
      resultOf(() => run(setting(...parameters))),
      13,
      reason,
    );
    assert.is(reasons(meter).at(-1), reason);
    assert.equal(clock, before, reason);
  }
  run(setting(NOW * 1000, { number: 5 }));
  clock.isSet = false;
  assert.is(
    resultOf(() => run(setting(NOW * 1000, { number: 5 }))),
    13,
    'the same once more',
  );
  assert.is(reasons(meter).at(-1), 'replayed');
  assert.not.ok(clock.isSet);
});

Signing('a clock that is not set is not adjusted either: that would make it look as if it were', () => {
  const { clock, client, run, resultOf } = timeless();
  for (const method of [1, 2, 3, 6]) {
    const parameter: Data = method === 6 ? { type: 'long', value: 60 } : { type: 'integer', value: 0 };
    const adjust = () => client.action({ ...CLOCK_TIME, method }, parameter);
    assert.is(
      resultOf(() => run(adjust())),
      13,
      `method ${method}`,
    );
    assert.is(
      resultOf(() => run(client.signed(signer({ number: method }), adjust()))),
      13,
      `method ${method}, signed`,
    );
  }
  assert.not.ok(clock.isSet);
  const plain = testMeter({ wallClock: () => clock });
  const context = { ...plain.model.device.ownContext('test'), role: 'password' };
  const ln = parseObis('0-0:1.0.0.255');
  assert.is(
    plain.model.device.invoke(context, 8, ln, 0, 3, { type: 'integer', value: 0 }, new ByteWriter(new Uint8Array(8))),
    2,
  );
});

Signing('any change of a signed command breaks it', () => {
  const meter = commanded();
  const { client, run } = connect(meter);
  run(client.associate());
  const length = signer()(fromHex('c301c10046000060030aff01010f00')).length;
  for (let at = 1; at < length; at++) {
    const tamper = (content: Uint8Array) => {
      const command = signer()(content);
      command[at]! ^= 1;
      return command;
    };
    assert.throws(() => run(client.signed(tamper, client.action(DISCONNECT))));
    if (!client.isAssociated) run(client.associate());
  }
  assert.equal(meter.relay.moves, []);
});

Signing.run();
