/** One process per folder of state, under whatever name it is reached. */

import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { S3mpError } from '#base/errors';
import { holdFolder } from '#hw/folder-lock';

const Lock = suite('folder lock');
const folder = mkdtempSync(join(tmpdir(), 's3mp-lock-'));
Lock.after(() => rmSync(folder, { recursive: true }));

async function codeOf(path: string): Promise<string | undefined> {
  try {
    (await holdFolder(path))();
    return undefined;
  } catch (error) {
    return (error as S3mpError).code;
  }
}

Lock('a folder is held once, by whatever name, until it is let go', async () => {
  const state = join(folder, 'state');
  const other = join(folder, 'other');
  const letGo = await holdFolder(state);
  symlinkSync(state, join(folder, 'link'));
  assert.is(await codeOf(state), 'socket.in-use');
  assert.is(await codeOf(join(folder, 'link')), 'socket.in-use');
  assert.is(await codeOf(other), undefined);
  letGo();
  assert.is(await codeOf(state), undefined);
});

Lock('a folder that cannot be used is held by nobody', async () => {
  writeFileSync(join(folder, 'file'), '');
  assert.is(await codeOf(join(folder, 'file', 'state')), undefined);
  assert.is(await codeOf(join(folder, 'file', 'state')), undefined);
});

Lock.run();
