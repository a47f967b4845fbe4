/**
 * Soak `lossy`: 10,000 DLMS operations over a datagram network that loses 20 % of the datagrams, doubles 20 % and lets them
 * overtake each other. Each SET and ACTION has its effect once, or its client does not know and finds out by reading back.
 */

import * as assert from 'uvu/assert';
import { S3mpError } from '#base/errors';
import type { Data } from '#dlms/axdr';
import { DlmsClient } from '#dlms/client';
import { LossyNetwork } from '../protocols/dlms/lossy.ts';
import { APPEND, NOTE, octets, PASSWORD, ROWS, SECOND_NOTE, smallMeter } from '../protocols/dlms/small-device.ts';
import { type Soak, scaled } from './soak.ts';

const OPERATIONS = 10_000;

const number = (value: number): Data => ({ type: 'double-long-unsigned', value });

export const lossy: Soak = async ({ random, share }) => {
  const count = scaled(OPERATIONS, share);
  const { server, note, second, rows } = smallMeter({ rows: 40, maxPdu: 128 });
  const network = new LossyNetwork(() => server.session('client')!, random, { loss: 20, duplicates: 20 });
  const client = new DlmsClient({ clientSap: 17, password: PASSWORD, maxPdu: 128 });
  const counts = { done: 0, unknown: 0, hadEffect: 0 };
  let serial = 0;

  const open = () => {
    for (;;) {
      try {
        network.run(client.associate());
        return;
      } catch (error) {
        assert.ok(error instanceof S3mpError && error.code === 'meter.unreachable', String(error));
      }
    }
  };

  /** @returns whether the outcome is known */
  const attempt = (operation: () => void): boolean => {
    if (!client.isAssociated) open();
    try {
      operation();
      counts.done++;
      return true;
    } catch (error) {
      if (!(error instanceof S3mpError)) throw error;
      assert.ok(['meter.unreachable', 'dlms.not-associated', 'dlms.refused'].includes(error.code), error.message);
      counts.unknown++;
      // What is still in flight must not meet the next operation's transfer; a client that gave up starts again.
      network.wait(500);
      client.reset();
      return false;
    }
  };

  for (let i = 0; i < count; i++) {
    const kind = random.below(6);
    const before = { note: note.log.length, second: second.log.length };
    serial++;
    if (kind <= 1) {
      // An ACTION, short or in blocks, that would be noticed if it ran twice.
      const parameter: Data = {
        type: 'structure',
        value: [number(serial), octets(kind === 0 ? 4 : 300 + random.below(300))],
      };
      const isKnown = attempt(() => network.run(client.action(APPEND, parameter)));
      network.wait(400);
      const ran = note.log.length - before.note;
      assert.ok(ran <= 1, `operation ${serial} ran ${ran} times`);
      if (isKnown) assert.is(ran, 1);
      else counts.hadEffect += ran;
    } else if (kind <= 3) {
      const value: Data = {
        type: 'structure',
        value: [number(serial), octets(kind === 2 ? 4 : 300 + random.below(300))],
      };
      const isKnown = attempt(() => network.run(client.set(SECOND_NOTE, value)));
      network.wait(400);
      const ran = second.log.length - before.second;
      assert.ok(ran <= 1, `operation ${serial} ran ${ran} times`);
      if (isKnown) assert.equal(second.value, value);
      else {
        counts.hadEffect += ran;
        let read: Data | undefined;
        while (!attempt(() => (read = network.run(client.get(SECOND_NOTE)))));
        assert.equal(read, second.value, 'reading back tells what happened');
      }
    } else if (kind === 4) {
      let read: Data | undefined;
      if (attempt(() => (read = network.run(client.get(ROWS))))) {
        assert.is(read?.type === 'array' && read.value.length, 40, 'a long answer comes whole');
        rows.written = 0;
      }
    } else {
      attempt(() => {
        const results = network.run(
          client.setList([
            { ref: NOTE, value: number(serial) },
            { ref: SECOND_NOTE, value: octets(200) },
          ]),
        );
        assert.equal(results, [0, 0]);
        assert.equal(note.value, number(serial));
      });
      network.wait(400);
      assert.ok(note.log.length - before.note <= 1 && second.log.length - before.second <= 1);
    }
  }
  assert.ok(counts.done > 0.8 * count, JSON.stringify(counts));
  return { done: count, unit: 'operations', figures: { datagrams: network.sent, lost: network.lost, ...counts } };
};
