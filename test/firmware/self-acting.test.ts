/** What the meter does by itself: limiter, schedules, relay guard, alarms, pushes; and the image slot over restarts. */

import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes } from '#base/bytes';
import type { Data } from '#dlms/axdr';
import { DlmsClient } from '#dlms/client';
import { array, enumeration, i8, octets, structure, u8, u16, u32 } from '#dlms/cosem/setting';
import { encodeDateTime } from '#dlms/date-time';
import { type Exchange, exchangeSync } from '#dlms/exchange';
import { decodeDataNotification } from '#dlms/notification';
import { parseObis } from '#dlms/obis';
import { ProfileReader } from '#dlms/profile-reader';
import { ByteReader } from '#dlms/reader';
import { EventCode } from '#dlms/well-known';
import { isWrapperFrame, WRAPPER_SIZE } from '#dlms/wrapper';
import { createLog } from '#hw/log';
import type { Relay } from '#hw/relay';
import { FileImageSlot } from '../../firmware/image-slots.ts';
import { Quality, Quantity } from '../../firmware/measurement-image.ts';
import type { Meter, MeterPort } from '../../firmware/meter-model.ts';
import { guardRelay } from '../../firmware/relay-guard.ts';
import { StateFiles } from '../../firmware/state-files.ts';
import { PASSWORD, pass, type TestMeter, testMeter } from '../interop/dlms-meter.ts';

const Acting = suite('self-acting meter');
const quiet = createLog('test', { level: 'error', write: () => {} });

function connect(meter: TestMeter) {
  const session = meter.server.session('client')!;
  const client = new DlmsClient({ clientSap: 17, password: asciiBytes(PASSWORD) });
  const out = new Uint8Array(2048);
  const run = <T>(operation: Exchange<T>): T =>
    exchangeSync(operation, (frame) => out.subarray(0, session.receive(frame, out, 0)));
  run(client.associate());
  const ref = (classId: number, obis: string, id: number) => ({
    classId,
    ln: parseObis(obis),
    attribute: id,
    method: id,
  });
  return {
    set: (classId: number, obis: string, id: number, value: Data) => run(client.set(ref(classId, obis, id), value)),
    action: (classId: number, obis: string, id: number, value?: Data) =>
      run(client.action(ref(classId, obis, id), value)),
    get: (classId: number, obis: string, id = 2) => {
      const data = run(client.get(ref(classId, obis, id)));
      return 'value' in data ? data.value : null;
    },
    codes: (log: number) =>
      run(new ProfileReader(client).read(`0-0:99.98.${log}.255`, { firstEntry: 1, lastEntry: 0 })).rows.map(
        ({ values }) => values[0],
      ),
  };
}

function code(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'done';
}

/** Time with a power of the test's choice. */
function passWith(meter: TestMeter, seconds: number, watts: () => number): void {
  for (let i = 0; i < seconds; i++) {
    meter.clock.steadyMs += 1000;
    meter.clock.epochMs += 1000;
    meter.image.set(Quantity.activePower, watts(), meter.clock.steadyMs, Quality.good);
    meter.model.tick();
  }
}

/** A meter with the real guard over a contact of the test. */
function guarded(dwellMs: number, extra: Partial<MeterPort> = {}) {
  const contact = { connected: true, follows: true, moves: 0 };
  const relay: Relay = {
    kind: 'test',
    set: (connected) => {
      contact.moves++;
      if (contact.follows) contact.connected = connected;
    },
    isConnected: () => contact.connected,
    close: () => {},
  };
  let model: Meter | undefined;
  const meter: TestMeter = testMeter({
    relay: guardRelay({
      relay,
      log: quiet,
      steadyClock: () => meter.clock.steadyMs,
      dwellMs,
      record: (event) => model?.events.record(event) === true,
      onChange: () => {},
    }),
    ...extra,
  });
  model = meter.model;
  return { meter, contact };
}

const LIMITER = '0-0:17.0.0.255';
const CONTROL = '0-0:96.3.10.255';

