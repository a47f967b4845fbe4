/**
 * One process per folder of state, under whatever name it is reached, from whatever network namespace; what a dead one has left
 * holds nobody up. Called with a folder, this file is the other process.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { S3mpError } from '#base/errors';
import { holdFolder } from '#hw/folder-lock';
import { commandWorks, needs } from '#test/needs';

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

/** A process that holds a folder until it is killed, or says why it doesn't; `unshare` has no abstract sockets in common with others. */
async function startHolder(path: string, isElsewhere: boolean): Promise<{ said: string; child: ChildProcess }> {
  const self = [process.execPath, __filename, path];
  const [command, ...args] = (isElsewhere ? ['unshare', '-rn', ...self] : self) as [string, ...string[]];
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const [said] = (await once(child.stdout!, 'data')) as [Buffer];
  return { said: said.toString(), child };
}

async function kill(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
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
  assert.equal(readdirSync(state), []);
});

Lock('what a killed process, a power failure or anything else has left holds nobody up, and is removed', async () => {
  const state = join(folder, 'killed');
  mkdirSync(state);
  for (let round = 0; round < 3; round++) {
    const { said, child } = await startHolder(state, false);
    assert.is(said, 'held');
    assert.is(await codeOf(state), 'socket.in-use');
    await kill(child);
    assert.is(readdirSync(state).length, 1);
    if (round === 1) writeFileSync(join(state, '.held-0'), '');
  }
  assert.is(await codeOf(state), undefined);
  assert.equal(readdirSync(state), []);
});

Lock('also where the path of the folder is longer than that of a socket may be', async () => {
  const state = join(folder, 'x'.repeat(200));
  const letGo = await holdFolder(state);
  assert.is(readdirSync(state).length, 1);
  assert.is(await codeOf(state), 'socket.in-use');
  letGo();
});

if (needs('unshare', commandWorks('unshare', '-rn', 'true'), 'user namespaces, for the lock of a folder')) {
  Lock('a process in another network namespace is seen, in both directions', async () => {
    const state = join(folder, 'shared');
    const letGo = await holdFolder(state);
    const refused = await startHolder(state, true);
    assert.is(refused.said, 'socket.in-use');
    letGo();
    const { said, child } = await startHolder(state, true);
    assert.is(said, 'held');
    assert.is(await codeOf(state), 'socket.in-use');
    await kill(child);
    assert.is(await codeOf(state), undefined);
  });

  Lock('of several that start at once in namespaces of their own, one at most has the folder', async () => {
    const state = join(folder, 'race');
    mkdirSync(state);
    let held = 0;
    for (let round = 0; round < 5; round++) {
      const all = await Promise.all([1, 2, 3].map(() => startHolder(state, true)));
      const holders = all.filter(({ said }) => said === 'held').length;
      assert.ok(holders <= 1, all.map(({ said }) => said).join(' '));
      held += holders;
      for (const { said, child } of all) if (said === 'held') await kill(child);
    }
    console.log(`${held} of 5 rounds had a holder`);
    assert.is(await codeOf(state), undefined);
  });
}

Lock('a folder that cannot be used is held by nobody', async () => {
  writeFileSync(join(folder, 'file'), '');
  assert.is(await codeOf(join(folder, 'file', 'state')), undefined);
  assert.is(await codeOf(join(folder, 'file', 'state')), undefined);
});

if (process.argv[2] === undefined) Lock.run();
else {
  const say = (text: string) => void process.stdout.write(text);
  holdFolder(process.argv[2]).then(
    () => {
      say('held');
      process.stdin.resume();
    },
    ({ code }: S3mpError) => say(code),
  );
}
