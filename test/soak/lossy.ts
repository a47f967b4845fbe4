/**
 * Soak `lossy`: DLMS over a datagram network that loses 20 % of the datagrams, doubles 20 % and lets them overtake each
 * other. 10,000 operations, half of them ciphered: each SET and ACTION has its effect once, or its client does not know and
 * finds out by reading back. Then the load profile of 30 days, complete and as the meter has it.
 */

import * as assert from 'uvu/assert';
import { asciiBytes } from '#base/bytes';
import { S3mpError } from '#base/errors';
import { Mechanism } from '#dlms/acse';
import type { AttributeRef } from '#dlms/apdu';
import type { Data } from '#dlms/axdr';
import { DlmsClient } from '#dlms/client';
import { MemoryCounter } from '#dlms/client-security';
import type { Exchange } from '#dlms/exchange';
import { ProfileReader, type ReadProfile } from '#dlms/profile-reader';
import type { DlmsServer } from '#dlms/server';
import { nodeCrypto } from '#hw/crypto';
import { KEYS, pass, testMeter, testSecurity } from '../interop/dlms-meter.ts';
import { LossyNetwork, type LossyOptions } from '../protocols/dlms/lossy.ts';
import {
  APPEND,
  APPENDED,
  NOTE,
  octets,
  PASSWORD,
  ROWS,
  SECOND_NOTE,
  smallMeter,
} from '../protocols/dlms/small-device.ts';
import type { Random } from '../random.ts';
import { type Soak, scaled } from './soak.ts';

const OPERATIONS = 10_000;
const ROW_COUNT = 40;
const DAYS = 30;
const QUARTER_MS = 900_000;
// Slower than the client's patience now and then, so that repetitions and late answers meet what comes next.
const BAD = { loss: 20, duplicates: 20, slowestMs: 250 };
const LOAD_PROFILE = '1-0:99.1.0.255';
/** Outcomes of an operation that was not answered: none of them says whether it had its effect. */
const UNKNOWN = ['meter.unreachable', 'dlms.not-associated', 'dlms.refused'];

const number = (value: number): Data => ({ type: 'double-long-unsigned', value });

/** One client on its own bad line. */
class Line {
  readonly network: LossyNetwork;
  readonly client: DlmsClient;
  done = 0;
  unknown = 0;
  readonly #takes: ((request: Uint8Array, answer: Uint8Array) => boolean) | undefined;

  constructor(server: DlmsServer, random: Random, isCiphered: boolean, maxPdu: number, options: LossyOptions) {
    const key = isCiphered ? 'management' : 'password';
    this.network = new LossyNetwork(() => server.session(key)!, random, options);
    const { unicast, authentication } = KEYS;
    const counter = new MemoryCounter();
    const keys = { crypto: nodeCrypto, mechanism: Mechanism.gmac, title: asciiBytes('S3H00001') };
    const client = isCiphered
      ? new DlmsClient({ clientSap: 1, security: { ...keys, unicast, authentication, counter }, maxPdu })
      : new DlmsClient({ clientSap: 17, password: PASSWORD, maxPdu });
    this.client = client;
    this.#takes = isCiphered ? (request, answer) => client.takes(request, answer) : undefined;
  }

  run<T>(operation: Exchange<T>): T {
    return this.network.run(operation, this.#takes);
  }

  #associate(): void {
    while (!this.client.isAssociated) {
      try {
        this.run(this.client.associate(this.network.nowMs));
      } catch (error) {
        assert.ok(error instanceof S3mpError && error.code === 'meter.unreachable', String(error));
      }
    }
  }

  /** @returns whether the outcome is known */
  attempt(operation: () => void): boolean {
    this.#associate();
    try {
      operation();
      this.done++;
      return true;
    } catch (error) {
      if (!(error instanceof S3mpError)) throw error;
      assert.ok(UNKNOWN.includes(error.code), `${error.code}: ${error.message}`);
      this.unknown++;
      // What is still in flight must not meet the next operation's transfer; a client that gave up starts again.
      this.network.wait(600);
      this.client.reset();
      return false;
    }
  }

  /** Reads until there is an answer: reading twice does no harm. */
  readBack(ref: AttributeRef): Data {
    let value: Data | undefined;
    while (!this.attempt(() => (value = this.run(this.client.get(ref)))));
    return value!;
  }
}

