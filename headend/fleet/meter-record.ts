/** What is known of one meter, how old that is, and telling the listeners when it changes. Times come from the clock. */

import type { ClockBody, MeterState, MeterStateBody, PathBody, Severity, ValueBody } from '../http/wire.ts';
import type { ClockComparison, ControlReading, PathTaken, Reading } from '../meter-connection.ts';
import type { StoredValue } from '../store/store.ts';
import { type AgeLimits, ageLimits, meterStateAt } from './ageing.ts';
import { pathBody, readingBody, storedValues, timeText, valueBody } from './bodies.ts';
import type { FleetClock } from './clock.ts';
import { clockBody } from './clock-sync.ts';
import type { FeedItem } from './feed.ts';
import type { LiveReadings } from './live-readings.ts';
import type { ContactFailure, MeterContact } from './meter-contact.ts';
import { offsetText } from './offset-text.ts';
import type { ReadingSchedule } from './reading-schedule.ts';

export interface MeterConfig {
  /** Logical device name or any name that is unique in the fleet; part of URLs. */
  readonly id: string;
  /** For people. */
  readonly name?: string;
  /** SCION address for people: `1-ff00:0:111,127.7.0.10`. */
  readonly address: string;
}

export interface RecordSettings {
  /** Interval of readings that nobody asked for, so that the state of a meter is known; 0 for none. */
  readonly idleIntervalMs: number;
  /** Bytes of UTF-8. */
  readonly messageLimit: number;
}

export interface RecordHooks {
  readonly publish: (item: FeedItem) => void;
  readonly event: (kind: string, severity: Severity, meter: string, message: string) => void;
  readonly commandActive: (meter: string) => boolean;
}

/** Parts of the agent whose state is part of the meter's. */
export interface RecordSources {
  readonly contact: MeterContact;
  readonly schedule: ReadingSchedule;
  readonly live: LiveReadings;
}

/** A clock that is off by more is worth an event. */
const OFFSET_LIMIT_MS = 5_000;

export class MeterRecord {
  private readonly config: MeterConfig;
  private readonly clock: FleetClock;
  private readonly settings: RecordSettings;
  private readonly hooks: RecordHooks;
  private readonly contact: MeterContact;
  private readonly schedule: ReadingSchedule;
  private readonly live: LiveReadings;

  private values: readonly StoredValue[] = [];
  private path: PathTaken | null = null;
  private control: (ControlReading & { at: number; steady: number }) | null = null;
  private message: { text: string; at: number } | null = null;
  private clockNow: ClockBody | null = null;
  /** Whether the last reading had a time of measurement. */
  private wasTimed = true;
  /** Steady time of the newest reading; null until the first one since the start. */
  private readAt: number | null = null;
  private state: MeterState = 'unknown';
  private lastPublished = '';
  private stopped = false;

  constructor(
    config: MeterConfig,
    clock: FleetClock,
    settings: RecordSettings,
    hooks: RecordHooks,
    { contact, schedule, live }: RecordSources,
  ) {
    this.config = config;
    this.clock = clock;
    this.settings = settings;
    this.hooks = hooks;
    this.contact = contact;
    this.schedule = schedule;
    this.live = live;
  }

  /** @param values  last values from the store, shown as old until the meter answers */
  start(values: readonly StoredValue[]): void {
    this.values = values;
    this.contact.lastSeenAt = values.reduce<number | null>((at, v) => Math.max(at ?? 0, v.receivedAt), null);
  }

  /** Tells nobody anything any more. */
  stop(): void {
    this.stopped = true;
  }

  private get id(): string {
    return this.config.id;
  }

  /** Between readings that are scheduled, 0 when none are. */
  get intervalMs(): number {
    return this.live.intervalMs ?? this.settings.idleIntervalMs;
  }

