/**
 * Every register map against frames that pymodbus encoded from the manufacturers' register sheets
 * (test/vectors/modbus-maps.json, made by test/interop/map-frames.py): the requests of the read plan byte by byte, and the
 * values that the replies hold.
 */

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex, toHex } from '#base/bytes';
import { SDM120 } from '#modbus/maps/eastron';
import { REGISTER_MAPS } from '#modbus/maps/index';
import { judge, slackOf } from '#modbus/plausibility';
import { type PlannedRead, plainRead, planReads } from '#modbus/read-plan';
import { QUANTITY_NAMES, readRegister } from '#modbus/register-map';
import { checkReadReply, ReplyCheck } from '#modbus/rtu';
import vectors from '../../vectors/modbus-maps.json';

interface MapVectors {
  readonly values: Readonly<Record<string, number>>;
  readonly reads: readonly { readonly request: string; readonly reply: string }[];
  readonly identity?: { readonly request: string; readonly reply: string };
}
const VECTORS: Readonly<Record<string, MapVectors>> = vectors;

/** Values of a reply to a read, as the measurement image holds them. */
function valuesIn({ unit, functionCode, count, values }: PlannedRead, reply: Uint8Array): Record<string, number> {
  assert.is(checkReadReply(reply, 0, reply.length, unit, functionCode, count), ReplyCheck.reply);
  return Object.fromEntries(
    values.map((v) => [v.quantity, Math.round(readRegister(reply, 3 + v.offset, v.type) * v.factor)]),
  );
}

const Maps = suite('register maps');

Maps('each has its frames', () => {
  assert.equal(REGISTER_MAPS.map(({ name }) => name).sort(), Object.keys(VECTORS).sort());
});

for (const map of REGISTER_MAPS) {
  const { values, reads, identity } = VECTORS[map.name]!;

  Maps(`${map.name}: the reads are these bytes, and their replies these values`, () => {
    const plan = planReads(map, 1);
    assert.equal(
      plan.map(({ frame }) => toHex(frame)),
      reads.map(({ request }) => request),
    );
    const decoded = Object.assign({}, ...plan.map((read, i) => valuesIn(read, fromHex(reads[i]!.reply))));
    assert.equal(decoded, values);
    assert.is(Object.keys(values).length, map.registers.length, 'every register of the map has a value');
  });

  Maps(`${map.name}: these values can be true together`, () => {
    const v = Float64Array.from(QUANTITY_NAMES, (name) => values[name] ?? Number.NaN);
    const doubts = new Uint8Array(QUANTITY_NAMES.length);
    assert.ok(judge(v, doubts, map.phases, slackOf(map)), String(doubts));
  });

  Maps(`${map.name}: the identity is asked for with these bytes`, () => {
    assert.is(map.identity === undefined, identity === undefined);
    if (!map.identity || !identity) return;
    const { functionCode, address, count, value } = map.identity;
    const read = plainRead(1, functionCode, address, count);
    assert.is(toHex(read.frame), identity.request);
    const reply = fromHex(identity.reply);
    assert.equal(valuesIn(read, reply), {});
    if (value !== undefined) assert.is(readRegister(reply, 3, 'u16'), value);
  });
}

Maps('the frames of Eastron’s protocol documents: 230.2 V', () => {
  const read = plainRead(1, 4, 0, 2);
  assert.is(toHex(read.frame), '01040000000271cb');
  const reply = fromHex('010404436633341b38');
  assert.is(checkReadReply(reply, 0, reply.length, 1, 4, 2), ReplyCheck.reply);
  const { type, factor } = SDM120.registers.find(({ quantity }) => quantity === 'voltage')!;
  assert.is(Math.round(readRegister(reply, 3, type) * factor), 23_020);
});

Maps.run();