/** Runs the operations. @returns figures */
function operate(random: Random, count: number): Record<string, number> {
  const meter = smallMeter({ rows: ROW_COUNT, maxPdu: 192, security: testSecurity() });
  const lines = [false, true].map((isCiphered) => new Line(meter.server, random, isCiphered, 192, BAD));
  const { note, second } = meter;
  const kinds = { actions: 0, sets: 0, lists: 0, reads: 0 };
  let [hadEffect, resolved] = [0, 0];
  for (let serial = 1; serial <= count; serial++) {
    const line = lines[serial % 2]!;
    const { client, network } = line;
    const before = { note: note.log.length, second: second.log.length };
    /** How often the operation ran, once everything that is under way has arrived. */
    const ran = (log: { log: Data[] }, from: number): number => {
      network.wait(600);
      const times = log.log.length - from;
      assert.ok(times <= 1, `operation ${serial} ran ${times} times`);
      return times;
    };
    const payload: Data = {
      type: 'structure',
      value: [number(serial), octets(random.below(2) === 0 ? 4 : 300 + random.below(300))],
    };
    /** What its client finds out about an operation whose answer is missing. */
    const resolve = (ref: AttributeRef, times: number): void => {
      hadEffect += times;
      resolved++;
      const seen = line.readBack(ref);
      const mark = seen.type === 'structure' ? seen.value[0] : undefined;
      const isMine = mark?.type === 'double-long-unsigned' && mark.value === serial;
      assert.is(isMine, times === 1, 'reading back tells what happened');
    };
    const kind = random.below(6);
    if (kind <= 1) {
      kinds.actions++;
      const isKnown = line.attempt(() => line.run(client.action(APPEND, payload)));
      const times = ran(note, before.note);
      if (isKnown) assert.is(times, 1, `action ${serial} was acknowledged`);
      else resolve(APPENDED, times);
      if (times === 1) assert.equal(note.appended, payload);
    } else if (kind <= 3) {
      kinds.sets++;
      const isKnown = line.attempt(() => line.run(client.set(SECOND_NOTE, payload)));
      const times = ran(second, before.second);
      if (isKnown) assert.is(times, 1, `set ${serial} was acknowledged`);
      else resolve(SECOND_NOTE, times);
      if (times === 1) assert.equal(second.value, payload);
    } else if (kind === 4) {
      kinds.reads++;
      let read: Data | undefined;
      if (line.attempt(() => (read = line.run(client.get(ROWS)))))
        assert.is(read?.type === 'array' && read.value.length, ROW_COUNT, 'a long answer comes whole');
    } else {
      kinds.lists++;
      const entries = [
        { ref: NOTE, value: payload },
        { ref: SECOND_NOTE, value: octets(200) },
      ];
      const isKnown = line.attempt(() => assert.equal(line.run(client.setList(entries)), [0, 0]));
      const times = ran(note, before.note);
      assert.is(ran(second, before.second), times, 'both or none');
      if (isKnown) assert.is(times, 1, `list ${serial} was acknowledged`);
      else resolve(NOTE, times);
    }
  }
  const sum = (pick: (line: Line) => number) => lines.reduce((total, line) => total + pick(line), 0);
  const figures = {
    ...kinds,
    unknown: sum(({ unknown }) => unknown),
    resolved,
    hadEffect,
    datagrams: sum(({ network }) => network.sent),
    lost: sum(({ network }) => network.lost),
    doubled: sum(({ network }) => network.doubled),
    overtaken: sum(({ network }) => network.overtaken),
  };
  assert.ok(sum(({ done }) => done) > 0.8 * count, JSON.stringify(figures));
  assert.ok(figures.overtaken > 0.02 * figures.datagrams, `only ${figures.overtaken} datagrams were overtaken`);
  return figures;
}

/** Reads the load profile of the days before now over such a line. @returns figures */
function readProfile(random: Random, days: number): Record<string, number> {
  const meter = testMeter({ security: testSecurity() });
  const { clock } = meter;
  const first = Math.ceil(clock.epochMs / QUARTER_MS) * QUARTER_MS;
  pass(meter, days * 86_400_000, 60_000);
  // A head end repeats until its deadline, not a few times.
  const line = new Line(meter.server, random, true, 1024, { ...BAD, attempts: 8 });
  const reader = new ProfileReader(line.client);
  let profile: ReadProfile | undefined;
  let reads = 0;
  do reads++;
  while (
    !line.attempt(() => (profile = line.run(reader.read(LOAD_PROFILE, { from: first, to: clock.epochMs })))) &&
    reads < 100
  );
  const rows = profile?.rows ?? [];
  assert.equal(
    rows.map(({ at }) => at),
    Array.from({ length: days * 96 }, (_, i) => first + i * QUARTER_MS),
    'every quarter of an hour, once, in order',
  );
  // The first interval began with the meter's start.
  rows.forEach(({ values }, i) => void assert.equal(values, [i === 0 ? 0x80 : 0, 1_234_560, 7_890]));
  const { sent, lost, overtaken } = line.network;
  return {
    rows: rows.length,
    profileReads: reads,
    profileDatagrams: sent,
    profileLost: lost,
    profileOvertaken: overtaken,
  };
}

export const lossy: Soak = async ({ random, share }) => {
  const count = scaled(OPERATIONS, share);
  const figures = { ...operate(random, count), ...readProfile(random, scaled(DAYS, share)) };
  return { done: count, unit: 'operations', figures };
};
