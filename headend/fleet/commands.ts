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
import type { CommandState, CommandType, EvidenceBody, Severity } from '../http/wire.ts';
import type { ControlReading, Reading } from '../meter-connection.ts';
import type { CommandRecord, Store } from '../store/store.ts';
import { timeText } from './bodies.ts';
import { type FleetClock, pause } from './clock.ts';
import { powerOf } from './registers.ts';

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
}

/** What a command needs of its meter; each call takes its turn in the meter's lane. */
export interface CommandTarget {
  readonly id: string;
  /** Calls `onTurn` when the lane is its, and sends when that has resolved. */
  switchOutput(connect: boolean, waitMs: number, onTurn: () => Promise<void>): Promise<void>;
  readControl(): Promise<ControlReading>;
  readForCommand(): Promise<Reading>;
  writeMessage(text: string, waitMs: number, onTurn: () => Promise<void>): Promise<void>;
  readMessage(): Promise<string>;
  /** Resolves when the meter answers again, or after `ms`. */
  untilReachable(ms: number): Promise<void>;
}

export interface CommandTimes {
  /** Time for the relay and the power to follow the command. */
  readonly settleMs: number;
  readonly settleStepMs: number;
  /** How long an unknown outcome is followed up. */
  readonly resolveForMs: number;
}

export const COMMAND_TIMES: CommandTimes = { settleMs: 4_000, settleStepMs: 500, resolveForMs: 3_600_000 };

/** Below this, in W, a disconnected installation counts as without power. */
const NO_POWER_W = 10;
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
  'scion.address',
  'scion.topology',
  'scion.path-service',
  'path.none',
  'path.none-conforming',
  'meter.busy',
]);

export interface CommandHooks {
  readonly target: (meter: string) => CommandTarget;
  readonly changed: (record: CommandRecord) => void;
  readonly event: (kind: string, severity: Severity, meter: string, message: string) => void;
}

/** Outcome of reading back. */
interface Finding {
  readonly as: boolean;
  readonly evidence: EvidenceBody;
  readonly detail: string;
}

export class Commands {
  private readonly store: Store;
  private readonly clock: FleetClock;
  private readonly hooks: CommandHooks;
  private readonly times: CommandTimes;
  private readonly chains = new Map<string, { tail: Promise<void>; open: number }>();
  private stopped = false;

  constructor(store: Store, clock: FleetClock, hooks: CommandHooks, times: CommandTimes = COMMAND_TIMES) {
    this.store = store;
    this.clock = clock;
    this.hooks = hooks;
    this.times = times;
  }

  /**
   * Takes a command, or gives the one already taken under the same key.
   * @throws S3mpError `command.conflict` when the key belongs to another command, `meter.busy` when too many wait
   */
  async submit(request: CommandRequest): Promise<{ record: CommandRecord; created: boolean }> {
    const { expiresAt, ...rest } = request;
    const now = this.clock.wall();
    const open = this.chains.get(request.meter)?.open ?? 0;
    const record: CommandRecord = {
      ...rest,
      id: `cmd-${randomUUID()}`,
      createdAt: now,
      expiresAt,
      state: 'queued',
      stages: [{ state: 'queued', at: now }],
      evidence: null,
      error: null,
    };
    const taken = await this.store.createCommand(record);
    if (!taken.created) {
      if (taken.record.bodyHash === request.bodyHash) return taken;
      throw new S3mpError('command.conflict', `the idempotency key belongs to ${taken.record.id}, another command`);
    }
    if (open >= OPEN_PER_METER) {
      const error = { code: 'meter.busy', detail: `${open} commands wait for ${request.meter} already` };
      return { record: await this.step(record, 'failed', { error }), created: true };
    }
    await this.audit(record, 'submitted');
    this.hooks.changed(record);
    this.enqueue(record, () => this.execute(record));
    return { record, created: true };
  }

