/**
 * The meters of one head end: registry, live subscriptions, commands, events and metrics, tied together over one store.
 * The HTTP server and the command line speak to this class only.
 */

import { messageOf, S3mpError } from '#base/errors';
import type { CommandBody, MeterBody, MeterState, PathReportBody, ReadingBody, Severity } from '../http/wire.ts';
import type { MeterConnection, PathSettings, ProfileReading, ProfileRequest } from '../meter-connection.ts';
import type { CommandRecord, Store } from '../store/store.ts';
import { commandBody, eventBody, pathReportBody } from './bodies.ts';
import { type FleetClock, SYSTEM_CLOCK } from './clock.ts';
import { COMMAND_TIMES, type CommandRequest, Commands, type CommandTimes } from './commands.ts';
import { Feed } from './feed.ts';
import { type Lease, type LeaseRequest, Leases } from './leases.ts';
import { type AgentHooks, type AgentSettings, MeterAgent } from './meter-agent.ts';
import type { MeterConfig } from './meter-record.ts';
import { label, Metrics } from './metrics.ts';

export interface FleetMeter {
  readonly config: MeterConfig;
  readonly connection: MeterConnection;
}

export interface FleetOptions extends Partial<AgentSettings> {
  readonly meters: readonly FleetMeter[];
  readonly store: Store;
  readonly clock?: FleetClock;
  /** Uniform in [0, 1), for the jitter of retries. */
  readonly random?: () => number;
  /** Readings older than this are deleted from the live tier, ms. */
  readonly keepMs?: number;
  readonly commandTimes?: CommandTimes;
}

const DEFAULTS: AgentSettings = { deadlineMs: 5_000, idleIntervalMs: 30_000, refreshMs: 15_000, messageLimit: 160 };
const KEEP_MS = 48 * 3_600_000;
const TICK_MS = 1_000;
/** A week: some seven hundred rows of a quarter of an hour. */
const PROFILE_SLICE_MS = 7 * 86_400_000;
const PRUNE_MS = 600_000;
/** Name of a meter's path settings in the store. */
const PATH_SETTINGS = 'path-policy';
/** Above this many meters the metrics carry no label per meter. */
const LABELLED_METERS = 1_000;

export class Fleet {
  readonly feed = new Feed();
  readonly metrics = new Metrics();
  readonly store: Store;
  readonly leases: Leases;
  readonly settings: AgentSettings;
  private readonly clock: FleetClock;
  private readonly agents = new Map<string, MeterAgent>();
  private readonly commands: Commands;
  private readonly hooks: AgentHooks;
  private readonly keepMs: number;
  private readonly countCommand: (labels: string) => void;
  private readonly countStoreErrors: () => void;
  private cancelTick: () => void = () => {};
  private cancelPrune: () => void = () => {};
  private stopped = false;
  private startedUp = false;

  constructor(options: FleetOptions) {
    this.store = options.store;
    this.clock = options.clock ?? SYSTEM_CLOCK;
    this.keepMs = options.keepMs ?? KEEP_MS;
    this.settings = {
      deadlineMs: options.deadlineMs ?? DEFAULTS.deadlineMs,
      idleIntervalMs: options.idleIntervalMs ?? DEFAULTS.idleIntervalMs,
      refreshMs: options.refreshMs ?? DEFAULTS.refreshMs,
      messageLimit: options.messageLimit ?? DEFAULTS.messageLimit,
    };
    this.leases = new Leases(this.clock, (meter) => {
      this.agents.get(meter)?.setLive(this.leases.intervalOf(meter), this.leases.viewersOf(meter));
    });
    const event = (kind: string, severity: Severity, meter: string, message: string) =>
      void this.event(kind, severity, meter, message);
    this.commands = new Commands(
      this.store,
      this.clock,
      {
        target: (id) => this.agent(id),
        changed: (record) => this.commandChanged(record),
        progress: (record) => this.publishCommand(record),
        event,
      },
      options.commandTimes ?? COMMAND_TIMES,
    );

    this.countCommand = this.metrics.counter('s3mp_command_total', 'Commands by type and outcome');
    this.countStoreErrors = this.metrics.counter('s3mp_store_errors_total', 'Writes to the store that failed');
    const countRead = this.metrics.counter('s3mp_reads_total', 'Readings by result');
    const observeRead = this.metrics.histogram('s3mp_read_seconds', 'Delay of successful readings');
    this.defineGauges();
    this.hooks = {
      publish: (item) => this.feed.publish(item),
      event,
      store: (meter, reading) =>
        void this.store.appendReading(meter, reading).catch((error) => this.storeFailed(error)),
      observed: (result, delayMs) => {
        countRead(label('result', result));
        if (delayMs !== null) observeRead(delayMs / 1000);
      },
      commandActive: (meter) => this.commands.isActive(meter),
      random: options.random ?? Math.random,
    };
    for (const meter of options.meters) this.enlist(meter);
  }

