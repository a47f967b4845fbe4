/** Schemas of the API's bodies (types in `wire.ts`), each with an example. The tests hold the server's answers against them. */

import { PATH_PREFERENCES } from '#scion/path-preference';
import { TOPICS } from '../fleet/feed.ts';
import type { Schema } from './schema.ts';

const text = (description: string, ...examples: string[]): Schema => ({ type: 'string', description, examples });
const time = (description: string): Schema => ({
  type: 'string',
  format: 'date-time',
  description,
  examples: ['2026-01-31T12:00:00.000Z'],
});
const orNull = (schema: Schema): Schema => ({ ...schema, type: [schema.type as string, 'null'] });
const number = (description: string, ...examples: number[]): Schema => ({ type: 'number', description, examples });
const object = (properties: Record<string, Schema>, optional: readonly string[] = []): Schema => ({
  type: 'object',
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
  additionalProperties: false,
});
const list = (items: Schema): Schema => ({ type: 'array', items });

export const QUALITY: Schema = { type: 'string', enum: ['good', 'suspect', 'stale', 'missing'], examples: ['good'] };
const COMMAND_STATE: Schema = {
  type: 'string',
  enum: ['queued', 'sent', 'acknowledged', 'verified', 'failed', 'expired', 'unknown'],
  examples: ['verified'],
};
const COMMAND_TYPE: Schema = {
  type: 'string',
  enum: ['connect', 'disconnect', 'message', 'sync-clock', 'firmware'],
};
/** Types that a JSON body can order; an image comes by a route of its own. */
const ORDERED_TYPE: Schema = { type: 'string', enum: ['connect', 'disconnect', 'message', 'sync-clock'] };
const OBIS_TEXT = text('canonical OBIS code', '1-0:16.7.0.255');

export const RELOADED: Schema = object({
  added: list(text('meter that is read from now on', 'flat-1')),
  removed: list(text('meter that is not read any more', 'flat-2')),
});

export const VALUE: Schema = object({
  obis: OBIS_TEXT,
  name: text('short name', 'Active power'),
  value: orNull(number('in the unit; null when missing', 412)),
  unit: text('unit', 'W'),
  measuredAt: orNull(time("the meter's clock; null when it is not set")),
  receivedAt: time('clock of the head end'),
  ageMs: number('since received', 120),
  quality: QUALITY,
});

export const PATH: Schema = object({
  fingerprint: text('names the path', '4f1c0a9be2d3'),
  hops: text('ASes and interfaces', '1-ff00:0:112 1>2 1-ff00:0:110 3>1 1-ff00:0:111'),
  isds: list(number('isolation domain', 1)),
  rttMs: orNull(number('smoothed round trip', 72.4)),
});

export const PATH_REPORT: Schema = object({
  ...PATH.properties,
  state: { type: 'string', enum: ['unknown', 'alive', 'suspect', 'down'] },
  chosen: { type: 'boolean' },
  forbidden: orNull(text('why the policy forbids it')),
  mtu: number('bytes', 1280),
  expiresAt: time('end of its validity'),
  announcedLatencyMs: orNull(number('announced by the ASes', 36)),
  announcedBandwidthKbit: orNull(number('of the narrowest link, announced by the ASes', 10_000)),
  pinned: { type: 'boolean', description: 'an operator wants this path' },
  disjoint: { type: 'boolean', description: 'shares no link with the chosen path' },
});

export const READING: Schema = object({
  meter: text('meter', 'meter-1'),
  receivedAt: time('clock of the head end'),
  delayMs: number('first request to last answer', 74.1),
  path: orNull(PATH),
  values: list(VALUE),
});

const CLOCK: Schema = object({
  isSet: { type: 'boolean', description: 'whether the meter believes its clock; if not, it obeys no command' },
  offsetMs: number('meter minus head end, known to half of the round trip', 12),
  roundTripMs: number('of the reading', 74),
  readAt: time('clock of the head end'),
});

export const EVIDENCE: Schema = object(
  {
    controlState: text('attribute 3 of the disconnect control', 'disconnected'),
    outputState: { type: 'boolean', description: 'attribute 2: true when the load is connected' },
    powerAfterW: orNull(number('active power after the switch', 0)),
    text: text('what the meter holds'),
    firmware: text('version of the firmware that runs', '0.2.0'),
    clockBefore: CLOCK,
    clock: CLOCK,
    pathFingerprint: orNull(text('path of the read-back')),
    readAt: time('of the read-back'),
  },
  ['controlState', 'outputState', 'powerAfterW', 'text', 'firmware', 'clockBefore', 'clock', 'pathFingerprint'],
);