  /** Takes up what a stopped head end left open: unsent commands go on, all others are read back. */
  async resume(): Promise<void> {
    for (const record of await this.store.openCommands()) {
      if (record.state === 'queued') this.enqueue(record, () => this.execute(record));
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
    chain.tail = chain.tail.then(work).catch((error) => {
      this.hooks.event('command.error', 'error', record.meter, `${record.id}: ${messageOf(error)}`);
    });
    const tail = chain.tail.then(() => {
      chain.open--;
      if (chain.open === 0) this.chains.delete(record.meter);
    });
    chain.tail = tail;
    this.chains.set(record.meter, chain);
  }

  private async execute(record: CommandRecord): Promise<void> {
    if (this.stopped) return;
    const target = this.hooks.target(record.meter);
    const waitMs = record.expiresAt - this.clock.wall();
    if (waitMs <= 0) {
      const error = { code: 'command.expired', detail: `not sent by ${timeText(record.expiresAt)}` };
      await this.step(record, 'expired', { error });
      return;
    }
    try {
      await this.send(target, record, waitMs, async () => {
        record = await this.step(record, 'sent');
      });
    } catch (error) {
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

  private send(
    target: CommandTarget,
    record: CommandRecord,
    waitMs: number,
    onTurn: () => Promise<void>,
  ): Promise<void> {
    if (record.type === 'message') return target.writeMessage(record.text ?? '', waitMs, onTurn);
    return target.switchOutput(record.type === 'connect', waitMs, onTurn);
  }

  /** Reads back until the meter says how it is. */
  private async resolve(record: CommandRecord): Promise<void> {
    const target = this.hooks.target(record.meter);
    const until = this.clock.steady() + this.times.resolveForMs;
    for (let pauseMs = 1000; !this.stopped; pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * pauseMs)) {
      try {
        const finding =
          record.type === 'message'
            ? await this.readBackMessage(target, record)
            : await this.readBackSwitch(target, record.type === 'connect');
        const { evidence, detail } = finding;
        if (finding.as) await this.step(record, 'verified', { evidence, error: null });
        else await this.step(record, 'failed', { evidence, error: { code: 'dlms.unexpected-answer', detail } });
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

  private async readBackMessage(target: CommandTarget, record: CommandRecord): Promise<Finding> {
    const text = await target.readMessage();
    const evidence = { text, readAt: timeText(this.clock.wall()) };
    return { as: text === record.text, evidence, detail: 'the meter holds another text' };
  }

  private async readBackSwitch(target: CommandTarget, connect: boolean): Promise<Finding> {
    const until = this.clock.steady() + this.times.settleMs;
    const asCommanded = (control: ControlReading) =>
      connect
        ? control.outputState && control.controlState === 'connected'
        : !control.outputState && control.controlState !== 'connected';

    let control = await target.readControl();
    while (!asCommanded(control) && this.clock.steady() < until) {
      await pause(this.clock, this.times.settleStepMs);
      control = await target.readControl();
    }
    const evidence = {
      controlState: control.controlState,
      outputState: control.outputState,
      pathFingerprint: control.path?.fingerprint ?? null,
      readAt: timeText(this.clock.wall()),
    };
    if (!asCommanded(control)) {
      const output = control.outputState ? 'closed' : 'open';
      return { as: false, evidence, detail: `the meter reports ${control.controlState}, output ${output}` };
    }
    const powerAfterW = await this.powerAfter(target, connect, until);
    const flows = !connect && powerAfterW !== null && Math.abs(powerAfterW) >= NO_POWER_W;
    const detail = `the relay reports open, yet ${powerAfterW} W flow`;
    return { as: !flows, evidence: { ...evidence, powerAfterW, readAt: timeText(this.clock.wall()) }, detail };
  }

  /**
   * Active power once it has followed the switch. The energy meter behind the register refreshes about once a second, so
   * the first value after the switch may still be the one before it.
   */
  private async powerAfter(target: CommandTarget, connect: boolean, until: number): Promise<number | null> {
    for (let attempt = 0; ; attempt++) {
      const value = powerOf((await target.readForCommand()).values)?.value ?? null;
      const settled = value !== null && (connect ? attempt > 0 : Math.abs(value) < NO_POWER_W);
      if (settled || this.clock.steady() >= until) return value;
      await pause(this.clock, this.times.settleStepMs);
    }
  }

  private async step(
    record: CommandRecord,
    state: CommandState,
    change: Partial<Pick<CommandRecord, 'evidence' | 'error'>> = {},
  ): Promise<CommandRecord> {
    const same = record.state === state;
    const stages = same ? record.stages : [...record.stages, { state, at: this.clock.wall() }];
    const next: CommandRecord = { ...record, ...change, state, stages };
    await this.store.updateCommand(next);
    if (!same && state !== 'acknowledged') await this.audit(next, state);
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
        ...(evidence?.outputState === undefined ? {} : { outputState: evidence.outputState }),
        ...(evidence?.controlState === undefined ? {} : { controlState: evidence.controlState }),
        ...(evidence?.powerAfterW === undefined ? {} : { powerAfterW: evidence.powerAfterW }),
        ...(error === null ? {} : { error: error.code }),
      },
    });
  }
}