Acting('the limiter opens the contact after its time above the threshold, and closes it in mode 6 only', () => {
  for (const mode of [4, 6]) {
    const { meter, contact } = guarded(0);
    const { set, get, codes } = connect(meter);
    set(70, CONTROL, 4, enumeration(mode));
    set(71, LIMITER, 4, u32(2_000));
    set(71, LIMITER, 6, u32(10));
    set(71, LIMITER, 7, u32(20));
    const watts = () => (contact.connected ? 2_500 : 0);
    passWith(meter, 10, watts);
    assert.is(contact.connected, true, 'not yet');
    passWith(meter, 2, watts);
    assert.is(contact.connected, false);
    assert.is(get(70, CONTROL, 3), 2, 'ready for reconnection');
    passWith(meter, 15, watts);
    assert.is(contact.connected, false);
    passWith(meter, 10, watts);
    assert.is(contact.connected, mode === 6);
    const expected = [
      ...Array.from({ length: 1 }, () => EventCode.thresholdChanged),
      EventCode.limiterExceeded,
      EventCode.localDisconnect,
      EventCode.readyForReconnection,
      EventCode.limiterOk,
      ...(mode === 6 ? [EventCode.localReconnect] : []),
    ];
    assert.equal(codes(2), expected);
    assert.is((Number(get(1, '0-0:97.98.0.255')) & 0x20) !== 0, true, 'alarm');
  }
});

Acting('a power that cannot be read is neither above nor below', () => {
  const { meter, contact } = guarded(0);
  const { set } = connect(meter);
  set(71, LIMITER, 4, u32(100));
  set(71, LIMITER, 6, u32(5));
  for (let i = 0; i < 4; i++) {
    passWith(meter, 4, () => 500);
    meter.clock.steadyMs += 11_000;
    meter.model.tick();
  }
  assert.ok(contact.connected);
});

Acting('the emergency threshold holds while a profile of our group is active', () => {
  const { meter, contact } = guarded(0);
  const { set, get } = connect(meter);
  const activation = new Uint8Array(12);
  encodeDateTime(activation, 0, meter.clock.epochMs + 60_000, 0, 0);
  set(71, LIMITER, 5, u32(300));
  set(71, LIMITER, 6, u32(5));
  set(71, LIMITER, 8, structure(u16(7), octets(activation), u32(120)));
  passWith(meter, 90, () => 500);
  assert.ok(contact.connected, 'not our group');
  set(71, LIMITER, 9, array(u16(3), u16(7)));
  passWith(meter, 4, () => 500);
  assert.is(get(71, LIMITER, 10), true);
  assert.is(get(71, LIMITER, 3), 300);
  passWith(meter, 4, () => 500);
  assert.not(contact.connected);
  passWith(meter, 120, () => 500);
  assert.is(get(71, LIMITER, 10), false);
});

Acting('a schedule disconnects at its local time, once, as a local act', () => {
  const { meter, contact } = guarded(0);
  const { set, codes } = connect(meter);
  const { epochMs } = meter.clock;
  const at = new Date(epochMs + 30_000);
  const time = Uint8Array.of(at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds(), 0);
  const any = new Uint8Array(5).fill(0xff);
  set(22, '0-0:15.0.1.255', 2, structure(octets(parseObis('0-0:10.0.106.255')), u16(1)));
  set(22, '0-0:15.0.1.255', 4, array(structure(octets(time), octets(any))));
  pass(meter, 29_000);
  assert.ok(contact.connected);
  // A look that comes late still finds it.
  pass(meter, 5_000, 5_000);
  assert.not(contact.connected);
  pass(meter, 60_000);
  assert.is(contact.moves, 1);
  assert.is(codes(2).at(0), EventCode.localDisconnect);
});

Acting('a clock that nobody has set switches nothing: neither a schedule nor an emergency profile', () => {
  const { meter, contact } = guarded(0);
  const { set, get } = connect(meter);
  const at = new Date(meter.clock.epochMs + 30_000);
  const time = Uint8Array.of(at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds(), 0);
  set(22, '0-0:15.0.1.255', 2, structure(octets(parseObis('0-0:10.0.106.255')), u16(1)));
  set(22, '0-0:15.0.1.255', 4, array(structure(octets(time), octets(new Uint8Array(5).fill(0xff)))));
  const activation = new Uint8Array(12);
  encodeDateTime(activation, 0, meter.clock.epochMs + 10_000, 0, 0);
  set(71, LIMITER, 4, u32(900));
  set(71, LIMITER, 5, u32(300));
  set(71, LIMITER, 6, u32(5));
  set(71, LIMITER, 9, array(u16(7)));
  set(71, LIMITER, 8, structure(u16(7), octets(activation), u32(86_400)));
  meter.clock.isSet = false;
  passWith(meter, 120, () => 500);
  assert.ok(contact.connected);
  assert.is(get(71, LIMITER, 3), 900, 'the higher threshold');
  meter.clock.isSet = true;
  passWith(meter, 4, () => 500);
  assert.is(get(71, LIMITER, 3), 300);
  assert.ok(contact.connected, 'the time that has passed meanwhile is not made up for');
  passWith(meter, 4, () => 500);
  assert.not(contact.connected);
});

