/**
 * Commands to meters and what becomes of them.
 *
 *   queued ──▶ sent ──▶ acknowledged ──▶ verified      read back: the meter is as commanded
 *     │          │            └────────▶ failed        read back: it is not
 *     ▼          ├──▶ failed                           the meter refused, or nothing could be sent
 *   expired      └──▶ unknown ──▶ verified | failed    the answer is lost: read back, never send again
 *
 * A command is on record as `sent` before it leaves, so a head end that stops in between reads back instead of sending
 * twice. Commands of one meter run one after another; one that is unknown holds back the next until it is resolved.
 */

import { randomUUID } from 'node:crypto';
import type { ErrorCode } from '#base/error-codes';
import { messageOf, S3mpError } from '#base/errors';
import type { ClockBody, CommandState, CommandType, EvidenceBody, Severity } from '../http/wire.ts';
import type { CommandRecord, ImageInfo, Store } from '../store/store.ts';
import { timeText } from './bodies.ts';
import type { FleetClock } from './clock.ts';
import { notSet } from './clock-sync.ts';
import type { CommandTarget, CommandTimes, Preparation, ProcedureTools } from './command-procedure.ts';
import { PROCEDURES } from './procedures.ts';

export type { CommandTarget, CommandTimes };

export interface CommandRequest {
  readonly meter: string;
  readonly type: CommandType;
  readonly reason: string | null;
  readonly text: string | null;
  readonly actor: string;
  readonly idempotencyKey: string;
  readonly bodyHash: string;
  /** ms since the epoch: not sent after this. */
  readonly expiresAt: number;
  /** Of a command that sets the clock: also by more than a day. */
  readonly jump?: boolean;
  /** Of a firmware command. */
  readonly image?: ImageInfo & { readonly content: Uint8Array };
}

export const COMMAND_TIMES: CommandTimes = {
  settleMs: 4_000,
  settleStepMs: 500,
  resolveForMs: 3_600_000,
  restartMs: 20 * 60_000,
};

const OPEN_PER_METER = 8;
const LONGEST_PAUSE_MS = 30_000;

/** Rejections that prove that the command had no effect. After any other the outcome is unknown. */
const WITHOUT_EFFECT: ReadonlySet<ErrorCode> = new Set([
  'encode.out-of-range',
  'dlms.association-rejected',
  'dlms.authentication-failed',
  'dlms.access-denied',
  'dlms.object-undefined',
  'dlms.type-unmatched',
  'dlms.refused',
  'dlms.temporarily-unavailable',
  'firmware.refused',
  'clock.not-set',
  'clock.refused',
  'scion.address',
  'scion.topology',
  'scion.path-service',
  'path.none',
  'path.none-conforming',
  'meter.busy',
]);
/** How meters refuse what they do not believe or cannot judge. */
const REFUSED: ReadonlySet<ErrorCode> = new Set(['dlms.access-denied', 'dlms.temporarily-unavailable']);
/** Images that are on their way at the same time, each in memory. */
const TRANSFERS = 32;
/** Listeners hear of a transfer's progress this often. */
const TELL_MS = 1_000;

export interface CommandHooks {
  readonly target: (meter: string) => CommandTarget;
  readonly changed: (record: CommandRecord) => void;
  /** What is brought for the command has come further. */
  readonly progress: (record: CommandRecord) => void;
  readonly event: (kind: string, severity: Severity, meter: string, message: string) => void;
}

function clockDetail(when: string, clock: ClockBody | undefined): Record<string, number | boolean> {
  return clock ? { [`${when}IsSet`]: clock.isSet, [`${when}OffsetMs`]: clock.offsetMs } : {};
}

/** A meter refuses a command without saying that it is for want of the time. */
async function explain(target: CommandTarget, { type }: CommandRecord, error: unknown): Promise<unknown> {
  const isRefusal = error instanceof S3mpError && REFUSED.has(error.code);
  if (!isRefusal || type === 'message') return error;
  const clock = await target.readClock().catch(() => undefined);
  if (clock?.isSet === false && type !== 'sync-clock') return notSet(target.id, error);
  if (error.code !== 'dlms.access-denied') return error;
  const hint = 'a command needs the signature of a key that the meter believes (dlms.command_key_file)';
  return new S3mpError(error.code, `${error.message}; ${hint}`, error.context, error);
}

