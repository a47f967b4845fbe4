/**
 * Builds the meter's logical device from the tables of meter-objects.ts, and drives what happens by itself: captures,
 * schedules, the limiter, pushes (`tick`, about once a second). Values come from the measurement image at the
 * moment of the request; a value that is missing or older than 10 s is refused with temporary-failure, never zero.
 */

import { MeterClock } from '#dlms/cosem/clock';
import { LogicalDevice } from '#dlms/cosem/logical-device';
import { isRefusal, Result } from '#dlms/result';
import type { ServerEvent } from '#dlms/server';
import { AmrStatus, EventCode } from '#dlms/well-known';
import { Sap } from '#dlms/wrapper';
import { EventLogs } from './events.ts';
import {
  ALARM_ACCESS,
  ALARM_DESCRIPTOR_ACCESS,
  LOG_ACCESS,
  LOG_CODE_ACCESS,
  PROFILES,
  REGISTERS,
} from './meter-objects.ts';
import type { Meter, MeterPort, Parts } from './meter-port.ts';
import {
  addControl,
  addImageTransfer,
  addLimiter,
  addMessage,
  addPushes,
  addSchedules,
  MONITORED,
} from './model-control.ts';
import { addIdentity, logicalDeviceName } from './model-identity.ts';
import {
  addDemand,
  addMeasurements,
  addProfile,
  addVoltageCounters,
  confirmedReader,
  countStart,
} from './model-measurements.ts';

export type { Meter, MeterPort } from './meter-port.ts';

/** Builds the meter's logical device. @throws DlmsError `internal` when the tables contradict each other */
export function buildMeterModel(port: MeterPort): LogicalDevice {
  return buildMeter(port).device;
}

