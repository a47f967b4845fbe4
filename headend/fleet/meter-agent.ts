/**
 * One meter: the only caller of its connection. Each call takes its turn (meter-contact.ts), readings that nobody waits
 * for come by a schedule (reading-schedule.ts), and what is learnt goes on record (meter-record.ts).
 */

import { S3mpError } from '#base/errors';
import type { MeterState, MeterStateBody, PathBody, ReadingBody, ValueBody } from '../http/wire.ts';
import type {
  ClockComparison,
  ControlReading,
  FirmwareReading,
  FirmwareToSend,
  MeterConnection,
  PathReport,
  PathSettings,
  ProfileReading,
  ProfileRequest,
  Reading,
  TransferProgress,
} from '../meter-connection.ts';
import type { StoredValue } from '../store/store.ts';
import { readingBody } from './bodies.ts';
import type { FleetClock } from './clock.ts';
import type { CommandTarget } from './command-procedure.ts';
import type { Operation, Priority } from './lane.ts';
import { LiveReadings } from './live-readings.ts';
import { MeterContact } from './meter-contact.ts';
import { type MeterConfig, MeterRecord, type RecordHooks, type RecordSettings } from './meter-record.ts';
import { ReadingSchedule } from './reading-schedule.ts';

export interface AgentSettings extends RecordSettings {
  /** Deadline of an on-demand or live reading and of each step of a command, ms. */
  readonly deadlineMs: number;
  /** How often control state and message are read back without a cause. */
  readonly refreshMs: number;
}

export interface AgentHooks extends RecordHooks {
  readonly store: (meter: string, reading: Reading) => void;
  /** Told of every attempt to read: result is `ok` or an error code. */
  readonly observed: (result: string, delayMs: number | null) => void;
  readonly random: () => number;
}

/** For one slice of a profile. */
const PROFILE_DEADLINE_MS = 30_000;
/** The meter looks at its parts first. */
const SELF_TEST_DEADLINE_MS = 10_000;
/** The meter hashes the image and checks its signature, which takes a Pi Zero a moment. */
const IMAGE_DEADLINE_MS = 20_000;
/** A slice of an image waits for its turn as long as this. */
const IMAGE_TURN_MS = 60_000;

export class MeterAgent implements CommandTarget {
  readonly id: string;
  private readonly connection: MeterConnection;
  private readonly clock: FleetClock;
  private readonly settings: AgentSettings;
  private readonly hooks: AgentHooks;
  private readonly contact: MeterContact;
  private readonly schedule: ReadingSchedule;
  private readonly live = new LiveReadings();
  private readonly record: MeterRecord;
  private refreshedAt = Number.NEGATIVE_INFINITY;
  private stopped = false;

  constructor(
    config: MeterConfig,
    connection: MeterConnection,
    clock: FleetClock,
    settings: AgentSettings,
    hooks: AgentHooks,
  ) {
    this.id = config.id;
    this.connection = connection;
    this.clock = clock;
    this.settings = settings;
    this.hooks = hooks;
    this.contact = new MeterContact(config.id, clock, {
      recovered: () => this.schedule.resume(),
      failed: (failure, before) => this.record.takeFailure(failure, before),
    });
    this.schedule = new ReadingSchedule(clock, {
      intervalMs: () => this.record.intervalMs,
      readAt: () => this.record.lastReadAt,
      failures: () => this.contact.failures,
      read: () => this.readNow(this.live.intervalMs === null ? 'background' : 'live'),
      scheduled: () => this.record.evaluate(),
      random: hooks.random,
    });
    const { contact, schedule, live } = this;
    this.record = new MeterRecord(config, clock, settings, hooks, { contact, schedule, live });
  }

  /** @param values  last values from the store, shown as old until the meter answers */
  start(values: readonly StoredValue[]): void {
    this.record.start(values);
    this.schedule.start();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.record.stop();
    this.schedule.stop();
    this.contact.stop();
    await this.connection.close();
  }

  get currentState(): MeterState {
    return this.record.currentState;
  }

  /** Whether the meter believes its clock; undefined before it was asked. */
  get isClockSet(): boolean | undefined {
    return this.record.isClockSet;
  }

  /** Age of the newest reading, null before the first. */
  get ageMs(): number | null {
    return this.record.ageMs;
  }

  /** Reads once for somebody who waits. */
  async readOnDemand(): Promise<ReadingBody> {
    const reading = await this.readNow('on-demand');
    return readingBody(this.id, reading, 0, this.record.limits);
  }

  /** Reads rows of a profile, behind what somebody waits for at the same time. */
  readProfile(obis: string, request: ProfileRequest): Promise<ProfileReading> {
    return this.contact.call('live', PROFILE_DEADLINE_MS, (ms) => this.connection.readProfile(obis, request, ms));
  }

  /** Reads the result of the meter's self-test. */
  readSelfTest(): Promise<string> {
    return this.contact.call('on-demand', SELF_TEST_DEADLINE_MS, (ms) => this.connection.readSelfTest(ms));
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
    this.record.publishPath();
  }

