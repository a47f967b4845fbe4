/** The part of the meter's model that acts: control of the supply, limiter, schedules, pushes, firmware images, messages. */

import { decodeUtf8, encodeUtf8 } from '#base/utf8';
import { type Data, Tag, writeOctetString } from '#dlms/axdr';
import { DataObject, type ValueWriter } from '#dlms/cosem/data';
import { ControlState, DisconnectControl } from '#dlms/cosem/disconnect-control';
import { type ImageSlot, ImageTransfer } from '#dlms/cosem/image-transfer';
import { Limiter } from '#dlms/cosem/limiter';
import { PushSetup } from '#dlms/cosem/push-setup';
import { MONTHLY, SingleActionSchedule, scriptTable } from '#dlms/cosem/scripts';
import { enumeration, Setting, type SettingStore } from '#dlms/cosem/setting';
import { Result } from '#dlms/result';
import { EventCode } from '#dlms/well-known';
import { CONTROL_MODE, HIGHEST_CONTROL_MODE, MAX_MESSAGE, OBJECTS, PROFILES } from './meter-objects.ts';
import type { Parts } from './meter-port.ts';

/** What the limiter monitors: the active power that flows in. */
export const MONITORED = '1-0:1.7.0.255';

/** Whether the kept control state supplies the load; undefined when none is kept. */
export function commandedPosition(settings: SettingStore): boolean | undefined {
  const kept = settings.get(`${OBJECTS.disconnectControl.obis}/3`);
  return kept && kept[1] === ControlState.connected;
}

/** Adds the control of the supply, the state of its output and the scripts that switch it. */
export function addControl({ port, device, settings, events }: Parts): DisconnectControl {
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

/** Adds the limiter, which disconnects above a power and reconnects below it. */
export function addLimiter({ device, clock, settings, events }: Parts): Limiter {
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

/** Adds the schedules of billing, switching and pushes. @returns what is to be ticked */
export function addSchedules({ port, device, settings }: Parts): MeterSchedule[] {
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

/** Adds the pushes by schedule and of alarms, where there is somebody to carry them. */
export function addPushes({ port, device, settings }: Parts): { interval: PushSetup; alarm: PushSetup } | undefined {
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

/** Adds the transfer of firmware images, and why the last one was refused. */
export function addImageTransfer({ device, events, port }: Parts, slot: ImageSlot): void {
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

/** Adds the text for the customer. */
export function addMessage({ device, port: { message } }: Parts): void {
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