export const COMMAND: Schema = object({
  id: text('command', 'cmd-5b1d1f0e-8a2c-4f0a-9a51-0d3f0f8e7c11'),
  meter: text('meter', 'meter-1'),
  type: COMMAND_TYPE,
  reason: orNull(text('why', 'non-payment, order 4711')),
  text: orNull(text('of a message')),
  actor: text('who', 'local'),
  state: COMMAND_STATE,
  stages: list(object({ state: COMMAND_STATE, at: time('reached') })),
  createdAt: time('taken'),
  expiresAt: time('not sent after this'),
  image: orNull(
    object({
      model: text('what it is for', 's3mp-meter'),
      version: text('of the firmware', '0.2.0'),
      bytes: number('size of the file', 270_000),
      sha256: text('of the file, hex'),
    }),
  ),
  progress: orNull(
    object({
      stored: number('blocks that the meter holds', 120),
      blocks: number('blocks of the image', 528),
      waiting: orNull(text('what the transfer waits for', 'no answer from the meter')),
    }),
  ),
  evidence: orNull(EVIDENCE),
  error: orNull(object({ code: text('error code'), title: text('what it means'), detail: text('what happened') })),
});

const LIVE: Schema = object({
  intervalMs: number('asked for', 1000),
  viewers: number('subscriptions', 1),
  achievedPerSecond: number('over ten seconds', 1),
  delayP50Ms: orNull(number('median over a minute', 72)),
  delayP95Ms: orNull(number('over a minute', 80)),
});

export const METER: Schema = object({
  id: text('meter', 'meter-1'),
  name: text('for people', 'Household 1'),
  address: text('SCION address', '1-ff00:0:111,127.1.11.10'),
  state: { type: 'string', enum: ['unknown', 'online', 'late', 'stale', 'offline'] },
  reason: orNull(text('error code of the last failed attempt', 'meter.unreachable')),
  detail: orNull(text('of that attempt')),
  lastSeenAt: orNull(time('last answer')),
  ageMs: orNull(number('of the newest reading', 420)),
  staleAfterMs: number('age at which a reading is stale', 10_000),
  lateAfterMs: number('age at which a reading is late', 2_000),
  nextTryAt: orNull(time('next scheduled attempt')),
  live: orNull(LIVE),
  control: orNull(
    object({
      controlState: text('attribute 3', 'connected'),
      outputState: { type: 'boolean' },
      readAt: time('read back'),
      ageMs: number('since read back', 900),
    }),
  ),
  clock: orNull(CLOCK),
  message: orNull(object({ text: text('what the display holds'), readAt: time('read back') })),
  messageLimit: number('longest message, bytes of UTF-8', 160),
  values: list(VALUE),
  path: orNull(PATH),
  lastCommand: orNull(COMMAND),
  disconnectNeedsToken: { type: 'boolean' },
});

export const METERS: Schema = object({ meters: list(METER), next: orNull(text('cursor of the next page')) });
export const PATHS: Schema = object({ meter: text('meter', 'meter-1'), paths: list(PATH_REPORT) });

const POLICY = {
  acl: {
    ...list({ type: 'string', maxLength: 80 }),
    maxItems: 64,
    description: "hop predicates, the first match decides; narrows the head end's own",
  },
  sequence: { type: 'string', maxLength: 1000, description: 'hops that a path must match, as the scion tools take it' },
  pin: { type: ['string', 'null'], maxLength: 64, description: 'fingerprint of the path to use while it answers' },
  preference: { type: 'string', enum: PATH_PREFERENCES, default: 'latency', description: 'order of the allowed paths' },
} satisfies Record<string, Schema>;

export const PATH_POLICY: Schema = object({
  meter: text('meter', 'meter-1'),
  own: { type: 'boolean', description: "whether the meter has one of its own; else it follows the head end's" },
  fence: { ...list(text('hop predicate', '+ 1')), description: "the head end's own list, which always holds" },
  ...POLICY,
});

export const PATH_POLICY_REQUEST: Schema = {
  ...object(POLICY, Object.keys(POLICY)),
  examples: [
    { acl: ['- 1-ff00:0:120', '+'], preference: 'latency' },
    { sequence: '1-ff00:0:112 0* 1-ff00:0:111', preference: 'disjoint' },
    { pin: null },
  ],
};

export const EVALUATE_REQUEST: Schema = {
  ...object({ meter: { type: 'string', maxLength: 200, description: 'meter' }, ...POLICY }, Object.keys(POLICY)),
  examples: [{ meter: 'meter-1', acl: ['+ 1', '-'] }],
};

export const EVALUATION: Schema = object({
  meter: text('meter', 'meter-1'),
  kept: number('paths that would be allowed', 3),
  dropped: number('paths that would be forbidden', 1),
  survivesOneCut: { type: 'boolean', description: 'whether two of the allowed paths share no link' },
  paths: list(PATH_REPORT),
});

const POINT: Schema = object({
  at: time('of the value, or start of the interval'),
  value: orNull(number('value, or mean over the interval', 400)),
  min: orNull(number('smallest', 390)),
  max: orNull(number('largest', 420)),
  count: number('values in the interval', 10),
  quality: QUALITY,
});

