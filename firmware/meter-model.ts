/**
 * Builds the meter's logical device from the tables of meter-objects.ts, and drives what happens by itself: captures,
 * schedules, the limiter, pushes (`tick`, about once a second). Values come from the measurement image at the
 * moment of the request; a value that is missing or older than 10 s is refused with temporary-failure, never zero.
 *
 * When a value was measured: object 0-0:128.0.0.255 gives the meter's time of the oldest live value that is given now,
 * with the clock's status bits. Which values are suspect: bit mask 0-0:128.0.1.255, summed up in the AMR status.
 */

import { asciiBytes } from '#base/bytes';
import type { SteadyClock } from '#base/crypto';
import { decodeUtf8, encodeUtf8 } from '#base/utf8';
import { type Data, Tag, writeOctetString } from '#dlms/axdr';
import { AssociationLn, type OfferedAssociation } from '#dlms/cosem/association-ln';
import { type CertificateManager, certificateSetup, revocationObjects } from '#dlms/cosem/certificate-setup';
import { type ClockReading, MeterClock } from '#dlms/cosem/clock';
import { DataObject, type ValueWriter } from '#dlms/cosem/data';
import { Demand } from '#dlms/cosem/demand-register';
import { ControlState, DisconnectControl, type RelayGuard } from '#dlms/cosem/disconnect-control';
import { type ImageOptions, type ImageSlot, ImageTransfer } from '#dlms/cosem/image-transfer';
import { Limiter } from '#dlms/cosem/limiter';
import { type CommandPolicy, LogicalDevice } from '#dlms/cosem/logical-device';
import { type ProfileColumn, ProfileGeneric, profileLayout, profileRowSize, SPARE_ROWS } from '#dlms/cosem/profile';
import type { ProfileStore } from '#dlms/cosem/profile-store';
import { type PushSender, PushSetup } from '#dlms/cosem/push-setup';
import { RAW_TYPES, RegisterObject } from '#dlms/cosem/register';
import { SapAssignment } from '#dlms/cosem/sap-assignment';
import { MONTHLY, SingleActionSchedule, scriptTable } from '#dlms/cosem/scripts';
import { invocationCounter, securitySetup } from '#dlms/cosem/security-setup';
import { enumeration, Setting, type SettingStore, u16 } from '#dlms/cosem/setting';
import { attribute, NO_METHOD, TableObject } from '#dlms/cosem/table-object';
import { parseObis } from '#dlms/obis';
import { isRefusal, Result } from '#dlms/result';
import type { ServerSecurity } from '#dlms/security';
import type { ServerEvent } from '#dlms/server';
import { Unit } from '#dlms/units';
import { AmrStatus, EventCode } from '#dlms/well-known';
import { Sap } from '#dlms/wrapper';
import { EventLogs } from './events.ts';
import { type MeasurementImage, Quality, Quantity } from './measurement-image.ts';
import {
  ALARM_ACCESS,
  ALARM_DESCRIPTOR_ACCESS,
  ASSOCIATION_ENTRY_ACCESS,
  BILLING_ACCESS,
  CONTROL_MODE,
  EXTRA_REGISTERS,
  HIGHEST_CONTROL_MODE,
  LIVE_QUANTITIES,
  LOG_ACCESS,
  LOG_CODE_ACCESS,
  MAX_MESSAGE,
  OBJECTS,
  type Part,
  PROFILE_ACCESS,
  PROFILES,
  type ProfileRow,
  REGISTER_ACCESS,
  REGISTERS,
  type RegisterRow,
  VOLTAGE_BAND,
} from './meter-objects.ts';

export interface MeterIdentity {
  /** Serial number, at most 13 ASCII characters. */
  readonly serial: string;
  /** Equipment identifier printed on the meter; the serial number by default. */
  readonly equipmentId?: string;
  /** Serial number of the energy meter on the bus, when it is known. */
  readonly moduleSerial?: string;
  /** Name and version of this firmware. */
  readonly firmwareId: string;
}

