/** Profiles, billing and event logs of the meter, captured in virtual time and read by our client. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { asciiBytes, toHex } from '#base/bytes';
import { DlmsClient } from '#dlms/client';
import { array, bool, i8, i16, octets, structure, u16, u32 } from '#dlms/cosem/setting';
import { encodeDateTime } from '#dlms/date-time';
import { type Exchange, exchangeSync } from '#dlms/exchange';
import { parseObis } from '#dlms/obis';
import { type ProfileRange, ProfileReader } from '#dlms/profile-reader';
import { AmrStatus, EventCode } from '#dlms/well-known';
import { createLog } from '#hw/log';
import { seededRandom } from '#hw/random';
import { Quality, Quantity } from '../../firmware/measurement-image.ts';
import { StateFiles } from '../../firmware/state-files.ts';
import { measure, PASSWORD, pass, type TestMeter, testMeter } from '../interop/dlms-meter.ts';

const Profiles = suite('profiles');
const LOAD = '1-0:99.1.0.255';
const DAILY = '1-0:99.2.0.255';
const MONTHLY = '0-0:98.1.0.255';
const CLOCK = { classId: 8, ln: parseObis('0-0:1.0.0.255') };
const EVERYTHING: ProfileRange = { firstEntry: 1, lastEntry: 0 };

function connect(meter: TestMeter, maxPdu = 1024) {
  const session = meter.server.session('client')!;
  const client = new DlmsClient({ clientSap: 17, password: asciiBytes(PASSWORD), maxPdu });
  const out = new Uint8Array(2048);
  const run = <T>(operation: Exchange<T>): T =>
    exchangeSync(operation, (frame) => out.subarray(0, session.receive(frame, out, 0)));
  run(client.associate());
  const reader = new ProfileReader(client);
  return { client, run, read: (obis: string, range: ProfileRange) => run(reader.read(obis, range)) };
}

/** Central European time with its rules. */
function setCentralEurope({ client, run }: ReturnType<typeof connect>): void {
  const rule = (month: number, hour: number) =>
    octets(Uint8Array.of(0xff, 0xff, month, 0xfe, 7, hour, 0, 0, 0, 0x80, 0, 0xff));
  run(client.set({ ...CLOCK, attribute: 3 }, i16(-60)));
  run(client.set({ ...CLOCK, attribute: 5 }, rule(3, 2)));
  run(client.set({ ...CLOCK, attribute: 6 }, rule(10, 3)));
  run(client.set({ ...CLOCK, attribute: 7 }, i8(60)));
  run(client.set({ ...CLOCK, attribute: 8 }, bool(true)));
}

function at(meter: TestMeter, epochMs: number): void {
  meter.clock.epochMs = epochMs;
  measure(meter);
}

const codesOf = (rows: readonly { values: readonly (number | null)[] }[]) => rows.map(({ values }) => values[0]);

Profiles('the load profile has a row per quarter, at its end, with status and energies', () => {
  const meter = testMeter();
  const started = meter.clock.epochMs;
  pass(meter, 4 * 3_600_000, 10_000);
  const { fields, rows, period } = connect(meter).read(LOAD, EVERYTHING);
  assert.is(period, 900);
  assert.equal(
    fields.map(({ obis, unit }) => [obis, unit]),
    [
      ['0-0:96.10.1.255', ''],
      ['1-0:1.8.0.255', 'Wh'],
      ['1-0:3.8.0.255', 'varh'],
    ],
  );
  assert.is(rows.length, 16);
  rows.forEach((row, i) => {
    assert.is(row.at, Math.ceil(started / 900_000) * 900_000 + i * 900_000);
    assert.equal(row.values, [i === 0 ? AmrStatus.powerDown : 0, 1_234_560, 7_890]);
  });
});

