/** Notifications: frames that meters sent, the forms that they vary, both directions. */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { DecodeError } from '#base/errors';
import { encodeData } from '#dlms/axdr';
import {
  decodeDataNotification,
  decodeEventNotification,
  decodeNotificationConfirm,
  encodeDataNotificationHeader,
  encodeEventNotification,
  encodeNotificationConfirm,
  LongInvoke,
  readPush,
  wantsConfirmation,
} from '#dlms/notification';
import { ByteReader } from '#dlms/reader';
import { ByteWriter } from '#dlms/writer';
import { vector } from './vectors.ts';

const Notification = suite('dlms notifications');

const TIME = '07e50118ff0e303950ffc400';
const reader = (hex: string) => new ByteReader(fromHex(hex.replace(/ /g, '')));
const written = (write: (w: ByteWriter) => void) => {
  const w = new ByteWriter(new Uint8Array(256));
  write(w);
  return toHex(w.written());
};

Notification('the alarm of an SMR5 meter, as it came, both ways', () => {
  const frame = vector('SMR5 alarm DataNotification body').expected;
  const alarm = decodeDataNotification(reader(frame));
  assert.is(alarm.invoke, 1);
  assert.is(alarm.dateTime, null);
  assert.not.ok(wantsConfirmation(alarm));
  assert.ok(alarm.body.type === 'structure');
  const [equipment, setup, register] = alarm.body.value;
  assert.ok(equipment?.type === 'octet-string' && equipment.value.length === 17);
  assert.ok(setup?.type === 'octet-string' && toHex(setup.value) === '0001190900ff');
  assert.equal(register, { type: 'double-long-unsigned', value: 2 });
  assert.is(
    written((w) => encodeData(encodeDataNotificationHeader(w, 1, null), alarm.body)),
    frame,
  );
});

Notification('a date-time has its length and no tag; a length of 1 is understood', () => {
  const frame = `0f40000007 0c${TIME} 1105`.replace(/ /g, '');
  const read = decodeDataNotification(reader(frame));
  assert.is(toHex(read.dateTime!), TIME);
  assert.is(read.invoke & LongInvoke.idMask, 7);
  assert.ok(wantsConfirmation(read));
  assert.is(
    written((w) => encodeDataNotificationHeader(w, read.invoke, read.dateTime).u8(0x11).u8(5)),
    frame,
  );
  assert.equal(decodeDataNotification(reader(frame.replace('0c', '01'))), read);
  for (const broken of ['0f40000007', '0f40000007 05 0000000000 1105', '0f40000007 00', `${frame}00`])
    assert.throws(
      () => decodeDataNotification(reader(broken)),
      (error: unknown) => error instanceof DecodeError,
    );
});

Notification('the confirmation names the push', () => {
  assert.is(
    written((w) => encodeNotificationConfirm(w, 0x4000_0007)),
    '104000000700',
  );
  assert.is(decodeNotificationConfirm(reader('104000000700')), 0x4000_0007);
});

Notification('an event of an MX382 meter and the other forms of its time', () => {
  const published = vector('EventNotification, non-standard presence byte, as sent by an MX382 meter').expected;
  const event = decodeEventNotification(reader(published));
  assert.is(toHex(event.dateTime!), TIME);
  assert.is(toHex(event.ln), '0000600101ff');
  assert.equal([event.classId, event.attribute], [1, 2]);
  assert.ok(event.value.type === 'octet-string' && event.value.value.length === 16);
  const rest = published.slice(4 + 2 + 24);
  const standard = `c2010c${TIME}${rest}`;
  assert.is(
    written((w) => encodeEventNotification(w, event.dateTime, event, event.value)),
    standard,
  );
  for (const form of [standard, `c20c${TIME}${rest}`]) assert.equal(decodeEventNotification(reader(form)), event);
  const without = written((w) => encodeEventNotification(w, null, event, event.value));
  assert.is(without, `c200${rest}`);
  assert.is(decodeEventNotification(reader(without)).dateTime, null);
  assert.throws(
    () => decodeEventNotification(reader(`c205${rest}`)),
    (error: unknown) => error instanceof DecodeError,
  );
});

Notification('a listener tells pushes from other frames', () => {
  const push = readPush(fromHex('00010001006600080f0000000100110f'.slice(0, 32)));
  assert.equal(push && [push.kind, push.serverSap, push.clientSap], ['data', 1, 102]);
  assert.is(readPush(fromHex('000100010066000361010203'.slice(0, 22))), undefined);
  assert.is(readPush(fromHex('0001000100660002db00')), undefined);
  assert.throws(
    () => readPush(fromHex('00010001006600020f00')),
    (error: unknown) => error instanceof DecodeError,
  );
});

Notification.run();
