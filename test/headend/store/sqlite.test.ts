import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { S3mpError } from '#base/errors';
import { firstBreach } from '../../../headend/store/audit-chain.ts';
import { openSqliteStore } from '../../../headend/store/sqlite.ts';
import { commandRecord, reading, storeContract } from './store-contract.ts';

storeContract('sqlite in memory', async () => openSqliteStore({ file: ':memory:' }));

const Sqlite = suite<{ directory: string }>('sqlite store');
const T0 = 1_772_323_200_000;

Sqlite.before.each((context) => {
  context.directory = mkdtempSync(join(tmpdir(), 's3mp-store-'));
});
Sqlite.after.each(({ directory }) => rmSync(directory, { recursive: true }));

Sqlite('a file keeps everything over a restart and the audit chain goes on', async ({ directory }) => {
  const file = join(directory, 'headend.db');
  const first = openSqliteStore({ file });
  await first.appendReading('m1', reading(T0, 7));
  await first.createCommand(commandRecord('c1', 'k1'));
  await first.appendAudit({ at: T0, actor: 'a', action: 'x', meter: null, detail: {} });
  await first.close();
  const second = openSqliteStore({ file });
  assert.is((await second.lastValues('m1')).length, 2);
  assert.is((await second.createCommand(commandRecord('c2', 'k1'))).record.id, 'c1');
  await second.appendAudit({ at: T0 + 1, actor: 'a', action: 'y', meter: null, detail: {} });
  assert.is(firstBreach(await second.audit(1, 10)), null);
  assert.is((await second.audit(1, 10)).length, 2);
  await second.close();
});

Sqlite('the files are readable by their owner only', async ({ directory }) => {
  const file = join(directory, 'headend.db');
  const store = openSqliteStore({ file });
  await store.appendReading('m1', reading(T0, 7));
  await store.flush();
  for (const name of [file, `${file}-wal`, `${file}-shm`]) assert.is(statSync(name).mode & 0o777, 0o600, name);
  await store.close();
});

Sqlite('commands are on disk at once, readings at the end of the batch', async ({ directory }) => {
  const file = join(directory, 'headend.db');
  const writer = openSqliteStore({ file, batchMs: 60_000 });
  const reader = openSqliteStore({ file });
  await writer.appendReading('m1', reading(T0, 7));
  await writer.createCommand(commandRecord('c1', 'k1'));
  assert.ok(await reader.command('c1'));
  assert.equal(await reader.lastValues('m1'), []);
  await writer.flush();
  assert.is((await reader.lastValues('m1')).length, 2);
  await reader.close();
  await writer.close();
});

Sqlite('a command that writes to the audit beside the server goes on in the same chain', async ({ directory }) => {
  const file = join(directory, 'headend.db');
  const server = openSqliteStore({ file });
  const command = openSqliteStore({ file });
  const entry = (actor: string) => ({ at: T0, actor, action: 'x', meter: null, detail: {} });
  for (let i = 0; i < 6; i++) await (i % 3 === 0 ? command : server).appendAudit(entry(`${i}`));
  const lines = await server.audit(1, 10);
  assert.equal(
    lines.map(({ seq }) => seq),
    [1, 2, 3, 4, 5, 6],
  );
  assert.is(firstBreach(lines), null);
  await command.close();
  await server.close();
});

Sqlite('a file that is no database, or of another version, is a clear error', ({ directory }) => {
  const file = join(directory, 'x.db');
  writeFileSync(file, 'this is a text and not a database, however long one reads on '.repeat(40));
  for (const bad of [file, join(directory, 'missing', 'x.db')]) {
    try {
      openSqliteStore({ file: bad });
      assert.unreachable();
    } catch (error) {
      assert.instance(error, S3mpError);
      assert.is((error as S3mpError).code, 'config.unreadable');
      assert.ok((error as S3mpError).message.includes(bad));
    }
  }
});

Sqlite('a Node without node:sqlite is told what to do', () => {
  const builtin = process.getBuiltinModule;
  process.getBuiltinModule = (() => undefined) as typeof builtin;
  try {
    openSqliteStore({ file: ':memory:' });
    assert.unreachable();
  } catch (error) {
    assert.is((error as S3mpError).code, 'runtime.missing');
    assert.is((error as S3mpError).exitStatus, 2);
    assert.match((error as S3mpError).message, /Node 24/);
  } finally {
    process.getBuiltinModule = builtin;
  }
});

Sqlite.run();