  /** Steady time of the newest reading; null until the first one since the start. */
  get lastReadAt(): number | null {
    return this.readAt;
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

  // What was learnt of the meter.

  /**
   * Takes note of a reading and tells of it.
   * @returns whether the meter seems to have lost its time
   */
  takeReading(reading: Reading): boolean {
    this.readAt = this.clock.steady();
    this.values = storedValues(reading);
    const isTimed = reading.measuredAt !== null;
    const lostTime = this.wasTimed && !isTimed;
    this.wasTimed = isTimed;
    const moved = this.path?.fingerprint !== reading.path?.fingerprint;
    if (moved && this.path !== null && reading.path !== null) {
      const { fingerprint, hops } = reading.path;
      const from = this.path.fingerprint.slice(0, 8);
      this.hooks.event('path.changed', 'info', this.id, `${from} → ${fingerprint.slice(0, 8)}: ${hops}`);
    }
    this.path = reading.path;
    if (moved) this.publishPath();
    this.hooks.publish({ topic: 'reading', meter: this.id, data: readingBody(this.id, reading, 0, this.limits) });
    this.evaluate();
    return lostTime;
  }

  /** Takes note of control and output state, and tells of an output that moved by itself. */
  takeControl(control: ControlReading): void {
    const changed = this.control !== null && this.control.outputState !== control.outputState;
    this.control = { ...control, at: this.clock.wall(), steady: this.clock.steady() };
    if (changed && !this.hooks.commandActive(this.id)) {
      const output = control.outputState ? 'closed' : 'opened';
      this.hooks.event('output.changed', 'warning', this.id, `output ${output} without a command from here`);
    }
    this.evaluate();
  }

  takeMessage(text: string): void {
    this.message = { text, at: this.clock.wall() };
    this.evaluate();
  }

  /** Tells of a clock that is not set, which makes the meter refuse commands, and of one that goes wrong. */
  takeClock(clock: ClockComparison): void {
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

  /** Takes note of a call that failed. */
  takeFailure({ code, detail }: ContactFailure, before: ContactFailure | null): void {
    if (code === 'path.none-conforming' && before?.code !== code) this.hooks.event(code, 'error', this.id, detail);
    this.evaluate();
  }

  /** Tells that the path or the choice of it has changed. */
  publishPath(): void {
    this.hooks.publish({ topic: 'path', meter: this.id, data: { meter: this.id, path: this.pathNow() } });
  }

  // What is said of it.

  stateBody(): MeterStateBody {
    const now = this.clock.steady();
    const { lateAfterMs, staleAfterMs } = this.limits;
    const { control, message } = this;
    const { failure, lastSeenAt } = this.contact;
    const { dueAt } = this.schedule;
    return {
      id: this.id,
      name: this.config.name ?? this.id,
      address: this.config.address,
      state: this.state,
      reason: failure?.code ?? null,
      detail: failure?.detail ?? null,
      lastSeenAt: lastSeenAt === null ? null : timeText(lastSeenAt),
      ageMs: this.readAt === null ? null : Math.round(now - this.readAt),
      staleAfterMs,
      lateAfterMs: Number.isFinite(lateAfterMs) ? lateAfterMs : staleAfterMs,
      nextTryAt: dueAt === null ? null : timeText(this.clock.wall() + dueAt - now),
      live: this.live.body(now),
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

  /** Looks at the clock: ages the state and tells the listeners what changed. */
  evaluate(): void {
    if (this.stopped) return;
    const before = this.state;
    this.state = meterStateAt(this.ageMs, this.contact.failures, this.limits);
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
      const { failure } = this.contact;
      const why = failure === null ? '' : `: ${failure.code}, ${failure.detail}`;
      this.hooks.event('meter.offline', 'warning', this.id, `does not answer${why}`);
    } else if (this.state === 'online' && (before === 'offline' || before === 'unknown')) {
      this.hooks.event('meter.online', 'info', this.id, before === 'offline' ? 'answers again' : 'answers');
    }
  }
}

function isFarOff({ offsetMs, roundTripMs }: Pick<ClockComparison, 'offsetMs' | 'roundTripMs'>): boolean {
  return Math.abs(offsetMs) - roundTripMs / 2 > OFFSET_LIMIT_MS;
}
