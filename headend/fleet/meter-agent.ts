/**
 * One meter: its lane, its schedule of readings, what is known of it and how old that is. The agent is the only one that
 * calls the meter's connection.
 */

import { messageOf, S3mpError } from '#base/errors';
import type {
  ClockBody,
  LiveBody,
  MeterState,
  MeterStateBody,
  PathBody,
  ReadingBody,
  Severity,
  ValueBody,
} from '../http/wire.ts';
import type {
  ClockComparison,
  ControlReading,
  FirmwareReading,
  FirmwareToSend,
  MeterConnection,
  PathReport,
  PathSettings,
  PathTaken,
  ProfileReading,
  ProfileRequest,
  Reading,
  TransferProgress,
} from '../meter-connection.ts';
import type { StoredValue } from '../store/store.ts';
import { type AgeLimits, ageLimits, meterStateAt, retryPause } from './ageing.ts';
import { pathBody, readingBody, storedValues, timeText, valueBody } from './bodies.ts';
import type { FleetClock } from './clock.ts';
import { clockBody, offsetText } from './clock-sync.ts';
import { DelayWindow } from './delay-window.ts';
import type { FeedItem } from './feed.ts';
import { Lane, type Operation, type Priority } from './lane.ts';
import type { CommandTarget } from './procedures.ts';

export interface MeterConfig {
  /** Logical device name or any name that is unique in the fleet; part of URLs. */
  readonly id: string;
  /** For people. */
  readonly name?: string;
  /** SCION address for people: `1-ff00:0:111,127.7.0.10`. */
  readonly address: string;
}

export interface AgentSettings {
  /** Deadline of an on-demand or live reading and of each step of a command, ms. */
  readonly deadlineMs: number;
  /** Interval of readings that nobody asked for, so that the state of a meter is known; 0 for none. */
  readonly idleIntervalMs: number;
  /** How often control state and message are read back without a cause. */
  readonly refreshMs: number;
  /** Bytes of UTF-8. */
  readonly messageLimit: number;
}

export interface AgentHooks {
  readonly publish: (item: FeedItem) => void;
  readonly event: (kind: string, severity: Severity, meter: string, message: string) => void;
  readonly store: (meter: string, reading: Reading) => void;
  /** Told of every attempt to read: result is `ok` or an error code. */
  readonly observed: (result: string, delayMs: number | null) => void;
  readonly commandActive: (meter: string) => boolean;
  readonly random: () => number;
}

/** Failures that say nothing about whether the meter can be reached. */
const NOT_A_MISS = new Set([
  'meter.busy',
  'dlms.access-denied',
  'dlms.object-undefined',
  'dlms.type-unmatched',
  'dlms.refused',
]);
/** For one slice of a profile. */
const PROFILE_DEADLINE_MS = 30_000;
/** The meter looks at its parts first. */
const SELF_TEST_DEADLINE_MS = 10_000;
/** A clock that is off by more is worth an event. */
const OFFSET_LIMIT_MS = 5_000;
/** The meter hashes the image and checks its signature, which takes a Pi Zero a moment. */
const IMAGE_DEADLINE_MS = 20_000;
/** A slice of an image waits for its turn as long as this. */
const IMAGE_TURN_MS = 60_000;
const RATE_WINDOW_MS = 10_000;
const DELAY_WINDOW_MS = 60_000;

export class MeterAgent implements CommandTarget {
  readonly id: string;
  private readonly config: MeterConfig;
  private readonly connection: MeterConnection;
  private readonly clock: FleetClock;
  private readonly settings: AgentSettings;
  private readonly hooks: AgentHooks;
  private readonly lane: Lane;
  private readonly delays = new DelayWindow();

  private values: readonly StoredValue[] = [];
  private path: PathTaken | null = null;
  private control: (ControlReading & { at: number; steady: number }) | null = null;
  private message: { text: string; at: number } | null = null;
  private clockNow: ClockBody | null = null;
  /** Whether the last reading had a time of measurement. */
  private wasTimed = true;
  /** Steady time of the newest reading; null until the first one since the start. */
  private readAt: number | null = null;
  private lastSeenAt: number | null = null;
  private failures = 0;
  private failure: { code: string; detail: string } | null = null;
  private state: MeterState = 'unknown';
  private lastPublished = '';