interface Preparing {
  /** As it was ordered. */
  readonly record: CommandRecord;
  /** Undefined once it is brought. */
  progress: Preparation | undefined;
  /** Somebody cancels it: whether that is on record. */
  cancelling: Promise<boolean> | undefined;
  isCancelled: boolean;
  /** It has been sent or has ended: what comes now is too late. */
  isClosed: boolean;
}

const infoOf = ({ model, version, bytes, sha256 }: ImageInfo): ImageInfo => ({ model, version, bytes, sha256 });

export class Commands {
  private readonly store: Store;
  private readonly clock: FleetClock;
  private readonly hooks: CommandHooks;
  private readonly times: CommandTimes;
  private readonly chains = new Map<string, { tail: Promise<void>; open: number }>();
  /**
   * Commands that something is brought for, by meter, until they have ended: the next image would take the place of one that
   * waits for its activation.
   */
  private readonly preparations = new Map<string, Preparing>();
  private readonly tools: ProcedureTools;
  private stopped = false;

  constructor(store: Store, clock: FleetClock, hooks: CommandHooks, times: CommandTimes = COMMAND_TIMES) {
    this.store = store;
    this.clock = clock;
    this.hooks = hooks;
    this.tools = { clock, times, isStopped: () => this.stopped };
    this.times = times;
  }

  /**
   * Takes a command, or gives the one already taken under the same key.
   * @throws S3mpError `command.conflict` when the key belongs to another command, `meter.busy` when too many wait
   */
  async submit(request: CommandRequest): Promise<{ record: CommandRecord; created: boolean }> {
    const { expiresAt, image, ...rest } = request;
    const now = this.clock.wall();
    const open = this.chains.get(request.meter)?.open ?? 0;
    const record: CommandRecord = {
      ...rest,
      id: `cmd-${randomUUID()}`,
      createdAt: now,
      expiresAt,
      ...(image ? { image: infoOf(image) } : {}),
      state: 'queued',
      stages: [{ state: 'queued', at: now }],
      evidence: null,
      error: null,
    };
    const wasBusy = this.whyBusy(record, open);
    // What is refused leaves no image behind.
    const taken = await this.store.createCommand(record, wasBusy === undefined ? image?.content : undefined);
    if (!taken.created) {
      if (taken.record.bodyHash === request.bodyHash) return taken;
      throw new S3mpError('command.conflict', `the idempotency key belongs to ${taken.record.id}, another command`);
    }
    const busy = wasBusy ?? this.whyBusy(record, open);
    if (busy !== undefined) {
      const error = { code: 'meter.busy', detail: busy };
      return { record: await this.step(record, 'failed', { error }), created: true };
    }
    const begin = this.reserve(record, image?.content);
    await this.audit(record, 'submitted').catch(async (error) => {
      this.release(record);
      // Otherwise the next start would take up what its client was told has failed.
      await this.fail(record, error).catch(() => {});
      throw error;
    });
    this.hooks.changed(record);
    begin();
    return { record, created: true };
  }

  /** How far what is brought for a command is; undefined for one that nothing is brought for now. */
  preparationOf({ id, meter }: Pick<CommandRecord, 'id' | 'meter'>): Preparation | undefined {
    const preparation = this.preparations.get(meter);
    return preparation?.record.id === id ? preparation.progress : undefined;
  }

  private whyBusy({ meter, type }: CommandRecord, open: number): string | undefined {
    if (open >= OPEN_PER_METER) return `${open} commands wait for ${meter} already`;
    if (!PROCEDURES[type].prepare) return undefined;
    const other = this.preparations.get(meter);
    if (other) return `${other.record.id} brings an image to ${meter} already`;
    const underWay = [...this.preparations.values()].filter(({ progress }) => progress).length;
    return underWay >= TRANSFERS ? `${TRANSFERS} images are on their way already` : undefined;
  }

  private release({ id, meter }: CommandRecord): void {
    if (this.preparations.get(meter)?.record.id === id) this.preparations.delete(meter);
  }

  /** Takes the meter's place for what must be brought, at once. @returns begins the command */
  private reserve(record: CommandRecord, image?: Uint8Array): () => void {
    if (!PROCEDURES[record.type].prepare) return () => this.enqueue(record, () => this.execute(record));
    const progress = { stored: 0, blocks: 0, waiting: null };
    const entry: Preparing = { record, progress, cancelling: undefined, isCancelled: false, isClosed: false };
    this.preparations.set(record.meter, entry);
    return () => void this.prepare(record, entry, image);
  }