Profiles('a range takes both ends, whatever the deviation, and selected columns', () => {
  const meter = testMeter();
  pass(meter, 6 * 3_600_000, 60_000);
  const { read, run, client } = connect(meter, 128);
  const all = read(LOAD, EVERYTHING).rows;
  const some = read(LOAD, { from: all[3]!.at!, to: all[7]!.at!, columns: ['1-0:1.8.0.255'] });
  assert.equal(
    some.rows.map((row) => row.at),
    all.slice(3, 8).map((row) => row.at),
  );
  assert.equal(
    some.fields.map(({ obis }) => obis),
    ['1-0:1.8.0.255'],
  );
  assert.equal(read(LOAD, { from: all[7]!.at!, to: all[3]!.at! }).rows, []);
  assert.equal(read(LOAD, { from: 0, to: all[0]!.at! - 1 }).rows, []);
  assert.equal(read(LOAD, { from: 0, to: all.at(-1)!.at! + 1e9 }).rows, all);
  assert.equal(read(LOAD, { firstEntry: 5, lastEntry: 6 }).rows, all.slice(4, 6));
  assert.equal(read(LOAD, { firstEntry: 500, lastEntry: 600 }).rows, []);

  const buffer = { classId: 7, ln: parseObis(LOAD), attribute: 2 };
  const clock = structure(u16(8), octets(CLOCK.ln), i8(2), u16(0));
  const bound = (epochMs: number, deviation: number) => {
    const value = new Uint8Array(12);
    encodeDateTime(value, 0, epochMs, deviation, 0);
    return octets(value);
  };
  const ranged = (first = bound(all[3]!.at!, -120), last = bound(all[7]!.at!, 300), object = clock) =>
    run(client.get(buffer, { selector: 1, parameter: structure(object, first, last, array()) }));
  const value = ranged();
  assert.ok(value.type === 'array');
  assert.is(value.value.length, 5);
  const open = octets(new Uint8Array(12).fill(0xff).fill(0x80, 9, 10).fill(0, 10, 11));
  const whole = ranged(open, open);
  assert.is(whole.type === 'array' && whole.value.length, all.length);
  const refused = (act: () => unknown) =>
    assert.throws(act, (error: { code: string }) => error.code === 'dlms.type-unmatched');
  refused(() => ranged(u32(1)));
  refused(() => ranged(open, open, structure(u16(3), octets(parseObis('1-0:1.8.0.255')), i8(2), u16(0))));
  refused(() => run(client.get(buffer, { selector: 3, parameter: u32(1) })));
  refused(() => run(client.get({ ...buffer, attribute: 3 }, { selector: 1, parameter: u32(1) })));
});

Profiles('days of change to and from daylight saving have 92 and 100 quarters and end at local midnight', () => {
  for (const [date, rows, deviations] of [
    [Date.UTC(2026, 2, 28, 22, 50), 92, [-60, -120]],
    [Date.UTC(2026, 9, 24, 21, 50), 100, [-120, -60]],
  ] as const) {
    const meter = testMeter();
    const session = connect(meter);
    setCentralEurope(session);
    at(meter, date);
    meter.model.tick();
    pass(meter, 27 * 3_600_000, 60_000);
    const days = session.read(DAILY, EVERYTHING).rows;
    assert.is(days.length, 2);
    const [begin, end] = days.map((row) => row.at!) as [number, number];
    assert.is((end - begin) / 900_000, rows);
    const quarters = session.read(LOAD, { from: begin + 1000, to: end });
    assert.is(quarters.rows.length, rows);
    assert.is(new Set(quarters.rows.map((row) => row.at)).size, rows);
    const seen = [begin, end].map((epochMs) => meter.model.clock.localTime(epochMs).deviation);
    assert.equal(seen, deviations);
    for (const row of quarters.rows) {
      const isDst = meter.model.clock.localTime(row.at!).isDst;
      assert.is((row.clockStatus & 0x80) !== 0, isDst);
      assert.is((row.values[0]! & AmrStatus.daylightSaving) !== 0, isDst);
    }
    const events = codesOf(session.read('0-0:99.98.0.255', EVERYTHING).rows);
    assert.is(events.filter((code) => code === EventCode.daylightSavingChange).length >= 1, true);
  }
});

Profiles('a value that cannot be read: energies stand, others are missing, and the status says so', () => {
  const meter = testMeter();
  pass(meter, 1_800_000, 10_000);
  meter.image.set(Quantity.activeEnergy, 1, meter.clock.steadyMs, Quality.missing);
  for (let i = 0; i < 200; i++) {
    meter.clock.steadyMs += 10_000;
    meter.clock.epochMs += 10_000;
    meter.model.tick();
  }
  const { read } = connect(meter);
  const last = read(LOAD, EVERYTHING).rows.at(-1)!;
  assert.equal(last.values, [AmrStatus.dataInvalid, 1_234_560, 7_890]);
  assert.equal(read('1-0:99.1.1.255', EVERYTHING).rows.at(-1)!.values, [null, null, null, null, null, null]);
});