  private live: { intervalMs: number; viewers: number; since: number } | null = null;
  private cancelTimer: () => void = () => {};
  private dueAt: number | null = null;
  private reading = false;
  private refreshedAt = Number.NEGATIVE_INFINITY;
  private readonly waiters = new Set<() => void>();
  private stopped = false;

  constructor(
    config: MeterConfig,
    connection: MeterConnection,
    clock: FleetClock,
    settings: AgentSettings,
    hooks: AgentHooks,
  ) {
    this.id = config.id;
    this.config = config;
    this.connection = connection;
    this.clock = clock;
    this.settings = settings;
    this.hooks = hooks;
    this.lane = new Lane(clock, config.id);
  }

  /** @param values  last values from the store, shown as old until the meter answers */
  start(values: readonly StoredValue[]): void {
    this.values = values;
    this.lastSeenAt = values.reduce<number | null>((at, v) => Math.max(at ?? 0, v.receivedAt), null);
    if (this.intervalMs > 0) this.schedule(0);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.cancelTimer();
    this.lane.clear(new S3mpError('meter.busy', `${this.id}: the head end is stopping`));
    for (const wake of this.waiters) wake();
    await this.connection.close();
  }

  get limits(): AgeLimits {
    return ageLimits(this.intervalMs);
  }

  get currentState(): MeterState {
    return this.state;
  }

  /** Whether the meter believes its clock; undefined before it was asked. */
  get isClockSet(): boolean | undefined {
    return this.clockNow?.isSet;
  }

  /** Age of the newest reading, null before the first. */
  get ageMs(): number | null {
    return this.readAt === null ? null : this.clock.steady() - this.readAt;
  }

  /** Reads once for somebody who waits. */
  async readOnDemand(): Promise<ReadingBody> {
    const reading = await this.readNow('on-demand');
    return readingBody(this.id, reading, 0, this.limits);
  }

  /** Reads rows of a profile, behind what somebody waits for at the same time. */
  readProfile(obis: string, request: ProfileRequest): Promise<ProfileReading> {
    return this.call('live', PROFILE_DEADLINE_MS, (ms) => this.connection.readProfile(obis, request, ms));
  }

  /** Reads the result of the meter's self-test. */
  readSelfTest(): Promise<string> {
    return this.call('on-demand', SELF_TEST_DEADLINE_MS, (ms) => this.connection.readSelfTest(ms));
  }

  paths(): Promise<readonly PathReport[]> {
    return this.connection.paths();
  }

  get pathFence(): readonly string[] {
    return this.connection.pathFence;
  }

  get pathSettings(): PathSettings | null {
    return this.connection.pathSettings;
  }

  /** @throws ConfigError `config.invalid` */
  setPathSettings(settings: PathSettings | null): void {
    this.connection.setPathSettings(settings);
    this.hooks.publish({ topic: 'path', meter: this.id, data: { meter: this.id, path: this.pathNow() } });
  }

  /** @throws ConfigError `config.invalid` */
  evaluatePaths(settings: PathSettings): readonly PathReport[] {
    return this.connection.evaluatePaths(settings);
  }

  /** Starts, changes or ends the live readings. */
  setLive(intervalMs: number | null, viewers: number): void {
    const before = this.live?.intervalMs ?? null;
    if (intervalMs === null) this.live = null;
    else this.live = { intervalMs, viewers, since: this.live?.since ?? this.clock.steady() };
    if (before === null && intervalMs !== null) this.delays.clear();
    if (before !== intervalMs && !this.stopped) this.reschedule();
    this.evaluate();
  }

  /** Looks at the clock: ages the state and tells the listeners what changed. Called about once a second. */
  tick(): void {
    this.evaluate();
  }