  /** Brings what the command needs, beside the other commands of the meter; then it takes its place among them. */
  private async prepare(record: CommandRecord, entry: Preparing, given: Uint8Array | undefined): Promise<void> {
    const { meter, image } = record;
    let toldAt = Number.NEGATIVE_INFINITY;
    const told = (progress: Preparation) => {
      entry.progress = progress;
      if (entry.isCancelled) return;
      if (this.clock.steady() - toldAt < TELL_MS) return;
      toldAt = this.clock.steady();
      this.hooks.progress(record);
    };
    try {
      const content = given ?? (await this.store.image(image!.sha256));
      if (!content) throw new S3mpError('command.failed', 'the image is not in the store any more; send it again');
      // A meter that is enrolled anew meanwhile has another connection.
      const target = () => this.hooks.target(meter);
      const tools = { ...this.tools, isStopped: () => this.stopped || entry.isCancelled };
      await PROCEDURES[record.type].prepare!(target, record, content, tools, told);
    } catch (error) {
      // Stopped in between it is taken up at the next start.
      if ((await this.close(entry)) && !this.stopped)
        await this.fail(record, error).catch((failure) => this.failed(record, failure));
      this.release(record);
      return;
    }
    entry.progress = undefined;
    this.enqueue(record, () => this.execute(record, entry).finally(() => this.release(record)));
  }

  /**
   * Cancels what is brought to a meter or waits to be sent. What the meter has of it stays there and is never started.
   * @returns the command, ended
   * @throws S3mpError `command.unknown` when there is none, `command.too-late` once it was sent
   */
  async cancel(meter: string, actor: string, reason: string | null): Promise<CommandRecord> {
    const entry = this.preparations.get(meter);
    if (!entry || entry.cancelling) throw new S3mpError('command.unknown', `nothing is on its way to ${meter}`);
    const { record, progress } = entry;
    if (entry.isClosed) {
      const detail = `${record.id} was sent to ${meter} already: it can only be replaced by a newer image`;
      throw new S3mpError('command.too-late', detail);
    }
    const blocks = progress && progress.blocks > 0 ? `; ${progress.stored} of ${progress.blocks} blocks are there` : '';
    const detail = `cancelled by ${actor}${reason === null ? '' : ` (${reason})`}${blocks}`;
    const next = this.stepped(record, 'failed', { error: { code: 'command.cancelled', detail } });
    let failure: unknown;
    entry.cancelling = this.store.updateCommand(next).then(
      () => true,
      (error) => {
        failure = error;
        entry.cancelling = undefined;
        return false;
      },
    );
    if (!(await entry.cancelling)) throw failure;
    entry.isCancelled = true;
    this.release(record);
    this.hooks.changed(next);
    await this.audit({ ...next, actor, reason }, 'cancelled');
    return next;
  }

  /** Ends the time in which a command can be cancelled. @returns false if it was: then that is its end */
  private async close(entry: Preparing | undefined): Promise<boolean> {
    while (entry?.cancelling) if (await entry.cancelling) return false;
    if (entry) entry.isClosed = true;
    return true;
  }

  private async fail(record: CommandRecord, error: unknown): Promise<void> {
    const code = error instanceof S3mpError ? error.code : 'internal';
    await this.step(record, code === 'command.expired' ? 'expired' : 'failed', {
      error: { code, detail: messageOf(error) },
    });
  }

  private failed(record: CommandRecord, error: unknown): void {
    this.hooks.event('command.error', 'error', record.meter, `${record.id}: ${messageOf(error)}`);
  }

  /** Takes up what a stopped head end left open: unsent commands go on, all others are read back. */
  async resume(): Promise<void> {
    for (const record of await this.store.openCommands()) {
      if (record.state === 'queued') this.reserve(record)();
      else this.enqueue(record, () => this.resolve(record));
    }
  }

  stop(): void {
    this.stopped = true;
  }

  /** Whether a command of this meter is under way. */
  isActive(meter: string): boolean {
    return this.chains.has(meter);
  }

  private enqueue(record: CommandRecord, work: () => Promise<void>): void {
    const chain = this.chains.get(record.meter) ?? { tail: Promise.resolve(), open: 0 };
    chain.open++;
    chain.tail = chain.tail.then(work).catch((error) => this.failed(record, error));
    const tail = chain.tail.then(() => {
      chain.open--;
      if (chain.open === 0) this.chains.delete(record.meter);
    });
    chain.tail = tail;
    this.chains.set(record.meter, chain);
  }

