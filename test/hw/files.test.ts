/** Files that are replaced as a whole, and secrets that others may not read. */

import { spawnSync } from 'node:child_process';
import fs, {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError } from '#base/errors';
import { readSecretFile, writeFileAtomic } from '#hw/files';
import { deviceNode } from '#hw/lab/lab';
import { fileMedium, makeFolder } from '#hw/medium';
import { GUARD_MS } from '#test/guard';

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

for (const [name, write] of WRITERS) {
  Files(`${name}: its folder is synchronized behind the rename, or a power cut could take the file back`, () => {
    const { renameSync, fsyncSync } = fs;
    const done: string[] = [];
    fs.renameSync = (from, to) => {
      renameSync(from, to);
      done.push('rename');
    };
    fs.fsyncSync = (descriptor) => {
      fsyncSync(descriptor);
      done.push(fs.fstatSync(descriptor).isDirectory() ? 'sync folder' : 'sync file');
    };
    try {
      write(join(folder, `${name} 3`));
    } finally {
      Object.assign(fs, { renameSync, fsyncSync });
    }
    assert.equal(done, ['sync file', 'rename', 'sync folder']);
  });
}

Files('a folder is made with those that lead to it, for its owner only', () => {
  const deep = join(folder, 'a', 'b', 'c');
  makeFolder(deep);
  makeFolder(deep);
  for (const each of [deep, join(folder, 'a')]) assert.is(statSync(each).mode & 0o777, 0o700);
});

if (existsSync('/proc/self')) {
  Files('a state folder in a place that holds none is refused at once, and the process still hears signals', () => {
    const bundle = join(__dirname, '..', '..', 'firmware.js');
    const topology = join(folder, 'topology.json');
    writeFileSync(topology, JSON.stringify({ isd_as: '1-ff00:0:110', mtu: 1472, attributes: [], border_routers: {} }));
    const words = [
      '--scion-topology',
      topology,
      '--scion-address',
      '127.0.0.1',
      '--state-directory',
      '/proc/nope/state',
    ];
    const { status, signal, stderr } = spawnSync(deviceNode(), [bundle, 'run', ...words], {
      encoding: 'utf8',
      timeout: GUARD_MS,
      killSignal: 'SIGKILL',
    });
    assert.equal([status, signal], [2, null], stderr);
    assert.match(stderr, /state\.directory \/proc\/nope\/state: no folder can be made there.*config\.invalid/s);
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
