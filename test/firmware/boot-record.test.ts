import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageStatus } from '#dlms/cosem/image-transfer';
import { EventCode } from '#dlms/well-known';
import { createLog } from '#hw/log';
import {
  type BootRecord,
  endedInOrder,
  FACTORY,
  fallBack,
  freeSlot,
  MAX_STARTS,
  nextStart,
  onTrial,
  proven,
  readBootRecord,
  writeBootRecord,
} from '../../firmware/boot-record.ts';
import { ImageSlots } from '../../firmware/image-slots.ts';

const Record_ = suite('boot record');

const run = (record: BootRecord, steps: number, step: (record: BootRecord) => BootRecord) =>
  Array.from({ length: steps }).reduce<BootRecord>(step, record);

Record_('an image on trial gets three starts, then what ran before returns', () => {
  const trial = onTrial(FACTORY, 'a', true);
  const last = run(trial, MAX_STARTS, nextStart);
  assert.equal([last.slot, last.starts, last.isProven], ['a', 3, false]);
  const after = nextStart(last);
  assert.equal([after.slot, after.isProven, after.news], ['factory', true, 'fell-back']);
  assert.is(nextStart(after), after, 'the factory bundle is not counted');
});

Record_('a proof ends the trial, and the version is remembered', () => {
  const first = proven(nextStart(onTrial(FACTORY, 'a', true)), [1, 2, 0]);
  assert.equal([first.slot, first.starts, first.isProven, first.highest], ['a', 0, true, [1, 2, 0]]);
  const second = onTrial(first, freeSlot(first), true);
  assert.equal([second.slot, second.previous], ['b', 'a']);
  assert.equal(nextStart(run(second, MAX_STARTS, nextStart)).slot, 'a');
  assert.equal(proven(second, [1, 1, 0]).highest, [1, 2, 0], 'it never goes back');
});

Record_(
  'who has proved itself is not blamed for an orderly end, who is on trial is unless it was asked to stop',
  () => {
    const good = nextStart(proven(onTrial(FACTORY, 'a', true), [1, 0, 0]));
    assert.is(endedInOrder(good, 2).starts, 0, 'no address yet');
    const trial = nextStart(onTrial(FACTORY, 'a', true));
    assert.is(endedInOrder(trial, 2).starts, 1);
    assert.is(endedInOrder(trial, 0).starts, 0);
    // A crash never gets here: three of them in a row end also what was good.
    assert.is(nextStart(run(good, 2, nextStart)).slot, 'factory');
    assert.is(fallBack(fallBack(good)).slot, 'factory');
  },
);

Record_('the file comes back as written; a broken one starts the factory bundle and says so', () => {
  const folder = mkdtempSync(join(tmpdir(), 's3mp-boot-'));
  try {
    assert.equal(readBootRecord(folder), FACTORY);
    const record = nextStart(onTrial({ ...FACTORY, highest: [3, 4, 5] }, 'b', true));
    writeBootRecord(folder, record);
    assert.equal(readBootRecord(folder), record);
    for (const text of ['', '{', '{}', 'null', '{"slot":"c","previous":"a","starts":0,"highest":[0,0,0]}', '[1]']) {
      writeFileSync(join(folder, 'boot.json'), text);
      assert.equal(readBootRecord(folder), { ...FACTORY, news: 'fell-back' }, text);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

Record_(
  'an image that cannot read the energy meter goes back when the one before could, and stays when it could not',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 's3mp-trial-'));
    try {
      const trial = (wasPolled: boolean, hasPolled: boolean, minutes: number) => {
        writeBootRecord(folder, nextStart(onTrial(FACTORY, 'a', wasPolled)));
        const events: number[] = [];
        const restarts: number[] = [];
        const slots = new ImageSlots(
          {
            folder,
            log: createLog('test', { write: () => {} }),
            version: [2, 0, 0],
            key: undefined,
            isLaunched: true,
            record: (code) => events.push(code),
            restart: (status) => restarts.push(status),
          },
          0,
        );
        assert.is(slots.status, ImageStatus.activationInitiated);
        for (let minute = 0; minute <= minutes; minute++) slots.tick(hasPolled, minute * 60_000);
        return { ...readBootRecord(folder), events, restarts };
      };
      const silent = trial(true, false, 11);
      assert.equal([silent.slot, silent.news, silent.restarts, silent.events], ['factory', 'fell-back', [1], []]);
      const early = trial(true, false, 9);
      assert.equal([early.slot, early.isProven, early.restarts], ['a', false, []], 'not yet');
      const dead = trial(false, false, 11);
      assert.equal([dead.slot, dead.isProven, dead.restarts], ['a', true, []], 'the bus was dead before');
      const good = trial(true, true, 0);
      assert.equal([good.isProven, good.highest, good.events], [true, [2, 0, 0], [EventCode.firmwareActivated]]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
);

Record_.run();