export const HISTORY: Schema = object({
  meter: text('meter', 'meter-1'),
  from: time('inclusive'),
  to: time('exclusive'),
  resolution: text('raw or the length of an interval', '10s'),
  series: list(object({ obis: OBIS_TEXT, points: list(POINT) })),
});

export const PROFILE: Schema = object({
  meter: text('meter', 'meter-1'),
  profile: { type: 'string', enum: ['load', 'quality', 'day', 'month'], examples: ['load'] },
  from: time('inclusive'),
  to: time('inclusive'),
  periodS: number('capture period in seconds; 0 when captured by order', 900),
  columns: list(
    object({ obis: OBIS_TEXT, name: text('short name', 'Active energy import'), unit: text('unit', 'Wh') }),
  ),
  rows: list(
    object({
      at: orNull(time('end of the interval')),
      quality: QUALITY,
      values: list({ type: ['number', 'null'], description: 'one per column', examples: [1234560] }),
    }),
  ),
});

export const METER_LOG: Schema = object({
  meter: text('meter', 'meter-1'),
  log: text('log', 'standard'),
  from: time('inclusive'),
  to: time('inclusive'),
  events: list(
    object({
      at: orNull(time("the meter's clock")),
      code: number('event code', 2),
      text: text('for people', 'power up'),
    }),
  ),
});

export const SELF_TEST: Schema = object({
  meter: text('meter', 'meter-1'),
  passed: { type: 'boolean', description: 'no check has failed' },
  checks: list(
    object({
      check: text('part of the meter', 'display'),
      result: { type: 'string', enum: ['PASS', 'FAIL', 'SKIP'], examples: ['FAIL'] },
      text: text('what was found', 'nothing answers at 0x3c'),
      hint: orNull(text('what to do', 'check its wiring')),
    }),
  ),
});

export const LEASE: Schema = object({
  lease: text('names the subscription', 'lease-7e57ed00'),
  meter: text('meter', 'meter-1'),
  intervalMs: number('ms', 1000),
  expiresAt: time('unless renewed or its stream is open'),
  viewers: number('subscriptions of this meter', 1),
});

export const EVENTS: Schema = object({
  events: list(
    object({
      seq: number('sequence number', 17),
      at: time('happened'),
      kind: text('kind', 'meter.offline'),
      severity: { type: 'string', enum: ['info', 'warning', 'error'] },
      meter: orNull(text('meter', 'meter-1')),
      message: text('for people', 'does not answer'),
    }),
  ),
});

export const COMMANDS: Schema = object({ commands: list(COMMAND) });

export const AUDIT: Schema = object({
  lines: list(
    object({
      seq: number('in the chain', 1),
      line: text('entry as JSON text, the bytes that were hashed'),
      hash: text('SHA-256 over the previous hash and the line, hex'),
    }),
  ),
});

export const HEALTH: Schema = object({ status: text('ok', 'ok'), version: text('of the head end', '0.1.0') });

export const PROBLEM: Schema = object(
  {
    type: text('urn:s3mp:problem:code', 'urn:s3mp:problem:meter.unreachable'),
    title: text('what the code means', 'The meter does not answer'),
    status: number('HTTP status', 504),
    detail: text('what happened'),
    code: text('stable code', 'meter.unreachable'),
    pointer: text('RFC 6901 pointer to the wrong member'),
  },
  ['pointer'],
);

/** Bodies of requests. */
export const NOTHING: Schema = { ...object({}), examples: [{}] };

export const LIVE_REQUEST: Schema = {
  ...object(
    {
      intervalMs: { type: 'integer', minimum: 250, maximum: 3_600_000, default: 1000, description: 'ms' },
      lease: { type: 'string', maxLength: 64, description: 'renews this subscription' },
      stream: {
        type: 'string',
        maxLength: 64,
        description: "id from the stream's hello event; keeps the subscription",
      },
    },
    ['intervalMs', 'lease', 'stream'],
  ),
  examples: [{ intervalMs: 1000 }],
};

export const COMMAND_REQUEST: Schema = {
  ...object(
    {
      type: ORDERED_TYPE,
      reason: { type: 'string', minLength: 3, maxLength: 200, description: 'mandatory for disconnect' },
      text: { type: 'string', maxLength: 1024, description: 'of a message' },
      jump: {
        type: 'boolean',
        description: 'of sync-clock: somebody has seen that the clock is off by more than a day',
      },
      expiresAt: {
        type: 'string',
        format: 'date-time',
        maxLength: 40,
        description: 'not sent after this; default 60 s',
      },
    },
    ['reason', 'text', 'expiresAt', 'jump'],
  ),
  examples: [
    { type: 'disconnect', reason: 'non-payment, order 4711' },
    { type: 'connect' },
    { type: 'sync-clock' },
    { type: 'message', text: 'Planned outage Monday 09:00-11:00' },
  ],
};

export const STREAM_TOPICS = TOPICS;