/** Everything that the meter's objects reach outside themselves. */
export interface MeterPort {
  readonly image: MeasurementImage;
  /** What the energy meter has beside the quantities of every meter: further phases, tariffs. */
  readonly extras?: readonly Quantity[];
  /** Images of further energy meters on the bus: their registers are those of channel 1 and on, 1-1:1.8.0.255. */
  readonly further?: readonly MeasurementImage[];
  readonly relay: RelayGuard;
  /** Text for the customer; whoever holds it also shows it. */
  readonly message: {
    get(): string;
    /** @returns false when it could not be stored and is not taken */
    set(text: string): boolean;
  };
  /** Wall clock and whether it has been set. */
  readonly wallClock: () => ClockReading;
  /** Sets the wall clock; without it clients cannot. @returns whether the time is plausible and was taken */
  readonly setTime?: (epochMs: number) => boolean;
  /** The clock of the image's time stamps. */
  readonly steadyClock: SteadyClock;
  readonly identity: MeterIdentity;
  /** What clients set, kept over a restart. */
  readonly settings: SettingStore;
  /** Storage of a profile's or log's rows. */
  readonly openStore: (name: string, rowSize: number, rows: number, layout: string) => ProfileStore;
  /** Whether the storage works: without it nothing can be recorded. Default: it does. */
  readonly isStorageFailing?: () => boolean;
  /** Looks at all parts but the contact; its result is an object to be read. */
  readonly selfTest?: () => string;
  /** Room for a firmware image; without it there is no image transfer. */
  readonly imageSlot?: ImageSlot;
  /** Who judges and starts images. */
  readonly images?: Pick<ImageOptions, 'judge' | 'activate' | 'status' | 'isEnabled'> & {
    /** Why the last image was refused; empty when it was not. */
    readonly refusal?: () => string;
  };
  /** Carries pushes; without it there are none. */
  readonly sendPush?: PushSender;
  /** 0…1, to spread pushes. */
  readonly random?: () => number;
  /** The associations that the server offers, for the list of associations. */
  readonly associations?: readonly OfferedAssociation[];
  /** Keys of the management client; without them it is not offered, nor are the objects of keys. */
  readonly security?: ServerSecurity | undefined;
  /** Holds the certificates that the keys come from; without it they stand in a file. */
  readonly certificates?: CertificateManager | undefined;
  /** Whether what can switch the supply must be signed. Default: the association is enough. */
  readonly commands?: CommandPolicy;
  /** IPv4 address as a number, port and limits of the DLMS server. */
  readonly network?: { readonly ipv4: number; readonly port: number; readonly maxPdu: number };
}

/** The model with what drives it. */
export interface Meter {
  readonly device: LogicalDevice;
  readonly clock: MeterClock;
  readonly events: EventLogs;
  readonly control: DisconnectControl;
  /** Does what is due. About once a second. */
  tick(): void;
  /** Puts what the DLMS server reports into the event logs. */
  onServerEvent(event: ServerEvent): void;
}

const MANUFACTURER = 'S3M';
const DEVICE_NAME_SIZE = 16;

/** Logical device name: manufacturer and serial number, 16 ASCII characters. */
export function logicalDeviceName(serial: string): Uint8Array {
  const digits = serial.slice(-(DEVICE_NAME_SIZE - MANUFACTURER.length));
  return asciiBytes(MANUFACTURER + digits.padStart(DEVICE_NAME_SIZE - MANUFACTURER.length, '0'));
}

const text = (value: string): ValueWriter => {
  const octets = encodeUtf8(value);
  return (w) => {
    writeOctetString(w, octets);
    return Result.success;
  };
};

function partOf(value: number, part: Part): number {
  if (part === 'positive') return Math.max(value, 0);
  if (part === 'negative') return Math.max(-value, 0);
  return value;
}

/** Builds the meter's logical device. @throws DlmsError `internal` when the tables contradict each other */
export function buildMeterModel(port: MeterPort): LogicalDevice {
  return buildMeter(port).device;
}

