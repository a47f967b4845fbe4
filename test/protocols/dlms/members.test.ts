import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Data } from '#dlms/axdr';
import { members } from '#dlms/members';

const Members = suite('members');

const pair: Data = {
  type: 'structure',
  value: [
    { type: 'octet-string', value: Uint8Array.of(1) },
    { type: 'long', value: -2 },
  ],
};

Members('values of a structure come in order when every type is right', () => {
  assert.equal(members(pair, 'octet-string', 'long'), [Uint8Array.of(1), -2]);
  assert.equal(members({ type: 'structure', value: [] }), []);
});

Members('another type, another number of members or no structure at all is nothing', () => {
  assert.is(members(pair, 'octet-string', 'integer'), undefined);
  assert.is(members(pair, 'octet-string'), undefined);
  assert.is(members(pair, 'octet-string', 'long', 'long'), undefined);
  assert.is(members({ ...pair, type: 'array' } as Data, 'octet-string', 'long'), undefined);
  for (const nothing of [null, undefined, { type: 'null-data' }] as const) assert.is(members(nothing), undefined);
});

Members.run();