  private async execute(record: CommandRecord, entry?: Preparing): Promise<void> {
    if (this.stopped || entry?.isCancelled) return;
    const target = this.hooks.target(record.meter);
    const waitMs = record.expiresAt - this.clock.wall();
    if (waitMs <= 0) {
      if (!(await this.close(entry))) return;
      const error = { code: 'command.expired', detail: `not sent by ${timeText(record.expiresAt)}` };
      await this.step(record, 'expired', { error });
      return;
    }
    try {
      const sent = async (evidence?: EvidenceBody) => {
        if (!(await this.close(entry))) throw new S3mpError('command.cancelled', `${record.id} was cancelled`);
        record = await this.step(record, 'sent', evidence ? { evidence } : {});
      };
      await PROCEDURES[record.type].send(target, record, waitMs, sent, this.tools);
    } catch (thrown) {
      if (!(await this.close(entry))) return;
      const error = await explain(target, record, thrown);
      const code = error instanceof S3mpError ? error.code : 'internal';
      const failure = { code, detail: messageOf(error) };
      if (record.state === 'queued' && code === 'meter.busy' && this.stopped) return;
      if (record.state === 'queued' && code === 'meter.busy' && this.clock.wall() >= record.expiresAt) {
        await this.step(record, 'expired', { error: { code: 'command.expired', detail: failure.detail } });
        return;
      }
      if (record.state === 'queued' || WITHOUT_EFFECT.has(code)) {
        await this.step(record, 'failed', { error: failure });
        return;
      }
      record = await this.step(record, 'unknown', { error: failure });
      await this.resolve(record);
      return;
    }
    record = await this.step(record, 'acknowledged');
    await this.resolve(record);
  }

  /** Reads back until the meter says how it is. */
  private async resolve(record: CommandRecord): Promise<void> {
    const target = this.hooks.target(record.meter);
    const until = this.clock.steady() + this.times.resolveForMs;
    for (let pauseMs = 1000; !this.stopped; pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * pauseMs)) {
      try {
        const finding = await PROCEDURES[record.type].readBack(target, record, this.tools);
        const { evidence, detail, code = 'dlms.unexpected-answer' } = finding;
        if (finding.as) await this.step(record, 'verified', { evidence, error: null });
        else await this.step(record, 'failed', { evidence, error: { code, detail } });
        return;
      } catch (error) {
        const failure = { code: error instanceof S3mpError ? error.code : 'internal', detail: messageOf(error) };
        if (this.stopped) return;
        if (this.clock.steady() >= until) {
          await this.step(record, 'unknown', { error: failure });
          return;
        }
        // An acknowledged command whose read-back fails is as uncertain as a lost answer, and shown so.
        if (record.state === 'acknowledged') record = await this.step(record, 'unknown', { error: failure });
        await target.untilReachable(pauseMs);
      }
    }
  }

  private stepped(
    record: CommandRecord,
    state: CommandState,
    change: Partial<Pick<CommandRecord, 'evidence' | 'error'>>,
  ): CommandRecord {
    const stages = record.state === state ? record.stages : [...record.stages, { state, at: this.clock.wall() }];
    return { ...record, ...change, state, stages };
  }

  private async step(
    record: CommandRecord,
    state: CommandState,
    change: Partial<Pick<CommandRecord, 'evidence' | 'error'>> = {},
  ): Promise<CommandRecord> {
    const next = this.stepped(record, state, change);
    await this.store.updateCommand(next);
    if (record.state !== state && state !== 'acknowledged') await this.audit(next, state);
    this.hooks.changed(next);
    return next;
  }

  private async audit(record: CommandRecord, what: string): Promise<void> {
    const { actor, meter, id, type, reason, evidence, error } = record;
    await this.store.appendAudit({
      at: this.clock.wall(),
      actor,
      action: `command.${what}`,
      meter,
      detail: {
        id,
        type,
        ...(reason === null ? {} : { reason }),
        ...(record.text === null ? {} : { text: record.text }),
        ...(record.image ? { version: record.image.version, sha256: record.image.sha256 } : {}),
        ...(evidence?.firmware === undefined ? {} : { firmware: evidence.firmware }),
        ...clockDetail('before', evidence?.clockBefore),
        ...clockDetail('after', evidence?.clock),
        ...(evidence?.outputState === undefined ? {} : { outputState: evidence.outputState }),
        ...(evidence?.controlState === undefined ? {} : { controlState: evidence.controlState }),
        ...(evidence?.powerAfterW === undefined ? {} : { powerAfterW: evidence.powerAfterW }),
        ...(error === null ? {} : { error: error.code }),
      },
    });
  }
}