/** Everything that the parts below share. */
interface Parts {
  readonly port: MeterPort;
  readonly device: LogicalDevice;
  readonly clock: MeterClock;
  readonly settings: SettingStore;
  readonly openStore: (name: string, rowSize: number, rows: number, layout: string) => ProfileStore;
  readonly events: EventLogs;
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
const MONITORED = '1-0:1.7.0.255';
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

function addCertificates(
  { device }: Parts,
  security: ServerSecurity,
  manager: CertificateManager,
  record: () => void,
): void {
  const { certificateSetup: setup, revocationLists, revocationInbox } = OBJECTS;
  device.add(certificateSetup(setup.obis, security, manager, record), setup.access);
  const [held, inbox] = revocationObjects(revocationLists.obis, revocationInbox.obis, manager, record);
  device.add(held, revocationLists.access).add(inbox, revocationInbox.access);
}

function addIdentity(parts: Parts): void {
  const { port, device, clock, events } = parts;
  const { identity, associations = [], network } = port;
  const data = ({ obis, access }: (typeof OBJECTS)[keyof typeof OBJECTS], read: ValueWriter) =>
    device.add(new DataObject(obis, read), access);

  data(OBJECTS.logicalDeviceName, (w) => {
    writeOctetString(w, device.name);
    return Result.success;
  });
  device.add(clock.object, OBJECTS.clock.access);
  device.add(new AssociationLn(), OBJECTS.association.access);
  for (const [i, offered] of associations.entries())
    device.add(new AssociationLn(`0-0:40.0.${i + 1}.255`, offered), ASSOCIATION_ENTRY_ACCESS);
  device.add(new SapAssignment(), OBJECTS.sapAssignment.access);
  if (port.security) {
    const { securitySetup: setup, invocationCounter: counter } = OBJECTS;
    const record = () => events.record(EventCode.keyChanged);
    if (port.certificates) addCertificates(parts, port.security, port.certificates, record);
    else device.add(securitySetup(setup.obis, port.security, record), setup.access);
    device.add(invocationCounter(counter.obis, port.security), counter.access);
  }
  data(OBJECTS.serialNumber, text(identity.serial));
  data(OBJECTS.equipmentId, text(identity.equipmentId ?? identity.serial));
  if (identity.moduleSerial) data(OBJECTS.moduleSerial, text(identity.moduleSerial));
  data(OBJECTS.firmwareId, text(identity.firmwareId));
  data(OBJECTS.unixClock, (w) => {
    w.u8(Tag.doubleLongUnsigned).u32(Math.floor(clock.now().epochMs / 1000));
    return Result.success;
  });
  const local = () => new Date(clock.localMs(clock.now().epochMs));
  data(OBJECTS.localTime, (w) => {
    const time = local();
    writeOctetString(w, Uint8Array.of(time.getUTCHours(), time.getUTCMinutes(), time.getUTCSeconds(), 0xff));
    return Result.success;
  });
  data(OBJECTS.localDate, (w) => {
    const date = local();
    const year = date.getUTCFullYear();
    const weekday = ((date.getUTCDay() + 6) % 7) + 1;
    writeOctetString(w, Uint8Array.of(year >>> 8, year, date.getUTCMonth() + 1, date.getUTCDate(), weekday));
    return Result.success;
  });
  const { selfTest } = port;
  if (selfTest)
    data(OBJECTS.selfTest, (w) => {
      writeOctetString(w, encodeUtf8(selfTest()));
      return Result.success;
    });
  if (network) addNetwork(device, network);
}

/** TCP-UDP setup (class 41) and IPv4 setup (class 42): what is in force, to be read only. */
function addNetwork(device: LogicalDevice, { ipv4, port, maxPdu }: NonNullable<MeterPort['network']>): void {
  const { tcpUdpSetup, ipv4Setup } = OBJECTS;
  const word = (value: number) => attribute((w) => w.u8(Tag.longUnsigned).u16(value));
  const address = (value: number) => attribute((w) => w.u8(Tag.doubleLongUnsigned).u32(value));
  const empty = attribute((w) => w.u8(Tag.array).u8(0));
  const reference = (obis: string) => {
    const ln = obis === '' ? new Uint8Array(6) : parseObis(obis);
    return attribute((w) => writeOctetString(w, ln));
  };
  const connections = attribute((w) => w.u8(Tag.unsigned).u8(8));
  device.add(
    new TableObject(41, 0, tcpUdpSetup.obis, [
      word(port),
      reference(ipv4Setup.obis),
      word(maxPdu),
      connections,
      word(180),
    ]),
    tcpUdpSetup.access,
  );
  const noDhcp = attribute((w) => w.u8(Tag.boolean).u8(0));
  const fields = [reference(''), address(ipv4), empty, empty, address(0), address(0), noDhcp, address(0), address(0)];
  device.add(new TableObject(42, 0, ipv4Setup.obis, fields, [NO_METHOD, NO_METHOD, NO_METHOD]), ipv4Setup.access);
}

/** Current raw value of a register, NaN when it may not be given. */
function registerReader({ image, steadyClock }: MeterPort, quantity: Quantity, part: Part): () => number {
  return () => (image.isFresh(quantity, steadyClock()) ? partOf(image.value(quantity), part) : Number.NaN);
}

/** The same where a doubt counts as no value: for what switches or bills, and where nothing tells of the doubt. */
function confirmedReader({ steadyClock }: MeterPort, image: MeasurementImage, { quantity, part }: RegisterRow) {
  return () =>
    image.quality(quantity, steadyClock()) === Quality.good ? partOf(image.value(quantity), part) : Number.NaN;
}

function addMeasurements({ port, device, clock }: Parts): void {
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

function addDemand({ device, clock }: Parts): Demand {
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
function addProfile(
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

/** Whether the kept control state supplies the load; undefined when none is kept. */
export function commandedPosition(settings: SettingStore): boolean | undefined {
  const kept = settings.get(`${OBJECTS.disconnectControl.obis}/3`);
  return kept && kept[1] === ControlState.connected;
}

function addControl({ port, device, settings, events }: Parts): DisconnectControl {
  const { relay } = port;
  const { disconnectControl, relayOutput } = OBJECTS;
  const mode = new Setting(settings, `${disconnectControl.obis}/4`, {
    example: enumeration(CONTROL_MODE),
    isValid: (value) => value.type === 'enum' && value.value <= HIGHEST_CONTROL_MODE,
  });
  const key = `${disconnectControl.obis}/3`;
  const kept = new Setting(settings, key, { example: enumeration(ControlState.connected) });
  const control = new DisconnectControl(disconnectControl.obis, relay, {
    mode,
    // A meter that was never commanded takes the contact as it finds it.
    ...(settings.get(key) ? { initialState: kept.number as ControlState } : {}),
    commit: (state) => kept.write(enumeration(state)) === Result.success,
    onState: (state) => {
      if (state === ControlState.readyForReconnection) events.record(EventCode.readyForReconnection);
    },
  });
  device.add(control, disconnectControl.access);
  const readOutput: ValueWriter = (w) => {
    w.u8(Tag.boolean).u8(relay.isConnected() ? 1 : 0);
    return Result.success;
  };
  device.add(new DataObject(relayOutput.obis, readOutput), relayOutput.access);
  device.add(
    scriptTable(OBJECTS.disconnectScripts.obis, {
      1: [{ classId: 70, obis: disconnectControl.obis, method: 1 }],
      2: [{ classId: 70, obis: disconnectControl.obis, method: 2 }],
    }),
    OBJECTS.disconnectScripts.access,
  );
  return control;
}

function addLimiter({ device, clock, settings, events }: Parts): Limiter {
  const codes = {
    exceeded: EventCode.limiterExceeded,
    ok: EventCode.limiterOk,
    'threshold-changed': EventCode.thresholdChanged,
  } as const;
  const limiter = new Limiter({
    obis: OBJECTS.limiter.obis,
    store: settings,
    clock,
    monitored: { classId: 3, obis: MONITORED, attribute: 2 },
    scriptTable: OBJECTS.disconnectScripts.obis,
    overScript: 1,
    underScript: 2,
    onEvent: (event) => events.record(codes[event]),
  });
  device.add(limiter.object, OBJECTS.limiter.access);
  return limiter;
}

interface MeterSchedule {
  readonly schedule: SingleActionSchedule;
  /** Whether it can switch the supply: a clock that nobody has set must not. */
  readonly switches: boolean;
}

function addSchedules({ port, device, settings }: Parts): MeterSchedule[] {
  const { billingScripts, billingSchedule, disconnectScripts, disconnectSchedule, pushScripts, pushSchedule } = OBJECTS;
  const billing = PROFILES.find(({ period }) => period === 0)!;
  device.add(
    scriptTable(billingScripts.obis, {
      1: [
        { classId: 7, obis: billing.obis, method: 2 },
        { classId: 4, obis: OBJECTS.maximumDemand.obis, method: 1 },
      ],
    }),
    billingScripts.access,
  );
  const schedules = [
    { row: billingSchedule, table: billingScripts.obis, id: 1, initial: MONTHLY },
    { row: disconnectSchedule, table: disconnectScripts.obis, id: 0, switches: true },
    ...(port.sendPush ? [{ row: pushSchedule, table: pushScripts.obis, id: 1 }] : []),
  ];
  return schedules.map(({ row, table, id, initial, switches = false }) => {
    const schedule = new SingleActionSchedule(settings, row.obis, { table, id }, initial);
    device.add(schedule.object, row.access);
    return { schedule, switches };
  });
}

function addPushes({ port, device, settings }: Parts): { interval: PushSetup; alarm: PushSetup } | undefined {
  const { sendPush, random = () => 0 } = port;
  if (!sendPush) return undefined;
  const { pushInterval, pushAlarm, pushScripts, logicalDeviceName: name, clock, status } = OBJECTS;
  const common = { store: settings, maxPdu: 1024, random, send: sendPush };
  const data = (obis: string) => ({ classId: 1, obis, attribute: 2 });
  const interval = new PushSetup({
    ...common,
    obis: pushInterval.obis,
    items: [
      data(name.obis),
      { classId: 8, obis: clock.obis, attribute: 2 },
      data(status.obis),
      { classId: 3, obis: '1-0:1.8.0.255', attribute: 2 },
      { classId: 3, obis: '1-0:16.7.0.255', attribute: 2 },
    ],
  });
  const alarm = new PushSetup({
    ...common,
    obis: pushAlarm.obis,
    items: [data(name.obis), { classId: 40, obis: pushAlarm.obis, attribute: 1 }, data('0-0:97.98.20.255')],
  });
  device.add(interval.object, pushInterval.access).add(alarm.object, pushAlarm.access);
  device.add(
    scriptTable(pushScripts.obis, {
      1: [{ classId: 40, obis: pushInterval.obis, method: 1 }],
      2: [{ classId: 40, obis: pushAlarm.obis, method: 1 }],
    }),
    pushScripts.access,
  );
  return { interval, alarm };
}

function addImageTransfer({ device, events, port }: Parts, slot: ImageSlot): void {
  const codes = {
    initiated: EventCode.firmwareTransferStarted,
    verified: EventCode.firmwareReady,
    'verification-failed': EventCode.firmwareRejected,
    'activation-refused': EventCode.firmwareRejected,
  } as const;
  const { object } = new ImageTransfer(slot, {
    ...port.images,
    onEvent: (event) => events.record(codes[event]),
  });
  device.add(object, OBJECTS.imageTransfer.access);
  const { obis, access } = OBJECTS.imageRefusal;
  const read: ValueWriter = (w) => {
    writeOctetString(w, encodeUtf8(port.images?.refusal?.() ?? ''));
    return Result.success;
  };
  device.add(new DataObject(obis, read), access);
}

/** A counter (class 1, u16) that survives a restart. */
function addCounter({ device, settings }: Parts, row: (typeof OBJECTS)[keyof typeof OBJECTS]): () => void {
  const counter = new Setting(settings, `${row.obis}/2`, { example: u16(0) });
  device.add(new TableObject(1, 0, row.obis, [{ read: counter.read }]), row.access);
  return () => counter.keep(u16((counter.number + 1) & 0xffff));
}

/** Counts voltage sags and swells. @returns what looks at the voltage */
function addVoltageCounters(parts: Parts): (steadyMs: number) => void {
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
function countStart(parts: Parts): void {
  const count = addCounter(parts, OBJECTS.powerFailures);
  const key = `${OBJECTS.powerFailures.obis}/started`;
  if (parts.settings.get(key)) count();
  else parts.settings.keep(key, Uint8Array.of(0));
  parts.events.record(EventCode.powerUp);
  if (!parts.clock.now().isSet) parts.events.record(EventCode.clockInvalid);
}
function addMessage({ device, port: { message } }: Parts): void {
  const read: ValueWriter = (w) => {
    writeOctetString(w, encodeUtf8(message.get()));
    return Result.success;
  };
  const write = (value: Data): number => {
    if (value.type !== 'octet-string' && value.type !== 'utf8-string' && value.type !== 'visible-string')
      return Result.typeUnmatched;
    const octets = typeof value.value === 'string' ? encodeUtf8(value.value) : value.value;
    const decoded = decodeUtf8(octets);
    if (octets.length > MAX_MESSAGE || decoded === undefined) return Result.otherReason;
    return message.set(decoded) ? Result.success : Result.temporaryFailure;
  };
  const { obis, access } = OBJECTS.consumerMessage;
  device.add(new DataObject(obis, read, write), access);
}
