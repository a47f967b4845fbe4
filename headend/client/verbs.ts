/** Commands of the head end's bundle that talk to a running head end: read, switch, message, look at paths. */

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type ErrorCode, HTTP_STATUS } from '#base/error-codes';
import { ConfigError, messageOf, S3mpError } from '#base/errors';
import type { FlagSpec, Verb, VerbContext } from '#hw/cli';
import type {
  ClockBody,
  CommandBody,
  MeterStateBody,
  PathReportBody,
  ReadingBody,
  SelfTestBody,
  ValueBody,
} from '../http/wire.ts';
import { ApiClient } from './api-client.ts';
import { ProgressLine } from './progress.ts';

const URL_FLAG: Readonly<Record<string, FlagSpec>> = {
  url: { type: 'string', value: 'URL', help: 'address of the head end; from the configuration when left out' },
};

const COMMAND_LIMIT_MS = 60_000;
const COMMAND_POLL_MS = 150;
const ENDED = new Set(['verified', 'failed', 'expired', 'unknown']);

function verb(
  summary: string,
  positionals: readonly string[],
  run: (api: ApiClient, context: VerbContext) => Promise<number | undefined>,
  flags: Readonly<Record<string, FlagSpec>> = {},
): Verb {
  return {
    summary,
    positionals,
    flags: { ...URL_FLAG, ...flags },
    run: (context) => run(new ApiClient(context.config, context.flags.url as string | undefined), context),
  };
}

const meterPath = (id: string): string => `meters/${encodeURIComponent(id)}`;

const valueLine = ({ obis, name, value, unit, quality }: ValueBody): string =>
  `${name.padEnd(24)} ${String(value ?? '–').padStart(12)} ${unit.padEnd(5)} ${quality.padEnd(8)} ${obis}`;

function printReading({ json, out }: VerbContext, reading: ReadingBody): void {
  if (json) {
    out(JSON.stringify(reading));
    return;
  }
  for (const value of reading.values) out(valueLine(value));
  out(`read in ${reading.delayMs.toFixed(1)} ms over ${reading.path?.hops ?? 'an unknown path'}`);
}

/** Sends a command and follows it to its end. @returns exit status: 0 verified, 5 unknown, 1 otherwise */
async function command(api: ApiClient, context: VerbContext, body: Record<string, unknown>): Promise<number> {
  const path = `${meterPath(context.positionals[0]!)}/commands`;
  return follow(api, context, await order(api, path, body), COMMAND_LIMIT_MS);
}

const order = (api: ApiClient, path: string, body: unknown): Promise<CommandBody> =>
  api.call<CommandBody>('POST', path, body, { 'idempotency-key': randomUUID() });

/** Follows a command to its end, or for `limitMs`. */
async function follow(
  api: ApiClient,
  { json, out }: VerbContext,
  taken: CommandBody,
  limitMs = Number.POSITIVE_INFINITY,
): Promise<number> {
  const progress = new ProgressLine();
  let shown = '';
  const record = await untilEnded(api, taken, limitMs, (now) => {
    if (json) return;
    if (now.state !== shown) {
      progress.end();
      process.stderr.write(`${now.state}\n`);
    }
    shown = now.state;
    showProgress(progress, now);
  });
  progress.end();
  if (json) out(JSON.stringify(record));
  else if (record.evidence) out(JSON.stringify(record.evidence));
  if ((record.state === 'failed' || record.state === 'expired') && record.error) throw failureOf(record);
  return record.state === 'verified' ? 0 : record.state === 'unknown' ? 5 : 1;
}

async function untilEnded(
  api: ApiClient,
  taken: CommandBody,
  limitMs: number,
  told: (record: CommandBody) => void,
): Promise<CommandBody> {
  const end = Date.now() + limitMs;
  for (let record = taken; ; record = await api.call<CommandBody>('GET', `commands/${record.id}`)) {
    told(record);
    if (ENDED.has(record.state) || Date.now() > end) return record;
    await new Promise((resolve) => setTimeout(resolve, COMMAND_POLL_MS));
  }
}

/** Codes that say more than that a command has failed. */
const TELLING = /^(firmware|clock)\.|^command\.cancelled$/;

function failureOf({ state, error }: CommandBody): S3mpError {
  const code = error?.code ?? '';
  const isTelling = TELLING.test(code) && Object.hasOwn(HTTP_STATUS, code);
  const text = error?.detail ?? `the command is ${state}`;
  return new S3mpError(isTelling ? (code as ErrorCode) : 'command.failed', text);
}