  private enlist({ config, connection }: FleetMeter): MeterAgent {
    if (this.agents.has(config.id)) throw new S3mpError('config.invalid', `meter ${config.id} is there twice`);
    const agent = new MeterAgent(config, connection, this.clock, this.settings, this.hooks);
    this.agents.set(config.id, agent);
    return agent;
  }

  /** Takes a further meter and starts to read it. @throws S3mpError `config.invalid` when there is one of this name */
  async add(meter: FleetMeter): Promise<void> {
    await this.startAgent(this.enlist(meter));
    await this.event('meter.added', 'info', meter.config.id, `reads ${meter.config.address} from now on`);
  }

  /** Ends the readings of a meter; what is stored of it stays. @throws S3mpError `meter.unknown` */
  async remove(id: string): Promise<void> {
    const agent = this.agent(id);
    this.agents.delete(id);
    await agent.stop();
    await this.event('meter.removed', 'info', id, 'is not read any more');
  }

  /** Deletes what is stored of a meter, also of one that is not read any more; commands and audit stay. */
  async erase(id: string, actor: string): Promise<void> {
    const values = await this.store.erase(id);
    await this.store.appendAudit({ at: this.clock.wall(), actor, action: 'erase', meter: id, detail: { values } });
  }

  private async startAgent(agent: MeterAgent): Promise<void> {
    await this.restorePathSettings(agent);
    agent.start(await this.store.lastValues(agent.id));
  }

  /** Loads what the store knows, starts the readings and takes up open commands. */
  async start(): Promise<void> {
    for (const agent of this.agents.values()) await this.startAgent(agent);
    await this.commands.resume();
    this.startedUp = true;
    this.tick();
    void this.prune();
  }

  async stop(): Promise<void> {
    if (this.stopped) return;
    this.stopped = true;
    this.cancelTick();
    this.cancelPrune();
    this.commands.stop();
    await Promise.allSettled([...this.agents.values()].map((agent) => agent.stop()));
    await this.store.flush();
  }

  /** Whether the fleet can serve. */
  get isReady(): boolean {
    return this.startedUp && !this.stopped;
  }

  get meterIds(): readonly string[] {
    return [...this.agents.keys()];
  }

  now(): number {
    return this.clock.wall();
  }

  /** @throws S3mpError `meter.unknown` */
  async meter(id: string): Promise<Omit<MeterBody, 'disconnectNeedsToken'>> {
    const agent = this.agent(id);
    const [last] = await this.store.commands(id, 1);
    return {
      ...agent.stateBody(),
      values: agent.valueBodies(),
      path: agent.pathNow(),
      lastCommand: last === undefined ? null : this.bodyOf(last),
    };
  }

  /** Reads a meter now. @throws S3mpError `meter.unknown`, `meter.busy`, `meter.unreachable`, … */
  read(id: string): Promise<ReadingBody> {
    return this.agent(id).readOnDemand();
  }