Acting('the guard lets the contact rest, writes the event first, and reports a contact that does not follow', () => {
  const { meter, contact } = guarded(10_000);
  const { action, codes, get } = connect(meter);
  action(70, CONTROL, 1);
  assert.is(
    code(() => action(70, CONTROL, 2)),
    'dlms.temporarily-unavailable',
  );
  assert.is(contact.moves, 1);
  assert.is(get(70, CONTROL, 3), 0, 'the state follows the contact');
  meter.clock.steadyMs += 10_000;
  contact.follows = false;
  assert.is(
    code(() => action(70, CONTROL, 2)),
    'dlms.refused',
  );
  assert.equal(codes(2), [EventCode.remoteDisconnect, EventCode.remoteReconnect, EventCode.disconnectFailure]);
  assert.is(Number(get(1, '0-0:97.97.0.255')), 0x10, 'an error of the meter itself');
});

Acting('registers of alarms are cleared bit by bit and never set by clients', () => {
  const meter = testMeter();
  const { set, get } = connect(meter);
  meter.model.events.record(EventCode.replay);
  meter.model.events.record(EventCode.limiterExceeded);
  assert.is(get(1, '0-0:97.98.0.255'), 0x28);
  set(1, '0-0:97.98.0.255', 2, u32(0xffff_fff7));
  assert.is(get(1, '0-0:97.98.0.255'), 0x20);
  set(1, '0-0:97.98.0.255', 2, u32(0xffff_ffff));
  assert.is(get(1, '0-0:97.98.0.255'), 0x20);
  assert.is(
    code(() => set(1, '0-0:97.98.20.255', 2, u32(0))),
    'dlms.access-denied',
  );
});

Acting('a new alarm is pushed once, unless the filter holds it back', () => {
  const frames: [string, Uint8Array][] = [];
  const meter = testMeter({ sendPush: (to, frame) => frames.push([to, frame]) > 0 });
  const { set } = connect(meter);
  const push = '0-1:25.9.0.255';
  set(40, push, 3, structure(enumeration(1), octets(asciiBytes('1-ff00:0:110,[10.0.0.1]:4059')), enumeration(0)));
  set(1, '0-0:97.98.10.255', 2, u32(0x08));
  meter.model.events.record(EventCode.limiterExceeded);
  meter.model.tick();
  assert.is(frames.length, 0, 'filtered');
  meter.model.events.record(EventCode.replay);
  meter.model.events.record(EventCode.replay);
  meter.model.tick();
  assert.is(frames.length, 1);
  const [to, frame] = frames[0]!;
  assert.is(to, '1-ff00:0:110,[10.0.0.1]:4059');
  assert.ok(isWrapperFrame(frame));
  const { body } = decodeDataNotification(new ByteReader(frame, WRAPPER_SIZE));
  assert.ok(body.type === 'structure');
  assert.equal(body.value.slice(1), [octets(parseObis(push)), u32(0x08)]);
});

Acting('a push that the network does not take is repeated as often as set, after the random wait', () => {
  const sent: number[] = [];
  const meter: TestMeter = testMeter({
    sendPush: () => {
      sent.push(meter.clock.steadyMs);
      return false;
    },
    random: () => 0.5,
  });
  const { set, action } = connect(meter);
  const push = '0-0:25.9.0.255';
  action(40, push, 1);
  pass(meter, 10_000);
  assert.is(sent.length, 0, 'no destination');
  set(40, push, 3, structure(enumeration(1), octets(asciiBytes('127.0.0.1:4059')), enumeration(0)));
  set(40, push, 5, u16(60));
  set(40, push, 6, u8(2));
  set(40, push, 7, u16(10));
  const asked = meter.clock.steadyMs;
  action(40, push, 1);
  pass(meter, 120_000);
  assert.equal(
    sent.map((ms) => Math.round((ms - asked) / 1000)),
    [31, 41, 51],
  );
});