function showProgress(line: ProgressLine, { progress, type, state }: CommandBody): void {
  if (progress) {
    if (progress.blocks > 0) line.show(progress.stored, progress.blocks, 'blocks', progress.waiting);
    else line.line(progress.waiting ?? 'asking the meter what it runs');
  } else if (type === 'firmware' && state === 'acknowledged')
    line.line('waiting for the meter to come back and prove it');
}

/** Sets the clock of one meter, or of all that need it. @returns 5 when only some could be set */
async function syncClocks(api: ApiClient, context: VerbContext): Promise<number> {
  const { positionals, flags, json, out } = context;
  const [meter] = positionals;
  if ((meter === undefined) === (flags.all !== true))
    throw new ConfigError('usage.invalid', 'give a METER, or --all for every meter whose clock is not set');
  const { jump, reason } = flags;
  const body = { type: 'sync-clock', ...(jump ? { jump } : {}), ...(reason === undefined ? {} : { reason }) };
  const meters = meter === undefined ? await unsetMeters(api) : [meter];
  let failures = 0;
  for (const id of meters) {
    try {
      const taken = await order(api, `${meterPath(id)}/commands`, body);
      const record = await untilEnded(api, taken, COMMAND_LIMIT_MS, () => {});
      if (json) out(JSON.stringify(record));
      if (record.state !== 'verified') throw failureOf(record);
      const { clockBefore, clock } = record.evidence!;
      if (!json) out(`${id}: ${clockText(clockBefore)} before, ${clockText(clock)} now`);
    } catch (error) {
      if (meter !== undefined) throw error;
      failures++;
      process.stderr.write(`${id}: ${messageOf(error)}\n`);
    }
  }
  if (meters.length === 0 && !json) out('the clock of every meter that answers is set');
  return failures === 0 ? 0 : failures < meters.length ? 5 : 1;
}

async function unsetMeters(api: ApiClient): Promise<string[]> {
  const unset: string[] = [];
  for (let cursor = ''; ; ) {
    const { meters, next } = await api.call<{ meters: MeterStateBody[]; next: string | null }>(
      'GET',
      `meters?limit=1000${cursor}`,
    );
    for (const { id, clock } of meters) if (clock?.isSet === false) unset.push(id);
    if (next === null) return unset;
    cursor = `&cursor=${encodeURIComponent(next)}`;
  }
}

const clockHint = ({ clock }: MeterStateBody): string =>
  clock?.isSet === false ? 'its clock is not set, so it obeys no command: sync-clock' : '';

function clockText(clock: ClockBody | undefined): string {
  if (!clock) return 'unknown';
  const offset = `${clock.offsetMs < 0 ? '−' : '+'}${(Math.abs(clock.offsetMs) / 1000).toFixed(3)} s`;
  return `${clock.isSet ? '' : 'not set, '}${offset} ± ${Math.ceil(clock.roundTripMs / 2)} ms`;
}

/** Sends an image and waits until the meter runs it, or cancels the one on its way. */
async function updateFirmware(api: ApiClient, context: VerbContext): Promise<number> {
  const { positionals, flags } = context;
  const [meter, file] = positionals as readonly [string, string?];
  if ((file === undefined) !== (flags.cancel === true))
    throw new ConfigError('usage.invalid', 'give a FILE, or --cancel for the order that is under way');
  if (file === undefined) return cancelFirmware(api, context, meter);
  const minutes = Number(flags.within ?? 60);
  if (!(minutes >= 1 && minutes <= 1440))
    throw new ConfigError('usage.invalid', `--within ${flags.within}: expected minutes, 1 to 1440`);
  let image: Uint8Array;
  try {
    image = readFileSync(file);
  } catch (error) {
    throw new ConfigError('config.unreadable', `cannot read ${file}: ${messageOf(error)}`, { file }, error);
  }
  const query = new URLSearchParams({ expiresAt: new Date(Date.now() + minutes * 60_000).toISOString() });
  if (flags.reason !== undefined) query.set('reason', String(flags.reason));
  const record = await order(api, `${meterPath(meter)}/firmware?${query}`, image);
  if (!context.json) {
    const { model, version, sha256 } = record.image!;
    process.stderr.write(`${model} ${version}, SHA-256 ${sha256.slice(0, 16)}…, as ${record.id}\n`);
  }
  return follow(api, context, record);
}