  /**
   * Reads rows of a profile from the meter, in slices of a few days, so that other requests get their turn in between.
   * @throws S3mpError `meter.unknown`, `meter.busy`, `meter.unreachable`, …
   */
  async profile(id: string, obis: string, { from, to, columns }: ProfileRequest): Promise<ProfileReading> {
    const agent = this.agent(id);
    const slices: ProfileReading[] = [];
    // Rows are captured at full seconds.
    for (let at = from; at <= to; at += PROFILE_SLICE_MS) {
      const end = Math.min(to, at + PROFILE_SLICE_MS - 1000);
      slices.push(await agent.readProfile(obis, { from: at, to: end, ...(columns ? { columns } : {}) }));
    }
    return { ...slices[0]!, rows: slices.flatMap(({ rows }) => rows) };
  }

  /** Lines of the meter's self-test. @throws S3mpError `meter.unknown`, `meter.busy`, `meter.unreachable`, … */
  selfTest(id: string): Promise<string> {
    return this.agent(id).readSelfTest();
  }

  async paths(id: string): Promise<readonly PathReportBody[]> {
    return (await this.agent(id).paths()).map(pathReportBody);
  }

  /** Settings of a meter's own, if it has any, and the list that always holds. @throws S3mpError `meter.unknown` */
  pathSettings(id: string): { readonly own: PathSettings | null; readonly fence: readonly string[] } {
    const agent = this.agent(id);
    return { own: agent.pathSettings, fence: agent.pathFence };
  }

  /**
   * Puts path settings of a meter in force and on record; null gives it back to the head end's.
   * @throws S3mpError `meter.unknown`; ConfigError `config.invalid`
   */
  async setPathSettings(id: string, settings: PathSettings | null, actor: string): Promise<void> {
    const agent = this.agent(id);
    const before = agent.pathSettings;
    agent.setPathSettings(settings);
    const text = settings === null ? undefined : JSON.stringify(settings);
    try {
      await this.store.putSetting(id, PATH_SETTINGS, text);
      const detail = { policy: text ?? null };
      await this.store.appendAudit({ at: this.clock.wall(), actor, action: 'path-policy', meter: id, detail });
    } catch (error) {
      agent.setPathSettings(before);
      throw error;
    }
    const what = settings === null ? "path policy is the head end's again" : settingsText(settings);
    await this.event('path.policy', 'info', id, `${what}, by ${actor}`);
  }

  /** What settings would make of the candidates. @throws S3mpError `meter.unknown`; ConfigError `config.invalid` */
  evaluatePaths(id: string, settings: PathSettings): readonly PathReportBody[] {
    return this.agent(id).evaluatePaths(settings).map(pathReportBody);
  }

  /** Subscribes to live readings. @throws S3mpError `meter.unknown`, `rate.limited` */
  subscribe(request: LeaseRequest): Lease {
    this.agent(request.meter);
    return this.leases.acquire(request);
  }

  /** @throws S3mpError `meter.unknown`, `command.conflict` */
  async submit(request: CommandRequest): Promise<{ command: CommandBody; created: boolean }> {
    this.agent(request.meter);
    const { record, created } = await this.commands.submit(request);
    return { command: this.bodyOf(record), created };
  }

  /** Cancels the firmware that is on its way to a meter. @throws S3mpError `meter.unknown`, `command.unknown`, `command.too-late` */
  async cancelFirmware(meter: string, actor: string, reason: string | null): Promise<CommandBody> {
    this.agent(meter);
    return this.bodyOf(await this.commands.cancel(meter, actor, reason));
  }

  /** @throws S3mpError `command.unknown` */
  async command(id: string): Promise<CommandBody> {
    const record = await this.store.command(id);
    if (record === undefined) throw new S3mpError('command.unknown', `no command ${id}`);
    return this.bodyOf(record);
  }

  /** Newest first. @throws S3mpError `meter.unknown` */
  async commandsOf(meter: string, limit: number): Promise<readonly CommandBody[]> {
    this.agent(meter);
    return (await this.store.commands(meter, limit)).map((record) => this.bodyOf(record));
  }

  /** Stores an event and tells the listeners. */
  async event(kind: string, severity: Severity, meter: string | null, message: string): Promise<void> {
    try {
      const event = await this.store.appendEvent({ at: this.clock.wall(), kind, severity, meter, message });
      this.feed.publish({ topic: 'event', meter, data: eventBody(event) });
    } catch (error) {
      this.storeFailed(error);
    }
  }

