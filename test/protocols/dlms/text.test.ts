/** OBIS texts, units and date-times: what people and clocks see of DLMS values. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { decodeUtf8, encodeUtf8 } from '#base/utf8';
import { ClockStatus, decodeDateTime, encodeDateTime } from '#dlms/date-time';
import { formatObis, obisKey, parseObis } from '#dlms/obis';
import { scale, unitSymbol } from '#dlms/units';
import { seededRandom } from '#hw/random';
import { vector, vectors } from './vectors.ts';

const Text = suite('dlms text forms');

Text('OBIS codes are read in every usual form and written in one', () => {
  for (const text of ['1-0:1.8.0.255', '1-0:1.8.0', '1-0:1.8.0*255', '1.0.1.8.0.255'])
    assert.is(formatObis(parseObis(text)), '1-0:1.8.0.255', text);
  assert.is(toHex(parseObis('0-0:96.13.0.255')), '0000600d00ff');
  assert.is(obisKey(parseObis('255-255:255.255.255.255')), 2 ** 48 - 1);
  for (const bad of ['', '1.8.0', '1-0:1.8.0.256', '1-0:1.8.0.', '1-0:1.8.0.255 ', '-1-0:1.8.0.255', 'a-0:1.8.0.255'])
    assert.throws(
      () => parseObis(bad),
      (e: { code?: string }) => e.code === 'request.invalid',
      bad,
    );
});

Text('units have symbols and scaling loses no digit', () => {
  assert.is(unitSymbol(35), 'V');
  assert.is(unitSymbol(30), 'Wh');
  assert.is(unitSymbol(255), '');
  assert.is(unitSymbol(200), 'unit 200');
  assert.is(scale(23_012, -2), 230.12);
  assert.is(scale(4321, -3), 4.321);
  assert.is(scale(12, 3), 12_000);
  for (let raw = 0; raw < 100_000; raw++) assert.is(scale(raw, -2), Number(`${raw}e-2`));
});

Text('date-times of the vectors are read as the instant they name', () => {
  let seen = 0;
  for (const { name, inputs, expected } of vectors('datetime')) {
    if (!name.startsWith('date-time')) continue;
    seen++;
    const time = decodeDateTime(fromHex(expected))!;
    const iso = String(inputs.iso);
    assert.is(time.epochMs, Date.parse(/[+-]\d\d:\d\d$/.test(iso) ? iso : `${iso}Z`), name);
    assert.is(time.deviationMinutes === null, name === 'date-time no deviation');
    assert.is((time.status & ClockStatus.daylightSaving) !== 0, inputs.dst === true, name);
    if (time.epochMs === null || time.deviationMinutes === null) continue;
    // Written again with every field, so that only a weekday that was left out differs.
    const out = new Uint8Array(12);
    encodeDateTime(out, 0, time.epochMs, time.deviationMinutes, time.status);
    if (expected.slice(8, 10) === 'ff') out[4] = 0xff;
    assert.is(toHex(out), expected, name);
  }
  assert.is(seen, 4);
});

Text('a summer time capture is written to the byte', () => {
  const { expected, inputs } = vector('date-time summer time, deviation -120, status 0x80');
  const out = new Uint8Array(14);
  const end = encodeDateTime(out, 1, Date.parse(String(inputs.iso)), -120, ClockStatus.daylightSaving);
  assert.is(end, 13);
  assert.is(toHex(out, 1, end), expected);
});

Text('instants of eight thousand years survive writing and reading, with the right weekday', () => {
  const seed = 20_261_123;
  const random = seededRandom(seed);
  const out = new Uint8Array(12);
  for (let i = 0; i < 20_000; i++) {
    const epochMs = Math.floor((random() * 8000 * 365.25 - 365.25 * 1900) * 8_640_000) * 10;
    const deviation = Math.floor(random() * 1441) - 720;
    encodeDateTime(out, 0, epochMs, deviation, 0);
    const local = new Date(epochMs - deviation * 60_000);
    assert.is(decodeDateTime(out)?.epochMs, epochMs, `seed ${seed}, ${epochMs} ${deviation}`);
    assert.is(out[4]! % 7, local.getUTCDay(), `seed ${seed}, weekday of ${local.toISOString()}`);
    assert.is(out[3], local.getUTCDate());
  }
});

Text('fields out of their range make no date-time, unspecified ones make no instant', () => {
  const good = '07ea0b17010c1e0f00000000';
  assert.is(decodeDateTime(fromHex(good))?.epochMs, Date.UTC(2026, 10, 23, 12, 30, 15));
  const broken = [
    ['month 0', '07ea0017010c1e0f00000000'],
    ['month 13', '07ea0d17010c1e0f00000000'],
    ['day 0', '07ea0b00010c1e0f00000000'],
    ['31 November', '07ea0b1f010c1e0f00000000'],
    ['29 February 2026', '07ea021d010c1e0f00000000'],
    ['hour 24', '07ea0b1701181e0f00000000'],
    ['minute 60', '07ea0b17010c3c0f00000000'],
    ['second 60', '07ea0b17010c1e3c00000000'],
    ['deviation 8001', '07ea0b17010c1e0f00800100'],
    ['too short', '07ea0b17010c1e0f000000'],
  ] as const;
  for (const [what, hex] of broken) assert.is(decodeDateTime(fromHex(hex)), undefined, what);
  assert.is(decodeDateTime(fromHex('07e8021d010c1e0f00000000'))?.epochMs, Date.UTC(2024, 1, 29, 12, 30, 15));
  for (const hex of [
    'ffff0b17010c1e0f00000000',
    '07eaff17010c1e0f00000000',
    '07eafe17010c1e0f00000000',
    '07ea0bfe010c1e0f00000000',
  ])
    assert.is(decodeDateTime(fromHex(hex))?.epochMs, null, hex);
});

Text('UTF-8 agrees with the platform on good text and refuses every broken form', () => {
  const texts = ['', 'abc', 'Zähler €', '𝄞 clef', '\u0000\u007f\u0080\u07ff\u0800\uffff\u{10ffff}'];
  for (const text of texts) {
    assert.equal(encodeUtf8(text), new Uint8Array(Buffer.from(text)));
    assert.is(decodeUtf8(encodeUtf8(text)), text);
  }
  assert.is(decodeUtf8(encodeUtf8('\ud800')), '\ufffd');
  const random = seededRandom(8);
  const fatal = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  for (let i = 0; i < 50_000; i++) {
    const bytes = Uint8Array.from(
      { length: 1 + Math.floor(random() * 5) },
      () => Math.floor(random() * 256) | (i & 128),
    );
    let expected: string | undefined;
    try {
      expected = fatal.decode(bytes);
    } catch {
      expected = undefined;
    }
    assert.is(decodeUtf8(bytes), expected, `seed 8: ${toHex(bytes)}`);
  }
});

Text.run();
