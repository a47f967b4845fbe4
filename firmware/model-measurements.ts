/**
 * The part of the meter's model that measures: registers of the measurement image, demand, profiles, counters.
 *
 * When a value was measured: object 0-0:128.0.0.255 gives the meter's time of the oldest live value that is given now,
 * with the clock's status bits. Which values are suspect: bit mask 0-0:128.0.1.255, summed up in the AMR status.
 */

import { Tag } from '#dlms/axdr';
import { DataObject, type ValueWriter } from '#dlms/cosem/data';
import { Demand } from '#dlms/cosem/demand-register';
import { type ProfileColumn, ProfileGeneric, profileLayout, profileRowSize, SPARE_ROWS } from '#dlms/cosem/profile';
import { RAW_TYPES, RegisterObject } from '#dlms/cosem/register';
import { Setting, u16 } from '#dlms/cosem/setting';
import { TableObject } from '#dlms/cosem/table-object';
import { parseObis } from '#dlms/obis';
import { Result } from '#dlms/result';
import { Unit } from '#dlms/units';
import { AmrStatus, EventCode } from '#dlms/well-known';
import { Doubt } from '#modbus/plausibility';
import { type MeasurementImage, Quality, Quantity } from './measurement-image.ts';
import {
  BILLING_ACCESS,
  EXTRA_REGISTERS,
  LIVE_QUANTITIES,
  OBJECTS,
  type Part,
  PROFILE_ACCESS,
  type ProfileRow,
  REGISTER_ACCESS,
  REGISTERS,
  type RegisterRow,
  VOLTAGE_BAND,
} from './meter-objects.ts';
import type { MeterPort, Parts } from './meter-port.ts';

function partOf(value: number, part: Part): number {
  if (part === 'positive') return Math.max(value, 0);
  if (part === 'negative') return Math.max(-value, 0);
  return value;
}

/** Current raw value of a register, NaN when it may not be given. */
function registerReader({ image, steadyClock }: MeterPort, quantity: Quantity, part: Part): () => number {
  return () => (image.isFresh(quantity, steadyClock()) ? partOf(image.value(quantity), part) : Number.NaN);
}

/** The same where a doubt counts as no value: for what switches or bills, and where nothing tells of the doubt. */
export function confirmedReader({ steadyClock }: MeterPort, image: MeasurementImage, { quantity, part }: RegisterRow) {
  return () => {
    const quality = image.quality(quantity, steadyClock());
    // An energy that is held is wrong by less than the register resolves.
    const isHeld = quality === Quality.suspect && image.doubtsOf(quantity) === Doubt.held;
    return quality === Quality.good || isHeld ? partOf(image.value(quantity), part) : Number.NaN;
  };
}

/** Adds the registers, also those of further energy meters, and what says how far they can be believed. */
export function addMeasurements({ port, device, clock }: Parts): void {
  const { image, steadyClock, extras = [], further = [] } = port;
  const rows = [...REGISTERS, ...EXTRA_REGISTERS.filter(({ quantity }) => extras.includes(quantity))];
  for (const { obis, type, scaler, unit, quantity, part } of rows)
    device.add(new RegisterObject(obis, type, scaler, unit, registerReader(port, quantity, part)), REGISTER_ACCESS);
  for (const [i, other] of further.entries()) {
    for (const row of REGISTERS) {
      const { obis, type, scaler, unit } = row;
      const channel = obis.replace('1-0:', `1-${i + 1}:`);
      device.add(new RegisterObject(channel, type, scaler, unit, confirmedReader(port, other, row)), REGISTER_ACCESS);
    }
  }
  const published = [...new Set(rows.map(({ quantity }) => quantity))];

  const readStatus: ValueWriter = (w) => {
    const now = steadyClock();
    const { epochMs, isSet } = clock.now();
    let status = (isSet ? 0 : AmrStatus.clockInvalid) | (clock.localTime(epochMs).isDst ? AmrStatus.daylightSaving : 0);
    if (port.isStorageFailing?.()) status |= AmrStatus.criticalError;
    for (const quantity of published)
      if (image.quality(quantity, now) !== Quality.good) status |= AmrStatus.dataInvalid;
    w.u8(Tag.unsigned).u8(status);
    return Result.success;
  };
  const readSuspects: ValueWriter = (w) => {
    const now = steadyClock();
    let mask = 0;
    for (const quantity of published) if (image.quality(quantity, now) === Quality.suspect) mask |= 1 << quantity;
    w.u8(Tag.doubleLongUnsigned).u32(mask);
    return Result.success;
  };
  const readTime: ValueWriter = (w) => {
    const age = oldestAge(image, steadyClock());
    if (age < 0) return Result.temporaryFailure;
    clock.write(w, clock.now().epochMs - age);
    return Result.success;
  };
  device.add(new DataObject(OBJECTS.status.obis, readStatus), OBJECTS.status.access);
  device.add(new DataObject(OBJECTS.dayStatus.obis, readStatus), OBJECTS.dayStatus.access);
  device.add(new DataObject(OBJECTS.suspectQuantities.obis, readSuspects), OBJECTS.suspectQuantities.access);
  device.add(new DataObject(OBJECTS.measurementTime.obis, readTime), OBJECTS.measurementTime.access);
}

