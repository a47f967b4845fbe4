import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { utcText } from '#base/time-text';

const TimeText = suite('time text');

TimeText('says what the language says, at every edge and at random', () => {
  const days = [-62_167_219_200_000, -1, 0, 951_782_400_000, 1_767_225_599_999, 4_107_542_400_000, 253_402_300_799_999];
  for (let i = 0; i < 2_000; i++) days.push(Math.floor(Math.random() * 253_402_300_799_999));
  for (const at of days) assert.is(utcText(at), new Date(at).toISOString());
});

TimeText.run();
