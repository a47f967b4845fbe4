/** Files that are replaced as a whole, and secrets that others may not read. */

import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError } from '#base/errors';
import { readSecretFile, writeFileAtomic } from '#hw/files';
import { fileMedium } from '#hw/medium';

const Files = suite('files');
const folder = mkdtempSync(join(tmpdir(), 's3mp-files-'));
Files.after(() => rmSync(folder, { recursive: true }));

const WRITERS: readonly (readonly [name: string, write: (file: string) => void])[] = [
  ['a text', (file) => writeFileAtomic(file, 'secret', 0o600)],
  ['a record', (file) => fileMedium.create(file, new TextEncoder().encode('secret'))],
];

for (const [name, write] of WRITERS) {
  Files(`${name}: what an earlier attempt left in its place gives neither its mode nor its target`, () => {
    const file = join(folder, `${name} 1`);
    writeFileSync(`${file}.new`, 'half');
    chmodSync(`${file}.new`, 0o666);
    write(file);
    assert.is(statSync(file).mode & 0o777, 0o600);
    const target = join(folder, `${name} 2`);
    writeFileSync(target, 'of somebody else');
    symlinkSync(target, `${file}.new`);
    write(file);
    assert.is(readFileSync(target, 'utf8'), 'of somebody else');
    assert.is(readFileSync(file, 'utf8'), 'secret');
  });
}

Files('a secret that others may read, or an empty one, is refused, and no error has it', () => {
  const file = join(folder, 'secret');
  writeFileAtomic(file, 'hunter2\n', 0o600);
  assert.is(Buffer.from(readSecretFile(file)).toString(), 'hunter2');
  for (const mode of [0o640, 0o604, 0o660]) {
    chmodSync(file, mode);
    try {
      readSecretFile(file);
      assert.unreachable();
    } catch (error) {
      assert.ok(error instanceof ConfigError);
      assert.is(error.code, 'config.invalid');
      assert.not.ok(JSON.stringify([error.message, error.context]).includes('hunter2'));
    }
  }
  writeFileAtomic(file, '\n', 0o600);
  assert.throws(() => readSecretFile(file), /empty/);
});

Files.run();