/** Age in ms of the oldest live value that would be given now, -1 when none would. */
function oldestAge(image: MeasurementImage, now: number): number {
  let oldest = -1;
  for (const quantity of LIVE_QUANTITIES) {
    if (image.isFresh(quantity as Quantity, now)) oldest = Math.max(oldest, now - image.updatedAt(quantity), 0);
  }
  return oldest;
}

/** Adds the demand and its maximum. */
export function addDemand({ device, clock }: Parts): Demand {
  const { demand, maximumDemand } = OBJECTS;
  const objects = new Demand({
    obis: demand.obis,
    maximumObis: maximumDemand.obis,
    clock,
    type: 'u32',
    scaler: 0,
    unit: Unit.watt,
    period: 900,
  });
  device.add(objects.register, demand.access).add(objects.maximum, maximumDemand.access);
  return objects;
}

/** A profile of the table; its columns are read from the objects that they name. */
export function addProfile(
  { device, clock, openStore }: Parts,
  { obis, period, entries, columns }: ProfileRow,
): ProfileGeneric {
  const captured = columns.map(([classId, name, id]): ProfileColumn => {
    const ln = parseObis(name);
    const register = REGISTERS.find((row) => row.obis === name);
    const isStatus = name === OBJECTS.status.obis || name === OBJECTS.dayStatus.obis;
    return {
      classId,
      obis: name,
      attribute: id,
      size: isStatus ? 2 : 1 + RAW_TYPES[register?.type ?? 'u32'].size,
      read: (w) => device.ownValue(ln, id, w, 'capture'),
      holds: register?.unit === Unit.wattHour || register?.unit === Unit.voltAmpereReactiveHour,
      isStatus,
    };
  });
  const name = `profile-${obis.replace(/\D/g, '-')}`;
  const profile = new ProfileGeneric({
    obis,
    clock,
    columns: captured,
    period,
    entries,
    store: openStore(name, profileRowSize(captured), entries + SPARE_ROWS, profileLayout(captured)),
    missingBit: AmrStatus.dataInvalid,
  });
  device.add(profile, period === 0 ? BILLING_ACCESS : PROFILE_ACCESS);
  return profile;
}

/** A counter (class 1, u16) that survives a restart. */
function addCounter({ device, settings }: Parts, row: (typeof OBJECTS)[keyof typeof OBJECTS]): () => void {
  const counter = new Setting(settings, `${row.obis}/2`, { example: u16(0) });
  device.add(new TableObject(1, 0, row.obis, [{ read: counter.read }]), row.access);
  return () => counter.keep(u16((counter.number + 1) & 0xffff));
}

/** Counts voltage sags and swells. @returns what looks at the voltage */
export function addVoltageCounters(parts: Parts): (steadyMs: number) => void {
  const { image } = parts.port;
  const countSag = addCounter(parts, OBJECTS.voltageSags);
  const countSwell = addCounter(parts, OBJECTS.voltageSwells);
  const { low, high, hysteresis } = VOLTAGE_BAND;
  let state: number = EventCode.voltageNormal;
  const enter = (next: number, count?: () => void) => {
    state = next;
    parts.events.record(next);
    count?.();
  };
  return (steadyMs) => {
    if (image.quality(Quantity.voltage, steadyMs) !== Quality.good) return;
    const volts = image.value(Quantity.voltage);
    if (volts < low && state !== EventCode.underVoltage) enter(EventCode.underVoltage, countSag);
    else if (volts > high && state !== EventCode.overVoltage) enter(EventCode.overVoltage, countSwell);
    else if (state !== EventCode.voltageNormal && volts >= low + hysteresis && volts <= high - hysteresis)
      enter(EventCode.voltageNormal);
  };
}

/** Records the start. The first one of a new meter is no power failure. */
export function countStart(parts: Parts): void {
  const count = addCounter(parts, OBJECTS.powerFailures);
  const key = `${OBJECTS.powerFailures.obis}/started`;
  if (parts.settings.get(key)) count();
  else parts.settings.keep(key, Uint8Array.of(0));
  parts.events.record(EventCode.powerUp);
  if (!parts.clock.now().isSet) parts.events.record(EventCode.clockInvalid);
}