Profiles('setting the clock leaves two events, marks the interval and captures nothing twice', () => {
  const meter = testMeter();
  pass(meter, 3_600_000, 10_000);
  const session = connect(meter);
  const before = session.read(LOAD, EVERYTHING).rows.length;
  const old = meter.clock.epochMs;
  const time = new Uint8Array(12);
  encodeDateTime(time, 0, old - 3_000_000, -60, 0);
  session.run(session.client.set({ ...CLOCK, attribute: 2 }, octets(time)));
  assert.is(meter.clock.epochMs, old - 3_000_000);
  pass(meter, 2_700_000, 10_000);
  assert.is(session.read(LOAD, EVERYTHING).rows.length, before);
  pass(meter, 1_800_000, 10_000);
  const rows = session.read(LOAD, EVERYTHING).rows;
  assert.ok(rows.length > before);
  assert.is(rows[before]!.values[0]! & AmrStatus.clockAdjusted, AmrStatus.clockAdjusted);
  assert.is(new Set(rows.map((row) => row.at)).size, rows.length, 'each interval once');
  const events = session.read('0-0:99.98.0.255', EVERYTHING).rows;
  assert.equal(codesOf(events).slice(-2), [EventCode.clockAdjustedOld, EventCode.clockAdjustedNew]);
  assert.equal(
    events.slice(-2).map((row) => row.at),
    [old, old - 3_000_000].map((ms) => Math.floor(ms / 1000) * 1000),
  );
  for (const broken of [new Uint8Array(11), new Uint8Array(12)])
    assert.throws(() => session.run(session.client.set({ ...CLOCK, attribute: 2 }, octets(broken))));
});

Profiles('the month is billed at its first midnight, with the maximum demand, which then starts anew', () => {
  const meter = testMeter();
  at(meter, Date.UTC(2026, 10, 30, 21, 0));
  meter.model.tick();
  pass(meter, 2 * 3_600_000, 10_000);
  meter.image.set(Quantity.activePower, 5_000, meter.clock.steadyMs, Quality.good);
  pass(meter, 2 * 3_600_000, 10_000);
  const session = connect(meter);
  const [row, ...more] = session.read(MONTHLY, EVERYTHING).rows;
  assert.equal(more, []);
  assert.is(row!.at, Date.UTC(2026, 11, 1));
  assert.equal(row!.values, [1_234_560, 7_890, 987]);
  const maximum = session.run(session.client.getList([{ classId: 4, ln: parseObis('1-0:1.6.0.255'), attribute: 5 }]));
  assert.is(maximum[0]!.result, 0);
});

Profiles('a full ring keeps the newest rows, and a row is stable while it is transferred', () => {
  const meter = testMeter();
  const session = connect(meter, 256);
  const logs = '0-0:99.98.2.255';
  for (let i = 0; i < 1000; i++) meter.model.events.record(EventCode.remoteDisconnect + (i % 2), i * 1000);
  const { rows } = session.read(logs, EVERYTHING);
  assert.is(rows.length, 128);
  assert.is(rows[0]!.at, (1000 - 128) * 1000);
  assert.is(rows.at(-1)!.at, 999_000);

  const out = new Uint8Array(2048);
  const other = meter.server.session('other')!;
  const client = new DlmsClient({ clientSap: 17, password: asciiBytes(PASSWORD), maxPdu: 256 });
  const send = (frame: Uint8Array) => out.subarray(0, other.receive(frame, out, 0));
  exchangeSync(client.associate(), send);
  let blocks = 0;
  const during = exchangeSync(client.get({ classId: 7, ln: parseObis(logs), attribute: 2 }), (frame) => {
    if (++blocks <= 10) meter.model.events.record(EventCode.remoteDisconnect, 5e6);
    return send(frame);
  });
  assert.ok(blocks > 5);
  assert.is(during.type === 'array' && during.value.length, 128);
});

Profiles('the recent events of a log, with their ages, as they stand in the store', () => {
  const meter = testMeter();
  const { events } = meter.model;
  events.record(EventCode.remoteDisconnect);
  pass(meter, 3_600_000, 60_000);
  events.record(EventCode.remoteReconnect);
  events.record(EventCode.powerUp);
  // The clock is behind, as after a power failure.
  events.record(EventCode.disconnectFailure, meter.clock.epochMs + 900_000);
  pass(meter, 10_000);
  assert.equal(
    [...events.recent('disconnector', 3_600_000)],
    [
      [EventCode.remoteReconnect, 9_250],
      [EventCode.disconnectFailure, 0],
    ],
  );
  assert.is([...events.recent('disconnector', 7_200_000)].length, 3);
});