  stateBody(): MeterStateBody {
    const now = this.clock.steady();
    const { lateAfterMs, staleAfterMs } = this.limits;
    const { control, message } = this;
    return {
      id: this.id,
      name: this.config.name ?? this.id,
      address: this.config.address,
      state: this.state,
      reason: this.failure?.code ?? null,
      detail: this.failure?.detail ?? null,
      lastSeenAt: this.lastSeenAt === null ? null : timeText(this.lastSeenAt),
      ageMs: this.readAt === null ? null : Math.round(now - this.readAt),
      staleAfterMs,
      lateAfterMs: Number.isFinite(lateAfterMs) ? lateAfterMs : staleAfterMs,
      nextTryAt: this.dueAt === null ? null : timeText(this.clock.wall() + this.dueAt - now),
      live: this.liveBody(),
      control: control && {
        controlState: control.controlState,
        outputState: control.outputState,
        readAt: timeText(control.at),
        ageMs: Math.round(now - control.steady),
      },
      clock: this.clockNow,
      message: message && { text: message.text, readAt: timeText(message.at) },
      messageLimit: this.settings.messageLimit,
    };
  }

  valueBodies(): ValueBody[] {
    const steady = this.clock.steady();
    const wall = this.clock.wall();
    // Values from before the start have no steady time: their age is the wall clock's best guess.
    return this.values.map((value) =>
      valueBody(value, this.readAt === null ? wall - value.receivedAt : steady - this.readAt, this.limits),
    );
  }

  pathNow(): PathBody | null {
    return pathBody(this.path);
  }

  // What commands need.

  switchOutput(connect: boolean, waitMs: number, onTurn: () => Promise<void>): Promise<void> {
    return this.commandCall((ms) => this.connection.switchOutput(connect, ms), waitMs, onTurn);
  }

  writeMessage(text: string, waitMs: number, onTurn: () => Promise<void>): Promise<void> {
    return this.commandCall((ms) => this.connection.writeMessage(text, ms), waitMs, onTurn);
  }

  async readControl(priority: Priority = 'command'): Promise<ControlReading> {
    const control = await this.call(priority, this.settings.deadlineMs, (ms) => this.connection.readControl(ms));
    const changed = this.control !== null && this.control.outputState !== control.outputState;
    this.control = { ...control, at: this.clock.wall(), steady: this.clock.steady() };
    if (changed && !this.hooks.commandActive(this.id)) {
      const output = control.outputState ? 'closed' : 'opened';
      this.hooks.event('output.changed', 'warning', this.id, `output ${output} without a command from here`);
    }
    this.evaluate();
    return control;
  }

  async readMessage(priority: Priority = 'command'): Promise<string> {
    const text = await this.call(priority, this.settings.deadlineMs, (ms) => this.connection.readMessage(ms));
    this.message = { text, at: this.clock.wall() };
    this.evaluate();
    return text;
  }

  readForCommand(): Promise<Reading> {
    return this.readNow('command');
  }

  async readClock(priority: Priority = 'command'): Promise<ClockComparison> {
    const clock = await this.call(priority, this.settings.deadlineMs, (ms) => this.connection.readClock(ms));
    this.clockRead(clock);
    return clock;
  }

  setClock(roundTripMs: number, waitMs: number, onTurn: () => Promise<void>): Promise<void> {
    return this.commandCall((ms) => this.connection.setClock(roundTripMs, ms), waitMs, onTurn);
  }

  readFirmware(): Promise<FirmwareReading> {
    return this.call('on-demand', this.settings.deadlineMs, (ms) => this.connection.readFirmware(ms));
  }

  sendFirmware(image: FirmwareToSend, count: number): Promise<TransferProgress> {
    const slice: Operation<TransferProgress> = (ms) => this.connection.sendFirmware(image, count, ms);
    return this.call('background', IMAGE_TURN_MS, slice, this.settings.deadlineMs);
  }

  verifyFirmware(): Promise<void> {
    return this.call('on-demand', IMAGE_DEADLINE_MS, (ms) => this.connection.verifyFirmware(ms));
  }

  activateFirmware(waitMs: number, onTurn: () => Promise<void>): Promise<void> {
    return this.commandCall((ms) => this.connection.activateFirmware(ms), waitMs, onTurn, IMAGE_DEADLINE_MS);
  }

