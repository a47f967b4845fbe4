/**
 * Builds the meter's logical device from the tables of meter-objects.ts. Values come from the measurement image at the
 * moment of the request; a value that is missing or older than 10 s is refused with temporary-failure, never zero.
 *
 * When a value was measured: object 0-0:128.0.0.255 gives the meter's time of the oldest live value that is given now,
 * with the clock's status bits. Which values are suspect: bit mask 0-0:128.0.1.255, summed up in the AMR status.
 */

import { asciiBytes } from '#base/bytes';
import type { SteadyClock } from '#base/crypto';
import { decodeUtf8, encodeUtf8 } from '#base/utf8';
import { type Data, Tag, writeOctetString } from '#dlms/axdr';
import { AssociationLn } from '#dlms/cosem/association-ln';
import { Clock, type ClockReading, writeDateTimeValue } from '#dlms/cosem/clock';
import { DataObject, type ValueWriter } from '#dlms/cosem/data';
import { type ControlState, DisconnectControl, type RelayGuard } from '#dlms/cosem/disconnect-control';
import { LogicalDevice } from '#dlms/cosem/logical-device';
import { RegisterObject } from '#dlms/cosem/register';
import { SapAssignment } from '#dlms/cosem/sap-assignment';
import { DATE_TIME_SIZE } from '#dlms/date-time';
import { Result } from '#dlms/result';
import { AmrStatus } from '#dlms/well-known';
import { Sap } from '#dlms/wrapper';
import { type MeasurementImage, Quality, type Quantity } from './measurement-image.ts';
import {
  CONTROL_MODE,
  LIVE_QUANTITIES,
  MAX_MESSAGE,
  OBJECTS,
  type Part,
  REGISTER_ACCESS,
  REGISTERS,
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
  readonly relay: RelayGuard;
  /** Text for the customer; whoever holds it also shows it. */
  readonly message: { get(): string; set(text: string): void };
  /** Control state kept over a restart; without it the state follows the contact. */
  readonly controlState?: { readonly initial?: ControlState; store(state: ControlState): void };
  /** Wall clock and whether it has been set. */
  readonly wallClock: () => ClockReading;
  /** The clock of the image's time stamps. */
  readonly steadyClock: SteadyClock;
  readonly identity: MeterIdentity;
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
  const { identity } = port;
  const device = new LogicalDevice(logicalDeviceName(identity.serial), Sap.managementServer);
  const data = ({ obis, access }: (typeof OBJECTS)[keyof typeof OBJECTS], read: ValueWriter) =>
    device.add(new DataObject(obis, read), access);

  data(OBJECTS.logicalDeviceName, (w) => {
    writeOctetString(w, device.name);
    return Result.success;
  });
  device.add(new Clock(port.wallClock), OBJECTS.clock.access);
  device.add(new AssociationLn(), OBJECTS.association.access);
  device.add(new SapAssignment(), OBJECTS.sapAssignment.access);
  data(OBJECTS.serialNumber, text(identity.serial));
  data(OBJECTS.equipmentId, text(identity.equipmentId ?? identity.serial));
  if (identity.moduleSerial) data(OBJECTS.moduleSerial, text(identity.moduleSerial));
  data(OBJECTS.firmwareId, text(identity.firmwareId));
  addMeasurements(device, port);
  addControl(device, port);
  addMessage(device, port);
  return device;
}

function addMeasurements(device: LogicalDevice, { image, steadyClock, wallClock }: MeterPort): void {
  for (const { obis, type, scaler, unit, quantity, part } of REGISTERS) {
    const read = () => (image.isFresh(quantity, steadyClock()) ? partOf(image.value(quantity), part) : Number.NaN);
    device.add(new RegisterObject(obis, type, scaler, unit, read), REGISTER_ACCESS);
  }
  const published = [...new Set(REGISTERS.map(({ quantity }) => quantity))];

  const readStatus: ValueWriter = (w) => {
    const now = steadyClock();
    let status = wallClock().isSet ? 0 : AmrStatus.clockInvalid;
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
  const scratch = new Uint8Array(DATE_TIME_SIZE);
  const readTime: ValueWriter = (w) => {
    const now = steadyClock();
    const age = oldestAge(image, now);
    if (age < 0) return Result.temporaryFailure;
    const time = wallClock();
    writeDateTimeValue(w, scratch, time, time.epochMs - age);
    return Result.success;
  };
  device.add(new DataObject(OBJECTS.status.obis, readStatus), OBJECTS.status.access);
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

function addControl(device: LogicalDevice, { relay, controlState }: MeterPort): void {
  const { disconnectControl, relayOutput } = OBJECTS;
  const control = new DisconnectControl(disconnectControl.obis, relay, {
    mode: CONTROL_MODE,
    initialState: controlState?.initial,
    onState: controlState && ((state) => controlState.store(state)),
  });
  device.add(control, disconnectControl.access);
  const readOutput: ValueWriter = (w) => {
    w.u8(Tag.boolean).u8(relay.isConnected() ? 1 : 0);
    return Result.success;
  };
  device.add(new DataObject(relayOutput.obis, readOutput), relayOutput.access);
}

function addMessage(device: LogicalDevice, { message }: MeterPort): void {
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
    message.set(decoded);
    return Result.success;
  };
  const { obis, access } = OBJECTS.consumerMessage;
  device.add(new DataObject(obis, read, write), access);
}
