import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { fromHex } from '#base/bytes';
import { isAnswerTo } from '#dlms/match';

/** A wrapper frame between client 17 and server 1. */
function frame(apdu: string, fromServer = false): Uint8Array {
  const body = fromHex(apdu);
  const ports = fromServer ? '0001 0011' : '0011 0001';
  return new Uint8Array([...fromHex(`0001 ${ports}`), body.length >> 8, body.length & 255, ...body]);
}

const GET = frame('c0 01 c5 0003 0100010800ff 02 00');
const NEXT_3 = frame('c0 02 c5 00000003');

const Match = suite('match');

Match('an answer needs the same invoke id, the right service and the swapped access points', () => {
  assert.ok(isAnswerTo(GET, frame('c4 01 c5 00 06 00000001', true)));
  assert.not.ok(isAnswerTo(GET, frame('c4 01 c4 00 06 00000001', true)), 'earlier invoke id');
  assert.not.ok(isAnswerTo(GET, frame('c5 01 c5 00', true)), 'answer to a SET');
  assert.not.ok(isAnswerTo(GET, frame('c4 01 c5 00 06 00000001')), 'own request reflected');
  assert.not.ok(isAnswerTo(GET, frame('c4 01', true)), 'too short');
  assert.not.ok(isAnswerTo(GET, fromHex('0001 0001 0011 0000')), 'no APDU');
});

Match('a repeated block is not the next block', () => {
  assert.ok(isAnswerTo(NEXT_3, frame('c4 02 c5 00 00000004 00 01 ff', true)));
  assert.not.ok(isAnswerTo(NEXT_3, frame('c4 02 c5 00 00000003 00 01 ff', true)));
  assert.ok(isAnswerTo(NEXT_3, frame('c4 01 c5 01 13', true)), 'an error ends the transfer');
});

Match('exceptions and service errors answer whatever was asked', () => {
  assert.ok(isAnswerTo(GET, frame('d8 01 01', true)));
  assert.ok(isAnswerTo(GET, frame('0e 01 06 01', true)));
});

Match('association and release are matched by their tags', () => {
  assert.ok(isAnswerTo(frame('60 00'), frame('61 00', true)));
  assert.not.ok(isAnswerTo(frame('62 00'), frame('61 00', true)));
});

Match.run();
