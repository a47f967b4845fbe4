/** Routes that ask a meter itself: profiles, as JSON or CSV, event logs, self-test. Nothing of it is stored here. */

import { eventText, obisName } from '#dlms/well-known';
import { timeText } from '../fleet/bodies.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { ProfileReading } from '../meter-connection.ts';
import { listOf, METER_ID, query, RANGE_PARAMETERS, rangeOf } from './parameters.ts';
import { RequestError } from './problem.ts';
import { type Call, json, type Reply, type Route } from './router.ts';
import * as schemas from './schemas.ts';
import type { MeterLogBody, ProfileBody, SelfTestBody } from './wire.ts';

const PROFILES: Readonly<Record<string, string>> = {
  load: '1-0:99.1.0.255',
  quality: '1-0:99.1.1.255',
  day: '1-0:99.2.0.255',
  month: '0-0:98.1.0.255',
};
const LOGS: Readonly<Record<string, string>> = {
  standard: '0-0:99.98.0.255',
  fraud: '0-0:99.98.1.255',
  disconnector: '0-0:99.98.2.255',
  communication: '0-0:99.98.4.255',
  quality: '0-0:99.98.5.255',
};
const DAY_MS = 86_400_000;
const LONGEST_MS = 400 * DAY_MS;
const PROBLEMS = ['meter.unknown', 'meter.unreachable', 'meter.busy', 'path.none', 'dlms.object-undefined'] as const;

export function profileRoutes(fleet: Fleet): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/v1/meters/{id}/profile',
      summary: "Reads rows of a meter's profile from the meter; text/csv gives CSV",
      role: 'viewer',
      parameters: [
        METER_ID,
        ...RANGE_PARAMETERS('inclusive; default one day before `to`', 'inclusive; default now'),
        query('profile', 'which profile', { type: 'string', enum: Object.keys(PROFILES), default: 'load' }),
        query('obis', 'columns, separated by commas; default all'),
      ],
      answer: json(schemas.PROFILE),
      problems: PROBLEMS,
      limited: true,
      handler: (call) => profile(fleet, call),
    },
    {
      method: 'GET',
      path: '/api/v1/meters/{id}/log',
      summary: "Reads a meter's event log from the meter",
      role: 'viewer',
      parameters: [
        METER_ID,
        ...RANGE_PARAMETERS('inclusive; default one day before `to`', 'inclusive; default now'),
        query('log', 'which log', { type: 'string', enum: Object.keys(LOGS), default: 'standard' }),
      ],
      answer: json(schemas.METER_LOG),
      problems: PROBLEMS,
      limited: true,
      handler: (call) => log(fleet, call),
    },
    {
      method: 'GET',
      path: '/api/v1/meters/{id}/self-test',
      summary: 'Lets a meter look at its parts, without moving the contact',
      role: 'viewer',
      parameters: [METER_ID],
      answer: json(schemas.SELF_TEST),
      problems: PROBLEMS,
      limited: true,
      handler: (call) => selfTest(fleet, call),
    },
  ];
}

/** The member of the query that chooses one of `table`, and the range of time. */
function wanted(fleet: Fleet, { query }: Call, name: string, table: Readonly<Record<string, string>>) {
  const choice = query.get(name) ?? Object.keys(table)[0]!;
  const obis = table[choice];
  if (obis === undefined) throw new RequestError(`${name} must be one of ${Object.keys(table).join(', ')}`, `/${name}`);
  const given = rangeOf(query);
  const to = given.to ?? fleet.now();
  const from = given.from ?? to - DAY_MS;
  if (from > to) throw new RequestError('from must not be after to', '/from');
  if (to - from > LONGEST_MS) throw new RequestError('at most 400 days at a time', '/from');
  return { choice, obis, from, to };
}

async function profile(fleet: Fleet, call: Call): Promise<Reply> {
  const meter = call.params.id!;
  const { choice, obis, from, to } = wanted(fleet, call, 'profile', PROFILES);
  const columns = listOf(call.query, 'obis');
  for (const name of columns ?? [])
    if (!/^\d+-\d+:\d+\.\d+\.\d+\.\d+$/.test(name)) throw new RequestError(`${name} is no OBIS code`, '/obis');
  const reading = await fleet.profile(meter, obis, { from, to, ...(columns ? { columns: [...columns] } : {}) });
  if (/\btext\/csv\b/.test(call.request.headers.accept ?? '')) {
    const name = `${meter}-${choice}.csv`.replace(/[^\w.-]/g, '_');
    const headers = { 'content-disposition': `attachment; filename="${name}"` };
    return { status: 200, type: 'text/csv; charset=utf-8', body: csv(reading), headers };
  }
  const body: ProfileBody = {
    meter,
    profile: choice,
    from: timeText(from),
    to: timeText(to),
    periodS: reading.period,
    columns: reading.fields.map(({ obis: code, unit }) => ({ obis: code, name: obisName(code), unit })),
    rows: reading.rows.map(({ at, quality, values }) => ({ at: at === null ? null : timeText(at), quality, values })),
  };
  return { status: 200, body };
}

/** RFC 4180: a header, then a line per row; an empty field is a missing value. */
function csv({ fields, rows }: ProfileReading): string {
  const header = ['time', 'quality', ...fields.map(({ obis, unit }) => (unit === '' ? obis : `${obis} [${unit}]`))];
  const lines = rows.map(({ at, quality, values }) => [
    at === null ? '' : timeText(at),
    quality,
    ...values.map((value) => value ?? ''),
  ]);
  return [header, ...lines].map((line) => `${line.join(',')}\r\n`).join('');
}

async function log(fleet: Fleet, call: Call): Promise<Reply> {
  const meter = call.params.id!;
  const { choice, obis, from, to } = wanted(fleet, call, 'log', LOGS);
  const { rows } = await fleet.profile(meter, obis, { from, to });
  const body: MeterLogBody = {
    meter,
    log: choice,
    from: timeText(from),
    to: timeText(to),
    events: rows.flatMap(({ at, values: [code] }) =>
      typeof code === 'number' ? [{ at: at === null ? null : timeText(at), code, text: eventText(code) }] : [],
    ),
  };
  return { status: 200, body };
}

/** As the meter writes it: `FAIL display   nothing answers -> check its wiring`. */
const SELF_TEST_LINE = /^(PASS|FAIL|SKIP) (\S+) +(.*?)(?: -> (.*))?$/;

async function selfTest(fleet: Fleet, call: Call): Promise<Reply> {
  const meter = call.params.id!;
  const checks = (await fleet.selfTest(meter)).split('\n').flatMap((line): SelfTestBody['checks'] => {
    const [, result, check, text, hint] = SELF_TEST_LINE.exec(line) ?? [];
    return result ? [{ check: check!, result: result as 'PASS', text: text!, hint: hint ?? null }] : [];
  });
  const body: SelfTestBody = { meter, passed: checks.every(({ result }) => result !== 'FAIL'), checks };
  return { status: 200, body };
}