Acting('a setting takes only values of its shape', () => {
  const meter = testMeter();
  const { set, get } = connect(meter);
  const refused = (act: () => unknown) => assert.is(code(act), 'dlms.type-unmatched');
  refused(() => set(71, LIMITER, 4, u16(1)));
  refused(() => set(71, LIMITER, 8, structure(u16(1), octets(new Uint8Array(11)), u32(1))));
  refused(() => set(71, LIMITER, 9, array(u16(1), u32(1))));
  refused(() => set(71, LIMITER, 11, structure(structure(octets(new Uint8Array(6)), u16(1)))));
  assert.is(
    code(() => set(70, CONTROL, 4, enumeration(7))),
    'dlms.refused',
  );
  assert.is(
    code(() => set(71, LIMITER, 3, u32(1))),
    'dlms.access-denied',
  );
  assert.is(get(70, CONTROL, 4), 4);
  assert.is(get(71, LIMITER, 4), 0xffff_ffff);
});

const IMAGE = '0-0:44.0.0.255';

Acting('an image goes on after a restart, is refused when it is not whole, and is not activated', () => {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-image-'));
  try {
    const open = () => {
      const meter = testMeter({ imageSlot: new FileImageSlot(new StateFiles(folder, quiet), 1 << 18) });
      return { ...connect(meter), meter };
    };
    const content = Uint8Array.from({ length: 100_000 }, (_, i) => (i * 7) & 0xff);
    const image = Buffer.concat([content, createHash('sha256').update(content).digest()]);
    const block = (number: number) => structure(u32(number), octets(image.subarray(number * 512, number * 512 + 512)));
    const count = Math.ceil(image.length / 512);
    const initiate = structure(octets(asciiBytes('s3mp')), u32(image.length));

    const first = open();
    assert.is(
      code(() => first.action(18, IMAGE, 2, block(0))),
      'dlms.access-denied',
      'not initiated',
    );
    first.action(18, IMAGE, 1, initiate);
    for (let number = count - 1; number >= 70; number--) first.action(18, IMAGE, 2, block(number));
    assert.is(
      code(() => first.action(18, IMAGE, 3)),
      'dlms.refused',
      'not all there',
    );
    assert.is(
      code(() => first.action(18, IMAGE, 2, block(count))),
      'dlms.refused',
      'beyond the end',
    );
    assert.is(
      code(() => first.action(18, IMAGE, 2, structure(u32(1), octets(new Uint8Array(511))))),
      'dlms.refused',
    );

    const second = open();
    assert.is(second.get(18, IMAGE, 6), 1, 'initiated');
    second.action(18, IMAGE, 1, initiate);
    let sent = 0;
    const sendMissing = (session: typeof second) => {
      for (;;) {
        const missing = Number(session.get(18, IMAGE, 4));
        if (missing >= count) break;
        session.action(18, IMAGE, 2, block(missing));
        sent++;
      }
    };
    sendMissing(second);
    assert.ok(sent < count && sent >= 70, `${sent} of ${count} again`);
    writeFileSync(join(folder, 'image.bin'), image.subarray(0, 1000));
    assert.is(
      code(() => second.action(18, IMAGE, 3)),
      'dlms.refused',
      'the slot lost bytes',
    );
    assert.is(second.get(18, IMAGE, 6), 4);

    const third = open();
    third.action(18, IMAGE, 1, initiate);
    sendMissing(third);
    third.action(18, IMAGE, 3);
    assert.is(third.get(18, IMAGE, 6), 3);
    assert.is(
      code(() => third.action(18, IMAGE, 4)),
      'dlms.refused',
    );
    assert.equal(third.codes(0).slice(-2), [EventCode.firmwareReady, EventCode.firmwareRejected]);
    third.action(18, IMAGE, 1, structure(octets(asciiBytes('other')), u32(4096)));
    assert.is(third.get(18, IMAGE, 4), 0, 'another image begins at its beginning');
    for (const size of [0, 32, (1 << 18) + 1])
      assert.is(
        code(() => third.action(18, IMAGE, 1, structure(octets(asciiBytes('x')), u32(size)))),
        'dlms.refused',
      );
    assert.is(
      code(() => third.action(18, IMAGE, 1, i8(0))),
      'dlms.type-unmatched',
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

Acting.run();