Profiles('rows and settings survive a restart; a torn end is cut off, another layout is kept aside', () => {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-state-'));
  try {
    let files: StateFiles | undefined;
    const open = () => {
      files?.close();
      const opened = new StateFiles(folder, createLog('test', { write: () => {} }));
      files = opened;
      return testMeter({
        settings: opened.settings(),
        openStore: (name, rowSize, rows, layout) => opened.profile(name, rowSize, rows, layout),
      });
    };
    const first = open();
    setCentralEurope(connect(first));
    pass(first, 2 * 3_600_000, 10_000);
    const before = connect(first).read(LOAD, EVERYTHING).rows;
    const file = join(folder, 'profile-1-0-99-1-0-255.log');
    const whole = readFileSync(file);
    for (const cut of [0, 1, 10, 22]) {
      // Behind the header the records, 32 bytes each: the last one is torn.
      const torn = Uint8Array.from(whole);
      if (cut > 0) torn.fill(0, 4096 + 32 * before.length - cut, 4096 + 32 * before.length);
      writeFileSync(file, torn);
      const again = open();
      again.clock.epochMs = first.clock.epochMs;
      const session = connect(again);
      assert.equal(session.read(LOAD, EVERYTHING).rows, cut === 0 ? before : before.slice(0, -1), `${cut} bytes lost`);
      assert.is(again.model.clock.zone.deviation, -60);
      pass(again, 900_000, 10_000);
      const kept = cut === 0 ? before.length : before.length - 1;
      const next = session.read(LOAD, EVERYTHING).rows[kept]!;
      assert.is(next.values[0]! & AmrStatus.powerDown, AmrStatus.powerDown);
      const failures = session.run(session.client.get({ classId: 1, ln: parseObis('0-0:96.7.21.255'), attribute: 2 }));
      assert.ok('value' in failures && Number(failures.value) > 0);
    }
    writeFileSync(file, Buffer.from('something else altogether'));
    assert.equal(connect(open()).read(LOAD, EVERYTHING).rows, []);
    const aside = readdirSync(folder).filter((name) => name.endsWith('.aside'));
    assert.is(aside.length, 1);
    assert.ok(aside[0]!.startsWith('profile-1-0-99-1-0-255.log.'));
    assert.is(readFileSync(join(folder, aside[0]!), 'utf8'), 'something else altogether');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** More requests than the duplicate memory of an association holds. */
const REMEMBERED = 32;

Profiles('mutated selections and settings get an answer, harm nothing and keep the meter reading', () => {
  const seed = Date.now() & 0x7fff_ffff;
  console.log(`seed ${seed}`);
  const random = seededRandom(seed);
  const meter = testMeter();
  pass(meter, 3_600_000, 60_000);
  const session = meter.server.session('client')!;
  const out = new Uint8Array(2048);
  const frames: Uint8Array[] = [];
  const { client, run, read } = connect(meter);
  const keep = <T>(operation: Exchange<T>) =>
    exchangeSync(operation, (frame) => {
      frames.push(frame.slice());
      return out.subarray(0, session.receive(frame, out, 0));
    });
  const reader = new ProfileReader(client);
  keep(reader.read(LOAD, { from: 0, to: meter.clock.epochMs, columns: ['1-0:1.8.0.255'] }));
  keep(reader.read(LOAD, EVERYTHING));
  keep(client.set({ classId: 71, ln: parseObis('0-0:17.0.0.255'), attribute: 9 }, array(u16(1), u16(2))));
  keep(client.set({ classId: 22, ln: parseObis('0-0:15.0.0.255'), attribute: 4 }, array()));
  const before = frames.length;
  let recent = frames.map((frame) => toHex(frame));
  for (let i = 0; i < 20_000; i++) {
    const frame = frames[Math.floor(random() * before)]!.slice();
    // Behind the choice and invoke id, so that most stay requests.
    for (let n = 0; n <= random() * 3; n++)
      frame[11 + Math.floor(random() * (frame.length - 11))] = Math.floor(random() * 256);
    const length = session.receive(frame, out, i);
    // A request with an effect that comes again late is dropped; any other gets an answer.
    const bytes = toHex(frame);
    const isRepeated = length === 0 && recent.includes(bytes);
    assert.ok((length > 8 && length <= 8 + 1024) || isRepeated, `seed ${seed}, mutation ${i}: ${length} bytes`);
    recent = [...recent.slice(-REMEMBERED), bytes];
    if (i % 1000 === 0) meter.model.tick();
  }
  client.reset();
  run(client.associate());
  assert.ok(read(LOAD, EVERYTHING).rows.length >= 4);
});

Profiles('a log that is emptied says so', () => {
  const meter = testMeter();
  const session = connect(meter);
  session.run(session.client.action({ classId: 7, ln: parseObis('0-0:99.98.0.255'), method: 1 }));
  assert.equal(codesOf(session.read('0-0:99.98.0.255', EVERYTHING).rows), [EventCode.logCleared]);
});

Profiles.run();