  private async restorePathSettings(agent: MeterAgent): Promise<void> {
    const text = await this.store.setting(agent.id, PATH_SETTINGS);
    if (text === undefined) return;
    try {
      agent.setPathSettings(JSON.parse(text) as PathSettings);
    } catch (error) {
      // The head end's own list still holds; the meter's narrower one must not be lost in silence.
      await this.event('path.policy', 'error', agent.id, `stored path policy is not in force: ${messageOf(error)}`);
    }
  }

  /** @throws S3mpError `meter.unknown` */
  private agent(id: string): MeterAgent {
    const agent = this.agents.get(id);
    if (agent === undefined) throw new S3mpError('meter.unknown', `no meter ${id}`);
    return agent;
  }

  private bodyOf(record: CommandRecord): CommandBody {
    return commandBody(record, this.commands.preparationOf(record));
  }

  private publishCommand(record: CommandRecord): void {
    this.feed.publish({ topic: 'command', meter: record.meter, data: this.bodyOf(record) });
  }

  private commandChanged(record: CommandRecord): void {
    const { meter, type, state, error, actor, reason } = record;
    this.publishCommand(record);
    if (state === 'sent' || state === 'acknowledged') return;
    const isWanted = state !== 'failed' || error?.code === 'command.cancelled';
    const severity: Severity = isWanted && state !== 'unknown' ? 'info' : 'error';
    const what = state === 'queued' ? `${type} ordered by ${actor}` : `${type} ${state}`;
    const why = error?.detail ?? (state === 'queued' ? reason : null);
    void this.event(`command.${state}`, severity, meter, why === null ? what : `${what}: ${why}`);
    if (state !== 'queued') this.countCommand(`{type="${type}",outcome="${state}"}`);
  }

  private tick(): void {
    this.leases.expire();
    for (const agent of this.agents.values()) agent.tick();
    this.cancelTick = this.clock.after(TICK_MS, () => this.tick());
  }

  private async prune(): Promise<void> {
    try {
      await this.store.prune(this.clock.wall() - this.keepMs);
    } catch (error) {
      this.storeFailed(error);
    }
    if (!this.stopped) this.cancelPrune = this.clock.after(PRUNE_MS, () => void this.prune());
  }

  private storeFailed(error: unknown): void {
    this.countStoreErrors();
    const data = { seq: 0, at: new Date(this.clock.wall()).toISOString(), kind: 'store.failed', meter: null };
    this.feed.publish({ topic: 'event', meter: null, data: { ...data, severity: 'error', message: messageOf(error) } });
  }

  private defineGauges(): void {
    const { metrics, agents } = this;
    metrics.gauge('s3mp_meters', 'Meters by state', () => {
      const states: Record<MeterState, number> = { unknown: 0, online: 0, late: 0, stale: 0, offline: 0 };
      for (const agent of agents.values()) states[agent.currentState]++;
      return Object.entries(states).map(([state, count]) => [label('state', state), count] as const);
    });
    metrics.gauge('s3mp_meter_age_seconds', 'Age of the newest reading', () =>
      agents.size > LABELLED_METERS
        ? []
        : [...agents.values()]
            .filter((agent) => agent.ageMs !== null)
            .map((agent) => [label('meter', agent.id), agent.ageMs! / 1000] as const),
    );
    metrics.gauge('s3mp_meters_clock_not_set', 'Meters that obey no command until their clock is set', () => {
      return [['', [...agents.values()].filter((agent) => agent.isClockSet === false).length]];
    });
    metrics.gauge('s3mp_live_viewers', 'Live subscriptions', () => {
      let viewers = 0;
      for (const id of agents.keys()) viewers += this.leases.viewersOf(id);
      return [['', viewers]];
    });
  }
}

function settingsText({ acl, sequence, pin, preference }: PathSettings): string {
  const parts = [`path policy: prefer ${preference}`];
  if (acl.length > 0) parts.push(`acl ${acl.join(', ')}`);
  if (sequence !== '') parts.push(`sequence ${sequence}`);
  if (pin !== null) parts.push(`pinned to ${pin.slice(0, 8)}`);
  return parts.join('; ');
}
