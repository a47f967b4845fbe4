/**
 * The part of the meter's model that says who the meter is: names and numbers, clock, associations, keys and certificates,
 * network settings.
 */

import { asciiBytes } from '#base/bytes';
import { encodeUtf8 } from '#base/utf8';
import { Tag, writeOctetString } from '#dlms/axdr';
import { AssociationLn } from '#dlms/cosem/association-ln';
import { type CertificateManager, certificateSetup, revocationObjects } from '#dlms/cosem/certificate-setup';
import { DataObject, type ValueWriter } from '#dlms/cosem/data';
import type { LogicalDevice } from '#dlms/cosem/logical-device';
import { SapAssignment } from '#dlms/cosem/sap-assignment';
import { invocationCounter, securitySetup } from '#dlms/cosem/security-setup';
import { attribute, NO_METHOD, TableObject } from '#dlms/cosem/table-object';
import { parseObis } from '#dlms/obis';
import { Result } from '#dlms/result';
import type { ServerSecurity } from '#dlms/security';
import { EventCode } from '#dlms/well-known';
import { ASSOCIATION_ENTRY_ACCESS, OBJECTS } from './meter-objects.ts';
import type { MeterPort, Parts } from './meter-port.ts';

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

/** Adds names, clock, associations, keys and network. */
export function addIdentity(parts: Parts): void {
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
