/** Local time against the system's own time zone data, and the rules of schedules. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { epochOfLocal, localTimeAt, scheduleFits, type Zone } from '#dlms/cosem/local-time';
import { seededRandom } from '#hw/random';

const rule = (month: number, day: number, hour: number) =>
  Uint8Array.of(0xff, 0xff, month, day, 7, hour, 0, 0, 0, 0x80, 0, 0xff);
const ZONES: Readonly<Record<string, Zone>> = {
  'Europe/Zurich': {
    deviation: -60,
    dstShift: 60,
    dstEnabled: true,
    dstBegin: rule(3, 0xfe, 2),
    dstEnd: rule(10, 0xfe, 3),
  },
  // First Sundays of October and April.
  'Australia/Sydney': {
    deviation: -600,
    dstShift: 60,
    dstEnabled: true,
    dstBegin: rule(10, 1, 2),
    dstEnd: rule(4, 1, 3),
  },
  // Second Sunday of March, first of November.
  'America/New_York': {
    deviation: 300,
    dstShift: 60,
    dstEnabled: true,
    dstBegin: rule(3, 8, 2),
    dstEnd: rule(11, 1, 2),
  },
  'Asia/Kolkata': { deviation: -330, dstShift: 60, dstEnabled: false, dstBegin: rule(3, 8, 2), dstEnd: rule(11, 1, 2) },
};

const Local = suite('local time');

Local('agrees with the time zone database at every hour of change and at random instants', () => {
  const seed = 20261123;
  const random = seededRandom(seed);
  for (const [name, zone] of Object.entries(ZONES)) {
    const format = new Intl.DateTimeFormat('en-US', { timeZone: name, timeZoneName: 'longOffset' });
    const deviation = (ms: number) => {
      const text = format.formatToParts(ms).find(({ type }) => type === 'timeZoneName')!.value;
      const [, sign, hours, minutes] = /GMT(?:([+-])(\d\d):(\d\d))?/.exec(text)!;
      return sign === undefined ? 0 : (sign === '+' ? -1 : 1) * (Number(hours) * 60 + Number(minutes));
    };
    const instants = Array.from({ length: 2000 }, () => Date.UTC(2020, 0, 1) + Math.floor(random() * 20 * 365) * 864e5);
    for (let hour = 0; hour < 365 * 24; hour++) instants.push(Date.UTC(2026, 0, 1, hour));
    for (const ms of instants)
      assert.is(localTimeAt(zone, ms).deviation, deviation(ms), `${name} ${new Date(ms).toISOString()}, seed ${seed}`);
  }
});

Local('a local time gives the instant it came from; of the hour that comes twice, the first', () => {
  for (const zone of Object.values(ZONES)) {
    for (let ms = Date.UTC(2026, 0, 1); ms < Date.UTC(2027, 0, 1); ms += 1_800_000) {
      const { deviation } = localTimeAt(zone, ms);
      const back = epochOfLocal(zone, ms - deviation * 60_000);
      if (back !== ms) assert.is(back, ms - 3_600_000, `the second ${new Date(ms).toISOString()}`);
    }
  }
});

Local('a schedule fits the seconds that its fields name', () => {
  const fits = (time: number[], date: number[], text: string) =>
    scheduleFits(Uint8Array.from(time), Uint8Array.from(date), Date.parse(`${text}Z`));
  const any = [0xff, 0xff, 0xff, 0xff, 0xff];
  const midnight = [0, 0, 0, 0];
  assert.ok(fits(midnight, [0xff, 0xff, 0xff, 1, 0xff], '2026-12-01T00:00:00'));
  assert.not(fits(midnight, [0xff, 0xff, 0xff, 1, 0xff], '2026-12-01T00:00:01'));
  assert.not(fits(midnight, [0xff, 0xff, 0xff, 1, 0xff], '2026-12-02T00:00:00'));
  assert.ok(fits([12, 0xff, 0, 0xff], any, '2026-02-03T12:34:00'));
  assert.ok(fits(midnight, [0xff, 0xff, 2, 0xfe, 0xff], '2028-02-29T00:00:00'), 'last day of February');
  assert.ok(fits(midnight, [0xff, 0xff, 0xff, 0xfe, 5], '2026-11-27T00:00:00'), 'last Friday');
  assert.not(fits(midnight, [0xff, 0xff, 0xff, 0xfe, 5], '2026-11-20T00:00:00'));
  assert.ok(fits(midnight, [0xff, 0xff, 0xff, 0xfd, 0xff], '2026-11-29T00:00:00'), 'last but one day');
  assert.ok(fits(midnight, [0xff, 0xff, 0xff, 0xff, 1], '2026-11-23T00:00:00'), 'every Monday');
  assert.ok(fits(midnight, [0x07, 0xea, 11, 23, 1], '2026-11-23T00:00:00'));
  assert.not(fits(midnight, [0x07, 0xeb, 11, 23, 0xff], '2026-11-23T00:00:00'), 'another year');
});

Local.run();