async function cancelFirmware(api: ApiClient, { flags, json, out }: VerbContext, meter: string): Promise<number> {
  const query = flags.reason === undefined ? '' : `?${new URLSearchParams({ reason: String(flags.reason) })}`;
  const record = await api.call<CommandBody>('DELETE', `${meterPath(meter)}/firmware${query}`);
  out(json ? JSON.stringify(record) : `${record.id}, ${record.image!.version}: ${record.error!.detail}`);
  return 0;
}

const switchVerb = (type: 'connect' | 'disconnect', summary: string) =>
  verb(
    summary,
    ['METER'],
    (api, context) => {
      const { reason } = context.flags;
      return command(api, context, { type, ...(reason === undefined ? {} : { reason }) });
    },
    { reason: { type: 'string', value: 'TEXT', help: 'why, for the audit; needed for a disconnect' } },
  );

export const CLIENT_VERBS: Readonly<Record<string, Verb>> = {
  'meter list': verb('list the meters and their state', [], async (api, { json, out }) => {
    const { meters } = await api.call<{ meters: MeterStateBody[] }>('GET', 'meters');
    for (const meter of meters) {
      if (json) out(JSON.stringify(meter));
      else
        out(
          `${meter.id.padEnd(18)} ${meter.state.padEnd(8)} ${meter.address.padEnd(40)} ${meter.detail ?? clockHint(meter)}`.trimEnd(),
        );
    }
    return 0;
  }),
  read: verb('read a meter once', ['METER'], async (api, context) => {
    printReading(context, await api.call('POST', `${meterPath(context.positionals[0]!)}/readings`, {}));
    return 0;
  }),
  'self-test': verb('let a meter look at its parts', ['METER'], async (api, { positionals, json, out }) => {
    const result = await api.call<SelfTestBody>('GET', `${meterPath(positionals[0]!)}/self-test`);
    if (json) out(JSON.stringify(result));
    else
      for (const { result: verdict, check, text, hint } of result.checks)
        out(`${verdict} ${check.padEnd(9)} ${text}${hint === null ? '' : ` -> ${hint}`}`);
    return result.passed ? 0 : 1;
  }),
  message: verb("show a message on the meter's display", ['METER', 'TEXT'], (api, context) =>
    command(api, context, { type: 'message', text: context.positionals[1] }),
  ),
  connect: switchVerb('connect', 'connect the load of a meter and read back that it is'),
  disconnect: switchVerb('disconnect', 'disconnect the load of a meter and read back that it is'),
  'sync-clock': verb(
    "set a meter's clock from the head end's, which it needs after a power failure to obey commands",
    ['METER?'],
    syncClocks,
    {
      all: { type: 'boolean', help: 'every meter whose clock is not set, in place of METER' },
      jump: { type: 'boolean', help: 'also when it is off by more than a day: you have looked at the clocks' },
      reason: { type: 'string', value: 'TEXT', help: 'why, for the audit' },
    },
  ),
  firmware: verb(
    'install a signed firmware image on a meter and wait until it runs it',
    ['METER', 'FILE?'],
    updateFirmware,
    {
      cancel: {
        type: 'boolean',
        help: 'the order that is under way, in place of FILE: not once its activation was sent',
      },
      within: { type: 'string', value: 'MINUTES', help: 'not started after this time; 60 when left out, at most 1440' },
      reason: { type: 'string', value: 'TEXT', help: 'why, for the audit' },
    },
  ),
  paths: verb('list the paths to a meter, measured and judged', ['METER'], async (api, { positionals, json, out }) => {
    const { paths } = await api.call<{ paths: PathReportBody[] }>('GET', `${meterPath(positionals[0]!)}/paths`);
    for (const path of paths) {
      if (json) {
        out(JSON.stringify(path));
        continue;
      }
      const rtt = path.rttMs === null ? '–' : `${path.rttMs.toFixed(1)} ms`;
      const state = path.state === 'alive' && path.chosen ? [] : [path.state];
      const verdict = path.forbidden ?? [...(path.chosen ? ['in use'] : []), ...state].join(', ');
      out(`${path.hops}  rtt ${rtt}  mtu ${path.mtu}  expires ${path.expiresAt}  ${verdict}`);
    }
    return 0;
  }),
};
