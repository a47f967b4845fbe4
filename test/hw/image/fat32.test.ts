import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ConfigError } from '#base/errors';
import { DiskFile } from '../../../hw/image/disk-file.ts';
import { Fat32 } from '../../../hw/image/fat32.ts';
import { seeded } from '../../random.ts';
import { ENVIRONMENT, hasFatTools, hashOf, makeFat, readBoot } from './card-image.ts';

const Fat = suite('fat32');
const folder = mkdtempSync(join(tmpdir(), 's3mp-fat-'));
Fat.after(() => rmSync(folder, { recursive: true, force: true }));

/** Loses its power in front of a write. */
class CutDisk extends DiskFile {
  #left: number;

  constructor(file: string, writes: number) {
    super(file, 'r+');
    this.#left = writes;
  }

  override write(offset: number, bytes: Uint8Array): void {
    if (this.#left-- <= 0) throw new Error('cut');
    super.write(offset, bytes);
  }
}

let count = 0;
function newFat(files: Readonly<Record<string, string>> = {}, clusterSectors = 1): string {
  const file = join(folder, `fat-${count++}`);
  makeFat(file, 36 * clusterSectors, files, clusterSectors);
  return file;
}

function change<T>(file: string, work: (fat: Fat32) => T): T {
  const disk = new DiskFile(file, 'r+');
  try {
    const fat = new Fat32(disk, 0, disk.size);
    const result = work(fat);
    fat.commit();
    return result;
  } finally {
    disk.close();
  }
}

/** fsck.vfat, which also compares free clusters with FSInfo. */
function faults(file: string): string {
  const { status, stdout } = spawnSync('fsck.vfat', ['-n', '-v', file], { env: ENVIRONMENT, encoding: 'utf8' });
  return status === 0 && !/differ|Free cluster summary wrong/i.test(stdout) ? '' : stdout;
}

/** Every file below the root as mtools lists it. */
function listed(file: string): string[] {
  const { stdout } = spawnSync('mdir', ['-i', file, '-b', '-a', '-/', '::'], { env: ENVIRONMENT, encoding: 'utf8' });
  return stdout.split('\n').filter((line) => line !== '' && !line.endsWith('/'));
}

if (hasFatTools) {
  Fat('files of every size and name are what mtools reads, and fsck.vfat finds no fault', () => {
    const names = [
      'A.TXT',
      'b.txt',
      'no-extension',
      'a rather long name, with blanks.json',
      '.hidden',
      'Ünïcode.txt',
      'x'.repeat(200),
    ];
    for (const clusterSectors of [1, 2]) {
      const file = newFat({ 'config.txt': 'kept' }, clusterSectors);
      const sizes = [0, 1, 511, 512, 513, 1024, 5000];
      const content = (i: number) =>
        Uint8Array.from({ length: sizes[i % sizes.length]! }, (_, k) => (k * 31 + i) & 0xff);
      change(file, (fat) => {
        for (const [i, name] of names.entries()) assert.is(fat.write(`s3mp/deep/er/${name}`, content(i)), true);
      });
      assert.is(faults(file), '');
      for (const [i, name] of names.entries())
        if (!name.startsWith('Ü'))
          assert.equal(Buffer.from(readBoot(file, `s3mp/deep/er/${name}`, 0)!), Buffer.from(content(i)), name);
      assert.is(Buffer.from(readBoot(file, 'config.txt', 0)!).toString(), 'kept');
      const disk = new DiskFile(file, 'r');
      const fat = new Fat32(disk, 0, disk.size);
      assert.equal([...fat.list('S3MP/Deep/er')].sort(), [...names].sort());
      assert.is(fat.write('s3mp/deep/er/b.txt', content(1)), false, 'the same content is no change');
      disk.close();
    }
  });

  Fat('names that mtools has written are found, and files of it replaced and removed', () => {
    const file = newFat({ 'cmdline.txt': 'one line', 'A Long Name From Elsewhere.dat': 'x'.repeat(3000) });
    change(file, (fat) => {
      assert.is(Buffer.from(fat.read('CMDLINE.TXT')!).toString(), 'one line');
      fat.write('a long name from elsewhere.dat', new Uint8Array(700));
      fat.remove('cmdline.txt');
      assert.is(fat.remove('cmdline.txt'), false);
    });
    assert.is(faults(file), '');
    assert.equal(listed(file), ['::/A Long Name From Elsewhere.dat']);
    assert.is(readBoot(file, 'A Long Name From Elsewhere.dat', 0)!.length, 700);
  });

  Fat('random writes, replacements and removals agree with a plain map, by our reading and by mtools', () => {
    const { below, bytes } = seeded();
    const file = newFat();
    const model = new Map<string, Uint8Array>();
    for (let round = 0; round < 12; round++) {
      change(file, (fat) => {
        for (let step = 0; step < 20; step++) {
          const name = `folder-${below(3)}/a file with number ${below(60)}.bin`;
          if (below(4) === 0) assert.is(fat.remove(name), model.delete(name));
          else {
            const content = bytes(below(3000));
            fat.write(name, content);
            model.set(name, content);
          }
          assert.equal(fat.read(name), model.get(name));
        }
      });
      assert.is(faults(file), '', `round ${round}`);
    }
    assert.equal(listed(file).sort(), [...model.keys()].map((name) => `::/${name}`).sort());
    for (const [name, content] of [...model].slice(0, 10))
      assert.equal(Buffer.from(readBoot(file, name, 0)!), Buffer.from(content));
  });

  Fat('the same changes give the same bytes', () => {
    const [one, two] = [newFat(), newFat()].map((file) => {
      change(file, (fat) => fat.write('s3mp/root/opt/s3mp/firmware.js', new Uint8Array(10_000).fill(7)));
      return file;
    });
    // mkfs gives each volume another serial number, in the boot sector and its copy.
    for (const sector of [0, 6]) {
      const disk = new DiskFile(two!, 'r+');
      const from = new DiskFile(one!, 'r');
      disk.write(sector * 512 + 67, from.read(sector * 512 + 67, 4));
      from.close();
      disk.close();
    }
    const disk = new DiskFile(two!, 'r');
    const from = new DiskFile(one!, 'r');
    // Behind the volume label's entry, which has mkfs's time.
    const fat = disk.read(32 * 512, 512);
    assert.equal(fat, from.read(32 * 512, 512));
    disk.close();
    from.close();
  });

  Fat('cut at any write, every file is whole, old or new, for who reads it next', () => {
    const old = 'old '.repeat(700);
    const fresh = Buffer.from('fresh '.repeat(900));
    const outcomes = new Set<string>();
    for (let writes = 0, isDone = false; !isDone; writes++) {
      const file = newFat({ 'replaced.txt': old, 'bystander.txt': old });
      const disk = new CutDisk(file, writes);
      try {
        const fat = new Fat32(disk, 0, disk.size);
        fat.write('replaced.txt', fresh);
        fat.write('folder/added.txt', fresh);
        fat.commit();
        isDone = true;
      } catch (error) {
        assert.is((error as Error).message, 'cut');
      }
      disk.close();
      const now = Buffer.from(readBoot(file, 'replaced.txt', 0)!).toString();
      assert.ok(now === old || now === fresh.toString(), `after ${writes} writes`);
      assert.is(Buffer.from(readBoot(file, 'bystander.txt', 0)!).toString(), old);
      const added = readBoot(file, 'folder/added.txt', 0);
      assert.ok(added === undefined || Buffer.from(added).equals(fresh), `after ${writes} writes`);
      outcomes.add(now === old ? 'old' : 'new');
      rmSync(file);
    }
    assert.is(outcomes.size, 2);
  });

  Fat('a full volume refuses the file, and nothing of it is there', () => {
    const file = newFat();
    const before = hashOf(file);
    assert.throws(
      () => change(file, (fat) => fat.write('big', new Uint8Array(fat.freeBytes + 1))),
      (error: unknown) => error instanceof ConfigError && error.code === 'card.full',
    );
    assert.is(hashOf(file), before);
    change(file, (fat) => fat.write('big', new Uint8Array(fat.freeBytes)));
    assert.is(faults(file), '');
  });

  Fat('what is not sound is refused, whatever its bytes', () => {
    const file = newFat({ 'config.txt': 'a' });
    const disk = new DiskFile(file, 'r+');
    const refuses = (offset: number, bytes: number[], words: RegExp) => {
      const kept = disk.read(offset, bytes.length);
      disk.write(offset, Uint8Array.from(bytes));
      assert.throws(() => new Fat32(disk, 0, disk.size).read('config.txt'), words);
      disk.write(offset, kept);
    };
    refuses(510, [0], /not FAT32/);
    refuses(65, [1], /not unmounted cleanly/);
    refuses(32 * 512 + 7, [0x07], /FATs that differ/);
    refuses(512, [0], /FSInfo/);
    refuses(36, [1, 0, 0, 0], /do not fit/);

    const { below, bytes } = seeded();
    const boot = disk.read(0, 512);
    for (let round = 0; round < 300; round++) {
      const at = below(90);
      disk.write(at, bytes(1 + below(3)));
      try {
        const fat = new Fat32(disk, 0, disk.size);
        fat.read('config.txt');
        fat.list('');
      } catch (error) {
        assert.ok(error instanceof ConfigError, `round ${round}: ${error}`);
      }
      disk.write(0, boot);
    }
    disk.close();
  });
}

if (!hasFatTools) Fat('needs foreign tools', () => {});
Fat.run();