  /** @throws ConfigError `config.invalid` */
  evaluatePaths(settings: PathSettings): readonly PathReport[] {
    return this.connection.evaluatePaths(settings);
  }

  /** Starts, changes or ends the live readings. */
  setLive(intervalMs: number | null, viewers: number): void {
    const before = this.live.intervalMs;
    this.live.set(intervalMs, viewers, this.clock.steady());
    if (before !== intervalMs) this.schedule.reschedule();
    this.record.evaluate();
  }

  /** Looks at the clock: ages the state and tells the listeners what changed. Called about once a second. */
  tick(): void {
    this.record.evaluate();
  }

  stateBody(): MeterStateBody {
    return this.record.stateBody();
  }

  valueBodies(): ValueBody[] {
    return this.record.valueBodies();
  }

  pathNow(): PathBody | null {
    return this.record.pathNow();
  }

  // What commands need.

  switchOutput(connect: boolean, waitMs: number, onTurn: () => Promise<void>): Promise<void> {
    return this.contact.command(
      (ms) => this.connection.switchOutput(connect, ms),
      waitMs,
      onTurn,
      this.settings.deadlineMs,
    );
  }

  writeMessage(text: string, waitMs: number, onTurn: () => Promise<void>): Promise<void> {
    return this.contact.command(
      (ms) => this.connection.writeMessage(text, ms),
      waitMs,
      onTurn,
      this.settings.deadlineMs,
    );
  }

  async readControl(priority: Priority = 'command'): Promise<ControlReading> {
    const control = await this.contact.call(priority, this.settings.deadlineMs, (ms) =>
      this.connection.readControl(ms),
    );
    this.record.takeControl(control);
    return control;
  }

  async readMessage(priority: Priority = 'command'): Promise<string> {
    const text = await this.contact.call(priority, this.settings.deadlineMs, (ms) => this.connection.readMessage(ms));
    this.record.takeMessage(text);
    return text;
  }

  readForCommand(): Promise<Reading> {
    return this.readNow('command');
  }

  async readClock(priority: Priority = 'command'): Promise<ClockComparison> {
    const clock = await this.contact.call(priority, this.settings.deadlineMs, (ms) => this.connection.readClock(ms));
    this.record.takeClock(clock);
    return clock;
  }

  setClock(roundTripMs: number, waitMs: number, onTurn: () => Promise<void>): Promise<void> {
    return this.contact.command(
      (ms) => this.connection.setClock(roundTripMs, ms),
      waitMs,
      onTurn,
      this.settings.deadlineMs,
    );
  }

  readFirmware(): Promise<FirmwareReading> {
    return this.contact.call('on-demand', this.settings.deadlineMs, (ms) => this.connection.readFirmware(ms));
  }

  sendFirmware(image: FirmwareToSend, count: number): Promise<TransferProgress> {
    const slice: Operation<TransferProgress> = (ms) => this.connection.sendFirmware(image, count, ms);
    return this.contact.call('background', IMAGE_TURN_MS, slice, this.settings.deadlineMs);
  }

  verifyFirmware(): Promise<void> {
    return this.contact.call('on-demand', IMAGE_DEADLINE_MS, (ms) => this.connection.verifyFirmware(ms));
  }

  activateFirmware(waitMs: number, onTurn: () => Promise<void>): Promise<void> {
    return this.contact.command((ms) => this.connection.activateFirmware(ms), waitMs, onTurn, IMAGE_DEADLINE_MS);
  }

  untilReachable(ms: number): Promise<void> {
    return this.contact.untilReachable(ms);
  }

  // Readings.

  private async readNow(priority: Priority): Promise<Reading> {
    try {
      const reading = await this.contact.call(priority, this.settings.deadlineMs, (ms) => this.connection.read(ms));
      this.hooks.observed('ok', reading.delayMs);
      this.accept(reading, priority);
      return reading;
    } catch (error) {
      this.hooks.observed(error instanceof S3mpError ? error.code : 'internal', null);
      throw error;
    }
  }

  private accept(reading: Reading, priority: Priority): void {
    if (priority === 'live') this.live.add(this.clock.steady(), reading.delayMs);
    this.hooks.store(this.id, reading);
    // A meter that may have lost its time is looked at now.
    if (this.record.takeReading(reading)) this.refreshedAt = Number.NEGATIVE_INFINITY;
    this.refresh();
  }

  /** Reads control state, message and clock now and then, behind everything else. */
  private refresh(): void {
    const now = this.clock.steady();
    if (this.stopped || now - this.refreshedAt < this.settings.refreshMs) return;
    this.refreshedAt = now;
    void this.readControl('background')
      .then(() => this.readMessage('background'))
      .then(() => this.readClock('background'))
      // The failure is on record already (meter-contact.ts); nobody waits for this one.
      .catch(() => {});
  }
}