  untilReachable(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        cancel();
        this.waiters.delete(wake);
        resolve();
      };
      const cancel = this.clock.after(ms, wake);
      this.waiters.add(wake);
    });
  }

  // Readings.

  private get intervalMs(): number {
    return this.live?.intervalMs ?? this.settings.idleIntervalMs;
  }

  private async readNow(priority: Priority): Promise<Reading> {
    try {
      const reading = await this.call(priority, this.settings.deadlineMs, (ms) => this.connection.read(ms));
      this.hooks.observed('ok', reading.delayMs);
      this.accept(reading, priority);
      return reading;
    } catch (error) {
      this.hooks.observed(error instanceof S3mpError ? error.code : 'internal', null);
      throw error;
    }
  }

  private accept(reading: Reading, priority: Priority): void {
    this.readAt = this.clock.steady();
    this.values = storedValues(reading);
    const isTimed = reading.measuredAt !== null;
    // The meter may have lost its time: look now.
    if (this.wasTimed && !isTimed) this.refreshedAt = Number.NEGATIVE_INFINITY;
    this.wasTimed = isTimed;
    if (priority === 'live') this.delays.add(this.readAt, reading.delayMs);
    this.hooks.store(this.id, reading);
    const moved = this.path?.fingerprint !== reading.path?.fingerprint;
    if (moved && this.path !== null && reading.path !== null) {
      const { fingerprint, hops } = reading.path;
      const from = this.path.fingerprint.slice(0, 8);
      this.hooks.event('path.changed', 'info', this.id, `${from} → ${fingerprint.slice(0, 8)}: ${hops}`);
    }
    this.path = reading.path;
    if (moved) {
      this.hooks.publish({ topic: 'path', meter: this.id, data: { meter: this.id, path: this.pathNow() } });
    }
    this.hooks.publish({ topic: 'reading', meter: this.id, data: readingBody(this.id, reading, 0, this.limits) });
    this.evaluate();
    this.refresh();
  }

  /** Tells of a clock that is not set, which makes the meter refuse commands, and of one that goes wrong. */
  private clockRead(clock: ClockComparison): void {
    const before = this.clockNow;
    this.clockNow = clockBody(clock, this.clock.wall());
    const away = offsetText(clock.offsetMs);
    const cure = `headend.js sync-clock ${this.id}`;
    if (!clock.isSet && before?.isSet !== false) {
      const text = `its clock is not set (${away}), as after a power failure: it measures on and obeys no command`;
      this.hooks.event('clock.not-set', 'warning', this.id, `${text}; set it: ${cure}`);
    } else if (clock.isSet && before?.isSet === false) {
      this.hooks.event('clock.set', 'info', this.id, `its clock is set, ${away}`);
    } else if (clock.isSet && isFarOff(clock) && !(before && isFarOff(before))) {
      this.hooks.event('clock.offset', 'warning', this.id, `its clock is ${away}; set it: ${cure}`);
    }
    this.evaluate();
  }

  /** Reads control state, message and clock now and then, behind everything else. */
  private refresh(): void {
    const now = this.clock.steady();
    if (this.stopped || now - this.refreshedAt < this.settings.refreshMs) return;
    this.refreshedAt = now;
    void this.readControl('background')
      .then(() => this.readMessage('background'))
      .then(() => this.readClock('background'))
      // The failure is on record already (`call`); nobody waits for this one.
      .catch(() => {});
  }

  // Schedule: one timer, at most one scheduled reading under way.

  private schedule(inMs: number): void {
    this.cancelTimer();
    if (this.stopped) return;
    this.dueAt = this.clock.steady() + inMs;
    this.cancelTimer = this.clock.after(inMs, () => void this.scheduledRead());
  }

  private reschedule(): void {
    this.cancelTimer();
    this.dueAt = null;
    if (this.intervalMs === 0 || this.reading) return;
    const sinceRead = this.readAt === null ? Number.POSITIVE_INFINITY : this.clock.steady() - this.readAt;
    this.schedule(Math.max(0, this.intervalMs - sinceRead));
  }

  private async scheduledRead(): Promise<void> {
    const due = this.dueAt ?? this.clock.steady();
    this.dueAt = null;
    this.reading = true;
    try {
      await this.readNow(this.live === null ? 'background' : 'live');
    } catch {
      // On record in `call`; the schedule decides on the next attempt below.
    }
    this.reading = false;
    const interval = this.intervalMs;
    if (this.stopped || interval === 0) return;
    const now = this.clock.steady();
    if (this.failures > 0) this.schedule(retryPause(this.failures, interval, this.hooks.random()));
    // At a fixed rate from the first due time, so that the delay of a reading does not add to the interval.
    else this.schedule(Math.max(0, due + interval - now));
    this.evaluate();
  }

  // Calls, and what their outcome says about the meter.

  private commandCall(
    operation: Operation<void>,
    waitMs: number,
    onTurn: () => Promise<void>,
    deadlineMs = this.settings.deadlineMs,
  ): Promise<void> {
    const inTurn: Operation<void> = async (ms) => {
      await onTurn();
      await operation(ms);
    };
    return this.call('command', Math.max(1, waitMs), inTurn, deadlineMs);
  }

  private async call<T>(priority: Priority, deadlineMs: number, operation: Operation<T>, runMs?: number): Promise<T> {
    try {
      const result = await this.lane.run(priority, deadlineMs, operation, runMs);
      this.reached();
      return result;
    } catch (error) {
      this.missed(error);
      throw error;
    }
  }

  private reached(): void {
    const recovered = this.failures > 0;
    this.failures = 0;
    this.failure = null;
    this.lastSeenAt = this.clock.wall();
    if (!recovered) return;
    for (const wake of [...this.waiters]) wake();
    // A meter that is back is read at its normal pace at once, not when the back-off ends.
    if (this.dueAt !== null && !this.reading) this.reschedule();
  }

  private missed(error: unknown): void {
    const code = error instanceof S3mpError ? error.code : 'internal';
    if (this.stopped || code === 'meter.busy') return;
    if (!NOT_A_MISS.has(code)) this.failures++;
    const known = this.failure?.code === code;
    this.failure = { code, detail: messageOf(error) };
    if (!known && code === 'path.none-conforming') {
      this.hooks.event('path.none-conforming', 'error', this.id, messageOf(error));
    }
    this.evaluate();
  }

  private evaluate(): void {
    if (this.stopped) return;
    const before = this.state;
    this.state = meterStateAt(this.ageMs, this.failures, this.limits);
    if (before !== this.state) this.tellTransition(before);
    const body = this.stateBody();
    // Ages and the next try change by themselves; the page ages its values with its own clock.
    const { ageMs: _age, lastSeenAt: _seen, control, clock, ...told } = body;
    const signature = JSON.stringify({
      ...told,
      output: control?.outputState,
      control: control?.controlState,
      isClockSet: clock?.isSet,
      offsetS: clock && Math.round(clock.offsetMs / 1000),
    });
    if (signature === this.lastPublished) return;
    this.lastPublished = signature;
    this.hooks.publish({ topic: 'state', meter: this.id, data: body });
  }

  private tellTransition(before: MeterState): void {
    if (this.state === 'offline') {
      const why = this.failure === null ? '' : `: ${this.failure.code}, ${this.failure.detail}`;
      this.hooks.event('meter.offline', 'warning', this.id, `does not answer${why}`);
    } else if (this.state === 'online' && (before === 'offline' || before === 'unknown')) {
      this.hooks.event('meter.online', 'info', this.id, before === 'offline' ? 'answers again' : 'answers');
    }
  }

  private liveBody(): LiveBody | null {
    if (this.live === null) return null;
    const { intervalMs, viewers, since } = this.live;
    const now = this.clock.steady();
    return {
      intervalMs,
      viewers,
      achievedPerSecond: round2(this.delays.rate(now, RATE_WINDOW_MS, since)),
      delayP50Ms: roundOrNull(this.delays.percentile(now, DELAY_WINDOW_MS, 0.5)),
      delayP95Ms: roundOrNull(this.delays.percentile(now, DELAY_WINDOW_MS, 0.95)),
    };
  }
}

function isFarOff({ offsetMs, roundTripMs }: Pick<ClockComparison, 'offsetMs' | 'roundTripMs'>): boolean {
  return Math.abs(offsetMs) - roundTripMs / 2 > OFFSET_LIMIT_MS;
}

function round2(value: number): number {
  return Math.round(value * 100) / 100;
}

function roundOrNull(value: number | null): number | null {
  return value === null ? null : round2(value);
}