/** Builds the meter's model. @throws DlmsError `internal` when the tables contradict each other */
export function buildMeter(port: MeterPort): Meter {
  const { identity, settings, openStore } = port;
  // Whoever commands must be able to say until when; without the time nobody can.
  const takesCommands = () => port.wallClock().isSet;
  const name = logicalDeviceName(identity.serial);
  const device = new LogicalDevice(name, Sap.managementServer, port.commands, takesCommands);
  const clock = new MeterClock({ read: port.wallClock, set: port.setTime && ((ms) => setTime(ms)) }, settings);
  const events = new EventLogs({ clock, settings, openStore, onAlarm: () => pushes?.alarm.push() });
  const forgedAt = new Map<number, number>();
  const parts: Parts = { port, device, clock, settings, openStore, events };

  addIdentity(parts);
  addMeasurements(parts);
  const control = addControl(parts);
  const limiter = addLimiter(parts);
  addMessage(parts);
  const pushes = addPushes(parts);
  const demand = addDemand(parts);
  const profiles = PROFILES.map((row) => addProfile(parts, row));
  for (const object of events.logObjects()) device.add(object, object.classId === 7 ? LOG_ACCESS : LOG_CODE_ACCESS);
  for (const object of events.registerObjects())
    device.add(object, object.ln[4] === 20 ? ALARM_DESCRIPTOR_ACCESS : ALARM_ACCESS);
  const schedules = addSchedules(parts);
  if (port.imageSlot) addImageTransfer(parts, port.imageSlot);
  const watchVoltage = addVoltageCounters(parts);
  countStart(parts);
  const mark = (bits: number) => {
    for (const profile of profiles) profile.mark(bits);
  };
  mark(AmrStatus.powerDown);

  const power = REGISTERS.find(({ obis }) => obis === MONITORED)!;
  const readPower = confirmedReader(port, port.image, power);
  const shownTime = { epochMs: port.wallClock().epochMs, steadyMs: port.steadyClock() };
  let isDst = clock.localTime(shownTime.epochMs).isDst;

  function adjusted(oldMs: number, newMs: number): void {
    events.record(EventCode.clockAdjustedOld, oldMs);
    events.record(EventCode.clockAdjustedNew, newMs);
    if (Math.abs(newMs - oldMs) > CLOCK_SHIFT_MS) mark(AmrStatus.clockAdjusted);
  }

  function setTime(epochMs: number): boolean {
    const old = port.wallClock().epochMs;
    if (port.setTime?.(epochMs) !== true) return false;
    adjusted(old, epochMs);
    shownTime.epochMs = port.wallClock().epochMs;
    shownTime.steadyMs = port.steadyClock();
    return true;
  }

  /** Records what anyone can cause by sending something: such events must not fill the log. */
  function recordSeldom(code: number): void {
    const now = port.steadyClock();
    if (now - (forgedAt.get(code) ?? Number.NEGATIVE_INFINITY) < FORGED_EVENT_MS) return;
    forgedAt.set(code, now);
    events.record(code);
  }

  /** Notices a clock that somebody else has set, and the changes of daylight saving. */
  function watchClock(epochMs: number, steadyMs: number): void {
    const expected = shownTime.epochMs + (steadyMs - shownTime.steadyMs);
    if (Math.abs(epochMs - expected) > CLOCK_JUMP_MS) adjusted(expected, epochMs);
    shownTime.epochMs = epochMs;
    shownTime.steadyMs = steadyMs;
    const isDstNow = clock.localTime(epochMs).isDst;
    if (isDstNow !== isDst) events.record(EventCode.daylightSavingChange);
    isDst = isDstNow;
  }

  return {
    device,
    clock,
    events,
    control,
    tick() {
      const steadyMs = port.steadyClock();
      const { epochMs, isSet } = port.wallClock();
      watchClock(epochMs, steadyMs);
      const watts = readPower();
      demand.sample(watts, epochMs);
      for (const profile of profiles) profile.tick(epochMs);
      limiter.tick(device, watts, steadyMs);
      watchVoltage(steadyMs);
      for (const { schedule, switches } of schedules)
        schedule.tick(device, isSet || !switches ? clock.localMs(epochMs) : undefined);
      for (const push of pushes ? [pushes.interval, pushes.alarm] : []) push.tick(device, steadyMs);
    },
    onServerEvent(event) {
      // The meter's own restart, not an attack.
      if (event.kind === 'protection-failed' && event.reason === 'behind-restart') return;
      const code = eventCodeOf(event);
      const isProven = event.kind === 'association-opened' || event.kind === 'association-closed';
      if (code !== undefined && isProven && event.clientSap !== Sap.publicClient) events.record(code);
      else if (code !== undefined) recordSeldom(code);
      const failures = 'failures' in event ? event.failures : 0;
      if (failures > 0 && failures % MANY_FAILURES === 0) recordSeldom(EventCode.associationFailures);
    },
  };
}

/** A wall clock that differs this much from the steady one since the last look was set. */
const CLOCK_JUMP_MS = 2_000;

/** A shift up to this is a correction and spoils no interval. */
const CLOCK_SHIFT_MS = 60_000;

/** Wrong passwords or codes in a row that are an event of their own. */
const MANY_FAILURES = 4;

const SERVER_EVENTS: Readonly<Record<string, number>> = {
  'association-opened': EventCode.associationOpened,
  'association-closed': EventCode.associationClosed,
  'association-rejected': EventCode.associationRejected,
  'protection-failed': EventCode.decryptionFailure,
  'command-refused': EventCode.commandRefused,
  'request-refused': EventCode.requestRefused,
};

/** The event of a server event, undefined for those that other parts record or nobody needs. */
function eventCodeOf(event: ServerEvent): number | undefined {
  if (event.kind === 'protection-failed' && event.reason === 'replayed') return EventCode.replay;
  if (event.kind !== 'get' && event.kind !== 'set' && event.kind !== 'action') return SERVER_EVENTS[event.kind];
  if (!isRefusal(event.result)) return undefined;
  const isCommand = event.kind !== 'get' && event.result === Result.scopeOfAccessViolated;
  return isCommand ? EventCode.commandRefused : EventCode.requestRefused;
}

/** Events that anyone can cause are recorded this far apart. */
const FORGED_EVENT_MS = 60_000;
